//! The engine, its disk, and what data threads do between it and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use fulmar_codec::{PacketId, QoS, filter_matches};
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_store::{
    Ack, Answer, Ask, Epoch, ItemReply, Published, Recipients, Reply, RetainReply, Sequence, ShardId, Ticket, Told,
    Version, Will, WillFate,
};

use super::Violation;
use super::client::{Client, Outgoing, Progress, Subscribed};
use crate::random::Random;
use crate::settings::Sabotage;
use crate::tests::fixture::{self, Heard, Said, claim, message_of, owner};
use crate::{Engine, Settings};

const CLIENTS: usize = 4;

/// A question that is open.
#[derive(Debug)]
enum Question {
    Claim(usize),
    Subscribe(usize, String, QoS),
    Unsubscribe(usize, String),
    Publish(usize, u64),
    Receive(usize, u64),
    Release(usize, u64),
    Acknowledge(usize, Epoch, Vec<(Sequence, Ack)>),
    Disconnect,
    WillDone(u64),
    Retain(String, u64),
}

pub(super) struct World {
    random: Random,
    settings: Settings,
    disk: SimulatedDisk,
    engine: Option<Engine<SimulatedDisk>>,
    now: Instant,
    time: u64,
    heard: Heard,
    pub(super) steps: u64,
    /// A sync will fail.
    is_armed: bool,
    is_calm: bool,
    clients: Vec<Client>,
    questions: BTreeMap<u64, Question>,
    last_question: u64,
    last_slot: u32,
    /// That of the last message of anybody.
    last_message: u64,
    interest: BTreeSet<(ShardId, String)>,
    /// The retained message of each topic as it was told, and the last one that was answered.
    retained: BTreeMap<String, u64>,
    retained_surely: BTreeMap<String, u64>,
    last_version: u64,
    /// Wills that are published: by their message, who must get them.
    wills: BTreeMap<u64, BTreeSet<usize>>,
}

fn below(random: &mut Random, end: u64) -> u64 {
    random.next() % end
}

fn pick<T: Clone>(random: &mut Random, all: &[T]) -> T {
    all[usize::try_from(below(random, all.len() as u64)).expect("short")].clone()
}

fn settings(seed: u64, sabotage: Option<Sabotage>, random: &mut Random) -> Settings {
    let mut settings = fixture::settings(seed);
    settings.shards = NonZeroU16::new(pick(random, &[1, 2, 3])).expect("not 0");
    settings.entry_bytes_max = pick(random, &[1, 300, 262_144]);
    settings.entry_targets_max = pick(random, &[1, 2, 4096]);
    settings.unacknowledged_bytes_max = pick(random, &[1, 30, 1 << 20]);
    settings.snapshot_log_bytes = pick(random, &[1000, 5000, 1 << 30]);
    settings.log_bytes_max = pick(random, &[3000, 20_000, 1 << 30]);
    settings.snapshot_portion_bytes = pick(random, &[100, 1000, 1 << 20]);
    settings.log.segment_bytes = pick(random, &[500, 4000, 1 << 20]);
    settings.raft.uncommitted_entries_max = pick(random, &[1, 3, 1000]);
    settings.raft.cache_entries_max = pick(random, &[0, 3, 1000]);
    settings.store.portion = pick(random, &[1, 5, 1000]);
    settings.sabotage = sabotage;
    settings
}

impl World {
    pub(super) fn new(seed: u64, sabotage: Option<Sabotage>) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        let settings = settings(seed, sabotage, &mut random);
        let clients = (0..CLIENTS).map(|it| Client::new(format!("c{it}"))).collect();
        let mut world = Self {
            disk: SimulatedDisk::new(seed),
            settings,
            engine: None,
            now: Instant::now(),
            time: 1_000_000,
            heard: Heard::default(),
            steps: 50 + below(&mut random, 250),
            random,
            is_armed: false,
            is_calm: false,
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
        };
        world.open()?;
        Ok(world)
    }

    fn one_in(&mut self, count: u64) -> bool {
        below(&mut self.random, count) == 0
    }

    /// One of the clients does something, or something breaks; the engine has its turn, or not yet.
    pub(super) fn step(&mut self) -> Result<(), Violation> {
        let client = pick(&mut self.random, &[0, 1, 2, 3]);
        match below(&mut self.random, 100) {
            0..25 => self.publish(client),
            25..35 => self.subscribe(client),
            35..37 => self.unsubscribe(client),
            37..50 => self.connect(client),
            50..54 => self.leave(client),
            54..75 => self.acknowledge(client),
            75..80 => self.retain(),
            80..90 => self.go_on(client),
            90..93 => self.pass(),
            93..95 => self.arm(),
            95..97 => {
                let room = below(&mut self.random, 3000);
                self.disk.set_capacity(Some(self.disk.used() + room));
            }
            97..98 => return self.stop(None),
            _ => return self.crash(),
        }
        if self.one_in(2) { self.turn() } else { Ok(()) }
    }

    /// Nothing breaks any more: everything must come where it is to come.
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        self.is_calm = true;
        self.crash()?;
        let mut quiet = 0;
        for _ in 0..2000 {
            for client in 0..CLIENTS {
                let is_away = self.clients[client].connection.is_none() && self.clients[client].claiming.is_none();
                if is_away {
                    self.connect(client);
                }
                self.go_on(client);
                self.acknowledge(client);
            }
            let asked = !self.questions.is_empty();
            self.now += Duration::from_secs(1);
            self.time += 1000;
            self.turn()?;
            quiet = if asked || !self.heard.0.is_empty() { 0 } else { quiet + 1 };
            if quiet > 3 {
                return self.check();
            }
        }
        Err(format!("clients never come to rest: {:?}", self.questions))
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
        for (topic, clock) in &self.retained_surely {
            if self.retained.get(topic).is_none_or(|found| found < clock) {
                return Err(format!("{topic} has retained {:?}, but {clock} was answered", self.retained.get(topic)));
            }
        }
        for (will, wanted_by) in &self.wills {
            if let Some(client) = wanted_by.iter().find(|it| !self.clients[**it].came.contains_key(&(*will, true))) {
                return Err(format!("{} never got the will {will}", self.clients[*client].name));
            }
        }
        Ok(())
    }

    fn ask(&mut self, ask: Ask, question: Question) -> u64 {
        self.last_question += 1;
        let number = self.last_question;
        if let Some(engine) = &mut self.engine {
            engine.ask(Ticket { thread: 0, number }, ask);
            self.questions.insert(number, question);
        }
        number
    }

    fn connect(&mut self, at: usize) {
        if self.clients[at].claiming.is_some() {
            return;
        }
        self.last_slot += 1;
        let slot = self.last_slot;
        let is_clean = !self.is_calm && self.one_in(12);
        let Ask::Claim { mut claim, .. } = claim(&self.clients[at].name, slot) else { unreachable!("a claim is one") };
        claim.clean = is_clean;
        claim.expiry_seconds = u32::MAX;
        claim.receive_maximum = NonZeroU16::new(pick(&mut self.random, &[1, 3, 20])).expect("not 0");
        if !self.is_calm && self.one_in(2) {
            self.last_message += 1;
            let message =
                message_of(QoS::ExactlyOnce, &format!("will/{}", self.last_message), &self.last_message.to_string());
            let delay_seconds = pick(&mut self.random, &[0, 5]);
            claim.will = Some(Will { message, delay_seconds });
        }
        let client = &mut self.clients[at];
        client.claiming = Some((slot, is_clean));
        if is_clean {
            self.expect_nothing(at);
        }
        self.ask(Ask::Claim { owner: owner(slot), claim }, Question::Claim(at));
    }

    /// The client's epoch, if it is connected.
    fn epoch(&self, at: usize) -> Option<Epoch> {
        self.clients[at].connection.as_ref().map(|connection| connection.epoch)
    }

    fn subscribe(&mut self, at: usize) {
        let Some(epoch) = self.epoch(at) else { return };
        let filter = pick(&mut self.random, &["#", "p/+", "p/0", "p/1", "will/#"]).to_owned();
        let qos = pick(&mut self.random, &[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]);
        let client = &self.clients[at];
        let ask = fixture::subscribe(&client.name, epoch, &filter, qos);
        let number = self.ask(ask, Question::Subscribe(at, filter.clone(), qos));
        self.clients[at].subscriptions.insert(filter, Subscribed::Perhaps(number));
    }

    fn unsubscribe(&mut self, at: usize) {
        let Some(epoch) = self.epoch(at) else { return };
        let client = &self.clients[at];
        let Some(filter) = client.subscriptions.keys().next().cloned() else { return };
        let ask = Ask::Unsubscribe { client: fixture::client(&client.name), epoch, filters: vec![(&*filter).into()] };
        self.expect_nothing(at);
        let number = self.ask(ask, Question::Unsubscribe(at, filter.clone()));
        self.clients[at].subscriptions.insert(filter, Subscribed::Perhaps(number));
    }

    /// What is on its way to a client need not come any more.
    fn expect_nothing(&mut self, at: usize) {
        self.clients[at].awaited.clear();
        let outgoing = self.clients.iter_mut().flat_map(|client| &mut client.outgoing);
        let all = outgoing.map(|it| &mut it.wanted_by).chain(self.wills.values_mut());
        all.for_each(|wanted_by| {
            wanted_by.remove(&at);
        });
    }

    fn leave(&mut self, at: usize) {
        let Some(epoch) = self.epoch(at) else { return };
        let client = &mut self.clients[at];
        client.connection = None;
        let will = pick(&mut self.random, &[WillFate::Keep, WillFate::Delete, WillFate::Fire]);
        let ask = Ask::Disconnect { client: fixture::client(&client.name), epoch, expiry_seconds: None, will };
        self.ask(ask, Question::Disconnect);
        let client = &mut self.clients[at];
        // What the connection had asked for is asked again by the next one.
        for outgoing in &mut client.outgoing {
            if outgoing.progress == Progress::Releasing {
                outgoing.progress = Progress::ToRelease;
            }
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let all = self.is_calm || self.one_in(2);
        let client = &mut self.clients[at];
        let Some(connection) = &mut client.connection else { return };
        let count = if all { connection.acks.len() } else { connection.acks.len().min(1) };
        let acks: Vec<_> = connection.acks.drain(..count).collect();
        if acks.is_empty() {
            return;
        }
        let epoch = connection.epoch;
        let ask = Ask::Acknowledge { client: fixture::client(&client.name), epoch, acks: acks.clone() };
        self.ask(ask, Question::Acknowledge(at, epoch, acks));
    }

    /// A new message, behind those that wait.
    fn publish(&mut self, at: usize) {
        self.last_message += 1;
        let number = self.last_message;
        let qos = pick(&mut self.random, &[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let wanted_by = self.subscribers(&format!("p/{at}"));
        self.clients[at].outgoing.push_back(Outgoing { number, qos, progress: Progress::ToAsk, wanted_by });
        self.go_on(at);
    }

    /// Who has surely subscribed to a topic.
    fn subscribers(&self, topic: &str) -> BTreeSet<usize> {
        let wants = |at: &usize| {
            let client = &self.clients[*at];
            let is_sure = !client.is_unsure && client.claiming.is_none_or(|(_, is_clean)| !is_clean);
            let mut matching = client.subscriptions.iter().filter(|(filter, _)| filter_matches(filter, topic));
            is_sure && matching.any(|(_, state)| matches!(state, Subscribed::Surely(_)))
        };
        (0..CLIENTS).filter(wants).collect()
    }

    fn interested(&self, topic: &str) -> Vec<ShardId> {
        let shards: BTreeSet<ShardId> =
            self.interest.iter().filter(|(_, filter)| filter_matches(filter, topic)).map(|(shard, _)| *shard).collect();
        shards.into_iter().collect()
    }

    /// Sends what the client has to send, in its order.
    fn go_on(&mut self, at: usize) {
        for next in 0..self.clients[at].outgoing.len() {
            let Outgoing { number, qos, progress, .. } = &self.clients[at].outgoing[next];
            let (number, qos, topic) = (*number, *qos, format!("p/{at}"));
            let progress = match (progress, qos, self.epoch(at)) {
                (Progress::ToAsk, QoS::ExactlyOnce, Some(epoch)) => self.ask_to_receive(at, epoch, number, &topic),
                (Progress::ToRelease, _, Some(epoch)) => {
                    let (client, packet_id) = (fixture::client(&self.clients[at].name), packet_id(number));
                    self.ask(Ask::Release { client, epoch, packet_id }, Question::Release(at, number));
                    Progress::Releasing
                }
                (Progress::ToAsk, QoS::AtLeastOnce, _) => {
                    let shards = self.interested(&topic);
                    if shards.is_empty() {
                        self.published(at, number);
                        return self.go_on(at);
                    }
                    let message = message_of(qos, &topic, &number.to_string());
                    let missing = shards
                        .into_iter()
                        .map(|shard| self.ask(fixture::publish(shard, message.clone()), Question::Publish(at, number)));
                    Progress::Asked { missing: missing.collect(), failed: false }
                }
                (other, _, _) => other.clone(),
            };
            self.clients[at].outgoing[next].progress = progress;
        }
    }

    fn ask_to_receive(&mut self, at: usize, epoch: Epoch, number: u64, topic: &str) -> Progress {
        let message = message_of(QoS::ExactlyOnce, topic, &number.to_string());
        let client = fixture::client(&self.clients[at].name);
        let to = Recipients::Matching { publisher: Some(client.clone()) };
        let (published, shards) = (Published { message, retain: None, to }, self.interested(topic));
        let packet_id = packet_id(number);
        let ask = Ask::ReceiveQos2 { client, epoch, packet_id, published, shards };
        let missing = BTreeSet::from([self.ask(ask, Question::Receive(at, number))]);
        Progress::Asked { missing, failed: false }
    }

    /// A message was acknowledged to its publisher.
    fn published(&mut self, at: usize, number: u64) {
        let outgoing = &mut self.clients[at].outgoing;
        let Some(place) = outgoing.iter().position(|it| it.number == number) else { return };
        let wanted_by = std::mem::take(&mut outgoing[place].wanted_by);
        if outgoing[place].qos == QoS::AtLeastOnce {
            outgoing.remove(place);
        } else {
            outgoing[place].progress = Progress::ToRelease;
        }
        self.await_message(number, wanted_by);
    }

    fn await_message(&mut self, number: u64, wanted_by: BTreeSet<usize>) {
        for subscriber in wanted_by {
            let client = &mut self.clients[subscriber];
            let is_sure = !client.is_unsure && client.claiming.is_none_or(|(_, is_clean)| !is_clean);
            let came = client.came.keys().any(|(it, _)| *it == number);
            if is_sure && !came {
                client.awaited.insert(number);
            }
        }
    }

    fn retain(&mut self) {
        let topic = pick(&mut self.random, &["r/0", "r/1", "r/2"]).to_owned();
        self.last_version += 1;
        let version = self.last_version;
        let message = message_of(QoS::AtLeastOnce, &topic, &format!("0.{version}")).with_retain(true);
        let retain = Some(Version { clock: version, node: fixture::NODE });
        let published = Published { message, retain, to: Recipients::Nobody };
        let shard = ShardId::of(&topic, self.settings.shards);
        self.ask(Ask::Publish { shard, published }, Question::Retain(topic, version));
    }

    fn pass(&mut self) {
        let duration = Duration::from_millis(pick(&mut self.random, &[1, 600, 6000]));
        self.now += duration;
        self.time += u64::try_from(duration.as_millis()).expect("short");
        self.disk.set_capacity(None);
    }

    /// A sync will fail.
    fn arm(&mut self) {
        let count = 1 + below(&mut self.random, 8);
        self.disk.fail_sync(count);
        self.is_armed = true;
    }

    fn crash(&mut self) -> Result<(), Violation> {
        let keeps = pick(&mut self.random, &[CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors]);
        self.stop(Some(keeps))
    }

    /// The process is killed, or the machine loses its power, and comes back.
    fn stop(&mut self, keeps: Option<CrashKeeps>) -> Result<(), Violation> {
        self.engine = None;
        if let Some(keeps) = keeps {
            self.disk.crash(keeps);
            self.is_armed = false;
        }
        self.clients.iter_mut().for_each(Client::lost_node);
        self.questions.clear();
        self.disk.set_capacity(None);
        self.open()
    }

    fn open(&mut self) -> Result<(), Violation> {
        (self.interest, self.retained) = (BTreeSet::new(), BTreeMap::new());
        self.heard = Heard::default();
        if !self.is_calm && self.one_in(10) {
            self.arm();
        }
        match Engine::open(self.disk.clone(), self.settings.clone(), self.now, self.time, &mut self.heard) {
            Ok(engine) => {
                self.engine = Some(engine);
                self.listen()
            }
            Err(_) if self.is_armed => self.crash(),
            Err(error) => Err(format!("it does not open: {error} {error:?}")),
        }
    }

    fn turn(&mut self) -> Result<(), Violation> {
        for _ in 0..200 {
            let Some(engine) = &mut self.engine else { return Ok(()) };
            let turn = engine.turn(self.now, self.time, &mut self.heard);
            self.listen()?;
            match turn {
                Ok(next) if next == Some(self.now) => {}
                Ok(_) => return Ok(()),
                Err(_) if self.is_armed => return self.crash(),
                Err(failed) => return Err(format!("it fails: {failed}")),
            }
        }
        Err("a turn never ends".to_owned())
    }

    /// Does what data threads do with what they are told.
    fn listen(&mut self) -> Result<(), Violation> {
        for said in std::mem::take(&mut self.heard.0) {
            match said {
                Said::Interest(shard, share, filter, begins) => {
                    let key = (shard, filter);
                    let is_news = if begins { self.interest.insert(key.clone()) } else { self.interest.remove(&key) };
                    if !is_news || share.is_some() {
                        return Err(format!("interest in {key:?} is told twice: begins {begins}"));
                    }
                }
                Said::Retained(topic, _, version) => {
                    let before = self.retained.insert(topic.clone(), version.clock);
                    if before.is_some_and(|before| before >= version.clock) {
                        return Err(format!("{topic} has retained {} after {before:?}", version.clock));
                    }
                }
                Said::Told(_, told) => self.hear(told)?,
                Said::Sent(..) => return Err("nobody else is there".to_owned()),
            }
        }
        Ok(())
    }

    fn hear(&mut self, told: Told) -> Result<(), Violation> {
        let owns = |client: &&mut Client, slot: u32, epoch: Epoch| {
            client.connection.as_ref().is_some_and(|it| (it.slot, it.epoch) == (slot, epoch))
        };
        match told {
            Told::Answer { number, answer } => {
                let question = self.questions.remove(&number);
                self.answered(number, question.ok_or_else(|| format!("{number} is answered twice"))?, answer)
            }
            Told::Deliver { owner, epoch, deliveries } => {
                let client = self.clients.iter_mut().find(|client| owns(client, owner.slot, epoch));
                client.ok_or_else(|| format!("{owner:?} has no client in epoch {epoch}"))?.receive(&deliveries)
            }
            Told::TakenOver { owner, epoch } => {
                let client = self.clients.iter_mut().find(|client| owns(client, owner.slot, epoch));
                // One that has just left may be told, too.
                if let Some(client) = client {
                    client.connection = None;
                }
                Ok(())
            }
            Told::Will { shard, id, pending } => {
                let topic = pending.will.message.topic();
                let wanted_by = self.subscribers(topic);
                let number = topic.trim_start_matches("will/").parse().expect("wills have numbers");
                self.wills.insert(number, wanted_by);
                let shards = self.interested(topic);
                self.ask(Ask::WillDone { shard, will: id, retain: None, shards }, Question::WillDone(number));
                Ok(())
            }
            Told::Ended { .. } => Err("nobody ended a session".to_owned()),
        }
    }

    fn answered(&mut self, number: u64, question: Question, answer: Answer) -> Result<(), Violation> {
        match (question, answer) {
            (Question::Claim(at), Answer::Claimed(session)) => self.clients[at].claimed(&session),
            (Question::Claim(at), _) => {
                self.clients[at].is_unsure |= self.clients[at].claiming.is_some_and(|(_, is_clean)| is_clean);
                self.clients[at].claiming = None;
                Ok(())
            }
            (Question::Subscribe(at, filter, qos), Answer::Reply(Reply::Subscribed(_))) => {
                let state = self.clients[at].subscriptions.get_mut(&filter);
                if let Some(state) = state.filter(|state| **state == Subscribed::Perhaps(number)) {
                    *state = Subscribed::Surely(qos);
                }
                Ok(())
            }
            (Question::Unsubscribe(at, filter), Answer::Reply(Reply::Unsubscribed(_))) => {
                let subscriptions = &mut self.clients[at].subscriptions;
                if subscriptions.get(&filter) == Some(&Subscribed::Perhaps(number)) {
                    subscriptions.remove(&filter);
                }
                Ok(())
            }
            (Question::Publish(at, message), answer) => self.publish_answered(at, message, number, &answer),
            (Question::Receive(at, message), Answer::Reply(Reply::Routed(_) | Reply::Duplicate)) => {
                self.published(at, message);
                Ok(())
            }
            (Question::Receive(at, message), _) => {
                self.set_progress(at, message, Progress::ToAsk);
                Ok(())
            }
            (Question::Release(at, message), Answer::Reply(Reply::Released(_))) => {
                self.clients[at].outgoing.retain(|it| it.number != message);
                Ok(())
            }
            (Question::Release(at, message), _) => {
                self.set_progress(at, message, Progress::ToRelease);
                Ok(())
            }
            (Question::Acknowledge(at, epoch, acks), Answer::Reply(reply)) => {
                self.clients[at].acknowledged(epoch, &acks, &reply)
            }
            (Question::Acknowledge(at, epoch, mut acks), _) => {
                if let Some(connection) = self.clients[at].connection.as_mut().filter(|it| it.epoch == epoch) {
                    acks.append(&mut connection.acks);
                    connection.acks = acks;
                }
                Ok(())
            }
            (Question::Retain(topic, version), Answer::Reply(Reply::Published { items, .. })) => match &items[..] {
                [ItemReply::Stored(stored)] if stored.retained == Some(RetainReply::Applied) => {
                    self.retained_surely.insert(topic, version);
                    Ok(())
                }
                other => Err(format!("{topic} version {version} is answered {other:?}")),
            },
            (Question::WillDone(number), Answer::Reply(Reply::Routed(_))) => {
                let wanted_by = self.wills.remove(&number).unwrap_or_default();
                self.await_message(number, wanted_by);
                Ok(())
            }
            // Refused as the session has another owner, or nobody knows.
            _ => Ok(()),
        }
    }

    fn publish_answered(&mut self, at: usize, message: u64, question: u64, answer: &Answer) -> Result<(), Violation> {
        let Some(outgoing) = self.clients[at].outgoing.iter_mut().find(|it| it.number == message) else {
            return Ok(());
        };
        let Progress::Asked { missing, failed } = &mut outgoing.progress else { return Ok(()) };
        missing.remove(&question);
        match answer {
            Answer::Reply(Reply::Published { items, .. }) => {
                if !matches!(items[..], [ItemReply::Stored(_)]) {
                    return Err(format!("message {message} is answered {items:?}"));
                }
            }
            _ => *failed = true,
        }
        if missing.is_empty() {
            match *failed {
                true => outgoing.progress = Progress::ToAsk,
                false => self.published(at, message),
            }
        }
        Ok(())
    }

    fn set_progress(&mut self, at: usize, message: u64, progress: Progress) {
        if let Some(outgoing) = self.clients[at].outgoing.iter_mut().find(|it| it.number == message) {
            outgoing.progress = progress;
        }
    }
}

fn packet_id(number: u64) -> PacketId {
    let id = u16::try_from(number % 60_000 + 1).expect("small");
    PacketId::new(id).expect("not 0")
}
