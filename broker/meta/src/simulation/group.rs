//! The group as far as it matters here: a log that all share, leaders that come and go, proposals that are lost, late
//! or found again by the next leader, reads that are confirmed, and nodes that are behind.

use fulmar_harness::Violation;

use super::node::Pod;
use super::world::{Event, Message, World};
use crate::*;

impl World {
    pub(super) fn has_majority(&self, pod: usize) -> bool {
        let reached = (0..self.plan.nodes).filter(|other| *other == pod || self.are_linked(pod, *other)).count();
        self.is_awake(pod) && 2 * reached > self.plan.nodes
    }

    /// Elects another leader when the last one is alone for long.
    pub(super) fn watch(&mut self) -> Result<(), Violation> {
        let knows = self.pods[self.group.leader].process.as_ref().is_some_and(|it| it.term.is_some());
        let is_led = self.has_majority(self.group.leader) && knows;
        if !self.group.is_over(is_led, self.now, &mut self.random) {
            return Ok(());
        }
        let pods: Vec<usize> = (0..self.plan.nodes).filter(|pod| self.has_majority(*pod)).collect();
        if !pods.is_empty() {
            let pod = self.random.pick(&pods);
            self.hand_over(pod)?;
        }
        Ok(())
    }

    /// A new leader, who has some of what was proposed before.
    pub(super) fn hand_over(&mut self, pod: usize) -> Result<(), Violation> {
        for (command, asker) in std::mem::take(&mut self.open) {
            if self.random.below(2) == 0 {
                self.commit(command, asker)?;
            }
        }
        self.report.elections += 1;
        self.elect(pod);
        Ok(())
    }

    pub(super) fn elect(&mut self, pod: usize) {
        let told = self.group.elect(pod, &self.network, &mut self.random);
        for (pod, micros) in told {
            let (life, term) = (self.pods[pod].life, self.group.term);
            self.after(micros, Event::Leads { pod, life, term });
        }
    }

    pub(super) fn learn_leader(&mut self, pod: usize, life: u64, term: Term) {
        let now = self.read_clock(pod);
        let (is_current, leader) = (term == self.group.term, self.group.leader);
        // Who was the leader and is cut off hears of it only by giving up.
        let mut out = Vec::new();
        let Some(process) = self.process(pod, life) else { return };
        if is_current && leader == pod {
            if process.term != Some(term) {
                process.term = Some(term);
                process.leases.lead(term, now, &mut out);
            }
        } else if process.term.is_some_and(|led| led < term) {
            process.term = None;
            process.leases.follow();
        }
        self.carry_out_leases(pod, out);
        self.schedule(pod);
    }

    /// Somebody who leads, or did, wants this committed.
    pub(super) fn propose(&mut self, pod: usize, term: Term, command: Command, asker: Option<(usize, u64)>) {
        if term == self.group.term && pod == self.group.leader {
            self.open.push((command.clone(), asker));
        }
        let micros = self.network.delay(&mut self.random);
        self.after(micros, Event::Commit { term, command, asker });
    }

    pub(super) fn commit(&mut self, command: Command, asker: Option<(usize, u64)>) -> Result<(), Violation> {
        let (removes, begins) =
            (matches!(command, Command::Remove { .. }), matches!(command, Command::Boot { .. } | Command::Join { .. }));
        let mut bytes = Vec::new();
        Entry { time: self.now / 1000, commands: vec![command] }.encode(&mut bytes);
        let entry = Entry::decode(&bytes).expect("entries travel as bytes");
        let index = self.log.len() as Index + 1;
        let applied = self.truth.apply(index, &entry);
        self.log.push(entry);
        let reply = &applied.replies[0];
        if self.trace {
            println!("{:9.6} committed {index}: {:?} -> {reply:?}", self.now as f64 / 1e6, self.log.last());
        }
        self.report.removals += u64::from(removes && *reply == Reply::Done);
        self.report.lives += u64::from(begins && *reply == Reply::Done);
        let answer = Answer::of(reply);
        if let Some((pod, _)) = asker.filter(|(pod, life)| self.pods[*pod].life == *life) {
            self.send(self.group.leader, pod, &Message::Answer(answer));
        }
        self.checks.committed(&self.truth, &self.pods, self.now)
    }

    /// Applies what the leader has sent meanwhile.
    pub(super) fn fetch(&mut self, pod: usize) -> Result<(), Violation> {
        let reaches = pod == self.group.leader
            || (self.is_awake(self.group.leader) && self.network.reaches(self.group.leader, pod));
        let Pod { process: Some(process), folder, .. } = &mut self.pods[pod] else { return Ok(()) };
        let from = process.meta.applied() as usize;
        if !reaches || from >= self.log.len() {
            return Ok(());
        }
        process.leader = self.group.leader;
        let until = from + 1 + self.random.below((self.log.len() - from) as u64) as usize;
        let mut ended = Vec::new();
        for (entry, index) in self.log[from..until].iter().zip(from as Index + 1..) {
            process.meta.apply(index, entry);
            ended.extend(process.waiters.follow(process.meta.view()));
        }
        if let Some(folder) = folder {
            folder.has_joined |= process.meta.node(folder.id).is_some();
            folder.meta = process.meta.clone();
        }
        let now = self.read_clock(pod);
        let (mut out, mut lease_out) = (Vec::new(), Vec::new());
        if let Some(process) = &mut self.pods[pod].process {
            process.lease.applied(&process.meta, now, &mut lease_out);
            process.leases.applied(&process.meta, now, &mut out);
        }
        for token in ended {
            self.acknowledge(pod, token, true)?;
        }
        self.carry_out_leases(pod, out);
        self.carry_out_lease(pod, lease_out);
        Ok(())
    }
}
