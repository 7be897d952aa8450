//! The everyday path of a message allocates nothing once buffers have their size.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]
mod common;
#[path = "../../tests/counting/mod.rs"]
mod counting;

use common::*;
use counting::ALLOCATIONS;
use fulmar_codec::{AckKind, Connect, QoS, ReasonCode, Version};
use fulmar_session::{Delivered, Outgoing, PublishAction};

/// One message from a client to another, with all its acknowledgements.
fn pass_on(from: &mut Fixture, to: &mut Fixture, qos: QoS, packet_id: u16) {
    match from.publish(&publish(qos, if qos == QOS0 { 0 } else { 9 }, b"21.5")) {
        PublishAction::Route { token, .. } => {
            let outgoing = Outgoing { topic: "fleet/meter/power", ..outgoing(qos, b"21.5") };
            assert_eq!(to.deliver_as(&outgoing, common::to(qos)), Delivered::Sent);
            token.into_iter().for_each(|token| from.routed(token, ReasonCode::SUCCESS));
        }
        other => panic!("{other:?} where a message was to be routed"),
    }
    let kinds: &[AckKind] = match qos {
        QoS::AtMostOnce => &[],
        QoS::AtLeastOnce => &[AckKind::PubAck],
        QoS::ExactlyOnce => {
            from.ack(AckKind::PubRel, 9);
            &[AckKind::PubRec, AckKind::PubComp]
        }
    };
    for &kind in kinds {
        to.ack(kind, packet_id);
    }
    to.drain();
    from.out.clear();
    to.out.clear();
}

#[test]
fn messages_between_connected_clients_allocate_nothing() {
    for version in [Version::V311, Version::V5] {
        for qos in [QOS0, QOS1, QOS2] {
            let mut from = Fixture::connected(&Connect::new(version, "meter"), Default::default());
            // Who keeps topic aliases and gets a topic that has one by then is no exception.
            let topic_alias_max = if version == Version::V5 { 9 } else { 0 };
            let keeps_aliases = Connect { topic_alias_max, ..Connect::new(version, "meter") };
            let mut to = Fixture::connected(&keeps_aliases, Default::default());
            from.out.reserve(100);
            to.out.reserve(100);
            pass_on(&mut from, &mut to, qos, 1);
            let before = ALLOCATIONS.get();
            (2..1000).for_each(|packet_id| pass_on(&mut from, &mut to, qos, packet_id));
            assert_eq!(ALLOCATIONS.get() - before, 0, "allocations in {version} at QoS {qos}");
        }
    }
}
