//! Chapters 1 and 2: text, integers, reserved bits, packet identifiers.

use crate::bed::Bed;
use crate::wire::{Connect, Packet, Publish, V5, packet, text};

/// No UTF-8: a stray byte, an overlong form, a surrogate, a cut sequence, a code point beyond the last.
const NO_UTF8: [&[u8]; 5] = [b"a\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"a\xe2\x82", b"\xf4\x90\x80\x80"];

crate::statements! {
    mqtt_1_5_4_1_ill_formed_utf8_closes_the_connection,
    mqtt_1_5_4_2_a_null_character_closes_the_connection,
    mqtt_1_5_4_3_a_byte_order_mark_is_a_character_like_others,
    mqtt_1_5_5_1_integers_have_their_shortest_form,
    mqtt_1_5_7_1_both_strings_of_a_pair_are_utf8,
    mqtt_2_1_3_1_reserved_flags_have_their_value,
    mqtt_2_2_1_2_no_packet_identifier_at_qos_0,
    mqtt_2_2_1_3_packet_identifier_0_is_an_error,
    mqtt_2_2_1_4_identifiers_in_use_are_not_given_out_again,
    mqtt_2_2_1_5_acknowledgements_carry_the_identifier_of_the_publish,
    mqtt_2_2_1_6_answers_carry_the_identifier_of_the_request,
    mqtt_2_2_2_1_no_properties_are_a_length_of_zero,
}

/// A PUBLISH of QoS 0 with a topic of any bytes.
pub fn publish_to(version: u8, topic: &[u8]) -> Vec<u8> {
    let properties = if version == V5 { vec![0] } else { Vec::new() };
    packet(0x30, &[text(topic), properties].concat())
}

/// A SUBSCRIBE with a filter of any bytes.
pub fn subscribe_to(version: u8, filter: &[u8]) -> Vec<u8> {
    let properties = if version == V5 { vec![0] } else { Vec::new() };
    packet(0x82, &[vec![0, 1], properties, text(filter), vec![0]].concat())
}

/// An UNSUBSCRIBE with a filter of any bytes.
pub fn unsubscribe_to(version: u8, filter: &[u8]) -> Vec<u8> {
    let properties = if version == V5 { vec![0] } else { Vec::new() };
    packet(0xa2, &[vec![0, 1], properties, text(filter)].concat())
}

/// The first bytes of a packet.
fn shown(packet: &[u8]) -> String {
    format!("{:02x?}", &packet[..packet.len().min(60)])
}

/// Each of these packets closes the connection of a client, with this reason if the version has words for it.
pub fn each_is_refused(bed: &Bed, packets: &[Vec<u8>], reason: u8) {
    for (number, packet) in packets.iter().enumerate() {
        let mut client = bed.connect(&format!("refused{number}of{reason}"));
        client.send(packet);
        let got = client.until_closed();
        let told = got.iter().any(|got| matches!(got, Packet::Disconnect(ending) if ending.reason == reason));
        let as_wanted = if bed.version == V5 { told && got.len() == 1 } else { got.is_empty() };
        assert!(as_wanted, "wanted a close for 0x{reason:02x} after {}, got {got:?}", shown(packet));
    }
}

/// A CONNECT that does not fit is answered by this reason at most, and the connection closes.
pub fn connect_is_refused(bed: &Bed, connect: &[u8], reason: u8) {
    let mut client = bed.open();
    client.send(connect);
    let got = client.until_closed();
    let told = matches!(&got[..], [Packet::ConnAck(connack)] if connack.reason == reason);
    // MQTT 3.1.1 wants a malformed CONNECT closed without an answer (3.1.4-1).
    let as_wanted = if bed.version == V5 { told } else { got.is_empty() };
    assert!(as_wanted, "wanted a refusal with 0x{reason:02x} of {}, got {got:?}", shown(connect));
}

/// A CONNECT whose client id is of any bytes.
pub fn connect_as(version: u8, id: &[u8]) -> Vec<u8> {
    packet(0x10, &[Connect::new(version, "").head("MQTT", version, 2), text(id)].concat())
}

fn everywhere_in_text(bed: &Bed, bad: &[u8]) {
    let version = bed.version;
    let packets = [publish_to(version, bad), subscribe_to(version, bad), unsubscribe_to(version, bad)];
    each_is_refused(bed, &packets, 0x81);
    connect_is_refused(bed, &connect_as(version, bad), 0x81);
}

pub fn mqtt_1_5_4_1_ill_formed_utf8_closes_the_connection(bed: &Bed) {
    NO_UTF8.iter().for_each(|bad| everywhere_in_text(bed, bad));
}

pub fn mqtt_1_5_4_2_a_null_character_closes_the_connection(bed: &Bed) {
    everywhere_in_text(bed, b"a\0b");
}

pub fn mqtt_1_5_4_3_a_byte_order_mark_is_a_character_like_others(bed: &Bed) {
    let (plain, marked) = (bed.name("/x"), bed.name("/\u{feff}x"));
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&marked, 0)]);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&plain, "without"));
    publisher.publish(Publish::new(&marked, "with"));
    assert_eq!(subscriber.only("with").topic, marked);
}

fn mqtt_1_5_5_1_integers_have_their_shortest_form(bed: &Bed) {
    // What the broker writes is checked by the client, at each length of the integer.
    let topic = bed.name("/x");
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&topic, 0)]);
    let mut publisher = bed.connect("pub");
    for length in [0, 127, 128, 16_383, 16_384, 300_000] {
        publisher.publish(Publish::new(&topic, vec![b'x'; length]));
        assert_eq!(subscriber.message().payload.len(), length);
    }
    // The length of a property block that takes two bytes and needs one.
    let packets = [packet(0x30, &[text(&topic), vec![0x80, 0x00]].concat())];
    each_is_refused(bed, &packets, 0x81);
}

fn mqtt_1_5_7_1_both_strings_of_a_pair_are_utf8(bed: &Bed) {
    let pair = |name: &[u8], value: &[u8]| {
        let property = [vec![0x26], text(name), text(value)].concat();
        packet(0x30, &[text(bed.name("/x")), vec![property.len() as u8], property].concat())
    };
    let packets = [pair(b"\xff", b"value"), pair(b"name", b"\xff"), pair(b"a\0", b"value"), pair(b"name", b"a\0")];
    each_is_refused(bed, &packets, 0x81);
}

pub fn mqtt_2_1_3_1_reserved_flags_have_their_value(bed: &Bed) {
    let topic = bed.name("/x");
    let properties: &[u8] = if bed.version == V5 { &[0] } else { &[] };
    let subscribe = [&[0, 1], properties, &text(&topic), &[0]].concat();
    let unsubscribe = [&[0, 1], properties, &text(&topic)].concat();
    let packets = [
        packet(0x80, &subscribe),
        packet(0x83, &subscribe),
        packet(0xa0, &unsubscribe),
        packet(0x41, &[0, 1]),
        packet(0x52, &[0, 1]),
        packet(0x60, &[0, 1]),
        packet(0x72, &[0, 1]),
        packet(0xc1, &[]),
        packet(0xe1, &[]),
        packet(0x00, &[]),
    ];
    each_is_refused(bed, &packets, 0x81);
    let mut client = bed.open();
    client.send(&packet(0x11, &[bed.hello("c").head("MQTT", bed.version, 2), text("id")].concat()));
    assert!(!client.until_closed().iter().any(|got| matches!(got, Packet::ConnAck(ack) if ack.reason == 0)));
}

pub fn mqtt_2_2_1_2_no_packet_identifier_at_qos_0(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&topic, 2)]);
    bed.connect("pub").publish(Publish::new(&topic, "payload and nothing before it"));
    let got = subscriber.message();
    assert_eq!((got.qos, got.id, got.text()), (0, 0, "payload and nothing before it"));
}

pub fn mqtt_2_2_1_3_packet_identifier_0_is_an_error(bed: &Bed) {
    let topic = bed.name("/x");
    let properties: &[u8] = if bed.version == V5 { &[0] } else { &[] };
    let publish = [&text(&topic)[..], &[0, 0], properties].concat();
    let subscribe = [&[0, 0], properties, &text(&topic), &[0]].concat();
    let unsubscribe = [&[0, 0], properties, &text(&topic)].concat();
    let packets =
        [packet(0x32, &publish), packet(0x34, &publish), packet(0x82, &subscribe), packet(0xa2, &unsubscribe)];
    each_is_refused(bed, &packets, 0x82);
}

pub fn mqtt_2_2_1_4_identifiers_in_use_are_not_given_out_again(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = bed.connect("sub");
    subscriber.subscribe(&[(&topic, 2)]);
    let mut publisher = bed.connect("pub");
    let mut in_use = Vec::new();
    for number in 0..40 {
        publisher.publish(Publish::new(&topic, "x").qos(1 + number % 2));
        let got = subscriber.message();
        assert!(got.id != 0 && !in_use.contains(&got.id), "{} is in use: {in_use:?}", got.id);
        in_use.push(got.id);
        // Every third becomes free.
        if number % 3 == 0 && got.qos == 1 {
            subscriber.puback(in_use.pop().unwrap());
        }
    }
}

pub fn mqtt_2_2_1_5_acknowledgements_carry_the_identifier_of_the_publish(bed: &Bed) {
    let mut client = bed.connect("pub");
    let topic = bed.name("/x");
    for id in [1, 4711, 65_535] {
        client.send_publish(Publish::new(&topic, "x").qos(1).id(id));
        client.complete(1, id);
        client.send_publish(Publish::new(&topic, "x").qos(2).id(id));
        client.complete(2, id);
    }
}

pub fn mqtt_2_2_1_6_answers_carry_the_identifier_of_the_request(bed: &Bed) {
    let mut client = bed.connect("sub");
    let topic = bed.name("/x");
    // The client compares the identifiers.
    client.subscribe(&[(&topic, 1)]);
    client.subscribe(&[(&topic, 2)]);
    client.unsubscribe(&[&topic]);
    client.unsubscribe(&[&topic]);
    client.quiet();
}

fn mqtt_2_2_2_1_no_properties_are_a_length_of_zero(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("both");
    assert_eq!(client.subscribe_with(&[(&topic, 0)], &[]).properties, []);
    client.publish(Publish::new(&topic, "x"));
    assert_eq!(client.only("x").properties, []);
    assert_eq!(client.unsubscribe(&[&topic]), [0]);
    // A PUBLISH that ends where the length should be.
    each_is_refused(bed, &[packet(0x30, &text(&topic))], 0x81);
}
