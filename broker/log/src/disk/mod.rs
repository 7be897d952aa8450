//! What the log asks of a disk.
//!
//! A write can be read at once, but is on the disk only when the file was synced; a new name only when its folder was.

mod read_only;
mod simulated;
mod std_disk;

pub use read_only::ReadOnlyDisk;
pub use simulated::{CrashKeeps, SimulatedDisk, SimulatedFile};
pub use std_disk::StdDisk;

use std::io;
use std::path::Path;

/// Folders and the names in them.
pub trait Disk {
    /// An open file. It stays usable when its name changes or goes.
    type File: File;

    /// Makes a folder with those above it, durably; one that exists is fine.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names of the files in a folder, in no particular order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file, in place of one that may be there.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file that exists, to read and write.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Gives a file another name in its folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file.
pub trait File {
    /// How many bytes it has.
    fn length(&self) -> io::Result<u64>;
    /// Reads as many bytes as `bytes` holds, or fails.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes`. After an error any part of them may be in the file.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file, or fills it up with zeros.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Makes contents and length durable. After an error nobody knows what is.
    fn sync(&self) -> io::Result<()>;
}
