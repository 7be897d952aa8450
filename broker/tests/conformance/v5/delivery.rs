//! How messages are delivered (4.2 to 4.6): each QoS in both directions, sending again, order.

use super::retain::late;
use crate::bed::Bed;
use crate::wire::{Client, Packet, Property, Publish, V5};

crate::statements! {
    mqtt_4_2_0_1_tcp_is_an_ordered_stream_of_bytes,
    mqtt_4_3_1_1_a_delivery_of_qos_0_has_no_dup,
    mqtt_4_3_2_1_a_delivery_of_qos_1_has_an_identifier_of_its_own,
    mqtt_4_3_2_2_a_delivery_of_qos_1_has_no_dup_the_first_time,
    mqtt_4_3_2_3_a_delivery_of_qos_1_is_open_until_puback,
    mqtt_4_3_2_4_a_publish_of_qos_1_is_answered_by_puback,
    mqtt_4_3_2_5_after_puback_the_same_identifier_is_a_new_message,
    mqtt_4_3_3_1_a_delivery_of_qos_2_has_an_identifier_of_its_own,
    mqtt_4_3_3_2_a_delivery_of_qos_2_has_no_dup_the_first_time,
    mqtt_4_3_3_3_a_delivery_of_qos_2_is_open_until_pubrec,
    mqtt_4_3_3_4_pubrec_is_answered_by_pubrel,
    mqtt_4_3_3_5_pubrel_is_open_until_pubcomp,
    mqtt_4_3_3_6_after_pubrel_the_publish_is_not_sent_again,
    mqtt_4_3_3_7_expiry_does_not_stop_what_was_sent,
    mqtt_4_3_3_8_a_publish_of_qos_2_is_answered_by_pubrec,
    mqtt_4_3_3_9_after_a_pubrec_that_refuses_the_identifier_is_free,
    mqtt_4_3_3_10_before_pubrel_the_same_identifier_is_a_duplicate,
    mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp,
    mqtt_4_3_3_12_after_pubcomp_the_same_identifier_is_a_new_message,
    mqtt_4_3_3_13_the_handshake_goes_on_though_the_message_expired,
    mqtt_4_4_0_1_what_is_unacknowledged_is_sent_again_on_reconnect_only,
    mqtt_4_4_0_2_what_was_refused_is_not_sent_again,
    mqtt_4_6_0_1_what_is_sent_again_keeps_its_order,
    mqtt_4_6_0_2_pubacks_are_in_the_order_of_the_publishes,
    mqtt_4_6_0_3_pubrecs_are_in_the_order_of_the_publishes,
    mqtt_4_6_0_4_pubrels_are_in_the_order_of_the_pubrecs,
    mqtt_4_6_0_5_messages_of_a_client_keep_their_order,
    mqtt_4_6_0_6_every_topic_is_ordered,
}

/// A lasting subscriber, what it connects with, and the topic that it subscribed to with QoS 2.
pub fn lasting(bed: &Bed) -> (Client, crate::wire::Connect, String) {
    let (hello, topic) = (bed.hello("sub").lasting(), bed.name("/x"));
    let mut client = bed.join(&hello);
    client.subscribe(&[(&topic, 2)]);
    (client, hello, topic)
}

/// Packets cut into single bytes, and many packets in one piece.
pub fn mqtt_4_2_0_1_tcp_is_an_ordered_stream_of_bytes(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.open();
    for byte in bed.hello("c").encode() {
        client.send(&[byte]);
    }
    assert!(matches!(client.next(), Packet::ConnAck(connack) if connack.reason == 0));
    client.subscribe(&[(&topic, 0)]);
    for byte in Publish::new(&topic, "byte by byte").encode(bed.version) {
        client.send(&[byte]);
    }
    client.only("byte by byte");
    let many: Vec<u8> = (0..500).flat_map(|n: u32| Publish::new(&topic, n.to_string()).encode(bed.version)).collect();
    client.send(&many);
    let got = client.take_texts(500);
    assert_eq!(got, (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
}

pub fn mqtt_4_3_1_1_a_delivery_of_qos_0_has_no_dup(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = late(bed, "sub", &topic, 0);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "plain"));
    publisher.publish(Publish::new(&topic, "lowered").qos(2).dup());
    for payload in ["plain", "lowered"] {
        let got = client.only(payload);
        assert_eq!((got.qos, got.dup), (0, false));
    }
}

fn own_identifiers(bed: &Bed, qos: u8) {
    let topic = bed.name("/x");
    let mut client = late(bed, "sub", &topic, qos);
    let mut publisher = bed.connect("pub");
    let mut ids: Vec<u16> = Vec::new();
    for _ in 0..20 {
        publisher.publish(Publish::new(&topic, "x").qos(qos));
        let got = client.message();
        assert!(got.qos == qos && !got.dup && !ids.contains(&got.id), "{got:?} beside {ids:?}");
        ids.push(got.id);
    }
}

pub fn mqtt_4_3_2_1_a_delivery_of_qos_1_has_an_identifier_of_its_own(bed: &Bed) {
    own_identifiers(bed, 1);
}

pub fn mqtt_4_3_3_1_a_delivery_of_qos_2_has_an_identifier_of_its_own(bed: &Bed) {
    own_identifiers(bed, 2);
}

/// A delivery that waited for its client is sent for the first time, too.
fn no_dup_the_first_time(bed: &Bed, qos: u8) {
    let (mut client, hello, topic) = lasting(bed);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "live").qos(qos).dup());
    let got = client.only("live");
    assert_eq!((got.qos, got.dup), (qos, false));
    client.disconnect();
    publisher.publish(Publish::new(&topic, "waited").qos(qos));
    let got = bed.join_beside(&client, &hello).only("waited");
    assert_eq!((got.qos, got.dup), (qos, false));
}

pub fn mqtt_4_3_2_2_a_delivery_of_qos_1_has_no_dup_the_first_time(bed: &Bed) {
    no_dup_the_first_time(bed, 1);
}

pub fn mqtt_4_3_3_2_a_delivery_of_qos_2_has_no_dup_the_first_time(bed: &Bed) {
    no_dup_the_first_time(bed, 2);
}

/// It comes again on every connection until it is acknowledged, with the same identifier.
fn open_until_acknowledged(bed: &Bed, qos: u8) {
    let (mut client, hello, topic) = lasting(bed);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(qos));
    let first = client.message();
    for _ in 0..3 {
        client.vanish();
        client = bed.join_beside(&client, &hello);
        assert_eq!(client.message(), first.clone().dup());
    }
    if qos == 1 {
        client.puback(first.id);
    } else {
        client.pubrec(first.id);
    }
    if qos == 2 {
        assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == first.id));
        client.pubcomp(first.id);
    }
    client.quiet();
    client.disconnect();
    bed.join_beside(&client, &hello).quiet();
}

pub fn mqtt_4_3_2_3_a_delivery_of_qos_1_is_open_until_puback(bed: &Bed) {
    open_until_acknowledged(bed, 1);
}

pub fn mqtt_4_3_3_3_a_delivery_of_qos_2_is_open_until_pubrec(bed: &Bed) {
    open_until_acknowledged(bed, 2);
}

/// Whoever is acknowledged can rely on it: who subscribed gets it, though its publisher is gone.
fn accepted(bed: &Bed, qos: u8) {
    let (mut client, hello, topic) = lasting(bed);
    client.vanish();
    let mut publisher = bed.connect("pub");
    publisher.send_publish(Publish::new(&topic, "owned").qos(qos).id(4711));
    match publisher.next() {
        Packet::PubAck(ack) if qos == 1 => assert_eq!(ack.id, 4711),
        Packet::PubRec(ack) if qos == 2 => assert_eq!(ack.id, 4711),
        other => panic!("wanted the acknowledgement of QoS {qos}, got {other:?}"),
    }
    publisher.vanish();
    bed.join_beside(&client, &hello).only("owned");
}

pub fn mqtt_4_3_2_4_a_publish_of_qos_1_is_answered_by_puback(bed: &Bed) {
    accepted(bed, 1);
}

pub fn mqtt_4_3_3_8_a_publish_of_qos_2_is_answered_by_pubrec(bed: &Bed) {
    accepted(bed, 2);
}

/// Twice the same identifier, each time completed.
fn same_identifier_again(bed: &Bed, qos: u8) {
    let topic = bed.name("/x");
    let mut client = late(bed, "sub", &topic, 0);
    let mut publisher = bed.connect("pub");
    for (payload, dup) in [("one", false), ("two", false), ("three", true)] {
        let publish = Publish { dup, ..Publish::new(&topic, payload).qos(qos).id(7) };
        publisher.send_publish(publish);
        publisher.complete(qos, 7);
        client.only(payload);
    }
}

pub fn mqtt_4_3_2_5_after_puback_the_same_identifier_is_a_new_message(bed: &Bed) {
    same_identifier_again(bed, 1);
}

pub fn mqtt_4_3_3_12_after_pubcomp_the_same_identifier_is_a_new_message(bed: &Bed) {
    same_identifier_again(bed, 2);
}

pub fn mqtt_4_3_3_4_pubrec_is_answered_by_pubrel(bed: &Bed) {
    let (mut client, _, topic) = lasting(bed);
    let mut publisher = bed.connect("pub");
    for _ in 0..3 {
        publisher.publish(Publish::new(&topic, "x").qos(2));
        let id = client.message().id;
        client.pubrec(id);
        assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == id && ack.reason == 0));
        client.pubcomp(id);
    }
    client.quiet();
}

/// A delivery whose PUBREC was sent and answered.
fn released(bed: &Bed) -> (Client, crate::wire::Connect, u16) {
    let (mut client, hello, topic) = lasting(bed);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(2));
    let id = client.message().id;
    client.pubrec(id);
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == id));
    (client, hello, id)
}

pub fn mqtt_4_3_3_5_pubrel_is_open_until_pubcomp(bed: &Bed) {
    let (mut client, hello, id) = released(bed);
    for _ in 0..3 {
        client.vanish();
        client = bed.join_beside(&client, &hello);
        assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == id));
    }
    client.pubcomp(id);
    client.quiet();
    client.disconnect();
    bed.join_beside(&client, &hello).quiet();
}

pub fn mqtt_4_3_3_6_after_pubrel_the_publish_is_not_sent_again(bed: &Bed) {
    let (mut client, hello, id) = released(bed);
    client.vanish();
    let mut client = bed.join_beside(&client, &hello);
    let got = client.ping();
    assert!(matches!(&got[..], [Packet::PubRel(ack)] if ack.id == id), "{got:?}");
}

fn mqtt_4_3_3_7_expiry_does_not_stop_what_was_sent(bed: &Bed) {
    let (mut client, hello, topic) = lasting(bed);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(2).with(Property::MessageExpiry(1)));
    let first = client.message();
    client.vanish();
    std::thread::sleep(std::time::Duration::from_millis(1300));
    let mut client = bed.join_beside(&client, &hello);
    let again = client.take();
    assert_eq!((again.id, again.dup, again.text()), (first.id, true, "x"));
}

fn mqtt_4_3_3_9_after_a_pubrec_that_refuses_the_identifier_is_free(bed: &Bed) {
    let alone = bed.alone(&["limits.retainedMessages=1"]);
    let topic = alone.name("/x");
    let mut subscriber = late(&alone, "sub", &topic, 2);
    let mut client = alone.connect("c");
    client.publish(Publish::new(alone.name("/full"), "x").qos(1).retain());
    client.send_publish(Publish::new(&topic, "refused").qos(2).id(9).retain());
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 9 && ack.reason == 0x97));
    // The same identifier is not taken for the one before.
    client.send_publish(Publish::new(&topic, "new").qos(2).id(9));
    client.complete(2, 9);
    // It could not be stored; those who subscribe got it all the same.
    assert_eq!(subscriber.take_texts(2), ["refused", "new"]);
}

pub fn mqtt_4_3_3_10_before_pubrel_the_same_identifier_is_a_duplicate(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = late(bed, "sub", &topic, 2);
    let mut client = bed.connect("c");
    for dup in [false, true, true, false] {
        client.send_publish(Publish { dup, ..Publish::new(&topic, "once").qos(2).id(5) });
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 5 && ack.reason == 0));
    }
    client.pubrel(5);
    assert!(matches!(client.next(), Packet::PubComp(ack) if ack.id == 5 && ack.reason == 0));
    client.publish(Publish::new(&topic, "mark").qos(2));
    assert_eq!(subscriber.take_texts(2), ["once", "mark"]);
    subscriber.quiet();
}

pub fn mqtt_4_3_3_11_pubrel_is_answered_by_pubcomp(bed: &Bed) {
    let mut client = bed.connect("c");
    client.send_publish(Publish::new(bed.name("/x"), "x").qos(2).id(3));
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 3));
    // Also the second time, when the first answer was lost.
    for _ in 0..2 {
        client.pubrel(3);
        assert!(matches!(client.next(), Packet::PubComp(ack) if ack.id == 3));
    }
}

fn mqtt_4_3_3_13_the_handshake_goes_on_though_the_message_expired(bed: &Bed) {
    let mut client = bed.connect("c");
    client.send_publish(Publish::new(bed.name("/x"), "x").qos(2).id(3).with(Property::MessageExpiry(1)));
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 3));
    std::thread::sleep(std::time::Duration::from_millis(1300));
    client.pubrel(3);
    assert!(matches!(client.next(), Packet::PubComp(ack) if ack.id == 3 && ack.reason == 0));
}

pub fn mqtt_4_4_0_1_what_is_unacknowledged_is_sent_again_on_reconnect_only(bed: &Bed) {
    let (mut client, hello, topic) = lasting(bed);
    let mut publisher = bed.connect("pub");
    for qos in [1, 2, 2] {
        publisher.publish(Publish::new(&topic, format!("at {qos}")).qos(qos));
    }
    let open = [client.message(), client.message(), client.message()];
    client.pubrec(open[2].id);
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == open[2].id));
    // Not on a connection that lives, however long.
    std::thread::sleep(std::time::Duration::from_millis(1000));
    client.quiet();
    client.vanish();
    let mut client = bed.join_beside(&client, &hello);
    assert_eq!(client.next(), Packet::Publish(open[0].clone().dup()));
    assert_eq!(client.next(), Packet::Publish(open[1].clone().dup()));
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == open[2].id));
    client.quiet();
    // A clean start has nothing to be sent again.
    client.vanish();
    bed.join_beside(&client, &bed.hello("sub")).quiet();
}

fn mqtt_4_4_0_2_what_was_refused_is_not_sent_again(bed: &Bed) {
    let (mut client, hello, topic) = lasting(bed);
    let mut publisher = bed.connect("pub");
    for qos in 1..3 {
        publisher.publish(Publish::new(&topic, "no").qos(qos));
        let got = client.message();
        client.acknowledge(if qos == 1 { 0x40 } else { 0x50 }, got.id, 0x83);
    }
    client.quiet();
    client.vanish();
    bed.join_beside(&client, &hello).quiet();
}

/// Messages of both kinds that were not acknowledged, then others that waited.
fn in_order_after_a_reconnect(bed: &Bed, count: usize) {
    let (mut client, hello, topic) = lasting(bed);
    let mut publisher = bed.connect("pub");
    let mut send = |from: usize| {
        for number in from..from + count {
            publisher.publish(Publish::new(&topic, number.to_string()).qos(1 + number as u8 % 2));
        }
    };
    send(0);
    let first: Vec<Publish> = (0..count).map(|_| client.message()).collect();
    client.vanish();
    send(count);
    let mut client = bed.join_beside(&client, &hello);
    let again: Vec<Publish> = (0..count).map(|_| client.message()).collect();
    assert_eq!(again, first.into_iter().map(Publish::dup).collect::<Vec<_>>());
    let later: Vec<Publish> = (0..count).map(|_| client.message()).collect();
    let texts: Vec<String> = later.iter().map(|got| got.text().to_owned()).collect();
    assert_eq!(texts, (count..2 * count).map(|number| number.to_string()).collect::<Vec<_>>());
}

pub fn mqtt_4_6_0_1_what_is_sent_again_keeps_its_order(bed: &Bed) {
    in_order_after_a_reconnect(bed, 20);
}

/// The identifiers of the answers to publishes of this QoS that are sent at once.
fn answers(bed: &Bed, qos: u8) -> (Client, Vec<u16>, Vec<u16>) {
    // Subscribers on every node, so that acknowledgements wait for different parties.
    let topics = ["/a", "/b", "/c"].map(|topic| bed.name(topic));
    let _subscribers: Vec<Client> =
        topics.iter().enumerate().map(|(number, topic)| late(bed, &format!("sub{number}"), topic, 2)).collect();
    let mut client = bed.connect("c");
    let ids: Vec<u16> = (1..=60).rev().collect();
    let all: Vec<u8> = ids
        .iter()
        .flat_map(|id| Publish::new(&topics[usize::from(*id) % 3], "x").qos(qos).id(*id).encode(bed.version))
        .collect();
    client.send(&all);
    let got = ids.iter().map(|_| match client.next() {
        Packet::PubAck(ack) if qos == 1 => ack.id,
        Packet::PubRec(ack) if qos == 2 => ack.id,
        other => panic!("wanted an acknowledgement, got {other:?}"),
    });
    let got = got.collect();
    (client, ids, got)
}

pub fn mqtt_4_6_0_2_pubacks_are_in_the_order_of_the_publishes(bed: &Bed) {
    let (_client, ids, got) = answers(bed, 1);
    assert_eq!(got, ids);
}

pub fn mqtt_4_6_0_3_pubrecs_are_in_the_order_of_the_publishes(bed: &Bed) {
    let (_client, ids, got) = answers(bed, 2);
    assert_eq!(got, ids);
}

/// As a sender the server releases in the order in which it was told of the receipt.
pub fn mqtt_4_6_0_4_pubrels_are_in_the_order_of_the_pubrecs(bed: &Bed) {
    let (mut client, _, topic) = lasting(bed);
    let mut publisher = bed.connect("pub");
    (0..10).for_each(|_| publisher.publish(Publish::new(&topic, "x").qos(2)));
    let ids: Vec<u16> = (0..10).map(|_| client.message().id).collect();
    let order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7].map(|at: usize| ids[at]);
    order.iter().for_each(|id| client.pubrec(*id));
    let released = order.map(|_| match client.next() {
        Packet::PubRel(ack) => ack.id,
        other => panic!("wanted PUBREL, got {other:?}"),
    });
    assert_eq!(released, order);
}

/// Several subscribers, each QoS, publishers that send without a pause.
fn ordered(bed: &Bed, topics: &[String], filter: &str) {
    let mut subscribers: Vec<Client> = (0..3).map(|number| late(bed, &format!("sub{number}"), filter, 2)).collect();
    let mut publishers: Vec<Client> = (0..2).map(|number| bed.connect(&format!("pub{number}"))).collect();
    let count = 60;
    for (number, publisher) in publishers.iter_mut().enumerate() {
        for index in 0..count {
            for (at, topic) in topics.iter().enumerate() {
                let payload = format!("{number} {at} {} {index:04}", index % 3);
                publisher.send_publish(Publish::new(topic, payload).qos(index % 3));
            }
        }
    }
    for (number, publisher) in publishers.iter_mut().enumerate() {
        // QoS 2 needs its PUBREL so that the window does not fill.
        let wanted = usize::from(count) / 3 * topics.len();
        for _ in 0..wanted {
            match publisher.await_packet(|packet| matches!(packet, Packet::PubRec(_))) {
                Packet::PubRec(ack) => publisher.pubrel(ack.id),
                other => panic!("publisher {number} got {other:?}"),
            }
        }
    }
    for subscriber in &mut subscribers {
        let all = usize::from(count) * topics.len() * publishers.len();
        let got = subscriber.take_texts(all);
        // Per publisher, topic and QoS; the index counts up within each.
        for number in 0..publishers.len() {
            for at in 0..topics.len() {
                for qos in 0..3 {
                    let stream = format!("{number} {at} {qos} ");
                    let of: Vec<&String> = got.iter().filter(|text| text.starts_with(&stream)).collect();
                    assert!(of.is_sorted() && of.len() == usize::from(count) / 3, "{stream}: {of:?}");
                }
            }
        }
    }
}

pub fn mqtt_4_6_0_5_messages_of_a_client_keep_their_order(bed: &Bed) {
    let topic = bed.name("/x");
    ordered(bed, std::slice::from_ref(&topic), &topic);
}

pub fn mqtt_4_6_0_6_every_topic_is_ordered(bed: &Bed) {
    let topics = ["/a", "/a/b", "/c/d/e"].map(|topic| bed.name(topic));
    ordered(bed, &topics, &bed.name("/#"));
    if bed.version == V5 {
        in_order_after_a_reconnect(bed, 5);
    }
}
