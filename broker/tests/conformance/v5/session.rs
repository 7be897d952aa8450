//! Session state (3.1.2, 4.1): what outlives a connection, and what ends with it. Sessions are resumed on the node that
//! has them; on another node only when storage is replicated.

use std::time::Duration;

use crate::bed::Bed;
use crate::wire::{Packet, Property, Publish};

crate::statements! {
    mqtt_3_1_2_4_a_clean_start_discards_the_session,
    mqtt_3_1_2_5_without_a_clean_start_the_session_is_resumed,
    mqtt_3_1_2_6_without_a_session_a_new_one_is_made,
    mqtt_3_1_2_23_a_session_with_an_expiry_outlives_its_connection,
    mqtt_3_1_3_2_the_client_id_names_the_session,
    mqtt_4_1_0_1_a_session_lasts_as_long_as_its_connection,
    mqtt_4_1_0_2_a_session_ends_when_its_expiry_has_passed,
    mqtt_4_5_0_1_messages_are_kept_for_every_session_that_matches,
}

/// A lasting session with a subscription, whose client is gone, and messages that came since.
fn left(bed: &Bed, topic: &str, payloads: &[&str]) -> crate::wire::Client {
    let mut client = bed.join(&bed.hello("c").lasting());
    client.subscribe(&[(topic, 2)]);
    client.vanish();
    let mut publisher = bed.connect("pub");
    for (number, payload) in payloads.iter().enumerate() {
        publisher.publish(Publish::new(topic, payload).qos(1 + number as u8 % 2));
    }
    client
}

pub fn mqtt_3_1_2_4_a_clean_start_discards_the_session(bed: &Bed) {
    let topic = bed.name("/x");
    let old = left(bed, &topic, &["kept", "too"]);
    let mut new = bed.join_beside(&old, &bed.hello("c"));
    assert!(!new.connack.present);
    bed.connect("pub2").publish(Publish::new(&topic, "nobody subscribes").qos(1));
    new.quiet();
    new.disconnect();
    // Nor is the old session there for the one after it.
    let mut next = bed.join_beside(&old, &bed.hello("c").lasting());
    assert!(!next.connack.present);
    next.quiet();
}

pub fn mqtt_3_1_2_5_without_a_clean_start_the_session_is_resumed(bed: &Bed) {
    let topic = bed.name("/x");
    let old = left(bed, &topic, &["one", "two"]);
    let mut new = bed.join_beside(&old, &bed.hello("c").lasting());
    assert!(new.connack.present);
    assert_eq!(new.take_texts(2), ["one", "two"]);
    // The subscription is there too.
    bed.connect("pub2").publish(Publish::new(&topic, "three").qos(1));
    new.only("three");
}

pub fn mqtt_3_1_2_6_without_a_session_a_new_one_is_made(bed: &Bed) {
    let topic = bed.name("/x");
    let mut client = bed.join(&bed.hello("c").lasting());
    assert!(!client.connack.present);
    client.subscribe(&[(&topic, 1)]);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(1));
    client.only("x");
}

pub fn mqtt_3_1_2_23_a_session_with_an_expiry_outlives_its_connection(bed: &Bed) {
    let topic = bed.name("/x");
    // However the connection ends: without a word, with a goodbye, by an error.
    for (number, end) in ["vanish", "disconnect", "error"].into_iter().enumerate() {
        let id = format!("c{number}");
        let mut client = bed.join(&bed.hello(&id).lasting());
        client.subscribe(&[(&topic, 1)]);
        match end {
            "vanish" => client.vanish(),
            "disconnect" => client.disconnect(),
            _ => {
                client.send(&[0x00, 0x00]);
                client.until_closed();
            }
        }
        bed.connect("pub").publish(Publish::new(&topic, end).qos(1));
        let mut again = bed.join_beside(&client, &bed.hello(&id).lasting());
        assert!(again.connack.present, "after {end}");
        again.only(end);
        again.disconnect();
    }
}

pub fn mqtt_3_1_3_2_the_client_id_names_the_session(bed: &Bed) {
    let topic = bed.name("/x");
    let old = left(bed, &topic, &["for c"]);
    let mut other = bed.join_beside(&old, &bed.hello("C").lasting());
    assert!(!other.connack.present, "another id is another session");
    other.quiet();
    let mut same = bed.join_beside(&old, &bed.hello("c").lasting());
    assert!(same.connack.present);
    same.only("for c");
}

pub fn mqtt_4_1_0_1_a_session_lasts_as_long_as_its_connection(bed: &Bed) {
    let topic = bed.name("/x");
    // An expiry of 0 or 1 s counts from the end of the connection on, not before.
    let mut clean = bed.connect("clean");
    let mut short = bed.join(&bed.hello("short").lasting());
    clean.subscribe(&[(&topic, 1)]);
    short.subscribe(&[(&topic, 1)]);
    std::thread::sleep(Duration::from_millis(1500));
    bed.connect("pub").publish(Publish::new(&topic, "still there").qos(1));
    clean.only("still there");
    short.only("still there");
}

fn mqtt_4_1_0_2_a_session_ends_when_its_expiry_has_passed(bed: &Bed) {
    let topic = bed.name("/x");
    let hello = |seconds| {
        let mut hello = bed.hello("c").with(Property::SessionExpiry(seconds));
        hello.clean = false;
        hello
    };
    let mut client = bed.join(&hello(2));
    client.subscribe(&[(&topic, 1)]);
    client.vanish();
    // Within its time it is there.
    let mut client = bed.join_beside(&client, &hello(2));
    assert!(client.connack.present);
    client.vanish();
    std::thread::sleep(Duration::from_millis(2800));
    let mut late = bed.join_beside(&client, &hello(2));
    assert!(!late.connack.present, "2 s have passed");
    bed.connect("pub").publish(Publish::new(&topic, "nobody subscribes").qos(1));
    late.quiet();
    // With no time at all it ends with its connection.
    late.vanish();
    let mut brief = bed.join_beside(&late, &bed.hello("c"));
    brief.vanish();
    assert!(!bed.join_beside(&brief, &hello(2)).connack.present);
}

pub fn mqtt_4_5_0_1_messages_are_kept_for_every_session_that_matches(bed: &Bed) {
    let topic = bed.name("/a/b");
    let filters = [topic.clone(), bed.name("/+/b"), bed.name("/#")];
    let hello = |number: usize| bed.hello(&format!("c{number}")).lasting();
    let mut clients: Vec<_> = (0..3).map(|number| bed.join(&hello(number))).collect();
    for (client, filter) in clients.iter_mut().zip(&filters) {
        client.subscribe(&[(filter, 2)]);
        client.vanish();
    }
    let mut publisher = bed.connect("pub");
    publisher.publish(Publish::new(&topic, "first").qos(1));
    publisher.publish(Publish::new(&topic, "second").qos(2));
    for (number, client) in clients.iter().enumerate() {
        let mut again = bed.join_beside(client, &hello(number));
        let got = [again.take(), again.take()].map(|got| (got.text().to_owned(), got.qos));
        assert_eq!(got, [("first".to_owned(), 1), ("second".to_owned(), 2)], "of {}", filters[number]);
        assert!(!again.ping().iter().any(|packet| matches!(packet, Packet::Publish(_))));
    }
}
