//! The events of a run, in the order of real time, and the log that all nodes share.

use std::collections::BTreeSet;

use fulmar_harness::{Agenda, Clock, Leadership, Network, Violation};
use fulmar_meta::*;
use fulmar_random::Random;

use super::acts::{Plan, Storm};
use super::checks::Checks;
use super::node::{Pod, Process};
use crate::sabotage::Sabotage;
use crate::{Bond, MemberMessage, Settings};

/// How long a cluster may take to recover when nothing is broken any more, in microseconds.
const RECOVERY: u64 = 20_000_000;

#[derive(Debug, Clone)]
pub(super) enum Event {
    Deliver {
        from: Member,
        to: usize,
        message: Vec<u8>,
    },
    Tick {
        pod: usize,
        life: u64,
    },
    /// Links and discovery are looked at, entries fetched.
    Maintain {
        pod: usize,
    },
    /// All data threads follow a view.
    Followed {
        pod: usize,
        life: u64,
        view: u64,
    },
    /// The process goes on: the first that happens to it after a stop.
    Resume,
    Start {
        pod: usize,
    },
    /// A proposal is through, if its leader still leads.
    Commit {
        term: Term,
        command: Command,
    },
    /// The group looks whether a leader still leads; then it is told.
    Read {
        pod: usize,
        life: u64,
        term: Term,
        read: u64,
    },
    ReadAnswer {
        pod: usize,
        life: u64,
        read: u64,
        at: Option<Index>,
    },
    /// Somebody learns who leads.
    Leads {
        pod: usize,
        life: u64,
        term: Term,
    },
    Watch,
    Act,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Report {
    pub(super) clusters: u64,
    pub(super) elections: u64,
    pub(super) removals: u64,
    pub(super) lives: u64,
    pub(super) served: u64,
    pub(super) lost: u64,
    pub(super) all_lost: u64,
    pub(super) set_aside: u64,
    pub(super) pauses: u64,
    pub(super) steps: u64,
    pub(super) recovery_max: u64,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        let Self { clusters, elections, removals, lives, served, lost, all_lost, set_aside, pauses, steps, .. } = other;
        for (sum, value) in [
            (&mut self.clusters, clusters),
            (&mut self.elections, elections),
            (&mut self.removals, removals),
            (&mut self.lives, lives),
            (&mut self.served, served),
            (&mut self.lost, lost),
            (&mut self.all_lost, all_lost),
            (&mut self.set_aside, set_aside),
            (&mut self.pauses, pauses),
            (&mut self.steps, steps),
        ] {
            *sum += value;
        }
        self.recovery_max = self.recovery_max.max(other.recovery_max);
    }
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: u64,
    agenda: Agenda<u64, Event>,
    pub(super) pods: Vec<Pod>,
    /// What the build knows that is started in each.
    pub(super) levels: Vec<Level>,
    pub(super) network: Network,
    pub(super) plan: Plan,
    /// How many groups were ever made; the last one counts.
    pub(super) groups: u64,
    /// Who has a vote in it: whoever has been sent entries and is a node of the cluster.
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) log: Vec<Entry>,
    /// All that is committed, applied.
    pub(super) truth: Meta,
    pub(super) group: Leadership,
    /// Proposals that are not committed; the next leader may have them or not.
    pub(super) open: Vec<Command>,
    /// What the operator has recorded.
    pub(super) known: Option<ClusterId>,
    pub(super) are_all_lost: bool,
    pub(super) settings: Settings,
    pub(super) checks: Checks,
    pub(super) report: Report,
    pub(super) trace: bool,
}

impl World {
    pub(super) fn new(seed: u64, storm: Storm, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(storm, &mut random);
        let clock = |random: &mut Random| Clock::draw(&plan.clocks_per_thousand, random);
        let pods = (0..plan.nodes + 1).map(|pod| Pod::new(pod, clock(&mut random))).collect();
        let mut world = Self {
            random,
            now: 0,
            agenda: Agenda::new(),
            pods,
            levels: vec![LEVEL; plan.nodes + 1],
            network: Network::new(plan.weather),
            plan,
            groups: 0,
            voters: BTreeSet::new(),
            log: Vec::new(),
            truth: Meta::new(),
            group: Leadership::default(),
            open: Vec::new(),
            known: None,
            are_all_lost: false,
            settings: Settings { sabotage, ..Settings::default() },
            checks: Checks::default(),
            report: Report::default(),
            trace: false,
        };
        for pod in 0..world.plan.nodes {
            let micros = world.random.below(2_000_000);
            world.after(micros, Event::Start { pod });
        }
        for pod in 0..world.pods.len() {
            world.after(10_000 + 7000 * pod as u64, Event::Maintain { pod });
        }
        world.after(5000, Event::Watch);
        let first = if storm == Storm::Beginning { 1_000_000 } else { 8_000_000 };
        world.after(first, Event::Act);
        world
    }

    pub(super) fn after(&mut self, micros: u64, event: Event) {
        self.agenda.at(self.now + micros, event);
    }

    /// Runs the plan, mends everything, and waits until all are back.
    pub(super) fn run(mut self) -> Result<Report, Violation> {
        while self.now < self.plan.duration {
            self.step()?;
        }
        self.mend();
        self.report.recovery_max = self.wait_until(Self::has_recovered)?;
        if self.plan.loses_all {
            self.lose_all();
            self.wait_until(|world| (0..world.plan.nodes).all(|pod| world.knows_of_loss(pod)))?;
            // And it stays so.
            let until = self.now + 10_000_000;
            while self.now < until {
                self.step()?;
            }
        }
        Ok(self.report)
    }

    /// How long it took.
    pub(super) fn wait_until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<u64, Violation> {
        let since = self.now;
        while !is_so(self) {
            if self.now > since + RECOVERY {
                return Err(Violation::Stuck(self.describe()));
            }
            self.step()?;
        }
        Ok(self.now - since)
    }

    pub(super) fn describe(&self) -> String {
        let pods = self.pods.iter().enumerate().filter_map(|(at, pod)| {
            let process = pod.process.as_ref()?;
            let missing = process.membership.missing(&process.meta, self.read_clock(at));
            let missing: Vec<String> = missing.iter().map(|it| it.text(&|_| None)).collect();
            let bond = pod.folder.as_ref().map(|disk| (disk.bond(), disk.group));
            let status = process.membership.status(&process.meta, self.read_clock(at));
            let status = (status.leader, status.term, status.followed, status.applied, status.serves);
            Some(format!("pod {at}, {}, {status:?}, {bond:?}, {missing:?}, ticks {:?}", process.member(), pod.tick_at))
        });
        let nodes: Vec<_> = self.truth.nodes().map(|(_, node)| (node.member, &node.life)).collect();
        format!(
            "group {}, term {}, leader {}, log {}, now {}, {:#?}, {nodes:?}",
            self.groups,
            self.group.term,
            self.group.leader,
            self.log.len(),
            self.now,
            pods.collect::<Vec<_>>()
        )
    }

    /// All are in the view, serve, and know it.
    pub(super) fn has_recovered(&self) -> bool {
        self.truth.view().len() == self.plan.nodes
            && self.pods[..self.plan.nodes].iter().all(|pod| {
                let serves = |it: &Process| it.serves && it.meta.view() == self.truth.view();
                let bond = pod.folder.as_ref().map(super::node::Disk::bond);
                pod.process.as_ref().is_some_and(serves) && bond == self.truth.cluster().map(Bond::Belongs)
            })
    }

    fn step(&mut self) -> Result<(), Violation> {
        let (at, event) = self.agenda.pop().expect("the watch never ends");
        self.now = at;
        self.report.steps += 1;
        if let Some(until) = event_pod(&event).map(|pod| self.pods[pod].paused_until).filter(|until| *until > at) {
            self.agenda.at(until, event);
            return Ok(());
        }
        self.handle(event)?;
        if self.known.is_none() && self.random.once_in(2000) {
            self.known = self.truth.cluster();
        }
        self.checks.step(&self.truth, &self.pods, self.now)
    }

    fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, &message)?,
            Event::Tick { pod, life } => {
                if self.pods[pod].life == life {
                    self.pods[pod].tick_at = None;
                    self.call(pod, |membership, meta, now, out| membership.tick(meta, now, out))?;
                }
            }
            Event::Maintain { pod } => {
                self.after(100_000, Event::Maintain { pod });
                if self.is_awake(pod) {
                    self.maintain(pod)?;
                }
            }
            Event::Followed { pod, life, view } => {
                if let Some(process) = self.process(pod, life) {
                    process.threads = process.threads.max(view);
                    self.call(pod, |membership, meta, now, out| membership.followed(view, meta, now, out))?;
                }
            }
            Event::Resume => {}
            Event::Start { pod } => self.start(pod)?,
            Event::Commit { term, command } => {
                let is_open = self.open.contains(&command);
                if is_open && term == self.group.term && self.has_majority(self.group.leader) {
                    self.open.retain(|open| *open != command);
                    return self.commit(command);
                }
            }
            Event::Read { pod, life, term, read } => {
                let leads = term == self.group.term && pod == self.group.leader && self.has_majority(pod);
                let at = leads.then_some(self.log.len() as Index);
                let micros = self.network.delay(&mut self.random);
                self.after(micros, Event::ReadAnswer { pod, life, read, at });
            }
            Event::ReadAnswer { pod, life, read, at } => {
                if self.pods[pod].life == life {
                    self.call(pod, |membership, meta, now, out| match at {
                        Some(at) => membership.confirmed(read, at, meta, now, out),
                        None => membership.read_failed(read, meta, now, out),
                    })?;
                }
            }
            Event::Leads { pod, life, term } => self.learn_leader(pod, life, term)?,
            Event::Watch => {
                self.after(50_000, Event::Watch);
                self.watch()?;
            }
            Event::Act => self.act()?,
        }
        Ok(())
    }

    pub(super) fn read_clock(&self, pod: usize) -> Moment {
        Moment(self.pods[pod].clock.read(self.now))
    }

    pub(super) fn process(&mut self, pod: usize, life: u64) -> Option<&mut Process> {
        self.pods[pod].process_of(life)
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: &MemberMessage) {
        let Some(sender) = self.pods[from].process.as_ref().map(Process::member) else { return };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        for micros in self.network.carry(from, to, &mut self.random) {
            self.after(micros, Event::Deliver { from: sender, to, message: bytes.clone() });
        }
    }

    pub(super) fn is_awake(&self, pod: usize) -> bool {
        self.pods[pod].is_awake(self.now)
    }

    pub(super) fn are_linked(&self, one: usize, other: usize) -> bool {
        one != other && self.is_awake(one) && self.is_awake(other) && self.network.links(one, other)
    }
}

/// Whose process an event concerns. A stopped one learns of it later.
fn event_pod(event: &Event) -> Option<usize> {
    match event {
        Event::Deliver { to: pod, .. }
        | Event::Tick { pod, .. }
        | Event::Followed { pod, .. }
        | Event::ReadAnswer { pod, .. }
        | Event::Leads { pod, .. } => Some(*pod),
        Event::Resume | Event::Start { .. } | Event::Commit { .. } | Event::Read { .. } => None,
        Event::Watch | Event::Act | Event::Maintain { .. } => None,
    }
}
