//! Traffic that checks itself: publishers that number their messages and send again what was not acknowledged, and
//! subscribers that keep what a client must keep. What happens to brokers meanwhile is up to the test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use fulmar_codec::{AckKind, PacketId, PublishHead, QoS, ReasonCode};

use super::{Client, Got};

/// Messages of a publisher that wait for their acknowledgements.
const WINDOW: usize = 32;

/// One that sends numbers to a topic of its own, and sends again what was not acknowledged when its broker died.
pub struct Publisher {
    pub name: String,
    qos: QoS,
    pub next: u32,
    /// In the order of their sending, with whether PUBREC has come.
    pending: VecDeque<(u32, bool)>,
    /// What was sent more than once.
    repeated: BTreeSet<u32>,
    /// As `next`, for others to look at: never behind what was sent.
    sent: Arc<AtomicU32>,
}

/// One with a durable session, which keeps what a client must keep for QoS 2.
pub struct Subscriber {
    pub name: &'static str,
    /// Packet identifiers between PUBREC and PUBREL (MQTT 5.0, 4.3.3).
    received: BTreeSet<u16>,
    /// For each topic the numbers in the order of their coming, with whether they may have come before.
    seen: BTreeMap<String, Vec<(u32, bool)>>,
    /// Of each topic the greatest number.
    last: BTreeMap<String, u32>,
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
        Publisher { name, qos, next: 0, pending: VecDeque::new(), repeated: BTreeSet::new(), sent: Arc::default() }
    }

    /// What the next message will be at least, for those who look on from another thread.
    #[allow(dead_code, reason = "for the tests of faults")]
    pub fn sent(&self) -> Arc<AtomicU32> {
        self.sent.clone()
    }

    /// Whether a message was sent more than once, as its first acknowledgement did not come.
    pub fn has_repeated(&self, number: u32) -> bool {
        self.repeated.contains(&number)
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
                let number = self.next;
                self.next += 1;
                self.sent.store(self.next, Ordering::SeqCst);
                self.send(client, number, false);
                self.pending.push_back((number, false));
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
        Subscriber { name, received: BTreeSet::new(), seen: BTreeMap::new(), last: BTreeMap::new() }
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
                    let number: u32 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                    let kind = if qos == 1 { AckKind::PubAck } else { AckKind::PubRec };
                    if qos == 1 || self.received.insert(packet_id) {
                        let last = self.last.entry(topic.clone()).or_default();
                        *last = number.max(*last);
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
                got => panic!("{} got {got:?}, has seen up to {:?}", self.name, self.last),
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
        totals.iter().all(|(topic, total)| self.last.get(topic) == Some(&(total - 1)))
    }

    pub fn has_all(&self, totals: &BTreeMap<String, u32>) -> bool {
        self.received.is_empty() && self.has_seen(totals)
    }

    /// How often something came to a topic.
    #[allow(dead_code, reason = "for the tests of faults")]
    pub fn count(&self, topic: &str) -> usize {
        self.seen.get(topic).map_or(0, Vec::len)
    }

    /// Every message of every publisher came in the order of its sending. At QoS 1 one may come again after that, if it
    /// says so or if its publisher has sent it again; at QoS 2 none does.
    pub fn check(&self, publishers: &[Publisher]) {
        for publisher in publishers {
            let Publisher { name, qos, next: total, .. } = publisher;
            let mut next = 0;
            for &(number, dup) in self.seen.get(name).into_iter().flatten() {
                if number == next {
                    next += 1;
                    continue;
                }
                let context = format!("{} of {name} after {next} of them came to {}", number, self.name);
                assert!(number < next, "too early: {context}");
                assert!(*qos == QoS::AtLeastOnce && (dup || publisher.has_repeated(number)), "twice: {context}");
            }
            assert_eq!(next, *total, "{name} to {}", self.name);
        }
    }
}
