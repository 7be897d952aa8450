//! What was written is found again.

use std::path::PathBuf;

use crate::disk::{CrashKeeps, SimulatedDisk};
use crate::tests::fixture::{NODE, all, append, folder, open, settings};
use crate::{Log, Recovered, RecoveredGroup, Settings, StdDisk, Write};

fn turn() -> [Write<'static>; 6] {
    [
        Write::State { group: 0, bytes: b"voted for 3" },
        append(0, 1, 1, b"one"),
        append(7, 1, 1, b"other"),
        append(0, 2, 1, b"wrong"),
        Write::Truncate { group: 0, from: 2 },
        append(0, 2, 2, b"two"),
    ]
}

fn recovered() -> Recovered {
    let zero = RecoveredGroup { group: 0, state: b"voted for 3".to_vec(), purged: 0, entries: Some([(1, 1), (2, 2)]) };
    let seven = RecoveredGroup { group: 7, state: Vec::new(), purged: 0, entries: Some([(1, 1), (1, 1)]) };
    Recovered { groups: vec![zero, seven], cut: None }
}

#[test]
fn what_was_synced_is_found_after_a_crash() {
    let disk = SimulatedDisk::new(1);
    let (mut log, found) = open(&disk).unwrap();
    assert_eq!(found, Recovered { groups: Vec::new(), cut: None });
    log.write(&turn()).unwrap();
    log.sync().unwrap();
    log.write(&[append(7, 2, 1, b"not synced")]).unwrap();
    disk.crash(CrashKeeps::Nothing);

    let (mut log, found) = open(&disk).unwrap();
    assert_eq!(found, recovered());
    assert_eq!(all(&mut log, 0), [(1, 1, b"one".to_vec()), (2, 2, b"two".to_vec())]);
    assert_eq!(all(&mut log, 7), [(1, 1, b"other".to_vec())]);
}

#[test]
fn log_goes_on_over_segments_and_reopens() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    for index in 1..=100 {
        log.write(&[append(3, index, index / 10, &[index as u8; 300])]).unwrap();
        log.sync().unwrap();
    }
    assert!(log.usage().segments > 5, "{:?}", log.usage());
    drop(log);
    let (mut log, found) = open(&disk).unwrap();
    assert_eq!(found.groups[0].entries, Some([(1, 0), (100, 10)]));
    let entries = all(&mut log, 3);
    let wanted: Vec<_> = (1..=100).map(|index: u64| (index, index / 10, vec![index as u8; 300])).collect();
    assert_eq!(entries, wanted);
    log.write(&[append(3, 101, 11, b"on")]).unwrap();
    assert_eq!(log.entries(3), Some([(1, 0), (101, 11)]));
}

#[test]
fn real_disk_keeps_what_was_written() {
    let folder = TestFolder::new("reopen");
    let settings = Settings { segment_bytes: 4096, ..Settings::new(NODE, 1) };
    let (mut log, _) = Log::open(StdDisk, &folder.0, settings.clone()).unwrap();
    log.write(&turn()).unwrap();
    log.close().unwrap();
    let (mut log, found) = Log::open(StdDisk, &folder.0, settings.clone()).unwrap();
    assert_eq!(found, recovered());
    for index in 2..=50 {
        log.write(&[append(7, index, 1, &[1; 200])]).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(log.reclaim().unwrap(), 0);
    log.write(&[Write::Purge { group: 7, until: 45 }, Write::Purge { group: 0, until: 2 }]).unwrap();
    log.sync().unwrap();
    assert_eq!(log.reclaim().unwrap(), 3);
    drop(log);
    let (mut log, found) = Log::open(StdDisk, &folder.0, settings).unwrap();
    assert_eq!(found.groups[1].entries, Some([(46, 1), (50, 1)]));
    assert_eq!(all(&mut log, 7).len(), 5);
}

/// A folder that goes with the test.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fulmar-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn folder_of_another_node_is_refused() {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk).unwrap());
    let error = Log::open(disk, folder(), Settings { node: 1, ..settings() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/log/0000000000000001.log was written by node 0123456789abcdef, wanted 0000000000000001"
    );
}

#[test]
fn batch_larger_than_a_segment_is_found_whole() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let large = vec![7; 3_000_000];
    log.write(&[append(1, 1, 1, b"before"), append(1, 2, 1, &large), append(2, 1, 1, b"beside")]).unwrap();
    log.write(&[append(1, 3, 1, b"after")]).unwrap();
    log.sync().unwrap();
    disk.crash(CrashKeeps::Nothing);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!((log.usage().segments, recovered.cut), (2, None));
    assert_eq!(all(&mut log, 1), [(1, 1, b"before".to_vec()), (2, 1, large), (3, 1, b"after".to_vec())]);
    assert_eq!(all(&mut log, 2), [(1, 1, b"beside".to_vec())]);
}

#[test]
fn log_may_live_on_a_thread_of_its_own() {
    fn moves<T: Send>(_: &T) {}
    moves(&open(&SimulatedDisk::new(1)).unwrap().0);
    fn real(log: &Log<StdDisk>) {
        moves(log);
    }
    let _ = real;
}
