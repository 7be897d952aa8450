//! Disks without room, and disks that fail.

use std::time::Duration;

use fulmar_codec::QoS;
use fulmar_log::disk::CrashKeeps;
use fulmar_store::Answer;

use super::fixture::*;
use crate::State;

fn subscribed() -> World {
    let mut world = World::new();
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    world.said();
    world
}

#[test]
fn a_full_disk_refuses_what_must_be_durable_until_there_is_room() {
    let mut world = subscribed();
    let shard = shard_of("sub");
    world.disk.set_capacity(Some(world.disk.used()));
    let first = world.ask_only(publish(shard, message("t", "first")));
    world.settle();
    assert_eq!(world.answer_to(first), Some(Answer::Unavailable), "nobody knows whether it will be written");
    assert!(matches!(world.engine.state(), State::Full { .. }), "{:?}", world.engine.state());
    assert_eq!(world.ask(publish(shard, message("t", "second"))), Answer::Unavailable);
    assert_eq!(world.engine.counts().full_disk_refusals, 1);
    assert_eq!(payloads(&world.delivered(1)), [""; 0]);
    let next = world.engine.turn(world.now, world.time, &mut world.heard).unwrap();
    assert!(next.is_some_and(|next| next > world.now), "it comes again by itself, though not at once");

    world.disk.set_capacity(None);
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.answer_to(first), None, "who waited has gone");
    assert_eq!(world.engine.state(), State::Works);
    world.ask(publish(shard, message("t", "third")));
    assert_eq!(payloads(&world.delivered(1)), ["first", "third"]);
    world.crash(CrashKeeps::Nothing);
    world.claim("sub", 2);
    assert_eq!(payloads(&world.delivered(2)), ["first", "third"]);
}

#[test]
fn a_start_without_a_free_byte_knows_what_was_promised_and_serves_when_there_is_room() {
    let mut world = subscribed();
    let shard = shard_of("sub");
    world.ask(publish(shard, message("t", "first")));
    // Twice, as the first must leave room for the second.
    for _ in 0..2 {
        world.disk.set_capacity(Some(world.disk.used()));
        world.crash(CrashKeeps::Nothing);
        assert!(matches!(world.engine.state(), State::Full { .. }), "{:?}", world.engine.state());
        assert_eq!(world.engine.session_count(), 1);
        let is_told = |said: &Said| matches!(said, Said::Interest(_, None, filter, true) if filter == "t");
        assert!(world.said().iter().any(is_told), "who publishes must know that somebody waits for it");
        assert_eq!(world.ask(publish(shard, message("t", "refused"))), Answer::Unavailable);
    }
    world.disk.set_capacity(None);
    world.pass(Duration::from_secs(1));
    world.settle();
    world.claim("sub", 2);
    assert_eq!(payloads(&world.delivered(2)), ["first"]);
}

#[test]
fn a_sync_that_fails_ends_the_engine_for_ever_and_answers_nobody() {
    let mut world = subscribed();
    world.disk.fail_sync(1);
    let number = world.ask_only(publish(shard_of("sub"), message("t", "x")));
    let failed = world.engine.turn(world.now, world.time, &mut world.heard).unwrap_err();
    assert!(matches!(failed, crate::Failed::Log(_)), "{failed}");
    assert_eq!((world.answer_to(number), world.engine.state()), (None, State::Failed));
    world.ask_only(publish(shard_of("sub"), message("t", "x")));
    assert_eq!(world.engine.turn(world.now, world.time, &mut world.heard), Err(failed));
    assert_eq!(world.said(), []);
}

#[test]
fn with_durability_in_memory_only_votes_are_synced() {
    let durability = crate::Durability::Memory;
    let mut world = World::with(crate::Settings { durability, ..settings(1) });
    let votes = world.engine.counts().syncs;
    assert!(votes > 0);
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
    assert_eq!(world.engine.counts().syncs, votes);
}
