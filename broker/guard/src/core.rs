//! One data thread without a reactor around it, driven by a script. The same input makes the same instructions.
//!
//! Clocks stand still and seeds are fixed. What the script itself does for a message is a few instructions and counts too.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use fulmar_auth::hooks::Ticket;
use fulmar_auth::identity::CertificateNames;
use fulmar_auth::passwords::{PasswordFile, PasswordLimits, Scratch};
use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{
    Ack, AckKind, Connect, Disconnect, ForwardProperties, Packet, PacketId, PublishHead, QoS, ReasonCode,
    SubscribeFilter, SubscriptionOptions, Version, encode, encode_ack, encode_connect, encode_publish,
    encode_subscribe,
};
use fulmar_worker::{
    AuthSettings, ConnId, Consumed, Event, LaneEnd, Limits, Node, NodeSettings, Origin, Out, Question, Rules, Worker,
};

use crate::rules::{PASSWORD, USER, access_file, password_file};
use crate::scenario::{PAYLOAD, Scenario, TOPIC, Traffic};

/// Clients that are there beside those that are counted, each with a subscription of its own.
const BYSTANDERS: usize = 50;

/// Sets the scene and plays so many rounds of it.
pub(crate) fn drive(scenario: &Scenario, rounds: u32) {
    let mut core = Core::start();
    for number in 0..BYSTANDERS {
        core.subscriber(&format!("bystander-{number}"), &format!("bench/elsewhere/{number}"), QoS::AtMostOnce);
    }
    let publisher = core.connect("publisher");
    let counters = match scenario.traffic {
        Traffic::Publish { qos, subscribers, per_write } => {
            let subscribers: Vec<_> =
                (0..subscribers).map(|number| core.subscriber(&format!("sub-{number}"), TOPIC, qos)).collect();
            let write = publishes(qos, per_write);
            let mut next_id = 0;
            for _ in 0..rounds {
                core.send(publisher, &write);
                core.end_turn();
                if qos != QoS::AtMostOnce {
                    for subscriber in &subscribers {
                        let acks = acknowledgements(next_id, per_write);
                        core.send(*subscriber, &acks);
                    }
                    next_id = (next_id + per_write) % usize::from(u16::MAX);
                    core.end_turn();
                }
            }
            core.worker.counters().deliveries_qos0 + core.worker.counters().deliveries_qos1
        }
        Traffic::Connect => {
            let before = core.worker.counters().auth_results_remembered;
            for _ in 0..rounds {
                let conn = core.connect("visitor");
                let mut bytes = Vec::new();
                encode(&Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)), Version::V311, &mut bytes);
                core.send(conn, &bytes);
                core.end_turn();
            }
            core.worker.counters().auth_results_remembered - before
        }
    };
    let wanted = u64::from(rounds) * scenario.messages_per_round() as u64;
    assert_eq!(counters, wanted, "messages that arrived, or clients that came");
}

struct Core {
    worker: Worker,
    now: Instant,
    out: Asked,
}

/// What the worker asked for and the script has to do.
#[derive(Default)]
struct Asked(Vec<Question>);

impl Core {
    fn start() -> Core {
        let password_file = password_file().expect("these parameters are allowed");
        let passwords = PasswordFile::parse(&password_file, PasswordLimits::default()).expect("it is well formed");
        let access = AccessFile::parse(&access_file(), AccessLimits::default()).expect("it is well formed");
        let rules = Rules { generation: 1, passwords: Some(Arc::new(passwords)), access: Some(Arc::new(access)) };
        let now = Instant::now();
        let settings = NodeSettings {
            node_id: 1,
            incarnation: 1,
            name: "guard".into(),
            threads: 1,
            limits: Limits::default(),
            anonymous: vec![false],
            auth: AuthSettings { rules: Arc::new(rules), ..AuthSettings::new([7; 32]) },
            seed: 7,
            views: false,
            store_shards: None,
            wall_clock_microseconds: 0,
            start: now,
        };
        Core { worker: Worker::new(Arc::new(Node::new(settings)), 0, now, 7), now, out: Asked::default() }
    }

    fn connect(&mut self, client_id: &str) -> ConnId {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
        let origin = Origin { listener: 0, address, trace: 0 };
        let conn = self.worker.accepted(origin, self.now).expect("the limit is far away");
        let connect =
            Connect { username: Some(USER), password: Some(PASSWORD), ..Connect::new(Version::V311, client_id) };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &connect);
        let consumed = self.worker.received(conn, &bytes, self.now, &mut self.out);
        if let Some(question) = self.out.0.pop() {
            // The first client's password is not remembered yet; its CONNECT waits and is offered again.
            let answer = question.answer(&mut Scratch::default());
            self.worker.answered(answer, &mut self.out);
            self.send(conn, &bytes);
        } else {
            assert_eq!(consumed, Consumed { bytes: bytes.len(), paused: false });
        }
        self.end_turn();
        conn
    }

    fn subscriber(&mut self, client_id: &str, filter: &str, qos: QoS) -> ConnId {
        let conn = self.connect(client_id);
        let mut bytes = Vec::new();
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        encode_subscribe(&mut bytes, Version::V311, packet_id(1), None, &[SubscribeFilter { filter, options }]);
        self.send(conn, &bytes);
        self.end_turn();
        conn
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let consumed = self.worker.received(conn, bytes, self.now, &mut self.out);
        assert_eq!(consumed, Consumed { bytes: bytes.len(), paused: false });
    }

    /// Every socket takes all that there is for it.
    fn end_turn(&mut self) {
        let mut dirty = std::mem::take(self.worker.dirty());
        for conn in dirty.drain(..) {
            if let Some(output) = self.worker.output(conn) {
                let bytes = output.len();
                output.clear();
                self.worker.written(conn, bytes);
            }
        }
        *self.worker.dirty() = dirty;
        self.worker.end_turn();
    }
}

impl Out for Asked {
    fn pause_reading(&mut self, _conn: ConnId, _paused: bool) {}
    fn close(&mut self, _conn: ConnId, _last_bytes: Vec<u8>) {}
    fn hand_over(&mut self, conn: ConnId, thread: u16, _origin: Origin, _certificate: Option<Arc<CertificateNames>>) {
        panic!("{conn} belongs to thread {thread}");
    }
    fn verify(&mut self, question: Question) -> bool {
        self.0.push(question);
        true
    }
    fn abandon(&mut self, ticket: Ticket) {
        panic!("{ticket:?} is given up");
    }
    fn lane_closed(&mut self, peer: u64, lane: u16, _epoch: u64, why: LaneEnd) {
        panic!("lane {lane} of {peer} is closed: {why:?}");
    }
    fn event(&mut self, _event: Event<'_>) {}
}

/// One write of a publisher.
pub(crate) fn publishes(qos: QoS, per_write: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 1..=per_write {
        let packet_id = (qos != QoS::AtMostOnce).then(|| packet_id(number));
        let head = PublishHead { qos, packet_id, ..PublishHead::default() };
        encode_publish(&mut bytes, Version::V311, &head, TOPIC, &ForwardProperties::EMPTY, PAYLOAD);
    }
    bytes
}

/// PUBACKs of the `count` packet ids after the first `used` ones; the broker counts from 1 and begins again after 65,535.
fn acknowledgements(used: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * count);
    for number in used..used + count {
        let packet_id = packet_id(number % usize::from(u16::MAX) + 1);
        encode_ack(&mut bytes, Version::V311, AckKind::PubAck, &Ack::new(packet_id, ReasonCode::SUCCESS));
    }
    bytes
}

fn packet_id(number: usize) -> PacketId {
    u16::try_from(number).ok().and_then(PacketId::new).expect("numbers of packets are from 1 to 65,535")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn every_message_of_every_scenario_arrives() {
        for scenario in SCENARIOS {
            drive(scenario, 3);
        }
    }

    #[test]
    fn packet_ids_are_acknowledged_beyond_the_last_one() {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == "p2p_q1_64").unwrap();
        drive(scenario, 1100);
    }
}
