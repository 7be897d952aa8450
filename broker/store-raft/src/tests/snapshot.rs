//! Snapshots: when the log goes, and what is opened then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fulmar_codec::QoS;
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_log::{Disk, File};
use fulmar_store::{Ask, WillFate};

use super::fixture::*;
use crate::bodies::Bringing;
use crate::{Engine, Settings, snapshot};

fn load(disk: &SimulatedDisk, folder: &Path, named: snapshot::Named) -> Result<(), String> {
    let mut keeping = Bringing::new(disk, folder, named.group);
    snapshot::load(disk, &named.path(folder), named, &mut keeping).map(drop)
}

fn small() -> Settings {
    let mut settings = Settings { snapshot_log_bytes: 20_000, snapshot_portion_bytes: 1000, ..settings(1) };
    settings.log.segment_bytes = 10_000;
    settings
}

fn snapshots(world: &World) -> Vec<String> {
    let mut names = world.disk.list(Path::new("/data")).unwrap();
    names.retain(|name| name.starts_with("snapshot"));
    names.sort();
    names
}

/// A session that left behind queued messages, and a log that is larger than one group may have.
fn filled(settings: Settings) -> World {
    let mut world = World::with(settings);
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    world.ask(Ask::Disconnect { client: client("sub"), epoch, expiry_seconds: None, will: WillFate::Keep });
    publish_numbers(&mut world, 0..100);
    world
}

fn publish_numbers(world: &mut World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        world.ask(publish(shard_of("sub"), message("t", &format!("{number:0>300}"))));
    }
}

fn queued(world: &mut World) -> Vec<u32> {
    let Ask::Claim { owner, mut claim } = claim("sub", 7) else { unreachable!("a claim is one") };
    claim.receive_maximum = std::num::NonZeroU16::MAX;
    world.ask(Ask::Claim { owner, claim });
    payloads(&world.delivered(7)).iter().map(|it| it.parse().unwrap()).collect()
}

#[test]
fn a_long_log_goes_when_its_shard_is_in_a_snapshot_and_nothing_is_lost() {
    let mut world = filled(small());
    assert!(world.engine.counts().snapshots > 0);
    let found = snapshots(&world);
    assert_eq!(found.len(), 1, "older ones go: {found:?}");
    assert!(world.engine.counts().log_bytes < 60_000, "{} bytes", world.engine.counts().log_bytes);
    world.crash(CrashKeeps::Nothing);
    assert_eq!(queued(&mut world), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_crash_at_any_sync_of_a_snapshot_loses_nothing() {
    for keeps in [CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors] {
        for crash_at in (1..60).step_by(3) {
            let mut world = filled(Settings { snapshot_log_bytes: u64::MAX, ..small() });
            world.settings.snapshot_log_bytes = 10_000;
            world.engine.settings.snapshot_log_bytes = 10_000;
            world.disk.fail_sync(crash_at);
            while world.engine.turn(world.now, world.time, &mut world.heard).is_ok_and(|next| next == Some(world.now)) {
            }
            world.crash(keeps);
            assert_eq!(queued(&mut world), (0..100).collect::<Vec<_>>(), "{keeps:?} {crash_at}");
        }
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_nothing_is_opened_without_it() {
    let world = filled(small());
    let name = snapshots(&world).remove(0);
    let path: PathBuf = Path::new("/data").join(&name);
    world.disk.flip(&path, 8 * 500);
    let mut heard = Heard::default();
    let opened = Engine::open(world.disk.clone(), world.settings.clone(), world.now, world.time, &mut heard);
    let error = opened.map(drop).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("checksum"), "{error}");
}

#[test]
fn no_part_of_a_snapshot_and_no_flipped_bit_is_taken_for_a_whole_one() {
    let world = filled(small());
    let folder = Path::new("/data");
    let name = snapshots(&world).remove(0);
    let named = snapshot::Named::parse(&name).unwrap();
    let file = world.disk.open(&folder.join(&name)).unwrap();
    let length = file.length().unwrap();
    let mut whole = vec![0; usize::try_from(length).unwrap()];
    file.read_at(0, &mut whole).unwrap();
    assert!(load(&world.disk, folder, named).is_ok());
    for cut in (0..length).step_by(7) {
        file.set_length(cut).unwrap();
        assert!(load(&world.disk, folder, named).is_err(), "{cut} of {length} bytes");
        file.write_at(0, &whole).unwrap();
    }
    for bit in (0..length * 8).step_by(97) {
        world.disk.flip(&folder.join(&name), bit);
        assert!(load(&world.disk, folder, named).is_err(), "bit {bit}");
        world.disk.flip(&folder.join(&name), bit);
    }
    assert!(load(&world.disk, folder, named).is_ok());
}

#[test]
fn the_group_that_keeps_the_oldest_part_of_the_log_is_written_first() {
    let mut settings = Settings { snapshot_log_bytes: u64::MAX, log_bytes_max: 40_000, ..small() };
    settings.log.segment_bytes = 10_000;
    let mut world = World::with(settings);
    // A session of another shard is the oldest entry, and nothing more is ever asked of it.
    let idle = (0..).map(|it| format!("i{it}")).find(|it| shard_of(it) != shard_of("sub")).unwrap();
    world.claim(&idle, 3);
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    publish_numbers(&mut world, 0..500);
    assert!(world.engine.counts().log_bytes < 80_000, "{} bytes", world.engine.counts().log_bytes);
    world.crash(CrashKeeps::Nothing);
    assert!(world.claim(&idle, 4).claimed.present);
    assert_eq!(queued(&mut world), (0..500).collect::<Vec<_>>());
}

#[test]
fn a_snapshot_that_has_no_room_is_tried_again() {
    let mut world = filled(Settings { snapshot_log_bytes: u64::MAX, ..small() });
    world.engine.settings.snapshot_log_bytes = 10_000;
    world.disk.set_capacity(Some(world.disk.used() + 1500));
    world.settle();
    assert_eq!((snapshots(&world), world.engine.counts().snapshots), (vec![], 0));
    world.disk.set_capacity(None);
    world.pass(Duration::from_secs(11));
    world.settle();
    assert_eq!(world.engine.counts().snapshots, 1);
}
