//! One node, or some with a network between them: their disks crash, their messages are lost, late, doubled and
//! overtaken, a node may be cut off from the others, and one of a cluster may lose its folder.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_raft::Term;
use fulmar_random::Random;
use fulmar_store::{Answer, Ask, Asked, Node as Life, Party, Refusal, Reply, ShardId, Ticket, Told};

use super::Violation;
use super::courier::{Courier, Sent};
use super::members::Members;
use super::view::Views;
use crate::replica::shard_of;
use crate::settings::Sabotage;
use crate::tests::fixture::{self, Heard, Said};
use crate::{Engine, Letter, Mode, Settings};

/// A number below `end`.
pub(super) fn below(random: &mut Random, end: u64) -> u64 {
    random.next() % end
}

pub(super) fn pick<T: Clone>(random: &mut Random, all: &[T]) -> T {
    all[usize::try_from(below(random, all.len() as u64)).expect("short")].clone()
}

/// Which nodes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Alone,
    /// All are voters of all shards, for ever.
    Fixed,
    /// So many are members of a cluster that begins with the first.
    Cluster(usize),
}

impl Kind {
    fn count(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Fixed => 3,
            Self::Cluster(count) => count,
        }
    }
}

pub(super) struct Node {
    pub(super) settings: Settings,
    pub(super) disk: SimulatedDisk,
    pub(super) engine: Option<Engine<SimulatedDisk>>,
    /// A sync will fail.
    is_armed: bool,
    /// When it is started again.
    starts_at: Option<Instant>,
    courier: Option<Courier>,
    /// Of which run of whose questions for a shard one was refused: the rest is passed over.
    refused: BTreeMap<(Life, ShardId), u64>,
}

/// What goes between couriers and leaders, in its order, until the link breaks.
enum Parcel {
    Ask(Sent),
    Told(Life, u16, Told),
}

/// A link in one direction.
#[derive(Default, Clone, Copy)]
struct Link {
    number: u64,
    last: Option<Instant>,
}

/// A message on its way.
struct Post {
    from: u64,
    to: u64,
    bytes: Vec<u8>,
}

/// What comes out of nodes.
#[derive(Debug)]
pub(super) enum Event {
    Said(usize, Said),
    /// The node has stopped and is there again.
    Stopped(usize),
    /// The node has a shard no longer, or begins anew with it.
    Left(usize, ShardId),
}

pub(super) struct Nodes {
    pub(super) random: Random,
    pub(super) kind: Kind,
    pub(super) nodes: Vec<Node>,
    /// What is played of the cluster's membership.
    pub(super) members: Members,
    pub(super) now: Instant,
    pub(super) time: u64,
    letters: BTreeMap<(Instant, u64), Post>,
    parcels: BTreeMap<(Instant, u64), (usize, usize, u64, Parcel)>,
    links: BTreeMap<(usize, usize), Link>,
    views: Views,
    last_letter: u64,
    /// Nobody hears it, and it hears nobody.
    cut_off: Option<usize>,
    /// Nothing breaks any more.
    pub(super) is_calm: bool,
    pub(super) shards: NonZeroU16,
    pub(super) events: VecDeque<Event>,
}

fn id_of(at: usize) -> u64 {
    fixture::NODE + at as u64
}

fn settings(seed: u64, kind: Kind, sabotage: Option<Sabotage>, random: &mut Random) -> Settings {
    let mut settings = fixture::settings(seed);
    settings.voters = (0..kind.count()).map(id_of).collect();
    settings.shards = NonZeroU16::new(pick(random, &[1, 2, 3])).expect("not 0");
    if kind != Kind::Alone {
        settings.asks_max = pick(random, &[2, 65_536]);
    }
    settings.entry_bytes_max = pick(random, &[1, 300, 262_144]);
    settings.entry_targets_max = pick(random, &[1, 2, 4096]);
    settings.unacknowledged_bytes_max = pick(random, &[1, 30, 1 << 20]);
    settings.snapshot_portion_bytes = pick(random, &[100, 1000, 1 << 20]);
    settings.log.segment_bytes = pick(random, &[500, 4000, 1 << 20]);
    settings.raft.uncommitted_entries_max = pick(random, &[1, 3, 1000]);
    settings.raft.cache_entries_max = pick(random, &[0, 3, 1000]);
    settings.store.portion = pick(random, &[1, 5, 1000]);
    settings.snapshot_log_bytes = pick(random, &[1000, 5000, 1 << 30]);
    settings.log_bytes_max = pick(random, &[3000, 20_000, 1 << 30]);
    if kind != Kind::Alone {
        settings.log_tail_bytes = pick(random, &[0, 300, 3000]);
        settings.raft.heartbeat_interval = Duration::from_millis(10);
        settings.raft.election_timeout = Duration::from_millis(50);
        settings.raft.election_timeout_max = Duration::from_millis(120);
        settings.raft.snapshot_timeout = Duration::from_secs(3);
    }
    if let Kind::Cluster(_) = kind {
        settings.mode = Mode::Member;
        settings.snapshot_portion_bytes = pick(random, &[500, 1000, 1 << 20]);
        settings.raft.promotion_lag_entries_max = pick(random, &[3, 1024]);
    }
    // From a sequence of its own, so that seeds mean what they did. Most have next to nothing in memory.
    let mut random = Random::new(seed ^ 0x7a11_5000_0000);
    settings.shard_memory_bytes = pick(&mut random, &[0, 0, 300, 8 << 20]);
    settings.body_file_bytes = pick(&mut random, &[100, 400, 32 << 20]);
    settings.read_bytes_max = pick(&mut random, &[1, 200, 1 << 20]);
    settings.sabotage = sabotage;
    settings
}

impl Nodes {
    pub(super) fn new(seed: u64, kind: Kind, sabotage: Option<Sabotage>) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        let settings = settings(seed, kind, sabotage, &mut random);
        let count = kind.count();
        let node = |at: usize| {
            let seed = seed + 1000 * at as u64;
            let settings = Settings { node: id_of(at), seed, ..settings.clone() };
            Node {
                settings,
                disk: SimulatedDisk::new(seed),
                engine: None,
                is_armed: false,
                starts_at: None,
                courier: None,
                refused: BTreeMap::new(),
            }
        };
        let mut nodes = Self {
            kind,
            nodes: (0..count).map(node).collect(),
            members: Members::new(count),
            random,
            now: Instant::now(),
            time: 1_000_000,
            letters: BTreeMap::new(),
            parcels: BTreeMap::new(),
            links: BTreeMap::new(),
            views: Views::new(count),
            last_letter: 0,
            cut_off: None,
            is_calm: false,
            shards: settings.shards,
            events: VecDeque::new(),
        };
        for at in 0..count {
            nodes.open(at)?;
        }
        if matches!(kind, Kind::Cluster(_)) && nodes.one_in(2) {
            nodes.wait_for_members(Duration::from_secs(20))?;
        }
        Ok(nodes)
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        below(&mut self.random, count) == 0
    }

    pub(super) fn any(&mut self) -> usize {
        let count = self.nodes.len() as u64;
        usize::try_from(below(&mut self.random, count)).expect("few")
    }

    /// A node that says that it answers for a shard. While leaders change there may be two, or none. One that has
    /// stopped answers when all have heard of that.
    pub(super) fn serving(&mut self, shard: ShardId) -> Option<usize> {
        let has_stopped = |at: usize| self.events.iter().any(|event| matches!(event, Event::Stopped(it) if *it == at));
        let serves = |at: &usize| {
            self.nodes[*at].engine.as_ref().is_some_and(|engine| engine.serves(shard)) && !has_stopped(*at)
        };
        let all: Vec<usize> = (0..self.nodes.len()).filter(serves).collect();
        (!all.is_empty()).then(|| pick(&mut self.random, &all))
    }

    /// A data thread of a node asks: the engine, if it is alone.
    pub(super) fn ask(&mut self, at: usize, number: u64, ask: Ask) {
        let is_alone = self.count() == 1;
        let Node { engine: Some(engine), courier: Some(courier), .. } = &mut self.nodes[at] else { return };
        if is_alone {
            let (origin, ticket) = (engine.node(), Ticket { thread: 0, number });
            return engine.ask(Asked { origin, ticket, number: None, ask });
        }
        let mut sent = Vec::new();
        courier.ask(number, ask, &mut sent);
        self.send(at, sent);
    }

    /// Whether a node serves clients: it is live, for a while at least, all others know, and it knows all filters.
    pub(super) fn is_active(&self, at: usize) -> bool {
        let Some(engine) = &self.nodes[at].engine else { return false };
        let may = self.views.lease(at).is_some_and(|until| self.now < until);
        let has_stopped = self.events.iter().any(|event| matches!(event, Event::Stopped(it) if *it == at));
        may && !has_stopped && self.views.is_up(at, engine.node()) && engine.are_feeds_complete()
    }

    /// Whether something waits in a shard for another one, as its leader sees it. Who has the other one may get a snapshot
    /// first.
    pub(super) fn is_anything_on_its_way(&self) -> bool {
        let engines = self.nodes.iter().filter_map(|node| node.engine.as_ref());
        let led = engines.flat_map(|engine| &engine.replicas).filter(|replica| replica.leading.is_some());
        led.flat_map(|replica| replica.shard.destinations()).any(|(party, _)| matches!(party, Party::Shard(_)))
    }

    fn is_cut(&self, at: usize) -> bool {
        self.cut_off == Some(at)
    }

    fn send(&mut self, from: usize, sent: Vec<Sent>) {
        sent.into_iter().for_each(|sent| self.post_parcel(from, sent.to, Parcel::Ask(sent)));
    }

    fn post_parcel(&mut self, from: usize, to: usize, parcel: Parcel) {
        let delay = if from == to { 0 } else { 100 + below(&mut self.random, 3_000) };
        let link = self.links.entry((from, to)).or_default();
        let arrives = (self.now + Duration::from_micros(delay)).max(link.last.unwrap_or(self.now));
        link.last = Some(arrives);
        let number = link.number;
        self.last_letter += 1;
        self.parcels.insert((arrives, self.last_letter), (from, to, number, parcel));
    }

    /// Both links between two nodes break, with all that is on its way, and both hear of it.
    fn break_links(&mut self, one: usize, other: usize) {
        let ids: Vec<u64> = self.nodes.iter().map(|node| node.settings.node).collect();
        for (from, to) in [(one, other), (other, one)] {
            let link = self.links.entry((from, to)).or_default();
            link.number += 1;
            if let Some(courier) = &mut self.nodes[from].courier {
                courier.lost(to);
            }
            if let Some(engine) = &mut self.nodes[from].engine {
                engine.lost(ids[to]);
            }
        }
    }

    pub(super) fn break_links_of(&mut self, at: usize) {
        (0..self.count()).filter(|other| *other != at).for_each(|other| self.break_links(at, other));
    }

    fn deliver_parcels(&mut self) {
        while let Some(entry) = self.parcels.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, number, parcel) = entry.remove();
            if self.links.get(&(from, to)).is_some_and(|link| link.number != number) {
                continue;
            }
            match parcel {
                Parcel::Ask(sent) => self.deliver_ask(sent),
                Parcel::Told(life, thread, told) => self.deliver_told(to, life, thread, told),
            }
        }
    }

    /// A leader does what it was asked as the leader of this term, and as far as nothing before it was refused.
    fn deliver_ask(&mut self, sent: Sent) {
        let Sent { to, term, shard, run, asked } = sent;
        let is_leader = self.leads(to, shard) == Some(term);
        let node = &mut self.nodes[to];
        let Some(engine) = &mut node.engine else { return };
        if !is_leader {
            let Ticket { thread, number } = asked.ticket;
            let answer = Told::Answer { number, answer: Answer::NotLeader { leader: None } };
            return self.tell(to, asked.origin, thread, answer);
        }
        // What has numbers has its order anyway.
        let is_behind_refused = node.refused.get(&(asked.origin, shard)).is_some_and(|refused| run <= *refused);
        if matches!(asked.ask, Ask::Publish { .. }) || !is_behind_refused {
            engine.ask(asked);
        }
    }

    /// In which term a node leads.
    fn leads(&self, at: usize, shard: ShardId) -> Option<Term> {
        let replica = self.nodes[at].engine.as_ref()?.replica(shard)?;
        replica.group.is_leader().then(|| replica.group.term())
    }

    fn tell(&mut self, from: usize, to: Life, thread: u16, told: Told) {
        if let Told::Answer { number, answer } = &told
            && matches!(
                answer,
                Answer::NotLeader { .. }
                    | Answer::Unavailable
                    | Answer::Reply(Reply::Refused(Refusal::OutOfOrder { .. }))
            )
        {
            // Tickets of couriers have the shard and the run.
            let refused = self.nodes[from].refused.entry((to, ShardId(thread))).or_default();
            *refused = (*refused).max(number >> 32);
        }
        if let Some(at) = self.nodes.iter().position(|node| node.settings.node == to.id) {
            self.post_parcel(from, at, Parcel::Told(to, thread, told));
        }
    }

    fn deliver_told(&mut self, to: usize, life: Life, thread: u16, told: Told) {
        let Node { engine: Some(engine), courier: Some(courier), .. } = &mut self.nodes[to] else { return };
        if engine.node() == life
            && let Some(told) = courier.told(thread, told)
        {
            self.events.push_back(Event::Said(to, Said::Told(life, 0, told)));
        }
    }

    /// Couriers ask those who lead, as far as they can be reached and their own node knows.
    fn step_couriers(&mut self) {
        for at in 0..self.count() {
            let Some(mut courier) = self.nodes[at].courier.take() else { continue };
            let mut sent = Vec::new();
            let leader = |shard| {
                let engine = self.nodes[at].engine.as_ref()?;
                let leader = engine.leader(shard)?;
                let to = self.nodes.iter().position(|node| node.settings.node == leader)?;
                let is_reached = to == at || !(self.is_cut(at) || self.is_cut(to));
                Some((to, self.leads(to, shard).filter(|_| is_reached)?))
            };
            courier.step(leader, &mut sent);
            self.nodes[at].courier = Some(courier);
            self.send(at, sent);
        }
    }

    fn step_views(&mut self) {
        for at in 0..self.count() {
            let (is_cut, follows) = (self.is_cut(at), self.is_calm || below(&mut self.random, 3) > 0);
            let Some(engine) = &mut self.nodes[at].engine else {
                if let Some(member) = self.views.members[at] {
                    self.views.look(at, member.life, false, self.now);
                }
                continue;
            };
            if self.views.look(at, engine.node(), !is_cut, self.now) {
                engine.ask_for_feeds();
            }
            if !is_cut && follows {
                engine.follow(self.views.number, self.views.lives());
                self.views.followed[at] = self.views.number;
            }
            if let Some(until) = self.views.lease(at) {
                engine.acknowledge_until(until);
            }
        }
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.time += u64::try_from(duration.as_millis()).expect("short");
    }

    /// A disk has little room from now on.
    pub(super) fn fill(&mut self, at: usize) {
        let room = below(&mut self.random, 3000);
        let disk = &self.nodes[at].disk;
        disk.set_capacity(Some(disk.used() + room));
    }

    pub(super) fn make_room(&self) {
        self.nodes.iter().for_each(|node| node.disk.set_capacity(None));
    }

    /// A sync will fail.
    pub(super) fn arm(&mut self, at: usize) {
        let count = 1 + below(&mut self.random, 8);
        self.nodes[at].disk.fail_sync(count);
        self.nodes[at].is_armed = true;
    }

    /// Cuts a node off, or joins all again.
    pub(super) fn cut(&mut self, at: Option<usize>) -> Result<(), Violation> {
        let before = std::mem::replace(&mut self.cut_off, at.filter(|_| self.nodes.len() > 1));
        if let Some(at) = self.cut_off {
            self.break_links_of(at);
        }
        // Who was thought to be gone begins a new life.
        let is_over =
            |at: &usize| self.nodes[*at].engine.as_ref().is_some_and(|it| !self.views.lives().contains(&it.node()));
        match before.filter(|before| self.cut_off != Some(*before)).filter(is_over) {
            Some(before) => self.stop(before, None),
            None => Ok(()),
        }
    }

    pub(super) fn crash(&mut self, at: usize) -> Result<(), Violation> {
        let keeps = pick(&mut self.random, &[CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors]);
        self.stop(at, Some(keeps))
    }

    /// The process is killed, or the machine loses its power, and comes back.
    pub(super) fn stop(&mut self, at: usize, keeps: Option<CrashKeeps>) -> Result<(), Violation> {
        self.note_reached(at);
        let node = &mut self.nodes[at];
        (node.engine, node.courier) = (None, None);
        node.refused.clear();
        if let Some(keeps) = keeps {
            node.disk.crash(keeps);
            node.is_armed = false;
        }
        node.disk.set_capacity(None);
        self.events.push_back(Event::Stopped(at));
        if self.nodes.len() > 1 {
            self.break_links_of(at);
            self.links.entry((at, at)).or_default().number += 1;
        }
        self.members.stopped(at);
        // A member may be away for a while.
        if self.kind != Kind::Alone && self.kind != Kind::Fixed && !self.is_calm && self.one_in(2) {
            let away = Duration::from_millis(below(&mut self.random, 1000));
            self.nodes[at].starts_at = Some(self.now + away);
            return Ok(());
        }
        self.open(at)
    }

    /// The node's folder is lost: it begins again as another node.
    pub(super) fn lose(&mut self, at: usize, id: u64) -> Result<(), Violation> {
        let seed = self.random.next();
        self.note_reached(at);
        let node = &mut self.nodes[at];
        (node.engine, node.courier, node.is_armed, node.starts_at) = (None, None, false, None);
        node.refused.clear();
        self.break_links_of(at);
        self.links.entry((at, at)).or_default().number += 1;
        let node = &mut self.nodes[at];
        (node.disk, node.settings.node) = (SimulatedDisk::new(seed), id);
        self.events.push_back(Event::Stopped(at));
        self.members.stopped(at);
        self.open(at)
    }

    pub(super) fn open(&mut self, at: usize) -> Result<(), Violation> {
        self.nodes[at].starts_at = None;
        self.nodes[at].disk.set_capacity(None);
        if !self.is_calm && self.one_in(10) {
            self.arm(at);
        }
        let mut heard = Heard::default();
        let Node { settings, disk, is_armed, .. } = &self.nodes[at];
        match Engine::open(disk.clone(), settings.clone(), self.now, self.time, &mut heard) {
            Ok(engine) => {
                self.nodes[at].courier = Some(Courier::new(engine.node(), self.shards));
                self.nodes[at].engine = Some(engine);
                self.hear(at, heard)
            }
            Err(_) if *is_armed => self.crash(at),
            Err(error) => Err(format!("node {at} does not open: {error} {error:?}")),
        }
    }

    /// All that is due happens, on all nodes.
    pub(super) fn turn(&mut self) -> Result<(), Violation> {
        for at in 0..self.nodes.len() {
            if self.nodes[at].starts_at.is_some_and(|starts| starts <= self.now || self.is_calm) {
                self.open(at)?;
            }
        }
        while let Some(entry) = self.letters.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let Post { from, to, bytes } = entry.remove();
            let cut_off = self.cut_off.map(|at| self.nodes[at].settings.node);
            let is_lost = cut_off.is_some_and(|it| it == from || it == to);
            let letter = Letter::decode(&bytes).map_err(|error| format!("{error}"))?;
            // What is for a node that was there before does not come.
            let to = self.nodes.iter_mut().find(|node| node.settings.node == to);
            if let Some(engine) = to.and_then(|node| node.engine.as_mut()).filter(|_| !is_lost) {
                engine.receive(from, letter, self.now);
            }
        }
        if self.nodes.len() > 1 {
            self.deliver_parcels();
            self.step_views();
        }
        (0..self.nodes.len()).try_for_each(|at| self.turn_of(at))?;
        if self.nodes.len() > 1 {
            self.step_couriers();
        }
        if let Kind::Cluster(_) = self.kind { self.play_members() } else { Ok(()) }
    }

    fn turn_of(&mut self, at: usize) -> Result<(), Violation> {
        for _ in 0..200 {
            let mut heard = Heard::default();
            let Node { engine: Some(engine), is_armed, .. } = &mut self.nodes[at] else { return Ok(()) };
            let before: Vec<_> = engine.groups().map(|group| (group.number, group.applied)).collect();
            let (turn, is_armed) = (engine.turn(self.now, self.time, &mut heard), *is_armed);
            let has_left =
                |(number, before): &(u16, u64)| engine.hosted(*number).is_none_or(|group| group.applied < *before);
            let left = before.into_iter().filter(has_left).filter_map(|(number, _)| shard_of(number));
            self.events.extend(left.map(|shard| Event::Left(at, shard)));
            self.hear(at, heard)?;
            match turn {
                Ok(next) if next == Some(self.now) => {}
                Ok(_) => return Ok(()),
                Err(_) if is_armed => return self.crash(at),
                Err(failed) => return Err(format!("node {at} fails: {failed}")),
            }
        }
        Err(format!("a turn of node {at} never ends"))
    }

    /// Posts what is for other nodes, and keeps the rest.
    fn hear(&mut self, at: usize, heard: Heard) -> Result<(), Violation> {
        for said in heard.0 {
            match said {
                Said::Sent(to, letter) => {
                    let from = self.nodes[at].settings.node;
                    let is_known = self.nodes.iter().any(|node| node.settings.node == to) || self.members.is_gone(to);
                    if to == from || !is_known {
                        return Err(format!("node {at} sends to {to:x}"));
                    }
                    let mut bytes = Vec::new();
                    letter.append_to(&mut bytes);
                    self.post(&Post { from, to, bytes });
                }
                Said::Meta(event) => self.members.hear(at, event)?,
                Said::Told(to, thread, told)
                    if self.nodes.len() > 1 && !matches!(told, Told::Will { .. } | Told::Orphan { .. }) =>
                {
                    self.tell(at, to, thread, told);
                }
                other => self.events.push_back(Event::Said(at, other)),
            }
        }
        Ok(())
    }

    fn post(&mut self, post: &Post) {
        let copies = match below(&mut self.random, 40) {
            0 if !self.is_calm => 0,
            1 if !self.is_calm => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let slowest = if self.is_calm { 3_000 } else { pick(&mut self.random, &[2_000, 2_000, 30_000]) };
            let arrives = self.now + Duration::from_micros(100 + below(&mut self.random, slowest));
            self.last_letter += 1;
            let Post { from, to, bytes } = post;
            let copy = Post { from: *from, to: *to, bytes: bytes.clone() };
            self.letters.insert((arrives, self.last_letter), copy);
        }
    }
}
