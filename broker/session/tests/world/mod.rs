//! A session under events in any order, and the bounds that hold whatever happens.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::common::*;
use fulmar_codec::{
    AckKind, Connect, Disconnect, Packet, Publish, PublishProperties, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions, TopicLimits, Version, parse_filter,
};
use fulmar_session::{AckToken, Deliver, Excess, Limits, Outgoing, PublishAction, WillFate};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Connect {
        version: Version,
        session_expiry: u32,
        receive_maximum: u16,
        packet_bytes_max: Option<u32>,
        topic_aliases: u16,
        will: bool,
    },
    Lose,
    Disconnect {
        reason: u8,
        session_expiry: Option<u32>,
    },
    Publish {
        dup: bool,
        retain: bool,
        qos: QoS,
        packet_id: u16,
        alias: Option<u16>,
        topic: &'static str,
    },
    Ack(AckKind, u16, bool),
    Routed(usize, bool),
    /// The topic by its place in [`TOPICS`].
    Deliver {
        topic: usize,
        published: QoS,
        subscribed: QoS,
        payload_bytes: usize,
        expiry: Option<u32>,
        keep: bool,
    },
    Flush,
    Subscribe(u8),
    Unsubscribe(u8),
    Pass(u64),
}

fn limits() -> Limits {
    Limits {
        topic: TopicLimits { levels_max: 8, bytes_max: 100 },
        inflight_max: maximum(3),
        outbound_inflight_max: maximum(3),
        topic_aliases_max: 4,
        outbound_topic_aliases_max: 3,
        subscriptions_max: 10,
        queued_messages_max: 5,
        queued_bytes_max: 600,
        output_bytes_max: 200,
        ..Limits::default()
    }
}

/// What is delivered has one of these topics; the payload is its place here, again and again.
pub(crate) const TOPICS: [&str; 6] = ["t", "one/two", "one/three", "two/one", "three", "a/longer/one/of/more/levels"];

/// More than any single packet of this test takes.
const PACKET_BYTES: usize = 150;

/// A session under events, and what is known from outside about it.
pub(crate) struct World {
    fixture: Fixture,
    open: Vec<AckToken>,
    /// That of the connection; nothing: any.
    packet_bytes_max: Option<u32>,
    window: usize,
    /// How many topic aliases the client keeps, and the topics of those that were set.
    aliases_max: u16,
    aliases: BTreeMap<u16, String>,
}

impl World {
    pub(crate) fn new() -> World {
        World {
            fixture: Fixture::new(limits()),
            open: Vec::new(),
            packet_bytes_max: None,
            window: 0,
            aliases_max: 0,
            aliases: BTreeMap::new(),
        }
    }

    /// Lets the event happen, and looks whether every bound still holds.
    pub(crate) fn apply(&mut self, event: Event) {
        let before = self.fixture.out.len();
        let is_looked_at = match event {
            Event::Connect { .. } | Event::Lose => {
                self.aliases.clear();
                0
            }
            Event::Flush => 0,
            _ => before,
        };
        self.let_happen(event);
        self.check(before);
        self.follow_aliases(is_looked_at);
    }

    fn let_happen(&mut self, event: Event) {
        let Self { fixture, open, packet_bytes_max, window, aliases_max, aliases: _ } = self;
        // What comes from the client comes over a connection.
        let connected = fixture.session.is_connected();
        match event {
            Event::Connect {
                version,
                session_expiry,
                receive_maximum,
                packet_bytes_max: largest,
                topic_aliases,
                will: with_will,
            } => {
                let will = fulmar_codec::Will {
                    qos: QOS1,
                    retain: false,
                    topic: "gone",
                    payload: b"",
                    delay: session_expiry / 2,
                    message_expiry: None,
                    payload_is_utf8: false,
                    forward: Default::default(),
                };
                let connect = Connect {
                    session_expiry,
                    receive_maximum: maximum(receive_maximum),
                    packet_bytes_max: largest.and_then(NonZeroU32::new),
                    topic_alias_max: topic_aliases,
                    will: with_will.then_some(will),
                    ..Connect::new(version, "meter")
                };
                fixture.out.clear();
                *packet_bytes_max = largest;
                *window = receive_maximum.min(3).into();
                *aliases_max = topic_aliases.min(3);
                fixture.connect(&connect, true);
            }
            Event::Lose => {
                let ended = fixture.lose();
                if let (WillFate::At(at), Some(keep_until)) = (&ended.will, ended.keep_until) {
                    assert!(*at <= keep_until, "the will waits for {at:?}, the session only until {keep_until:?}");
                }
            }
            Event::Disconnect { reason, session_expiry } => {
                let reason = ReasonCode::new(reason);
                fixture.session.handle_disconnect(&Disconnect { session_expiry, ..Disconnect::new(reason) });
                fixture.session.encode_disconnect(ReasonCode::SERVER_SHUTTING_DOWN, &mut fixture.out);
            }
            Event::Publish { dup, retain, qos, packet_id, alias, topic } if connected => {
                let topic_alias = alias.and_then(NonZeroU16::new);
                // The codec takes no empty topic without an alias.
                let topic = if topic_alias.is_none() && topic.is_empty() { "t" } else { topic };
                let packet_id = if qos == QOS0 { 0 } else { packet_id };
                let properties = PublishProperties { topic_alias, ..Default::default() };
                let packet = Publish { dup, retain, topic, properties, ..publish(qos, packet_id, b"payload") };
                match fixture.publish(&packet) {
                    PublishAction::Route { token, .. } => open.extend(token),
                    PublishAction::Done => assert_eq!(qos, QOS2, "only QoS 2 has duplicates"),
                    PublishAction::Close(reason) | PublishAction::Beyond(Excess { reason, .. }) => {
                        assert!(reason.is_error());
                    }
                }
            }
            Event::Ack(kind, packet_id, well) if connected => {
                let reason = if well { ReasonCode::SUCCESS } else { ReasonCode::UNSPECIFIED_ERROR };
                fixture.ack_with(kind, packet_id, reason);
                fixture.drain();
            }
            Event::Publish { .. } | Event::Ack(..) => {}
            Event::Routed(which, well) => {
                if !open.is_empty() {
                    // Now and then a token is answered twice.
                    let at = which % open.len();
                    let token = if which % 5 == 0 { open[at] } else { open.swap_remove(at) };
                    let reason = if well { ReasonCode::SUCCESS } else { ReasonCode::QUOTA_EXCEEDED };
                    fixture.routed(token, reason);
                }
            }
            Event::Deliver { topic, published, subscribed, payload_bytes, expiry, keep } => {
                let payload = vec![topic as u8; payload_bytes];
                let expires = expiry.map(|seconds| fixture.now + Duration::from_secs(seconds.into()));
                let outgoing = Outgoing { topic: TOPICS[topic], expires, ..outgoing(published, &payload) };
                fixture.deliver_as(&outgoing, Deliver { share: keep.then_some(NonZeroU32::MIN), ..to(subscribed) });
            }
            Event::Flush => {
                fixture.out.clear();
                fixture.drain();
            }
            Event::Subscribe(number) => {
                let filter = if number % 3 == 0 { format!("$share/g/{number}") } else { number.to_string() };
                let options = SubscriptionOptions { no_local: number % 2 == 0, ..Default::default() };
                let parsed = parse_filter(&filter, TopicLimits::default()).unwrap();
                let requested = SubscribeFilter { filter: &filter, options };
                fixture.session.handle_subscribe_filter(&requested, &parsed, None);
            }
            Event::Unsubscribe(number) => {
                fixture.session.handle_unsubscribe_filter(&number.to_string());
            }
            Event::Pass(seconds) => fixture.pass(seconds),
        }
    }

    /// `before`: the bytes that were unsent before the event.
    fn check(&self, before: usize) {
        let Self { fixture, open: _, packet_bytes_max, window, aliases_max: _, aliases: _ } = self;
        let Fixture { session, limits, out, .. } = fixture;
        assert!(session.in_flight() <= *window, "{} in flight, {window} allowed", session.in_flight());
        assert!(session.open_tokens() <= limits.inflight_max.get().into(), "{} tokens open", session.open_tokens());
        assert!(session.queued_messages() <= limits.queued_messages_max, "{} queued", session.queued_messages());
        assert!(session.queued_bytes() <= limits.queued_bytes_max, "{} bytes queued", session.queued_bytes());
        assert!(session.subscription_count() <= limits.subscriptions_max);
        assert_eq!(session.subscriptions().count(), session.subscription_count());
        // Beyond the limit there is one packet at most, and what answers the client byte for byte.
        let most = limits.output_bytes_max.max(before) + PACKET_BYTES;
        assert!(out.len() <= most, "{} bytes unsent, {before} before", out.len());
        for packet in decode_all(session.version(), out) {
            let (Packet::Publish(publish), Some(max)) = (packet, packet_bytes_max) else { continue };
            let mut bytes = Vec::new();
            fulmar_codec::encode(&Packet::Publish(publish), session.version(), &mut bytes);
            // MQTT 3.1.1 has no Maximum Packet Size, but here it is asked for all the same.
            assert!(bytes.len() <= *max as usize, "{} bytes sent, {max} allowed", bytes.len());
        }
        if !session.is_connected() {
            assert_eq!((session.keep_alive_deadline(), out.len()), (None, 0));
        }
    }

    /// Every message that was written behind so many bytes has the topic that it was delivered with.
    fn follow_aliases(&mut self, is_looked_at: usize) {
        let Self { fixture, aliases_max, aliases, .. } = self;
        for packet in decode_all(fixture.session.version(), &fixture.out[is_looked_at.min(fixture.out.len())..]) {
            let Packet::Publish(publish) = packet else { continue };
            let mut topic = publish.topic;
            if let Some(alias) = publish.properties.topic_alias.map(NonZeroU16::get) {
                assert!(alias <= *aliases_max, "alias {alias}, {aliases_max} allowed");
                if !topic.is_empty() {
                    aliases.insert(alias, topic.to_owned());
                }
                topic = aliases.get(&alias).expect("an alias is set before it is used");
            }
            if let Some(place) = publish.payload.first() {
                assert_eq!(topic, TOPICS[usize::from(*place)]);
            }
        }
    }
}
