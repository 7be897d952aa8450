//! Many questions at once: few entries, one sync, and the order in which they were asked.

use std::time::Duration;

use fulmar_codec::QoS;
use fulmar_store::{Answer, ItemReply, Message, Reply, ShardId, Stored, Told};

use super::fixture::*;
use crate::Settings;

fn subscribed(world: &mut World, name: &str, slot: u32) {
    let epoch = world.claim(name, slot).claimed.epoch;
    world.ask(subscribe(name, epoch, "t/#", QoS::AtLeastOnce));
}

/// The numbers of the questions that were answered, in order.
fn answered(world: &mut World) -> Vec<u64> {
    let said = world.said();
    let number = |said: &Said| match said {
        Said::Told(.., Told::Answer { number, answer: Answer::Reply(_) }) => Some(*number),
        _ => None,
    };
    said.iter().filter_map(number).collect()
}

#[test]
fn what_is_asked_together_is_one_entry_for_each_shard_and_one_sync() {
    let mut world = World::new();
    let mut names: Vec<String> = Vec::new();
    for shard in 0..4 {
        names.extend((0..).map(|it| format!("c{it}")).find(|it| shard_of(it) == ShardId(shard)));
    }
    for (slot, name) in (0..).zip(&names) {
        subscribed(&mut world, name, slot);
    }
    let before = world.engine.counts();
    let numbers: Vec<u64> =
        (0..100).map(|it| world.ask_only(publish(ShardId(it % 4), message("t/1", &it.to_string())))).collect();
    world.settle();
    let after = world.engine.counts();
    assert_eq!((after.log_entries - before.log_entries, after.syncs - before.syncs), (4, 1));
    let payloads_of_one = payloads(&world.delivered(2));
    assert_eq!(payloads_of_one, (0..25).map(|it| (4 * it + 2).to_string()).collect::<Vec<_>>()[..10], "ten in flight");
    let mut all = answered(&mut world);
    let in_shard: Vec<u64> = all.iter().copied().filter(|number| number % 4 == numbers[0] % 4).collect();
    assert!(in_shard.is_sorted() && in_shard.len() == 25);
    all.sort_unstable();
    assert_eq!(all, numbers);
}

#[test]
fn one_turn_is_enough_for_a_question_and_an_idle_node_needs_none() {
    let mut world = World::new();
    subscribed(&mut world, "sub", 1);
    let number = world.ask_only(publish(shard_of("sub"), message("t", "x")));
    let next = world.engine.turn(world.now, world.time, &mut world.heard).unwrap();
    assert_eq!(next, Some(world.now + Duration::from_secs(1)), "to tell the log that it is idle");
    assert!(world.answer_to(number).is_some());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.engine.turn(world.now, world.time, &mut world.heard).unwrap(), None);
}

#[test]
fn what_the_group_has_no_room_for_waits_in_order() {
    let raft = fulmar_raft::Settings { uncommitted_entries_max: 2, ..fulmar_raft::Settings::default() };
    let mut world = World::with(Settings { raft, entry_bytes_max: 200, ..settings(1) });
    subscribed(&mut world, "sub", 1);
    world.said();
    let before = world.engine.counts().log_entries;
    let shard = shard_of("sub");
    let numbers: Vec<u64> = (0..30).map(|it| world.ask_only(publish(shard, message("t", &it.to_string())))).collect();
    world.settle();
    assert_eq!(answered(&mut world), numbers);
    assert!(world.engine.counts().log_entries - before >= 10, "they did not fit into few entries");
}

#[test]
fn what_is_asked_beyond_the_bound_is_refused_and_counted() {
    let mut world = World::with(Settings { asks_max: 3, ..settings(1) });
    subscribed(&mut world, "sub", 1);
    let shard = shard_of("sub");
    let numbers: Vec<u64> = (0..5).map(|_| world.ask_only(publish(shard, message("t", "x")))).collect();
    world.settle();
    let refused: Vec<bool> =
        numbers.iter().map(|number| world.answer_to(*number) == Some(Answer::Unavailable)).collect();
    assert_eq!(refused, [false, false, false, true, true]);
    assert_eq!(world.engine.counts().asks_refused, 2);

    let mut world = World::with(Settings { asks_bytes_max: 1000, ..settings(1) });
    subscribed(&mut world, "sub", 1);
    let large = "x".repeat(2000);
    let numbers = [(); 2].map(|()| world.ask_only(publish(shard, message("t", &large))));
    world.settle();
    let refused = numbers.map(|number| world.answer_to(number) == Some(Answer::Unavailable));
    assert_eq!(refused, [false, true], "one is taken, however large");
}

#[test]
fn an_entry_holds_whole_messages_up_to_its_bound_or_one_that_is_larger() {
    let mut world = World::with(Settings { entry_bytes_max: 10_000, ..settings(1) });
    subscribed(&mut world, "sub", 1);
    let shard = shard_of("sub");
    let before = world.engine.counts().log_entries;
    for bytes in [4000, 4000, 4000, 50_000, 4000] {
        world.ask_only(publish(shard, message("t", &"x".repeat(bytes))));
    }
    world.settle();
    assert_eq!(world.engine.counts().log_entries - before, 4, "two, one, the large one, one");
}

#[test]
fn a_message_for_many_goes_in_parts_and_is_answered_once() {
    let mut world = World::with(Settings { entry_targets_max: 2, ..settings(1) });
    let names: Vec<String> =
        (0..).map(|it| format!("c{it}")).filter(|it| shard_of(it) == shard_of("sub")).take(5).collect();
    for (slot, name) in (0..).zip(&names) {
        subscribed(&mut world, name, slot);
    }
    let before = world.engine.counts().log_entries;
    let first = world.ask_only(publish(shard_of("sub"), message("t", "first")));
    let second = world.ask_only(publish(shard_of("sub"), message("t", "second")));
    world.settle();
    assert_eq!(world.engine.counts().log_entries - before, 6);
    let stored = ItemReply::Stored(Stored { queued: 5, ..Stored::default() });
    let answer = |expected| Some(Answer::Reply(Reply::Published { items: vec![stored.clone()], expected }));
    assert_eq!([world.answer_to(first), world.answer_to(second)], [answer(4), answer(7)]);
    for slot in 0..5 {
        assert_eq!(payloads(&world.delivered(slot)), ["first", "second"]);
    }
}

#[test]
fn a_message_in_parts_is_retained_once() {
    let mut world = World::with(Settings { entry_targets_max: 1, ..settings(1) });
    let names: Vec<String> =
        (0..).map(|it| format!("c{it}")).filter(|it| shard_of(it) == shard_of("sub")).take(3).collect();
    for (slot, name) in (0..).zip(&names) {
        subscribed(&mut world, name, slot);
    }
    world.said();
    let version = fulmar_store::Version { clock: 1, node: NODE };
    let message: Message = message("t", "kept");
    let to = fulmar_store::Recipients::Matching { publisher: None };
    let published = fulmar_store::Published { message: message.clone(), retain: Some(version), to };
    let answer = world.ask(fulmar_store::Ask::Publish { shard: shard_of("sub"), published });
    let retained = Some(fulmar_store::RetainReply::Applied);
    let items = vec![ItemReply::Stored(Stored { queued: 3, retained, ..Stored::default() })];
    assert_eq!(answer, Answer::Reply(Reply::Published { items, expected: 4 }));
    let told: Vec<Said> = world.said().into_iter().filter(|it| matches!(it, Said::Retained(..))).collect();
    assert_eq!(told, [Said::Retained("t".to_owned(), Some(message), version)]);
}
