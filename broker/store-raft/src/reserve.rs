//! A little room in the data folder that is kept for the next start: a node that begins on a disk without a free byte
//! must still be able to write down that a new life begins.
//!
//! The file becomes the next `identity`, so that this needs no room at all, and is made anew behind it, in the room that
//! the identity before has left.

use std::io;
use std::path::{Path, PathBuf};

use fulmar_log::{Disk, File};

use crate::errors::is_full;

const NAME: &str = "reserve";
/// A block of nearly all file systems, and more than an identity has.
const BYTES: usize = 4096;

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// An empty file under this name: the reserve, if there is one, so that what is written to it finds room.
pub(crate) fn take<D: Disk>(disk: &D, folder: &Path, to: &Path) -> io::Result<D::File> {
    if !disk.list(folder)?.iter().any(|name| name == NAME) {
        return disk.create(to);
    }
    disk.rename(&path(folder), to)?;
    disk.open(to)
}

/// Makes the reserve of the next start. Without room for it there is none.
pub(crate) fn keep(disk: &impl Disk, folder: &Path) -> io::Result<()> {
    let path = path(folder);
    let made = disk.create(&path).and_then(|file| {
        file.write_at(0, &[0; BYTES])?;
        file.sync()
    });
    match made {
        // What is left of it would be too little.
        Err(error) if is_full(&error) => match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        other => other,
    }
}
