//! The disk of the operating system, for looking only: whatever it is asked to change, it refuses.

use std::fs::{File as StdFile, OpenOptions};
use std::io;
use std::path::Path;

use super::{Disk, StdDisk};

/// Files as the operating system has them, none of which is opened to be written: it works on a file system that is
/// mounted read-only, too.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOnlyDisk;

impl Disk for ReadOnlyDisk {
    /// Writing to it fails, as it is not open for that.
    type File = StdFile;

    /// A folder that exists is fine.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        StdDisk.list(folder)
    }

    fn create(&self, _path: &Path) -> io::Result<StdFile> {
        Err(refused())
    }

    fn open(&self, path: &Path) -> io::Result<StdFile> {
        OpenOptions::new().read(true).open(path)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Err(refused())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Err(refused())
    }
}

fn refused() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    #[test]
    fn nothing_can_be_changed_by_it() {
        let folder = std::env::temp_dir().join(format!("fulmar-read-only-{}", std::process::id()));
        let file = folder.join("file");
        StdDisk.create_folder(&folder).unwrap();
        StdDisk.create(&file).unwrap().write_at(0, b"kept").unwrap();

        let disk = ReadOnlyDisk;
        let open = disk.open(&file).unwrap();
        assert!(open.write_at(0, b"lost").is_err() && open.set_length(0).is_err());
        assert!(disk.create(&folder.join("new")).is_err() && disk.remove(&file).is_err());
        assert!(disk.rename(&file, &folder.join("new")).is_err() && disk.create_folder(&folder.join("sub")).is_err());

        let mut bytes = [0; 4];
        open.read_at(0, &mut bytes).unwrap();
        assert_eq!((&bytes, disk.list(&folder).unwrap()), (b"kept", vec!["file".to_owned()]));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
