//! When memory is short, new work is refused first and who holds most goes next. Clients that were there and behave go
//! on.

mod world;

use fulmar_codec::{Connect, ForwardProperties, PublishHead, QoS, ReasonCode, Version, encode_publish};
use fulmar_worker::{Limits, Pressure};
use std::num::NonZeroU16;
use std::time::Duration;
use world::World;
use world::client::Got;

/// Longer than data threads take to see a change.
const MOMENT: Duration = Duration::from_millis(200);

fn press(world: &mut World, pressure: Pressure) {
    world.nodes[0].node.set_pressure(pressure);
    world.pass(MOMENT);
}

fn keep<'a>(connect: Connect<'a>) -> Connect<'a> {
    Connect { clean_start: false, session_expiry: 600, ..connect }
}

fn connack(session_present: bool, reason: ReasonCode) -> Got {
    Got::ConnAck { session_present, reason }
}

#[test]
fn new_clients_come_again_later_and_those_whose_session_waits_are_let_in_while_there_is_room_for_that() {
    let mut world = World::new(1, 1, 2);
    let waiting = world.connect_with(0, "waiting", keep);
    world.subscribe(waiting, "to/waiting", QoS::AtLeastOnce);
    world.settle();
    world.vanish(waiting);
    press(&mut world, Pressure::High);
    let fresh = world.connect(0, "fresh");
    assert_eq!(world.clients[fresh].take(), [connack(false, ReasonCode::SERVER_BUSY), Got::Closed]);
    let old = world.connect_with(0, "old", |_| Connect::new(Version::V311, "old"));
    assert_eq!(world.clients[old].take(), [connack(false, ReasonCode::SERVER_UNAVAILABLE), Got::Closed]);
    // Who throws the session away takes no queue away with it.
    let cleaner = world.connect(0, "waiting");
    assert_eq!(world.clients[cleaner].take(), [connack(false, ReasonCode::SERVER_BUSY), Got::Closed]);
    let back = world.connect_with(0, "waiting", keep);
    assert_eq!(world.clients[back].take(), [connack(true, ReasonCode::SUCCESS)]);
    world.vanish(back);
    press(&mut world, Pressure::Critical);
    let back = world.connect_with(0, "waiting", keep);
    assert_eq!(world.clients[back].take(), [connack(false, ReasonCode::SERVER_BUSY), Got::Closed]);
    press(&mut world, Pressure::Normal);
    let fresh = world.connect(0, "fresh");
    assert_eq!(world.clients[fresh].take(), [connack(false, ReasonCode::SUCCESS)]);
    assert_eq!(world.counter(0, |counters| counters.overload_connects_refused), 4);
    assert_eq!(world.gauges(0).connections, 1);
}

#[test]
fn new_subscriptions_and_retained_topics_are_refused_and_what_is_there_may_change() {
    let mut world = World::new(2, 2, 1);
    world.link(0, 1);
    world.settle();
    let client = world.connect(0, "client");
    world.subscribe(client, "known", QoS::AtLeastOnce);
    world.publish_with(client, "state", "old", QoS::AtLeastOnce, true);
    world.settle();
    press(&mut world, Pressure::High);
    world.clients[client].take();
    world.subscribe(client, "new", QoS::AtLeastOnce);
    world.subscribe(client, "known", QoS::AtMostOnce);
    world.settle();
    let granted = Got::SubAck(vec![ReasonCode::SUCCESS]);
    assert_eq!(world.clients[client].take(), [Got::SubAck(vec![ReasonCode::QUOTA_EXCEEDED]), granted]);
    assert_eq!(world.gauges(0).subscriptions, 1);
    for (topic, payload) in [("state", "new"), ("other", "new"), ("state", ""), ("known", "live")] {
        world.publish_with(client, topic, payload, QoS::AtLeastOnce, true);
    }
    world.settle();
    let got = world.clients[client].take();
    assert_eq!(got.iter().filter(|got| matches!(got, Got::PubAck(_))).count(), 4, "each is answered");
    let payload = |got| if let Got::Message { payload, .. } = got { Some(payload) } else { None };
    assert_eq!(
        got.into_iter().filter_map(payload).collect::<Vec<_>>(),
        ["live"],
        "who subscribes gets it all the same"
    );
    assert_eq!(world.counter(0, |counters| counters.overload_subscriptions_refused), 1);
    assert_eq!(world.counter(0, |counters| counters.overload_retained_refused), 2);
    // What one node does not keep, no other does.
    assert_eq!([0, 1].map(|node| world.nodes[node].node.retained_counts().messages), [0, 0]);
}

#[test]
fn who_sends_much_rests_for_a_moment_and_who_sends_little_does_not() {
    let mut world = World::new(3, 1, 1);
    let [heavy, light, reader] = ["heavy", "light", "reader"].map(|id| world.connect(0, id));
    world.subscribe(reader, "#", QoS::AtMostOnce);
    world.settle();
    press(&mut world, Pressure::High);
    let payload = "x".repeat(5_000);
    for _ in 0..20 {
        world.publish(heavy, "heavy", &payload, QoS::AtMostOnce);
        world.publish(light, "light", "21.5", QoS::AtMostOnce);
    }
    world.settle();
    let heard = |world: &World, what: &str| world.clients[reader].payloads().iter().filter(|got| **got == what).count();
    let heavies = heard(&world, &payload);
    assert!(heavies < 20 && heard(&world, "21.5") == 20, "{heavies} of 20 large messages passed at once");
    assert_eq!(world.counter(0, |counters| counters.overload_publishers_paused), 1);
    // Bounded, and nothing is lost.
    world.pass(Duration::from_secs(10));
    assert_eq!(heard(&world, &payload), 20);
    assert!(world.clients[heavy].is_connected());
}

#[test]
fn who_does_not_read_loses_qos_0_first_and_who_holds_most_is_closed_until_there_is_room() {
    let limits = Limits { output_buffer_bytes: 1 << 20, ..Limits::default() };
    let mut world = World::with_limits(4, 1, 1, &limits);
    let [small, large, larger, reader] = ["small", "large", "larger", "reader"].map(|id| world.connect(0, id));
    for client in [small, large, larger, reader] {
        world.subscribe(client, "news", QoS::AtMostOnce);
    }
    world.subscribe(larger, "more", QoS::AtMostOnce);
    world.settle();
    [small, large, larger].into_iter().for_each(|client| world.deafen(client));
    let publisher = world.connect(0, "publisher");
    world.publish(publisher, "news", &"x".repeat(100_000), QoS::AtMostOnce);
    world.publish(publisher, "more", &"x".repeat(100_000), QoS::AtMostOnce);
    world.settle();
    world.pass(MOMENT);
    // One is closed each time that memory is found to be that short, and that is the one that holds most.
    press(&mut world, Pressure::Critical);
    assert_eq!(world.farewell(larger), Some(ReasonCode::QUOTA_EXCEEDED));
    assert!(world.clients[large].is_connected());
    world.publish(publisher, "news", "to who reads", QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.clients[reader].payloads().last(), Some(&"to who reads"));
    assert!(world.counter(0, |counters| counters.dropped_memory_short) >= 1);
    world.pass(Duration::from_secs(2));
    assert!(world.clients[large].is_connected());
    (0..5).for_each(|_| press(&mut world, Pressure::Critical));
    let closed = world.counter(0, |counters| counters.overload_clients_closed);
    assert_eq!((closed, world.gauges(0).connections), (3, 2), "who reads and who publishes stay");
}

#[test]
fn slow_consumers_are_counted_and_named_when_they_fall_behind_and_when_they_catch_up() {
    let mut world = World::new(5, 1, 1);
    let [slow, reader, publisher] = ["slow", "reader", "publisher"].map(|id| world.connect(0, id));
    [slow, reader].into_iter().for_each(|client| world.subscribe(client, "news", QoS::AtMostOnce));
    world.settle();
    world.deafen(slow);
    world.publish(publisher, "news", "hello", QoS::AtMostOnce);
    world.settle();
    world.pass(Duration::from_secs(4));
    assert_eq!(world.gauges(0).slow_consumers, 0);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.gauges(0).slow_consumers, 1);
    let told = |world: &World, what: &str| world.trace.iter().filter(|line| line.contains(what)).count();
    let named = world.trace.iter().find(|line| line.contains("ClientSlow")).expect("it is told");
    assert!(named.contains("\"slow\""), "{named}");
    world.pass(Duration::from_secs(20));
    assert_eq!((told(&world, "ClientSlow"), told(&world, "ClientCaughtUp")), (1, 0));
    world.hear_again(slow);
    world.settle();
    world.pass(MOMENT);
    assert_eq!((told(&world, "ClientSlow"), told(&world, "ClientCaughtUp")), (1, 1));
    assert_eq!(world.gauges(0).slow_consumers, 0);
}

#[test]
fn no_new_topic_aliases_are_set_while_memory_is_short_and_those_that_are_go_on() {
    let mut world = World::new(9, 1, 1);
    let keeper = world.connect_with(0, "keeper", |connect| Connect { topic_alias_max: 9, ..connect });
    let publisher = world.connect(0, "publisher");
    world.subscribe(keeper, "#", QoS::AtMostOnce);
    world.settle();
    let topics = |world: &mut World, topic: &str| {
        for _ in 0..2 {
            world.publish(publisher, topic, "x", QoS::AtMostOnce);
        }
        world.settle();
        let topic = |got| if let Got::Message { topic, .. } = got { Some(topic) } else { None };
        world.clients[keeper].take().into_iter().filter_map(topic).collect::<Vec<_>>()
    };
    assert_eq!(topics(&mut world, "before"), ["before", ""]);
    press(&mut world, Pressure::High);
    assert_eq!(topics(&mut world, "meanwhile"), ["meanwhile", "meanwhile"]);
    assert_eq!(topics(&mut world, "before"), ["", ""]);
    press(&mut world, Pressure::Normal);
    assert_eq!(topics(&mut world, "meanwhile"), ["meanwhile", ""]);
}

#[test]
fn what_topic_aliases_hold_counts_for_who_is_closed_also_where_the_session_stays() {
    let mut world = World::with_limits(10, 1, 1, &Limits { topic_aliases: 100, ..Limits::default() });
    let [setter, other] = ["setter", "other"].map(|id| world.connect_with(0, id, keep));
    for alias in 1..=100 {
        let head = PublishHead { topic_alias: NonZeroU16::new(alias), ..PublishHead::default() };
        let mut bytes = Vec::new();
        let topic = format!("{alias}/{}", "x".repeat(900));
        encode_publish(&mut bytes, Version::V5, &head, &topic, &ForwardProperties::EMPTY, b"");
        world.send_bytes(setter, &bytes);
    }
    world.settle();
    let held = world.gauges(0).session_bytes;
    press(&mut world, Pressure::Critical);
    assert_eq!(world.farewell(setter), Some(ReasonCode::QUOTA_EXCEEDED));
    assert!(world.clients[other].is_connected());
    assert!(world.gauges(0).session_bytes + 90_000 < held && world.gauges(0).sessions == 2);
}
