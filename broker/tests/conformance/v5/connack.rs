//! CONNACK (3.2): session present, reason codes, and that what it announces is true.

use std::time::{Duration, Instant};

use super::bytes::each_is_refused;
use crate::bed::Bed;
use crate::wire::{Connect, Packet, Property, Publish, V5, Will, user};

crate::statements! {
    mqtt_3_2_0_1_connack_comes_first,
    mqtt_3_2_0_2_there_is_one_connack_only,
    mqtt_3_2_2_1_reserved_flags_are_zero,
    mqtt_3_2_2_2_a_clean_start_has_no_session_present,
    mqtt_3_2_2_3_session_present_tells_of_a_session,
    mqtt_3_2_2_6_a_refusal_has_no_session_present,
    mqtt_3_2_2_7_after_a_refusal_the_connection_is_closed,
    mqtt_3_2_2_8_reason_codes_are_those_of_connack,
    mqtt_3_2_2_9_no_maximum_qos_is_announced_and_every_qos_is_taken,
    mqtt_3_2_2_10_every_qos_can_be_subscribed_to,
    mqtt_3_2_2_12_a_will_of_every_qos_is_taken,
    mqtt_3_2_2_13_a_retained_will_is_taken,
    mqtt_3_2_2_16_an_assigned_client_id_is_nobody_elses,
    mqtt_3_2_2_19_no_reason_string_makes_connack_too_large,
    mqtt_3_2_2_20_no_user_property_makes_connack_too_large,
    mqtt_3_2_2_22_without_a_server_keep_alive_the_clients_holds,
    capability_receive_maximum_is_kept,
    capability_maximum_packet_size_is_kept,
    capability_topic_alias_maximum_is_kept,
    capability_session_expiry_is_told_when_it_is_another,
    capability_server_keep_alive_holds,
    capability_what_is_not_announced_is_there,
}

pub fn mqtt_3_2_0_1_connack_comes_first(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.open();
    let subscribe = super::bytes::subscribe_to(bed.version, topic.as_bytes());
    let publish = Publish::new(&topic, "x").encode(bed.version);
    // A client need not wait for it (3.1.4).
    client.send(&[bed.hello("c").encode(), vec![0xc0, 0], subscribe, publish].concat());
    assert!(matches!(client.next(), Packet::ConnAck(connack) if connack.reason == 0));
    assert_eq!(client.next(), Packet::PingResp);
    let rest = [client.next(), client.next()];
    assert!(rest.iter().any(|packet| matches!(packet, Packet::SubAck(_))), "{rest:?}");
    assert!(rest.iter().any(|packet| matches!(packet, Packet::Publish(_))), "{rest:?}");
}

pub fn mqtt_3_2_0_2_there_is_one_connack_only(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.subscribe(&[(&topic, 2)]);
    for qos in 0..3 {
        client.publish(Publish::new(&topic, "x").qos(qos));
        client.only("x");
    }
    client.quiet();
    client.send(&bed.hello("c").encode());
    assert!(!client.until_closed().iter().any(|packet| matches!(packet, Packet::ConnAck(_))));
}

/// The client refuses every CONNACK with other flags; this shows it both values there are.
pub fn mqtt_3_2_2_1_reserved_flags_are_zero(bed: &Bed) {
    let client = bed.join(&bed.hello("c").lasting());
    let again = bed.join_beside(&client, &bed.hello("c").lasting());
    assert_eq!((client.connack.present, again.connack.present), (false, true));
    let (_client, answer) = bed.offer(&Connect::new(bed.version, "not\u{1}taken"));
    assert!(matches!(answer, Packet::ConnAck(connack) if connack.reason != 0));
}

pub fn mqtt_3_2_2_2_a_clean_start_has_no_session_present(bed: &Bed) {
    let _client = bed.join(&bed.hello("c").lasting());
    assert!(!bed.join(&bed.hello("c")).connack.present);
}

pub fn mqtt_3_2_2_3_session_present_tells_of_a_session(bed: &Bed) {
    let mut client = bed.join(&bed.hello("c").lasting());
    assert!(!client.connack.present, "there was none");
    client.disconnect();
    let mut client = bed.join_beside(&client, &bed.hello("c").lasting());
    assert!(client.connack.present, "there is one");
    client.disconnect();
    let mut client = bed.join_beside(&client, &bed.hello("c"));
    assert!(!client.connack.present, "it is discarded");
    client.disconnect();
    assert!(!bed.join_beside(&client, &bed.hello("c").lasting()).connack.present, "there is none any more");
}

/// Refusals for reasons of ours, not of bytes: each answer.
fn refusals(bed: &Bed) -> Vec<(crate::wire::Client, Packet)> {
    let closed = bed.with(&["allowAnonymous=false"]);
    vec![bed.offer(&Connect::new(bed.version, "not\u{1}taken").lasting()), closed.offer(&closed.hello("c").lasting())]
}

pub fn mqtt_3_2_2_6_a_refusal_has_no_session_present(bed: &Bed) {
    for (_client, answer) in refusals(bed) {
        assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason != 0 && !connack.present), "{answer:?}");
    }
}

pub fn mqtt_3_2_2_7_after_a_refusal_the_connection_is_closed(bed: &Bed) {
    for (mut client, answer) in refusals(bed) {
        assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason != 0), "{answer:?}");
        client.closed();
    }
}

/// The client refuses codes that are not of CONNACK; this shows it those that there are.
pub fn mqtt_3_2_2_8_reason_codes_are_those_of_connack(bed: &Bed) {
    let method = Property::AuthenticationMethod("none of ours".to_owned());
    let reasons = |answer: Packet| match answer {
        Packet::ConnAck(connack) => connack.reason,
        other => panic!("wanted CONNACK, got {other:?}"),
    };
    let mut got: Vec<u8> = refusals(bed).into_iter().map(|(_, answer)| reasons(answer)).collect();
    got.push(reasons(bed.offer(&bed.hello("c").with(method)).1));
    got.push(reasons(bed.offer(&bed.hello("c").with(Property::ReceiveMaximum(0))).1));
    assert_eq!(got, [0x85, 0x87, 0x8c, 0x82]);
}

fn mqtt_3_2_2_9_no_maximum_qos_is_announced_and_every_qos_is_taken(bed: &Bed) {
    let mut client = bed.connect("c");
    assert_eq!(client.connack.property(0x24), None);
    for qos in 0..3 {
        client.publish(Publish::new(bed.name("/x"), "x").qos(qos));
    }
    client.quiet();
}

fn mqtt_3_2_2_10_every_qos_can_be_subscribed_to(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    for qos in 0..3 {
        client.subscribe(&[(&topic, qos)]);
    }
}

fn mqtt_3_2_2_12_a_will_of_every_qos_is_taken(bed: &Bed) {
    for qos in 0..3 {
        bed.join(&bed.hello("c").will(Will::new(bed.name("/will"), "x").qos(qos))).quiet();
    }
}

fn mqtt_3_2_2_13_a_retained_will_is_taken(bed: &Bed) {
    let mut client = bed.join(&bed.hello("c").will(Will::new(bed.name("/will"), "x").retain()));
    assert_eq!(client.connack.property(0x25), None, "retained messages are available");
    client.quiet();
}

fn mqtt_3_2_2_16_an_assigned_client_id_is_nobody_elses(bed: &Bed) {
    let mut clients: Vec<_> = (0..10).map(|_| bed.join(&Connect::new(V5, "").lasting())).collect();
    let mut ids: Vec<_> = clients.iter().filter_map(|client| client.connack.property(0x12).cloned()).collect();
    assert!(clients.iter().all(|client| !client.connack.present), "each session is new");
    ids.sort_by_key(|id| format!("{id:?}"));
    ids.dedup();
    assert_eq!(ids.len(), 10, "{ids:?}");
    clients.iter_mut().for_each(|client| client.quiet());
}

/// The answer in bytes to a client that takes packets of that size, if there is one.
fn connack_within(bed: &Bed, bytes: u32, hello: Connect) -> Option<crate::wire::ConnAck> {
    let mut client = bed.open();
    client.send(&hello.with(Property::MaximumPacketSize(bytes)).encode());
    let answer = client.next();
    assert!(
        client.bytes_taken() <= bytes as usize,
        "{} bytes of {answer:?}, at most {bytes} fit",
        client.bytes_taken()
    );
    match answer {
        Packet::ConnAck(connack) => Some(connack),
        _ => None,
    }
}

fn mqtt_3_2_2_19_no_reason_string_makes_connack_too_large(bed: &Bed) {
    for bytes in [60, 64, 100] {
        let hellos = [bed.hello("c"), Connect::new(V5, "not\u{1}taken"), Connect::new(V5, "")];
        let answers = hellos.map(|hello| connack_within(bed, bytes, hello));
        assert!(answers.iter().all(Option::is_some), "every answer fits: {answers:?}");
    }
}

fn mqtt_3_2_2_20_no_user_property_makes_connack_too_large(bed: &Bed) {
    for bytes in [20, 40, 100] {
        let hello = bed.hello("c").with(user("a", &"b".repeat(200)));
        if let Some(connack) = connack_within(bed, bytes, hello) {
            assert_eq!(connack.property(0x26), None);
        }
    }
}

pub fn mqtt_3_2_2_22_without_a_server_keep_alive_the_clients_holds(bed: &Bed) {
    let mut patient = bed.join(&bed.hello("patient").keep_alive(60));
    let silent = Instant::now();
    let mut client = bed.join(&bed.hello("c").keep_alive(1));
    assert_eq!(client.connack.property(0x13), None);
    client.refused(0x8d);
    let lasted = silent.elapsed();
    assert!(lasted >= Duration::from_millis(1400), "closed after {lasted:?}, wanted 1.5 s");
    patient.quiet();
}

const TIGHT: &[&str] = &[
    "limits.inflight=3",
    "limits.packetBytes=2048",
    "limits.topicAliases=2",
    "limits.keepAliveSecondsMax=1",
    "limits.sessionExpirySecondsMax=1",
];

fn capability_receive_maximum_is_kept(bed: &Bed) {
    let bed = bed.with(TIGHT);
    let mut client = bed.join(&bed.hello("c").keep_alive(0));
    assert_eq!(client.connack.property(0x21), Some(&Property::ReceiveMaximum(3)));
    // Three that wait for PUBREL are taken, a fourth is one too many.
    for id in 1..4 {
        client.send_publish(Publish::new(bed.name("/x"), "x").qos(2).id(id));
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == id && ack.reason == 0));
    }
    client.send_publish(Publish::new(bed.name("/x"), "x").qos(2).id(4));
    client.refused(0x93);
}

fn capability_maximum_packet_size_is_kept(bed: &Bed) {
    let bed = bed.with(TIGHT);
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    assert_eq!(client.connack.property(0x27), Some(&Property::MaximumPacketSize(2048)));
    let exact = Publish::new(&topic, vec![b'x'; 2048 - 3 - 2 - topic.len() - 1]);
    assert_eq!(exact.encode(V5).len(), 2048);
    client.publish(exact.clone());
    client.quiet();
    let mut larger = exact.clone();
    larger.payload.push(b'x');
    each_is_refused(&bed, &[larger.encode(V5)], 0x95);
}

fn capability_topic_alias_maximum_is_kept(bed: &Bed) {
    let bed = bed.with(TIGHT);
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    assert_eq!(client.connack.property(0x22), Some(&Property::TopicAliasMaximum(2)));
    for alias in 1..3 {
        client.publish(Publish::new(&topic, "x").with(Property::TopicAlias(alias)));
        client.publish(Publish::new("", "x").qos(1).with(Property::TopicAlias(alias)));
    }
    client.send_publish(Publish::new(&topic, "x").with(Property::TopicAlias(3)));
    client.refused(0x94);
}

fn capability_session_expiry_is_told_when_it_is_another(bed: &Bed) {
    let bed = bed.with(TIGHT);
    let mut client = bed.join(&bed.hello("c").lasting());
    assert_eq!(client.connack.property(0x11), Some(&Property::SessionExpiry(1)));
    client.vanish();
    std::thread::sleep(Duration::from_millis(2000));
    assert!(!bed.join_beside(&client, &bed.hello("c").lasting()).connack.present);
    assert_eq!(bed.connect("none").connack.property(0x11), None);
}

fn capability_server_keep_alive_holds(bed: &Bed) {
    let bed = bed.with(TIGHT);
    let silent = Instant::now();
    let mut client = bed.join(&bed.hello("c").keep_alive(600));
    assert_eq!(client.connack.property(0x13), Some(&Property::ServerKeepAlive(1)));
    client.refused(0x8d);
    let lasted = silent.elapsed();
    assert!(lasted >= Duration::from_millis(1400), "closed after {lasted:?}, wanted 1.5 s");
}

/// Nothing that we have is denied: QoS 2, retained messages, wildcards, subscription identifiers, shared subscriptions.
fn capability_what_is_not_announced_is_there(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    for id in [0x24, 0x25, 0x28, 0x29, 0x2a] {
        assert_eq!(client.connack.property(id), None, "absent says that it is available");
    }
    let shared = format!("$share/group/{}", bed.name("/+"));
    let codes = client.subscribe_with(&[(&bed.name("/#"), 2), (&shared, 2)], &[Property::SubscriptionId(7)]).codes;
    assert_eq!(codes, [2, 2]);
    client.publish(Publish::new(&topic, "x").qos(2).retain());
    assert_eq!(client.only("x").subscription_ids(), [7]);
    assert_eq!(client.only("x").subscription_ids(), [7], "by the group");
    // What we lack is not announced as there: a connection without extended authentication has no method.
    assert_eq!(client.connack.property(0x15), None);
    assert_eq!(client.connack.property(0x1a), None);
}
