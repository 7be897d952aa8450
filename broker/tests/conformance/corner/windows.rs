//! Full windows, packet identifiers that run out and wrap, publishers that are held back; in both versions.

use std::time::Duration;

use crate::bed::Bed;
use crate::v5::retain::late;
use crate::wire::{Packet, Property, Publish, V5};

crate::statements! {
    corner_a_session_is_resumed_with_both_windows_full,
    corner_a_window_of_one_in_both_directions,
    corner_nothing_is_sent_again_on_a_live_connection,
    corner_packet_identifiers_wrap_with_65535_in_flight,
    corner_a_publisher_that_is_held_back_loses_nothing,
}

fn corner_a_session_is_resumed_with_both_windows_full(bed: &Bed) {
    const WINDOW: u16 = 20;
    let bed = bed.with(&["limits.inflight=20", "limits.outboundInflight=20"]);
    let (inward, outward) = (bed.name("/in"), bed.name("/out"));
    let mut watcher = late(&bed, "watch", &inward, 2);
    let hello = bed.hello("c").lasting();
    let mut client = bed.join(&hello);
    client.subscribe(&[(&outward, 2)]);
    let mut publisher = bed.connect("pub");
    for number in 0..2 * WINDOW {
        publisher.publish(Publish::new(&outward, number.to_string()).qos(2));
    }
    let open: Vec<Publish> = (0..WINDOW).map(|_| client.message()).collect();
    for id in 1..=WINDOW {
        client.send_publish(Publish::new(&inward, id.to_string()).qos(2).id(id));
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == id));
    }
    client.quiet();
    client.vanish();

    let mut client = bed.join_beside(&client, &hello);
    assert!(client.connack.present);
    // Theirs again, and not one more; ours again, answered like the first time.
    let again: Vec<Publish> = (0..WINDOW).map(|_| client.message()).collect();
    assert_eq!(again, open.into_iter().map(Publish::dup).collect::<Vec<_>>());
    for id in 1..=WINDOW {
        client.send_publish(Publish::new(&inward, id.to_string()).qos(2).id(id).dup());
        assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == id && ack.reason == 0));
    }
    client.quiet();
    for id in 1..=WINDOW {
        client.pubrel(id);
        assert!(matches!(client.next(), Packet::PubComp(ack) if ack.id == id && ack.reason == 0));
    }
    for publish in again {
        client.pubrec(publish.id);
        let released = client.await_packet(|packet| matches!(packet, Packet::PubRel(_)));
        assert!(matches!(&released, Packet::PubRel(ack) if ack.id == publish.id), "{released:?}");
        client.pubcomp(publish.id);
    }
    let rest: Vec<String> = (WINDOW..2 * WINDOW).map(|number| number.to_string()).collect();
    assert_eq!(client.take_texts(WINDOW.into()), rest);
    let wanted: Vec<String> = (1..=WINDOW).map(|number| number.to_string()).collect();
    assert_eq!(watcher.take_texts(WINDOW.into()), wanted);
    watcher.quiet();
}

fn corner_a_window_of_one_in_both_directions(bed: &Bed) {
    let bed = bed.with(&["limits.inflight=1", "limits.outboundInflight=1"]);
    let topic = bed.name("/x");
    let mut client = late(&bed, "sub", &topic, 2);
    let mut publisher = bed.connect("pub");
    for number in 0..50 {
        publisher.publish(Publish::new(&topic, number.to_string()).qos(1 + number % 2));
    }
    for number in 0..50 {
        let got = client.message();
        assert_eq!(got.text(), number.to_string());
        client.quiet();
        if got.qos == 1 {
            client.puback(got.id);
        } else {
            client.pubrec(got.id);
            assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == got.id));
            client.quiet();
            client.pubcomp(got.id);
        }
    }
    client.quiet();
}

/// However long an acknowledgement does not come (MQTT 5.0, 4.4).
fn corner_nothing_is_sent_again_on_a_live_connection(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = late(bed, "sub", &topic, 2);
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "1").qos(1));
    publisher.publish(Publish::new(&topic, "2").qos(2));
    publisher.publish(Publish::new(&topic, "3").qos(2));
    let open: Vec<Publish> = (0..3).map(|_| client.message()).collect();
    client.pubrec(open[2].id);
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == open[2].id));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        client.quiet();
    }
    // Late is not too late.
    client.puback(open[0].id);
    client.pubcomp(open[2].id);
    client.pubrec(open[1].id);
    assert!(matches!(client.next(), Packet::PubRel(ack) if ack.id == open[1].id));
    client.pubcomp(open[1].id);
    client.quiet();
}

fn corner_packet_identifiers_wrap_with_65535_in_flight(bed: &Bed) {
    const IDS: usize = 65_535;
    let bed = bed.with(&["limits.inflight=65535", "limits.outboundInflight=65535", "limits.queuedMessages=200000"]);
    let topic = bed.name("/x");
    let mut hello = bed.hello("sub");
    if bed.version == V5 {
        hello = hello.with(Property::ReceiveMaximum(65_535));
    }
    let mut client = bed.join(&hello);
    client.subscribe(&[(&topic, 1)]);
    let mut publisher = bed.connect("pub");
    // More messages than there are identifiers.
    let mut sent = 0;
    while sent < IDS + 3 {
        let piece = (sent..(sent + 1000).min(IDS + 3)).flat_map(|number| {
            let id = (number % IDS) as u16 + 1;
            Publish::new(&topic, number.to_string()).qos(1).id(id).encode(bed.version)
        });
        publisher.send(&piece.collect::<Vec<u8>>());
        sent = (sent + 1000).min(IDS + 3);
    }
    let mut in_use = vec![false; IDS + 1];
    let mut first = Vec::new();
    for number in 0..IDS {
        let got = client.message();
        assert_eq!(got.text(), number.to_string());
        assert!(!std::mem::replace(&mut in_use[usize::from(got.id)], true), "{} is in use", got.id);
        if number < 3 {
            first.push(got.id);
        }
    }
    // All are in use: what is left waits until one is free, and gets that one.
    client.quiet();
    for (at, id) in first.into_iter().enumerate() {
        client.puback(id);
        let got = client.message();
        assert_eq!((got.id, got.text()), (id, (IDS + at).to_string().as_str()));
        client.quiet();
    }
    (0..IDS + 3).for_each(|number| publisher.complete(1, (number % IDS) as u16 + 1));
}

/// More publishes at once than the server takes: it reads on when it has answered, and nobody pays for the wait.
fn corner_a_publisher_that_is_held_back_loses_nothing(bed: &Bed) {
    const COUNT: u16 = 400;
    let bed = bed.with(&["limits.inflight=2"]);
    let topic = bed.name("/x");
    let mut subscribers: Vec<_> = (0..3).map(|number| late(&bed, &format!("sub{number}"), &topic, 1)).collect();
    let mut publisher = bed.join(&bed.hello("pub").keep_alive(1));
    let all = (1..=COUNT).flat_map(|id| Publish::new(&topic, id.to_string()).qos(1).id(id).encode(bed.version));
    publisher.send(&[all.collect(), vec![0xc0, 0]].concat());
    for id in 1..=COUNT {
        assert!(matches!(publisher.next(), Packet::PubAck(ack) if ack.id == id && ack.reason == 0));
    }
    assert_eq!(publisher.next(), Packet::PingResp);
    let wanted: Vec<String> = (1..=COUNT).map(|id| id.to_string()).collect();
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.take_texts(COUNT.into()), wanted);
    }
}
