//! Three nodes with couriers, desks, engines and data threads, and two shards whose leaders change, crash and lose
//! letters, all from one seed.
//!
//! After every run each message of a stream was stored at most once, in the order of its data thread, and exactly once
//! if it was acknowledged; every ask was answered once; every client was told what is in its queue, once and in order;
//! and nodes own exactly the sessions that they serve.

mod after;
mod engine;
pub(super) mod shard;
mod threads;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fulmar_random::Random;
use fulmar_store::{Node, ShardId};

use crate::settings::Sabotage;
use crate::{AnswerLetter, AskLetter, Courier, Desk, DeskSettings, Leadership, Output, Settings};
use engine::Engine;
use shard::{SHARDS, Shard};
use threads::{History, Threads};

const NODES: usize = 3;

/// Those that may lead each shard. One node has no replica of it.
const REPLICAS: [[usize; 2]; 2] = [[0, 1], [1, 2]];

/// One node.
struct Host {
    me: Node,
    courier: Courier,
    desk: Desk,
    /// By shard.
    engines: Vec<Engine>,
    threads: Threads,
}

/// From one node to another.
#[derive(Default)]
struct Link {
    is_connected: bool,
    letters: VecDeque<Letter>,
}

enum Letter {
    Ask(Vec<u8>),
    Answer(Vec<u8>),
    /// A new connection begins.
    Reset,
}

struct World {
    random: Random,
    now: Instant,
    settings: Settings,
    desk_settings: DeskSettings,
    hosts: Vec<Host>,
    links: BTreeMap<(usize, usize), Link>,
    shards: Vec<Shard>,
    /// Who leads each shard, and in which term.
    leaders: Vec<(Option<usize>, u64)>,
    last_message: u64,
    /// What data threads of lives that are over have published, by node, shard and thread.
    histories: Vec<(Node, History)>,
    acknowledged: Vec<(ShardId, u64)>,
    received: Vec<(ShardId, u64)>,
    seen: Seen,
}

/// What the runs have come across, so that it is known that they come across everything.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    answers: u64,
    unavailable: u64,
    deliveries: u64,
    refused: u64,
    runs: u64,
    sent_again: u64,
    late: u64,
    late_at_desk: u64,
    attached: u64,
}

fn id(host: usize) -> u64 {
    host as u64 + 1
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let settings = Settings {
            shard_asks_max: [6, 40, 400][random.index(3)],
            shard_bytes_max: [3000, 1 << 20][random.index(2)],
            asks_max: [8, 60, 600][random.index(3)],
            letter_bytes_max: [1, 500, 64 << 10][random.index(3)],
            in_flight_bytes_max: [1, 1000, 1 << 20][random.index(3)],
            attaches_max: [1, 64][random.index(2)],
            give_up_after: Duration::from_millis([300, 2000][random.index(2)]),
            sabotage,
            ..Settings::default()
        };
        let desk_settings =
            DeskSettings { letter_bytes_max: [1, 500, 64 << 10][random.index(3)], sabotage, ..DeskSettings::default() };
        let mut world = World {
            random,
            now: Instant::now(),
            settings,
            desk_settings,
            hosts: Vec::new(),
            links: BTreeMap::new(),
            shards: (0..SHARDS.get()).map(|_| Shard::default()).collect(),
            leaders: vec![(None, 0); usize::from(SHARDS.get())],
            last_message: 0,
            histories: Vec::new(),
            acknowledged: Vec::new(),
            received: Vec::new(),
            seen: Seen::default(),
        };
        for host in 0..NODES {
            let started = world.start(Node { id: id(host), incarnation: 1 });
            world.hosts.push(started);
            let others = (0..NODES).filter(|other| *other != host);
            world.links.extend(others.map(|other| ((host, other), Link::default())));
        }
        world
    }

    fn start(&mut self, me: Node) -> Host {
        let mut courier = Courier::new(self.settings.clone(), me, SHARDS);
        for (shard, replicas) in (0..).zip(REPLICAS) {
            courier.set_replicas(ShardId(shard), replicas.map(id).into());
        }
        let asks_max = [3, 1000][self.random.index(2)];
        Host {
            me,
            courier,
            desk: Desk::new(self.desk_settings.clone(), SHARDS),
            engines: (0..SHARDS.get()).map(|_| Engine::new(asks_max)).collect(),
            threads: Threads::default(),
        }
    }

    /// One thing after the other, faults among them.
    fn disturb(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += Duration::from_millis([0, 1, 5, 30][self.random.index(4)]);
            match self.random.index(100) {
                0..2 => self.lead(),
                2 => self.depose(),
                3..5 => self.break_link(),
                5..12 => self.connect(),
                12 if self.random.once_in(4) => self.crash(),
                12 if self.random.once_in(3) => self.begin_life(),
                12 => self.now += Duration::from_millis(700),
                13..16 => self.form_opinion(),
                _ => self.go_on(true),
            }
        }
    }

    /// Some host does what it has to do.
    fn go_on(&mut self, asks: bool) {
        let host = self.random.index(NODES);
        match self.random.index(4) {
            0 if asks => self.ask(host),
            1 => self.serve(host),
            _ => self.deliver_letter(host),
        }
        self.turn(host);
    }

    fn ask(&mut self, host: usize) {
        let Host { courier, threads, .. } = &mut self.hosts[host];
        threads.say_who_left(courier, self.now);
        for _ in 0..self.random.index(5) {
            threads.ask(courier, &mut self.last_message, self.now, &mut self.random);
        }
    }

    /// The engine's turn, for the shards that it leads.
    fn serve(&mut self, host: usize) {
        for (shard, (leader, _)) in self.leaders.iter().enumerate() {
            if *leader == Some(host) {
                let Host { engines, desk, .. } = &mut self.hosts[host];
                engines[shard].turn(&mut self.shards[shard], desk, &mut self.random);
            }
        }
    }

    /// The next letter of some other host to this one comes.
    fn deliver_letter(&mut self, to: usize) {
        let from = (to + 1 + self.random.index(NODES - 1)) % NODES;
        let link = self.links.get_mut(&(from, to)).expect("all are linked");
        let Some(letter) = link.letters.pop_front() else { return };
        let host = &mut self.hosts[to];
        match letter {
            Letter::Ask(bytes) => {
                let letter = AskLetter::decode(&bytes).expect("it was written so");
                self.bring_to_desk(from, to, letter);
            }
            Letter::Answer(bytes) => {
                host.courier.receive(AnswerLetter::decode(&bytes).expect("it was written so"), self.now);
            }
            Letter::Reset => {
                host.courier.reset(id(from));
                host.desk.lost(id(from));
                host.engines.iter_mut().for_each(|engine| engine.lost(id(from)));
            }
        }
    }

    fn bring_to_desk(&mut self, from: usize, to: usize, letter: AskLetter) {
        let shard = usize::from(letter.shard.0);
        let leader = self.leaders[shard].0;
        let host = &mut self.hosts[to];
        for asked in host.desk.receive(id(from), letter) {
            assert_eq!(leader, Some(to), "only a leader is asked");
            host.engines[shard].ask(asked, &mut host.desk);
        }
    }

    /// What the courier and the desk of a host want done is done.
    fn turn(&mut self, host: usize) {
        let mut out = Vec::new();
        loop {
            let Host { me, courier, threads, .. } = &mut self.hosts[host];
            courier.turn(self.now, &mut out);
            courier.check();
            let mut letters = Vec::new();
            for output in out.drain(..) {
                match output {
                    Output::Send { to, letter } => letters.push((to, letter)),
                    Output::Tell { thread, told } => threads.told(*me, thread, told, &mut self.shards),
                }
            }
            let mut is_idle = letters.is_empty();
            for (to, letter) in letters {
                let to = to as usize - 1;
                if to == host {
                    self.bring_to_desk(host, host, letter);
                } else {
                    let mut bytes = Vec::new();
                    letter.encode(&mut bytes);
                    self.post(host, to, Letter::Ask(bytes));
                }
            }
            for letter in self.hosts[host].desk.take_letters() {
                let to = letter.to.id as usize - 1;
                if to == host {
                    is_idle = false;
                    self.hosts[host].courier.receive(letter, self.now);
                } else {
                    let mut bytes = Vec::new();
                    letter.encode(&mut bytes);
                    self.post(host, to, Letter::Answer(bytes));
                }
            }
            if is_idle {
                return;
            }
        }
    }

    fn post(&mut self, from: usize, to: usize, letter: Letter) {
        let link = self.links.get_mut(&(from, to)).expect("all are linked");
        if link.is_connected {
            link.letters.push_back(letter);
        }
    }

    /// A replica of some shard leads from now on.
    fn lead(&mut self) {
        let shard = self.random.index(REPLICAS.len());
        let next = REPLICAS[shard][self.random.index(2)];
        self.stop_leading(shard, Some(next));
        let (leader, term) = &mut self.leaders[shard];
        (*leader, *term) = (Some(next), *term + 1);
        self.hold_opinion(next, shard, Some(id(next)));
    }

    fn depose(&mut self) {
        let shard = self.random.index(REPLICAS.len());
        self.stop_leading(shard, None);
    }

    fn stop_leading(&mut self, shard: usize, next: Option<usize>) {
        if let Some(leader) = self.leaders[shard].0.take() {
            let known = next.filter(|_| self.random.once_in(2)).map(id);
            let Host { engines, desk, .. } = &mut self.hosts[leader];
            engines[shard].stop_leading(known, &mut self.shards[shard], desk, &mut self.random);
            self.hold_opinion(leader, shard, known);
            self.turn(leader);
        }
    }

    fn hold_opinion(&mut self, host: usize, shard: usize, leader: Option<u64>) {
        let (leads, term) = self.leaders[shard];
        let Host { courier, desk, .. } = &mut self.hosts[host];
        let term = Some(term).filter(|_| leads == Some(host));
        desk.set_leadership(ShardId(shard as u16), Leadership { term, leader });
        courier.heard_of_leader(ShardId(shard as u16), leader);
    }

    /// A replica hears who leads.
    fn form_opinion(&mut self) {
        let shard = self.random.index(REPLICAS.len());
        let host = REPLICAS[shard][self.random.index(2)];
        self.hold_opinion(host, shard, self.leaders[shard].0.map(id));
        self.turn(host);
    }

    fn break_link(&mut self) {
        let ends = self.some_link();
        self.lose(ends);
    }

    fn some_link(&mut self) -> (usize, usize) {
        let from = self.random.index(NODES);
        (from, (from + 1 + self.random.index(NODES - 1)) % NODES)
    }

    /// A connection breaks. What was sent last does not come.
    fn lose(&mut self, ends: (usize, usize)) {
        let link = self.links.get_mut(&ends).expect("all are linked");
        if std::mem::take(&mut link.is_connected) {
            let left = self.random.index(link.letters.len() + 1);
            // That a connection began is known however it ended.
            let lost = link.letters.split_off(left);
            link.letters.extend(lost.into_iter().filter(|letter| matches!(letter, Letter::Reset)));
            self.hosts[ends.0].courier.disconnected(id(ends.1), self.now);
        }
    }

    fn connect(&mut self) {
        let ends = self.some_link();
        self.join(ends);
    }

    fn join(&mut self, ends: (usize, usize)) {
        let link = self.links.get_mut(&ends).expect("all are linked");
        if !link.is_connected {
            link.is_connected = true;
            link.letters.push_back(Letter::Reset);
            self.hosts[ends.0].courier.connected(id(ends.1));
            self.turn(ends.0);
        }
    }

    /// The process of a node ends, and another one begins.
    fn crash(&mut self) {
        let host = self.random.index(NODES);
        for (shard, (leader, _)) in self.leaders.clone().into_iter().enumerate() {
            if leader == Some(host) {
                // Some of what it had proposed is in the log of whoever leads next, and nobody is told.
                self.leaders[shard].0 = None;
                let Host { engines, desk, .. } = &mut self.hosts[host];
                engines[shard].stop_leading(None, &mut self.shards[shard], desk, &mut self.random);
            }
        }
        for other in (0..NODES).filter(|other| *other != host) {
            self.lose((host, other));
            self.lose((other, host));
            // Nobody reads what comes after the end of the one process and before the start of the next.
            self.links.get_mut(&(other, host)).expect("all are linked").letters.clear();
        }
        let me = self.hosts[host].me;
        let next = self.start(Node { incarnation: me.incarnation + 1, ..me });
        let last = std::mem::replace(&mut self.hosts[host], next);
        self.note(last);
        self.over(me);
    }

    /// A node's life ends, and the next one begins in the same process.
    fn begin_life(&mut self) {
        let host = self.random.index(NODES);
        let me = self.hosts[host].me;
        self.over(me);
        let next = Node { incarnation: me.incarnation + 1, ..me };
        self.hosts[host].courier.begin_life(next);
        let mut out = Vec::new();
        let Host { courier, threads, .. } = &mut self.hosts[host];
        courier.turn(self.now, &mut out);
        threads.end_life();
        for output in out {
            // Nothing is sent before something is asked.
            let Output::Tell { thread, told } = output else { panic!("{output:?}") };
            threads.told(me, thread, told, &mut self.shards);
        }
        threads.end_life();
        assert_eq!(threads.unanswered(), 0);
        let counts = courier.counts();
        assert_eq!((counts.asks, counts.bytes, counts.sessions), (0, 0, 0));
        let threads = std::mem::take(threads);
        self.note_threads(me, threads);
        self.hosts[host].me = next;
    }

    fn over(&mut self, me: Node) {
        self.shards.iter_mut().for_each(|shard| shard.gone(me));
        self.hosts.iter_mut().flat_map(|host| &mut host.engines).for_each(|engine| engine.lost(me.id));
    }

    fn note(&mut self, last: Host) {
        let counts = last.courier.counts();
        self.seen.refused += counts.refused;
        self.seen.runs += counts.runs;
        self.seen.sent_again += counts.sent_again;
        self.seen.late += counts.late;
        self.seen.attached += counts.attached;
        assert_eq!((counts.senseless, last.desk.counts().senseless), (0, 0));
        self.seen.late_at_desk += last.desk.counts().late;
        self.note_threads(last.me, last.threads);
    }

    fn note_threads(&mut self, me: Node, threads: Threads) {
        self.seen.answers += threads.answers;
        self.seen.unavailable += threads.unavailable;
        self.seen.deliveries += threads.deliveries;
        self.histories.push((me, threads.published));
        self.acknowledged.extend(threads.acknowledged);
        self.received.extend(threads.received);
    }
}

fn run(seed: u64, sabotage: Option<Sabotage>) -> Seen {
    let mut world = World::new(seed, sabotage);
    world.disturb(600);
    world.heal();
    world.check()
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_whatever_happens() {
    let mut all = Seen::default();
    for seed in 0..300 {
        let seen = std::panic::catch_unwind(|| run(seed, None)).unwrap_or_else(|_| panic!("seed {seed}"));
        all.answers += seen.answers;
        all.unavailable += seen.unavailable;
        all.deliveries += seen.deliveries;
        all.refused += seen.refused;
        all.runs += seen.runs;
        all.sent_again += seen.sent_again;
        all.late += seen.late;
        all.late_at_desk += seen.late_at_desk;
        all.attached += seen.attached;
    }
    // Each of these has happened often.
    let Seen { answers, unavailable, deliveries, refused, runs, sent_again, late, late_at_desk, attached } = all;
    let least = [answers, unavailable, deliveries, refused, runs, sent_again, late, late_at_desk, attached];
    assert!(least.iter().all(|count| *count > 300), "{all:?}");
}

/// Whether some seed finds a mistake.
fn finds(mistake: Sabotage) -> bool {
    (0..300).any(|seed| std::panic::catch_unwind(|| run(seed, Some(mistake))).is_err())
}

#[test]
fn mistakes_are_found() {
    let mistakes = [
        Sabotage::NumberedAnew,
        Sabotage::OldTermTaken,
        Sabotage::EndNotTold,
        Sabotage::AttachForgotten,
        Sabotage::OldAttachmentTold,
        Sabotage::ToldAgain,
        Sabotage::ToldOutOfOrder,
        Sabotage::ClaimNotGivenUp,
    ];
    let missed: Vec<_> = mistakes.into_iter().filter(|mistake| !finds(*mistake)).collect();
    assert_eq!(missed, []);
}
