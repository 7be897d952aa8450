//! The node's id: a random number, made with the data folder and kept there, never used again elsewhere.
//!
//! The file is locked while the process lives, so that two processes cannot be the same node.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// The file in the data folder.
pub(crate) const FILE_NAME: &str = "node-id";
/// What will be that.
const NEW_FILE_NAME: &str = "node-id.new";
const DIGITS: usize = 16;

/// The id of this node. While it is held, no other process can take it.
#[derive(Debug)]
pub(crate) struct NodeId {
    pub(crate) value: u64,
    /// Keeps the lock; nothing to lock without a folder.
    _lock: Option<File>,
}

/// Reads the id from the folder, or makes one there with `random`; without a folder it lasts as long as the process.
pub(crate) fn obtain(folder: Option<&Path>, random: impl FnOnce() -> u64) -> anyhow::Result<NodeId> {
    let Some(folder) = folder else {
        return Ok(NodeId { value: nonzero(random()), _lock: None });
    };
    std::fs::create_dir_all(folder).with_context(|| format!("create the data folder {}", folder.display()))?;
    let path = folder.join(FILE_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("{} is in use by another broker, wanted a folder of its own", path.display())
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
    }
    let mut text = String::new();
    (&mut file).take(1024).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    let value = match text.trim() {
        // Nothing was ever announced under an id that did not reach the file.
        "" => make(folder, &mut file, random).with_context(|| format!("write {}", path.display()))?,
        text => parse(text).with_context(|| {
            format!("{} holds {:?}, wanted {DIGITS} hexadecimal digits that are not all zero", path.display(), text)
        })?,
    };
    Ok(NodeId { value, _lock: Some(file) })
}

fn make(folder: &Path, file: &mut File, random: impl FnOnce() -> u64) -> std::io::Result<u64> {
    let value = nonzero(random());
    writeln!(file, "{value:016x}")?;
    file.sync_all()?;
    // The name of a new file is durable only with its folder.
    File::open(folder)?.sync_all()?;
    Ok(value)
}

/// Gives the node another id, durably and in one step.
pub(crate) fn replace(folder: &Path, value: u64) -> std::io::Result<()> {
    let (path, new) = (folder.join(FILE_NAME), folder.join(NEW_FILE_NAME));
    let mut file = File::create(&new)?;
    writeln!(file, "{value:016x}")?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    File::open(folder)?.sync_all()
}

/// Reads the id in the file.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let is_hexadecimal = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|value| is_hexadecimal && *value != 0)
}

/// Zero means "no node" in places that keep ids.
fn nonzero(value: u64) -> u64 {
    value.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own under the build folder, empty at the start.
    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("fulmar-node-id-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn the_id_is_made_once_and_kept() {
        let folder = folder("kept");
        assert_eq!(obtain(Some(&folder), || 0xabc).unwrap().value, 0xabc);
        assert_eq!(obtain(Some(&folder), || unreachable!("an id is there")).unwrap().value, 0xabc);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn another_id_takes_the_place_of_the_one_that_there_was() {
        let folder = folder("replaced");
        drop(obtain(Some(&folder), || 1).unwrap());
        replace(&folder, 0xdef).unwrap();
        assert_eq!(obtain(Some(&folder), || unreachable!("an id is there")).unwrap().value, 0xdef);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn two_processes_cannot_be_one_node() {
        let folder = folder("locked");
        let first = obtain(Some(&folder), || 1).unwrap();
        let second = obtain(Some(&folder), || 2).unwrap_err().to_string();
        assert!(second.contains("in use by another broker"), "{second}");
        drop(first);
        assert_eq!(obtain(Some(&folder), || 2).unwrap().value, 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_holds_no_id_is_refused_with_what_it_holds() {
        let folder = folder("broken");
        std::fs::create_dir_all(&folder).unwrap();
        for text in ["garbage", "0000000000000000", "123", "00000000000000000001"] {
            std::fs::write(folder.join(FILE_NAME), text).unwrap();
            let error = obtain(Some(&folder), || 1).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("wanted 16 hexadecimal digits"), "{error}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_a_folder_the_id_is_random_and_never_zero() {
        assert_eq!(obtain(None, || 7).unwrap().value, 7);
        assert_eq!(obtain(None, || 0).unwrap().value, 1);
    }
}
