//! Looking tells what opening would, changes nothing, and reads what is left.

use crate::disk::SimulatedDisk;
use crate::tests::fixture::{all, append, filled, folder, open, segment};
use crate::{Disk, File, Index, OpenError, look};

const ENTRIES: Index = 60;

/// Everything on a disk.
fn contents(disk: &SimulatedDisk) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = disk.files().into_iter().map(|(path, length)| {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        disk.open(&path).unwrap().read_at(0, &mut bytes).unwrap();
        (path, bytes)
    });
    files.collect()
}

#[test]
fn a_log_is_looked_at_as_it_would_be_opened() {
    let disk = SimulatedDisk::new(1);
    filled(&disk, ENTRIES).close().unwrap();
    let before = contents(&disk);
    let mut seen = look(disk.clone(), folder()).unwrap();
    assert_eq!(contents(&disk), before);
    assert!(seen.problem.is_none() && seen.torn.is_none() && seen.left_over.is_empty(), "{seen:?}");
    assert!(seen.segments.len() == 3 && seen.segments.iter().all(|it| it.bytes == it.intact), "{:?}", seen.segments);

    let read: Vec<_> = seen.read(1, 1, usize::MAX).unwrap().iter().map(|it| (it.index, it.payload.to_vec())).collect();
    let groups = seen.groups;
    let (mut log, recovered) = open(&disk).unwrap();
    assert_eq!(groups, recovered.groups);
    assert_eq!(read, all(&mut log, 1).into_iter().map(|(index, _, payload)| (index, payload)).collect::<Vec<_>>());
}

#[test]
fn wherever_a_bit_turned_over_looking_says_what_opening_says_and_reads_up_to_there() {
    let disk = SimulatedDisk::new(1);
    filled(&disk, ENTRIES).close().unwrap();
    let mut entries_before = 0;
    for (path, length) in disk.files() {
        for byte in (0..length - 32).step_by(7) {
            disk.flip(&path, byte * 8 + 3);
            let before = contents(&disk);
            let mut seen = look(disk.clone(), folder()).unwrap();
            assert_eq!(contents(&disk), before);
            let opened = open(&disk).expect_err("damage");
            let problem = seen.problem.take().expect("looking finds what opening does");
            assert_eq!(problem.to_string(), opened.to_string(), "byte {byte} of {}", path.display());
            let read = seen.read(1, 1, usize::MAX).unwrap();
            for (at, entry) in read.iter().enumerate() {
                assert_eq!((entry.index, entry.payload[0]), (at as Index + 1, at as u8 + 1));
            }
            entries_before = entries_before.max(read.len());
            disk.flip(&path, byte * 8 + 3);
        }
    }
    assert_eq!(entries_before as Index, ENTRIES - 1, "damage in the last entry leaves the others");
}

#[test]
fn a_torn_tail_is_told_with_its_length_and_stays() {
    let disk = SimulatedDisk::new(1);
    let mut log = filled(&disk, 2);
    log.write(&[append(1, 3, 1, &[3; 100])]).unwrap();
    drop(log);
    let file = disk.open(&segment(1)).unwrap();
    let length = file.length().unwrap();
    file.set_length(length - 7).unwrap();
    let seen = look(disk.clone(), folder()).unwrap();
    let torn = seen.torn.expect("a torn tail");
    assert_eq!((torn.offset, torn.bytes, file.length().unwrap()), (length - 192, 185, length - 7));
    assert!(seen.problem.is_none());
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.cut, Some(torn));
}

#[test]
fn segments_that_are_missing_and_files_that_nobody_needs_are_named() {
    let disk = SimulatedDisk::new(1);
    filled(&disk, ENTRIES).close().unwrap();
    disk.create(&folder().join("spare.new")).unwrap();
    disk.remove(&segment(1)).unwrap();
    let seen = look(disk.clone(), folder()).unwrap();
    assert!(matches!(seen.problem, Some(OpenError::Missing { group: 1, from: 1, segment: 2, .. })), "{seen:?}");
    assert_eq!(seen.left_over, ["spare.new"]);

    disk.remove(&segment(2)).unwrap();
    disk.create(&segment(1)).unwrap();
    let seen = look(disk, folder()).unwrap();
    assert_eq!((seen.segments.len(), seen.left_over.len()), (1, 2), "{seen:?}");
}

#[test]
fn an_empty_folder_has_no_segments_and_no_groups() {
    let disk = SimulatedDisk::new(1);
    disk.create_folder(folder()).unwrap();
    let seen = look(disk, folder()).unwrap();
    assert!(seen.segments.is_empty() && seen.groups.is_empty() && seen.problem.is_none(), "{seen:?}");
}
