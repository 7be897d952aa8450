//! Bodies that leave memory: what is kept, what comes back, what goes from the disk, and what happens when that fails.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulmar_codec::QoS;
use fulmar_log::Disk;
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_store::{Ack, Answer, Ask, WillFate};

use super::fixture::*;
use crate::bodies::{Bringing, NamedBodies};
use crate::replica::group_of;
use crate::snapshot::{self, Named};
use crate::whole::Whole;
use crate::{Engine, Failed, Settings, State};

const FOLDER: &str = "/data";

/// Next to nothing is in memory, files and logs are short.
fn small() -> Settings {
    let mut settings = Settings {
        snapshot_log_bytes: 20_000,
        snapshot_portion_bytes: 1000,
        shard_memory_bytes: 2000,
        body_file_bytes: 4000,
        ..settings(1)
    };
    settings.log.segment_bytes = 10_000;
    settings
}

fn text(number: u32) -> String {
    format!("{number:0>300}")
}

/// A session whose client has gone, and messages for it.
fn filled(settings: Settings, messages: u32) -> World {
    let mut world = World::with(settings);
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    world.ask(Ask::Disconnect { client: client("sub"), epoch, expiry_seconds: None, will: WillFate::Keep });
    (0..messages).for_each(|number| publish_one(&mut world, number));
    world
}

fn publish_one(world: &mut World, number: u32) {
    let answer = world.ask(publish(shard_of("sub"), message("t", &text(number))));
    assert!(matches!(answer, Answer::Reply(_)), "{number}: {answer:?}");
}

/// The client comes back, takes so many messages and acknowledges each.
fn drain(world: &mut World, slot: u32, messages: usize) -> Vec<u32> {
    let Ask::Claim { owner, mut claim } = claim("sub", slot) else { unreachable!("a claim is one") };
    claim.receive_maximum = NonZeroU16::new(7).unwrap();
    let Answer::Claimed(session) = world.ask(Ask::Claim { owner, claim }) else { panic!("it is claimed") };
    let mut taken = Vec::new();
    while taken.len() < messages {
        let deliveries = world.delivered(slot);
        assert!(!deliveries.is_empty(), "{} of {messages} came", taken.len());
        taken.extend(payloads(&deliveries).iter().map(|it| it.parse::<u32>().unwrap()));
        let acks = deliveries.iter().map(|it| (it.sequence, Ack::Ack)).collect();
        world.ask(Ask::Acknowledge { client: client("sub"), epoch: session.claimed.epoch, acks });
    }
    taken
}

fn body_files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(FOLDER)).unwrap();
    let names = names.iter().filter(|name| NamedBodies::parse(name).is_some());
    names.map(|name| Path::new(FOLDER).join(name)).collect()
}

#[test]
fn memory_holds_no_more_than_it_may_and_everything_comes_back_in_order() {
    let mut world = filled(small(), 100);
    let counts = world.engine.counts();
    assert!(counts.bytes_on_disk > 100 * 300 - 2000, "{counts:?}");
    for shard in world.engine.replicas.iter().map(|replica| &replica.shard) {
        assert!(shard.bytes_in_memory() <= 2000, "{} bytes", shard.bytes_in_memory());
    }
    world.crash(CrashKeeps::Nothing);
    assert_eq!(drain(&mut world, 2, 100), (0..100).collect::<Vec<_>>());
    assert!(world.engine.counts().body_bytes_read > 100 * 300 - 2000);
    assert_eq!((world.engine.counts().bytes_on_disk, world.engine.counts().queued), (0, 0));
}

#[test]
fn what_fits_into_memory_never_reaches_a_file() {
    let mut world = filled(Settings { shard_memory_bytes: 1 << 20, ..small() }, 100);
    assert!(world.engine.counts().snapshots > 0);
    assert_eq!((body_files(&world.disk), world.engine.counts().body_file_bytes), (vec![], 0));
    assert_eq!(drain(&mut world, 2, 100), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_snapshot_refers_to_bodies_and_does_not_repeat_them() {
    let mut world = filled(small(), 200);
    assert!(world.engine.counts().snapshots > 1);
    let is_snapshot = |path: &Path| path.to_str().is_some_and(|path| path.contains("snapshot-"));
    let snapshots: u64 = world.disk.files().iter().filter(|(path, _)| is_snapshot(path)).map(|(_, bytes)| bytes).sum();
    assert!(snapshots < 20_000, "{snapshots} bytes for 200 messages of 300");
    world.crash(CrashKeeps::Nothing);
    assert_eq!(drain(&mut world, 2, 200), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_crash_at_any_sync_loses_no_body_that_is_referred_to() {
    for keeps in [CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors] {
        for crash_at in (1..90).step_by(2) {
            let mut world = filled(Settings { snapshot_log_bytes: u64::MAX, ..small() }, 60);
            world.settings.snapshot_log_bytes = 5000;
            world.engine.settings.snapshot_log_bytes = 5000;
            world.disk.fail_sync(crash_at);
            for number in 60..100 {
                world.ask_only(publish(shard_of("sub"), message("t", &text(number))));
                if world.engine.turn(world.now, world.time, &mut world.heard).is_err() {
                    break;
                }
            }
            world.crash(keeps);
            let found = usize::try_from(world.engine.counts().queued).unwrap();
            assert!(found >= 60, "{keeps:?} {crash_at}: {found}");
            assert_eq!(drain(&mut world, 2, found), (0..found as u32).collect::<Vec<_>>(), "{keeps:?} {crash_at}");
        }
    }
}

#[test]
fn files_of_which_nothing_is_wanted_go() {
    let mut settings = Settings { log_bytes_max: 40_000, ..small() };
    settings.store.queue_messages_max = 20;
    let mut world = filled(settings, 0);
    for number in 0..1000 {
        publish_one(&mut world, number);
    }
    let (counts, used) = (world.engine.counts(), world.disk.used());
    assert_eq!((counts.queued, counts.dropped), (20, 980));
    // What the snapshot holds back, the file that is written, and some that are not all wanted.
    let held: u64 = 2 * 4000 + 4000 + 4 * 4000;
    assert!(counts.body_file_bytes < 20 * 400 * 2 + held, "{counts:?}");
    assert!(used < 20 * 400 * 3 + held + 60_000, "{used} bytes");
    assert_eq!(drain(&mut world, 2, 20), (980..1000).collect::<Vec<_>>());
    world.restart();
    assert!(world.engine.counts().body_file_bytes <= held, "{:?}", world.engine.counts());
}

#[test]
fn what_survives_among_much_that_does_not_moves_to_new_files() {
    let mut world = World::with(Settings { shard_memory_bytes: 0, ..small() });
    let shard = shard_of("sub");
    // Two sessions of one shard: one takes everything at once, the other has little and stays away.
    let other = (0..).map(|it| format!("o{it}")).find(|it| shard_of(it) == shard).unwrap();
    for (name, filter) in [("sub", "t"), (&*other, "rare")] {
        let epoch = world.claim(name, 1).claimed.epoch;
        world.ask(subscribe(name, epoch, filter, QoS::AtLeastOnce));
        world.ask(Ask::Disconnect { client: client(name), epoch, expiry_seconds: None, will: WillFate::Keep });
    }
    for number in 0..200 {
        publish_one(&mut world, number);
        if number % 20 == 0 {
            world.ask(publish(shard, message("rare", &text(number))));
        }
    }
    drain(&mut world, 2, 200);
    world.settle();
    let counts = world.engine.counts();
    assert!(counts.bodies_compacted > 5, "{counts:?}");
    assert_eq!((counts.queued, world.engine.replica(shard).unwrap().shard.body_places().count()), (10, 10));
    assert!(counts.body_file_bytes < 10 * 400 * 2 + 8 * 4000, "{counts:?}");
    world.crash(CrashKeeps::Nothing);
    world.claim(&other, 3);
    let found: Vec<u32> = payloads(&world.delivered(3)).iter().map(|it| it.parse().unwrap()).collect();
    assert_eq!(found, (0..200).step_by(20).collect::<Vec<_>>());
}

#[test]
fn a_body_that_was_damaged_stops_the_node_and_is_named() {
    let mut world = filled(small(), 20);
    let path = body_files(&world.disk).remove(0);
    world.disk.flip(&path, 8 * 200);
    world.ask_only(claim("sub", 2));
    let failed = world.engine.turn(world.now, world.time, &mut world.heard).unwrap_err();
    assert!(matches!(&failed, Failed::Body { path: found, offset: 12, .. } if *found == path), "{failed}");
    assert!(failed.to_string().contains("checksum"), "{failed}");
    assert_eq!(world.engine.state(), State::Failed);
    assert!(world.delivered(2).is_empty(), "nothing is passed over");
}

#[test]
fn a_file_that_a_snapshot_misses_is_named_and_strange_ones_go() {
    let world = filled(small(), 100);
    let strange = Path::new(FOLDER).join("bodies-2-999999");
    world.disk.create(&strange).unwrap();
    let open = || {
        let mut heard = Heard::default();
        Engine::open(world.disk.clone(), world.settings.clone(), world.now, world.time, &mut heard).map(drop)
    };
    open().expect("what is not referred to is no harm");
    assert!(world.disk.open(&strange).is_err());
    let missing = body_files(&world.disk).remove(0);
    world.disk.remove(&missing).unwrap();
    let error = open().unwrap_err().to_string();
    assert!(error.contains(missing.to_str().unwrap()) && error.contains("does not exist"), "{error}");
}

#[test]
fn a_disk_without_room_for_bodies_refuses_more_until_there_is() {
    let mut world = filled(Settings { shard_memory_bytes: 0, ..small() }, 3);
    // Enough for the log, and not for the body.
    world.disk.set_capacity(Some(world.disk.used() + 500));
    publish_one(&mut world, 3);
    assert!(matches!(world.engine.state(), State::Full { .. }), "{:?}", world.engine.state());
    let answer = world.ask(publish(shard_of("sub"), message("t", &text(4))));
    assert_eq!(answer, Answer::Unavailable);
    world.disk.set_capacity(None);
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.engine.state(), State::Works);
    publish_one(&mut world, 4);
    world.crash(CrashKeeps::Nothing);
    assert_eq!(drain(&mut world, 2, 5), (0..5).collect::<Vec<_>>());
}

#[test]
fn what_is_read_in_a_turn_is_bounded_and_everybody_has_a_turn() {
    let mut world = World::with(Settings { shard_memory_bytes: 0, read_bytes_max: 1, ..small() });
    let shard = shard_of("sub");
    let names: Vec<String> = (0..).map(|it| format!("r{it}")).filter(|it| shard_of(it) == shard).take(5).collect();
    for name in &names {
        let epoch = world.claim(name, 1).claimed.epoch;
        world.ask(subscribe(name, epoch, "t", QoS::AtLeastOnce));
        world.ask(Ask::Disconnect { client: client(name), epoch, expiry_seconds: None, will: WillFate::Keep });
    }
    publish_one(&mut world, 1);
    for (name, slot) in names.iter().zip(10..) {
        world.ask_only(claim(name, slot));
    }
    let mut turns = 0;
    let mut came = 0;
    while came < names.len() {
        turns += 1;
        assert!(turns < 20, "{came} have their message");
        world.engine.turn(world.now, world.time, &mut world.heard).unwrap();
        let now: usize = (10..15).map(|slot| world.delivered(slot).len()).sum();
        assert!(now <= 1, "{now} in a turn");
        came += now;
    }
}

#[test]
fn whoever_gets_a_snapshot_gets_all_of_it_in_whatever_portions() {
    let mut world = filled(small(), 150);
    let group = group_of(shard_of("sub"));
    let named = Named { group, index: world.engine.hosted(group).unwrap().snapshot };
    let path = named.path(Path::new(FOLDER));
    assert_eq!(snapshot::version(&world.disk, &path), Some(snapshot::VERSION_WITH_PLACES));
    let mut whole = |portion: usize, restarts: bool| {
        let held = world.engine.bodies.of(group).held_files();
        let (mut whole, total) = Whole::new(world.disk.open(&path).unwrap(), held).unwrap();
        let (mut all, mut has_restarted) = (Vec::new(), !restarts);
        while (all.len() as u64) < total {
            let offset = all.len() as u64;
            let Ok(bytes) = whole.read(offset, portion) else { panic!("it can't be read at {offset}") };
            let Ok(again) = whole.read(offset, portion) else { panic!("it can't be read again at {offset}") };
            assert_eq!((bytes == again, bytes.is_empty()), (true, false));
            all.extend(bytes);
            if all.len() as u64 > total / 2 && !std::mem::replace(&mut has_restarted, true) {
                all.clear();
            }
        }
        assert_eq!(all.len() as u64, total);
        all
    };
    let all = whole(1 << 20, false);
    assert!(all.len() > 100 * 300, "{} bytes", all.len());
    assert!(whole(1, false) == all && whole(777, true) == all && whole(100_000, true) == all);

    let sent = Path::new(FOLDER).join("sent");
    fulmar_log::File::write_at(&world.disk.create(&sent).unwrap(), 0, &all).unwrap();
    assert_eq!(snapshot::version(&world.disk, &sent), Some(snapshot::VERSION));
    let load = |path: &Path| {
        let mut keeping = Bringing::new(&world.disk, Path::new(FOLDER), group);
        let (at, loaded) = snapshot::load(&world.disk, path, named, &mut keeping).unwrap();
        let snapshot::Loaded::Shard(shard) = loaded else { panic!("it is a shard") };
        (at, shard.snapshot(1000).collect::<Vec<_>>())
    };
    assert!(load(&sent) == load(&path), "the same shard");
}
