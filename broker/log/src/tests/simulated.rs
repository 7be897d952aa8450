//! The simulated disk keeps its own promises, and breaks those that real ones don't make.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::disk::{CrashKeeps, SimulatedDisk, SimulatedFile};
use crate::{Disk, File};

const ALL: [CrashKeeps; 3] = [CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors];

fn path() -> &'static Path {
    Path::new("/folder/file")
}

/// A file that holds `bytes` durably.
fn stored(disk: &SimulatedDisk, bytes: &[u8]) -> SimulatedFile {
    let file = disk.create(path()).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_folder(Path::new("/folder")).unwrap();
    file
}

fn contents(disk: &SimulatedDisk) -> Vec<u8> {
    let file = disk.open(path()).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// What crashes leave of two sectors that replace two others, and a third one.
fn left_by(keeps: CrashKeeps) -> BTreeSet<Vec<u8>> {
    let crashed = |seed| {
        let disk = SimulatedDisk::new(seed);
        let file = stored(&disk, &[1; 1024]);
        file.write_at(0, &[2; 512]).unwrap();
        file.write_at(512, &[3; 1024]).unwrap();
        disk.crash(keeps);
        let bytes = contents(&disk);
        // One byte for each sector, to tell them apart.
        bytes.chunks(512).map(|sector| if sector.iter().all(|it| *it == sector[0]) { sector[0] } else { 9 }).collect()
    };
    (0..300).map(crashed).collect()
}

#[test]
fn crash_keeps_what_was_synced_and_of_the_rest_what_it_likes() {
    assert_eq!(left_by(CrashKeeps::Nothing), BTreeSet::from([vec![1, 1]]));
    let prefixes = left_by(CrashKeeps::Prefix);
    assert!(prefixes.is_superset(&BTreeSet::from([vec![1, 1], vec![2, 1], vec![2, 3, 3]])), "{prefixes:?}");
    assert!(!prefixes.contains(&vec![1, 3, 3]), "that would be the second write without the first");
    let sectors = left_by(CrashKeeps::Sectors);
    assert!(
        sectors.is_superset(&BTreeSet::from([vec![1, 3], vec![2, 1], vec![1, 1, 3], vec![2, 3, 0]])),
        "{sectors:?}"
    );
}

#[test]
fn name_lasts_only_with_its_folder() {
    for keeps in ALL {
        let disk = SimulatedDisk::new(1);
        let file = disk.create(path()).unwrap();
        file.write_at(0, b"x").unwrap();
        file.sync().unwrap();
        disk.crash(keeps);
        assert!(keeps != CrashKeeps::Nothing || disk.open(path()).is_err());
        assert!(file.length().is_err(), "what was open before the crash is gone");
    }
    let disk = SimulatedDisk::new(1);
    stored(&disk, b"x");
    disk.rename(path(), Path::new("/folder/other")).unwrap();
    disk.crash(CrashKeeps::Nothing);
    assert_eq!(contents(&disk), b"x", "under its old name");
    disk.remove(path()).unwrap();
    disk.sync_folder(Path::new("/folder")).unwrap();
    disk.crash(CrashKeeps::Nothing);
    assert!(disk.files().is_empty());
}

#[test]
fn file_counts_as_clean_after_a_failed_sync() {
    let lost = (0..20).filter(|&seed| {
        let disk = SimulatedDisk::new(seed);
        let file = stored(&disk, b"old");
        file.write_at(0, b"new").unwrap();
        disk.fail_sync(1);
        file.sync().unwrap_err();
        assert_eq!(contents(&disk), b"new", "it can be read");
        file.sync().unwrap();
        disk.crash(CrashKeeps::Nothing);
        contents(&disk) == b"old"
    });
    let lost = lost.count();
    assert!(lost > 0 && lost < 20, "{lost} of 20 were lost");
}

#[test]
fn full_disk_takes_the_part_that_fits() {
    let disk = SimulatedDisk::new(1);
    let file = stored(&disk, b"1234");
    disk.set_capacity(Some(6));
    let error = file.write_at(2, b"abcdef").unwrap_err();
    assert_eq!((error.kind(), contents(&disk)), (std::io::ErrorKind::StorageFull, b"12abcd".to_vec()));
    file.write_at(0, b"over").unwrap();
    file.set_length(2).unwrap();
    file.write_at(2, b"back").unwrap();
    assert_eq!((disk.used(), contents(&disk)), (6, b"ovback".to_vec()));
}

#[test]
fn slow_disk_says_how_long_it_took() {
    let disk = SimulatedDisk::new(1);
    disk.set_speed(Duration::from_millis(2), 1_000_000);
    stored(&disk, &[0; 500]);
    assert_eq!(disk.take_elapsed(), Duration::from_micros(500 + 2 * 2000));
    assert_eq!(disk.take_elapsed(), Duration::ZERO);
}

#[test]
fn flipped_bit_is_read_by_everyone() {
    let disk = SimulatedDisk::new(1);
    stored(&disk, &[0, 0]);
    disk.flip(path(), 9);
    assert_eq!(contents(&disk), [0, 2]);
    disk.crash(CrashKeeps::Nothing);
    assert_eq!(contents(&disk), [0, 2]);
}
