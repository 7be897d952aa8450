//! A session and a client that both keep to the protocol, and a network that loses connections at any moment: whatever
//! happens, QoS 1 loses nothing and QoS 2 neither loses nor repeats anything, both ways and in order.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::*;
use fulmar_codec::{
    AckKind, Connect, Framed, PACKET_BYTES_MAX, Packet, Publish, QoS, ReasonCode, Version, decode_from_server,
    split_frame,
};
use fulmar_session::{AckAction, AckToken, Excess, Limits, PublishAction};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a client sends, as far as it matters here.
#[derive(Debug, Clone, Copy)]
enum FromClient {
    Publish { dup: bool, qos: QoS, packet_id: u16, number: u32 },
    Ack(AckKind, u16),
}

/// A publish of the client that is not done.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    packet_id: u16,
    qos: QoS,
    number: u32,
    /// PUBREC came, PUBREL is on its way.
    released: bool,
}

/// A client as the specification wants it. Messages are numbers.
#[derive(Default)]
struct Client {
    /// Not sent yet.
    waiting: VecDeque<(QoS, u32)>,
    /// In the order in which they were sent first.
    unfinished: Vec<Unfinished>,
    /// QoS 2 from the server, not released yet.
    received: BTreeSet<u16>,
    /// All messages that came, with their quality of service.
    got: Vec<(QoS, u32)>,
    /// Messages that the server refused.
    refused: BTreeSet<u32>,
}

impl Client {
    /// Sends as many new messages as the server takes.
    fn send(&mut self, quota: usize, network: &mut VecDeque<FromClient>) {
        while self.unfinished.len() < quota {
            let Some((qos, number)) = self.waiting.pop_front() else { return };
            // The lowest free identifier, so that identifiers are used again at once.
            let in_use = |packet_id: &u16| self.unfinished.iter().any(|other| other.packet_id == *packet_id);
            let packet_id = (1..).find(|packet_id| !in_use(packet_id)).unwrap();
            self.unfinished.push(Unfinished { packet_id, qos, number, released: false });
            network.push_back(FromClient::Publish { dup: false, qos, packet_id, number });
        }
    }

    /// The session goes on: all that is not done is sent again (MQTT 5.0, 4.4).
    fn reconnected(&self, network: &mut VecDeque<FromClient>) {
        network.extend(self.unfinished.iter().map(|&Unfinished { packet_id, qos, number, released }| match released {
            true => FromClient::Ack(AckKind::PubRel, packet_id),
            false => FromClient::Publish { dup: true, qos, packet_id, number },
        }));
    }

    fn handle(&mut self, packet: &Packet<'_>, network: &mut VecDeque<FromClient>) {
        match packet {
            Packet::ConnAck(_) => {}
            Packet::Publish(publish) => {
                let number = u32::from_be_bytes(publish.payload.try_into().unwrap());
                let packet_id = publish.packet_id.map(|id| id.get());
                match (publish.qos, packet_id) {
                    (QoS::AtLeastOnce, Some(packet_id)) => {
                        self.got.push((QOS1, number));
                        network.push_back(FromClient::Ack(AckKind::PubAck, packet_id));
                    }
                    (QoS::ExactlyOnce, Some(packet_id)) => {
                        if self.received.insert(packet_id) {
                            self.got.push((QOS2, number));
                        }
                        network.push_back(FromClient::Ack(AckKind::PubRec, packet_id));
                    }
                    _ => panic!("{publish:?} is not one that was delivered"),
                }
            }
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_id.get());
                network.push_back(FromClient::Ack(AckKind::PubComp, ack.packet_id.get()));
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                let packet_id = ack.packet_id.get();
                let at = self.unfinished.iter().position(|unfinished| unfinished.packet_id == packet_id);
                let at = at.expect("the server acknowledges what was published");
                if matches!(packet, Packet::PubRec(_)) && !ack.reason.is_error() {
                    self.unfinished[at].released = true;
                    network.push_back(FromClient::Ack(AckKind::PubRel, packet_id));
                } else {
                    let Unfinished { number, .. } = self.unfinished.remove(at);
                    if ack.reason.is_error() && !matches!(packet, Packet::PubComp(_)) {
                        self.refused.insert(number);
                    }
                }
            }
            other => panic!("{other:?} has no place here"),
        }
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    ClientPublishes(QoS),
    ServerDelivers(QoS),
    /// So many packets arrive.
    ToServer(usize),
    ToClient(usize),
    /// One of the open publishes is routed, or refused.
    Routed(usize, bool),
    Lose,
    /// Also while the old connection seems to live.
    Connect,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = || prop_oneof![Just(QOS1), Just(QOS2)];
    prop_oneof![
        3 => qos().prop_map(Step::ClientPublishes),
        3 => qos().prop_map(Step::ServerDelivers),
        4 => (1..4_usize).prop_map(Step::ToServer),
        4 => (1..4_usize).prop_map(Step::ToClient),
        3 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(which, well)| Step::Routed(which, well)),
        1 => Just(Step::Lose),
        2 => Just(Step::Connect),
    ]
}

struct World {
    version: Version,
    receive_maximum: u16,
    fixture: Fixture,
    client: Client,
    to_server: VecDeque<FromClient>,
    open: Vec<(AckToken, u32)>,
    published: Vec<(QoS, u32)>,
    delivered: Vec<(QoS, u32)>,
    /// What the server routed, in the order of arrival.
    routed: Vec<(QoS, u32)>,
    /// What it failed to route at least once. The client may not have learnt of that and sent it again.
    failed: BTreeSet<u32>,
    ever_lost: bool,
}

impl World {
    fn new(version: Version, receive_maximum: u16, inflight_max: u16) -> Self {
        let limits = Limits {
            inflight_max: maximum(inflight_max),
            outbound_inflight_max: maximum(5),
            output_bytes_max: 60,
            ..Limits::default()
        };
        let mut world = Self {
            version,
            receive_maximum,
            fixture: Fixture::new(limits),
            client: Client::default(),
            to_server: VecDeque::new(),
            open: Vec::new(),
            published: Vec::new(),
            delivered: Vec::new(),
            routed: Vec::new(),
            failed: BTreeSet::new(),
            ever_lost: false,
        };
        world.fixture.connect(&world.connect_packet(), false);
        world
    }

    fn connect_packet(&self) -> Connect<'static> {
        let receive_maximum = match self.version {
            Version::V311 => u16::MAX,
            Version::V5 => self.receive_maximum,
        };
        Connect { receive_maximum: maximum(receive_maximum), ..lasting(self.version) }
    }

    fn connected(&self) -> bool {
        self.fixture.session.is_connected()
    }

    fn take(&mut self, step: Step) {
        self.fixture.pass(1);
        match step {
            Step::ClientPublishes(qos) => {
                let number = self.published.len() as u32;
                self.published.push((qos, number));
                self.client.waiting.push_back((qos, number));
            }
            Step::ServerDelivers(qos) => {
                let number = self.delivered.len() as u32;
                self.delivered.push((qos, number));
                self.fixture.deliver(qos, &number.to_be_bytes());
            }
            Step::ToServer(count) => (0..count).for_each(|_| self.arrive_at_server()),
            Step::ToClient(count) => (0..count).for_each(|_| self.arrive_at_client()),
            Step::Routed(which, well) => self.routed(which, well || self.version == Version::V311),
            Step::Lose => {
                self.fixture.lose();
                self.to_server.clear();
                self.ever_lost = true;
            }
            Step::Connect => {
                // Half of the takeovers come before anyone noticed that the old connection is gone.
                self.ever_lost = true;
                self.fixture.out.clear();
                self.to_server.clear();
                self.fixture.connect(&self.connect_packet(), true);
                self.client.reconnected(&mut self.to_server);
            }
        }
        if self.connected() {
            let quota = self.fixture.limits.inflight_max.get();
            self.client.send(quota.into(), &mut self.to_server);
        }
    }

    fn arrive_at_server(&mut self) {
        if self.fixture.session.reading_paused() || !self.connected() {
            return;
        }
        match self.to_server.pop_front() {
            None => {}
            Some(FromClient::Ack(kind, packet_id)) => {
                let action = self.fixture.ack(kind, packet_id);
                assert!(!matches!(action, AckAction::Close(_)), "{action:?}");
                self.fixture.drain();
            }
            Some(FromClient::Publish { dup, qos, packet_id, number }) => {
                let payload = number.to_be_bytes();
                match self.fixture.publish(&Publish { dup, ..publish(qos, packet_id, &payload) }) {
                    PublishAction::Route { token, .. } => {
                        self.routed.push((qos, number));
                        self.open.push((token.unwrap(), number));
                    }
                    PublishAction::Done => assert_eq!((qos, dup), (QOS2, true)),
                    PublishAction::Close(reason) | PublishAction::Beyond(Excess { reason, .. }) => {
                        panic!("closed with {reason} although the client kept to its quota")
                    }
                }
            }
        }
    }

    fn arrive_at_client(&mut self) {
        if self.fixture.out.is_empty() {
            return;
        }
        let Framed::Whole { first, body, length } = split_frame(&self.fixture.out, PACKET_BYTES_MAX).unwrap() else {
            panic!("half a packet was written");
        };
        let packet = decode_from_server(self.version, first, body).unwrap();
        self.client.handle(&packet, &mut self.to_server);
        self.fixture.out.drain(..length);
        self.fixture.drain();
    }

    fn routed(&mut self, which: usize, well: bool) {
        if self.open.is_empty() {
            return;
        }
        let (token, number) = self.open.swap_remove(which % self.open.len());
        if !well {
            let at = self.routed.iter().rposition(|&(_, routed)| routed == number).unwrap();
            self.routed.remove(at);
            self.failed.insert(number);
        }
        let reason = if well { ReasonCode::SUCCESS } else { ReasonCode::QUOTA_EXCEEDED };
        self.fixture.routed(token, reason);
    }

    /// Nothing goes wrong any more and all comes to an end.
    fn settle(&mut self) {
        if !self.connected() {
            self.take(Step::Connect);
        }
        for _ in 0..10_000 {
            self.take(Step::Routed(0, true));
            self.take(Step::ToServer(10));
            self.take(Step::ToClient(10));
            let client_done = self.client.waiting.is_empty() && self.client.unfinished.is_empty();
            let session = &self.fixture.session;
            let server_done = session.in_flight() + session.queued_messages() + session.open_tokens() == 0;
            if client_done && server_done && self.fixture.out.is_empty() && self.to_server.is_empty() {
                return;
            }
        }
        panic!("after 10,000 rounds something is still open");
    }
}

/// How often each message of that quality came, and in which order for the first time.
fn counts(messages: &[(QoS, u32)], wanted: QoS) -> (BTreeMap<u32, usize>, Vec<u32>) {
    let mut counts = BTreeMap::new();
    let mut order = Vec::new();
    for &(_, number) in messages.iter().filter(|&&(qos, _)| qos == wanted) {
        let count = counts.entry(number).or_insert(0);
        *count += 1;
        if *count == 1 {
            order.push(number);
        }
    }
    (counts, order)
}

/// `failed` is out of order, `refused` is what the sender knows to have failed.
struct Exceptions<'a> {
    failed: &'a BTreeSet<u32>,
    refused: &'a BTreeSet<u32>,
    ever_lost: bool,
}

fn check(what: &str, sent: &[(QoS, u32)], came: &[(QoS, u32)], exceptions: &Exceptions<'_>) {
    let Exceptions { failed, refused, ever_lost } = exceptions;
    for qos in [QOS1, QOS2] {
        let (_, mut expected) = counts(sent, qos);
        let (counts, mut order) = counts(came, qos);
        let lost: Vec<_> = expected.iter().filter(|n| !counts.contains_key(n) && !refused.contains(n)).collect();
        assert!(lost.is_empty(), "{what}, QoS {qos}: {lost:?} are lost");
        expected.retain(|number| !failed.contains(number));
        order.retain(|number| !failed.contains(number));
        assert_eq!(order, expected, "{what}, QoS {qos}: what came first, in its order");
        let once = qos == QOS2 || !ever_lost;
        let repeated: Vec<_> =
            counts.iter().filter(|&(n, &count)| once && (count > 1 || refused.contains(n))).collect();
        assert!(repeated.is_empty(), "{what}, QoS {qos}: {repeated:?} came more than once, or although refused");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_qos_2_is_never_repeated(
        version in prop_oneof![Just(Version::V311), Just(Version::V5)],
        receive_maximum in 1..4_u16,
        inflight_max in 1..4_u16,
        steps in vec(step(), 0..120),
    ) {
        let mut world = World::new(version, receive_maximum, inflight_max);
        for step in steps {
            world.take(step);
        }
        world.settle();
        let World { client, published, delivered, routed, failed, ever_lost, .. } = world;
        let exceptions = Exceptions { failed: &failed, refused: &client.refused, ever_lost };
        check("to the server", &published, &routed, &exceptions);
        let none = &BTreeSet::new();
        let exceptions = Exceptions { failed: none, refused: none, ever_lost };
        check("to the client", &delivered, &client.got, &exceptions);
    }
}
