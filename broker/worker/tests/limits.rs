//! What one client may do is bounded: who goes beyond is held back, refused or closed, told why, counted and logged.

mod world;

use fulmar_codec::{
    Ack, AckProperties, Connect, Packet, PacketId, PropertiesBuilder, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions, Version, Will, encode, encode_pingreq,
};
use fulmar_worker::Limits;
use std::num::NonZeroU64;
use std::time::Duration;
use world::World;
use world::client::Got;

const SECOND: Duration = Duration::from_secs(1);

fn world(limits: &Limits) -> World {
    World::with_limits(5, 1, 1, limits)
}

fn ping(world: &mut World, client: usize) {
    let mut bytes = Vec::new();
    encode_pingreq(&mut bytes);
    world.send_bytes(client, &bytes);
}

/// How often the log tells of it.
fn told(world: &World, limit: &str) -> usize {
    let limit = format!("limit: {limit:?}");
    world.trace.iter().filter(|line| line.contains("ClientBeyondLimit") && line.contains(&limit)).count()
}

#[test]
fn who_publishes_too_often_is_held_back_and_loses_nothing() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let limits = Limits { publishes_per_second: NonZeroU64::new(10), ..Limits::default() };
        let mut world = world(&limits);
        let reader = world.connect(0, "reader");
        world.subscribe(reader, "news", QoS::AtLeastOnce);
        let hasty = world.connect_with(0, "hasty", |connect| Connect { keep_alive: 1, ..connect });
        let calm = world.connect(0, "calm");
        world.settle();
        let payloads: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        for payload in &payloads {
            world.publish(hasty, "news", payload, qos);
        }
        ping(&mut world, hasty);
        world.settle();
        // A second's worth, and the one that found the bucket just empty.
        assert_eq!(world.clients[reader].payloads(), payloads[..11]);
        world.publish(calm, "news", "calm", QoS::AtMostOnce);
        world.settle();
        assert_eq!(world.clients[reader].payloads().last(), Some(&"calm"));
        for second in 1..=3 {
            world.pass(SECOND);
            let count = world.clients[reader].payloads().len() - 1;
            assert!((10 * second + 9..=10 * second + 11).contains(&count), "{count} after {second} s");
        }
        world.pass(SECOND);
        assert_eq!(world.clients[reader].payloads().into_iter().filter(|payload| *payload != "calm").count(), 50);
        // What came behind its publishes is answered behind them.
        assert_eq!(world.clients[hasty].got.last(), Some(&Got::Pong));
        let acknowledged = world.clients[hasty].got.iter().filter(|got| matches!(got, Got::PubAck(_))).count();
        assert_eq!(acknowledged, if qos == QoS::AtMostOnce { 0 } else { 50 });
        assert_eq!(world.counter(0, |counters| counters.keep_alive_timeouts), 0);
        assert!(world.counter(0, |counters| counters.limit_hits_publishes_per_second) >= 10);
        assert_eq!(told(&world, "publishesPerSecond"), 1, "{:?}", world.trace);
        world.pass(2 * SECOND);
        assert_eq!(world.farewell(hasty), Some(ReasonCode::KEEP_ALIVE_TIMEOUT), "its keep alive goes on");
    }
}

#[test]
fn who_comes_back_before_it_has_paid_is_held_back_on_its_new_connection_too() {
    let limits = Limits { publishes_per_second: NonZeroU64::new(5), ..Limits::default() };
    let mut world = world(&limits);
    let reader = world.connect(0, "reader");
    world.subscribe(reader, "flood", QoS::AtMostOnce);
    world.settle();
    let flood = world.connect(0, "flood");
    for _ in 0..40 {
        for _ in 0..10 {
            world.publish(flood, "flood", "x", QoS::AtMostOnce);
        }
        world.pass(SECOND / 20);
        world.vanish(flood);
        world.reconnect_client(flood, 0, "flood", |connect| connect);
    }
    // A second's worth at once, and two seconds of the rate.
    let got = world.clients[reader].payloads().len();
    assert!((10..=5 + 2 * 5 + 1).contains(&got), "{got} messages in 2 s");
    // Another one has a rate of its own.
    let other = world.connect(0, "other");
    for _ in 0..5 {
        world.publish(other, "flood", "x", QoS::AtMostOnce);
    }
    world.settle();
    assert_eq!(world.clients[reader].payloads().len(), got + 5);
}

#[test]
fn keep_alive_stands_still_while_a_large_publish_is_paid_for() {
    let limits = Limits { publish_bytes_per_second: NonZeroU64::new(1000), ..Limits::default() };
    let mut world = world(&limits);
    let reader = world.connect(0, "reader");
    world.subscribe(reader, "news", QoS::AtMostOnce);
    let heavy = world.connect_with(0, "heavy", |connect| Connect { keep_alive: 2, ..connect });
    world.settle();
    world.publish(heavy, "news", &"x".repeat(9000), QoS::AtMostOnce);
    ping(&mut world, heavy);
    world.settle();
    world.subscribe(reader, "more", QoS::AtMostOnce);
    world.pass(7 * SECOND);
    // Others hear of it at once, and it gets what they send; only what it says waits.
    assert_eq!(world.clients[reader].payloads().len(), 1);
    assert!(world.clients[heavy].is_connected() && !world.clients[heavy].got.contains(&Got::Pong));
    world.pass(2 * SECOND);
    assert!(world.clients[heavy].got.contains(&Got::Pong));
    assert_eq!(world.counter(0, |counters| counters.limit_hits_publish_bytes_per_second), 1);
    assert_eq!(world.counter(0, |counters| counters.keep_alive_timeouts), 0);
}

#[test]
fn a_delivery_that_is_never_acknowledged_closes_its_client_and_is_sent_again_to_the_next_connection() {
    let limits = Limits { outbound_inflight_age: Some(8 * SECOND), ..Limits::default() };
    for (qos, dup) in [(QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
        let mut world = world(&limits);
        let keep = |connect| Connect { clean_start: false, session_expiry: 60, ..connect };
        let mute = world.connect_with(0, "mute", keep);
        world.clients[mute].acknowledges = false;
        let good = world.connect(0, "good");
        for client in [mute, good] {
            world.subscribe(client, "news", qos);
        }
        let publisher = world.connect(0, "publisher");
        world.pass(3 * SECOND);
        world.publish(publisher, "news", "first", qos);
        world.pass(4 * SECOND);
        world.publish(publisher, "news", "second", qos);
        world.pass(4 * SECOND - Duration::from_millis(100));
        assert!(world.clients[mute].is_connected(), "not before its time");
        assert_eq!(world.clients[mute].payloads(), ["first", "second"], "nothing is sent twice on a connection");
        world.pass(2 * SECOND + Duration::from_millis(200));
        assert_eq!(world.farewell(mute), Some(ReasonCode::QUOTA_EXCEEDED));
        assert!(world.clients[good].is_connected());
        assert_eq!(world.counter(0, |counters| counters.limit_hits_outbound_inflight_seconds), 1);
        assert_eq!(told(&world, "outboundInflightSeconds"), 1);
        world.clients[mute].take();
        world.clients[mute].acknowledges = true;
        world.reconnect_client(mute, 0, "mute", keep);
        // A receiver of QoS 2 knows the copies by their identifiers.
        assert_eq!(world.clients[mute].payloads().len(), if dup == 1 { 2 } else { 0 });
        world.pass(20 * SECOND);
        assert!(world.clients[mute].is_connected());
    }
}

#[test]
fn who_is_not_heard_is_not_blamed_for_acknowledgements() {
    let limits = Limits {
        outbound_inflight_age: Some(4 * SECOND),
        publish_bytes_per_second: NonZeroU64::new(1000),
        ..Limits::default()
    };
    let mut world = world(&limits);
    let client = world.connect(0, "client");
    world.subscribe(client, "echo", QoS::AtLeastOnce);
    world.settle();
    // Its acknowledgement waits behind what it published.
    world.publish(client, "echo", &"x".repeat(9000), QoS::AtMostOnce);
    let publisher = world.connect(0, "publisher");
    world.publish(publisher, "echo", "question", QoS::AtLeastOnce);
    world.pass(12 * SECOND);
    assert!(world.clients[client].is_connected());
    assert_eq!(world.clients[client].payloads().len(), 2);
}

#[test]
fn with_no_age_a_delivery_may_stay_open_for_ever() {
    let mut world = world(&Limits { outbound_inflight_age: None, ..Limits::default() });
    let mute = world.connect(0, "mute");
    world.clients[mute].acknowledges = false;
    world.subscribe(mute, "news", QoS::AtLeastOnce);
    let publisher = world.connect(0, "publisher");
    world.publish(publisher, "news", "first", QoS::AtLeastOnce);
    world.pass(SECOND);
    world.now += Duration::from_secs(100_000);
    world.pass(SECOND);
    assert!(world.clients[mute].is_connected());
}

#[test]
fn too_many_user_properties_are_refused_in_any_packet() {
    let limits = Limits { user_properties: 2, ..Limits::default() };
    let (two, three) = ((0..2), (0..3));
    let build = |range: std::ops::Range<i32>| range.fold(PropertiesBuilder::new(), |builder, _| builder.user("", ""));
    let (two, three) = (build(two), build(three));
    let mut world = world(&limits);
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::QUOTA_EXCEEDED };
    let newcomer = world.connect_with(0, "newcomer", |connect| Connect { user: three.user_properties(), ..connect });
    assert_eq!(world.clients[newcomer].take(), [refused, Got::Closed]);
    let client = world.connect_with(0, "client", |connect| Connect { user: two.user_properties(), ..connect });
    let acknowledgement = |builder: &PropertiesBuilder| {
        let properties = AckProperties { user: builder.user_properties(), ..AckProperties::default() };
        let ack = Ack { properties, ..Ack::new(PacketId::MIN, ReasonCode::SUCCESS) };
        let mut bytes = Vec::new();
        encode(&Packet::PubAck(ack), Version::V5, &mut bytes);
        bytes
    };
    world.send_bytes(client, &acknowledgement(&two));
    world.settle();
    assert!(world.clients[client].is_connected());
    world.send_bytes(client, &acknowledgement(&three));
    world.settle();
    assert_eq!(world.farewell(client), Some(ReasonCode::QUOTA_EXCEEDED));
    assert_eq!(world.counter(0, |counters| counters.limit_hits_user_properties), 2);
    assert_eq!(told(&world, "userProperties"), 1);
}

#[test]
fn a_will_that_is_too_long_is_refused_in_the_words_of_each_version() {
    let mut world = world(&Limits { will_bytes: 10, ..Limits::default() });
    for (number, version) in [Version::V311, Version::V5].into_iter().enumerate() {
        let with = |payload: &'static [u8]| {
            move |connect| Connect { version, will: Some(Will::new("gone", payload)), ..connect }
        };
        let fits = world.connect_with(0, "fits", with(b"123456"));
        assert!(world.clients[fits].is_connected());
        let refused = world.connect_with(0, "refused", with(b"1234567"));
        let got = world.clients[refused].take();
        let [Got::ConnAck { session_present: false, reason }, Got::Closed] = got[..] else { panic!("{got:?}") };
        assert_eq!(
            reason,
            if version == Version::V5 { ReasonCode::QUOTA_EXCEEDED } else { ReasonCode::SERVER_UNAVAILABLE }
        );
        assert_eq!(world.counter(0, |counters| counters.limit_hits_will_bytes), number as u64 + 1);
    }
    assert!(world.trace.iter().any(|line| line.contains("ClientRefused") && line.contains("limit willBytes reached")));
}

#[test]
fn a_packet_asks_for_so_many_subscriptions() {
    let mut world = world(&Limits { subscriptions_per_packet: 2, ..Limits::default() });
    let options = SubscriptionOptions::default();
    let [first, rest] =
        [["a", "b", "c"], ["c", "c", "c"]].map(|all| all.map(|filter| SubscribeFilter { filter, options }));
    for (number, version) in (1..).zip([Version::V311, Version::V5]) {
        let client = world.connect_with(0, "client", |connect| Connect { version, ..connect });
        world.clients[client].take();
        let refused = if version == Version::V5 { ReasonCode::QUOTA_EXCEEDED } else { ReasonCode::UNSPECIFIED_ERROR };
        let codes = Got::SubAck(vec![ReasonCode::SUCCESS, ReasonCode::SUCCESS, refused]);
        world.subscribe_all(client, &first);
        world.settle();
        assert_eq!(world.clients[client].take(), [codes]);
        // Those that were refused may be asked for in another packet.
        world.subscribe_all(client, &rest[..1]);
        world.settle();
        assert_eq!(world.clients[client].take(), [Got::SubAck(vec![ReasonCode::SUCCESS])]);
        assert_eq!(world.counter(0, |counters| counters.limit_hits_subscriptions_per_packet), number);
        assert_eq!(told(&world, "subscriptionsPerPacket"), number as usize);
        world.vanish(client);
        world.settle();
    }
}

#[test]
fn topics_have_so_many_levels_and_bytes_whoever_names_them() {
    let limits = Limits { topic_levels: 3, topic_bytes: 8, ..Limits::default() };
    let mut world = world(&limits);
    let cases = [("a/b/c/d", "topicLevels"), ("abcdefghi", "topicBytes")];
    for (topic, limit) in cases {
        let subscriber = world.connect(0, "subscriber");
        world.subscribe(subscriber, topic, QoS::AtMostOnce);
        world.subscribe(subscriber, "a/b/cccc", QoS::AtMostOnce);
        world.settle();
        let codes = |reason| Got::SubAck(vec![reason]);
        let answers = world.clients[subscriber].take();
        assert_eq!(answers[1..], [codes(ReasonCode::TOPIC_FILTER_INVALID), codes(ReasonCode::SUCCESS)]);
        let publisher = world.connect(0, "publisher");
        world.publish(publisher, topic, "", QoS::AtMostOnce);
        world.settle();
        assert_eq!(world.farewell(publisher), Some(ReasonCode::TOPIC_NAME_INVALID));
        let willing =
            world.connect_with(0, "willing", |connect| Connect { will: Some(Will::new(topic, b"")), ..connect });
        let refused = Got::ConnAck { session_present: false, reason: ReasonCode::TOPIC_NAME_INVALID };
        assert_eq!(world.clients[willing].take(), [refused, Got::Closed]);
        assert_eq!(told(&world, limit), 2);
    }
    let hits = |of: fn(&fulmar_worker::Counters) -> u64| world.counter(0, of);
    assert_eq!(hits(|counters| counters.limit_hits_topic_levels), 3);
    assert_eq!(hits(|counters| counters.limit_hits_topic_bytes), 3);
}

#[test]
fn subacks_that_wait_for_a_silent_node_are_bounded_and_all_come() {
    let mut world = World::new(11, 2, 1);
    world.stall(0, 1, true);
    let greedy = world.connect(0, "greedy");
    world.clients[greedy].take();
    let options = SubscriptionOptions::default();
    (0..200).for_each(|number| world.subscribe_with(greedy, &format!("filter/{number}"), options));
    world.settle();
    assert_eq!(world.gauges(0).subscriptions, 64, "it is not read on");
    assert_eq!(world.clients[greedy].take(), []);
    let other = world.connect(0, "other");
    world.subscribe(other, "one", QoS::AtMostOnce);
    world.settle();
    assert_eq!(world.gauges(0).subscriptions, 65, "others are");
    world.stall(0, 1, false);
    world.pass(10 * SECOND);
    let granted = Got::SubAck(vec![ReasonCode::SUCCESS]);
    assert_eq!(world.clients[greedy].take(), vec![granted; 200]);
    assert!(world.counter(0, |counters| counters.subscribe_barrier_holds) >= 1);
}

#[test]
fn a_full_link_holds_its_publishers_until_it_has_room() {
    let mut world = World::with_limits(13, 2, 1, &Limits { link_buffer_bytes: 20_000, ..Limits::default() });
    let reader = world.connect(1, "reader");
    world.subscribe(reader, "far", QoS::AtMostOnce);
    world.settle();
    world.stall(0, 1, true);
    let publisher = world.connect(0, "publisher");
    let payloads: Vec<String> = (0..100).map(|number| format!("{number:0500}")).collect();
    for payload in &payloads {
        world.publish(publisher, "far", payload, QoS::AtMostOnce);
    }
    ping(&mut world, publisher);
    world.settle();
    assert!(!world.clients[publisher].got.contains(&Got::Pong), "it is not read on");
    assert_eq!(world.counter(0, |counters| counters.limit_hits_link_buffer_bytes), 1);
    world.stall(0, 1, false);
    world.cut(0, 1);
    world.reconnect(0, 1);
    world.pass(SECOND);
    assert_eq!(world.clients[reader].payloads(), payloads);
    assert!(world.clients[publisher].got.contains(&Got::Pong));
    assert_eq!(world.counter(0, |counters| counters.dropped_link_full), 0);
}
