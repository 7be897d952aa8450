//! One node on a disk that crashes on demand, and what it said.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_codec::{QoS, SubscriptionOptions};
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_raft::NodeId;
use fulmar_store::{
    Answer, Ask, Asked, Claim, ClientId, Delivery, Epoch, Message, Node, Number, OwnedSession, Owner, Published,
    Recipients, ShardId, Subscription, Takeover, Ticket, Told, Version,
};

use crate::{Engine, Letter, MetaEvent, Out, Settings};

pub(crate) const NODE: u64 = 0xab;

pub(crate) fn settings(seed: u64) -> Settings {
    let clock = Instant::now;
    Settings { shards: NonZeroU16::new(4).unwrap(), clock, ..Settings::new(NODE, PathBuf::from("/data"), seed) }
}

/// What an engine said, in its order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Told(Node, u16, Told),
    Interest(ShardId, Option<String>, String, bool),
    Retained(String, Option<Message>, Version),
    Sent(NodeId, Letter),
    Meta(MetaEvent),
}

#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Vec<Said>);

impl Out for Heard {
    fn tell(&mut self, to: Node, thread: u16, told: Told) {
        self.0.push(Said::Told(to, thread, told));
    }

    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool) {
        self.0.push(Said::Interest(shard, share.map(str::to_owned), filter.to_owned(), begins));
    }

    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version) {
        self.0.push(Said::Retained(topic.to_owned(), message.cloned(), version));
    }

    fn send(&mut self, to: NodeId, letter: Letter) {
        self.0.push(Said::Sent(to, letter));
    }

    fn meta(&mut self, event: MetaEvent) {
        self.0.push(Said::Meta(event));
    }
}

/// A node that is alone.
pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) engine: Engine<SimulatedDisk>,
    pub(crate) settings: Settings,
    pub(crate) now: Instant,
    pub(crate) time: u64,
    pub(crate) heard: Heard,
    pub(crate) asked: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(settings(1))
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let disk = SimulatedDisk::new(settings.seed);
        let (now, time, mut heard) = (Instant::now(), 1_000_000, Heard::default());
        let engine = Engine::open(disk.clone(), settings.clone(), now, time, &mut heard).expect("it opens");
        Self { disk, engine, settings, now, time, heard, asked: 0 }
    }

    /// What was said since this was asked last.
    pub(crate) fn said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.heard.0)
    }

    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.time += u64::try_from(duration.as_millis()).unwrap();
    }

    /// Turns until there is nothing more to be done at once.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1000 {
            let next = self.engine.turn(self.now, self.time, &mut self.heard).expect("the engine works");
            if next.is_none_or(|next| next > self.now) {
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    /// Asks without a turn. Returns the number of the question.
    pub(crate) fn ask_only(&mut self, ask: Ask) -> u64 {
        self.asked += 1;
        let ticket = Ticket { thread: 0, number: self.asked };
        self.engine.ask(Asked { origin: self.engine.node(), ticket, number: None, ask });
        self.asked
    }

    /// Asks, and gives the answer. What else was said stays to be looked at.
    pub(crate) fn ask(&mut self, ask: Ask) -> Answer {
        let number = self.ask_only(ask);
        self.settle();
        self.answer_to(number).expect("a question is answered in its turn")
    }

    /// Takes the answer out of what was said.
    pub(crate) fn answer_to(&mut self, number: u64) -> Option<Answer> {
        let is_it = |said: &Said| matches!(said, Said::Told(.., Told::Answer { number: it, .. }) if *it == number);
        let at = self.heard.0.iter().position(is_it)?;
        match self.heard.0.remove(at) {
            Said::Told(.., Told::Answer { answer, .. }) => Some(answer),
            other => panic!("{other:?} is no answer"),
        }
    }

    /// Takes a message of a shared subscription out of what was said for which nobody of the store is left.
    pub(crate) fn take_orphan(&mut self) -> Option<(ShardId, Number, Arc<str>, Message)> {
        let at = self.heard.0.iter().position(|said| matches!(said, Said::Told(.., Told::Orphan { .. })))?;
        match self.heard.0.remove(at) {
            Said::Told(.., Told::Orphan { shard, number, share, message }) => Some((shard, number, share, message)),
            other => panic!("{other:?} is no message"),
        }
    }

    pub(crate) fn claim(&mut self, client: &str, slot: u32) -> OwnedSession {
        match self.ask(claim(client, slot)) {
            Answer::Claimed(session) => *session,
            other => panic!("the claim was answered with {other:?}"),
        }
    }

    /// The machine stops, and starts again with what its disk has kept.
    pub(crate) fn crash(&mut self, keeps: CrashKeeps) {
        self.disk.crash(keeps);
        self.restart();
    }

    pub(crate) fn restart(&mut self) {
        self.heard = Heard::default();
        self.engine = Engine::open(self.disk.clone(), self.settings.clone(), self.now, self.time, &mut self.heard)
            .expect("it opens");
    }

    /// Deliveries to a place among what was said, which go.
    pub(crate) fn delivered(&mut self, slot: u32) -> Vec<Delivery> {
        let mut all = Vec::new();
        self.heard.0.retain(|said| match said {
            Said::Told(.., Told::Deliver { owner, deliveries, .. }) if owner.slot == slot => {
                all.extend(deliveries.iter().cloned());
                false
            }
            _ => true,
        });
        all
    }
}

pub(crate) fn owner(slot: u32) -> Owner {
    Owner { thread: 0, slot, generation: 0 }
}

pub(crate) fn claim(client: &str, slot: u32) -> Ask {
    let claim = Claim {
        client: client.into(),
        user: None,
        takeover: Takeover::default(),
        node: fulmar_store::Node { id: 0, incarnation: 0 },
        nonce: 0,
        clean: false,
        expiry_seconds: 3600,
        receive_maximum: NonZeroU16::new(10).unwrap(),
        will: None,
    };
    Ask::Claim { owner: owner(slot), claim }
}

pub(crate) fn subscription(qos: QoS, id: u32) -> Subscription {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Subscription { options, id: NonZeroU32::new(id) }
}

pub(crate) fn subscribe(client: &str, epoch: Epoch, filter: &str, qos: QoS) -> Ask {
    let subscriptions = vec![(filter.into(), subscription(qos, 0))];
    Ask::Subscribe { client: client.into(), epoch, subscriptions }
}

pub(crate) fn message(topic: &str, payload: &str) -> Message {
    message_of(QoS::AtLeastOnce, topic, payload)
}

pub(crate) fn message_of(qos: QoS, topic: &str, payload: &str) -> Message {
    Message::new(topic, qos, &[], payload.as_bytes())
}

pub(crate) fn publish(shard: ShardId, message: Message) -> Ask {
    let to = Recipients::Matching { publisher: None };
    Ask::Publish { shard, published: Published { message, retain: None, to } }
}

/// The shard of a client in [`settings`].
pub(crate) fn shard_of(client: &str) -> ShardId {
    ShardId::of(client, NonZeroU16::new(4).unwrap())
}

pub(crate) fn client(name: &str) -> ClientId {
    name.into()
}

/// What clients see of deliveries.
pub(crate) fn payloads(deliveries: &[Delivery]) -> Vec<String> {
    let shown = |it: &Delivery| {
        it.message
            .as_ref()
            .map_or("PUBREL".to_owned(), |it| String::from_utf8(it.payload().to_vec()).expect("tests send text"))
    };
    deliveries.iter().map(shown).collect()
}
