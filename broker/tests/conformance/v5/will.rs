//! Wills (3.1.2.5, 3.1.3.2): when they go out, when they do not, and how.

use std::time::{Duration, Instant};

use super::retain::once_retained;
use crate::bed::Bed;
use crate::wire::{Client, Connect, Property, Publish, V5, Will, user};

crate::statements! {
    mqtt_3_1_2_7_a_will_is_stored_with_the_session,
    mqtt_3_1_2_8_a_will_goes_out_when_the_connection_ends_without_a_goodbye,
    mqtt_3_1_2_10_a_will_that_went_out_is_forgotten,
    mqtt_3_1_2_14_a_will_without_its_retain_flag_is_not_retained,
    mqtt_3_1_2_15_a_will_with_its_retain_flag_is_retained,
    mqtt_3_1_3_9_a_client_that_is_back_in_time_has_no_will_published,
    mqtt_3_1_3_10_user_properties_of_a_will_keep_their_order,
    mqtt_3_14_4_3_a_goodbye_discards_the_will,
}

fn watcher(bed: &Bed, topic: &str) -> Client {
    let mut watcher = bed.connect("watch");
    watcher.subscribe(&[(topic, 2)]);
    watcher
}

/// The next that comes to the watcher is what the test sends now: no will came before it.
fn no_will(bed: &Bed, watcher: &mut Client, topic: &str) {
    bed.connect("mark").publish(Publish::new(topic, "mark").qos(1));
    watcher.only("mark");
}

pub fn mqtt_3_1_2_7_a_will_is_stored_with_the_session(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = watcher(bed, &topic);
    let client = |id: &str, payload: &str| bed.join(&bed.hello(id).will(Will::new(&topic, payload)));
    let (mut one, mut two) = (client("one", "of one"), client("two", "of two"));
    // A newer connection brings its own will, and the older one's goes out as its connection ends.
    let newer = bed.hello("one").will(Will::new(&topic, "of one again"));
    let mut newer = bed.join(&newer);
    one.until_closed();
    watcher.only("of one");
    two.vanish();
    watcher.only("of two");
    newer.vanish();
    watcher.only("of one again");
}

pub fn mqtt_3_1_2_8_a_will_goes_out_when_the_connection_ends_without_a_goodbye(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = watcher(bed, &topic);
    // The network fails, the client breaks the protocol, another connection takes its place.
    for end in ["network", "error", "takeover"] {
        let mut client = bed.join(&bed.hello("c").will(Will::new(&topic, end).qos(1)));
        match end {
            "network" => client.vanish(),
            "error" => client.send(&[0x00, 0x00]),
            _ => bed.connect("c").quiet(),
        }
        watcher.only(end);
    }
    if bed.version == V5 {
        // A goodbye that asks for the will (0x04).
        let mut client = bed.join(&bed.hello("c").will(Will::new(&topic, "asked for").qos(2)));
        client.disconnect_with(0x04, &[]);
        client.closed();
        watcher.only("asked for");
        delay_is_waited_for(bed, &mut watcher, &topic);
        session_end_is_not_waited_beyond(bed, &mut watcher, &topic);
    }
}

fn delayed(bed: &Bed, topic: &str, payload: &str, delay: u32, expiry: u32) -> Connect {
    let will = Will::new(topic, payload).qos(1).with(Property::WillDelay(delay));
    bed.hello("c").with(Property::SessionExpiry(expiry)).will(will)
}

fn delay_is_waited_for(bed: &Bed, watcher: &mut Client, topic: &str) {
    let mut client = bed.join(&delayed(bed, topic, "delayed", 1, 60));
    let ended = Instant::now();
    client.vanish();
    watcher.only("delayed");
    let waited = ended.elapsed();
    assert!(waited >= Duration::from_millis(900), "the will came after {waited:?}, its delay is 1 s");
}

fn session_end_is_not_waited_beyond(bed: &Bed, watcher: &mut Client, topic: &str) {
    // The session ends before the delay does, by expiry and by a clean start.
    bed.join(&delayed(bed, topic, "session over", 3600, 1)).vanish();
    watcher.only("session over");
    let mut client = bed.join(&delayed(bed, topic, "started anew", 3600, 60));
    client.vanish();
    bed.join_beside(&client, &bed.hello("c")).quiet();
    watcher.only("started anew");
}

pub fn mqtt_3_1_2_10_a_will_that_went_out_is_forgotten(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = watcher(bed, &topic);
    let mut client = bed.join(&bed.hello("c").lasting().will(Will::new(&topic, "once").qos(1)));
    client.vanish();
    watcher.only("once");
    // The session goes on without it.
    let mut again = bed.join_beside(&client, &bed.hello("c").lasting());
    assert!(again.connack.present);
    again.vanish();
    no_will(bed, &mut watcher, &topic);
    // And one that was taken back by a goodbye does not come later.
    let mut client = bed.join_beside(&client, &bed.hello("c").lasting().will(Will::new(&topic, "taken back")));
    client.disconnect();
    let mut again = bed.join_beside(&client, &bed.hello("c").lasting());
    again.vanish();
    no_will(bed, &mut watcher, &topic);
}

/// A will that has gone out while somebody watched.
fn will_goes_out(bed: &Bed, will: Will) {
    let mut watcher = watcher(bed, &will.topic);
    bed.join(&bed.hello("c").will(will)).vanish();
    assert!(!watcher.only("last words").retain, "the flag is for those who come later");
}

pub fn mqtt_3_1_2_14_a_will_without_its_retain_flag_is_not_retained(bed: &Bed) {
    let (topic, other) = (bed.name("/will"), bed.name("/other"));
    will_goes_out(bed, Will::new(&topic, "last words").qos(1));
    // One that is retained, and so is known when it is there, comes after it.
    will_goes_out(bed, Will::new(&other, "last words").qos(1).retain());
    once_retained(bed, &other, Some("last words"));
    for node in 0..3 {
        let mut late = bed.connect(&format!("late{node}"));
        late.subscribe(&[(&topic, 1)]);
        late.quiet();
    }
}

pub fn mqtt_3_1_2_15_a_will_with_its_retain_flag_is_retained(bed: &Bed) {
    let topic = bed.name("/will");
    will_goes_out(bed, Will::new(&topic, "last words").qos(1).retain());
    let retained = once_retained(bed, &topic, Some("last words")).unwrap();
    assert!(retained.retain && retained.qos == 1, "{retained:?}");
}

fn mqtt_3_1_3_9_a_client_that_is_back_in_time_has_no_will_published(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = watcher(bed, &topic);
    let mut client = bed.join(&delayed(bed, &topic, "not to be seen", 2, 60));
    client.vanish();
    let mut back = bed.hello("c").lasting();
    back.clean = false;
    let mut client = bed.join_beside(&client, &back);
    assert!(client.connack.present);
    // Beyond the delay.
    std::thread::sleep(Duration::from_millis(2600));
    no_will(bed, &mut watcher, &topic);
    client.quiet();
}

fn mqtt_3_1_3_10_user_properties_of_a_will_keep_their_order(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = watcher(bed, &topic);
    let properties = [
        user("b", "1"),
        user("a", "2"),
        user("b", "1"),
        user("", ""),
        Property::ContentType("text/plain".to_owned()),
        Property::ResponseTopic("answers".to_owned()),
        Property::CorrelationData(vec![0, 255]),
        Property::PayloadFormat(1),
    ];
    let will = properties.iter().cloned().fold(Will::new(&topic, "last words"), Will::with);
    bed.join(&bed.hello("c").will(will.with(Property::MessageExpiry(100)))).vanish();
    let got = watcher.only("last words");
    let (users, others): (Vec<_>, Vec<_>) =
        got.properties.into_iter().partition(|one| matches!(one, Property::User(..)));
    assert_eq!(users, properties[..4]);
    assert_eq!(others.len(), 5, "{others:?}");
    assert!(properties[4..].iter().all(|property| others.contains(property)), "{others:?}");
    assert!(others.contains(&Property::MessageExpiry(100)), "{others:?}");
}

pub fn mqtt_3_14_4_3_a_goodbye_discards_the_will(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = watcher(bed, &topic);
    bed.join(&bed.hello("c").will(Will::new(&topic, "not to be seen"))).disconnect();
    bed.join(&bed.hello("c").lasting().will(Will::new(&topic, "nor this"))).disconnect();
    no_will(bed, &mut watcher, &topic);
}
