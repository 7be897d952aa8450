//! A folder takes the place of another in one step.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context;

/// Removes what an earlier import has left.
pub(super) fn clear(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Gives `new` the name `store`, durably. What had it goes. Both are in `folder`.
pub(super) fn put_in_place(folder: &Path, new: &Path, store: &Path) -> anyhow::Result<()> {
    let is_there = store.exists();
    let renamed = if is_there { exchange(new, store) } else { fs::rename(new, store) };
    renamed.with_context(|| format!("put {} in the place of {}", new.display(), store.display()))?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("write the folder {} to the disk", folder.display()))?;
    if is_there { clear(new) } else { Ok(()) }
}

/// Lets two names of the same folder change places.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let [one, other] = [one, other].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (one, other) = (one?, other?);
    // SAFETY: both are texts that end with a null, and live until the call returns; it keeps neither of them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_the_place_of_none_and_of_another() {
        let folder = std::env::temp_dir().join(format!("fulmar-swap-{}", std::process::id()));
        let (new, store) = (folder.join("new"), folder.join("store"));
        for text in ["first", "second"] {
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join("file"), text).unwrap();
            put_in_place(&folder, &new, &store).unwrap();
            assert_eq!((fs::read_to_string(store.join("file")).unwrap().as_str(), new.exists()), (text, false));
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
