//! Takeover, resumption, shared groups whose members leave, and text at its limits; in both versions where both have
//! what it takes.

use std::collections::BTreeMap;

use fulmar_auth::passwords::{Argon2idParams, hash_password};

use crate::bed::Bed;
use crate::harness::Folder;
use crate::v5::retain::{late, once_retained, retain};
use crate::wire::{Client, Packet, Property, Publish, V5, Will};

crate::statements! {
    corner_a_client_id_is_taken_over_while_its_queue_drains,
    corner_qos_2_duplicates_across_reconnects_are_routed_once,
    corner_a_session_belongs_to_who_made_it,
    corner_a_session_is_nobody_elses_at_the_next_node,
    corner_topics_of_1000_levels,
    corner_text_at_the_limits_of_utf8,
    corner_payloads_of_no_bytes,
    corner_versions_meet,
}

/// Nothing is lost and nothing comes before its turn, though each message may come on two connections.
fn corner_a_client_id_is_taken_over_while_its_queue_drains(bed: &Bed) {
    const COUNT: usize = 200;
    let topic = bed.name("/x");
    let mut hello = bed.hello("c").lasting();
    if bed.version == V5 {
        hello = hello.with(Property::ReceiveMaximum(5));
    }
    let mut client = bed.join(&hello);
    client.subscribe(&[(&topic, 2)]);
    client.vanish();
    let mut publisher = bed.connect("pub");
    for number in 0..COUNT {
        publisher.publish(Publish::new(&topic, number.to_string()).qos(1 + number as u8 % 2));
    }
    let mut taken: Vec<String> = Vec::new();
    let mut old = bed.join_beside(&client, &hello);
    for _ in 0..4 {
        assert!(old.connack.present);
        taken.extend(old.take_texts(30));
        let mut new = bed.join_beside(&old, &hello);
        new.complete_released();
        let last = old.until_closed().pop();
        let told = matches!(&last, Some(Packet::Disconnect(ending)) if ending.reason == 0x8e);
        assert!(bed.version != V5 || told, "the older connection is told why: {last:?}");
        old = new;
    }
    taken.extend(old.take_texts(COUNT - taken.len()));
    assert_eq!(taken, (0..COUNT).map(|number| number.to_string()).collect::<Vec<_>>());
    old.quiet();
}

/// Users of a node of the test's own, each with the password `secret`.
fn with_users(bed: &Bed, users: &[&str], folder: &Folder) -> Bed {
    let params = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };
    let line = |user: &&str| format!("{user}:{}\n", hash_password(b"secret", params, b"saltsalt").unwrap());
    let path = folder.path().join("users");
    std::fs::write(&path, users.iter().map(line).collect::<String>()).unwrap();
    let setting: &'static str = Box::leak(format!("auth.passwordFile={}", path.display()).into_boxed_str());
    bed.alone(Box::leak(Box::new([setting])))
}

fn corner_a_session_belongs_to_who_made_it(bed: &Bed) {
    let folder = Folder::new();
    let bed = &with_users(bed, &["anna", "otto"], &folder);
    let topic = bed.name("/x");
    let hello = |user: &str, lasting: bool| {
        let hello = bed.hello("c").credentials(user, b"secret");
        if lasting { hello.lasting() } else { hello }
    };
    let mut owner = bed.join(&hello("anna", true));
    owner.subscribe(&[(&topic, 1)]);
    let refused = |owner: &Client| {
        for lasting in [true, false] {
            let mut other = bed.open_at(owner.node);
            let wanted = if bed.version == V5 { 0x87 } else { 5 };
            match other.offer(&hello("otto", lasting)) {
                Packet::ConnAck(answer) => assert_eq!((answer.reason, answer.present), (wanted, false)),
                packet => panic!("wanted CONNACK, got {packet:?}"),
            }
            other.closed();
        }
    };
    // Neither a connection nor a session that waits is taken over.
    refused(&owner);
    owner.quiet();
    owner.vanish();
    refused(&owner);
    bed.wait_for_metric(owner.node, "fulmar_session_owner_refusals_total", 4);
    bed.join(&bed.hello("pub").credentials("otto", b"secret")).publish(Publish::new(&topic, "kept").qos(1));
    let mut back = bed.join_beside(&owner, &hello("anna", true));
    assert!(back.connack.present);
    back.only("kept");
}

/// A node that does not know yet whose the id is lets the other user in, for a moment.
fn corner_a_session_is_nobody_elses_at_the_next_node(bed: &Bed) {
    let folder = Folder::new();
    let bed = &with_users(bed, &["anna", "otto"], &folder);
    let (topic, will) = (bed.name("/x"), bed.name("/will"));
    let hello = |id: &str, user: &str| bed.hello(id).credentials(user, b"secret");
    let mut owner = bed.join(&hello("c", "anna").lasting());
    owner.subscribe(&[(&topic, 1), (&will, 1)]);
    let mut refusals = [0; 3];
    for offer in [hello("c", "otto").lasting(), hello("c", "otto")] {
        let mut other = bed.open();
        match other.offer(&offer.will(Will::new(&will, "of nobody"))) {
            // Nodes that keep sessions together know it wherever the client comes; others hear of it.
            Packet::ConnAck(answer) if other.node == owner.node || answer.reason != 0 => {
                assert_eq!((answer.reason, answer.present), (if bed.version == V5 { 0x87 } else { 5 }, false));
                other.closed();
            }
            Packet::ConnAck(answer) => {
                assert_eq!((answer.reason, answer.present), (0, false));
                other.refused(0x87);
            }
            packet => panic!("wanted CONNACK, got {packet:?}"),
        }
        refusals[other.node] += 1;
        bed.wait_for_metric(other.node, "fulmar_session_owner_refusals_total", refusals[other.node]);
    }
    bed.join(&hello("pub", "otto")).publish(Publish::new(&topic, "for anna").qos(1));
    owner.only("for anna");
}

fn corner_qos_2_duplicates_across_reconnects_are_routed_once(bed: &Bed) {
    let topic = bed.name("/x");
    let mut subscriber = late(bed, "sub", &topic, 2);
    let hello = bed.hello("c").lasting();
    let mut client = bed.join(&hello);
    // The connection breaks after each step, with and without its answer read.
    client.send_publish(Publish::new(&topic, "once").qos(2).id(7));
    client.vanish();
    for _ in 0..3 {
        client = bed.join_beside(&client, &hello);
        assert!(client.connack.present);
        client.send_publish(Publish::new(&topic, "once").qos(2).id(7).dup());
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 7 && ack.reason == 0));
        client.vanish();
    }
    client = bed.join_beside(&client, &hello);
    client.pubrel(7);
    client.vanish();
    client = bed.join_beside(&client, &hello);
    // The answer to the first PUBREL may have been lost, so it comes again.
    client.pubrel(7);
    assert!(matches!(client.next(), Packet::PubComp(ack) if ack.id == 7));
    client.publish(Publish::new(&topic, "new").qos(2).id(7));
    assert_eq!(subscriber.take_texts(2), ["once", "new"]);
    subscriber.quiet();
}

fn corner_topics_of_1000_levels(bed: &Bed) {
    let bed = bed.with(&["limits.topicLevels=1000"]);
    let first = bed.name("");
    let levels = |level: &str, count: usize| format!("{first}{}", format!("/{level}").repeat(count - 1));
    let topic = levels("a", 1000);
    let filters = [topic.clone(), levels("+", 1000), format!("{}/#", levels("a", 500)), format!("{first}/#")];
    let mut subscribers: Vec<Client> =
        filters.iter().enumerate().map(|(number, filter)| late(&bed, &format!("c{number}"), filter, 1)).collect();
    retain(&mut bed.connect("pub"), &topic, "deep");
    subscribers.iter_mut().for_each(|client| assert_eq!(client.only("deep").topic, topic));
    for (number, filter) in filters.iter().enumerate() {
        assert_eq!(late(&bed, &format!("late{number}"), filter, 1).only("deep").topic, topic);
    }
    // One level more is too much, for a filter and for a name.
    let too_deep = levels("a", 1001);
    let mut client = bed.connect("c");
    let refused = if bed.version == V5 { 0x8f } else { 0x80 };
    assert_eq!(client.subscribe_with(&[(&too_deep, 0)], &[]).codes, [refused]);
    client.send_publish(Publish::new(&too_deep, "x"));
    client.refused(0x90);
}

fn corner_text_at_the_limits_of_utf8(bed: &Bed) {
    // One to four bytes, first and last of each; controls and non-characters, which topics may hold.
    let texts = [
        "\u{1}",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{ffff}",
        "\u{10000}",
        "\u{10ffff}",
    ];
    let mut subscriber = late(bed, "sub", &bed.name("/+/end"), 1);
    let mut publisher = bed.connect("pub");
    for text in texts {
        let topic = bed.name(&format!("/{text}/end"));
        publisher.publish(Publish::new(&topic, text).qos(1).retain());
        assert_eq!(subscriber.only(text).topic, topic);
        assert_eq!(late(bed, "late", &topic, 1).only(text).topic, topic);
    }
    // Combining characters, text from right to left, characters beyond the first plane, in a client id too.
    bed.connect("e\u{301} שלום 日本 😀").quiet();
}

fn corner_payloads_of_no_bytes(bed: &Bed) {
    let (topic, will) = (bed.name("/x"), bed.name("/will"));
    let mut subscriber = late(bed, "sub", &bed.name("/#"), 2);
    let mut publisher = bed.connect("pub");
    for qos in 0..3 {
        publisher.publish(Publish::new(&topic, "").qos(qos));
        let got = subscriber.only("");
        assert_eq!((got.qos, got.topic.as_str()), (qos, topic.as_str()));
    }
    // A retained will without a payload removes what was retained.
    retain(&mut publisher, &will, "alive");
    subscriber.only("alive");
    bed.join(&bed.hello("c").will(Will::new(&will, "").qos(1).retain())).vanish();
    subscriber.only("");
    once_retained(bed, &will, None);
}

/// A 5.0 client's message loses what a 3.1.1 client cannot be told, and the other way round nothing is made up.
fn corner_versions_meet(bed: &Bed) {
    let topic = bed.name("/x");
    let other = bed.speaking(if bed.version == V5 { 4 } else { V5 });
    let mut of_own = late(bed, "own", &topic, 2);
    let mut of_other = late(&other, "other", &topic, 2);
    for qos in 0..3 {
        let mut publish = Publish::new(&topic, "x").qos(qos);
        if bed.version == V5 {
            publish = publish.with(Property::ContentType("text".to_owned())).with(Property::PayloadFormat(1));
        }
        let properties = publish.properties.clone();
        bed.connect("pub").publish(publish);
        assert_eq!(of_own.only("x").properties, properties);
        let got = of_other.only("x");
        assert!(got.properties.is_empty() && got.qos == qos, "{got:?}");
    }
    // A session that one version made is resumed by the other.
    let left = bed.hello("c").lasting();
    let mut client = bed.join(&left);
    client.subscribe(&[(&topic, 1)]);
    client.vanish();
    bed.connect("pub").publish(Publish::new(&topic, "waits").qos(1));
    let mut back = other.join_beside(&client, &other.hello("c").lasting());
    assert!(back.connack.present);
    back.only("waits");
    let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
    for packet in of_own.ping() {
        if let Packet::Publish(publish) = packet {
            *counts.entry(publish.qos).or_default() += 1;
        }
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(1, 1)]);
}
