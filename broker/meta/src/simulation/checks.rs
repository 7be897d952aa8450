//! What must hold after every step.

use std::collections::BTreeSet;

use fulmar_harness::Violation;

use super::node::Pod;
use crate::{Life, Member, Meta, Moment, NodeId};

#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Lives that left the view.
    over: BTreeSet<Member>,
    pub(super) retired: BTreeSet<NodeId>,
    view: u64,
    live: BTreeSet<Member>,
}

impl Checks {
    /// Who may acknowledge at this very moment, by a clock that it reads now, is in the latest view, and all others
    /// wait for it. Whoever is stopped does nothing.
    pub(super) fn step(&self, truth: &Meta, pods: &[Pod], now: u64) -> Result<(), Violation> {
        for pod in pods.iter().filter(|pod| pod.paused_until <= now) {
            let Some(process) = &pod.process else { continue };
            if !process.lease.may_acknowledge(Moment(pod.clock.read(now))) {
                continue;
            }
            let node = truth.node(process.member.id).filter(|node| node.nonce == process.nonce);
            let is_up = node.is_some_and(|node| node.member == process.member && node.life == Life::Up);
            if !is_up || !truth.view().contains(process.member) {
                let found = node.map(|node| (node.member, &node.life));
                let (member, view) = (process.member, truth.view().number);
                return Err(Violation::Harm(format!("{member} may acknowledge in view {view}, but is {found:?}")));
            }
        }
        Ok(())
    }

    /// After each commit: who left the view had no lease, and never comes back.
    pub(super) fn committed(&mut self, truth: &Meta, pods: &[Pod], now: u64) -> Result<(), Violation> {
        let view = truth.view();
        for (id, _) in truth.nodes() {
            if self.retired.contains(&id) {
                return Err(Violation::Harm(format!("retired node {id} is back")));
            }
        }
        let known: BTreeSet<NodeId> = self.live.iter().chain(&self.over).map(|member| member.id).collect();
        self.retired.extend(known.into_iter().filter(|id| truth.node(*id).is_none()));
        if view.number == self.view {
            return Ok(());
        }
        let live: BTreeSet<Member> = view.members().collect();
        for member in self.live.difference(&live) {
            self.over.insert(*member);
            let of_member = pods.iter().filter_map(|pod| pod.process.as_ref().map(|process| (pod, process)));
            for (pod, process) in of_member.filter(|(_, process)| process.member == *member) {
                if process.lease.runs_until().is_some_and(|until| until > Moment(pod.clock.read(now))) {
                    return Err(Violation::Harm(format!("{member} left the view, but its lease runs")));
                }
            }
        }
        if let Some(member) = live.difference(&self.live).find(|member| self.over.contains(member)) {
            return Err(Violation::Harm(format!("{member} is back in the view, though its life is over")));
        }
        (self.view, self.live) = (view.number, live);
        Ok(())
    }
}
