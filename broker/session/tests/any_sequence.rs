//! Whatever a client does, in whatever order: no panic, whole packets, and every bound holds.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod common;
mod world;

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use common::*;
use fulmar_codec::{
    AckKind, Connect, Disconnect, Packet, Publish, PublishProperties, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions, TopicLimits, Version, parse_filter,
};
use fulmar_session::{AckToken, Deliver, Excess, Limits, Outgoing, PublishAction, WillFate};
use proptest::collection::vec;
use proptest::prelude::*;
use world::{Event, World};

fn event() -> impl Strategy<Value = Event> {
    let qos = || prop_oneof![Just(QOS0), Just(QOS1), Just(QOS2)];
    let version = prop_oneof![Just(Version::V311), Just(Version::V5)];
    let kind = prop_oneof![Just(AckKind::PubAck), Just(AckKind::PubRec), Just(AckKind::PubRel), Just(AckKind::PubComp)];
    let expiry = prop_oneof![Just(0), 1..100_u32, Just(u32::MAX)];
    let alias = prop::option::of(1..6_u16);
    let topic = prop_oneof![Just(""), Just("t"), Just("a/b/c/d/e/f/g/h/i/j")];
    prop_oneof![
        // CONNACK takes up to 24 bytes.
        2 => (version, expiry, 1..5_u16, prop::option::of(24..80_u32), any::<bool>()).prop_map(
            |(version, session_expiry, receive_maximum, packet_bytes_max, will)| Event::Connect {
                version, session_expiry, receive_maximum, packet_bytes_max, will
            }
        ),
        1 => Just(Event::Lose),
        1 => (prop_oneof![Just(0), Just(4), Just(0x80)], prop::option::of(0..9_u32))
            .prop_map(|(reason, session_expiry)| Event::Disconnect { reason, session_expiry }),
        9 => (any::<bool>(), any::<bool>(), qos(), 1..9_u16, alias, topic).prop_map(
            |(dup, retain, qos, packet_id, alias, topic)| Event::Publish { dup, retain, qos, packet_id, alias, topic }
        ),
        9 => (kind, 1..20_u16, any::<bool>()).prop_map(|(kind, id, well)| Event::Ack(kind, id, well)),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, well)| Event::Routed(which, well)),
        9 => (qos(), qos(), 0..70_usize, prop::option::of(0..9_u32), any::<bool>()).prop_map(
            |(published, subscribed, payload_bytes, expiry, keep)| Event::Deliver {
                published, subscribed, payload_bytes, expiry, keep
            }
        ),
        4 => Just(Event::Flush),
        2 => (0..20_u8).prop_map(Event::Subscribe),
        1 => (0..20_u8).prop_map(Event::Unsubscribe),
        1 => (0..20_u64).prop_map(Event::Pass),
    ]
}

fn limits() -> Limits {
    Limits {
        topic: TopicLimits { levels_max: 8, bytes_max: 100 },
        inflight_max: maximum(3),
        outbound_inflight_max: maximum(3),
        topic_aliases_max: 4,
        subscriptions_max: 10,
        queued_messages_max: 5,
        queued_bytes_max: 600,
        output_bytes_max: 200,
        ..Limits::default()
    }
}

/// More than any single packet of this test takes.
const PACKET_BYTES: usize = 150;

/// A session under events, and what is known from outside about it.
struct World {
    fixture: Fixture,
    open: Vec<AckToken>,
    /// That of the connection; nothing: any.
    packet_bytes_max: Option<u32>,
    window: usize,
}

impl World {
    fn apply(&mut self, event: Event) {
        let Self { fixture, open, packet_bytes_max, window } = self;
        // What comes from the client comes over a connection.
        let connected = fixture.session.is_connected();
        match event {
            Event::Connect { version, session_expiry, receive_maximum, packet_bytes_max: largest, will: with_will } => {
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
                    will: with_will.then_some(will),
                    ..Connect::new(version, "meter")
                };
                fixture.out.clear();
                *packet_bytes_max = largest;
                *window = receive_maximum.min(3).into();
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
            Event::Deliver { published, subscribed, payload_bytes, expiry, keep } => {
                let payload = vec![0; payload_bytes];
                let expires = expiry.map(|seconds| fixture.now + Duration::from_secs(seconds.into()));
                let outgoing = Outgoing { expires, ..outgoing(published, &payload) };
                fixture.deliver_as(&outgoing, Deliver { keep, ..to(subscribed) });
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
        let Self { fixture, open: _, packet_bytes_max, window } = self;
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
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_a_bound(events in vec(event(), 0..150)) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
        }
    }
}
