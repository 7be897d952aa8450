//! Traffic over the sudden end of a broker that keeps its sessions in a folder: publishers and subscribers come back
//! again and again, as clients do, and nothing that was acknowledged is lost, doubled or out of order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use fulmar_codec::{AckKind, Connect, PacketId, PublishHead, QoS, ReasonCode, Version};

use crate::durable::{self, lasting};
use crate::harness::{Broker, Client, Folder, Got, PATIENCE};

/// Messages of a publisher that wait for their acknowledgements.
const WINDOW: usize = 32;
const PUBLISHERS: usize = 3;
const KILLS: u64 = 5;

/// One that sends numbers to a topic of its own, and sends again what was not acknowledged when its broker died.
pub struct Publisher {
    pub name: String,
    qos: QoS,
    pub next: u32,
    /// In the order of their sending, with whether PUBREC has come.
    pending: VecDeque<(u32, bool)>,
    /// What was sent more than once.
    repeated: BTreeSet<u32>,
}

/// One with a durable session, which keeps what a client must keep for QoS 2.
pub struct Subscriber {
    pub name: &'static str,
    /// Packet identifiers between PUBREC and PUBREL (MQTT 5.0, 4.3.3).
    received: BTreeSet<u16>,
    /// For each topic the numbers in the order of their coming, with whether they may have come before.
    seen: BTreeMap<String, Vec<(u32, bool)>>,
}

/// Numbers that differ from run to run; a failure shows what they came from.
pub struct Dice(pub u64);

impl Dice {
    pub fn new() -> Dice {
        let seed = RandomState::new().hash_one("dice");
        println!("seed {seed:#018x}");
        Dice(seed)
    }

    /// At least `min`, and less than `end`.
    pub fn between(&mut self, min: u64, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        min + (self.0 >> 33) % (end - min)
    }
}

impl Publisher {
    pub fn new(name: String, qos: QoS) -> Publisher {
        Publisher { name, qos, next: 0, pending: VecDeque::new(), repeated: BTreeSet::new() }
    }

    fn id_of(number: u32) -> PacketId {
        PacketId::new((1 + number % 65_535) as u16).unwrap()
    }

    /// Whether all before `end` are acknowledged.
    pub fn is_done(&self, end: u32) -> bool {
        self.next >= end && self.pending.is_empty()
    }

    fn send(&self, client: &mut Client, number: u32, dup: bool) {
        let head = PublishHead { dup, qos: self.qos, packet_id: Some(Self::id_of(number)), ..PublishHead::default() };
        client.publish_with(&self.name, number.to_string(), head);
    }

    /// Sends what was not acknowledged and then new messages, all before `end`, until the broker is gone or has
    /// acknowledged everything. Tells of each message that is done.
    pub fn live(&mut self, client: &mut Client, end: u32, may_end: bool, done: &Sender<()>) {
        for (number, is_received) in self.pending.clone() {
            if is_received {
                client.acknowledge(AckKind::PubRel, Self::id_of(number).get());
            } else {
                self.send(client, number, true);
                self.repeated.insert(number);
            }
        }
        loop {
            while self.pending.len() < WINDOW && self.next < end {
                self.send(client, self.next, false);
                self.pending.push_back((self.next, false));
                self.next += 1;
            }
            if self.pending.is_empty() {
                return;
            }
            match client.next() {
                Got::PubAck(id, ReasonCode::SUCCESS) if self.qos == QoS::AtLeastOnce => {
                    // In the order of the messages (MQTT 5.0, 4.6.0-2).
                    let (number, _) = self.pending.pop_front().unwrap();
                    assert_eq!(id, Self::id_of(number).get(), "{}", self.name);
                    let _ = done.send(());
                }
                Got::PubRec(id, ReasonCode::SUCCESS) if self.qos == QoS::ExactlyOnce => {
                    let first = self.pending.iter_mut().find(|(_, is_received)| !is_received).unwrap();
                    assert_eq!(id, Self::id_of(first.0).get(), "{}", self.name);
                    first.1 = true;
                    client.acknowledge(AckKind::PubRel, id);
                }
                Got::PubComp(id) if self.qos == QoS::ExactlyOnce => {
                    let at = self.pending.iter().position(|(number, _)| Self::id_of(*number).get() == id).unwrap();
                    let (number, is_received) = self.pending.remove(at).unwrap();
                    assert!(is_received, "{}: PUBCOMP before PUBREC of {number}", self.name);
                    let _ = done.send(());
                }
                Got::Closed | Got::Disconnect(_) if may_end => return,
                got => panic!("{} got {got:?} with {:?} pending", self.name, self.pending),
            }
        }
    }
}

impl Subscriber {
    pub fn new(name: &'static str) -> Subscriber {
        Subscriber { name, received: BTreeSet::new(), seen: BTreeMap::new() }
    }

    /// Its session, made before anybody publishes.
    fn begin(&self, address: SocketAddr, qos: QoS) {
        let mut client = Client::connect_with(address, &lasting(self.name));
        client.subscribe("traffic/#", qos);
    }

    /// Takes what comes, and acknowledges a few at a time, until the broker is gone or everything of `totals` was seen
    /// and, at QoS 2, released.
    pub fn live(
        &mut self,
        client: &mut Client,
        totals: Option<&BTreeMap<String, u32>>,
        may_end: bool,
        dice: &mut Dice,
    ) {
        let mut unanswered = Vec::new();
        let mut answered_after = 0;
        while totals.is_none_or(|totals| !self.has_all(totals)) {
            match client.next() {
                Got::Message { topic, payload, qos, dup, packet_id, retain: false } => {
                    let number = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                    let kind = if qos == 1 { AckKind::PubAck } else { AckKind::PubRec };
                    if qos == 1 || self.received.insert(packet_id) {
                        self.seen.entry(topic).or_default().push((number, dup));
                    } else {
                        assert!(dup, "{}: {packet_id} of {topic} came again as new", self.name);
                    }
                    unanswered.push((kind, packet_id));
                }
                Got::PubRel(id) => {
                    self.received.remove(&id);
                    client.acknowledge(AckKind::PubComp, id);
                }
                Got::Closed | Got::Disconnect(_) if may_end => return,
                got => panic!("{} got {got:?}, has seen up to {:?}", self.name, self.last_seen()),
            }
            let is_last = totals.is_some_and(|totals| self.has_seen(totals));
            if unanswered.len() >= answered_after || is_last {
                unanswered.drain(..).for_each(|(kind, id)| client.acknowledge(kind, id));
                answered_after = dice.between(1, 8) as usize;
            }
        }
        // Where nodes died in between, what they had not said was acknowledged comes again.
        if !may_end {
            assert_eq!(client.ping(), [], "{}", self.name);
        }
    }

    fn has_seen(&self, totals: &BTreeMap<String, u32>) -> bool {
        totals.iter().all(|(topic, total)| self.last_seen().get(topic.as_str()) == Some(&(total - 1)))
    }

    /// Of each topic the greatest number.
    fn last_seen(&self) -> BTreeMap<&str, u32> {
        let last = |seen: &Vec<(u32, bool)>| seen.iter().map(|(number, _)| *number).max().unwrap_or_default();
        self.seen.iter().map(|(topic, seen)| (topic.as_str(), last(seen))).collect()
    }

    pub fn has_all(&self, totals: &BTreeMap<String, u32>) -> bool {
        self.received.is_empty() && self.has_seen(totals)
    }

    /// Every message of every publisher came in the order of its sending. At QoS 1 one may come again after that, if it
    /// says so or if its publisher has sent it again; at QoS 2 none does.
    pub fn check(&self, publishers: &[Publisher]) {
        for Publisher { name, qos, next: total, repeated, .. } in publishers {
            let mut next = 0;
            for &(number, dup) in self.seen.get(name).into_iter().flatten() {
                if number == next {
                    next += 1;
                    continue;
                }
                let context = format!("{} of {name} after {next} of them came to {}", number, self.name);
                assert!(number < next, "too early: {context}");
                assert!(*qos == QoS::AtLeastOnce && (dup || repeated.contains(&number)), "twice: {context}");
            }
            assert_eq!(next, *total, "{name} to {}", self.name);
        }
    }
}

/// A life of a broker: `dice` ends it in the middle of the traffic, or it comes to its end if nobody throws them.
fn live(folder: &Folder, publishers: &mut [Publisher], subscriber: &mut Subscriber, is_last: bool, dice: &mut Dice) {
    let broker = start(folder);
    let address = broker.address("mqtt");
    // All are there before anybody can end it.
    let mut connected: Vec<Client> = publishers.iter().map(|publisher| come(address, &publisher.name)).collect();
    let mut receiver = Client::resume(address, &lasting(subscriber.name));
    let end_of = |publisher: &Publisher| if is_last { publisher.next + 100 } else { u32::MAX };
    let totals: BTreeMap<String, u32> =
        publishers.iter().map(|publisher| (publisher.name.clone(), end_of(publisher))).collect();
    let mut of_subscriber = Dice(dice.between(0, u64::MAX >> 32));
    let (done, is_done) = channel();
    let left = std::thread::scope(|scope| {
        for (publisher, client) in publishers.iter_mut().zip(&mut connected) {
            let (end, done) = (end_of(publisher), done.clone());
            scope.spawn(move || publisher.live(client, end, end == u32::MAX, &done));
        }
        drop(done);
        let (totals, receiver, dice_of_subscriber) = (is_last.then_some(&totals), &mut receiver, &mut of_subscriber);
        scope.spawn(move || subscriber.live(receiver, totals, totals.is_none(), dice_of_subscriber));
        if is_last {
            return Some(broker);
        }
        wait_for_some(&is_done, dice.between(100, 600));
        broker.kill();
        None
    });
    if let Some(broker) = left {
        broker.kill();
    }
}

fn wait_for_some(done: &Receiver<()>, count: u64) {
    (0..count).for_each(|_| done.recv_timeout(PATIENCE).expect("publishers are acknowledged"));
}

fn start(folder: &Folder) -> Broker {
    durable::start(folder, &["log.level=info", "limits.queuedMessages=1000000"])
}

/// A publisher with a session of its own, which need not be there yet.
fn come(address: SocketAddr, name: &str) -> Client {
    let id = name.replace('/', "-");
    let mut client = Client::open(address, Version::V5);
    let connect = Connect { receive_maximum: 100.try_into().unwrap(), ..lasting(&id) };
    let Got::ConnAck { reason: ReasonCode::SUCCESS, .. } = client.hello(&connect) else { panic!("not let in") };
    client
}

fn survives_kills(qos: QoS) {
    let folder = Folder::new();
    let mut dice = Dice::new();
    let mut publishers: Vec<Publisher> =
        (0..PUBLISHERS).map(|number| Publisher::new(format!("traffic/{number}"), qos)).collect();
    let (mut present, mut absent) = (Subscriber::new("present"), Subscriber::new("absent"));
    let broker = start(&folder);
    present.begin(broker.address("mqtt"), qos);
    absent.begin(broker.address("mqtt"), qos);
    broker.kill();
    for life in 0..=KILLS {
        live(&folder, &mut publishers, &mut present, life == KILLS, &mut dice);
    }
    present.check(&publishers);
    // That last broker was killed when nothing was under way.
    let broker = start(&folder);
    let mut client = Client::resume(broker.address("mqtt"), &lasting(absent.name));
    let totals = publishers.iter().map(|publisher| (publisher.name.clone(), publisher.next)).collect();
    absent.live(&mut client, Some(&totals), false, &mut dice);
    absent.check(&publishers);
}

#[test]
fn what_was_acknowledged_at_qos_1_survives_kills_in_order() {
    survives_kills(QoS::AtLeastOnce);
}

#[test]
fn what_was_sent_at_qos_2_arrives_exactly_once_over_kills() {
    survives_kills(QoS::ExactlyOnce);
}
