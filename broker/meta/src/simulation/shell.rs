//! What a node does with what the pure parts put out, as the program would.

use fulmar_harness::Violation;

use super::node::{Folder, Process};
use super::world::{Event, Message, World};
use crate::*;

impl World {
    pub(super) fn start(&mut self, pod: usize) {
        if self.pods[pod].process.is_some() {
            return;
        }
        let (nonce, made_at, leader) = (self.random.next(), self.truth.applied(), self.group.leader);
        let (id, sabotage) = (self.random.next(), self.settings.sabotage);
        let it = &mut self.pods[pod];
        let empty = || Folder { id, counter: 0, made_at, has_joined: false, meta: Meta { sabotage, ..Meta::new() } };
        let folder = it.folder.get_or_insert_with(empty);
        folder.counter += 1;
        let process = Process::new(self.settings, folder, nonce, leader, sabotage);
        it.begin(process);
        self.schedule(pod);
    }

    pub(super) fn crash(&mut self, pod: usize) {
        self.pods[pod].crash();
    }

    pub(super) fn maintain(&mut self, pod: usize) -> Result<(), Violation> {
        self.fetch(pod)?;
        self.look_at_links(pod)?;
        let (Some(process), Some(folder)) = (&self.pods[pod].process, &self.pods[pod].folder) else { return Ok(()) };
        let leader = process.leader;
        for command in process.requests(folder, &self.pods[pod].name) {
            self.send(pod, leader, &Message::Request(command));
        }
        let again: Vec<u64> = self.pods[pod].process.iter().flat_map(|it| it.published.keys().copied()).collect();
        for token in again {
            self.ask(pod, token);
        }
        if self.random.below(30) == 0 {
            self.pods[pod].backup = self.pods[pod].folder.clone();
        }
        self.schedule(pod);
        Ok(())
    }

    /// Links are noticed to be lost after two seconds, and to be there at once.
    pub(super) fn look_at_links(&mut self, pod: usize) -> Result<(), Violation> {
        let Some(process) = &self.pods[pod].process else { return Ok(()) };
        let (me, meta) = (process.member, &process.meta);
        let others: Vec<Member> = meta.view().members().filter(|member| *member != me).collect();
        let found: Vec<bool> = others
            .iter()
            .map(|member| self.find(meta, *member).is_some_and(|other| self.are_linked(pod, other)))
            .collect();
        let now = self.now;
        let Some(process) = &mut self.pods[pod].process else { return Ok(()) };
        process.linked.retain(|member, _| others.contains(member));
        let (mut unreachable, mut ended) = (Vec::new(), Vec::new());
        for (member, is_linked) in others.into_iter().zip(found) {
            let state = process.linked.entry(member).or_insert((is_linked, now));
            if state.0 != is_linked {
                *state = (is_linked, now);
            }
            if !is_linked && now - state.1 >= 2_000_000 {
                unreachable.push(member.id);
                ended.extend(process.waiters.link_lost(member));
            }
        }
        process.lease.set_unreachable(unreachable);
        for token in ended {
            self.acknowledge(pod, token, true)?;
        }
        Ok(())
    }

    pub(super) fn tick(&mut self, pod: usize) {
        let now = self.read_clock(pod);
        let (mut out, mut lease_out) = (Vec::new(), Vec::new());
        if let Some(process) = &mut self.pods[pod].process {
            process.lease.tick(now, &mut lease_out);
            process.leases.tick(&process.meta, now, &mut out);
        }
        self.carry_out_leases(pod, out);
        self.carry_out_lease(pod, lease_out);
    }

    /// Ticks at the next deadline.
    pub(super) fn schedule(&mut self, pod: usize) {
        let now = self.read_clock(pod);
        let Some(process) = &self.pods[pod].process else { return };
        let deadlines = process.lease.next_deadline().into_iter().chain(process.leases.next_deadline(now));
        let Some(Moment(deadline)) = deadlines.min() else { return };
        if let Some(micros) = self.pods[pod].tick_in(deadline, self.now) {
            let life = self.pods[pod].life;
            self.after(micros, Event::Tick { pod, life });
        }
    }

    pub(super) fn carry_out_leases(&mut self, pod: usize, outputs: Vec<LeasesOutput>) {
        let life = self.pods[pod].life;
        for output in outputs {
            let Some(term) = self.pods[pod].process.as_ref().and_then(|it| it.term) else { return };
            match output {
                LeasesOutput::Propose(command) => self.propose(pod, term, command, None),
                LeasesOutput::Read(read) => {
                    let micros = self.network.delay(&mut self.random);
                    self.after(micros, Event::Read { pod, life, term, read });
                }
                LeasesOutput::Grant(grant) => {
                    // Copies of a folder take each other's letters.
                    let is_its =
                        |to: &usize| self.pods[*to].process.as_ref().is_some_and(|it| it.member == grant.member);
                    for to in (0..self.pods.len()).filter(is_its).collect::<Vec<_>>() {
                        self.send(pod, to, &Message::Grant(grant));
                    }
                }
                LeasesOutput::StepAside(node) => {
                    let has_id = |pod: &usize| self.pods[*pod].process.as_ref().is_some_and(|it| it.member.id == node);
                    let to = (0..self.plan.nodes).find(has_id).filter(|to| self.has_majority(*to));
                    if let Some(to) = to.filter(|_| pod == self.group.leader) {
                        self.open.clear();
                        self.report.elections += 1;
                        self.elect(to);
                    }
                }
            }
        }
        self.schedule(pod);
    }

    pub(super) fn carry_out_lease(&mut self, pod: usize, outputs: Vec<LeaseOutput>) {
        for output in outputs {
            let Some(process) = &mut self.pods[pod].process else { return };
            match output {
                LeaseOutput::Renew(renewal) => {
                    let leader = process.leader;
                    self.send(pod, leader, &Message::Renewal(renewal));
                }
                LeaseOutput::Serve => process.is_serving = true,
                LeaseOutput::CloseClients => {
                    process.is_serving = false;
                    process.published.clear();
                }
                LeaseOutput::BeginNextLife { .. } => self.begin_next_life(pod),
            }
        }
        self.schedule(pod);
    }

    pub(super) fn begin_next_life(&mut self, pod: usize) {
        let (sabotage, settings) = (self.settings.sabotage, self.settings);
        let it = &mut self.pods[pod];
        let (Some(process), Some(folder)) = (&mut it.process, &mut it.folder) else { return };
        folder.counter += 1;
        let next = Process::new(settings, folder, process.nonce, process.leader, sabotage);
        let (term, mut leases) = (process.term, process.leases.clone());
        leases.begin_life(next.member);
        *process = Process { term, leases, meta: process.meta.clone(), ..next };
        process.waiters.follow(process.meta.view());
    }

    pub(super) fn answered(&mut self, pod: usize, answer: &Answer) {
        let Some(process) = &self.pods[pod].process else { return };
        if process.is_in_view() {
            return;
        }
        match answer.advice {
            Advice::Done | Advice::Retry => {}
            Advice::NextLife => {
                if let Some(folder) = &mut self.pods[pod].folder {
                    folder.has_joined = true;
                }
                self.begin_next_life(pod);
            }
            Advice::StartAnew => {
                self.report.refused_folders += 1;
                self.crash(pod);
                self.pods[pod].folder = None;
                // Who runs beside another with a copy of its folder is not started again.
                if pod < self.plan.nodes {
                    self.after(500_000, Event::Start { pod });
                }
            }
            Advice::GiveUp => panic!("{}: {}", self.pods[pod].name, answer.text),
        }
    }
}
