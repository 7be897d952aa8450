//! The bytes of a segment, as they are documented: another release must read them.

use crate::disk::SimulatedDisk;
use crate::tests::fixture::{append, folder, segment};
use crate::{Disk, File, Log, Settings, Write};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The segment as lines of 32 bytes.
fn lines(disk: &SimulatedDisk, number: u64) -> Vec<String> {
    let file = disk.open(&segment(number)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes.chunks(32).map(hex).collect()
}

#[test]
fn first_segment_has_the_documented_bytes() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), folder(), Settings::new(0x1122_3344_5566_7788, 0xaabb)).unwrap();
    log.write(&[Write::State { group: 5, bytes: b"abc" }, append(6, 1, 9, b"xy")]).unwrap();
    assert_eq!(lines(&disk, 1), FIRST);
}

#[test]
fn second_segment_begins_with_what_the_groups_are() {
    let disk = SimulatedDisk::new(1);
    let settings = Settings { segment_bytes: 100, ..Settings::new(0x1122_3344_5566_7788, 0xaabb) };
    let (mut log, _) = Log::open(disk.clone(), folder(), settings).unwrap();
    log.write(&[Write::State { group: 5, bytes: b"abc" }, append(6, 1, 9, b"xy")]).unwrap();
    log.write(&[append(6, 2, 9, b"z")]).unwrap();
    assert_eq!(lines(&disk, 2), SECOND);
}

const FIRST: &[&str] = &[
    "66756c6d726c6f6701000000efb9fab188776655443322110100000000000000", // magic, version, checksum, node, number
    "bbaa000000000000010000000000000000000000000000000000000000000000", // salt, sequence, nothing before, zeros
    "464241540afdf79b010000000000000000000000db3cc21b6000000000000000", // nobody to carry; synced up to its own end
    "46424154bf21717702000000000000003f0000004220cabe600000000afdf79b", // the batch, 63 bytes of records
    "a781639803000000010500000000000000000000000000000000000000616263", // state of group 5
    "8bf0440502000000020600000001000000000000000900000000000000787900", // entry 1 of group 6, and one zero
];

const SECOND: &[&str] = &[
    "66756c6d726c6f67010000000bdb8eae88776655443322110200000000000000", // number 2
    "bbaa0000000000000300000000000000bf217177000000000000000000000000", // sequence 3, checksum of batch 2
    "46424154f2cc5a7d03000000000000003d0000002d6b68fca0000000bf217177", // 61 bytes of records, synced up to their end
    "f38851af03000000060500000000000000000000000100000000000000616263", // group 5: nothing purged, next is 1, its state
    "e3ddca6b00000000060600000000000000000000000200000000000000000000", // group 6: nothing purged, next is 2
    "464241545b6dc74f04000000000000001e00000050bb234fa0000000f2cc5a7d", // the batch, 30 bytes of records
    "0c5f8182010000000206000000020000000000000009000000000000007a0000", // entry 2 of group 6
];
