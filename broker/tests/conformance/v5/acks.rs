//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7): reason codes, flags, sizes. The client refuses every code that does
//! not belong into its packet; these tests show it every code that the server has a use for.

use super::bytes::each_is_refused;
use crate::bed::Bed;
use crate::wire::{Client, Packet, Property, Publish, V5, packet, user};

crate::statements! {
    mqtt_3_4_2_1_puback_has_one_of_its_reason_codes,
    mqtt_3_4_2_2_no_reason_string_makes_puback_too_large,
    mqtt_3_4_2_3_no_user_property_makes_puback_too_large,
    mqtt_3_5_2_1_pubrec_has_one_of_its_reason_codes,
    mqtt_3_5_2_2_no_reason_string_makes_pubrec_too_large,
    mqtt_3_5_2_3_no_user_property_makes_pubrec_too_large,
    mqtt_3_6_1_1_pubrel_has_its_flags,
    mqtt_3_6_2_1_pubrel_has_one_of_its_reason_codes,
    mqtt_3_6_2_2_no_reason_string_makes_pubrel_too_large,
    mqtt_3_6_2_3_no_user_property_makes_pubrel_too_large,
    mqtt_3_7_2_1_pubcomp_has_one_of_its_reason_codes,
    mqtt_3_7_2_2_no_reason_string_makes_pubcomp_too_large,
    mqtt_3_7_2_3_no_user_property_makes_pubcomp_too_large,
}

/// The limits under which a publish can be refused without an end of the connection.
const FULL: &[&str] = &["limits.retainedMessages=1"];

fn mqtt_3_4_2_1_puback_has_one_of_its_reason_codes(bed: &Bed) {
    let alone = bed.alone(FULL);
    let mut client = alone.connect("c");
    // What is done, and what is refused because there is no room: 0x00 or 0x10, then 0x97.
    client.publish(Publish::new(alone.name("/one"), "x").qos(1).retain());
    client.send_publish(Publish::new(alone.name("/two"), "x").qos(1).retain().id(9));
    match client.next() {
        Packet::PubAck(ack) => assert_eq!((ack.id, ack.reason), (9, 0x97)),
        other => panic!("wanted PUBACK, got {other:?}"),
    }
    // The client's own code must be one of PUBACK.
    let refused = [packet(0x40, &[0, 1, 0x01, 0]), packet(0x40, &[0, 1, 0x92, 0])];
    each_is_refused(bed, &refused, 0x82);
}

fn mqtt_3_5_2_1_pubrec_has_one_of_its_reason_codes(bed: &Bed) {
    let alone = bed.alone(FULL);
    let mut client = alone.connect("c");
    client.publish(Publish::new(alone.name("/one"), "x").qos(2).retain());
    client.send_publish(Publish::new(alone.name("/two"), "x").qos(2).retain().id(9));
    match client.next() {
        Packet::PubRec(ack) => assert_eq!((ack.id, ack.reason), (9, 0x97)),
        other => panic!("wanted PUBREC, got {other:?}"),
    }
    let refused = [packet(0x50, &[0, 1, 0x01, 0]), packet(0x50, &[0, 1, 0x92, 0])];
    each_is_refused(bed, &refused, 0x82);
}

/// A client that takes nothing beyond the shortest forms, with a subscription.
fn narrow(bed: &Bed, bytes: u32) -> (Client, String) {
    let topic = bed.name("/x");
    let hello = bed.hello("c").with(Property::MaximumPacketSize(bytes));
    (bed.join(&hello), topic)
}

/// Runs `act` and shows the packets that come, each within the maximum.
fn each_within(client: &mut Client, bytes: usize, act: impl FnOnce(&mut Client)) -> Vec<Packet> {
    act(client);
    let mut all = Vec::new();
    client.send(&[0xc0, 0]);
    loop {
        let before = client.bytes_taken();
        let packet = client.next();
        let length = client.bytes_taken() - before;
        assert!(length <= bytes, "{length} bytes of {packet:?}, at most {bytes} fit");
        match packet {
            Packet::PingResp => return all,
            Packet::Closed => panic!("closed after {all:?}"),
            packet => all.push(packet),
        }
    }
}

/// CONNACK needs so much.
const NARROW: u32 = 20;

fn mqtt_3_4_2_2_no_reason_string_makes_puback_too_large(bed: &Bed) {
    let (mut client, topic) = narrow(bed, NARROW);
    let got = each_within(&mut client, NARROW as usize, |client| {
        client.send_publish(Publish::new(&topic, "x").qos(1).id(1));
    });
    assert!(matches!(&got[..], [Packet::PubAck(ack)] if ack.id == 1), "{got:?}");
}

fn mqtt_3_4_2_3_no_user_property_makes_puback_too_large(bed: &Bed) {
    let (mut client, topic) = narrow(bed, NARROW);
    let publish = Publish::new(&topic, "x").qos(1).id(1).with(user("not", "to be sent back"));
    let got = each_within(&mut client, NARROW as usize, |client| {
        client.send_publish(publish);
    });
    assert!(matches!(&got[..], [Packet::PubAck(ack)] if ack.id == 1), "{got:?}");
}

fn mqtt_3_5_2_2_no_reason_string_makes_pubrec_too_large(bed: &Bed) {
    let (mut client, topic) = narrow(bed, NARROW);
    let got = each_within(&mut client, NARROW as usize, |client| {
        client.send_publish(Publish::new(&topic, "x").qos(2).id(1));
    });
    assert!(matches!(&got[..], [Packet::PubRec(ack)] if ack.id == 1), "{got:?}");
}

fn mqtt_3_5_2_3_no_user_property_makes_pubrec_too_large(bed: &Bed) {
    let (mut client, topic) = narrow(bed, NARROW);
    let publish = Publish::new(&topic, "x").qos(2).id(1).with(user("not", "to be sent back"));
    let got = each_within(&mut client, NARROW as usize, |client| {
        client.send_publish(publish);
    });
    assert!(matches!(&got[..], [Packet::PubRec(ack)] if ack.id == 1), "{got:?}");
}

pub fn mqtt_3_6_1_1_pubrel_has_its_flags(bed: &Bed) {
    let packets = [0x60, 0x61, 0x63, 0x64, 0x6a].map(|first| packet(first, &[0, 1]));
    each_is_refused(bed, &packets, 0x81);
}

fn mqtt_3_6_2_1_pubrel_has_one_of_its_reason_codes(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.subscribe(&[(&topic, 2)]);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(2));
    let publish = client.message();
    // Success for the one that is there, "not found" for the one that is not.
    client.pubrec(publish.id);
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == publish.id && ack.reason == 0));
    let unknown = publish.id + 77;
    client.pubrec(unknown);
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == unknown && ack.reason == 0x92));
    let refused = [packet(0x62, &[0, 1, 0x10, 0]), packet(0x62, &[0, 1, 0x80, 0])];
    each_is_refused(bed, &refused, 0x82);
}

/// The PUBRELs that come for a delivery of QoS 2 and for one that never was.
fn pubrels_within(bed: &Bed, with: Option<Property>) {
    let (mut client, topic) = narrow(bed, 60);
    client.subscribe(&[(&topic, 2)]);
    let publish = Publish::new(&topic, "x").qos(2);
    bed.connect("pub").publish(with.into_iter().fold(publish, Publish::with));
    let id = client.message().id;
    let got = each_within(&mut client, 60, |client| {
        client.pubrec(id);
        client.pubrec(4711);
    });
    assert!(
        matches!(&got[..], [Packet::PubRel(one), Packet::PubRel(two)] if one.id == id && two.id == 4711),
        "{got:?}"
    );
}

fn mqtt_3_6_2_2_no_reason_string_makes_pubrel_too_large(bed: &Bed) {
    pubrels_within(bed, None);
}

fn mqtt_3_6_2_3_no_user_property_makes_pubrel_too_large(bed: &Bed) {
    pubrels_within(bed, Some(user("a", "b")));
}

fn mqtt_3_7_2_1_pubcomp_has_one_of_its_reason_codes(bed: &Bed) {
    let mut client = bed.connect("c");
    client.publish(Publish::new(bed.name("/x"), "x").qos(2).id(5));
    client.pubrel(5);
    assert!(matches!(client.next(), Packet::PubComp(ack) if ack.id == 5 && ack.reason == 0x92));
    let refused = [packet(0x70, &[0, 1, 0x10, 0]), packet(0x70, &[0, 1, 0x80, 0])];
    each_is_refused(bed, &refused, 0x82);
}

/// The PUBCOMP for a publish and for an identifier that is unknown.
fn pubcomps_within(bed: &Bed, properties: &[Property]) {
    let (mut client, topic) = narrow(bed, NARROW);
    client.send_publish(Publish::new(&topic, "x").qos(2).id(1));
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 1));
    let got = each_within(&mut client, NARROW as usize, |client| {
        for id in [1, 2] {
            let ack = crate::wire::Ack { id, reason: 0, properties: properties.to_vec() };
            client.send(&ack.encode(0x62, V5));
        }
    });
    assert!(matches!(&got[..], [Packet::PubComp(one), Packet::PubComp(two)] if (one.id, two.id) == (1, 2)), "{got:?}");
}

fn mqtt_3_7_2_2_no_reason_string_makes_pubcomp_too_large(bed: &Bed) {
    pubcomps_within(bed, &[]);
}

fn mqtt_3_7_2_3_no_user_property_makes_pubcomp_too_large(bed: &Bed) {
    pubcomps_within(bed, &[user("not", "to be sent back")]);
}
