//! SUBSCRIBE and SUBACK (3.8, 3.9).

use super::bytes::{each_is_refused, subscribe_to};
use super::retain::{late, retain};
use crate::bed::Bed;
use crate::wire::{Packet, Property, Publish, V5, packet, subscribe, text, user};

/// The option that keeps a client's own messages from it.
pub const NO_LOCAL: u8 = 1 << 2;

crate::statements! {
    mqtt_3_8_1_1_subscribe_has_its_flags,
    mqtt_3_8_3_1_topic_filters_are_utf8,
    mqtt_3_8_3_2_there_is_at_least_one_filter,
    mqtt_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it,
    mqtt_3_8_3_4_no_local_on_a_shared_subscription_closes,
    mqtt_3_8_3_5_reserved_options_are_zero,
    mqtt_3_8_4_1_subscribe_is_answered,
    mqtt_3_8_4_2_suback_has_the_packet_identifier,
    mqtt_3_8_4_3_the_same_filter_replaces_its_subscription,
    mqtt_3_8_4_4_replacing_sends_retained_again_and_loses_nothing,
    mqtt_3_8_4_5_many_filters_are_like_many_subscribes,
    mqtt_3_8_4_6_there_is_a_code_for_each_filter,
    mqtt_3_8_4_7_a_code_grants_a_qos_or_refuses,
    mqtt_3_8_4_8_the_lower_qos_of_message_and_subscription_holds,
    mqtt_3_9_2_1_no_reason_string_makes_suback_too_large,
    mqtt_3_9_2_2_no_user_property_makes_suback_too_large,
    mqtt_3_9_3_1_codes_are_in_the_order_of_the_filters,
    mqtt_3_9_3_2_codes_are_those_of_suback,
}

pub fn mqtt_3_8_1_1_subscribe_has_its_flags(bed: &Bed) {
    let properties: &[u8] = if bed.version == V5 { &[0] } else { &[] };
    let body = [&[0, 1], properties, &text(bed.name("/x")), &[0]].concat();
    let packets = [0x80, 0x81, 0x83, 0x86, 0x8a].map(|first| packet(first, &body));
    each_is_refused(bed, &packets, 0x81);
}

pub fn mqtt_3_8_3_1_topic_filters_are_utf8(bed: &Bed) {
    let packets =
        [&b"a\xff"[..], b"\xed\xa0\x80/#", b"+/\xc0\xaf", b"a\0"].map(|filter| subscribe_to(bed.version, filter));
    each_is_refused(bed, &packets, 0x81);
}

pub fn mqtt_3_8_3_2_there_is_at_least_one_filter(bed: &Bed) {
    each_is_refused(bed, &[subscribe(bed.version, 1, &[], &[])], 0x82);
}

fn mqtt_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = late(bed, "c", &topic, 2 | NO_LOCAL);
    let mut other = bed.connect("other");
    for qos in 0..3 {
        client.publish(Publish::new(&topic, "own").qos(qos));
        other.publish(Publish::new(&topic, "other").qos(qos));
        client.only("other");
    }
    // Own messages come by a subscription that does not leave them out, and with its identifier only.
    client.subscribe_with(&[(&bed.name("/+"), 0)], &[Property::SubscriptionId(5)]);
    client.publish(Publish::new(&topic, "own").qos(1));
    let got = client.only("own");
    assert_eq!((got.qos, got.subscription_ids()), (0, vec![5]));
}

fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_closes(bed: &Bed) {
    let filter = format!("$share/group/{}", bed.name("/x"));
    each_is_refused(bed, &[subscribe(V5, 1, &[(&filter, 1 | NO_LOCAL)], &[])], 0x82);
}

pub fn mqtt_3_8_3_5_reserved_options_are_zero(bed: &Bed) {
    let topic = bed.name("/x");
    let reserved: &[u8] = if bed.version == V5 { &[1 << 6, 1 << 7, 3 << 6] } else { &[4, 8, 16, 32, 64, 128] };
    let packets: Vec<_> = reserved.iter().map(|bits| subscribe(bed.version, 1, &[(&topic, 1 | bits)], &[])).collect();
    each_is_refused(bed, &packets, 0x81);
    // A QoS and a retain handling that do not exist.
    let unknown: &[u8] = if bed.version == V5 { &[3, 3 << 4] } else { &[3] };
    let packets: Vec<_> = unknown.iter().map(|options| subscribe(bed.version, 1, &[(&topic, *options)], &[])).collect();
    each_is_refused(bed, &packets, 0x82);
}

pub fn mqtt_3_8_4_1_subscribe_is_answered(bed: &Bed) {
    let mut client = bed.connect("c");
    client.send(&subscribe(bed.version, 9, &[(&bed.name("/x"), 1)], &[]));
    assert!(matches!(client.next(), Packet::SubAck(answer) if answer.codes == [1]));
    client.quiet();
}

pub fn mqtt_3_8_4_2_suback_has_the_packet_identifier(bed: &Bed) {
    let mut client = bed.connect("c");
    for id in [1, 256, 65_535] {
        client.send(&subscribe(bed.version, id, &[(&bed.name("/x"), 1)], &[]));
        assert!(matches!(client.next(), Packet::SubAck(answer) if answer.id == id));
    }
}

pub fn mqtt_3_8_4_3_the_same_filter_replaces_its_subscription(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    let mut publisher = bed.connect("pub");
    for qos in [2, 0, 1] {
        client.subscribe(&[(&topic, qos)]);
        publisher.publish(Publish::new(&topic, "once").qos(2));
        assert_eq!(client.only("once").qos, qos);
        client.quiet();
    }
    client.unsubscribe(&[&topic]);
    publisher.publish(Publish::new(&topic, "nobody subscribes").qos(1));
    client.quiet();
}

pub fn mqtt_3_8_4_4_replacing_sends_retained_again_and_loses_nothing(bed: &Bed) {
    let (topic, live) = (bed.name("/x/retained"), bed.name("/x/live"));
    let filter = bed.name("/x/+");
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &topic, "retained");
    let mut client = late(bed, "c", &filter, 1);
    client.only("retained");
    // Messages go on while the subscription is replaced again and again.
    let count = 50;
    for number in 0..count {
        publisher.send_publish(Publish::new(&live, number.to_string()).qos(1));
        client.send(&subscribe(bed.version, 1 + number, &[(&filter, 1)], &[]));
    }
    let (mut lives, mut retained) = (Vec::new(), 0);
    while lives.len() < usize::from(count) || retained < count {
        match client.next() {
            Packet::Publish(got) if got.topic == topic => {
                assert!(got.retain);
                retained += 1;
                client.puback(got.id);
            }
            Packet::Publish(got) => {
                client.puback(got.id);
                lives.push(got.text().to_owned());
            }
            Packet::SubAck(_) => {}
            other => panic!("got {other:?}"),
        }
    }
    assert_eq!(lives, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
}

pub fn mqtt_3_8_4_5_many_filters_are_like_many_subscribes(bed: &Bed) {
    let (one, two) = (bed.name("/one"), bed.name("/two"));
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &one, "first");
    retain(&mut publisher, &two, "second");
    let mut client = bed.connect("c");
    // The last of two with the same filter holds.
    client.subscribe(&[(&one, 0), (&two, 1), (&one, 1)]);
    let mut got = client.take_texts(3);
    got.sort();
    assert_eq!(got, ["first", "first", "second"]);
    publisher.publish(Publish::new(&one, "live").qos(2));
    assert_eq!(client.only("live").qos, 1);
    client.quiet();
}

pub fn mqtt_3_8_4_6_there_is_a_code_for_each_filter(bed: &Bed) {
    let filters: Vec<String> = (0..200).map(|number| bed.name(&format!("/{number}"))).collect();
    let requested: Vec<(&str, u8)> =
        filters.iter().zip([0, 1, 2].into_iter().cycle()).map(|(f, qos)| (&**f, qos)).collect();
    // As many codes as filters, each as it was asked for.
    bed.connect("c").subscribe(&requested);
}

pub fn mqtt_3_8_4_7_a_code_grants_a_qos_or_refuses(bed: &Bed) {
    let mut client = bed.connect("c");
    let refused = if bed.version == V5 { 0x8f } else { 0x80 };
    let codes = client.subscribe_with(&[(&bed.name("/x"), 2), ("a/#/b", 2)], &[]).codes;
    assert_eq!(codes, [2, refused]);
    // The one that was granted works.
    client.publish(Publish::new(bed.name("/x"), "x").qos(2));
    assert_eq!(client.only("x").qos, 2);
}

pub fn mqtt_3_8_4_8_the_lower_qos_of_message_and_subscription_holds(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    for granted in 0..3 {
        let mut client = late(bed, &format!("c{granted}"), &topic, granted);
        for qos in 0..3 {
            publisher.publish(Publish::new(&topic, "x").qos(qos));
            assert_eq!(client.only("x").qos, qos.min(granted));
        }
    }
}

fn within(bed: &Bed, properties: &[Property]) {
    let mut client = bed.join(&bed.hello("c").with(Property::MaximumPacketSize(20)));
    let before = client.bytes_taken();
    let answer = client.subscribe_with(&[(&bed.name("/x"), 1), ("a/#/b", 0)], properties);
    assert_eq!(answer.codes, [1, 0x8f]);
    assert!(client.bytes_taken() - before <= 20, "{answer:?}");
}

fn mqtt_3_9_2_1_no_reason_string_makes_suback_too_large(bed: &Bed) {
    within(bed, &[]);
}

fn mqtt_3_9_2_2_no_user_property_makes_suback_too_large(bed: &Bed) {
    within(bed, &[user("not", "to be sent back")]);
}

pub fn mqtt_3_9_3_1_codes_are_in_the_order_of_the_filters(bed: &Bed) {
    let names = ["/z", "/a", "/m", "/b"].map(|name| bed.name(name));
    let mut client = bed.connect("c");
    client.subscribe(&[(&names[0], 2), (&names[1], 0), (&names[2], 1), (&names[3], 2)]);
    let refused = if bed.version == V5 { 0x8f } else { 0x80 };
    let codes = client.subscribe_with(&[("#/x", 0), (&names[1], 1), ("x+", 0), (&names[0], 0)], &[]).codes;
    assert_eq!(codes, [refused, 1, refused, 0]);
}

/// The client refuses other codes; this shows it those that the server has a use for.
pub fn mqtt_3_9_3_2_codes_are_those_of_suback(bed: &Bed) {
    let bed = bed.with(&["limits.subscriptionsPerClient=3"]);
    let names = ["/a", "/b", "/c", "/d"].map(|name| bed.name(name));
    let mut client = bed.connect("c");
    let filters = [(&*names[0], 0), (&names[1], 1), (&names[2], 2), (&names[3], 0), ("a+", 0)];
    let (full, invalid) = if bed.version == V5 { (0x97, 0x8f) } else { (0x80, 0x80) };
    assert_eq!(client.subscribe_with(&filters, &[]).codes, [0, 1, 2, full, invalid]);
}
