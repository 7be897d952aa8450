//! Group 0 as far as it matters here: a log that all who are in it share, leaders that come and go, proposals that are
//! lost or found again by the next leader, reads that are confirmed, and nodes that are behind.

use fulmar_harness::Violation;
use fulmar_meta::*;

use super::world::{Event, World};

impl World {
    /// Whether the pod's folder is of a voter of this group.
    fn is_voter(&self, pod: usize) -> bool {
        let folder = self.pods[pod].folder.as_ref().filter(|folder| folder.group == Some(self.groups));
        folder.is_some_and(|folder| self.voters.contains(&folder.id))
    }

    pub(super) fn has_majority(&self, pod: usize) -> bool {
        if !self.is_awake(pod) || !self.is_voter(pod) {
            return false;
        }
        let of = self.voters.len();
        let others = (0..self.plan.nodes).filter(|other| *other == pod || self.are_linked(pod, *other));
        2 * others.filter(|other| self.is_voter(*other)).count() > of
    }

    /// Elects another leader when the last one is alone for long.
    pub(super) fn watch(&mut self) -> Result<(), Violation> {
        if self.groups == 0 {
            return Ok(());
        }
        let knows =
            |pod: usize| self.pods[pod].process.as_ref().is_some_and(|it| it.leads && it.term == self.group.term);
        let is_led = self.has_majority(self.group.leader) && knows(self.group.leader);
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
        for command in std::mem::take(&mut self.open) {
            if self.random.once_in(2) {
                self.commit(command)?;
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

    pub(super) fn learn_leader(&mut self, pod: usize, life: u64, term: Term) -> Result<(), Violation> {
        let (is_current, leader) = (term == self.group.term, self.group.leader);
        // Who was the leader and is cut off hears of it only by giving up.
        let Some(process) = self.process(pod, life) else { return Ok(()) };
        let me = process.member().id;
        let role = if is_current && leader == pod && (process.term, process.leads) != (term, true) {
            (term, Some(me), true)
        } else if process.leads && process.term < term {
            (term, None, false)
        } else {
            return Ok(());
        };
        (process.term, process.leader, process.leads) = role;
        process.came.clear();
        self.call(pod, |membership, meta, now, out| membership.role(role.0, role.1, role.2, meta, now, out))
    }

    /// Whoever leads, or did, wants this committed.
    pub(super) fn propose(&mut self, pod: usize, term: Term, command: Command) {
        if term == self.group.term && pod == self.group.leader {
            self.open.push(command.clone());
            let micros = self.network.delay(&mut self.random);
            self.after(micros, Event::Commit { term, command });
        }
    }

    pub(super) fn commit(&mut self, command: Command) -> Result<(), Violation> {
        let removes = matches!(command, Command::Remove { .. });
        let begins = matches!(command, Command::Boot { .. } | Command::Join { .. });
        let bootstraps = matches!(command, Command::Bootstrap { .. });
        let entry = Entry { time: self.now / 1000, commands: vec![command] };
        let applied = self.truth.apply(self.log.len() as Index + 1, &entry);
        if self.trace {
            println!("{:9.6} committed {entry:?} -> {:?}", self.now as f64 / 1e6, applied.replies[0]);
        }
        self.log.push(entry);
        self.voters.retain(|id| self.truth.cluster().is_none() || self.truth.node(*id).is_some());
        let is_done = u64::from(applied.replies[0] == Reply::Done);
        self.report.removals += u64::from(removes) * is_done;
        self.report.lives += u64::from(begins) * is_done;
        self.report.clusters += u64::from(bootstraps) * is_done;
        self.checks.committed(&self.truth, &self.pods, self.now)
    }

    /// Applies what the leader has sent meanwhile: to those that are in the group, one of them after the other.
    pub(super) fn fetch(&mut self, pod: usize) -> Result<(), Violation> {
        let reaches = pod == self.group.leader
            || (self.is_awake(self.group.leader) && self.network.reaches(self.group.leader, pod));
        let Some(id) = self.pods[pod].folder.as_ref().map(|folder| folder.id) else { return Ok(()) };
        if !reaches || !(self.truth.node(id).is_some() || self.is_voter(pod)) {
            return Ok(());
        }
        let leader = self.pods[self.group.leader].process.as_ref().filter(|it| it.leads).map(|it| it.member().id);
        let (log_len, term, snapshot) = (self.log.len(), self.group.term, self.random.once_in(4));
        let Some(process) = &mut self.pods[pod].process else { return Ok(()) };
        if leader.is_some() && (process.term, process.leader) != (term, leader) && pod != self.group.leader {
            (process.term, process.leader, process.leads) = (term, leader, false);
            process.came.clear();
            self.call(pod, |membership, meta, now, out| membership.role(term, leader, false, meta, now, out))?;
        }
        let Some(process) = &mut self.pods[pod].process else { return Ok(()) };
        let from = process.meta.applied() as usize;
        if from >= log_len {
            return Ok(());
        }
        let mut commands = Vec::new();
        if from == 0 && snapshot {
            process.meta = self.truth.clone();
        } else {
            let until = from + 1 + self.random.below((log_len - from) as u64) as usize;
            for (entry, index) in self.log[from..until].iter().zip(from as Index + 1..) {
                let replies = process.meta.apply(index, entry).replies;
                commands.extend(entry.commands.iter().cloned().zip(replies));
            }
        }
        let meta = process.meta.clone();
        self.voters.insert(id);
        if let Some(folder) = &mut self.pods[pod].folder {
            (folder.group, folder.meta) = (Some(self.groups), meta);
        }
        self.call(pod, |membership, meta, now, out| membership.applied(&commands, meta, now, out))
    }
}
