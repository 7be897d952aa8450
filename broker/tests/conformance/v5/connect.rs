//! CONNECT (3.1): its bytes, its flags, and what the server makes of them. Sessions and wills have files of their own.

use std::time::{Duration, Instant};

use super::bytes::{connect_as, connect_is_refused};
use crate::bed::Bed;
use crate::wire::{Connect, Packet, Property, Publish, V5, Will, block, packet, subscribe, text, unsubscribe, user};

crate::statements! {
    mqtt_3_1_0_1_the_first_packet_is_connect,
    mqtt_3_1_0_2_a_second_connect_closes,
    mqtt_3_1_2_1_another_protocol_name_closes,
    mqtt_3_1_2_2_another_protocol_version_is_answered_and_closed,
    mqtt_3_1_2_3_the_reserved_connect_flag_is_zero,
    mqtt_3_1_2_9_a_will_has_all_its_fields,
    mqtt_3_1_2_11_without_a_will_its_qos_is_zero,
    mqtt_3_1_2_12_a_will_has_qos_0_1_or_2,
    mqtt_3_1_2_13_without_a_will_its_retain_flag_is_zero,
    mqtt_3_1_2_16_without_its_flag_there_is_no_user_name,
    mqtt_3_1_2_17_with_its_flag_there_is_a_user_name,
    mqtt_3_1_2_18_without_its_flag_there_is_no_password,
    mqtt_3_1_2_19_with_its_flag_there_is_a_password,
    mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_closes,
    mqtt_3_1_2_24_a_packet_above_the_clients_maximum_is_not_sent,
    mqtt_3_1_2_24_no_packet_of_any_kind_is_above_the_clients_maximum,
    mqtt_3_1_2_25_a_message_that_is_too_large_counts_as_delivered,
    mqtt_3_1_2_26_no_topic_alias_above_the_clients_maximum,
    mqtt_3_1_2_27_no_topic_alias_for_a_client_that_takes_none,
    mqtt_3_1_2_28_no_response_information_unless_asked_for,
    mqtt_3_1_2_29_no_problem_information_for_a_client_that_wants_none,
    mqtt_3_1_3_1_the_fields_are_in_their_order,
    mqtt_3_1_3_3_there_is_a_client_id,
    mqtt_3_1_3_4_a_client_id_is_utf8,
    mqtt_3_1_3_5_every_plain_client_id_is_allowed,
    mqtt_3_1_3_6_an_empty_client_id_is_replaced_by_a_new_one,
    mqtt_3_1_3_7_an_assigned_client_id_is_told_and_can_be_used,
    mqtt_3_1_3_8_a_client_id_that_is_not_taken_closes,
    mqtt_3_1_3_11_a_will_topic_is_utf8,
    mqtt_3_1_3_12_a_user_name_is_utf8,
    mqtt_3_1_4_1_a_connect_that_does_not_fit_its_format_closes,
    mqtt_3_1_4_2_a_client_without_a_right_to_connect_is_closed,
    mqtt_3_1_4_3_the_older_connection_of_a_client_id_is_closed,
    mqtt_3_1_4_4_a_clean_start_ends_the_session_of_the_older_connection,
    mqtt_3_1_4_5_a_connect_in_order_is_acknowledged,
    mqtt_3_1_4_6_nothing_after_a_refused_connect_is_processed,
}

pub fn mqtt_3_1_0_1_the_first_packet_is_connect(bed: &Bed) {
    let publish = Publish::new(bed.name("/x"), "x").encode(bed.version);
    for first in [publish, packet(0xc0, &[]), packet(0xe0, &[]), packet(0x40, &[0, 1]), packet(0xf0, &[])] {
        let mut client = bed.open();
        client.send(&first);
        client.closed();
    }
}

pub fn mqtt_3_1_0_2_a_second_connect_closes(bed: &Bed) {
    let mut client = bed.connect("c");
    client.send(&bed.hello("c").encode());
    client.refused(0x82);
}

pub fn mqtt_3_1_2_1_another_protocol_name_closes(bed: &Bed) {
    let hello = bed.hello("c");
    for name in ["MQTx", "mqtt", "", "MQTTT"] {
        let mut client = bed.open();
        client.send(&packet(0x10, &[hello.head(name, bed.version, 2), hello.payload()].concat()));
        let got = client.until_closed();
        let fits = |got: &Packet| matches!(got, Packet::ConnAck(connack) if connack.reason == 0x84);
        assert!(got.iter().all(fits) && got.len() < 2, "after {name:?}: {got:?}");
    }
}

fn mqtt_3_1_2_2_another_protocol_version_is_answered_and_closed(bed: &Bed) {
    let hello = bed.hello("c");
    for level in [6, 7, 127] {
        let mut client = bed.open();
        client.send(&packet(0x10, &[hello.head("MQTT", level, 2), hello.payload()].concat()));
        let got = client.until_closed();
        assert!(matches!(&got[..], [Packet::ConnAck(connack)] if connack.reason == 0x84), "at {level}: {got:?}");
    }
}

/// A CONNECT with these flags and its payload as it is.
fn with_flags(hello: &Connect, flags: u8) -> Vec<u8> {
    packet(0x10, &[hello.head("MQTT", hello.version, flags), hello.payload()].concat())
}

pub fn mqtt_3_1_2_3_the_reserved_connect_flag_is_zero(bed: &Bed) {
    connect_is_refused(bed, &with_flags(&bed.hello("c"), 0b11), 0x81);
}

pub fn mqtt_3_1_2_9_a_will_has_all_its_fields(bed: &Bed) {
    let properties: &[u8] = if bed.version == V5 { &[0] } else { &[] };
    let topic = text(bed.name("/will"));
    for payload in [vec![], properties.to_vec(), [properties, &topic].concat()] {
        let hello = bed.hello("c");
        let head = hello.head("MQTT", bed.version, 0b110);
        connect_is_refused(bed, &packet(0x10, &[head, hello.payload(), payload].concat()), 0x81);
    }
}

pub fn mqtt_3_1_2_11_without_a_will_its_qos_is_zero(bed: &Bed) {
    for qos in 1..4 {
        connect_is_refused(bed, &with_flags(&bed.hello("c"), 2 | qos << 3), 0x81);
    }
}

pub fn mqtt_3_1_2_12_a_will_has_qos_0_1_or_2(bed: &Bed) {
    let topic = bed.name("/will");
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&topic, 2)]);
    for qos in 0..3 {
        let mut client = bed.join(&bed.hello("c").will(Will::new(&topic, "gone").qos(qos)));
        client.vanish();
        assert_eq!(subscriber.only("gone").qos, qos);
    }
    connect_is_refused(bed, &bed.hello("c").will(Will::new(&topic, "gone").qos(3)).encode(), 0x81);
}

pub fn mqtt_3_1_2_13_without_a_will_its_retain_flag_is_zero(bed: &Bed) {
    connect_is_refused(bed, &with_flags(&bed.hello("c"), 2 | 1 << 5), 0x81);
}

pub fn mqtt_3_1_2_16_without_its_flag_there_is_no_user_name(bed: &Bed) {
    let mut named = bed.hello("c");
    named.user = Some("somebody".to_owned());
    connect_is_refused(bed, &with_flags(&named, 2), 0x81);
}

pub fn mqtt_3_1_2_17_with_its_flag_there_is_a_user_name(bed: &Bed) {
    connect_is_refused(bed, &with_flags(&bed.hello("c"), 2 | 1 << 7), 0x81);
}

pub fn mqtt_3_1_2_18_without_its_flag_there_is_no_password(bed: &Bed) {
    let named = bed.hello("c").credentials("somebody", b"secret");
    connect_is_refused(bed, &with_flags(&named, 2 | 1 << 7), 0x81);
}

pub fn mqtt_3_1_2_19_with_its_flag_there_is_a_password(bed: &Bed) {
    let mut named = bed.hello("c");
    named.user = Some("somebody".to_owned());
    connect_is_refused(bed, &with_flags(&named, 2 | 3 << 6), 0x81);
}

/// Lives on PINGREQ, dies of silence; dying is like a broken network, so the will goes out.
pub fn mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_closes(bed: &Bed) {
    let topic = bed.name("/will");
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&topic, 0)]);
    let mut client = bed.join(&bed.hello("c").keep_alive(1).will(Will::new(&topic, "silent")));
    let until = Instant::now() + Duration::from_millis(1700);
    let mut silent = Instant::now();
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        silent = Instant::now();
        client.quiet();
    }
    client.refused(0x8d);
    let lasted = silent.elapsed();
    assert!(lasted >= Duration::from_millis(1400), "closed after {lasted:?}, wanted 1.5 s of silence");
    assert!(lasted <= Duration::from_secs(4), "closed after {lasted:?}, wanted 1.5 s of silence");
    subscriber.only("silent");
}

fn mqtt_3_1_2_24_a_packet_above_the_clients_maximum_is_not_sent(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = bed.join(&bed.hello("sub").with(Property::MaximumPacketSize(100)));
    subscriber.subscribe(&[(&topic, 2)]);
    let mut publisher = bed.connect("pub");
    let exact = Publish::new(&topic, vec![b'x'; 100 - 2 - 2 - topic.len() - 1]);
    assert_eq!(exact.encode(V5).len(), 100);
    for qos in 0..3 {
        publisher.publish(Publish::new(&topic, vec![b'x'; 100]).qos(qos));
    }
    publisher.publish(exact.clone());
    // Nothing but the one that fits has come.
    assert_eq!(subscriber.take().payload, exact.payload);
    subscriber.quiet();
}

/// What cannot be said within the maximum is not said: the connection closes, with a reason if that fits.
fn mqtt_3_1_2_24_no_packet_of_any_kind_is_above_the_clients_maximum(bed: &Bed) {
    for bytes in [1, 4, 5, 15] {
        let mut client = bed.open();
        client.send(&bed.hello("c").with(Property::MaximumPacketSize(bytes)).encode());
        let got = client.until_closed();
        let read = client.bytes_taken();
        assert!(read <= bytes as usize, "{read} bytes for a client that takes {bytes}: {got:?}");
        assert!(got.iter().all(|got| matches!(got, Packet::ConnAck(connack) if connack.reason == 0x95)), "{got:?}");
    }
    // CONNACK fits, but SUBACK and UNSUBACK have a code for each of many filters.
    let filters: Vec<String> = (0..100).map(|number| bed.name(&format!("/{number}"))).collect();
    let subscribed: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    let unsubscribed: Vec<&str> = filters.iter().map(String::as_str).collect();
    for request in [subscribe(V5, 1, &subscribed, &[]), unsubscribe(V5, 1, &unsubscribed, &[])] {
        let mut client = bed.join(&bed.hello("c").with(Property::MaximumPacketSize(64)));
        client.send(&request);
        client.refused(0x95);
    }
}

fn mqtt_3_1_2_25_a_message_that_is_too_large_counts_as_delivered(bed: &Bed) {
    let topic = bed.name("/x");
    // With a window of one message, a discarded message that stays in it would block all others.
    let hello = bed.hello("sub").with(Property::MaximumPacketSize(100)).with(Property::ReceiveMaximum(1));
    let mut subscriber = bed.join(&hello);
    subscriber.subscribe(&[(&topic, 2)]);
    let mut publisher = bed.connect("pub");
    for qos in 1..3 {
        publisher.publish(Publish::new(&topic, vec![b'x'; 200]).qos(qos));
        publisher.publish(Publish::new(&topic, "small").qos(qos));
        subscriber.only("small");
    }
}

fn aliases_sent(bed: &Bed, hello: &Connect) -> Vec<u16> {
    let topic = bed.name("/a/long/topic/that/is/worth/an/alias");
    let mut subscriber = bed.join(hello);
    subscriber.subscribe(&[(&format!("{topic}/+"), 0)]);
    let mut publisher = bed.connect("pub");
    let mut aliases = Vec::new();
    for number in 0..10 {
        publisher.publish(Publish::new(format!("{topic}/{}", number % 5), "x"));
        let got = subscriber.only("x");
        let alias = |property: &Property| if let Property::TopicAlias(alias) = property { Some(*alias) } else { None };
        aliases.extend(got.properties.iter().find_map(alias));
    }
    aliases
}

fn mqtt_3_1_2_26_no_topic_alias_above_the_clients_maximum(bed: &Bed) {
    let aliases = aliases_sent(bed, &bed.hello("sub").with(Property::TopicAliasMaximum(2)));
    // Some there are, or nothing would be tested.
    assert!(!aliases.is_empty() && aliases.iter().all(|alias| (1..=2).contains(alias)), "{aliases:?}");
}

fn mqtt_3_1_2_27_no_topic_alias_for_a_client_that_takes_none(bed: &Bed) {
    assert!(aliases_sent(bed, &bed.hello("sub").with(Property::TopicAliasMaximum(0))).is_empty());
    assert!(aliases_sent(bed, &bed.hello("sub2")).is_empty());
}

fn mqtt_3_1_2_28_no_response_information_unless_asked_for(bed: &Bed) {
    for hello in [bed.hello("c"), bed.hello("c").with(Property::RequestResponseInformation(0))] {
        assert_eq!(bed.join(&hello).connack.property(0x1a), None);
    }
}

/// Everything that can be answered by an error on a connection that lives.
fn mqtt_3_1_2_29_no_problem_information_for_a_client_that_wants_none(bed: &Bed) {
    let mut client = bed.join(&bed.hello("c").with(Property::RequestProblemInformation(0)));
    let answer = client.subscribe_with(&[("a/#/b", 0), ("a+", 0)], &[]);
    assert_eq!((answer.codes, answer.properties), (vec![0x8f, 0x8f], vec![]));
    assert_eq!(client.unsubscribe(&[&bed.name("/never")]), [0x11]);
    client.pubrel(77);
    match client.next() {
        Packet::PubComp(ack) => assert_eq!((ack.id, ack.reason, ack.properties), (77, 0x92, vec![])),
        other => panic!("wanted PUBCOMP, got {other:?}"),
    }
    client.publish(Publish::new(bed.name("/nobody"), "x").qos(1));
    client.quiet();
}

pub fn mqtt_3_1_3_1_the_fields_are_in_their_order(bed: &Bed) {
    let topic = bed.name("/will");
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&topic, 0)]);
    // Client id, will, user name and password are told apart by their place only.
    let hello = bed.hello("c").will(Will::new(&topic, "last words")).credentials("somebody", b"secret");
    bed.join(&hello).vanish();
    let got = subscriber.only("last words");
    assert_eq!(got.topic, topic);
}

pub fn mqtt_3_1_3_3_there_is_a_client_id(bed: &Bed) {
    connect_is_refused(bed, &packet(0x10, &bed.hello("c").head("MQTT", bed.version, 2)), 0x81);
}

pub fn mqtt_3_1_3_4_a_client_id_is_utf8(bed: &Bed) {
    connect_is_refused(bed, &connect_as(bed.version, b"t\xc3\x28"), 0x81);
    bed.connect("ä-日本-😀").quiet();
}

pub fn mqtt_3_1_3_5_every_plain_client_id_is_allowed(bed: &Bed) {
    for id in ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", "a", "9"] {
        bed.join(&Connect::new(bed.version, id));
    }
}

/// The client id that the server gave.
fn assigned(connack: &crate::wire::ConnAck) -> String {
    match connack.property(0x12) {
        Some(Property::AssignedClientId(id)) => id.clone(),
        other => panic!("wanted a client id, got {other:?} in {connack:?}"),
    }
}

fn mqtt_3_1_3_6_an_empty_client_id_is_replaced_by_a_new_one(bed: &Bed) {
    let clients: Vec<_> = (0..20).map(|_| bed.join(&Connect::new(V5, ""))).collect();
    let mut ids: Vec<String> = clients.iter().map(|client| assigned(&client.connack)).collect();
    assert!(ids.iter().all(|id| !id.is_empty()), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "each has its own: {ids:?}");
    // All of them live: none has taken another's place.
    clients.into_iter().for_each(|mut client| client.quiet());
}

fn mqtt_3_1_3_7_an_assigned_client_id_is_told_and_can_be_used(bed: &Bed) {
    let topic = bed.name("/x");
    let mut first = bed.join(&Connect::new(V5, "").lasting_from_new());
    let id = assigned(&first.connack);
    first.subscribe(&[(&topic, 1)]);
    first.vanish();
    bed.connect("pub").publish(Publish::new(&topic, "kept").qos(1));
    let mut second = bed.join_beside(&first, &Connect::new(V5, id).lasting());
    assert!(second.connack.present, "{:?}", second.connack);
    assert_eq!(second.connack.property(0x12), None, "it has an id");
    second.only("kept");
}

pub fn mqtt_3_1_3_8_a_client_id_that_is_not_taken_closes(bed: &Bed) {
    let (long, refused) = ("x".repeat(2000), if bed.version == V5 { 0x85 } else { 2 });
    for id in ["with\u{1}control", "with\u{7f}control", &long] {
        let (mut client, answer) = bed.offer(&Connect::new(bed.version, id));
        assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason == refused), "{answer:?}");
        client.closed();
    }
}

/// A CONNECT with a will topic of any bytes.
pub fn with_will_topic(bed: &Bed, topic: &[u8]) -> Vec<u8> {
    let hello = bed.hello("c");
    let properties = if bed.version == V5 { block(&[]) } else { Vec::new() };
    let payload = [text(&hello.id), properties, text(topic), text("payload")].concat();
    packet(0x10, &[hello.head("MQTT", bed.version, 0b110), payload].concat())
}

pub fn mqtt_3_1_3_11_a_will_topic_is_utf8(bed: &Bed) {
    for topic in [&b"a\xff"[..], b"\xed\xbf\xbf", b"a\0b"] {
        connect_is_refused(bed, &with_will_topic(bed, topic), 0x81);
    }
}

pub fn mqtt_3_1_3_12_a_user_name_is_utf8(bed: &Bed) {
    let hello = bed.hello("c");
    for name in [&b"a\xff"[..], b"\xed\xbf\xbf", b"a\0b"] {
        let head = hello.head("MQTT", bed.version, 2 | 1 << 7);
        connect_is_refused(bed, &packet(0x10, &[head, text(&hello.id), text(name)].concat()), 0x81);
    }
}

fn mqtt_3_1_4_1_a_connect_that_does_not_fit_its_format_closes(bed: &Bed) {
    let hello = bed.hello("c");
    let with = |property: Property| hello.clone().with(property).encode();
    let twice = |property: Property| hello.clone().with(property.clone()).with(property).encode();
    let mut long = hello.encode();
    long[1] += 1;
    long.push(0);
    for (connect, reason) in [
        (long, 0x81),
        (packet(0x10, &[hello.head("MQTT", V5, 2), vec![0, 9, b'x']].concat()), 0x81),
        (with(Property::TopicAlias(1)), 0x81),
        (with(Property::ReceiveMaximum(0)), 0x82),
        (with(Property::MaximumPacketSize(0)), 0x82),
        (with(Property::RequestProblemInformation(2)), 0x82),
        (with(Property::RequestResponseInformation(2)), 0x82),
        (with(Property::AuthenticationData(vec![1])), 0x82),
        (twice(Property::SessionExpiry(1)), 0x82),
        (twice(Property::ReceiveMaximum(5)), 0x82),
        (twice(Property::MaximumPacketSize(100)), 0x82),
        (twice(Property::TopicAliasMaximum(5)), 0x82),
    ] {
        connect_is_refused(bed, &connect, reason);
    }
    // User properties may be there more than once.
    bed.join(&hello.clone().with(user("a", "1")).with(user("a", "1"))).quiet();
}

pub fn mqtt_3_1_4_2_a_client_without_a_right_to_connect_is_closed(bed: &Bed) {
    let closed = bed.with(&["allowAnonymous=false"]);
    let (mut client, answer) = closed.offer(&closed.hello("c"));
    let wanted = if bed.version == V5 { 0x87 } else { 5 };
    assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason == wanted), "{answer:?}");
    client.closed();
}

pub fn mqtt_3_1_4_3_the_older_connection_of_a_client_id_is_closed(bed: &Bed) {
    let mut older = bed.connect("c");
    let mut newer = bed.connect("c");
    older.refused(0x8e);
    newer.quiet();
}

pub fn mqtt_3_1_4_4_a_clean_start_ends_the_session_of_the_older_connection(bed: &Bed) {
    let topic = bed.name("/x");
    let mut older = bed.join(&bed.hello("c").lasting());
    older.subscribe(&[(&topic, 1)]);
    let mut newer = bed.join(&bed.hello("c"));
    assert!(!newer.connack.present);
    older.refused(0x8e);
    bed.connect("pub").publish(Publish::new(&topic, "not for the new session").qos(1));
    newer.quiet();
}

pub fn mqtt_3_1_4_5_a_connect_in_order_is_acknowledged(bed: &Bed) {
    let (mut client, answer) = bed.offer(&bed.hello("c"));
    assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason == 0 && !connack.present), "{answer:?}");
    client.quiet();
}

pub fn mqtt_3_1_4_6_nothing_after_a_refused_connect_is_processed(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&topic, 0)]);
    let mut client = bed.open();
    let connect = Connect::new(bed.version, "not\u{1}taken").encode();
    client.send(&[connect, Publish::new(&topic, "too late").retain().encode(bed.version)].concat());
    let got = client.until_closed();
    assert!(matches!(&got[..], [Packet::ConnAck(connack)] if connack.reason != 0), "{got:?}");
    bed.connect("pub").publish(Publish::new(&topic, "in order"));
    subscriber.only("in order");
}
