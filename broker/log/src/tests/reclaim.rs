//! Which segments go, and who keeps them.

use crate::disk::{CrashKeeps, SimulatedDisk};
use crate::tests::fixture::{all, append, filled, folder, open, segment};
use crate::{Index, Log, RecoveredGroup, Write};

#[test]
fn segments_go_once_the_purge_of_their_last_entry_is_synced() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 90);
    let segments = log.usage().segments;
    assert_eq!(segments, 5);
    log.write(&[Write::Purge { group: 1, until: 89 }]).unwrap();
    assert_eq!(log.reclaim(), Ok(0), "a crash could undo the purge");
    log.sync().unwrap();
    assert_eq!(log.reclaim(), Ok(4));
    assert_eq!((log.usage().segments, log.reclaim()), (1, Ok(0)));
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.groups[0].entries, Some([(90, 1), (90, 1)]));
}

/// Entries up to 43, the last one unsynced in segment 3, which was made of segment 1.
fn recycled(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    let mut log = filled(disk, 41);
    log.write(&[Write::Purge { group: 1, until: 21 }]).unwrap();
    log.sync().unwrap();
    assert_eq!(log.reclaim(), Ok(1));
    let names = |disk: &SimulatedDisk| disk.files().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(names(disk), [segment(2), folder().join("spare.new")]);
    log.write(&[append(1, 42, 1, &[42; 100])]).unwrap();
    log.sync().unwrap();
    log.write(&[append(1, 43, 1, &[43; 100])]).unwrap();
    assert_eq!(names(disk), [segment(2), segment(3)]);
    log
}

#[test]
fn old_segment_is_written_over_and_not_taken_for_new() {
    let disk = SimulatedDisk::new(1);
    let mut log = recycled(&disk);
    log.sync().unwrap();
    let length = disk.files()[1].1;
    assert!(length > 4096, "it has the length of the old one: {length}");
    disk.crash(CrashKeeps::Nothing);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.groups[0].entries, recovered.cut), (Some([(22, 1), (43, 1)]), None));
    assert_eq!(all(&mut log, 1).len(), 22);
}

#[test]
fn torn_batch_in_a_segment_that_was_written_over_is_reported() {
    let disk = SimulatedDisk::new(1);
    drop(recycled(&disk));
    // Head, carried group 1, then the batch with entry 43, of which the payload did not reach the disk.
    disk.flip(&segment(3), (64 + 64 + 32 + 60) * 8);
    let (_, recovered) = open(&disk).unwrap();
    let cut = recovered.cut.unwrap();
    assert_eq!(
        (recovered.groups[0].entries, cut.offset, cut.defect.what),
        (Some([(22, 1), (42, 1)]), 128, "checksum of a batch")
    );
}

#[test]
fn spare_makes_room_on_a_full_disk() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 30);
    log.write(&[Write::Purge { group: 1, until: 21 }]).unwrap();
    log.sync().unwrap();
    log.reclaim().unwrap();
    disk.set_capacity(Some(disk.used()));
    log.write(&[append(1, 31, 1, b"fits")]).unwrap();
    log.sync().unwrap();
    assert_eq!(disk.files().len(), 1);
    disk.crash(CrashKeeps::Nothing);
    assert_eq!(open(&disk).unwrap().1.groups[0].entries, Some([(22, 1), (31, 1)]));
}

#[test]
fn group_that_keeps_the_oldest_segment_is_named() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(&[append(7, 1, 1, b"slow"), append(3, 1, 1, b"fast")]).unwrap();
    assert_eq!(log.pinned(), None, "there is nothing to reclaim");
    for index in 2..=60 {
        log.write(&[append(3, index, 1, &[0; 100])]).unwrap();
    }
    log.write(&[Write::Purge { group: 3, until: 60 }]).unwrap();
    log.sync().unwrap();
    assert_eq!((log.reclaim(), log.pinned()), (Ok(0), Some(7)));
    log.write(&[Write::Purge { group: 7, until: 1 }]).unwrap();
    log.sync().unwrap();
    assert_eq!((log.reclaim(), log.pinned()), (Ok(2), None));
}

#[test]
fn idle_group_keeps_no_segment_and_loses_no_state() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.write(&[
        Write::State { group: 1, bytes: b"voted for 2" },
        append(1, 1, 4, b""),
        Write::Purge { group: 1, until: 1 },
        Write::State { group: 2, bytes: b"to be forgotten" },
    ])
    .unwrap();
    for index in 1..=300 as Index {
        log.write(&[append(3, index, 1, &[0; 100]), Write::Purge { group: 3, until: index }]).unwrap();
        if index == 150 {
            log.write(&[Write::Forget { group: 2 }]).unwrap();
        }
    }
    log.sync().unwrap();
    assert!(log.reclaim().unwrap() > 10);
    assert_eq!(log.usage().segments, 1);
    disk.crash(CrashKeeps::Nothing);
    let (mut log, recovered) = open(&disk).unwrap();
    let idle = RecoveredGroup { group: 1, state: b"voted for 2".to_vec(), purged: 1, entries: None };
    let busy = RecoveredGroup { group: 3, state: Vec::new(), purged: 300, entries: None };
    assert_eq!(recovered.groups, [idle, busy]);
    log.write(&[append(1, 2, 5, b"goes on"), append(2, 1, 1, b"begins again")]).unwrap();
}

#[test]
fn place_of_an_entry_takes_eight_bytes() {
    let log = filled(&SimulatedDisk::new(1), 1000);
    let usage = log.usage();
    assert_eq!(usage.entries, 1000);
    // Room that was reserved for more counts, in each of the 48 segments.
    assert!(usage.index_bytes >= 8 * 1000 && usage.index_bytes <= 2 * 8 * 1000, "{usage:?}");
}
