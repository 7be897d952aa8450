//! What a node keeps is bounded for all its clients together, whatever each of them may have.

mod thread;
mod world;

use fulmar_codec::{
    Connect, ForwardProperties, PacketId, PublishHead, QoS, ReasonCode, SubscribeFilter, SubscriptionOptions, Version,
    Will, encode_connect, encode_publish, encode_subscribe,
};
use fulmar_worker::{AuthSettings, Limits};
use std::num::NonZeroU16;
use std::time::Duration;
use thread::{Pauses, Thread};
use world::World;
use world::client::Got;

fn keep<'a>(connect: Connect<'a>) -> Connect<'a> {
    Connect { clean_start: false, session_expiry: 60, ..connect }
}

#[test]
fn queues_of_absent_clients_fill_the_node_to_its_bound_and_connected_clients_are_served() {
    let bound = 2 << 20;
    let limits = Limits { queued_bytes_total: bound, ..Limits::default() };
    let mut world = World::with_limits(1, 1, 2, &limits);
    // Ids that fall on either thread.
    for number in 0..20 {
        let id = format!("absent-{number}");
        let absent = world.connect_with(0, &id, keep);
        world.subscribe(absent, &format!("to/{number}"), QoS::AtLeastOnce);
        world.settle();
        world.vanish(absent);
    }
    let present = world.connect_with(0, "present", keep);
    world.subscribe(present, "to/present", QoS::AtLeastOnce);
    let publisher = world.connect(0, "publisher");
    let payload = "x".repeat(20_000);
    for round in 0..10 {
        for number in 0..20 {
            world.publish(publisher, &format!("to/{number}"), &payload, QoS::AtLeastOnce);
        }
        world.settle();
        let queued = world.gauges(0).queued_bytes;
        assert!(queued <= bound as u64 * 3 / 4, "round {round}: {queued} bytes");
    }
    // Each client is far below its own bound, and the node at its own.
    assert_eq!(world.counter(0, |counters| counters.dropped_queue_full), 0);
    assert!(world.gauges(0).queued_bytes > bound as u64 / 2);
    let dropped = world.counter(0, |counters| counters.dropped_node_full);
    assert!((100..=150).contains(&dropped), "{dropped} of 200 messages, each of 20 kB");
    world.publish(publisher, "to/present", "still here", QoS::AtLeastOnce);
    world.settle();
    assert_eq!(world.clients[present].payloads(), ["still here"]);
    // Told once, and not again within the minute.
    world.pass(Duration::from_secs(30));
    let told = world.trace.iter().filter(|line| line.contains("LimitReached")).count();
    assert_eq!(told, 1, "{:?}", world.trace);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.gauges(0).queued_bytes, 0, "what ended sessions kept is given back");
}

/// Thirty clients that do not read, one that does, and twenty messages of 10 kB for all of them: which of those who do
/// not read were closed.
fn deaf_clients(qos: QoS) -> (World, usize) {
    let bound = 1 << 20;
    let limits = Limits { output_bytes_per_thread: bound, output_buffer_bytes: 100_000, ..Limits::default() };
    let mut world = World::with_limits(2, 1, 1, &limits);
    let deaf: Vec<_> = (0..30).map(|number| world.connect(0, &format!("deaf-{number}"))).collect();
    let reader = world.connect(0, "reader");
    for client in deaf.iter().chain([&reader]) {
        world.subscribe(*client, "news", qos);
    }
    world.settle();
    deaf.iter().for_each(|client| world.deafen(*client));
    let publisher = world.connect(0, "publisher");
    let payload = "x".repeat(10_000);
    for round in 1..=20 {
        world.publish(publisher, "news", &payload, qos);
        world.settle();
        world.pass(Duration::from_millis(50));
        let unsent = world.gauges(0).unsent_bytes;
        assert!(unsent <= bound as u64, "round {round}: {unsent} bytes");
    }
    assert_eq!(world.clients[reader].payloads().len(), 20);
    let closed = deaf.iter().filter(|client| !world.clients[**client].is_connected()).count();
    (world, closed)
}

#[test]
fn clients_that_do_not_read_hold_no_more_output_together_than_allowed() {
    let (world, closed) = deaf_clients(QoS::AtLeastOnce);
    assert!((10..30).contains(&closed), "{closed} of 30 were closed");
    assert_eq!(world.counter(0, |counters| counters.limit_hits_output_buffer_bytes_total), closed as u64);
    assert_eq!(world.trace.iter().filter(|line| line.contains("outputBufferBytesTotal")).count(), 1);
}

#[test]
fn clients_that_do_not_read_lose_qos_0_before_anybody_is_closed() {
    let (world, closed) = deaf_clients(QoS::AtMostOnce);
    assert_eq!(closed, 0);
    // Half of the bound is about 50 messages; each of the thirty may be in the middle of one more.
    let dropped = world.counter(0, |counters| counters.dropped_slow_consumer);
    assert!((20 * 30 - 90..20 * 30 - 45).contains(&(dropped as usize)), "{dropped} of 600 were dropped");
}

#[test]
fn many_messages_for_many_clients_are_written_in_portions() {
    let (bound, clients) = (1 << 20, 50);
    let limits = Limits { turn_output_bytes: bound, ..Limits::default() };
    let mut thread = Thread::with(limits, AuthSettings::new([7; 32]));
    let now = thread.now;
    let connect = |thread: &mut Thread, client_id: &str, more: &[u8]| {
        let conn = thread.accept();
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &Connect::new(Version::V5, client_id));
        bytes.extend_from_slice(more);
        thread.worker.received(conn, &bytes, now, &mut Pauses::default());
        thread.worker.output(conn).expect("it is connected").clear();
        conn
    };
    let mut subscribe = Vec::new();
    let filters = [SubscribeFilter { filter: "news", options: SubscriptionOptions::default() }];
    encode_subscribe(&mut subscribe, Version::V5, PacketId::MIN, None, &filters);
    let receivers: Vec<_> =
        (0..clients).map(|number| connect(&mut thread, &format!("reader-{number}"), &subscribe)).collect();
    let publisher = connect(&mut thread, "publisher", &[]);
    let worker = &mut thread.worker;
    let mut bytes = Vec::new();
    for _ in 0..200 {
        let head = PublishHead::default();
        encode_publish(&mut bytes, Version::V5, &head, "news", &ForwardProperties::EMPTY, &[7; 1000]);
    }
    let (mut used, mut turns, mut received) = (0, 0, 0);
    while used < bytes.len() {
        let mut out = Pauses::default();
        let consumed = worker.received(publisher, &bytes[used..], now, &mut out);
        used += consumed.bytes;
        worker.tick(now, &mut out);
        assert_eq!(out.0, if consumed.paused { vec![(publisher, true), (publisher, false)] } else { vec![] });
        let mut waits = 0;
        for conn in &receivers {
            let buffer = worker.output(*conn).expect("it is connected");
            waits += std::mem::take(buffer).len();
            worker.written(*conn, 0);
        }
        assert!(waits < bound / 4 * 7 + 2000 * clients, "{waits} bytes in turn {turns}");
        received += waits;
        turns += 1;
        worker.end_turn();
    }
    // It goes three quarters beyond the bound, which is room for others when one sends much to many.
    assert_eq!(turns, 200 * 1000 * clients / (bound / 4 * 7) + 1);
    assert!(received > 200 * 1000 * clients);
}

#[test]
fn sessions_subscriptions_and_wills_take_no_more_memory_than_allowed() {
    let bound = 200_000;
    let limits = Limits { session_bytes_total: bound, will_bytes: bound, ..Limits::default() };
    let mut world = World::with_limits(3, 1, 1, &limits);
    let at_rest = world.gauges(0).session_bytes;
    let greedy = world.connect(0, "greedy");
    let with_one = world.gauges(0).session_bytes;
    world.clients[greedy].take();
    let filter = |number: usize| format!("{number:02}/{}", "x".repeat(20_000));
    (0..4).for_each(|number| world.subscribe(greedy, &filter(number), QoS::AtMostOnce));
    world.settle();
    let granted = Got::SubAck(vec![ReasonCode::SUCCESS]);
    let refused = Got::SubAck(vec![ReasonCode::QUOTA_EXCEEDED]);
    assert_eq!(world.clients[greedy].take(), [granted.clone(), granted.clone(), refused.clone(), refused]);
    assert_eq!(world.gauges(0).subscriptions, 2);
    let will = vec![b'w'; 60_000];
    let with_will = |connect| Connect { will: Some(Will::new("gone", &will)), ..connect };
    let too_much = world.connect_with(0, "willing", with_will);
    let connack = |reason| Got::ConnAck { session_present: false, reason };
    assert_eq!(world.clients[too_much].take(), [connack(ReasonCode::QUOTA_EXCEEDED), Got::Closed]);
    // What is given up is there for others, and a filter that is subscribed again costs nothing more.
    world.unsubscribe(greedy, &filter(1));
    world.subscribe(greedy, &filter(0), QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.clients[greedy].take(), [Got::UnsubAck(vec![ReasonCode::SUCCESS]), granted]);
    let fits = world.connect_with(0, "willing", with_will);
    assert_eq!(world.clients[fits].take(), [connack(ReasonCode::SUCCESS)]);
    assert!(world.gauges(0).session_bytes <= bound as u64);
    assert_eq!(world.counter(0, |counters| counters.limit_hits_session_bytes_total), 3);
    world.vanish(greedy);
    world.vanish(fits);
    assert_eq!((at_rest, world.gauges(0).session_bytes), (0, 0));
    assert!(with_one < 1500, "a session takes {with_one} bytes");
}

/// Sends a message with a topic alias; without a topic it means that of the alias. Does not wait.
fn publish_alias(world: &mut World, client: usize, topic: &str, alias: u16) {
    let head = PublishHead { topic_alias: NonZeroU16::new(alias), ..PublishHead::default() };
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, Version::V5, &head, topic, &ForwardProperties::EMPTY, b"x");
    world.send_bytes(client, &bytes);
}

#[test]
fn topic_aliases_that_clients_set_count_like_their_sessions_and_go_with_the_connection() {
    let bound = 200_000;
    let mut world = World::with_limits(4, 1, 1, &Limits { session_bytes_total: bound, ..Limits::default() });
    let ids: Vec<String> = (0..10).map(|number| format!("setter-{number}")).collect();
    let setters: Vec<_> = ids.iter().map(|id| world.connect_with(0, id, keep)).collect();
    let without = world.gauges(0).session_bytes;
    for setter in &setters {
        for alias in 1..=32 {
            publish_alias(&mut world, *setter, &format!("{alias:02}/{}", "x".repeat(997)), alias);
        }
        world.settle();
    }
    let gauges = world.gauges(0);
    assert!((bound as u64 / 4 * 3..=bound as u64).contains(&gauges.session_bytes), "{}", gauges.session_bytes);
    let (kept, closed): (Vec<usize>, Vec<usize>) =
        setters.iter().copied().partition(|setter| world.clients[*setter].is_connected());
    assert_eq!((kept.len(), closed.len()), (5, 5), "32 kB each");
    for client in closed {
        let farewell = [Got::Disconnect(ReasonCode::QUOTA_EXCEEDED), Got::Closed];
        assert_eq!(world.clients[client].take()[1..], farewell);
    }
    assert_eq!(world.counter(0, |counters| counters.limit_hits_session_bytes_total), 5);
    // Who has aliases may use them, and set the same ones anew.
    let reader = world.connect(0, "reader");
    world.subscribe(reader, "07/#", QoS::AtMostOnce);
    world.settle();
    publish_alias(&mut world, kept[0], "", 7);
    publish_alias(&mut world, kept[0], &format!("07/{}", "y".repeat(997)), 7);
    world.settle();
    assert_eq!(world.clients[reader].payloads(), ["x", "x"]);
    world.vanish(reader);
    for client in kept {
        world.vanish(client);
    }
    assert_eq!(world.gauges(0).session_bytes, without, "the sessions wait for their clients, without aliases");
    world.pass(Duration::from_secs(61));
    assert_eq!(world.gauges(0).session_bytes, 0);
}

#[test]
fn topic_aliases_that_we_set_leave_room_for_sessions_and_nobody_loses_a_message() {
    let bound = 400_000;
    let mut world = World::with_limits(5, 1, 1, &Limits { session_bytes_total: bound, ..Limits::default() });
    let ids: Vec<String> = (0..60).map(|number| format!("keeper-{number}")).collect();
    let with_aliases = |connect| Connect { topic_alias_max: 32, ..connect };
    let keepers: Vec<_> = ids.iter().map(|id| world.connect_with(0, id, with_aliases)).collect();
    keepers.iter().for_each(|keeper| world.subscribe(*keeper, "news/#", QoS::AtMostOnce));
    world.settle();
    let publisher = world.connect(0, "publisher");
    let without = world.gauges(0).session_bytes;
    keepers.iter().for_each(|keeper| drop(world.clients[*keeper].take()));
    for payload in ["first", "again"] {
        for number in 0..32 {
            world.publish(publisher, &format!("news/{number:02}/{}", "x".repeat(240)), payload, QoS::AtMostOnce);
        }
        world.settle();
    }
    let (mut by_alias, mut by_name) = (0, 0);
    for keeper in &keepers {
        let got = world.clients[*keeper].take();
        assert_eq!(got.len(), 64);
        let topics = got.iter().map(|got| match got {
            Got::Message { topic, payload, .. } => (topic.len(), payload.as_str()),
            other => panic!("{other:?} where a message was wanted"),
        });
        for (at, (topic_length, payload)) in topics.enumerate() {
            match (at < 32, topic_length) {
                (true, 248) => assert_eq!(payload, "first"),
                (false, 0) => by_alias += 1,
                (false, 248) => by_name += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    // Each alias takes 312 bytes: what sessions leave of three quarters is taken, but for a lease at most.
    let aliases = (bound as u64 / 4 * 3 - without) / 312;
    assert!((aliases - 250..=aliases).contains(&by_alias), "{by_alias} aliases, {by_name} names, {aliases} fit");
    assert_eq!(by_alias + by_name, 60 * 32);
    assert_eq!(world.gauges(0).session_bytes, without + by_alias * 312);
    // Nobody is refused for the sake of aliases.
    let late = world.connect(0, "late");
    world.subscribe(late, "late", QoS::AtMostOnce);
    world.settle();
    assert!(world.clients[late].take().contains(&Got::SubAck(vec![ReasonCode::SUCCESS])));
    assert_eq!(world.counter(0, |counters| counters.limit_hits_session_bytes_total), 0);
    keepers.iter().chain([&publisher, &late]).for_each(|client| world.vanish(*client));
    assert_eq!(world.gauges(0).session_bytes, 0);
}

#[test]
fn a_session_that_is_leaving_takes_no_place_and_gives_back_the_one_it_had_once() {
    // It leaves in many turns.
    let limits = Limits { sessions: 1, turn_effort: 100_000, subscriptions_per_client: 3000, ..Limits::default() };
    let mut world = World::with_limits(5, 1, 1, &limits);
    let connack = |reason| Got::ConnAck { session_present: false, reason };
    let client = world.connect(0, "client");
    for round in 0..3 {
        assert_eq!(world.clients[client].take()[0], connack(ReasonCode::SUCCESS), "round {round}");
        (0..3000).for_each(|number| world.subscribe(client, &format!("{round}/{number}"), QoS::AtMostOnce));
        world.settle();
        assert_eq!(world.gauges(0).subscriptions, 3000);
        world.clients[client].take();
        world.reconnect_client(client, 0, "client", |connect| Connect { clean_start: true, ..connect });
    }
    let refused = [connack(ReasonCode::QUOTA_EXCEEDED), Got::Closed];
    let mut present = client;
    for name in ["second", "third"] {
        let other = world.connect(0, name);
        assert_eq!(world.clients[other].take(), refused);
        world.pass(Duration::from_secs(5));
        assert_eq!((world.gauges(0).sessions, world.gauges(0).subscriptions), (1, 0));
        let other = world.connect(0, name);
        assert_eq!(world.clients[other].take(), refused, "the last subscription is gone, and no place with it");
        world.vanish(present);
        present = world.connect(0, name);
        assert_eq!(world.clients[present].take(), [connack(ReasonCode::SUCCESS)]);
    }
}
