//! UNSUBSCRIBE and UNSUBACK (3.10, 3.11).

use super::bytes::{each_is_refused, unsubscribe_to};
use super::retain::late;
use crate::bed::Bed;
use crate::wire::{Packet, Property, Publish, V5, packet, text, unsubscribe, user};

crate::statements! {
    mqtt_3_10_1_1_unsubscribe_has_its_flags,
    mqtt_3_10_3_1_topic_filters_are_utf8,
    mqtt_3_10_3_2_there_is_at_least_one_filter,
    mqtt_3_10_4_1_only_the_same_filter_is_removed,
    mqtt_3_10_4_2_no_new_message_is_delivered,
    mqtt_3_10_4_3_a_delivery_that_began_is_completed,
    mqtt_3_10_4_4_unsubscribe_is_answered,
    mqtt_3_10_4_5_unsuback_has_the_packet_identifier,
    mqtt_3_10_4_6_many_filters_are_like_many_unsubscribes,
    mqtt_3_11_2_1_no_reason_string_makes_unsuback_too_large,
    mqtt_3_11_2_2_no_user_property_makes_unsuback_too_large,
    mqtt_3_11_3_1_codes_are_in_the_order_of_the_filters,
    mqtt_3_11_3_2_codes_are_those_of_unsuback,
}

pub fn mqtt_3_10_1_1_unsubscribe_has_its_flags(bed: &Bed) {
    let properties: &[u8] = if bed.version == V5 { &[0] } else { &[] };
    let body = [&[0, 1], properties, &text(bed.name("/x"))].concat();
    let packets = [0xa0, 0xa1, 0xa3, 0xa6, 0xaa].map(|first| packet(first, &body));
    each_is_refused(bed, &packets, 0x81);
}

pub fn mqtt_3_10_3_1_topic_filters_are_utf8(bed: &Bed) {
    let packets = [&b"a\xff"[..], b"\xed\xa0\x80/#", b"a\0"].map(|filter| unsubscribe_to(bed.version, filter));
    each_is_refused(bed, &packets, 0x81);
}

pub fn mqtt_3_10_3_2_there_is_at_least_one_filter(bed: &Bed) {
    each_is_refused(bed, &[unsubscribe(bed.version, 1, &[], &[])], 0x82);
}

pub fn mqtt_3_10_4_1_only_the_same_filter_is_removed(bed: &Bed) {
    let (topic, plus, all) = (bed.name("/a"), bed.name("/+"), bed.name("/#"));
    let mut client = bed.connect("c");
    client.subscribe(&[(&plus, 1)]);
    // Others that match the same topics, and what differs by one character.
    client.unsubscribe(&[&topic, &all, &format!("{plus}/"), &bed.name("/++"), &bed.name("//+")]);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "still").qos(1));
    client.only("still");
    client.unsubscribe(&[&plus]);
    publisher.publish(Publish::new(&topic, "no more").qos(1));
    client.quiet();
}

pub fn mqtt_3_10_4_2_no_new_message_is_delivered(bed: &Bed) {
    let (topic, other) = (bed.name("/x"), bed.name("/other"));
    let mut client = late(bed, "c", &topic, 2);
    client.subscribe(&[(&other, 0)]);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "before").qos(1));
    client.only("before");
    client.unsubscribe(&[&topic]);
    for qos in 0..3 {
        publisher.publish(Publish::new(&topic, "after").qos(qos));
    }
    publisher.publish(Publish::new(&other, "mark"));
    client.only("mark");
}

pub fn mqtt_3_10_4_3_a_delivery_that_began_is_completed(bed: &Bed) {
    let topic = bed.name("/x");
    let hello = bed.hello("c").lasting();
    let mut client = bed.join(&hello);
    client.subscribe(&[(&topic, 2)]);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "at 1").qos(1));
    publisher.publish(Publish::new(&topic, "at 2").qos(2));
    let begun = [client.message(), client.message()];
    client.unsubscribe(&[&topic]);
    // Still there after a reconnect, and QoS 2 goes on to its end.
    client.vanish();
    let mut client = bed.join_beside(&client, &hello);
    let again = [client.take(), client.take()];
    assert_eq!(again, begun.map(Publish::dup));
    client.quiet();
}

pub fn mqtt_3_10_4_4_unsubscribe_is_answered(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = late(bed, "c", &topic, 1);
    // With something to remove and without.
    for _ in 0..2 {
        client.send(&unsubscribe(bed.version, 5, &[&topic], &[]));
        assert!(matches!(client.next(), Packet::UnsubAck(answer) if answer.id == 5));
    }
    client.quiet();
}

pub fn mqtt_3_10_4_5_unsuback_has_the_packet_identifier(bed: &Bed) {
    let mut client = bed.connect("c");
    for id in [1, 256, 65_535] {
        client.send(&unsubscribe(bed.version, id, &[&bed.name("/never")], &[]));
        assert!(matches!(client.next(), Packet::UnsubAck(answer) if answer.id == id));
    }
}

pub fn mqtt_3_10_4_6_many_filters_are_like_many_unsubscribes(bed: &Bed) {
    let names = ["/a", "/b", "/c"].map(|name| bed.name(name));
    let mut client = bed.connect("c");
    names.iter().for_each(|name| client.subscribe(&[(name, 1)]));
    client.unsubscribe(&[&names[0], &bed.name("/never"), &names[2]]);
    let mut publisher = bed.connect("pub");
    names.iter().for_each(|name| publisher.publish(Publish::new(name, name).qos(1)));
    client.only(&names[1]);
    client.quiet();
}

fn within(bed: &Bed, properties: &[Property]) {
    let mut client = bed.join(&bed.hello("c").with(Property::MaximumPacketSize(20)));
    let before = client.bytes_taken();
    client.send(&unsubscribe(V5, 7, &[&bed.name("/never"), "a/#/b"], properties));
    let answer = client.next();
    assert!(matches!(&answer, Packet::UnsubAck(answer) if answer.codes == [0x11, 0x8f]), "{answer:?}");
    assert!(client.bytes_taken() - before <= 20, "{answer:?}");
}

fn mqtt_3_11_2_1_no_reason_string_makes_unsuback_too_large(bed: &Bed) {
    within(bed, &[]);
}

fn mqtt_3_11_2_2_no_user_property_makes_unsuback_too_large(bed: &Bed) {
    within(bed, &[user("not", "to be sent back")]);
}

fn mqtt_3_11_3_1_codes_are_in_the_order_of_the_filters(bed: &Bed) {
    let names = ["/z", "/a", "/m"].map(|name| bed.name(name));
    let mut client = bed.connect("c");
    client.subscribe(&[(&names[1], 1), (&names[2], 1)]);
    assert_eq!(client.unsubscribe(&[&names[0], &names[1], "a+", &names[2]]), [0x11, 0, 0x8f, 0]);
}

/// The client refuses other codes; this shows it those that the server has a use for.
fn mqtt_3_11_3_2_codes_are_those_of_unsuback(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = late(bed, "c", &topic, 1);
    assert_eq!(client.unsubscribe(&[&topic, &topic, "#/x"]), [0, 0x11, 0x8f]);
}
