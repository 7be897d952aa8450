//! What the standards recommend and leave to the server, as we do it; in both versions.

use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::v5::retain::late;
use crate::wire::{Packet, Publish, V5, Will, subscribe};

crate::statements! {
    choice_no_connect_in_time_closes,
    choice_after_a_goodbye_the_server_closes,
    choice_a_publish_that_nobody_gets_is_a_success,
    choice_topics_that_begin_with_a_dollar_are_like_others,
    choice_sys_topics_are_the_servers_own,
    choice_suback_comes_before_what_is_retained,
    choice_wills_go_out_without_delay,
}

fn choice_no_connect_in_time_closes(bed: &Bed) {
    let bed = bed.with(&["limits.connectTimeoutSeconds=1"]);
    // Nothing at all, and a CONNECT that never ends.
    for bytes in [&[][..], &[0x10, 0x20, 0, 4, b'M']] {
        let opened = Instant::now();
        let mut client = bed.open();
        client.send(bytes);
        client.closed();
        let lasted = opened.elapsed();
        assert!(lasted >= Duration::from_millis(900), "closed after {lasted:?}, wanted 1 s");
    }
}

fn choice_after_a_goodbye_the_server_closes(bed: &Bed) {
    let mut client = bed.connect("c");
    client.send(&[0xe0, 0]);
    assert_eq!(client.until_closed(), []);
}

fn choice_a_publish_that_nobody_gets_is_a_success(bed: &Bed) {
    let mut client = bed.connect("c");
    client.send_publish(Publish::new(bed.name("/nobody"), "x").qos(1).id(1));
    assert!(matches!(client.next(), Packet::PubAck(ack) if ack.id == 1 && ack.reason == 0));
    client.send_publish(Publish::new(bed.name("/nobody"), "x").qos(2).id(2));
    assert!(matches!(client.next(), Packet::PubRec(ack) if ack.id == 2 && ack.reason == 0));
}

fn choice_topics_that_begin_with_a_dollar_are_like_others(bed: &Bed) {
    let topic = format!("${}/x", bed.name(""));
    let mut client = late(bed, "sub", &topic, 1);
    bed.connect("pub").publish(Publish::new(&topic, "x").qos(1));
    client.only("x");
}

fn choice_sys_topics_are_the_servers_own(bed: &Bed) {
    let mut reader = late(bed, "reader", "$SYS/broker/version", 1);
    let told = reader.message();
    assert!(told.retain && told.text().starts_with("fulmar version "), "{told:?}");
    let topic = format!("$SYS/{}", bed.name(""));
    let mut watcher = late(bed, "watch", &topic, 1);
    // MQTT 3.1.1 has no words for a refusal.
    let mut publisher = bed.join(&bed.hello("pub").will(Will::new(&topic, "gone").qos(1).retain()));
    publisher.send_publish(Publish::new(&topic, "x").qos(1).id(1).retain());
    let wanted = if bed.version == V5 { 0x87 } else { 0 };
    assert!(matches!(publisher.next(), Packet::PubAck(ack) if ack.id == 1 && ack.reason == wanted));
    publisher.vanish();
    watcher.quiet();
    late(bed, "late", &topic, 1).quiet();
}

fn choice_suback_comes_before_what_is_retained(bed: &Bed) {
    let topic = bed.name("/x");
    bed.connect("pub").publish(Publish::new(&topic, "retained").qos(1).retain());
    let mut client = bed.connect("c");
    client.send(&subscribe(bed.version, 1, &[(&topic, 1)], &[]));
    assert!(matches!(client.next(), Packet::SubAck(answer) if answer.codes == [1]));
    client.only("retained");
}

fn choice_wills_go_out_without_delay(bed: &Bed) {
    let topic = bed.name("/will");
    let mut watcher = late(bed, "watch", &topic, 1);
    let mut client = bed.join(&bed.hello("c").will(Will::new(&topic, "gone").qos(1)));
    client.vanish();
    let ended = Instant::now();
    watcher.only("gone");
    let waited = ended.elapsed();
    assert!(waited < Duration::from_secs(5), "it came after {waited:?}");
}
