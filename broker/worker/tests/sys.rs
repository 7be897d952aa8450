//! `$SYS`: what a node tells of itself reaches those of its clients that ask for it, and comes from nobody else.

mod world;

use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{Connect, ForwardProperties, QoS, ReasonCode, Will};
use fulmar_worker::{AuthSettings, Counters, Limits, Rules};
use std::sync::Arc;
use world::World;
use world::client::Got;

const UPTIME: &str = "$SYS/broker/uptime";

fn told(payload: &str, retain: bool) -> Got {
    Got::Message { topic: UPTIME.into(), payload: payload.into(), qos: 0, retain }
}

fn connect(world: &mut World, node: usize, id: &str) -> usize {
    let client = world.connect(node, id);
    world.clients[client].take();
    client
}

/// Subscribes at QoS 2; what came before and the answer are taken.
fn subscribe(world: &mut World, client: usize, filter: &str) {
    world.clients[client].take();
    world.subscribe(client, filter, QoS::ExactlyOnce);
    world.settle();
    assert_eq!(world.clients[client].got.remove(0), Got::SubAck(vec![ReasonCode::GRANTED_QOS_2]));
}

#[test]
fn who_subscribes_gets_what_was_said_last_and_then_what_changes() {
    for seed in 0..10 {
        let mut world = World::new(seed, 1, 2);
        world.set_sys(0, UPTIME, "10 seconds");
        let [exact, all, shared, everything] =
            ["exact", "all", "shared", "everything"].map(|id| connect(&mut world, 0, id));
        subscribe(&mut world, exact, UPTIME);
        subscribe(&mut world, all, "$SYS/#");
        subscribe(&mut world, shared, "$share/group/$SYS/broker/+");
        subscribe(&mut world, everything, "#");
        assert_eq!(world.clients[exact].take(), [told("10 seconds", true)], "seed {seed}");
        assert_eq!(world.clients[all].take(), [told("10 seconds", true)], "seed {seed}");
        assert!(world.set_sys(0, UPTIME, "20 seconds"));
        // The same again is nothing new.
        assert!(!world.set_sys(0, UPTIME, "20 seconds"));
        for client in [exact, all, shared] {
            assert_eq!(world.clients[client].take(), [told("20 seconds", false)], "seed {seed}");
        }
        // A wildcard in the first level matches nothing that begins with a dollar.
        assert_eq!(world.clients[everything].take(), [], "seed {seed}");
        assert_eq!(world.nodes[0].node.retained_counts().messages, 0);
    }
}

#[test]
fn no_thread_is_told_while_nobody_listens() {
    let mut world = World::new(1, 1, 2);
    let client = connect(&mut world, 0, "client");
    subscribe(&mut world, client, "#");
    assert!(!world.set_sys(0, UPTIME, "10 seconds"));
    subscribe(&mut world, client, UPTIME);
    subscribe(&mut world, client, UPTIME);
    assert!(world.set_sys(0, UPTIME, "20 seconds"));
    world.unsubscribe(client, UPTIME);
    world.settle();
    assert!(!world.set_sys(0, UPTIME, "30 seconds"));
    subscribe(&mut world, client, "$share/group/$SYS/#");
    assert!(world.set_sys(0, UPTIME, "40 seconds"));
    world.vanish(client);
    assert!(!world.set_sys(0, UPTIME, "50 seconds"));
}

#[test]
fn a_node_tells_of_itself_to_its_own_clients_only() {
    let mut world = World::new(3, 2, 2);
    world.set_sys(0, UPTIME, "zero");
    world.set_sys(1, UPTIME, "one");
    let here = connect(&mut world, 0, "here");
    let there = connect(&mut world, 1, "there");
    subscribe(&mut world, here, "$SYS/#");
    subscribe(&mut world, there, "$SYS/#");
    world.set_sys(0, UPTIME, "zero again");
    world.settle();
    assert_eq!(world.clients[here].take(), [told("zero", true), told("zero again", false)]);
    assert_eq!(world.clients[there].take(), [told("one", true)]);
}

#[test]
fn no_client_writes_there_not_even_by_its_will() {
    let mut world = World::new(4, 1, 2);
    let reader = connect(&mut world, 0, "reader");
    subscribe(&mut world, reader, "$SYS/#");
    subscribe(&mut world, reader, "$SYSTEM/#");
    let topic = "$SYS/will";
    let will = Will {
        topic,
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: true,
        delay: 0,
        payload_is_utf8: false,
        message_expiry: None,
        forward: ForwardProperties::EMPTY,
    };
    let writer = world.connect_with(0, "writer", |connect| Connect { will: Some(will), ..connect });
    world.clients[writer].take();
    world.publish_with(writer, UPTIME, "mine", QoS::AtLeastOnce, true);
    world.publish_with(writer, "$SYS", "mine", QoS::AtMostOnce, false);
    world.publish(writer, "$SYSTEM/x", "free", QoS::AtMostOnce);
    world.settle();
    world.vanish(writer);
    assert_eq!(world.clients[reader].payloads(), ["free"]);
    assert_eq!(world.nodes[0].node.retained_counts().messages, 0);
    assert_eq!(world.counter(0, |counters| counters.publishes_denied), 3);
}

#[test]
fn rules_tell_who_may_read_it() {
    let rules = |filter: &str| {
        let text = format!("rules:\n- {{allow: subscribe, filters: ['{filter}']}}\n");
        let access = AccessFile::parse(&text, AccessLimits::default()).expect("it is an access file");
        Rules { access: Some(Arc::new(access)), ..Rules::default() }
    };
    for (filter, code) in [("#", ReasonCode::NOT_AUTHORIZED), ("$SYS/#", ReasonCode::GRANTED_QOS_0)] {
        let auth = AuthSettings { rules: Arc::new(rules(filter)), ..AuthSettings::new([7; 32]) };
        let mut world = World::with_auth(1, 1, 1, &Limits::default(), auth);
        let client = connect(&mut world, 0, "client");
        world.subscribe(client, "$SYS/broker/#", QoS::AtMostOnce);
        world.settle();
        assert_eq!(world.clients[client].take(), [Got::SubAck(vec![code])], "rules allow {filter}");
    }
}

fn keep(connect: Connect<'_>) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 600, ..connect }
}

#[test]
fn what_was_sent_is_what_clients_got() {
    for seed in 0..10 {
        let mut world = World::new(seed, 1, 2);
        let reader = world.connect_with(0, "reader", keep);
        let writer = world.connect(0, "writer");
        world.subscribe(reader, "news/#", QoS::ExactlyOnce);
        world.settle();
        for number in 0..200 {
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
            world.publish_with(writer, &format!("news/{number}"), &"x".repeat(number), qos, number % 7 == 0);
            // What the client is sent again and what has waited for it counts too.
            if number == 100 {
                world.settle();
                world.clients[reader].acknowledges = false;
            }
            if number == 150 {
                world.settle();
                world.vanish(reader);
            }
        }
        world.settle();
        world.clients[reader].acknowledges = true;
        world.reconnect_client(reader, 0, "reader", keep);
        world.subscribe(writer, "news/+", QoS::AtLeastOnce);
        world.unsubscribe(writer, "news/+");
        world.send_bytes(writer, &[0xc0, 0]);
        world.settle();
        let again = world.connect(0, "writer");
        world.connect_with(0, "", |connect| Connect { client_id: "", ..connect });
        world.connect_with(0, "refused", |connect| Connect { authentication_method: Some("none"), ..connect });
        world.send_bytes(again, &[0xff, 0xff]);
        world.settle();
        let mut got = [0; 4];
        for client in &world.clients {
            got.iter_mut().zip(client.received).for_each(|(sum, value)| *sum += value);
        }
        let of = |count: fn(&Counters) -> u64| world.counter(0, count);
        let sent = [
            of(|counters| counters.packets_sent),
            of(|counters| counters.publishes_sent),
            of(|counters| counters.payload_bytes_sent),
            of(|counters| counters.bytes_sent),
        ];
        assert_eq!(sent, got, "seed {seed}");
        assert_eq!(of(|counters| counters.payload_bytes_received), (0..200).sum::<u64>());
        // The reader, and those whose session has no name or ended.
        assert_eq!(world.nodes[0].node.clients_max(), 3);
    }
}
