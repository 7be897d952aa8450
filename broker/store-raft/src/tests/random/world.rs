//! What data threads do between clients and engines, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use fulmar_codec::QoS;
use fulmar_store::{Ack, Ask, Epoch, Published, Recipients, Sequence, ShardId, Will, WillFate, WillId};

use super::Violation;
use super::client::{Client, Subscribed};
use super::nodes::{Event, Kind, Nodes, below, pick};
use crate::settings::Sabotage;
use crate::tests::fixture::{self, Said, claim, message_of, owner};

pub(super) const CLIENTS: usize = 4;
/// A shared subscription, and where its messages are published.
const SHARED: &str = "$share/g/s/+";
const SHARED_TOPICS: &str = "s/";

/// A question that is open.
#[derive(Debug)]
pub(super) enum Question {
    Claim(usize),
    Subscribe(usize, String, QoS),
    Unsubscribe(usize, String),
    Publish(usize, u64),
    Receive(usize, u64),
    Release(usize, u64),
    Acknowledge(usize, Epoch, Vec<(Sequence, Ack)>),
    Disconnect,
    End(usize),
    WillDone(DueWill),
    Adopt(ShardId, u64),
    Share(u64),
    Retain(String, u64),
}

/// A will of which the engine of a node told the data threads there, which publish it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DueWill {
    pub(super) node: usize,
    pub(super) shard: ShardId,
    pub(super) id: WillId,
    /// Of its message.
    pub(super) number: u64,
}

pub(super) struct World {
    pub(super) nodes: Nodes,
    /// Messages of shared subscriptions that no session of the store is for, and nobody was asked about.
    pub(super) orphans: Vec<(ShardId, u64)>,
    pub(super) steps: u64,
    pub(super) clients: Vec<Client>,
    /// By number, with the node that was asked.
    pub(super) questions: BTreeMap<u64, (usize, Question)>,
    last_question: u64,
    last_slot: u32,
    /// That of the last message of anybody.
    pub(super) last_message: u64,
    /// As each node told.
    pub(super) interest: BTreeSet<(usize, ShardId, String)>,
    /// The retained message of each topic as each node told it, and the last one that was answered.
    pub(super) retained: BTreeMap<(usize, String), u64>,
    pub(super) retained_surely: BTreeMap<String, u64>,
    pub(super) last_version: u64,
    /// Wills that are published: by their message, who must get them.
    pub(super) wills: BTreeMap<u64, BTreeSet<usize>>,
    /// Wills that nobody could be asked to publish.
    pub(super) put_off: Vec<DueWill>,
    /// Messages that must come to some member of the shared subscription.
    pub(super) shared: BTreeSet<u64>,
}

impl World {
    pub(super) fn new(seed: u64, kind: Kind, sabotage: Option<Sabotage>) -> Result<Self, Violation> {
        let mut nodes = Nodes::new(seed, kind, sabotage)?;
        let steps = 50 + below(&mut nodes.random, 250);
        let clients = (0..CLIENTS).map(|it| Client::new(format!("c{it}"))).collect();
        let mut world = Self {
            nodes,
            orphans: Vec::new(),
            steps,
            clients,
            questions: BTreeMap::new(),
            last_question: 0,
            last_slot: 0,
            last_message: 0,
            interest: BTreeSet::new(),
            retained: BTreeMap::new(),
            retained_surely: BTreeMap::new(),
            last_version: 0,
            wills: BTreeMap::new(),
            put_off: Vec::new(),
            shared: BTreeSet::new(),
        };
        world.listen()?;
        Ok(world)
    }

    /// Whether there is one node only, whose word about everything is the last one.
    pub(super) fn is_alone(&self) -> bool {
        self.nodes.count() == 1
    }

    /// One of the clients does something, or something breaks; the engines have their turns, or not yet.
    pub(super) fn step(&mut self) -> Result<(), Violation> {
        let client = pick(&mut self.nodes.random, &[0, 1, 2, 3]);
        let node = self.nodes.any();
        match below(&mut self.nodes.random, 100) {
            0..25 => self.publish(client),
            25..35 => self.subscribe(client),
            35..37 => self.unsubscribe(client),
            37..50 => self.connect(client),
            50..53 => self.leave(client),
            53..54 => self.end(client),
            54..75 => self.acknowledge(client),
            75..78 => self.retain(),
            79..80 if matches!(self.nodes.kind, Kind::Cluster(_)) => self.nodes.drain_some()?,
            78..80 => self.share(),
            80..88 => self.go_on(client),
            88..91 => {
                let duration = Duration::from_millis(pick(&mut self.nodes.random, &[1, 600, 6000]));
                self.nodes.pass(duration);
                self.nodes.make_room();
                self.nodes.cut(None)?;
            }
            91..93 => self.nodes.cut(Some(node))?,
            93..95 => self.nodes.arm(node),
            95..97 => self.nodes.fill(node),
            97..98 => self.nodes.stop(node, None)?,
            98..99 if matches!(self.nodes.kind, Kind::Cluster(_)) => self.nodes.lose_some(node)?,
            _ => self.nodes.crash(node)?,
        }
        if !self.is_alone() {
            let moment = Duration::from_millis(below(&mut self.nodes.random, 30));
            self.nodes.pass(moment);
            self.nodes.turn()?;
        } else if self.nodes.one_in(2) {
            self.nodes.turn()?;
        }
        self.listen()
    }

    /// Nothing breaks any more: everything must come where it is to come.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        self.nodes.is_calm = true;
        self.nodes.cut(None)?;
        for at in 0..self.nodes.count() {
            self.nodes.crash(at)?;
        }
        self.listen()?;
        let moment = Duration::from_millis(if self.is_alone() { 1000 } else { 5 });
        let quiet_enough = if self.is_alone() { 4 } else { 300 };
        let mut quiet = 0;
        for _ in 0..5000 {
            for client in 0..CLIENTS {
                if self.clients[client].connection.is_none() {
                    self.connect(client);
                }
                self.go_on(client);
                self.acknowledge(client);
            }
            self.nodes.pass(moment);
            self.nodes.turn()?;
            let is_told = self.nodes.events.iter().any(|event| matches!(event, Event::Said(_, Said::Told(..))));
            self.listen()?;
            let is_busy = |client: &Client| {
                !client.outgoing.is_empty() || client.connection.as_ref().is_none_or(|it| !it.acks.is_empty())
            };
            let is_quiet = !is_told
                && self.questions.is_empty()
                && !self.clients.iter().any(is_busy)
                && !self.nodes.is_anything_on_its_way();
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet >= quiet_enough {
                return self.converge();
            }
        }
        let nodes = self.nodes.describe();
        Err(format!("clients never come to rest: {:?} {:?}\n{nodes}", self.questions, self.clients))
    }

    /// The cluster becomes as it should be, and all of its nodes are the same.
    fn converge(&mut self) -> Result<(), Violation> {
        if self.is_alone() {
            return self.check();
        }
        let mut missing = String::new();
        for _ in 0..4000 {
            self.nodes.pass(Duration::from_millis(5));
            self.nodes.turn()?;
            self.listen()?;
            match self.nodes.converged() {
                Ok(()) => return self.check(),
                Err(why) => missing = why,
            }
        }
        Err(format!("the cluster never comes to rest: {missing}"))
    }

    fn check(&self) -> Result<(), Violation> {
        for client in &self.clients {
            if !client.awaited.is_empty() {
                return Err(format!("{} never got {:?}", client.name, client.awaited));
            }
            if !client.outgoing.is_empty() {
                return Err(format!("{} never had an answer to {:?}", client.name, client.outgoing));
            }
        }
        for node in 0..self.nodes.count() {
            let of = |node: usize| {
                self.interest.iter().filter(move |(at, ..)| *at == node).map(|(_, shard, it)| (shard, it))
            };
            if !of(node).eq(of(0)) {
                return Err(format!("nodes know different filters: {:?}", self.interest));
            }
            for (topic, clock) in &self.retained_surely {
                if !self.nodes.has_shard(node, ShardId::of(topic, self.nodes.shards)) {
                    continue;
                }
                let found = self.retained.get(&(node, topic.clone()));
                if found.is_none_or(|found| found < clock) {
                    return Err(format!("{topic} has retained {found:?} at node {node}, but {clock} was answered"));
                }
            }
        }
        let came = |number: &u64| self.clients.iter().any(|client| client.came.contains_key(&(*number, false)));
        if let Some(lost) = self.shared.iter().find(|number| !came(number)) {
            return Err(format!("no member of the shared subscription ever got {lost}"));
        }
        for (will, wanted_by) in &self.wills {
            if let Some(client) = wanted_by.iter().find(|it| !self.clients[**it].came.contains_key(&(*will, true))) {
                return Err(format!("{} never got the will {will}", self.clients[*client].name));
            }
        }
        Ok(())
    }

    /// Asks at some node that serves clients, if there is one.
    pub(super) fn ask(&mut self, ask: Ask, question: Question) -> Option<u64> {
        let node = self.some_node(&ask)?;
        self.ask_at(node, ask, question)
    }

    /// The same at the node where a client is connected.
    pub(super) fn ask_of(&mut self, at: usize, ask: Ask, question: Question) -> Option<u64> {
        let node = self.clients[at].connection.as_ref()?.node;
        let node = if self.is_alone() { self.some_node(&ask)? } else { node };
        self.ask_at(node, ask, question)
    }

    /// One that is alone must answer for the shard itself.
    fn some_node(&mut self, ask: &Ask) -> Option<usize> {
        match self.is_alone() {
            true => self.nodes.serving(ask.shard(self.nodes.shards)),
            false => self.active_node(),
        }
    }

    pub(super) fn active_node(&mut self) -> Option<usize> {
        let active: Vec<usize> = (0..self.nodes.count()).filter(|at| self.nodes.is_active(*at)).collect();
        (!active.is_empty()).then(|| pick(&mut self.nodes.random, &active))
    }

    pub(super) fn ask_at(&mut self, node: usize, ask: Ask, question: Question) -> Option<u64> {
        self.last_question += 1;
        self.questions.insert(self.last_question, (node, question));
        self.nodes.ask(node, self.last_question, ask);
        Some(self.last_question)
    }

    fn connect(&mut self, at: usize) {
        if self.clients[at].claiming.is_some() {
            return;
        }
        self.last_slot += 1;
        let slot = self.last_slot;
        let is_clean = !self.nodes.is_calm && self.nodes.one_in(12);
        let Ask::Claim { mut claim, .. } = claim(&self.clients[at].name, slot) else { unreachable!("a claim is one") };
        claim.clean = is_clean;
        claim.expiry_seconds = u32::MAX;
        claim.receive_maximum = NonZeroU16::new(pick(&mut self.nodes.random, &[1, 3, 20])).expect("not 0");
        if !self.nodes.is_calm && self.nodes.one_in(2) {
            self.last_message += 1;
            let message =
                message_of(QoS::ExactlyOnce, &format!("will/{}", self.last_message), &self.last_message.to_string());
            let delay_seconds = pick(&mut self.nodes.random, &[0, 5]);
            claim.will = Some(Will { message, delay_seconds });
        }
        if self.ask(Ask::Claim { owner: owner(slot), claim }, Question::Claim(at)).is_some() {
            self.clients[at].claiming = Some((slot, is_clean));
            if is_clean {
                self.expect_nothing(at);
            }
        }
    }

    /// The client's epoch, if it is connected.
    pub(super) fn epoch(&self, at: usize) -> Option<Epoch> {
        self.clients[at].connection.as_ref().map(|connection| connection.epoch)
    }

    fn subscribe(&mut self, at: usize) {
        let Some(epoch) = self.epoch(at) else { return };
        let filter = pick(&mut self.nodes.random, &["#", "p/+", "p/0", "p/1", "will/#", SHARED]).to_owned();
        let qos = pick(&mut self.nodes.random, &[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]);
        let client = &self.clients[at];
        let ask = fixture::subscribe(&client.name, epoch, &filter, qos);
        if self.is_changing(at) {
            return;
        }
        if let Some(number) = self.ask_of(at, ask, Question::Subscribe(at, filter.clone(), qos)) {
            self.clients[at].subscriptions.insert(filter, Subscribed::Perhaps(number));
        }
    }

    fn unsubscribe(&mut self, at: usize) {
        let Some(epoch) = self.epoch(at) else { return };
        let client = &self.clients[at];
        let Some(filter) = client.subscriptions.keys().next().cloned() else { return };
        let ask = Ask::Unsubscribe { client: fixture::client(&client.name), epoch, filters: vec![(&*filter).into()] };
        if self.is_changing(at) {
            return;
        }
        self.expect_nothing(at);
        if let Some(number) = self.ask_of(at, ask, Question::Unsubscribe(at, filter.clone())) {
            self.clients[at].subscriptions.insert(filter, Subscribed::Perhaps(number));
        }
    }

    /// Whether a client waits for what becomes of a subscription. What is asked of several nodes one after the other may
    /// be done in another order.
    fn is_changing(&self, at: usize) -> bool {
        let is_it = |(_, question): &(usize, Question)| match question {
            Question::Subscribe(client, ..) | Question::Unsubscribe(client, _) => *client == at,
            _ => false,
        };
        !self.is_alone() && self.questions.values().any(is_it)
    }

    /// What is on its way to a client need not come any more.
    fn expect_nothing(&mut self, at: usize) {
        self.clients[at].awaited.clear();
        let outgoing = self.clients.iter_mut().flat_map(|client| &mut client.outgoing);
        let all = outgoing.map(|it| &mut it.wanted_by).chain(self.wills.values_mut());
        all.for_each(|wanted_by| {
            wanted_by.remove(&at);
        });
        if (0..CLIENTS).filter(|other| *other != at).all(|other| !self.is_member(other)) {
            self.shared.clear();
        }
    }

    /// Whether a client surely has its turns in the shared subscription.
    pub(super) fn is_member(&self, at: usize) -> bool {
        let client = &self.clients[at];
        let is_sure = !client.is_unsure && client.claiming.is_none_or(|(_, is_clean)| !is_clean);
        is_sure && matches!(client.subscriptions.get(SHARED), Some(Subscribed::Surely(_)))
    }

    /// A message for a member of the shared subscription.
    fn share(&mut self) {
        let shards: Vec<ShardId> =
            self.interest.iter().filter(|(_, _, filter)| filter == SHARED).map(|(_, shard, _)| *shard).collect();
        if shards.is_empty() {
            return;
        }
        self.last_message += 1;
        let number = self.last_message;
        let message = message_of(QoS::AtLeastOnce, &format!("{SHARED_TOPICS}{number}"), &number.to_string());
        let to = Recipients::Group { group: "g".into(), filter: "s/+".into() };
        let shard = pick(&mut self.nodes.random, &shards);
        self.ask(Ask::Publish { shard, published: Published { message, retain: None, to } }, Question::Share(number));
    }

    /// The client's rights are withdrawn, and with them its session goes.
    fn end(&mut self, at: usize) {
        let Some(generation) = self.clients[at].generation else { return };
        let client = fixture::client(&self.clients[at].name);
        if self.ask(Ask::End { client, generation }, Question::End(at)).is_some() {
            self.clients[at].to_end.insert(generation);
            self.is_perhaps_ended(at);
        }
    }

    pub(super) fn is_perhaps_ended(&mut self, at: usize) {
        self.clients[at].is_unsure = true;
        self.expect_nothing(at);
    }

    fn leave(&mut self, at: usize) {
        let Some(epoch) = self.epoch(at) else { return };
        let will = pick(&mut self.nodes.random, &[WillFate::Keep, WillFate::Delete, WillFate::Fire]);
        let client = fixture::client(&self.clients[at].name);
        self.ask_of(at, Ask::Disconnect { client, epoch, expiry_seconds: None, will }, Question::Disconnect);
        self.clients[at].connection = None;
    }

    fn acknowledge(&mut self, at: usize) {
        let all = self.nodes.is_calm || self.nodes.one_in(2);
        let client = &mut self.clients[at];
        let Some(connection) = &mut client.connection else { return };
        let count = if all { connection.acks.len() } else { connection.acks.len().min(1) };
        let acks: Vec<_> = connection.acks.drain(..count).collect();
        if acks.is_empty() {
            return;
        }
        let epoch = connection.epoch;
        let ask = Ask::Acknowledge { client: fixture::client(&client.name), epoch, acks: acks.clone() };
        if self.ask_of(at, ask, Question::Acknowledge(at, epoch, acks.clone())).is_none() {
            self.acknowledge_again(at, epoch, acks);
        }
    }

    /// Nobody knows whether acknowledgements were kept.
    pub(super) fn acknowledge_again(&mut self, at: usize, epoch: Epoch, mut acks: Vec<(Sequence, Ack)>) {
        if let Some(connection) = self.clients[at].connection.as_mut().filter(|it| it.epoch == epoch) {
            acks.append(&mut connection.acks);
            connection.acks = acks;
        }
    }
}
