//! The suite on a real disk, and on one that loses its power before everything that is read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use fulmar_log::StdDisk;
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};

use crate::Types;
use crate::log_store::LogStore;
use crate::state_machine::Nothing;

/// Goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Folder(std::env::temp_dir().join(format!("fulmar-log-suite-{}-{number}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// On the disk of this machine. With `reopens` the log is opened again before everything that is read.
struct OnDisk {
    reopens: bool,
}

impl StoreBuilder<Types, LogStore<StdDisk>, Nothing, Folder> for OnDisk {
    async fn build(&self) -> Result<(Folder, LogStore<StdDisk>, Nothing), StorageError<u64>> {
        let folder = Folder::new();
        let nothing_happens = |_: &StdDisk| {};
        let store = LogStore::open(StdDisk, &folder.0, self.reopens.then_some(nothing_happens), true);
        Ok((folder, store, Nothing::default()))
    }
}

/// Only what was synced is ever read.
struct WithoutPower {
    syncs: bool,
}

impl StoreBuilder<Types, LogStore<SimulatedDisk>, Nothing> for WithoutPower {
    async fn build(&self) -> Result<((), LogStore<SimulatedDisk>, Nothing), StorageError<u64>> {
        let crash = |disk: &SimulatedDisk| disk.crash(CrashKeeps::Nothing);
        Ok(((), LogStore::open(SimulatedDisk::new(1), Path::new("/log"), Some(crash), self.syncs), Nothing::default()))
    }
}

#[test]
fn the_log_passes_on_a_disk() {
    Suite::test_all(OnDisk { reopens: false }).unwrap();
}

#[test]
fn the_log_passes_when_it_is_opened_again_before_everything_that_is_read() {
    Suite::test_all(OnDisk { reopens: true }).unwrap();
}

#[test]
fn the_log_passes_when_power_fails_before_everything_that_is_read() {
    Suite::test_all(WithoutPower { syncs: true }).unwrap();
}

#[test]
fn a_log_that_is_not_synced_is_found() {
    let result = std::panic::catch_unwind(|| Suite::test_all(WithoutPower { syncs: false }));
    assert!(!matches!(result, Ok(Ok(()))), "it passes");
}
