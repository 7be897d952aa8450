//! What a publish costs beyond its bytes: on a node whose peers do not want it, no allocation at all.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

#[path = "../../tests/counting/mod.rs"]
mod counting;
mod thread;

use std::sync::Arc;

use counting::ALLOCATIONS;
use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{
    Ack, AckKind, Connect, ForwardProperties, PacketId, PublishHead, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions, Version, encode_ack, encode_connect, encode_publish, encode_subscribe,
};
use fulmar_worker::{AuthSettings, ConnId, Consumed, LaneSocket, Limits, PeerIdentity, Rules};
use thread::{Pauses, Thread};

/// It belongs to a node that is linked with four others, none of which has subscribers. Nobody is ever paused.
impl Thread {
    fn linked(auth: AuthSettings) -> Thread {
        let mut thread = Thread::with(Limits::default(), auth);
        let mut out = Pauses::default();
        for node_id in 2..6 {
            let peer = PeerIdentity { node_id, incarnation: 1, name: format!("node-{node_id}"), threads: 1 };
            thread.worker.lane_up(&LaneSocket { peer, lane: 0, epoch: 1 }, thread.now, &mut out).unwrap();
        }
        assert_eq!(out.0, []);
        thread.end_turn();
        assert_eq!(thread.worker.link_counters().iter().filter(|link| link.connected).count(), 4);
        thread
    }

    fn connect(&mut self, client_id: &str) -> ConnId {
        let conn = self.accept();
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &Connect::new(Version::V5, client_id));
        self.send(conn, &bytes);
        conn
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut out = Pauses::default();
        let consumed = self.worker.received(conn, bytes, self.now, &mut out);
        assert_eq!(consumed, Consumed { bytes: bytes.len(), paused: false });
        assert_eq!(out.0, []);
    }

    /// Every socket takes all that there is for it.
    fn end_turn(&mut self) {
        let mut dirty = std::mem::take(self.worker.dirty());
        for conn in dirty.drain(..) {
            self.worker.output(conn).unwrap().clear();
            self.worker.written(conn, 0);
        }
        *self.worker.dirty() = dirty;
        self.worker.end_turn();
    }
}

fn publish(qos: QoS, topic: &str) -> Vec<u8> {
    let packet_id = (qos != QoS::AtMostOnce).then(|| PacketId::new(1).unwrap());
    let head = PublishHead { qos, packet_id, ..PublishHead::default() };
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, Version::V5, &head, topic, &ForwardProperties::EMPTY, b"21.5");
    bytes
}

#[test]
fn a_publish_that_no_peer_wants_allocates_nothing_on_a_linked_node() {
    for (qos, topic) in [(QoS::AtMostOnce, "wanted"), (QoS::AtLeastOnce, "wanted"), (QoS::AtLeastOnce, "unwanted")] {
        let mut thread = Thread::linked(AuthSettings::new([7; 32]));
        let (publisher, subscriber) = (thread.connect("publisher"), thread.connect("subscriber"));
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filters = [SubscribeFilter { filter: "wanted", options }];
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, Version::V5, PacketId::new(1).unwrap(), None, &filters);
        thread.send(subscriber, &bytes);
        thread.end_turn();

        let bytes = publish(qos, topic);
        let mut answer = Vec::with_capacity(100);
        let mut packet_ids = (1..=u16::MAX).cycle();
        let mut pass_on = |thread: &mut Thread| {
            thread.send(publisher, &bytes);
            if qos != QoS::AtMostOnce && topic == "wanted" {
                answer.clear();
                let packet_id = PacketId::new(packet_ids.next().unwrap()).unwrap();
                encode_ack(&mut answer, Version::V5, AckKind::PubAck, &Ack::new(packet_id, ReasonCode::SUCCESS));
                thread.send(subscriber, &answer);
            }
            thread.end_turn();
        };
        // Buffers get their size.
        (0..10).for_each(|_| pass_on(&mut thread));
        let before = ALLOCATIONS.get();
        (0..1000).for_each(|_| pass_on(&mut thread));
        assert_eq!(ALLOCATIONS.get() - before, 0, "allocations at QoS {qos} for {topic}");
        let expected = if topic == "wanted" { 1010 } else { 0 };
        let counters = thread.worker.counters();
        assert_eq!(counters.deliveries_qos0 + counters.deliveries_qos1, expected);
    }
}

#[test]
fn a_publish_that_access_rules_allow_or_deny_again_allocates_nothing() {
    let rules = "
rules:
- {allow: publish, filters: ['meters/${clientid}/#']}
";
    let access = AccessFile::parse(rules, AccessLimits::default()).unwrap();
    let rules = Rules { access: Some(Arc::new(access)), ..Rules::default() };
    let auth = AuthSettings { rules: Arc::new(rules), ..AuthSettings::new([7; 32]) };
    let mut thread = Thread::linked(auth);
    let publisher = thread.connect("publisher");
    let topics = ["meters/publisher/power", "meters/other/power", "meters/publisher/water"];
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let packets = topics.map(|topic| publish(qos, topic));
        let round = |thread: &mut Thread| {
            packets.iter().for_each(|packet| thread.send(publisher, packet));
            thread.end_turn();
        };
        (0..10).for_each(|_| round(&mut thread));
        let before = ALLOCATIONS.get();
        (0..1000).for_each(|_| round(&mut thread));
        assert_eq!(ALLOCATIONS.get() - before, 0, "allocations at QoS {qos}");
    }
    assert_eq!(thread.worker.counters().publishes_denied, 2 * 1010);
    assert_eq!(thread.worker.counters().publishes_unmatched, 2 * 2 * 1010);
}
