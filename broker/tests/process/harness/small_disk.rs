//! A small disk of a test's own, in memory. Needs root.

use std::ffi::CString;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What fills it up.
const BALLAST: &str = "ballast";

/// A file system in memory that is mounted on a folder, for the test's own thread and the processes that it starts.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// From now on the calling thread has mounts of its own.
    pub fn on(folder: &Path, megabytes: u32) -> SmallDisk {
        // SAFETY: it has no memory to look at.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "have mounts of our own: this needs root");
        // What is mounted here is to be nobody else's.
        mount("none", Path::new("/"), libc::MS_REC | libc::MS_PRIVATE, "");
        mount("tmpfs", folder, 0, &format!("size={megabytes}m"));
        SmallDisk(folder.to_owned())
    }

    /// Leaves not one byte free.
    pub fn fill(&self) {
        let mut ballast = File::options().append(true).create(true).open(self.0.join(BALLAST)).expect("open a file");
        for bytes in [1 << 20, 4 << 10, 1] {
            let block = vec![1; bytes];
            let error = loop {
                if let Err(error) = ballast.write_all(&block) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        }
    }

    /// Makes room.
    pub fn clear(&self) {
        std::fs::remove_file(self.0.join(BALLAST)).expect("remove a file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let folder = text(&self.0);
        // SAFETY: the string lives during the call. With MNT_DETACH nobody has to have closed everything.
        unsafe { libc::umount2(folder.as_ptr(), libc::MNT_DETACH) };
    }
}

fn mount(kind: &str, on: &Path, flags: libc::c_ulong, options: &str) {
    let (kind, on, options) = (CString::new(kind).expect("no zero"), text(on), CString::new(options).expect("no zero"));
    let (kind, on, options) = (kind.as_ptr(), on.as_ptr(), options.as_ptr());
    // SAFETY: the strings live during the call.
    assert_eq!(unsafe { libc::mount(kind, on, kind, flags, options.cast()) }, 0, "mount: this needs root");
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no zero")
}
