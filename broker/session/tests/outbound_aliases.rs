//! Topic aliases for a client that keeps some: it sees what a client without them sees.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]
mod common;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use common::*;
use fulmar_codec::{AckKind, Connect, Packet, PacketId, Publish, PublishProperties, QoS, Version};
use fulmar_session::{Delivered, DropReason, Limits, Outgoing};
use proptest::collection::vec;
use proptest::prelude::*;

const TOPIC: &str = "fleet/meter-7/power";

fn hello(aliases: u16) -> Connect<'static> {
    Connect { topic_alias_max: aliases, ..lasting(Version::V5) }
}

fn connected(aliases: u16) -> Fixture {
    Fixture::connected(&hello(aliases), Limits::default())
}

fn deliver(to_client: &mut Fixture, topic: &str, qos: QoS, payload: &[u8]) -> Delivered {
    to_client.deliver_as(&Outgoing { topic, ..outgoing(qos, payload) }, to(qos))
}

/// Topic and alias of all publishes since the last look.
fn namings(fixture: &mut Fixture) -> Vec<(String, Option<u16>)> {
    let publishes = fixture.packets().into_iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => {
            Some((publish.topic.to_owned(), publish.properties.topic_alias.map(|alias| alias.get())))
        }
        _ => None,
    });
    publishes.collect()
}

fn named(topic: &str, alias: Option<u16>) -> (String, Option<u16>) {
    (topic.to_owned(), alias)
}

#[test]
fn a_topic_is_sent_once_and_then_its_alias() {
    let mut fixture = connected(10);
    for (topic, qos) in [(TOPIC, QOS0), (TOPIC, QOS1), ("fleet/meter-8/power", QOS2), (TOPIC, QOS2), ("t", QOS0)] {
        assert_eq!(deliver(&mut fixture, topic, qos, b"1"), Delivered::Sent);
    }
    let wanted = [named(TOPIC, Some(1)), named("", Some(1)), named("fleet/meter-8/power", Some(2)), named("", Some(1))];
    assert_eq!(namings(&mut fixture), [&wanted[..], &[named("t", None)]].concat());
}

#[test]
fn there_are_as_many_aliases_as_both_sides_allow() {
    let none = Limits { outbound_topic_aliases_max: 0, ..Limits::default() };
    let three = Limits { outbound_topic_aliases_max: 3, ..Limits::default() };
    for (announced, limits, wanted) in [(0, three.clone(), 0), (2, three.clone(), 2), (65_535, three, 3), (9, none, 0)]
    {
        let mut fixture = Fixture::connected(&hello(announced), limits);
        for number in 0..20 {
            deliver(&mut fixture, &format!("{TOPIC}/{number}"), QOS0, b"1");
        }
        assert_eq!(namings(&mut fixture).into_iter().map(|(_, alias)| alias.unwrap_or(0)).max(), Some(wanted));
    }
}

#[test]
fn what_is_not_sent_sets_no_alias() {
    // The topic fits into 50 bytes with a short payload only.
    let limits = Limits { outbound_inflight_max: maximum(1), output_bytes_max: 100, ..Limits::default() };
    let connect = Connect { packet_bytes_max: NonZeroU32::new(50), ..hello(10) };
    let mut fixture = Fixture::connected(&connect, limits);
    let (now, first) = (fixture.now, "first/topic/of/all");
    let expired = Outgoing { topic: TOPIC, expires: Some(now), ..outgoing(QOS0, b"1") };
    assert_eq!(fixture.deliver_as(&expired, to(QOS0)), Delivered::Dropped(DropReason::Expired));
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, &[0; 50]), Delivered::Dropped(DropReason::PacketTooLarge));
    assert_eq!(deliver(&mut fixture, first, QOS1, b"1"), Delivered::Sent);
    assert!(matches!(deliver(&mut fixture, TOPIC, QOS1, b"waits"), Delivered::Queued { .. }));
    fixture.out.resize(100, 0);
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, b"1"), Delivered::Dropped(DropReason::OutputFull));
    fixture.out.clear();
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, b"1"), Delivered::Sent);
    fixture.ack(AckKind::PubAck, 1);
    fixture.drain();
    assert_eq!(namings(&mut fixture), [named(TOPIC, Some(2)), named("", Some(2))]);
}

#[test]
fn a_packet_that_only_a_new_alias_makes_too_long_sets_none() {
    let bare = 2 + 2 + TOPIC.len() + 1;
    let connect = Connect { packet_bytes_max: NonZeroU32::new(60), ..hello(10) };
    let mut fixture = Fixture::connected(&connect, Limits::default());
    let too_large = Delivered::Dropped(DropReason::PacketTooLarge);
    let longest = vec![0; 60 - bare];
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, &[&longest[..], b"!"].concat()), too_large);
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, &longest), Delivered::Sent);
    assert_eq!(fixture.out.len(), 60);
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, &longest[3..]), Delivered::Sent);
    // What the alias saves is there for the payload.
    let saved = TOPIC.len() - 3;
    let longer = vec![0; 60 - bare + saved];
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, &longer), Delivered::Sent);
    assert_eq!(fixture.out.len(), 180);
    assert_eq!(deliver(&mut fixture, TOPIC, QOS0, &[&longer[..], b"!"].concat()), too_large);
    assert_eq!(namings(&mut fixture), [named(TOPIC, None), named(TOPIC, Some(1)), named("", Some(1))]);
}

#[test]
fn each_connection_begins_without_aliases_also_for_what_is_sent_again() {
    let mut fixture = connected(10);
    for topic in ["another/topic", TOPIC, TOPIC] {
        deliver(&mut fixture, topic, QOS1, b"1");
    }
    assert_eq!(namings(&mut fixture), [named("another/topic", Some(1)), named(TOPIC, Some(2)), named("", Some(2))]);
    fixture.ack(AckKind::PubAck, 1);
    fixture.lose();
    deliver(&mut fixture, TOPIC, QOS1, b"queued");
    fixture.connect(&hello(10), true);
    assert_eq!(namings(&mut fixture), [named(TOPIC, Some(1)), named("", Some(1)), named("", Some(1))]);
    // A connection that is taken over ends without our being told.
    fixture.connect(&hello(0), true);
    assert_eq!(namings(&mut fixture), [named(TOPIC, None), named(TOPIC, None), named(TOPIC, None)]);
}

/// A client that keeps topic aliases and acknowledges what it gets.
struct Client {
    fixture: Fixture,
    aliases_max: u16,
    /// By alias, from 1.
    topics: Vec<Option<String>>,
    /// What it got, with topics in place of aliases.
    seen: Vec<String>,
    answers: VecDeque<(AckKind, PacketId)>,
}

#[derive(Debug, Clone)]
enum Event {
    Deliver { topic: usize, qos: QoS, expiry: Option<u64> },
    Answer,
    Pass(u64),
    Reconnect,
}

impl Client {
    fn new(aliases_max: u16, limits: &Limits) -> Client {
        let fixture = Fixture::connected(&hello(aliases_max), limits.clone());
        Client { fixture, aliases_max, topics: Vec::new(), seen: Vec::new(), answers: VecDeque::new() }
    }

    fn apply(&mut self, number: usize, event: &Event) {
        let fixture = &mut self.fixture;
        match *event {
            Event::Deliver { topic, qos, expiry } => {
                let (topic, payload) = (format!("fleet/meter-{topic}/power"), number.to_be_bytes());
                let expires = expiry.map(|seconds| fixture.now + Duration::from_secs(seconds));
                fixture.deliver_as(&Outgoing { topic: &topic, expires, ..outgoing(qos, &payload) }, to(qos));
            }
            Event::Answer => {
                if let Some((kind, id)) = self.answers.pop_front() {
                    fixture.ack(kind, id.get());
                    fixture.drain();
                }
            }
            Event::Pass(seconds) => fixture.pass(seconds),
            Event::Reconnect => {
                fixture.lose();
                fixture.connect(&hello(self.aliases_max), true);
                self.topics.clear();
                self.answers.clear();
            }
        }
        self.read();
    }

    fn read(&mut self) {
        let Client { fixture, aliases_max, topics, seen, answers } = self;
        for packet in fixture.packets() {
            match packet {
                Packet::Publish(publish) => {
                    let topic = resolve(&publish, *aliases_max, topics);
                    let properties = PublishProperties { topic_alias: None, ..publish.properties };
                    seen.push(format!("{:?}", Publish { topic: &topic, properties, ..publish }));
                    let kind = if publish.qos == QOS1 { AckKind::PubAck } else { AckKind::PubRec };
                    answers.extend(publish.packet_id.map(|id| (kind, id)));
                }
                Packet::PubRel(ack) => {
                    answers.push_back((AckKind::PubComp, ack.packet_id));
                    seen.push(format!("{packet:?}"));
                }
                other => seen.push(format!("{other:?}")),
            }
        }
    }
}

fn resolve(publish: &Publish<'_>, aliases_max: u16, topics: &mut Vec<Option<String>>) -> String {
    let Some(alias) = publish.properties.topic_alias.map(|alias| alias.get()) else { return publish.topic.to_owned() };
    assert!(alias <= aliases_max, "alias {alias} of {aliases_max}");
    topics.resize(topics.len().max(alias.into()), None);
    let topic = &mut topics[usize::from(alias) - 1];
    if !publish.topic.is_empty() {
        *topic = Some(publish.topic.to_owned());
    }
    topic.clone().expect("the alias was set on this connection")
}

fn event() -> impl Strategy<Value = Event> {
    let qos = prop_oneof![Just(QOS0), Just(QOS1), Just(QOS2)];
    // A few topics come often, many come seldom.
    let topic = prop_oneof![3 => 0..4_usize, 1 => 4..40_usize];
    prop_oneof![
        10 => (topic, qos, prop::option::of(0..5_u64))
            .prop_map(|(topic, qos, expiry)| Event::Deliver { topic, qos, expiry }),
        6 => Just(Event::Answer),
        1 => (0..4_u64).prop_map(Event::Pass),
        1 => Just(Event::Reconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_follows_aliases_sees_what_one_without_them_sees(
        events in vec(event(), 0..200),
        aliases_max in 1..10_u16,
    ) {
        let limits = Limits {
            outbound_inflight_max: maximum(4),
            queued_messages_max: 6,
            outbound_topic_aliases_max: 7,
            ..Limits::default()
        };
        let mut clients = [0, aliases_max].map(|aliases_max| Client::new(aliases_max, &limits));
        for (number, event) in events.iter().enumerate() {
            clients.iter_mut().for_each(|client| client.apply(number, event));
        }
        let [without, with] = clients;
        prop_assert_eq!(with.seen, without.seen);
    }
}
