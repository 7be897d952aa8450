//! How a life begins, and what is not opened.

use std::num::NonZeroU16;
use std::path::Path;

use fulmar_log::Disk;
use fulmar_log::disk::CrashKeeps;

use super::fixture::*;
use crate::{Engine, Identity, OpenError, Settings};

fn open(world: &World, settings: Settings) -> Result<(), OpenError> {
    let mut heard = Heard::default();
    Engine::open(world.disk.clone(), settings, world.now, world.time, &mut heard).map(drop)
}

#[test]
fn an_engine_can_be_given_to_a_thread() {
    fn is_sent<T: Send>() {}
    is_sent::<Engine<fulmar_log::StdDisk>>();
}

#[test]
fn each_life_has_a_number_of_its_own_whatever_crashes() {
    let mut world = World::new();
    for incarnation in 2..6 {
        world.crash(CrashKeeps::Nothing);
        assert_eq!(world.engine.node(), fulmar_store::Node { id: NODE, incarnation });
    }
    let identity =
        Identity { node: NODE, shards: NonZeroU16::new(4).unwrap(), incarnation: 5, mode: crate::Mode::Alone };
    assert_eq!(Identity::read(&world.disk, Path::new("/data")).unwrap(), Some(identity));
}

#[test]
fn a_folder_of_another_node_or_number_of_shards_is_not_opened() {
    let world = World::new();
    let more = Settings { shards: NonZeroU16::new(5).unwrap(), ..settings(1) };
    assert_eq!(open(&world, more).unwrap_err().to_string(), "/data was made with 4 shards, wanted 5");
    let other = Settings { node: 7, ..settings(1) };
    let error = open(&world, other).unwrap_err().to_string();
    assert_eq!(error, "/data was made by node 00000000000000ab, wanted 0000000000000007");
}

#[test]
fn a_log_without_an_identity_is_not_taken_for_a_new_folder() {
    let world = World::new();
    world.disk.remove(Path::new("/data/identity")).unwrap();
    let error = open(&world, settings(1)).unwrap_err();
    assert!(matches!(error, OpenError::NoIdentity { .. }), "{error}");
}

#[test]
fn a_damaged_identity_is_named() {
    let world = World::new();
    world.disk.flip(Path::new("/data/identity"), 8 * 40);
    let error = open(&world, settings(1)).unwrap_err();
    assert!(matches!(error, OpenError::Identity { .. }), "{error}");
}

#[test]
fn settings_of_shards_are_committed_once() {
    let mut world = World::new();
    let entries = |world: &World| world.engine.counts().log_entries;
    let before = entries(&world);
    world.restart();
    let of_start = entries(&world) - before;
    world.settings.store.retained_max = 5;
    let before = entries(&world);
    world.restart();
    assert!(world.engine.replicas.iter().all(|it| it.shard.settings().retained_max == 5));
    assert_eq!(entries(&world) - before, of_start, "in the entry that there is anyway");
}
