//! Shared subscriptions (4.8.2) and flow control (4.9).

use super::retain::{late, retain};
use crate::bed::Bed;
use crate::wire::{Client, Packet, Property, Publish, V5};

crate::statements! {
    mqtt_4_8_2_1_a_share_has_a_name,
    mqtt_4_8_2_2_a_share_name_has_no_wildcards_and_a_filter_after_it,
    mqtt_4_8_2_3_the_granted_qos_of_the_member_holds,
    mqtt_4_8_2_4_a_delivery_of_qos_2_that_began_is_completed_with_the_same_client,
    mqtt_4_8_2_5_a_delivery_of_qos_2_goes_to_nobody_else_when_its_session_ends,
    mqtt_4_8_2_6_a_message_that_a_member_refuses_goes_to_nobody_else,
    mqtt_4_9_0_1_the_send_quota_begins_at_the_receive_maximum,
    mqtt_4_9_0_2_with_a_quota_of_zero_nothing_is_sent,
    mqtt_4_9_0_3_with_a_quota_of_zero_other_packets_are_answered,
    choice_a_shared_subscription_gets_no_retained_messages,
    choice_each_message_goes_to_one_member_of_each_group,
}

pub fn mqtt_4_8_2_1_a_share_has_a_name(bed: &Bed) {
    let mut client = bed.connect("c");
    let codes = client.subscribe_with(&[("$share//x", 0), ("$share/", 0), ("$share", 0)], &[]).codes;
    // The last is a filter like others.
    assert_eq!(codes, [0x8f, 0x8f, 0]);
}

fn mqtt_4_8_2_2_a_share_name_has_no_wildcards_and_a_filter_after_it(bed: &Bed) {
    let mut client = bed.connect("c");
    let bad = ["$share/a+/x", "$share/#/x", "$share/+/x", "$share/group", "$share/group/", "$share/group/a#"];
    let codes = client.subscribe_with(&bad.map(|filter| (filter, 0)), &[]).codes;
    assert_eq!(codes, [0x8f; 6]);
    let good = ["/x", "/+/y", "/#"].map(|filter| format!("$share/ä b/{}", bed.name(filter)));
    client.subscribe(&good.each_ref().map(|filter| (filter.as_str(), 1)));
}

/// So many members of one group, each with a subscription of this QoS, and the topic.
fn members(bed: &Bed, count: usize, qos: u8) -> (Vec<Client>, String) {
    let topic = bed.name("/x");
    let filter = format!("$share/group/{topic}");
    let members = (0..count).map(|number| {
        let mut member = bed.join(&bed.hello(&format!("member{number}")).lasting());
        member.subscribe(&[(&filter, qos)]);
        member
    });
    (members.collect(), topic)
}

/// Which members have got something by now, and what. Everything that was published before is here.
fn received(members: &mut [Client]) -> Vec<(usize, Publish)> {
    let mut all = Vec::new();
    for (number, member) in members.iter_mut().enumerate() {
        for packet in member.ping() {
            match packet {
                Packet::Publish(publish) => all.push((number, publish)),
                other => panic!("member {number} got {other:?}"),
            }
        }
    }
    all
}

/// Publishes until the group has got so many messages; one at a time, so that none is under way.
fn publish_and_receive(bed: &Bed, members: &mut [Client], topic: &str, count: usize, qos: u8) -> Vec<(usize, Publish)> {
    let mut publisher = bed.connect("pub");
    let mut all = Vec::new();
    for number in 0..count {
        publisher.publish(Publish::new(topic, number.to_string()).qos(qos));
        crate::harness::wait_for("a member to get the message", || {
            all.extend(received(members));
            (all.len() > number).then_some(())
        });
    }
    all
}

fn mqtt_4_8_2_3_the_granted_qos_of_the_member_holds(bed: &Bed) {
    let topic = bed.name("/x");
    let filter = format!("$share/group/{topic}");
    let mut members: Vec<Client> = (0..3).map(|qos| late(bed, &format!("member{qos}"), &filter, qos)).collect();
    let got = publish_and_receive(bed, &mut members, &topic, 12, 2);
    for (member, publish) in &got {
        assert_eq!(usize::from(publish.qos), *member, "{publish:?}");
    }
    assert_eq!(got.len(), 12);
}

/// A member that holds a delivery of QoS 2 and is gone, and the others.
fn half_way(bed: &Bed) -> (Client, usize, Publish, Vec<Client>, String) {
    let (mut members, topic) = members(bed, 3, 2);
    let (number, publish) = publish_and_receive(bed, &mut members, &topic, 1, 2).remove(0);
    let mut chosen = members.remove(number);
    chosen.vanish();
    (chosen, number, publish, members, topic)
}

fn mqtt_4_8_2_4_a_delivery_of_qos_2_that_began_is_completed_with_the_same_client(bed: &Bed) {
    let (chosen, number, publish, mut others, _) = half_way(bed);
    assert!(received(&mut others).is_empty(), "it is the other's");
    let mut chosen = bed.join_beside(&chosen, &bed.hello(&format!("member{number}")).lasting());
    assert_eq!(chosen.take(), publish.dup());
    assert!(received(&mut others).is_empty());
}

fn mqtt_4_8_2_5_a_delivery_of_qos_2_goes_to_nobody_else_when_its_session_ends(bed: &Bed) {
    let (chosen, number, _, mut others, topic) = half_way(bed);
    // A clean start ends the session.
    let mut anew = bed.join_beside(&chosen, &bed.hello(&format!("member{number}")));
    assert!(!anew.connack.present);
    anew.quiet();
    let next = publish_and_receive(bed, &mut others, &topic, 1, 1);
    assert_eq!(next.iter().map(|(_, publish)| publish.qos).collect::<Vec<_>>(), [1], "only what was published since");
}

fn mqtt_4_8_2_6_a_message_that_a_member_refuses_goes_to_nobody_else(bed: &Bed) {
    let (mut members, topic) = members(bed, 3, 2);
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let (number, publish) = publish_and_receive(bed, &mut members, &topic, 1, qos).remove(0);
        members[number].acknowledge(first, publish.id, 0x83);
        members[number].quiet();
        assert!(received(&mut members).is_empty());
    }
}

fn mqtt_4_9_0_1_the_send_quota_begins_at_the_receive_maximum(bed: &Bed) {
    let topic = bed.name("/x");
    for maximum in [1_u16, 7] {
        let hello = bed.hello(&format!("c{maximum}")).with(Property::ReceiveMaximum(maximum));
        let mut client = bed.join(&hello);
        client.subscribe(&[(&topic, 1)]);
        let mut publisher = bed.connect("pub");
        (0..10).for_each(|_| publisher.publish(Publish::new(&topic, "x").qos(1)));
        (0..maximum).for_each(|_| assert_eq!(client.message().qos, 1));
        client.quiet();
    }
}

fn mqtt_4_9_0_2_with_a_quota_of_zero_nothing_is_sent(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.join(&bed.hello("c").with(Property::ReceiveMaximum(2)));
    client.subscribe(&[(&topic, 2)]);
    let mut publisher = bed.connect("pub");
    (0..6).for_each(|number| publisher.publish(Publish::new(&topic, number.to_string()).qos(1 + number % 2)));
    let (one, two) = (client.message(), client.message());
    client.quiet();
    client.puback(one.id);
    assert_eq!(client.message().text(), "2");
    client.quiet();
    client.pubrec(two.id);
    assert!(matches!(client.next(), Packet::PubRel(_)));
    client.quiet();
    client.pubcomp(two.id);
    assert_eq!(client.message().text(), "3");
    client.quiet();
}

fn mqtt_4_9_0_3_with_a_quota_of_zero_other_packets_are_answered(bed: &Bed) {
    let (topic, zero) = (bed.name("/x"), bed.name("/zero"));
    let mut client = bed.join(&bed.hello("c").with(Property::ReceiveMaximum(1)));
    client.subscribe(&[(&topic, 1)]);
    let mut publisher = bed.connect("pub");
    (0..2).for_each(|_| publisher.publish(Publish::new(&topic, "x").qos(1)));
    let held = client.message();
    client.subscribe(&[(&zero, 0)]);
    publisher.publish(Publish::new(&zero, "at QoS 0"));
    client.only("at QoS 0");
    for qos in 1..3 {
        client.publish(Publish::new(bed.name("/nobody"), "x").qos(qos));
    }
    client.unsubscribe(&[&zero]);
    client.quiet();
    client.puback(held.id);
    client.only("x");
}

fn choice_a_shared_subscription_gets_no_retained_messages(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    retain(&mut publisher, &topic, "retained");
    let mut client = late(bed, "c", &format!("$share/group/{topic}"), 1);
    client.quiet();
    retain(&mut publisher, &topic, "live");
    client.only("live");
}

fn choice_each_message_goes_to_one_member_of_each_group(bed: &Bed) {
    assert_eq!(bed.version, V5);
    let topic = bed.name("/x");
    let mut clients = Vec::new();
    for group in ["one", "two"] {
        for number in 0..3 {
            clients.push(late(bed, &format!("{group}{number}"), &format!("$share/{group}/{topic}"), 1));
        }
    }
    clients.push(late(bed, "plain", &topic, 1));
    // The members on a publisher's node come before others, so each node has a publisher.
    let mut publishers: Vec<Client> = (0..3).map(|number| bed.connect(&format!("pub{number}"))).collect();
    for number in 0..9 {
        publishers[number % 3].publish(Publish::new(&topic, number.to_string()).qos(1));
    }
    let mut got = Vec::new();
    crate::harness::wait_for("27 deliveries", || {
        got.extend(received(&mut clients));
        (got.len() >= 27).then_some(())
    });
    for group in [0..3, 3..6, 6..7] {
        let of = got.iter().filter(|(member, _)| group.contains(member));
        let mut numbers: Vec<&str> = of.map(|(_, publish)| publish.text()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    }
    let members = got.iter().map(|(member, _)| *member).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(members.len(), 7, "everybody has a turn: {members:?}");
}
