//! A bit that turned over is never read as data, and what was synced is never cut.

use fulmar_random::Random;

use crate::disk::{CrashKeeps, SimulatedDisk};
use crate::tests::fixture::{all, append, filled, folder, open, segment};
use crate::{Disk, File, Index, OpenError, ReadError, Recovered, Write};

const ENTRIES: Index = 60;

/// Three segments, closed.
fn closed(disk: &SimulatedDisk) -> Recovered {
    let mut log = filled(disk, ENTRIES - 1);
    log.write(&[Write::State { group: 2, bytes: b"state" }, append(1, ENTRIES, 1, &[0; 100])]).unwrap();
    log.close().unwrap();
    let (log, recovered) = open(disk).unwrap();
    assert_eq!(log.usage().segments, 3);
    recovered
}

#[test]
fn any_bit_flip_in_a_closed_log_is_damage() {
    let disk = SimulatedDisk::new(1);
    let whole = closed(&disk);
    let files = disk.files();
    let mut flips = 0;
    for (path, length) in &files {
        for byte in 0..*length {
            let bit = byte * 8 + byte % 8;
            disk.flip(path, bit);
            // The batch without records that `close` put behind the last one has none behind itself.
            let is_last_batch = path == &segment(3) && byte >= length - 32;
            match open(&disk) {
                Err(OpenError::Damage(damage)) => {
                    assert!(!is_last_batch && damage.file == *path && damage.offset <= byte, "byte {byte}: {damage}");
                }
                Ok((_, recovered)) => {
                    let cut = recovered.cut.expect("something is wrong with the bytes");
                    assert!(is_last_batch && cut.bytes == 32, "byte {byte} of {}: {cut:?}", path.display());
                    assert_eq!(recovered.groups, whole.groups);
                    return assert!(flips > 9_000, "{flips} flips");
                }
                Err(error) => panic!("byte {byte} of {}: {error}", path.display()),
            }
            disk.flip(path, bit);
            flips += 1;
        }
    }
    unreachable!("the last batch ends the test");
}

#[test]
fn bytes_that_were_written_over_are_never_data() {
    let mut random = Random::new(1);
    let mut found = 0;
    for _ in 0..500 {
        let disk = SimulatedDisk::new(1);
        let whole = closed(&disk);
        let files = disk.files();
        let (path, length) = &files[usize::try_from(random.below(3)).unwrap()];
        let begin = random.below(*length);
        let count = 1 + random.below((length - begin).min(3000));
        let junk: Vec<u8> = (0..count).map(|_| random.next().to_le_bytes()[0]).collect();
        disk.open(path).unwrap().write_at(begin, &junk).unwrap();
        match open(&disk) {
            Err(OpenError::Damage(damage)) => {
                assert!(damage.file == *path && damage.offset < begin + count, "{damage}");
                found += 1;
            }
            // All that could have proved it was written over too, or it had no effect.
            Ok((mut log, recovered)) => {
                let reaches_the_end = path == &segment(3) && begin + count > length - 32;
                assert!(
                    reaches_the_end && recovered.cut.is_some() || recovered == whole,
                    "{begin} {count} {recovered:?}"
                );
                let entries = all(&mut log, 1);
                assert!(entries.iter().zip(1..).all(|((index, ..), wanted)| *index == wanted));
            }
            Err(error) => panic!("{count} bytes from {begin} of {}: {error}", path.display()),
        }
    }
    assert!(found > 400, "{found} of 500 were noticed");
}

#[test]
fn bit_flip_under_a_running_log_is_found_by_reading() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 3);
    let begin = 64 + 32 + 32;
    for byte in begin..begin + 29 + 100 {
        disk.flip(&segment(1), byte * 8 + byte % 8);
        let error = log.read(1, 1, 1).unwrap_err();
        assert!(matches!(&error, ReadError::Damage(damage) if damage.offset == begin), "byte {byte}: {error}");
        assert_eq!(log.read(1, 2, usize::MAX).unwrap().len(), 2, "the others can be read");
        disk.flip(&segment(1), byte * 8 + byte % 8);
    }
    assert_eq!(log.read(1, 1, usize::MAX).unwrap().len(), 3);
}

#[test]
fn damage_names_file_offset_and_what_was_found() {
    let disk = SimulatedDisk::new(1);
    filled(&disk, 3).close().unwrap();
    disk.flip(&segment(1), 96 * 8);
    let error = open(&disk).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/log/0000000000000001.log is damaged at offset 96: magic of the batch is 0x54414247, wanted 0x54414246"
    );
}

#[test]
fn damage_to_the_last_batch_of_an_idle_log_is_known_once_it_is_settled() {
    for settled in [false, true] {
        let disk = SimulatedDisk::new(1);
        let mut log = filled(&disk, 3);
        if settled {
            log.settle().unwrap();
        }
        // Entry 3 begins behind two batches of 192 bytes.
        disk.flip(&segment(1), (64 + 32 + 2 * 192 + 100) * 8);
        match open(&disk) {
            Err(OpenError::Damage(damage)) => assert!(settled && damage.offset == 480, "{damage}"),
            Ok((_, recovered)) => assert!(!settled && recovered.cut.is_some(), "{recovered:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn settling_an_idle_log_writes_one_batch_only() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 3);
    let before = log.usage().bytes;
    log.settle().unwrap();
    log.settle().unwrap();
    log.sync().unwrap();
    log.settle().unwrap();
    assert_eq!(log.usage().bytes, before + 32);
    log.write(&[append(1, 4, 1, b"")]).unwrap();
    log.settle().unwrap();
    assert_eq!(log.usage().bytes, before + 32 + 64, "not synced, so there is nothing to say");
}

#[test]
fn lost_segment_in_the_middle_is_noticed() {
    let disk = SimulatedDisk::new(1);
    closed(&disk);
    disk.remove(&segment(2)).unwrap();
    let error = open(&disk).unwrap_err();
    assert_eq!(error.to_string(), "group 1 has lost its entries 1 to 42: the oldest segment found is number 3");
}

#[test]
fn lost_segment_at_the_front_is_noticed() {
    let disk = SimulatedDisk::new(1);
    closed(&disk);
    disk.remove(&segment(1)).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Missing { group: 1, from: 1, segment: 2, .. }), "{error}");
}

#[test]
fn segment_that_lost_its_end_is_noticed_by_the_next_one() {
    let disk = SimulatedDisk::new(1);
    closed(&disk);
    // Exactly one batch less: what is left looks fine by itself.
    let file = disk.open(&segment(2)).unwrap();
    file.set_length(file.length().unwrap() - 192).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(&error, OpenError::Damage(damage) if damage.file == segment(3)), "{error}");
}

#[test]
fn segment_under_another_number_is_damage() {
    let disk = SimulatedDisk::new(1);
    closed(&disk);
    disk.rename(&segment(3), &segment(4)).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(&error, OpenError::Damage(damage) if damage.file == segment(4)), "{error}");
}

#[test]
fn entries_read_after_a_gap_that_purges_explain() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, ENTRIES);
    log.write(&[Write::Purge { group: 1, until: 50 }]).unwrap();
    log.sync().unwrap();
    drop(log);
    // As if both old segments had been removed, and a crash had brought the first one back.
    disk.remove(&segment(2)).unwrap();
    disk.sync_folder(folder()).unwrap();
    disk.crash(CrashKeeps::Nothing);
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.groups[0].entries, Some([(51, 1), (ENTRIES, 1)]));
    assert_eq!(all(&mut log, 1).len(), 10);
    assert_eq!(disk.files().len(), 1, "what came back is gone");
}
