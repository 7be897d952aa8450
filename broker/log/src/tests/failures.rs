//! Disks that are full, and disks that fail.

use crate::disk::{CrashKeeps, SimulatedDisk};
use crate::tests::fixture::{all, append, filled, open};
use crate::{ReadError, WriteError};

#[test]
fn batch_that_does_not_fit_leaves_no_trace_and_fits_later() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 2);
    let before = (log.usage(), disk.files());
    let batch = [append(1, 3, 1, &[3; 100]), append(1, 4, 1, &[4; 100]), append(2, 1, 1, b"new group")];
    for room in [0, 1, 31, 32, 100, 300] {
        disk.set_capacity(Some(disk.used() + room));
        assert_eq!(log.write(&batch), Err(WriteError::Full { wanted: 352 }));
        assert_eq!((log.usage(), disk.files()), before);
        assert_eq!(all(&mut log, 1).len(), 2);
    }
    disk.set_capacity(Some(disk.used() + 352));
    log.write(&batch).unwrap();
    log.sync().unwrap();
    disk.crash(CrashKeeps::Nothing);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.cut, None);
    assert_eq!(
        recovered.groups.iter().map(|group| group.entries).collect::<Vec<_>>(),
        [Some([(1, 1), (4, 1)]), Some([(1, 1), (1, 1)])]
    );
}

#[test]
fn segment_that_does_not_fit_leaves_no_trace_and_fits_later() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 21);
    let before = (log.usage(), disk.files());
    assert!(before.0.bytes >= 4096 && before.0.segments == 1, "the segment is full: {before:?}");
    disk.set_capacity(Some(disk.used() + 100));
    assert_eq!(log.write(&[append(1, 22, 1, b"")]), Err(WriteError::Full { wanted: 128 }));
    assert_eq!((log.usage(), disk.files()), before);
    disk.set_capacity(None);
    log.write(&[append(1, 22, 1, b"")]).unwrap();
    assert_eq!(log.usage().segments, 2);
}

#[test]
fn log_opens_on_a_full_disk() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 30);
    log.write(&[append(1, 31, 1, b"not synced")]).unwrap();
    drop(log);
    disk.set_capacity(Some(0));
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.groups[0].entries, Some([(1, 1), (31, 1)]));
}

#[test]
fn after_a_failed_sync_nothing_is_taken_any_more() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 2);
    log.write(&[append(1, 3, 1, b"lost")]).unwrap();
    disk.fail_sync(1);
    let failed = log.sync().unwrap_err();
    assert_eq!(
        failed.to_string(),
        "log has failed and takes nothing more: sync segment /log/0000000000000001.log: \
         simulated: the disk did not take it"
    );
    // The disk works again; a second sync would report success for bytes that are not there.
    let syncs = disk.syncs();
    for _ in 0..3 {
        assert_eq!(log.write(&[append(1, 4, 1, b"")]), Err(WriteError::Failed(failed.clone())));
        assert_eq!(log.write(&[]), Err(WriteError::Failed(failed.clone())));
        assert_eq!(log.sync(), Err(failed.clone()));
        assert_eq!(log.settle(), Err(WriteError::Failed(failed.clone())));
        assert_eq!(log.reclaim(), Err(failed.clone()));
        assert!(matches!(log.read(1, 1, 1), Err(ReadError::Failed(found)) if found == failed));
    }
    assert_eq!(disk.syncs(), syncs);
    assert_eq!(log.close(), Err(WriteError::Failed(failed)));
}

#[test]
fn what_a_failed_sync_lost_is_on_the_disk_once_it_was_recovered() {
    // The unsynced entry can be read after the failure, whether it is on the disk or not.
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let mut log = filled(&disk, 2);
        log.write(&[append(1, 3, 1, b"promised")]).unwrap();
        disk.fail_sync(1);
        log.sync().unwrap_err();
        drop(log);
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.groups[0].entries, Some([(1, 1), (3, 1)]));
        disk.crash(CrashKeeps::Nothing);
        let (_, again) = open(&disk).unwrap();
        assert_eq!(again.groups, recovered.groups);
    }
}

#[test]
fn every_sync_on_the_way_into_a_new_segment_counts() {
    // The old segment, the new one, the folder: whichever fails, the log fails, and what was synced is found.
    for failing in 1..=3 {
        let disk = SimulatedDisk::new(1);
        let mut log = filled(&disk, 21);
        // The old segment would be synced already, so something is written to make three.
        log.settle().unwrap();
        disk.fail_sync(failing);
        let error = log.write(&[append(1, 22, 1, b"")]).unwrap_err();
        assert!(matches!(error, WriteError::Failed(_)), "{error}");
        assert_eq!(log.sync().map_err(WriteError::Failed), Err(error));
        disk.crash(CrashKeeps::Nothing);
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.groups[0].entries, Some([(1, 1), (21, 1)]));
    }
}

#[test]
fn what_a_full_disk_took_of_a_batch_may_come_back_and_means_nothing() {
    let mut came_back = 0;
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let mut log = filled(&disk, 21);
        disk.set_capacity(Some(disk.used() + 8));
        assert_eq!(log.settle(), Err(WriteError::Full { wanted: 32 }));
        disk.set_capacity(None);
        log.write(&[append(1, 22, 1, b"in the next segment")]).unwrap();
        log.sync().unwrap();
        // It may bring back the eight bytes that were written, behind a segment that has a successor.
        disk.crash(CrashKeeps::Prefix);
        came_back += usize::from(disk.files()[0].1 % 32 == 8);
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.groups[0].entries, Some([(1, 1), (22, 1)]));
        assert_eq!(recovered.cut, None);
    }
    assert!(came_back > 0);
}
