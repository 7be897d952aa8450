//! The flags of PUBLISH (3.3.1): DUP, QoS, RETAIN, and what retained messages do.

use super::bytes::each_is_refused;
use crate::bed::Bed;
use crate::harness::wait_for;
use crate::wire::{Client, Packet, Publish, packet, text};

/// Options of a subscription beside its QoS.
pub const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
pub const RETAIN_IF_NEW: u8 = 1 << 4;
pub const RETAIN_NEVER: u8 = 2 << 4;

crate::statements! {
    mqtt_3_3_1_1_what_is_sent_again_has_dup,
    mqtt_3_3_1_2_dup_is_zero_at_qos_0,
    mqtt_3_3_1_3_dup_of_the_publisher_is_not_passed_on,
    mqtt_3_3_1_4_qos_3_closes,
    mqtt_3_3_1_5_a_retained_message_replaces_the_one_before,
    mqtt_3_3_1_6_an_empty_retained_message_removes_and_is_delivered,
    mqtt_3_3_1_7_an_empty_retained_message_is_not_stored,
    mqtt_3_3_1_8_without_retain_nothing_is_stored_or_replaced,
    mqtt_3_3_1_9_retain_handling_0_sends_every_time,
    mqtt_3_3_1_10_retain_handling_1_sends_to_new_subscriptions_only,
    mqtt_3_3_1_11_retain_handling_2_never_sends,
    mqtt_3_3_1_12_without_retain_as_published_the_flag_is_cleared,
    mqtt_3_3_1_13_with_retain_as_published_the_flag_is_kept,
}

/// A client that subscribes now.
pub fn late(bed: &Bed, id: &str, filter: &str, options: u8) -> Client {
    let mut late = bed.connect(id);
    late.subscribe(&[(filter, options)]);
    late
}

/// Retains a message; when this returns every node has it.
pub fn retain(publisher: &mut Client, topic: &str, payload: &str) {
    publisher.publish(Publish::new(topic, payload).qos(1).retain());
}

/// What a new subscriber gets once what comes is `wanted`. A will has no acknowledgement that would tell when every node
/// has it, so the subscriber asks until then.
pub fn once_retained(bed: &Bed, topic: &str, wanted: Option<&str>) -> Option<Publish> {
    let mut client = bed.connect("asks");
    wait_for("what is retained", || {
        client.subscribe(&[(topic, 1)]);
        let publish = match client.ping().pop() {
            None => None,
            Some(Packet::Publish(publish)) => Some(publish),
            other => panic!("wanted a retained message, got {other:?}"),
        };
        publish.iter().for_each(|publish| client.puback(publish.id));
        (publish.as_ref().map(Publish::text) == wanted).then_some(publish)
    })
}

pub fn mqtt_3_3_1_1_what_is_sent_again_has_dup(bed: &Bed) {
    let topic = bed.name("/x");
    for qos in 1..3 {
        let id = format!("sub{qos}");
        let mut subscriber = bed.join(&bed.hello(&id).lasting());
        subscriber.subscribe(&[(&topic, qos)]);
        bed.connect("pub").publish(Publish::new(&topic, "again").qos(qos));
        let first = subscriber.message();
        assert!(!first.dup);
        subscriber.vanish();
        let mut subscriber = bed.join_beside(&subscriber, &bed.hello(&id).lasting());
        let second = subscriber.take();
        assert_eq!(second, Publish { dup: true, ..first });
        subscriber.disconnect();
    }
}

pub fn mqtt_3_3_1_2_dup_is_zero_at_qos_0(bed: &Bed) {
    let properties: &[u8] = if bed.version == crate::wire::V5 { &[0] } else { &[] };
    let body = [&text(bed.name("/x"))[..], properties].concat();
    each_is_refused(bed, &[packet(0x38, &body)], 0x81);
}

pub fn mqtt_3_3_1_3_dup_of_the_publisher_is_not_passed_on(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = late(bed, "sub", &topic, 2);
    let mut publisher = bed.connect("pub");
    for qos in 1..3 {
        publisher.publish(Publish::new(&topic, "x").qos(qos).dup());
        assert!(!subscriber.only("x").dup);
    }
}

pub fn mqtt_3_3_1_4_qos_3_closes(bed: &Bed) {
    let properties: &[u8] = if bed.version == crate::wire::V5 { &[0] } else { &[] };
    let body = [&text(bed.name("/x"))[..], &[0, 1], properties].concat();
    each_is_refused(bed, &[packet(0x36, &body), packet(0x3e, &body)], 0x81);
}

pub fn mqtt_3_3_1_5_a_retained_message_replaces_the_one_before(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    for (number, qos) in [(1, 0), (2, 1), (3, 2), (4, 1)] {
        publisher.publish(Publish::new(&topic, format!("number {number}")).qos(qos).retain());
    }
    let mut subscriber = late(bed, "sub", &topic, 2);
    let got = subscriber.take();
    assert_eq!((got.text(), got.retain, got.qos), ("number 4", true, 1));
    subscriber.quiet();
}

pub fn mqtt_3_3_1_6_an_empty_retained_message_removes_and_is_delivered(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &topic, "old");
    let mut subscriber = late(bed, "sub", &topic, 1);
    subscriber.only("old");
    retain(&mut publisher, &topic, "");
    assert!(!subscriber.only("").retain, "it is a message like others for who subscribes already");
    late(bed, "late", &topic, 1).quiet();
}

pub fn mqtt_3_3_1_7_an_empty_retained_message_is_not_stored(bed: &Bed) {
    let topic = bed.name("/x");
    retain(&mut bed.connect("pub"), &topic, "");
    late(bed, "late", &topic, 1).quiet();
}

pub fn mqtt_3_3_1_8_without_retain_nothing_is_stored_or_replaced(bed: &Bed) {
    let (kept, none) = (bed.name("/kept"), bed.name("/none"));
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &kept, "retained");
    for payload in ["not retained", ""] {
        publisher.publish(Publish::new(&kept, payload).qos(1));
        publisher.publish(Publish::new(&none, payload).qos(1));
    }
    late(bed, "one", &kept, 1).only("retained");
    late(bed, "two", &none, 1).quiet();
}

pub fn mqtt_3_3_1_9_retain_handling_0_sends_every_time(bed: &Bed) {
    let topics = ["/a", "/b", "/c/d"].map(|topic| bed.name(topic));
    let mut publisher = bed.connect("pub");
    topics.iter().for_each(|topic| retain(&mut publisher, topic, topic));
    let filter = bed.name("/#");
    let mut subscriber = late(bed, "sub", &filter, 1);
    for _ in 0..2 {
        let mut got = subscriber.take_texts(3);
        got.sort();
        assert_eq!(got, topics);
        subscriber.quiet();
        subscriber.subscribe(&[(&filter, 1)]);
    }
}

fn mqtt_3_3_1_10_retain_handling_1_sends_to_new_subscriptions_only(bed: &Bed) {
    let topic = bed.name("/x");
    retain(&mut bed.connect("pub"), &topic, "retained");
    let mut subscriber = late(bed, "sub", &topic, 1 | RETAIN_IF_NEW);
    assert!(subscriber.only("retained").retain);
    subscriber.subscribe(&[(&topic, RETAIN_IF_NEW)]);
    subscriber.quiet();
    // Another filter is another subscription, and one that was ended is new again.
    subscriber.subscribe(&[(&bed.name("/+"), 1 | RETAIN_IF_NEW)]);
    subscriber.only("retained");
    subscriber.unsubscribe(&[&topic]);
    subscriber.subscribe(&[(&topic, 1 | RETAIN_IF_NEW)]);
    subscriber.only("retained");
}

fn mqtt_3_3_1_11_retain_handling_2_never_sends(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &topic, "retained");
    let mut subscriber = late(bed, "sub", &topic, 1 | RETAIN_NEVER);
    subscriber.quiet();
    retain(&mut publisher, &topic, "live");
    subscriber.only("live");
}

pub fn mqtt_3_3_1_12_without_retain_as_published_the_flag_is_cleared(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = late(bed, "sub", &topic, 1);
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &topic, "retained");
    assert!(!subscriber.only("retained").retain);
    publisher.publish(Publish::new(&topic, "plain").qos(1));
    assert!(!subscriber.only("plain").retain);
}

fn mqtt_3_3_1_13_with_retain_as_published_the_flag_is_kept(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = late(bed, "sub", &topic, 1 | RETAIN_AS_PUBLISHED);
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &topic, "retained");
    assert!(subscriber.only("retained").retain);
    publisher.publish(Publish::new(&topic, "plain").qos(1));
    assert!(!subscriber.only("plain").retain);
}
