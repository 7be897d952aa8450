//! The events of a run, in the order of real time, and the log that all nodes share.

use std::ops::AddAssign;

use fulmar_harness::{Agenda, Clock, Leadership, Network, Violation};
use fulmar_random::Random;

use super::acts::{Plan, Storm};
use super::checks::Checks;
use super::node::{CLUSTER, Folder, Pod, Process};
use crate::sabotage::Sabotage;
use crate::*;

/// How long a cluster may take to recover when nothing is broken any more, in microseconds.
const RECOVERY: u64 = 20_000_000;

/// What nodes send each other.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Renewal(Renewal),
    Grant(Grant),
    Goodbye(Goodbye),
    Request(Command),
    Answer(Answer),
    Publish { token: u64, to: Member },
    Confirmed { token: u64, by: Member },
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Deliver {
        from: usize,
        to: usize,
        message: Message,
    },
    Tick {
        pod: usize,
        life: u64,
    },
    /// Links are looked at, entries fetched, requests made.
    Maintain {
        pod: usize,
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
        asker: Option<(usize, u64)>,
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
    Publish,
    Act,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Report {
    pub(super) elections: u64,
    pub(super) removals: u64,
    pub(super) lives: u64,
    pub(super) retired: u64,
    pub(super) refused_folders: u64,
    pub(super) pauses: u64,
    pub(super) acknowledged: u64,
    pub(super) not_allowed: u64,
    pub(super) ended_by_view: u64,
    pub(super) steps: u64,
    pub(super) recovery_max: u64,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        let Self { elections, removals, lives, retired, refused_folders, pauses, acknowledged, .. } = *other;
        for (sum, value) in [
            (&mut self.elections, elections),
            (&mut self.removals, removals),
            (&mut self.lives, lives),
            (&mut self.retired, retired),
            (&mut self.refused_folders, refused_folders),
            (&mut self.pauses, pauses),
            (&mut self.acknowledged, acknowledged),
            (&mut self.not_allowed, other.not_allowed),
            (&mut self.ended_by_view, other.ended_by_view),
            (&mut self.steps, other.steps),
        ] {
            sum.add_assign(value);
        }
        self.recovery_max = self.recovery_max.max(other.recovery_max);
    }
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: u64,
    agenda: Agenda<u64, Event>,
    pub(super) pods: Vec<Pod>,
    pub(super) network: Network,
    pub(super) plan: Plan,
    pub(super) log: Vec<Entry>,
    /// All that is committed, applied.
    pub(super) truth: Meta,
    pub(super) group: Leadership,
    /// Proposals that are not committed; the next leader may have them or not.
    pub(super) open: Vec<(Command, Option<(usize, u64)>)>,
    pub(super) last_token: u64,
    pub(super) settings: Settings,
    pub(super) checks: Checks,
    pub(super) report: Report,
    pub(super) trace: bool,
}

impl World {
    pub(super) fn new(seed: u64, storm: Storm, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(storm, &mut random);
        let settings = Settings { sabotage, ..Settings::default() };
        let clock = |random: &mut Random| Clock::draw(&plan.clocks_per_thousand, random);
        let pods = (0..plan.nodes + 1).map(|pod| Pod::new(pod, clock(&mut random))).collect();
        let mut world = Self {
            random,
            now: 0,
            agenda: Agenda::new(),
            pods,
            network: Network::new(plan.weather),
            plan,
            log: Vec::new(),
            truth: Meta { sabotage, ..Meta::new() },
            group: Leadership::default(),
            open: Vec::new(),
            last_token: 0,
            settings,
            checks: Checks::default(),
            report: Report::default(),
            trace: false,
        };
        world.begin();
        world
    }

    /// The first node has bootstrapped, the others start with empty folders.
    pub(super) fn begin(&mut self) {
        let meta = self.truth.clone();
        self.pods[0].folder = Some(Folder { id: 1, counter: 0, made_at: 0, has_joined: true, meta });
        self.start(0);
        let name = self.pods[0].name.clone();
        let first = self.pods[0].process.as_ref().expect("it was just started").start(&name);
        self.commit(Command::Bootstrap { cluster: CLUSTER, shards: 1, first }, None).expect("it is the first");
        for pod in 0..self.plan.nodes {
            self.after(1000 * pod as u64, Event::Start { pod });
        }
        for pod in 0..self.pods.len() {
            self.after(10_000 + 7000 * pod as u64, Event::Maintain { pod });
        }
        self.after(5000, Event::Watch);
        self.after(1_000_000, Event::Publish);
        self.after(3_000_000, Event::Act);
        self.elect(0);
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
        let mended = self.now;
        while !self.has_recovered() {
            if self.now > mended + RECOVERY {
                return Err(Violation::Stuck(self.describe()));
            }
            self.step()?;
        }
        self.report.recovery_max = self.now - mended;
        self.report.retired = self.checks.retired.len() as u64;
        Ok(self.report)
    }

    pub(super) fn describe(&self) -> String {
        let pods = self.pods.iter().map(|pod| {
            let process = pod.process.as_ref();
            process.map(|it| {
                (
                    it.member,
                    it.term,
                    it.leader,
                    it.meta.applied(),
                    it.leases.is_granting(),
                    pod.folder.as_ref().map(|folder| folder.has_joined),
                )
            })
        });
        let nodes: Vec<_> = self.truth.nodes().map(|(_, node)| (node.member, &node.life)).collect();
        format!("term {}, leader {}, {:?}, {nodes:?}", self.group.term, self.group.leader, pods.collect::<Vec<_>>())
    }

    /// All are in the view, serve, and know it.
    pub(super) fn has_recovered(&self) -> bool {
        self.truth.view().len() == self.plan.nodes
            && self.pods[..self.plan.nodes].iter().all(|pod| {
                let process = pod.process.as_ref();
                process.is_some_and(|process| process.is_serving && process.meta.view() == self.truth.view())
            })
    }

    pub(super) fn step(&mut self) -> Result<(), Violation> {
        let (at, event) = self.agenda.pop().expect("the watch never ends");
        self.now = at;
        self.report.steps += 1;
        if let Some(until) = event_pod(&event).map(|pod| self.pods[pod].paused_until).filter(|until| *until > at) {
            self.agenda.at(until, event);
            return Ok(());
        }
        if self.trace && !matches!(event, Event::Maintain { .. } | Event::Watch | Event::Tick { .. }) {
            println!("{:9.6} {event:?}", at as f64 / 1e6);
        }
        self.handle(event)?;
        self.checks.step(&self.truth, &self.pods, self.now)
    }

    pub(super) fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message)?,
            Event::Tick { pod, life } => {
                if self.pods[pod].life == life {
                    self.pods[pod].tick_at = None;
                    self.tick(pod);
                }
            }
            Event::Maintain { pod } => {
                self.after(100_000, Event::Maintain { pod });
                if self.is_awake(pod) {
                    self.maintain(pod)?;
                }
            }
            Event::Resume => {}
            Event::Start { pod } => self.start(pod),
            Event::Commit { term, command, asker } => {
                if term == self.group.term && self.has_majority(self.group.leader) {
                    self.open.retain(|(open, _)| *open != command);
                    return self.commit(command, asker);
                }
                if self.random.below(4) == 0 {
                    // A careless shell hands it to the next leader, much later.
                    let (term, micros) = (self.group.term, self.random.below(3_000_000));
                    self.after(micros, Event::Commit { term, command, asker });
                }
            }
            Event::Read { pod, life, term, read } => {
                let leads = term == self.group.term && pod == self.group.leader && self.has_majority(pod);
                let at = leads.then_some(self.log.len() as Index);
                let micros = self.network.delay(&mut self.random);
                self.after(micros, Event::ReadAnswer { pod, life, read, at });
            }
            Event::ReadAnswer { pod, life, read, at } => {
                let now = self.read_clock(pod);
                let mut out = Vec::new();
                if let Some(process) = self.process(pod, life) {
                    match at {
                        Some(at) => process.leases.confirmed(read, at, &process.meta, now, &mut out),
                        None => process.leases.unconfirmed(read),
                    }
                }
                self.carry_out_leases(pod, out);
            }
            Event::Leads { pod, life, term } => self.learn_leader(pod, life, term),
            Event::Watch => {
                self.after(50_000, Event::Watch);
                self.watch()?;
            }
            Event::Publish => {
                let micros = self.random.below(400_000);
                self.after(micros, Event::Publish);
                self.publish()?;
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

    pub(super) fn send(&mut self, from: usize, to: usize, message: &Message) {
        for micros in self.network.carry(from, to, &mut self.random) {
            self.after(micros, Event::Deliver { from, to, message: message.clone() });
        }
    }

    pub(super) fn is_awake(&self, pod: usize) -> bool {
        self.pods[pod].is_awake(self.now)
    }

    pub(super) fn are_linked(&self, one: usize, other: usize) -> bool {
        self.is_awake(one) && self.is_awake(other) && self.network.links(one, other)
    }

    /// Where the process is that is this life of a node, as this node knows it.
    pub(super) fn find(&self, meta: &Meta, member: Member) -> Option<usize> {
        let nonce = meta.node(member.id)?.nonce;
        self.pods.iter().position(|pod| {
            pod.process.as_ref().is_some_and(|process| (process.member, process.nonce) == (member, nonce))
        })
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, message: Message) -> Result<(), Violation> {
        let now = self.read_clock(to);
        let (mut out, mut lease_out) = (Vec::new(), Vec::new());
        let asker = (from, self.pods[from].life);
        let Some(process) = &mut self.pods[to].process else { return Ok(()) };
        match message {
            Message::Renewal(renewal) => process.leases.renewed(&renewal, &process.meta, now, &mut out),
            Message::Grant(grant) => process.lease.granted(&grant, now, &mut lease_out),
            Message::Goodbye(goodbye) => process.leases.stopped(goodbye, &process.meta, now, &mut out),
            Message::Request(command) => {
                let Some(term) = process.term else { return Ok(()) };
                let reply = process.meta.foresee(&command);
                if matches!(&reply, Reply::Refused(refusal) if refusal.advice() == Advice::Retry) {
                    self.send(to, from, &Message::Answer(Answer::of(&reply)));
                } else {
                    self.propose(to, term, command, Some(asker));
                }
            }
            Message::Answer(answer) => self.answered(to, &answer),
            Message::Publish { token, to: wanted } => {
                if process.member == wanted {
                    self.send(to, from, &Message::Confirmed { token, by: wanted });
                }
            }
            Message::Confirmed { token, by } => {
                if let Some(published) = process.published.get_mut(&token) {
                    published.confirmed.insert(by);
                }
                if process.waiters.confirmed(&token, by) {
                    self.acknowledge(to, token, false)?;
                }
            }
        }
        self.carry_out_leases(to, out);
        self.carry_out_lease(to, lease_out);
        Ok(())
    }
}

/// Whose process an event concerns. A stopped one learns of it later.
fn event_pod(event: &Event) -> Option<usize> {
    match event {
        Event::Deliver { to: pod, .. }
        | Event::Tick { pod, .. }
        | Event::ReadAnswer { pod, .. }
        | Event::Leads { pod, .. } => Some(*pod),
        Event::Resume | Event::Start { .. } | Event::Commit { .. } | Event::Read { .. } => None,
        Event::Watch | Event::Publish | Event::Act | Event::Maintain { .. } => None,
    }
}
