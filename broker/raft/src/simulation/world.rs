//! The events of a run, in the order of virtual time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fulmar_harness::{Agenda, Violation};
use fulmar_random::Random;

use super::acts::{Plan, Storm};
use super::checks::Checks;
use super::network::Network;
use super::node::{Machine, Node, Running};
use crate::group::Group;
use crate::membership::Membership;
use crate::message::{Body, Message};
use crate::outputs::{Fetch, Outputs, SnapshotOrder};
use crate::sabotage::Sabotage;
use crate::settings::Settings;
use crate::types::{Entry, NodeId, Snapshot, Term};

/// How long a group may take to recover when nothing is broken any more.
const RECOVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    Tick {
        node: NodeId,
        life: u64,
    },
    Synced {
        node: NodeId,
        life: u64,
    },
    Fetched {
        node: NodeId,
        life: u64,
        fetch: Fetch,
    },
    Apply {
        node: NodeId,
        life: u64,
        entries: Vec<Entry>,
    },
    SnapshotCame {
        from: NodeId,
        to: NodeId,
        term: Term,
        snapshot: Snapshot,
        machine: Machine,
    },
    /// A request that waited for the node.
    Ask {
        node: NodeId,
    },
    Start {
        node: NodeId,
    },
    Crash {
        node: NodeId,
        life: u64,
    },
    Act,
}

impl Event {
    /// Whose process it concerns; a disk goes on while a process is stopped, but nobody learns of it.
    fn node(&self) -> Option<NodeId> {
        match self {
            Event::Deliver { to: node, .. } | Event::SnapshotCame { to: node, .. } => Some(*node),
            Event::Tick { node, .. } | Event::Synced { node, .. } | Event::Fetched { node, .. } => Some(*node),
            Event::Apply { node, .. } | Event::Ask { node } => Some(*node),
            Event::Start { .. } | Event::Crash { .. } | Event::Act => None,
        }
    }
}

/// What happened in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    pub(super) steps: u64,
    pub(super) elections: u64,
    pub(super) committed: u64,
    pub(super) crashes: u64,
    pub(super) snapshots: u64,
    pub(super) changes: u64,
    pub(super) transfers: u64,
    pub(super) fetches: u64,
    pub(super) truncations: u64,
    pub(super) reads: u64,
    pub(super) recovery_max: Duration,
    /// The same until somebody commits.
    pub(super) leader_max: Duration,
}

impl Report {
    pub(super) fn add(&mut self, other: &Report) {
        let Report {
            steps, elections, committed, crashes, snapshots, changes, transfers, fetches, truncations, ..
        } = other;
        self.steps += steps;
        self.elections += elections;
        self.committed += committed;
        self.crashes += crashes;
        self.snapshots += snapshots;
        self.changes += changes;
        self.transfers += transfers;
        self.fetches += fetches;
        self.truncations += truncations;
        self.reads += other.reads;
        self.leader_max = self.leader_max.max(other.leader_max);
        self.recovery_max = self.recovery_max.max(other.recovery_max);
    }
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: Instant,
    started: Instant,
    agenda: Agenda<Instant, Event>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) network: Network,
    pub(super) plan: Plan,
    settings: Settings,
    pub(super) checks: Checks,
    pub(super) report: Report,
    pub(super) trace: bool,
}

impl World {
    pub(super) fn new(seed: u64, storm: Storm, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let now = Instant::now();
        let network = Network::draw(storm, &mut random);
        let plan = Plan::draw(storm, &mut random);
        let settings = Settings { sabotage, ..plan.settings(&mut random) };
        let voters = Membership::new(1..=plan.voters, []).expect("few voters");
        let nodes = (1..=plan.nodes)
            .map(|id| {
                let membership = if id <= plan.voters { voters.clone() } else { Membership::default() };
                (id, Node::new(membership, plan.disk_micros, now))
            })
            .collect();
        let mut world = World {
            random,
            now,
            started: now,
            agenda: Agenda::new(),
            nodes,
            network,
            plan,
            settings,
            checks: Checks::new(),
            report: Report::default(),
            trace: false,
        };
        for node in 1..=world.plan.nodes {
            world.after(0, Event::Start { node });
        }
        world.after(1000, Event::Act);
        world
    }

    pub(super) fn after(&mut self, micros: u64, event: Event) {
        self.at(self.now + Duration::from_micros(micros), event);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.agenda.at(at.max(self.now), event);
    }

    /// Runs the plan, mends everything, and waits until the group has recovered.
    pub(super) fn run(mut self) -> Result<Report, Violation> {
        let end = self.started + self.plan.duration;
        while self.now < end {
            self.step()?;
        }
        self.network.become_good();
        self.plan.calm = true;
        for (id, node) in &mut self.nodes {
            node.disk_micros = 500;
            node.paused_until = self.now;
            if node.running.is_none() {
                self.agenda.at(self.now, Event::Start { node: *id });
            }
        }
        let mended = self.now;
        while !self.has_recovered() {
            if self.report.leader_max.is_zero() && self.leaders().iter().any(|id| self.commits(*id)) {
                self.report.leader_max = self.now - mended;
            }
            if self.now > mended + RECOVERY {
                return Err(Violation::Stuck(format!("no recovery within {RECOVERY:?}: {}", self.describe())));
            }
            self.step()?;
        }
        self.report.recovery_max = self.now - mended;
        Ok(self.report)
    }

    fn step(&mut self) -> Result<(), Violation> {
        let Some((at, event)) = self.agenda.pop() else {
            return Err(Violation::Stuck(format!("nothing happens any more: {}", self.describe())));
        };
        self.now = at;
        self.report.steps += 1;
        if let Some(until) = event.node().map(|node| self.nodes[&node].paused_until)
            && until > at
        {
            self.at(until, event);
            return Ok(());
        }
        if self.trace {
            println!("{:?} {event:?}", at - self.started);
        }
        match event {
            Event::Act => self.act(),
            Event::Ask { node } => self.read(node),
            Event::Crash { node, life } => {
                if self.nodes[&node].life == life {
                    self.crash(node);
                }
                Ok(())
            }
            Event::Start { node } => {
                let seed = self.random.next();
                let (settings, now) = (self.settings.clone(), self.now);
                let it = self.nodes.get_mut(&node).expect("known");
                if it.running.is_none() {
                    it.start(node, settings, now, seed);
                    self.checks.started(node);
                }
                self.pump(node)
            }
            Event::Deliver { from, to, message } => {
                if let Some(running) = &mut self.nodes.get_mut(&to).expect("known").running {
                    running.group.receive(from, message, self.now);
                }
                self.pump(to)
            }
            Event::Tick { node, life } => self.with_life(node, life, |node, now| {
                let running = node.running.as_mut().expect("alive");
                running.tick_at = None;
                running.group.tick(now);
            }),
            Event::Synced { node, life } => self.with_life(node, life, |node, now| {
                let ticket = node.sync();
                let running = node.running.as_mut().expect("alive");
                if let Some(ticket) = ticket {
                    running.group.stored(ticket, now);
                }
            }),
            Event::Fetched { node, life, fetch } => self.with_life(node, life, |node, now| {
                let entries = node.disk.read(&fetch);
                node.running.as_mut().expect("alive").group.fetched(fetch.id, entries, now);
            }),
            Event::Apply { node, life, entries } => self.apply(node, life, &entries),
            Event::SnapshotCame { from, to, term, snapshot, machine } => {
                let now = self.now;
                let node = self.nodes.get_mut(&to).expect("known");
                if let Some(running) = &mut node.running {
                    let staged = (snapshot.clone(), machine);
                    if running.group.install(from, term, snapshot, now) {
                        node.disk.staged = Some(staged);
                        self.report.snapshots += 1;
                    }
                }
                self.pump(to)
            }
        }
    }

    fn with_life(&mut self, id: NodeId, life: u64, act: impl FnOnce(&mut Node, Instant)) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&id).expect("known");
        if node.life == life && node.running.is_some() {
            act(node, self.now);
        }
        self.pump(id)
    }

    fn apply(&mut self, id: NodeId, life: u64, entries: &[Entry]) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&id).expect("known");
        if let Some(running) = node.running.as_mut().filter(|_| node.life == life) {
            for entry in entries {
                // A snapshot may have overtaken what was handed out before it.
                if entry.index <= running.machine.applied {
                    continue;
                }
                if entry.index != running.machine.applied + 1 {
                    break;
                }
                running.machine.apply(entry);
                self.checks.applied(id, running.machine)?;
            }
            running.group.applied(running.machine.applied);
        }
        self.pump(id)
    }

    /// Carries out what the node's group wants.
    pub(super) fn pump(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(running) = &mut self.nodes.get_mut(&id).expect("known").running else { return Ok(()) };
        let outputs = running.group.take_outputs();
        self.checks.step(id, &outputs, &self.nodes, &mut self.report)?;
        if let Some(contradiction) = outputs.contradictions.first() {
            return Err(Violation::Harm(format!("node {id} saw {contradiction:?}")));
        }
        let Outputs { write, messages, committed, fetches, reads, snapshots, role, next_deadline, .. } = outputs;
        let node = self.nodes.get_mut(&id).expect("known");
        let (life, disk_micros) = (node.life, node.disk_micros);
        let running = node.running.as_mut().expect("it just ran");
        if let Some(write) = write {
            running.writes.push_back(write);
            let micros = 50 + self.random.below(disk_micros);
            self.after(micros, Event::Synced { node: id, life });
        }
        for (to, message) in messages {
            self.carry(id, to, &message);
            self.spoke(id, life, &message);
        }
        if !committed.is_empty() {
            let micros = self.random.below(1000);
            self.after(micros, Event::Apply { node: id, life, entries: committed });
        }
        for fetch in fetches {
            self.report.fetches += 1;
            let micros = self.random.below(3000);
            self.after(micros, Event::Fetched { node: id, life, fetch });
        }
        for (read, outcome) in reads {
            self.checks.read_answered(read, outcome, &mut self.report)?;
        }
        for order in snapshots {
            self.order(id, order);
        }
        if role.is_some_and(|role| role.serves_after.is_some()) {
            self.elected(id, life);
        }
        let running = self.nodes.get_mut(&id).and_then(|node| node.running.as_mut()).expect("it just ran");
        if let Some(at) = next_deadline
            && running.tick_at.is_none_or(|tick_at| at < tick_at || tick_at < self.now)
        {
            running.tick_at = Some(at);
            self.at(at, Event::Tick { node: id, life });
        }
        Ok(())
    }

    fn carry(&mut self, from: NodeId, to: NodeId, message: &Message) {
        if matches!(message.body, Body::TakeOver) {
            self.report.transfers += 1;
        }
        if !self.nodes.contains_key(&to) {
            return;
        }
        let mut bytes = Vec::new();
        message.append_to(&mut bytes);
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(message), "messages travel as bytes");
        for micros in self.network.carry(from, to, &mut self.random) {
            self.after(micros, Event::Deliver { from, to, message: message.clone() });
        }
    }

    fn order(&mut self, from: NodeId, order: SnapshotOrder) {
        // One that is to be stopped may be through already, so it never is here.
        let SnapshotOrder::Send { to, term } = order else { return };
        let Some(running) = &mut self.nodes.get_mut(&from).expect("known").running else { return };
        let machine = running.machine;
        let Some(snapshot) = running.group.snapshot_at(machine.applied) else {
            return running.group.snapshot_failed(to, self.now);
        };
        for micros in self.network.carry(from, to, &mut self.random) {
            let (snapshot, late) = (snapshot.clone(), self.random.below(50_000));
            self.after(micros + late, Event::SnapshotCame { from, to, term, snapshot, machine });
        }
    }

    /// Whether the node leads and has committed something of its own.
    fn commits(&self, id: NodeId) -> bool {
        let commits = |group: &Group| group.log.term_at(group.committed()) == Some(group.term());
        self.nodes[&id].running.as_ref().is_some_and(|it| it.group.is_leader() && commits(&it.group))
    }

    /// A leader has committed something of its own, and all members are equal to it.
    fn has_recovered(&mut self) -> bool {
        let groups = || self.nodes.values().filter_map(|node| node.running.as_ref());
        let Some(leader) = groups().filter(|it| it.group.is_serving()).max_by_key(|it| it.group.term()) else {
            return false;
        };
        let (group, machine) = (&leader.group, leader.machine);
        let equal = |member| {
            let Some(it) = self.nodes.get(&member).and_then(|node| node.running.as_ref()) else { return false };
            it.group.last() == group.last() && it.machine == machine && it.group.term() == group.term()
        };
        group.committed() == group.last().index && group.membership().members().all(equal)
    }

    fn describe(&self) -> String {
        let describe = |(id, node): (&NodeId, &Node)| match &node.running {
            Some(Running { group, machine, .. }) => format!(
                "\n{id}: leader {:?} of term {}, last {:?}, committed {}, applied {}, {:?}",
                group.leader(),
                group.term(),
                group.last(),
                group.committed(),
                machine.applied,
                group.membership()
            ),
            None => format!("\n{id}: down"),
        };
        self.nodes.iter().map(describe).collect()
    }
}
