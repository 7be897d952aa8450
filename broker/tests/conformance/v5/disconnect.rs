//! PINGREQ, DISCONNECT, AUTH (3.12 to 3.15), extended authentication (4.12) and errors (4.13).

use super::bytes::each_is_refused;
use crate::bed::Bed;
use crate::wire::{Client, Ending, Packet, Property, Publish, V5, packet, user};

crate::statements! {
    mqtt_3_12_4_1_pingreq_is_answered,
    mqtt_3_14_0_1_no_disconnect_before_connack,
    mqtt_3_14_1_1_disconnect_has_its_flags,
    mqtt_3_14_2_1_disconnect_has_one_of_its_reason_codes,
    mqtt_3_14_2_2_the_server_sends_no_session_expiry,
    mqtt_3_14_2_3_no_reason_string_makes_disconnect_too_large,
    mqtt_3_14_2_4_no_user_property_makes_disconnect_too_large,
    mqtt_3_14_4_1_after_disconnect_the_server_says_nothing,
    mqtt_3_14_4_2_after_disconnect_the_server_closes,
    mqtt_3_15_1_1_auth_has_its_flags,
    mqtt_3_15_2_1_auth_has_one_of_its_reason_codes,
    mqtt_3_15_2_2_no_reason_string_makes_auth_too_large,
    mqtt_3_15_2_3_no_user_property_makes_auth_too_large,
    mqtt_4_12_0_1_an_authentication_method_that_is_none_of_ours_closes,
    mqtt_4_12_0_2_the_server_continues_no_authentication_that_it_does_not_have,
    mqtt_4_12_0_4_a_refused_authentication_closes,
    mqtt_4_12_0_5_no_success_without_the_method_of_connect,
    mqtt_4_12_0_6_without_a_method_there_is_no_auth,
    mqtt_4_12_0_7_auth_without_a_method_closes,
    mqtt_4_12_1_2_a_reauthentication_that_fails_closes,
    mqtt_4_13_1_1_a_malformed_packet_closes,
    mqtt_4_13_2_1_after_an_error_code_the_server_closes,
    choice_a_session_expiry_of_disconnect_holds,
    choice_no_session_expiry_after_all_closes,
}

pub fn mqtt_3_12_4_1_pingreq_is_answered(bed: &Bed) {
    let mut client = bed.connect("c");
    client.send(&[0xc0, 0, 0xc0, 0, 0xc0, 0]);
    for _ in 0..3 {
        assert_eq!(client.next(), Packet::PingResp);
    }
    client.quiet();
}

fn mqtt_3_14_0_1_no_disconnect_before_connack(bed: &Bed) {
    let hello = bed.hello("c").with(Property::ReceiveMaximum(0)).encode();
    let no_connect = Ending { reason: 0, properties: Vec::new() }.encode(0xe0);
    for first in [hello, no_connect, vec![0x10, 0x80, 0x80, 0x80, 0x80], packet(0x10, b"\0\x04MQTT\x09\x02")] {
        let mut client = bed.open();
        client.send(&first);
        let got = client.until_closed();
        assert!(!got.iter().any(|packet| matches!(packet, Packet::Disconnect(_))), "{got:?}");
    }
}

pub fn mqtt_3_14_1_1_disconnect_has_its_flags(bed: &Bed) {
    let packets = [0xe1, 0xe2, 0xe4, 0xe8].map(|first| packet(first, &[]));
    each_is_refused(bed, &packets, 0x81);
}

/// The client refuses codes of other packets; this shows it those that the server has a use for, and the server those
/// that a client does not send.
fn mqtt_3_14_2_1_disconnect_has_one_of_its_reason_codes(bed: &Bed) {
    let publish = Publish::new(bed.name("/x"), "x");
    each_is_refused(bed, &[packet(0x00, &[])], 0x81);
    each_is_refused(bed, &[bed.hello("c").encode()], 0x82);
    each_is_refused(bed, &[Publish::new("+", "x").encode(V5)], 0x90);
    each_is_refused(bed, &[publish.clone().with(Property::TopicAlias(33)).encode(V5)], 0x94);
    let mut large = publish;
    large.payload = vec![0; 1 << 20];
    each_is_refused(bed, &[large.encode(V5)], 0x95);
    let refused = [0x01, 0x8b, 0x8d, 0x8e, 0x9c].map(|reason| packet(0xe0, &[reason, 0]));
    each_is_refused(bed, &refused, 0x82);
}

/// Connections that end for many reasons, with what the server said.
fn endings(bed: &Bed) -> Vec<Ending> {
    let lasting = bed.hello("taken").lasting();
    let mut taken = bed.join(&lasting);
    bed.join(&lasting).quiet();
    let mut ended = vec![taken.until_closed()];
    for bytes in [packet(0x00, &[]), bed.hello("c").encode(), Publish::new("#", "x").encode(V5)] {
        let mut client = bed.join(&bed.hello("c").lasting().with(Property::MaximumPacketSize(20)));
        client.send(&bytes);
        ended.push(client.until_closed());
    }
    let ending = |got: Vec<Packet>| match <[Packet; 1]>::try_from(got) {
        Ok([Packet::Disconnect(ending)]) => ending,
        other => panic!("wanted DISCONNECT and nothing else, got {other:?}"),
    };
    ended.into_iter().map(ending).collect()
}

/// The client refuses a Session Expiry Interval in a DISCONNECT; here are four.
fn mqtt_3_14_2_2_the_server_sends_no_session_expiry(bed: &Bed) {
    let reasons: Vec<u8> = endings(bed).iter().map(|ending| ending.reason).collect();
    assert_eq!(reasons, [0x8e, 0x81, 0x82, 0x90]);
}

fn ends_within(bed: &Bed, bytes: usize) {
    for bad in [packet(0x00, &[]), Publish::new("#", "x").with(user("a", "b")).encode(V5)] {
        let hello = bed.hello("c").with(Property::MaximumPacketSize(bytes as u32));
        let mut client = bed.join(&hello);
        let before = client.bytes_taken();
        client.send(&bad);
        client.until_closed();
        assert!(client.bytes_taken() - before <= bytes);
    }
}

fn mqtt_3_14_2_3_no_reason_string_makes_disconnect_too_large(bed: &Bed) {
    ends_within(bed, 16);
}

fn mqtt_3_14_2_4_no_user_property_makes_disconnect_too_large(bed: &Bed) {
    ends_within(bed, 20);
}

/// A client that the server refuses while messages for it, and answers to it, are under way.
fn refused_in_full_flow(bed: &Bed) -> Vec<Packet> {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.subscribe(&[(&topic, 1)]);
    let mut publisher = bed.connect("pub");
    for number in 0..20 {
        publisher.send_publish(Publish::new(&topic, number.to_string()).qos(1));
    }
    client.send(&[&packet(0xc0, &[])[..], &packet(0x00, &[]), &packet(0xc0, &[]), &packet(0xc0, &[])].concat());
    client.until_closed()
}

fn mqtt_3_14_4_1_after_disconnect_the_server_says_nothing(bed: &Bed) {
    let got = refused_in_full_flow(bed);
    let at = got.iter().position(|packet| matches!(packet, Packet::Disconnect(_)));
    assert_eq!(at, Some(got.len() - 1), "{got:?}");
}

fn mqtt_3_14_4_2_after_disconnect_the_server_closes(bed: &Bed) {
    assert!(matches!(refused_in_full_flow(bed).last(), Some(Packet::Disconnect(ending)) if ending.reason == 0x81));
}

fn method(name: &str) -> Property {
    Property::AuthenticationMethod(name.to_owned())
}

/// AUTH with a first byte and reason of any kind.
fn auth(first: u8, reason: u8) -> Vec<u8> {
    Ending { reason, properties: vec![method("PLAIN")] }.encode(first)
}

fn mqtt_3_15_1_1_auth_has_its_flags(bed: &Bed) {
    let packets = [0xf1, 0xf2, 0xf4, 0xf8].map(|first| auth(first, 0x18));
    each_is_refused(bed, &packets, 0x81);
}

/// We have no extended authentication, so we send no AUTH, and take none.
fn mqtt_3_15_2_1_auth_has_one_of_its_reason_codes(bed: &Bed) {
    let packets = [0x01, 0x10, 0x80, 0x8c].map(|reason| auth(0xf0, reason));
    each_is_refused(bed, &packets, 0x82);
}

/// What comes to a client that begins extended authentication and takes packets of this size.
fn offer_method(bed: &Bed, bytes: u32) -> (Client, Packet, usize) {
    let hello = bed.hello("c").with(method("SCRAM-SHA-256")).with(Property::AuthenticationData(b"n,,n=x".to_vec()));
    let mut client = bed.open();
    let answer = client.offer(&hello.with(Property::MaximumPacketSize(bytes)));
    let taken = client.bytes_taken();
    (client, answer, taken)
}

fn mqtt_3_15_2_2_no_reason_string_makes_auth_too_large(bed: &Bed) {
    let (_client, answer, taken) = offer_method(bed, 10);
    assert!(taken <= 10 && !matches!(answer, Packet::Auth(_)), "{answer:?}");
}

fn mqtt_3_15_2_3_no_user_property_makes_auth_too_large(bed: &Bed) {
    let (_client, answer, taken) = offer_method(bed, 20);
    assert!(taken <= 20 && !matches!(answer, Packet::Auth(_)), "{answer:?}");
}

fn mqtt_4_12_0_1_an_authentication_method_that_is_none_of_ours_closes(bed: &Bed) {
    for name in ["PLAIN", "SCRAM-SHA-256", "", "ä"] {
        let (mut client, answer) = bed.offer(&bed.hello("c").with(method(name)));
        assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason == 0x8c), "{answer:?}");
        client.closed();
    }
}

fn mqtt_4_12_0_2_the_server_continues_no_authentication_that_it_does_not_have(bed: &Bed) {
    let (mut client, answer, _) = offer_method(bed, 1000);
    let rest = client.until_closed();
    assert!(!matches!(answer, Packet::Auth(_)) && rest.is_empty(), "{answer:?}, {rest:?}");
}

fn mqtt_4_12_0_4_a_refused_authentication_closes(bed: &Bed) {
    let (mut client, answer, _) = offer_method(bed, 1000);
    assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason >= 0x80), "{answer:?}");
    client.closed();
}

/// No CONNACK says success without the method that CONNECT named: here it says no.
fn mqtt_4_12_0_5_no_success_without_the_method_of_connect(bed: &Bed) {
    let (_client, answer, _) = offer_method(bed, 1000);
    assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason != 0), "{answer:?}");
}

fn mqtt_4_12_0_6_without_a_method_there_is_no_auth(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    assert_eq!((client.connack.property(0x15), client.connack.property(0x16)), (None, None));
    client.subscribe(&[(&topic, 2)]);
    client.publish(Publish::new(&topic, "x").qos(2));
    client.only("x");
    assert!(!client.ping().iter().any(|packet| matches!(packet, Packet::Auth(_))));
}

fn mqtt_4_12_0_7_auth_without_a_method_closes(bed: &Bed) {
    each_is_refused(bed, &[auth(0xf0, 0x18), auth(0xf0, 0x00), packet(0xf0, &[])], 0x82);
}

fn mqtt_4_12_1_2_a_reauthentication_that_fails_closes(bed: &Bed) {
    each_is_refused(bed, &[auth(0xf0, 0x19)], 0x82);
}

pub fn mqtt_4_13_1_1_a_malformed_packet_closes(bed: &Bed) {
    let kinds = [0x20, 0x90, 0xb0, 0xd0];
    // Packets that only a server sends, and packets that end too early or too late.
    let mut packets: Vec<Vec<u8>> = kinds.iter().map(|first| packet(*first, &[0, 1, 0])).collect();
    packets.extend([packet(0x82, &[0]), packet(0xa2, &[0]), packet(0x40, &[0]), packet(0xc0, &[0])]);
    for bad in packets {
        let mut client = bed.connect("c");
        client.send(&bad);
        let got = client.until_closed();
        let codes = [0x81, 0x82];
        let told = matches!(&got[..], [Packet::Disconnect(ending)] if codes.contains(&ending.reason));
        assert!(if bed.version == V5 { told } else { got.is_empty() }, "after {bad:02x?}: {got:?}");
    }
}

/// Each answer of 0x80 and above, in CONNACK or DISCONNECT, is the last.
fn mqtt_4_13_2_1_after_an_error_code_the_server_closes(bed: &Bed) {
    assert_eq!(endings(bed).len(), 4);
    let (mut client, answer, _) = offer_method(bed, 1000);
    assert!(matches!(&answer, Packet::ConnAck(connack) if connack.reason >= 0x80), "{answer:?}");
    client.closed();
}

/// DISCONNECT may shorten or prolong the life of a session (3.14.2.2.2).
fn choice_a_session_expiry_of_disconnect_holds(bed: &Bed) {
    let lasting = bed.hello("c").lasting();
    let mut client = bed.join(&lasting);
    client.disconnect_with(0, &[Property::SessionExpiry(0)]);
    client.closed();
    let mut client = bed.join_beside(&client, &lasting);
    assert!(!client.connack.present);
    client.disconnect_with(0, &[Property::SessionExpiry(600)]);
    client.closed();
    assert!(bed.join_beside(&client, &lasting).connack.present);
}

/// Who asked for no session in CONNECT cannot have one after all (3.14.2.2.2).
fn choice_no_session_expiry_after_all_closes(bed: &Bed) {
    each_is_refused(bed, &[Ending { reason: 0, properties: vec![Property::SessionExpiry(1)] }.encode(0xe0)], 0x82);
}
