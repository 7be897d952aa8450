//! What a data folder has lost with its machine. With `durability: memory` a member of a cluster acknowledges what is
//! written but not synced: that outlives the process, and not the machine. Others count on what this node acknowledged, so
//! after a start of the machine its folder is as good as lost, and it joins as a new node.
//!
//! While there may be something that is not on the disk, the file `unsynced` in the data folder names the start of the
//! machine since which that is so. It is made before anything is written, and removed when all is synced: at a stop in
//! good order, and at the next start with `durability: fsync`. So whatever the setting is by then, the file decides.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::Context;
use fulmar_config::{Config, Durability};
use tracing::{error, info, warn};

use super::FOLDER;
use super::start::set_aside;
use crate::node_id::{self, NodeId};
use crate::setup;

const FILE_NAME: &str = "unsynced";
/// What Linux draws at each start.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// Longer than any name of a start, with the end of its line.
const NAME_BYTES_MAX: u64 = 128;

/// What has become of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// All that was acknowledged is on the disk.
    Synced,
    /// It is with the machine, which has not started since.
    Written,
    /// Some of it may be gone.
    Lost,
}

/// By the start of the machine that the folder names, if it names one, and the one that this is, if that is known.
fn judge(since: Option<&str>, boot: Option<&str>) -> Found {
    match since {
        None => Found::Synced,
        Some(since) if !since.is_empty() && Some(since) == boot => Found::Written,
        Some(_) => Found::Lost,
    }
}

/// To be called before anything else is done with the folder: one that has lost something is set aside, and the node goes
/// on as another one, whose id is returned.
pub(crate) fn begin(config: &Config, node_id: NodeId) -> anyhow::Result<NodeId> {
    let (Some(cluster), Some(data_dir)) = (&config.cluster, &config.data_dir) else { return Ok(node_id) };
    if config.durability == Durability::None {
        return Ok(node_id);
    }
    let file = cluster.boot_id_file.as_deref().unwrap_or(Path::new(BOOT_ID_FILE));
    let boot = read(file).unwrap_or_else(|error| {
        warn!(file = %file.display(), %error, "can't read which start of the machine this is");
        None
    });
    if boot.is_none() && config.durability == Durability::Memory {
        warn!(
            file = %file.display(),
            "nobody says which start of the machine this is: a stop that is not in good order will cost the folder"
        );
    }
    begin_in(data_dir, boot.as_deref(), config.durability, node_id)
        .with_context(|| format!("look whether something was lost from {}", data_dir.display()))
}

fn begin_in(
    data_dir: &Path,
    boot: Option<&str>,
    durability: Durability,
    mut node_id: NodeId,
) -> anyhow::Result<NodeId> {
    let marker = data_dir.join(FILE_NAME);
    let since = read(&marker)?;
    let found = judge(since.as_deref(), boot);
    if found == Found::Lost {
        let place = set_aside(data_dir)?;
        error!(
            node_id = format!("{:016x}", node_id.value),
            written_since = since,
            started = boot,
            set_aside = %place.display(),
            "the machine has started again since this folder was written with durability: memory; what was \
             acknowledged may be lost, so the node joins as a new one"
        );
        node_id = node_id::obtain(Some(data_dir), setup::random)?;
    }
    match (durability, found) {
        (Durability::Memory, Found::Written) => {}
        (Durability::Memory, Found::Synced | Found::Lost) => write(data_dir, &marker, boot.unwrap_or_default())?,
        (Durability::Fsync, Found::Written) => {
            sync_and_forget(data_dir)?;
            info!("what was written with durability: memory is on the disk now");
        }
        (Durability::Fsync, Found::Lost) => sync_and_forget(data_dir)?,
        (Durability::Fsync, Found::Synced) | (Durability::None, _) => {}
    }
    Ok(node_id)
}

/// The node has stopped in good order, and nothing writes to the folder any more.
pub(super) fn end(data_dir: &Path) {
    if let Err(error) = sync_and_forget(data_dir) {
        warn!(%error, "not all may be on the disk: should the machine start again, the folder counts as lost");
    }
}

/// The one line of a file; nothing if there is none.
fn read(file: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(file).and_then(|open| open.take(NAME_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(data_dir: &Path, marker: &Path, boot: &str) -> io::Result<()> {
    let mut file = File::create(marker)?;
    writeln!(file, "{boot}")?;
    file.sync_all()?;
    File::open(data_dir)?.sync_all()
}

fn sync_and_forget(data_dir: &Path) -> io::Result<()> {
    let marker = data_dir.join(FILE_NAME);
    if !marker.exists() {
        return Ok(());
    }
    sync_all(&data_dir.join(FOLDER))?;
    fs::remove_file(&marker)?;
    File::open(data_dir)?.sync_all()
}

/// A folder and all that is in it; its depth is ours.
fn sync_all(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if file.metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_all(&entry?.path())?;
        }
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const BOOTS: [Option<&str>; 3] = [Some("one"), Some("two"), None];

    #[test]
    fn a_folder_is_lost_when_the_machine_may_have_started_since_it_was_written() {
        let judged = [None, Some("one"), Some("")].map(|since| BOOTS.map(|boot| judge(since, boot)));
        let unknown = [Found::Lost; 3];
        assert_eq!(judged, [[Found::Synced; 3], [Found::Written, Found::Lost, Found::Lost], unknown]);
    }

    /// A node's data folder, empty at first.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fulmar-unsynced-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        /// Starts, writes, and answers whether the node is the one that it was.
        fn start(&self, durability: Durability, boot: Option<&str>) -> bool {
            let node_id = node_id::obtain(Some(&self.0), setup::random).unwrap();
            let was = node_id.value;
            let store = self.0.join(FOLDER);
            let had_store = store.exists();
            let node_id = begin_in(&self.0, boot, durability, node_id).unwrap();
            let is_same = node_id.value == was;
            assert_eq!(store.exists(), had_store && is_same, "what is set aside is the whole node");
            fs::create_dir_all(store.join("log")).unwrap();
            fs::write(store.join("log/1"), "entries").unwrap();
            is_same
        }

        fn stop(&self) {
            end(&self.0);
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_node_whose_process_died_keeps_its_folder_and_one_whose_machine_died_does_not() {
        let place = Place::new("died");
        let memory = Durability::Memory;
        assert!(place.start(memory, Some("one")));
        assert!(place.start(memory, Some("one")));
        assert!(!place.start(memory, Some("two")));
        assert!(place.0.join("set-aside-1/store/log/1").exists() && place.0.join("set-aside-1/node-id").exists());
        assert!(place.start(memory, Some("two")), "the new node begins with the machine as it is");
        assert!(!place.start(memory, None), "nobody knows");
        assert!(!place.start(memory, None));
        assert!(place.0.join("set-aside-3").exists());
    }

    #[test]
    fn a_node_that_stopped_in_good_order_keeps_its_folder_whatever_its_machine_did() {
        let place = Place::new("stopped");
        for boot in BOOTS {
            assert!(place.start(Durability::Memory, boot));
            place.stop();
        }
        assert!(place.start(Durability::Fsync, Some("four")));
    }

    #[test]
    fn the_setting_that_counts_is_that_with_which_the_folder_was_written() {
        let place = Place::new("changed");
        let (memory, fsync) = (Durability::Memory, Durability::Fsync);
        // To fsync while the machine goes on: all is synced first.
        assert!(place.start(memory, Some("one")));
        assert!(place.start(fsync, Some("one")));
        assert!(place.start(fsync, Some("two")));
        // Back, and the machine dies.
        assert!(place.start(memory, Some("two")));
        assert!(!place.start(fsync, Some("three")));
        assert!(place.start(fsync, Some("four")), "once");
    }

    #[test]
    fn a_machine_that_does_not_tell_its_starts_is_noticed() {
        let place = Place::new("untold");
        fs::create_dir_all(&place.0).unwrap();
        assert_eq!(read(&place.0.join("none")).unwrap(), None);
        fs::write(place.0.join("one"), "c0ffee\n").unwrap();
        assert_eq!(read(&place.0.join("one")).unwrap().as_deref(), Some("c0ffee"));
        assert!(read(Path::new(BOOT_ID_FILE)).unwrap().is_some_and(|boot| boot.len() == 36), "as Linux does");
    }
}
