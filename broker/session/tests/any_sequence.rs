//! Whatever a client does, in whatever order: no panic, whole packets, and every bound holds.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod common;
mod world;

use common::{QOS0, QOS1, QOS2};
use fulmar_codec::{AckKind, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use world::{Event, TOPICS, World};

fn event() -> impl Strategy<Value = Event> {
    let qos = || prop_oneof![Just(QOS0), Just(QOS1), Just(QOS2)];
    let version = prop_oneof![Just(Version::V311), Just(Version::V5)];
    let kind = prop_oneof![Just(AckKind::PubAck), Just(AckKind::PubRec), Just(AckKind::PubRel), Just(AckKind::PubComp)];
    let expiry = prop_oneof![Just(0), 1..100_u32, Just(u32::MAX)];
    let alias = prop::option::of(1..6_u16);
    let topic = prop_oneof![Just(""), Just("t"), Just("a/b/c/d/e/f/g/h/i/j")];
    prop_oneof![
        // CONNACK takes up to 24 bytes.
        2 => (version, expiry, 1..5_u16, prop::option::of(24..80_u32), 0..6_u16, any::<bool>()).prop_map(
            |(version, session_expiry, receive_maximum, packet_bytes_max, topic_aliases, will)| Event::Connect {
                version, session_expiry, receive_maximum, packet_bytes_max, topic_aliases, will
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
        9 => (0..TOPICS.len(), qos(), qos(), 0..70_usize, prop::option::of(0..9_u32), any::<bool>()).prop_map(
            |(topic, published, subscribed, payload_bytes, expiry, keep)| Event::Deliver {
                topic, published, subscribed, payload_bytes, expiry, keep
            }
        ),
        4 => Just(Event::Flush),
        2 => (0..20_u8).prop_map(Event::Subscribe),
        1 => (0..20_u8).prop_map(Event::Unsubscribe),
        1 => (0..20_u64).prop_map(Event::Pass),
    ]
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
