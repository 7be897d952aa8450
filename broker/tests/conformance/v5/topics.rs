//! Topic names and filters (4.7).

use super::bytes::{each_is_refused, publish_to};
use super::retain::{late, retain};
use crate::bed::Bed;
use crate::wire::{Publish, V5, subscribe, unsubscribe};

crate::statements! {
    mqtt_4_7_0_1_wildcards_are_for_filters_only,
    mqtt_4_7_1_1_the_multi_level_wildcard_is_the_whole_last_level,
    mqtt_4_7_1_2_the_single_level_wildcard_is_a_whole_level,
    mqtt_4_7_2_1_a_leading_wildcard_does_not_match_a_dollar,
    mqtt_4_7_3_1_topics_have_at_least_one_character,
    mqtt_4_7_3_2_topics_have_no_null_character,
    mqtt_4_7_3_3_topics_have_up_to_65535_bytes,
    mqtt_4_7_3_4_topics_are_compared_as_they_are,
}

pub fn mqtt_4_7_0_1_wildcards_are_for_filters_only(bed: &Bed) {
    let names = ["/+", "/#", "/a+", "/a#b"].map(|name| publish_to(bed.version, bed.name(name).as_bytes()));
    each_is_refused(bed, &names, 0x90);
    let mut client = bed.connect("c");
    client.subscribe(&[(&bed.name("/+"), 0), (&bed.name("/#"), 0), (&bed.name("/+/a/#"), 0)]);
    client.publish(Publish::new(bed.name("/b"), "x"));
    client.only("x");
}

/// The code of SUBACK for a filter that breaks the grammar.
fn invalid(bed: &Bed) -> u8 {
    if bed.version == V5 { 0x8f } else { 0x80 }
}

/// Which of these topics a filter matches; live and retained.
fn matches(bed: &Bed, filter: &str, topics: &[&str], wanted: &[&str]) {
    let names: Vec<String> = topics.iter().map(|topic| bed.name(topic)).collect();
    let mut client = late(bed, "live", &bed.name(filter), 1);
    let mut publisher = bed.connect("pub");
    for (topic, name) in topics.iter().zip(&names) {
        retain(&mut publisher, name, topic);
    }
    let mark = bed.name("-mark");
    client.subscribe(&[(&mark, 1)]);
    publisher.publish(Publish::new(&mark, "mark").qos(1));
    let mut live = Vec::new();
    loop {
        match client.take().text() {
            "mark" => break,
            topic => live.push(topic.to_owned()),
        }
    }
    assert_eq!(live, wanted, "live, of {filter}");
    let mut retained = late(bed, "late", &bed.name(filter), 1).take_texts(wanted.len());
    retained.sort();
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    assert_eq!(retained, sorted, "retained, of {filter}");
}

pub fn mqtt_4_7_1_1_the_multi_level_wildcard_is_the_whole_last_level(bed: &Bed) {
    let mut client = bed.connect("c");
    let bad = ["a/#/b", "a#", "#a", "#/", "a/b#", "##", "+#"].map(|filter| (filter, 0));
    assert_eq!(client.subscribe_with(&bad, &[]).codes, [invalid(bed); 7]);
    // The parent level is matched too (4.7.1.2).
    let topics = ["/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b/a"];
    matches(bed, "/a/#", &topics, &["/a", "/a/", "/a/b", "/a/b/c"]);
}

pub fn mqtt_4_7_1_2_the_single_level_wildcard_is_a_whole_level(bed: &Bed) {
    let mut client = bed.connect("c");
    let bad = ["a+", "+a", "a/b+/c", "++", "a/+b"].map(|filter| (filter, 0));
    assert_eq!(client.subscribe_with(&bad, &[]).codes, [invalid(bed); 5]);
    let topics = ["/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a//c", "/b/b/c"];
    matches(bed, "/a/+", &topics, &["/a/", "/a/b"]);
    let topics = topics.map(|topic| format!("/second{topic}"));
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    matches(bed, "/second/+/+/c", &topics, &["/second/a/b/c", "/second/a//c", "/second/b/b/c"]);
}

/// A topic of its own that begins with `$`, live and retained.
pub fn mqtt_4_7_2_1_a_leading_wildcard_does_not_match_a_dollar(bed: &Bed) {
    let alone = bed.alone(&[]);
    let topic = "$own/monitor/clients";
    let filters = ["#", "+/monitor/clients", "+/+/+", "+/monitor/#", "$own/#", "$own/monitor/+", "+/plain"];
    let mut clients: Vec<_> =
        filters.iter().enumerate().map(|(number, filter)| late(&alone, &format!("c{number}"), filter, 1)).collect();
    let mut publisher = alone.connect("pub");
    retain(&mut publisher, topic, "dollar");
    retain(&mut publisher, "x/plain", "plain");
    let got: Vec<Vec<String>> = clients
        .iter_mut()
        .enumerate()
        .map(|(number, client)| {
            // The mark is the last that the publisher has sent to this client.
            let mark = format!("mark-{number}");
            client.subscribe(&[(&mark, 0)]);
            publisher.publish(Publish::new(&mark, "mark"));
            let mut all = Vec::new();
            loop {
                match client.take().text().to_owned() {
                    text if text == "mark" => return all,
                    text => all.push(text),
                }
            }
        })
        .collect();
    let plain = ["plain"];
    let dollar = ["dollar"];
    let wanted: [&[&str]; 7] = [&plain, &[], &[], &[], &dollar, &dollar, &plain];
    // What "#" matches of the marks of others is not of interest.
    let got: Vec<Vec<&str>> = got.iter().map(|all| all.iter().map(String::as_str).collect()).collect();
    assert_eq!(got, wanted);
    for (filter, wanted) in [("#", 1), ("+/monitor/#", 0), ("$own/#", 1)] {
        let mut client = alone.connect("late");
        client.subscribe(&[(filter, 1)]);
        let retained = client.ping().len();
        assert_eq!(retained, wanted, "retained, of {filter}");
        client.disconnect();
    }
}

pub fn mqtt_4_7_3_1_topics_have_at_least_one_character(bed: &Bed) {
    let reason = if bed.version == V5 { 0x82 } else { 0x90 };
    each_is_refused(bed, &[publish_to(bed.version, b"")], reason);
    let mut client = bed.connect("c");
    assert_eq!(client.subscribe_with(&[("", 0), ("/", 0)], &[]).codes, [invalid(bed), 0]);
    assert_eq!(client.unsubscribe(&["/"]).first().copied().unwrap_or(0), 0);
}

pub fn mqtt_4_7_3_2_topics_have_no_null_character(bed: &Bed) {
    let packets = [
        publish_to(bed.version, b"a\0b"),
        subscribe(bed.version, 1, &[("a\0b", 0)], &[]),
        unsubscribe(bed.version, 1, &["a\0b"], &[]),
    ];
    each_is_refused(bed, &packets, 0x81);
}

pub fn mqtt_4_7_3_3_topics_have_up_to_65535_bytes(bed: &Bed) {
    let mut topic = bed.name("/");
    topic.push_str(&"x".repeat(65_535 - topic.len()));
    let mut client = late(bed, "c", &topic, 1);
    retain(&mut bed.connect("pub"), &topic, "long");
    assert_eq!(client.only("long").topic, topic);
    assert_eq!(late(bed, "late", &topic, 1).only("long").topic, topic);
}

pub fn mqtt_4_7_3_4_topics_are_compared_as_they_are(bed: &Bed) {
    // Composed and decomposed, upper and lower case, spaces, empty levels, dots, a code point without a character.
    let names =
        ["é", "e\u{301}", "A", "a", " a", "a ", "a/", "/a", "a//b", "a/b", ".", "./.", "%41", "\u{fffe}x", "ß", "ss"];
    for (number, name) in names.iter().enumerate() {
        let mut client = late(bed, &format!("c{number}"), &bed.name(&format!("/{name}")), 0);
        let mut publisher = bed.connect("pub");
        for other in &names {
            publisher.publish(Publish::new(bed.name(&format!("/{other}")), other));
        }
        publisher.publish(Publish::new(bed.name(&format!("/{name}")), "mark"));
        client.only(name);
        client.only("mark");
    }
}
