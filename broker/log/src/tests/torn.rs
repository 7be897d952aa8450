//! A crash in the middle of a write: what was synced stays, the rest is there in whole batches or cut.

use crate::disk::{CrashKeeps, SimulatedDisk};
use crate::format::BatchHead;
use crate::tests::fixture::{all, append, filled, open, segment};
use crate::{Disk, File, Index};

/// Two entries are synced; three more are written, 192 bytes each.
const SYNCED: u64 = 64 + 32 + 2 * 192;

fn with_unsynced(disk: &SimulatedDisk) {
    let mut log = filled(disk, 2);
    for index in 3..=5 {
        log.write(&[append(1, index, 1, &[index as u8; 100])]).unwrap();
    }
}

#[test]
fn log_that_ends_anywhere_behind_the_last_sync_is_cut_to_whole_batches() {
    for length in SYNCED..=SYNCED + 3 * 192 {
        let disk = SimulatedDisk::new(1);
        with_unsynced(&disk);
        disk.open(&segment(1)).unwrap().set_length(length).unwrap();
        let (mut log, recovered) = open(&disk).unwrap();
        let whole = (length - SYNCED) / 192;
        let torn = (length - SYNCED) % 192;
        assert_eq!(recovered.groups[0].entries, Some([(1, 1), (2 + whole, 1)]), "length {length}");
        assert_eq!(recovered.cut.map(|cut| (cut.offset, cut.bytes)), (torn > 0).then_some((length - torn, torn)));
        assert_eq!(all(&mut log, 1).len() as Index, 2 + whole);

        // It goes on as if nothing had been there.
        log.write(&[append(1, 3 + whole, 2, b"next")]).unwrap();
        log.sync().unwrap();
        disk.crash(CrashKeeps::Nothing);
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!((recovered.groups[0].entries, recovered.cut), (Some([(1, 1), (3 + whole, 2)]), None));
    }
}

#[test]
fn later_batch_that_reached_the_disk_before_an_earlier_one_goes_too() {
    let disk = SimulatedDisk::new(1);
    with_unsynced(&disk);
    // Entry 3 was not written, 4 and 5 were: none of them says that 3 was synced.
    disk.open(&segment(1)).unwrap().write_at(SYNCED, &[0; 192]).unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.groups[0].entries, Some([(1, 1), (2, 1)]));
    assert_eq!(recovered.cut.map(|cut| (cut.offset, cut.bytes)), Some((SYNCED, 3 * 192)));
}

#[test]
fn batch_of_another_history_does_not_continue_this_one() {
    let disk = SimulatedDisk::new(1);
    with_unsynced(&disk);
    let file = disk.open(&segment(1)).unwrap();
    let mut other = [0; 192];
    file.read_at(SYNCED + 192, &mut other).unwrap();
    // Entry 3 is torn, so all is cut; another entry 3 of the same length is written instead.
    file.write_at(SYNCED, &[0; 192]).unwrap();
    let (mut log, _) = open(&disk).unwrap();
    log.write(&[append(1, 3, 2, &[9; 100])]).unwrap();
    drop(log);
    // The old entry 4 stands behind it again, as a file system may bring it back. Index and sequence fit.
    disk.open(&segment(1)).unwrap().write_at(SYNCED + 192, &other).unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.groups[0].entries, Some([(1, 1), (3, 2)]));
    let cut = recovered.cut.unwrap();
    assert_eq!((cut.bytes, cut.defect.what), (192, "checksum of the batch before"));
}

#[test]
fn message_that_imitates_a_batch_is_not_taken_for_one() {
    // A client guesses where its message will stand, and fills it with heads that claim a later sync.
    let heads = |seed: u32, begin: u64, sequence: u64| -> Vec<u8> {
        let at = |head: u64| u32::try_from(begin + head * 32).unwrap();
        let head = BatchHead { sequence, length: 0, checksum: 0, synced: 4000, previous: 0 };
        // Heads count at multiples of 32 bytes only, and a payload begins 3 bytes before one.
        let heads = (1..20).flat_map(|number| head.encode(seed, at(number)).0);
        [0; 3].into_iter().chain(heads).collect()
    };
    let torn = |seed: Option<u32>, sequence: u64| {
        let disk = SimulatedDisk::new(1);
        let mut log = filled(&disk, 2);
        let real = log.segments[0].seed;
        log.write(&[append(1, 3, 1, &heads(seed.unwrap_or(real), SYNCED + 32, sequence))]).unwrap();
        drop(log);
        disk.flip(&segment(1), (SYNCED + 8) * 8);
        open(&disk).map(|(_, recovered)| recovered.cut.is_some()).map_err(|error| error.to_string())
    };
    assert_eq!(torn(Some(0), 9), Ok(true));
    // Who knew what the checksums begin with could do it: that is why they begin with something nobody knows.
    assert!(torn(None, 9).is_err());
    // A head that was there before this segment has a lower sequence than the torn batch, which is the fourth; and
    // between them there is not room for a hundred.
    assert_eq!([torn(None, 3), torn(None, 100)], [Ok(true), Ok(true)]);
}

#[test]
fn segment_that_was_not_finished_is_removed() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 2));
    disk.create(&segment(2).with_extension("new")).unwrap().write_at(0, b"fulmr").unwrap();
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.cut, log.usage().segments, disk.files().len()), (None, 1, 1));
}
