//! PUBLISH (3.3.2 to 3.3.4): topics, properties on their way through the server, aliases, overlapping subscriptions,
//! the receive maximum.

use std::time::Duration;

use super::bytes::{each_is_refused, publish_to};
use super::retain::late;
use crate::bed::Bed;
use crate::wire::{Client, Packet, Property, Publish, V5, packet, text, user};

crate::statements! {
    mqtt_3_3_2_1_a_publish_begins_with_a_topic_name,
    mqtt_3_3_2_2_a_topic_name_has_no_wildcards,
    mqtt_3_3_2_3_the_topic_of_a_delivery_matches_its_subscription,
    mqtt_3_3_2_4_the_payload_format_indicator_is_passed_on,
    mqtt_3_3_2_5_a_message_is_dropped_when_its_expiry_has_passed,
    mqtt_3_3_2_6_the_expiry_passed_on_is_what_is_left,
    mqtt_3_3_2_7_aliases_end_with_their_connection,
    mqtt_3_3_2_8_topic_alias_0_closes,
    mqtt_3_3_2_9_a_topic_alias_above_the_maximum_closes,
    mqtt_3_3_2_11_no_topic_alias_is_above_the_clients_maximum,
    mqtt_3_3_2_12_every_topic_alias_up_to_the_maximum_is_taken,
    mqtt_3_3_2_13_a_response_topic_is_utf8,
    mqtt_3_3_2_14_a_response_topic_has_no_wildcards,
    mqtt_3_3_2_15_the_response_topic_is_passed_on,
    mqtt_3_3_2_16_correlation_data_are_passed_on,
    mqtt_3_3_2_17_user_properties_are_passed_on,
    mqtt_3_3_2_18_user_properties_keep_their_order,
    mqtt_3_3_2_19_a_content_type_is_utf8,
    mqtt_3_3_2_20_the_content_type_is_passed_on,
    mqtt_3_3_4_1_each_qos_has_its_answer,
    mqtt_3_3_4_2_overlapping_subscriptions_give_the_highest_qos,
    mqtt_3_3_4_3_overlapping_subscriptions_give_their_identifiers,
    mqtt_3_3_4_4_a_single_copy_has_every_identifier,
    mqtt_3_3_4_5_copies_for_several_subscriptions_have_their_own_identifiers,
    mqtt_3_3_4_6_a_client_sends_no_subscription_identifier,
    mqtt_3_3_4_7_more_than_receive_maximum_open_publishes_close,
    mqtt_3_3_4_9_no_more_than_the_clients_receive_maximum_are_open,
    mqtt_3_3_4_10_a_full_window_holds_back_nothing_but_publishes,
}

pub fn mqtt_3_3_2_1_a_publish_begins_with_a_topic_name(bed: &Bed) {
    // Without a topic, with half of its length, with less text than its length says.
    let packets = [packet(0x30, &[]), packet(0x30, &[0]), packet(0x30, &[0, 9, b'x', 0])];
    each_is_refused(bed, &packets, 0x81);
    let reason = if bed.version == V5 { 0x82 } else { 0x90 };
    each_is_refused(bed, &[publish_to(bed.version, b"")], reason);
    each_is_refused(bed, &[publish_to(bed.version, b"a\xff")], 0x81);
}

pub fn mqtt_3_3_2_2_a_topic_name_has_no_wildcards(bed: &Bed) {
    let packets = [&b"#"[..], b"+", b"a/#", b"a/+/b", b"a#b", b"a+"].map(|topic| publish_to(bed.version, topic));
    each_is_refused(bed, &packets, 0x90);
}

pub fn mqtt_3_3_2_3_the_topic_of_a_delivery_matches_its_subscription(bed: &Bed) {
    let topics = ["/a", "/a/b", "/A", "/a/b/c"].map(|topic| bed.name(topic));
    let mut subscriber = late(bed, "sub", &bed.name("/a/+"), 1);
    let mut publisher = bed.connect("pub");
    for topic in &topics {
        publisher.publish(Publish::new(topic, topic).qos(1));
    }
    assert_eq!(subscriber.take().topic, topics[1]);
    subscriber.quiet();
}

/// Messages with these properties arrive with the same, live and retained.
fn passed_on(bed: &Bed, messages: &[&[Property]]) {
    for (number, properties) in messages.iter().enumerate() {
        let topic = bed.name(&format!("/{number}"));
        let mut live = late(bed, "live", &topic, 1);
        let message = properties.iter().cloned().fold(Publish::new(&topic, "x").qos(1).retain(), Publish::with);
        bed.connect("pub").publish(message);
        assert_eq!(live.only("x").properties, *properties);
        assert_eq!(late(bed, "late", &topic, 1).only("x").properties, *properties);
    }
}

fn mqtt_3_3_2_4_the_payload_format_indicator_is_passed_on(bed: &Bed) {
    passed_on(bed, &[&[Property::PayloadFormat(1)], &[Property::PayloadFormat(0)], &[]]);
}

fn mqtt_3_3_2_5_a_message_is_dropped_when_its_expiry_has_passed(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.join(&bed.hello("sub").lasting());
    client.subscribe(&[(&topic, 1)]);
    client.vanish();
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "brief").qos(1).with(Property::MessageExpiry(1)));
    publisher.publish(Publish::new(&topic, "lasting").qos(1).with(Property::MessageExpiry(60)));
    publisher.publish(Publish::new(bed.name("/retained"), "brief").qos(1).retain().with(Property::MessageExpiry(1)));
    std::thread::sleep(Duration::from_millis(1500));
    let mut client = bed.join_beside(&client, &bed.hello("sub").lasting());
    client.only("lasting");
    client.quiet();
    late(bed, "late", &bed.name("/retained"), 1).quiet();
}

fn mqtt_3_3_2_6_the_expiry_passed_on_is_what_is_left(bed: &Bed) {
    let topic = bed.name("/x");
    let mut live = late(bed, "live", &topic, 1);
    let mut client = bed.join(&bed.hello("sub").lasting());
    client.subscribe(&[(&topic, 1)]);
    client.vanish();
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(1).retain().with(Property::MessageExpiry(10)));
    // Nothing of it has passed, or a little on a busy machine.
    assert!((8..=10).contains(&live.only("x").expiry().unwrap()));
    std::thread::sleep(Duration::from_millis(2100));
    let mut client = bed.join_beside(&client, &bed.hello("sub").lasting());
    assert!((6..=8).contains(&client.only("x").expiry().unwrap()));
    assert!((6..=8).contains(&late(bed, "late", &topic, 1).only("x").expiry().unwrap()));
}

fn alias(topic: &str, alias: u16, payload: &str) -> Publish {
    Publish::new(topic, payload).qos(1).with(Property::TopicAlias(alias))
}

fn mqtt_3_3_2_7_aliases_end_with_their_connection(bed: &Bed) {
    let mut client = bed.join(&bed.hello("c").lasting());
    client.publish(alias(&bed.name("/x"), 1, "x"));
    client.publish(alias("", 1, "x"));
    client.vanish();
    let mut client = bed.join_beside(&client, &bed.hello("c").lasting());
    assert!(client.connack.present);
    client.send_publish(alias("", 1, "x"));
    client.refused(0x82);
}

fn mqtt_3_3_2_8_topic_alias_0_closes(bed: &Bed) {
    each_is_refused(bed, &[alias(&bed.name("/x"), 0, "x").id(1).encode(V5)], 0x94);
}

fn mqtt_3_3_2_9_a_topic_alias_above_the_maximum_closes(bed: &Bed) {
    each_is_refused(bed, &[alias(&bed.name("/x"), 33, "x").id(1).encode(V5)], 0x94);
}

fn mqtt_3_3_2_11_no_topic_alias_is_above_the_clients_maximum(bed: &Bed) {
    let topic = bed.name("/a/topic/that/is/long/enough/to/be/worth/an/alias");
    for (id, maximum) in [("one", 1), ("many", 65_535)] {
        let mut client = bed.join(&bed.hello(id).with(Property::TopicAliasMaximum(maximum)));
        client.subscribe(&[(&format!("{topic}/+"), 0)]);
        let mut publisher = bed.connect("pub");
        let mut aliases = Vec::new();
        for number in 0..10 {
            publisher.publish(Publish::new(format!("{topic}/{}", number % 5), "x"));
            let got = client.only("x");
            aliases.extend(got.properties.iter().filter_map(|property| match property {
                Property::TopicAlias(alias) => Some(*alias),
                _ => None,
            }));
        }
        assert!(!aliases.is_empty() && aliases.iter().all(|alias| *alias <= maximum), "{aliases:?}");
    }
}

fn mqtt_3_3_2_12_every_topic_alias_up_to_the_maximum_is_taken(bed: &Bed) {
    let mut subscriber = late(bed, "sub", &bed.name("/+"), 1);
    let mut client = bed.connect("c");
    let Some(Property::TopicAliasMaximum(maximum)) = client.connack.property(0x22).cloned() else {
        panic!("no topic aliases in {:?}", client.connack)
    };
    for number in 1..=maximum {
        client.publish(alias(&bed.name(&format!("/{number}")), number, "by topic"));
        subscriber.only("by topic");
    }
    for number in (1..=maximum).rev() {
        client.publish(alias("", number, "by alias"));
        assert_eq!(subscriber.only("by alias").topic, bed.name(&format!("/{number}")));
    }
    // An alias can be given to another topic.
    client.publish(alias(&bed.name("/other"), 1, "by topic"));
    subscriber.only("by topic");
    client.publish(alias("", 1, "by alias"));
    assert_eq!(subscriber.only("by alias").topic, bed.name("/other"));
}

/// A PUBLISH with one property of any bytes.
fn publish_with(bed: &Bed, property: &[u8]) -> Vec<u8> {
    packet(0x30, &[&text(bed.name("/x"))[..], &[property.len() as u8], property].concat())
}

fn mqtt_3_3_2_13_a_response_topic_is_utf8(bed: &Bed) {
    let packets = [&b"a\xff"[..], b"a\0b"].map(|topic| publish_with(bed, &[vec![0x08], text(topic)].concat()));
    each_is_refused(bed, &packets, 0x81);
}

fn mqtt_3_3_2_14_a_response_topic_has_no_wildcards(bed: &Bed) {
    let packets = [&b"#"[..], b"a/+", b""].map(|topic| publish_with(bed, &[vec![0x08], text(topic)].concat()));
    each_is_refused(bed, &packets, 0x82);
}

fn mqtt_3_3_2_15_the_response_topic_is_passed_on(bed: &Bed) {
    passed_on(bed, &[&[Property::ResponseTopic(bed.name("/answers/ä"))]]);
}

fn mqtt_3_3_2_16_correlation_data_are_passed_on(bed: &Bed) {
    let all = Property::CorrelationData((0..=255).collect());
    passed_on(bed, &[&[all], &[Property::CorrelationData(Vec::new())]]);
}

fn mqtt_3_3_2_17_user_properties_are_passed_on(bed: &Bed) {
    passed_on(bed, &[&[user("name", "value"), user("", ""), user("ä", &"long ".repeat(2000))]]);
}

fn mqtt_3_3_2_18_user_properties_keep_their_order(bed: &Bed) {
    let properties: Vec<Property> =
        (0..100).map(|number| user(&format!("{}", number % 7), &number.to_string())).collect();
    passed_on(bed, &[&properties]);
}

fn mqtt_3_3_2_19_a_content_type_is_utf8(bed: &Bed) {
    let packets = [&b"a\xff"[..], b"a\0b"].map(|kind| publish_with(bed, &[vec![0x03], text(kind)].concat()));
    each_is_refused(bed, &packets, 0x81);
}

fn mqtt_3_3_2_20_the_content_type_is_passed_on(bed: &Bed) {
    let text = Property::ContentType("text/plain; ä".to_owned());
    passed_on(bed, &[&[text], &[Property::ContentType(String::new())]]);
}

pub fn mqtt_3_3_4_1_each_qos_has_its_answer(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.send_publish(Publish::new(&topic, "x"));
    client.quiet();
    client.send_publish(Publish::new(&topic, "x").qos(1).id(5));
    assert!(matches!(client.next(), Packet::PubAck(ack) if ack.id == 5));
    client.send_publish(Publish::new(&topic, "x").qos(2).id(6));
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 6));
    client.pubrel(6);
    assert!(matches!(client.next(), Packet::PubComp(ack) if ack.id == 6));
    client.quiet();
}

pub fn mqtt_3_3_4_2_overlapping_subscriptions_give_the_highest_qos(bed: &Bed) {
    let topic = bed.name("/a/b");
    let mut client = bed.connect("c");
    for (filter, qos) in [(topic.clone(), 0), (bed.name("/+/b"), 2), (bed.name("/#"), 1)] {
        client.subscribe(&[(&filter, qos)]);
    }
    let mut publisher = bed.connect("pub");
    for qos in 0..3 {
        publisher.publish(Publish::new(&topic, "x").qos(qos));
        assert_eq!(client.only("x").qos, qos);
    }
    client.quiet();
}

/// A client with three subscriptions that overlap; two have an identifier.
fn overlapping(bed: &Bed) -> (Client, String) {
    let topic = bed.name("/a/b");
    let mut client = bed.connect("c");
    client.subscribe_with(&[(&topic, 0)], &[Property::SubscriptionId(1)]);
    client.subscribe_with(&[(&bed.name("/+/b"), 2)], &[Property::SubscriptionId(268_435_455)]);
    client.subscribe_with(&[(&bed.name("/#"), 1)], &[]);
    (client, topic)
}

fn mqtt_3_3_4_3_overlapping_subscriptions_give_their_identifiers(bed: &Bed) {
    let (mut client, topic) = overlapping(bed);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "both").qos(1));
    publisher.publish(Publish::new(bed.name("/a/c"), "none").qos(1));
    let both = client.only("both").subscription_ids();
    assert_eq!(both, [1, 268_435_455]);
    assert!(client.only("none").subscription_ids().is_empty());
}

fn mqtt_3_3_4_4_a_single_copy_has_every_identifier(bed: &Bed) {
    let (mut client, topic) = overlapping(bed);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(2));
    let got = client.only("x");
    assert_eq!((got.subscription_ids(), got.qos), (vec![1, 268_435_455], 2));
    // It is the only copy.
    client.quiet();
}

/// We send one copy for all subscriptions of a client that are its own; one by a shared subscription is another.
fn mqtt_3_3_4_5_copies_for_several_subscriptions_have_their_own_identifiers(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.connect("c");
    client.subscribe_with(&[(&topic, 1)], &[Property::SubscriptionId(1)]);
    client.subscribe_with(&[(&format!("$share/group/{topic}"), 1)], &[Property::SubscriptionId(2)]);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(1));
    let mut ids = [client.only("x").subscription_ids(), client.only("x").subscription_ids()];
    ids.sort();
    assert_eq!(ids, [[1], [2]]);
    client.quiet();
}

fn mqtt_3_3_4_6_a_client_sends_no_subscription_identifier(bed: &Bed) {
    let publish = Publish::new(bed.name("/x"), "x").with(Property::SubscriptionId(1));
    each_is_refused(bed, &[publish.encode(V5)], 0x82);
}

fn mqtt_3_3_4_7_more_than_receive_maximum_open_publishes_close(bed: &Bed) {
    let bed = bed.with(&["limits.inflight=2"]);
    let mut client = bed.connect("c");
    assert_eq!(client.connack.property(0x21), Some(&Property::ReceiveMaximum(2)));
    for id in 1..4 {
        client.send_publish(Publish::new(bed.name("/x"), "x").qos(2).id(id));
    }
    let got = client.until_closed();
    let told = matches!(got.last(), Some(Packet::Disconnect(ending)) if ending.reason == 0x93);
    assert!(told && got.len() == 3, "{got:?}");
}

fn mqtt_3_3_4_9_no_more_than_the_clients_receive_maximum_are_open(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.join(&bed.hello("c").with(Property::ReceiveMaximum(3)));
    client.subscribe(&[(&topic, 2)]);
    let mut publisher = bed.connect("pub");
    for number in 0..10 {
        publisher.publish(Publish::new(&topic, number.to_string()).qos(1 + number % 2));
    }
    let open: Vec<Publish> = (0..3).map(|_| client.message()).collect();
    client.quiet();
    // PUBREC does not open the window, PUBACK does, a PUBREC that refuses does, PUBCOMP does.
    client.pubrec(open[1].id);
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == open[1].id));
    client.quiet();
    client.puback(open[0].id);
    assert_eq!(client.message().text(), "3");
    client.quiet();
    client.pubcomp(open[1].id);
    assert_eq!(client.message().text(), "4");
    client.quiet();
    client.acknowledge(0x40, open[2].id, 0x80);
    let fifth = client.message();
    assert_eq!((fifth.text(), fifth.qos), ("5", 2));
    client.quiet();
    client.acknowledge(0x50, fifth.id, 0x97);
    assert_eq!(client.message().text(), "6");
    client.quiet();
}

fn mqtt_3_3_4_10_a_full_window_holds_back_nothing_but_publishes(bed: &Bed) {
    let (topic, other) = (bed.name("/x"), bed.name("/other"));
    let mut client = bed.join(&bed.hello("c").with(Property::ReceiveMaximum(1)));
    client.subscribe(&[(&topic, 1)]);
    let mut publisher = bed.connect("pub");
    for payload in ["one", "two"] {
        publisher.publish(Publish::new(&topic, payload).qos(1));
    }
    let one = client.message();
    client.quiet();
    client.subscribe(&[(&other, 1)]);
    client.publish(Publish::new(bed.name("/nobody"), "x").qos(1));
    client.publish(Publish::new(bed.name("/nobody"), "x").qos(2));
    assert_eq!(client.unsubscribe(&[&other]), [0]);
    client.quiet();
    client.puback(one.id);
    client.only("two");
}
