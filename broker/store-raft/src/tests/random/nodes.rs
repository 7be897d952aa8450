//! One node, or some with a network between them: their disks crash, their messages are lost, late, doubled and
//! overtaken, and a node may be cut off from the others.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_store::{Ask, Asked, ShardId, Ticket};

use super::Violation;
use crate::random::Random;
use crate::settings::Sabotage;
use crate::tests::fixture::{self, Heard, Said};
use crate::{Engine, Letter, Settings};

/// A number below `end`.
pub(super) fn below(random: &mut Random, end: u64) -> u64 {
    random.next() % end
}

pub(super) fn pick<T: Clone>(random: &mut Random, all: &[T]) -> T {
    all[usize::try_from(below(random, all.len() as u64)).expect("short")].clone()
}

struct Node {
    settings: Settings,
    disk: SimulatedDisk,
    engine: Option<Engine<SimulatedDisk>>,
    /// A sync will fail.
    is_armed: bool,
}

/// A message on its way.
struct Post {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// What comes out of nodes.
#[derive(Debug)]
pub(super) enum Event {
    Said(usize, Said),
    /// The node has stopped and is there again.
    Stopped(usize),
}

pub(super) struct Nodes {
    pub(super) random: Random,
    nodes: Vec<Node>,
    now: Instant,
    time: u64,
    letters: BTreeMap<(Instant, u64), Post>,
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

fn settings(seed: u64, count: usize, sabotage: Option<Sabotage>, random: &mut Random) -> Settings {
    let mut settings = fixture::settings(seed);
    settings.voters = (0..count).map(id_of).collect();
    settings.shards = NonZeroU16::new(pick(random, &[1, 2, 3])).expect("not 0");
    settings.entry_bytes_max = pick(random, &[1, 300, 262_144]);
    settings.entry_targets_max = pick(random, &[1, 2, 4096]);
    settings.unacknowledged_bytes_max = pick(random, &[1, 30, 1 << 20]);
    settings.snapshot_portion_bytes = pick(random, &[100, 1000, 1 << 20]);
    settings.log.segment_bytes = pick(random, &[500, 4000, 1 << 20]);
    settings.raft.uncommitted_entries_max = pick(random, &[1, 3, 1000]);
    settings.raft.cache_entries_max = pick(random, &[0, 3, 1000]);
    settings.store.portion = pick(random, &[1, 5, 1000]);
    // Snapshots are not sent yet, so with others the log must keep what they may need.
    if count == 1 {
        settings.snapshot_log_bytes = pick(random, &[1000, 5000, 1 << 30]);
        settings.log_bytes_max = pick(random, &[3000, 20_000, 1 << 30]);
    } else {
        settings.raft.heartbeat_interval = Duration::from_millis(10);
        settings.raft.election_timeout = Duration::from_millis(50);
        settings.raft.election_timeout_max = Duration::from_millis(120);
    }
    settings.sabotage = sabotage;
    settings
}

impl Nodes {
    pub(super) fn new(seed: u64, count: usize, sabotage: Option<Sabotage>) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        let settings = settings(seed, count, sabotage, &mut random);
        let node = |at: usize| {
            let seed = seed + 1000 * at as u64;
            let settings = Settings { node: id_of(at), seed, ..settings.clone() };
            Node { settings, disk: SimulatedDisk::new(seed), engine: None, is_armed: false }
        };
        let mut nodes = Self {
            nodes: (0..count).map(node).collect(),
            random,
            now: Instant::now(),
            time: 1_000_000,
            letters: BTreeMap::new(),
            last_letter: 0,
            cut_off: None,
            is_calm: false,
            shards: settings.shards,
            events: VecDeque::new(),
        };
        for at in 0..count {
            nodes.open(at)?;
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

    pub(super) fn ask(&mut self, at: usize, number: u64, ask: Ask) {
        if let Some(engine) = &mut self.nodes[at].engine {
            let (origin, ticket) = (engine.node(), Ticket { thread: 0, number });
            engine.ask(Asked { origin, ticket, number: None, ask });
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
    pub(super) fn cut(&mut self, at: Option<usize>) {
        self.cut_off = at.filter(|_| self.nodes.len() > 1);
    }

    pub(super) fn crash(&mut self, at: usize) -> Result<(), Violation> {
        let keeps = pick(&mut self.random, &[CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors]);
        self.stop(at, Some(keeps))
    }

    /// The process is killed, or the machine loses its power, and comes back.
    pub(super) fn stop(&mut self, at: usize, keeps: Option<CrashKeeps>) -> Result<(), Violation> {
        let node = &mut self.nodes[at];
        node.engine = None;
        if let Some(keeps) = keeps {
            node.disk.crash(keeps);
            node.is_armed = false;
        }
        node.disk.set_capacity(None);
        self.events.push_back(Event::Stopped(at));
        self.open(at)
    }

    fn open(&mut self, at: usize) -> Result<(), Violation> {
        if !self.is_calm && self.one_in(10) {
            self.arm(at);
        }
        let mut heard = Heard::default();
        let Node { settings, disk, is_armed, .. } = &self.nodes[at];
        match Engine::open(disk.clone(), settings.clone(), self.now, self.time, &mut heard) {
            Ok(engine) => {
                self.nodes[at].engine = Some(engine);
                self.hear(at, heard)
            }
            Err(_) if *is_armed => self.crash(at),
            Err(error) => Err(format!("node {at} does not open: {error} {error:?}")),
        }
    }

    /// All that is due happens, on all nodes.
    pub(super) fn turn(&mut self) -> Result<(), Violation> {
        while let Some(entry) = self.letters.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let Post { from, to, bytes } = entry.remove();
            let is_lost = self.cut_off.is_some_and(|it| it == from || it == to);
            let letter = Letter::decode(&bytes).map_err(|error| format!("{error}"))?;
            if let Some(engine) = self.nodes[to].engine.as_mut().filter(|_| !is_lost) {
                engine.receive(id_of(from), letter, self.now);
            }
        }
        (0..self.nodes.len()).try_for_each(|at| self.turn_of(at))
    }

    fn turn_of(&mut self, at: usize) -> Result<(), Violation> {
        for _ in 0..200 {
            let mut heard = Heard::default();
            let Node { engine: Some(engine), is_armed, .. } = &mut self.nodes[at] else { return Ok(()) };
            let (turn, is_armed) = (engine.turn(self.now, self.time, &mut heard), *is_armed);
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
                    let to = (0..self.nodes.len()).find(|other| id_of(*other) == to && *other != at);
                    let to = to.ok_or_else(|| format!("node {at} sends to a node that is not there"))?;
                    let mut bytes = Vec::new();
                    letter.append_to(&mut bytes);
                    self.post(&Post { from: at, to, bytes });
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
