//! What a session that is owned here is sent: each message once, in order, as far as its client takes it.

use fulmar_codec::QoS;
use fulmar_store::{Ack, Answer, Ask, Refusal, Reply, Told, WillFate};

use super::fixture::*;
use crate::Settings;

fn subscribed(world: &mut World) -> u64 {
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t", QoS::ExactlyOnce));
    epoch
}

fn publish_all(world: &mut World, payloads: impl IntoIterator<Item = u32>) {
    for payload in payloads {
        world.ask_only(publish(shard_of("sub"), message("t", &payload.to_string())));
    }
    world.settle();
}

fn acknowledge(world: &mut World, epoch: u64, acks: &[(u64, Ack)]) -> Answer {
    world.ask(Ask::Acknowledge { client: client("sub"), epoch, acks: acks.to_vec() })
}

fn texts(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|it| it.to_string()).collect()
}

#[test]
fn the_window_moves_with_acknowledgements_and_nothing_is_sent_twice() {
    let mut world = World::new();
    let epoch = subscribed(&mut world);
    publish_all(&mut world, 0..15);
    assert_eq!(payloads(&world.delivered(1)), texts(0..10));
    acknowledge(&mut world, epoch, &[(3, Ack::Ack), (0, Ack::Ack)]);
    assert_eq!(payloads(&world.delivered(1)), texts(10..12));
    publish_all(&mut world, 15..16);
    assert_eq!(payloads(&world.delivered(1)), texts([]));
}

#[test]
fn the_next_owner_gets_what_was_not_acknowledged_after_its_answer_and_the_old_one_is_told_before() {
    let mut world = World::new();
    let epoch = subscribed(&mut world);
    publish_all(&mut world, 0..3);
    acknowledge(&mut world, epoch, &[(1, Ack::Ack)]);
    world.said();
    let number = world.ask_only(claim("sub", 2));
    world.settle();
    let said = world.said();
    let [
        Said::Told(.., taken),
        Said::Told(.., Told::Answer { number: answered, answer: Answer::Claimed(session) }),
        Said::Told(.., Told::Deliver { owner: to, epoch: next, deliveries }),
    ] = &said[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!((taken, answered), (&Told::TakenOver { owner: owner(1), epoch }, &number));
    assert_eq!((*to, *next, payloads(deliveries)), (owner(2), session.claimed.epoch, texts([0, 2])));
    assert!(session.claimed.present && session.claimed.sent_until == 3);

    let refused = acknowledge(&mut world, epoch, &[(0, Ack::Ack)]);
    assert_eq!(refused, Answer::Reply(Reply::Refused(Refusal::Epoch { found: epoch, current: *next })));
}

#[test]
fn a_client_that_left_is_sent_nothing_and_finds_it_when_it_comes_back() {
    let mut world = World::new();
    let epoch = subscribed(&mut world);
    let will = WillFate::Keep;
    world.ask_only(publish(shard_of("sub"), message("t", "0")));
    world.ask(Ask::Disconnect { client: client("sub"), epoch, expiry_seconds: None, will });
    publish_all(&mut world, 1..3);
    assert_eq!(payloads(&world.delivered(1)), texts([]));
    world.claim("sub", 4);
    assert_eq!(payloads(&world.delivered(4)), texts(0..3));
}

#[test]
fn bytes_on_their_way_are_bounded_but_one_message_always_goes() {
    let mut world = World::with(Settings { unacknowledged_bytes_max: 1000, ..settings(1) });
    let epoch = subscribed(&mut world);
    let shard = shard_of("sub");
    for bytes in [5000, 400, 400, 400] {
        world.ask_only(publish(shard, message("t", &"x".repeat(bytes))));
    }
    world.settle();
    let lengths = |world: &mut World| -> Vec<usize> {
        world.delivered(1).iter().map(|it| it.message.as_ref().map_or(0, |it| it.payload().len())).collect()
    };
    assert_eq!(lengths(&mut world), [5000]);
    acknowledge(&mut world, epoch, &[(0, Ack::Ack)]);
    assert_eq!(lengths(&mut world), [400, 400]);
    acknowledge(&mut world, epoch, &[(1, Ack::Ack)]);
    assert_eq!(lengths(&mut world), [400]);
}

#[test]
fn qos_2_is_released_by_its_owner_and_by_the_next_one() {
    let mut world = World::new();
    let epoch = subscribed(&mut world);
    for payload in ["a", "b"] {
        world.ask(publish(shard_of("sub"), message_of(QoS::ExactlyOnce, "t", payload)));
    }
    assert_eq!(payloads(&world.delivered(1)), ["a", "b"]);
    acknowledge(&mut world, epoch, &[(0, Ack::Received)]);
    assert_eq!(payloads(&world.delivered(1)), [""; 0], "whoever said PUBREC knows");
    let next = world.claim("sub", 2).claimed.epoch;
    assert_eq!(payloads(&world.delivered(2)), ["PUBREL", "b"]);
    acknowledge(&mut world, next, &[(0, Ack::Complete), (1, Ack::Received), (1, Ack::Complete)]);
    world.claim("sub", 3);
    assert_eq!(payloads(&world.delivered(3)), [""; 0]);
}

#[test]
fn a_session_that_is_ended_is_closed_where_it_is() {
    let mut world = World::new();
    let session = world.claim("sub", 1).claimed;
    world.said();
    let number = world.ask_only(Ask::End { client: client("sub"), generation: session.generation });
    world.settle();
    let owner_node = Some(world.engine.node());
    let reply = Reply::Ended { was_there: true, owner: owner_node };
    let (owner, epoch) = (owner(1), session.epoch);
    let answer = Told::Answer { number, answer: Answer::Reply(reply) };
    let me = world.engine.node();
    assert_eq!(world.said(), [Said::Told(me, 0, Told::Ended { owner, epoch }), Said::Told(me, 0, answer)]);
}
