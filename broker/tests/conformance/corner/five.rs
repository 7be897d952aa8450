//! Corners of what only MQTT 5.0 has.

use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::v5::retain::{late, retain};
use crate::wire::{Client, Connect, Packet, Property, Publish, V5, Will};

crate::statements! {
    corner_the_shorter_of_will_delay_and_session_expiry_counts,
    corner_a_retained_message_expires,
    corner_overlapping_filters_with_different_qos_and_identifiers,
    corner_a_member_leaves_with_messages_unacknowledged,
    corner_shared_subscriptions_to_everything,
    corner_empty_client_ids_with_every_clean_start,
    corner_request_and_response,
}

fn corner_the_shorter_of_will_delay_and_session_expiry_counts(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = late(bed, "watch", &topic, 1);
    let hello = |delay: u32, expiry: u32, payload: &str| {
        let will = Will::new(&topic, payload).qos(1).with(Property::WillDelay(delay));
        bed.hello("c").with(Property::SessionExpiry(expiry)).will(will)
    };
    for (delay, expiry, seconds) in [(1, 60, 1), (60, 1, 1), (60, 0, 0), (0, 60, 0)] {
        let payload = format!("delay {delay}, expiry {expiry}");
        let mut client = bed.join(&hello(delay, expiry, &payload));
        let ended = Instant::now();
        client.vanish();
        watcher.only(&payload);
        let (waited, least) = (ended.elapsed(), Duration::from_millis(900 * seconds));
        assert!(waited >= least, "{payload}: it came after {waited:?}");
        assert!(waited < Duration::from_secs(10), "{payload}: it came after {waited:?}");
    }
    // A DISCONNECT that ends the session ends the wait for the delay.
    let mut client = bed.join(&hello(3600, 3600, "session ended by DISCONNECT"));
    client.disconnect_with(0x04, &[Property::SessionExpiry(0)]);
    client.closed();
    watcher.only("session ended by DISCONNECT");
}

fn corner_a_retained_message_expires(bed: &Bed) {
    let topic = bed.name("/x");
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "brief").qos(1).retain().with(Property::MessageExpiry(2)));
    let left = late(bed, "early", &topic, 1).only("brief").expiry();
    assert!(left.is_some_and(|left| (1..=2).contains(&left)), "{left:?}");
    std::thread::sleep(Duration::from_millis(2300));
    // On every node.
    for number in 0..3 {
        late(bed, &format!("late{number}"), &topic, 1).quiet();
    }
    retain(&mut publisher, &topic, "lasting");
    assert_eq!(late(bed, "last", &topic, 1).only("lasting").expiry(), None);
}

fn corner_overlapping_filters_with_different_qos_and_identifiers(bed: &Bed) {
    let topic = bed.name("/a/b/c");
    let mut client = bed.connect("c");
    let filters = ["/a/b/c", "/+/b/c", "/a/+/c", "/a/b/+", "/#", "/a/#", "/a/b/#"];
    for (number, filter) in filters.iter().enumerate() {
        let number = number as u32;
        client.subscribe_with(&[(&bed.name(filter), (number % 3) as u8)], &[Property::SubscriptionId(10 + number)]);
    }
    let mut publisher = bed.connect("pub");
    for qos in 0..3 {
        publisher.publish(Publish::new(&topic, "x").qos(qos));
        let got = client.only("x");
        assert_eq!((got.subscription_ids(), got.qos), ((10..17).collect(), qos));
    }
    // Retained messages come for one subscription, with its identifier only.
    retain(&mut publisher, &topic, "retained");
    client.only("retained");
    client.subscribe_with(&[(&bed.name("/+/+/+"), 1)], &[Property::SubscriptionId(99)]);
    assert_eq!(client.only("retained").subscription_ids(), [99]);
    client.quiet();
}

const LIVE: &str = "for who is there";

/// What a member holds is its session's: it comes again when the member is back. When the session ends, others get what
/// had QoS 1, and nobody what had QoS 2. What is published after it left goes to those who are there.
fn corner_a_member_leaves_with_messages_unacknowledged(bed: &Bed) {
    for qos in 1..3 {
        let topic = bed.name(&format!("/{qos}"));
        let filter = format!("$share/group/{topic}");
        let lasting = bed.hello("leaver").lasting();
        let mut leaver = bed.join(&lasting);
        leaver.subscribe(&[(&filter, qos)]);
        let mut publisher = bed.connect("pub");
        for number in 0..10 {
            publisher.publish(Publish::new(&topic, number.to_string()).qos(qos));
        }
        let held: Vec<Publish> = (0..10).map(|_| leaver.message()).collect();
        leaver.quiet();
        // Elsewhere the store comes before it, which has a session for whoever left: docs/durability.md.
        let mut stayer = bed.join_beside(&publisher, &bed.hello("stayer"));
        stayer.subscribe(&[(&filter, qos)]);
        leaver.vanish();
        goes_to(&mut stayer, &mut publisher, &topic, qos);
        let mut back = bed.join_beside(&leaver, &lasting);
        let again: Vec<Publish> = (0..10).map(|_| back.message()).collect();
        assert_eq!(again, held.into_iter().map(Publish::dup).collect::<Vec<_>>());
        live_only(&mut stayer);
        // A clean start ends the session.
        bed.join_beside(&back, &bed.hello("leaver")).quiet();
        if qos == 1 {
            let passed_on: Vec<String> = (0..10).map(|_| stayer.message().text().to_owned()).collect();
            assert_eq!(passed_on, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
        }
        goes_to(&mut stayer, &mut publisher, &topic, qos);
        live_only(&mut stayer);
    }
}

/// Publishes until a member gets it: other nodes may not have heard yet that another has left.
fn goes_to(member: &mut Client, publisher: &mut Client, topic: &str, qos: u8) {
    crate::harness::wait_for("the member to get what is published", || {
        publisher.publish(Publish::new(topic, LIVE).qos(qos));
        live_only(member).then_some(())
    });
}

/// Whether something came, all of which must be what was published for those who are there.
fn live_only(member: &mut Client) -> bool {
    let got = member.ping();
    let is_live = |packet: &Packet| matches!(packet, Packet::Publish(publish) if publish.text() == LIVE);
    assert!(got.iter().all(is_live), "{got:?}");
    !got.is_empty()
}

fn corner_shared_subscriptions_to_everything(bed: &Bed) {
    let alone = bed.alone(&[]);
    let mut members: Vec<Client> =
        (0..3).map(|number| late(&alone, &format!("member{number}"), "$share/all/#", 1)).collect();
    let mut plain = late(&alone, "plain", "#", 1);
    let mut publisher = alone.connect("pub");
    for topic in ["a", "a/b", "/", "$own/x", "$share/x", "a/b/c"] {
        publisher.publish(Publish::new(topic, topic).qos(1));
    }
    let wanted = ["/", "a", "a/b", "a/b/c"];
    let mut got = plain.take_texts(4);
    got.sort();
    assert_eq!(got, wanted);
    let mut shared = Vec::new();
    crate::harness::wait_for("four messages for the group", || {
        for member in &mut members {
            shared.extend(member.ping().into_iter().map(|packet| match packet {
                Packet::Publish(publish) => publish.text().to_owned(),
                other => panic!("wanted a message, got {other:?}"),
            }));
        }
        (shared.len() >= 4).then_some(())
    });
    shared.sort();
    assert_eq!(shared, wanted, "each to one member, none that begins with a dollar");
    plain.quiet();
}

fn corner_empty_client_ids_with_every_clean_start(bed: &Bed) {
    for clean in [true, false] {
        for expiry in [0, 60] {
            let hello = Connect { clean, ..Connect::new(V5, "") }.with(Property::SessionExpiry(expiry));
            let mut client = bed.join(&hello);
            assert!(!client.connack.present, "nobody has this id yet");
            assert!(client.connack.property(0x12).is_some(), "{:?}", client.connack);
            client.quiet();
        }
    }
}

fn corner_request_and_response(bed: &Bed) {
    let (requests, answers) = (bed.name("/requests"), bed.name("/answers/of/me"));
    let mut responder = late(bed, "responder", &requests, 2);
    let mut requester = late(bed, "requester", &answers, 2);
    for number in 0..3_u8 {
        let request = Publish::new(&requests, "ping").qos(number).with(Property::ResponseTopic(answers.clone()));
        requester.publish(request.with(Property::CorrelationData(vec![0, number, 255])));
        let request = responder.only("ping");
        let [Property::ResponseTopic(topic), Property::CorrelationData(data)] = &request.properties[..] else {
            panic!("wanted a topic and data, got {request:?}")
        };
        let answer = Publish::new(topic, "pong").qos(2).with(Property::CorrelationData(data.clone()));
        responder.publish(answer);
        assert_eq!(requester.only("pong").properties, [Property::CorrelationData(vec![0, number, 255])]);
    }
}
