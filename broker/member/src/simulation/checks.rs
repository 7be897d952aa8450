//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};

use fulmar_harness::Violation;
use fulmar_meta::{Life, Member, Meta, Moment, NodeId};

use super::node::Pod;

fn harm(what: String) -> Result<(), Violation> {
    Err(Violation::Harm(what))
}

#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Lives that left the view.
    over: BTreeSet<Member>,
    retired: BTreeSet<NodeId>,
    view: u64,
    live: BTreeSet<Member>,
    /// The view with which each life came.
    entered: BTreeMap<Member, u64>,
    up: BTreeSet<Member>,
}

impl Checks {
    /// Whose data threads acknowledge at this very moment, by a clock that they read now, is up in the latest view, has
    /// been told all filters and waits for all others. Whoever is stopped does nothing.
    pub(super) fn step(&self, truth: &Meta, pods: &[Pod], now: u64) -> Result<(), Violation> {
        for pod in pods.iter().filter(|pod| pod.paused_until <= now) {
            let Some(process) = &pod.process else { continue };
            if process.until.is_none_or(|until| until <= Moment(pod.clock.read(now))) {
                continue;
            }
            let member = process.member();
            let node = truth.node(member.id).filter(|node| node.nonce == process.nonce);
            let is_up = node.is_some_and(|node| node.member == member && node.life == Life::Up);
            if !is_up || !truth.view().contains(member) {
                let found = node.map(|node| (node.member, &node.life));
                return harm(format!("{member} acknowledges in view {}, but is {found:?}", truth.view().number));
            }
            if process.fed != Some(member) {
                return harm(format!("{member} acknowledges, but was not told all filters: {:?}", process.fed));
            }
            let entered = self.entered[&member];
            if process.threads < entered {
                return harm(format!("{member} acknowledges by view {}, but came with {entered}", process.threads));
            }
        }
        Ok(())
    }

    /// After each commit: who left the view acknowledges nothing, and never comes back; who is admitted is waited for.
    pub(super) fn committed(&mut self, truth: &Meta, pods: &[Pod], now: u64) -> Result<(), Violation> {
        let view = truth.view();
        if let Some((id, _)) = truth.nodes().find(|(id, _)| self.retired.contains(id)) {
            return harm(format!("retired node {id:016x} is back"));
        }
        let known: BTreeSet<NodeId> = self.live.iter().chain(&self.over).map(|member| member.id).collect();
        self.retired.extend(known.into_iter().filter(|id| truth.node(*id).is_none()));
        let of = |member: Member| {
            let of_pod = move |pod: &Pod| pod.process.as_ref().is_some_and(|process| process.member() == member);
            pods.iter().filter(move |pod| of_pod(pod)).filter_map(|pod| Some((pod, pod.process.as_ref()?)))
        };
        let live: BTreeSet<Member> = view.members().collect();
        for member in self.live.difference(&live) {
            self.over.insert(*member);
            for (pod, process) in of(*member) {
                if process.until.is_some_and(|until| until > Moment(pod.clock.read(now))) {
                    return harm(format!("{member} left the view, but acknowledges"));
                }
            }
        }
        if let Some(member) = live.difference(&self.live).find(|member| self.over.contains(member)) {
            return harm(format!("{member} is back in the view, though its life is over"));
        }
        for member in live.difference(&self.live) {
            self.entered.insert(*member, view.number);
        }
        self.live = live;
        self.view = view.number;
        let up = truth.nodes().filter(|(_, node)| node.life == Life::Up).map(|(_, node)| node.member);
        let up: BTreeSet<Member> = up.collect();
        for member in up.difference(&self.up) {
            let entered = self.entered[member];
            for other in self.live.iter().filter(|other| *other != member) {
                let nonce = truth.node(other.id).map(|node| node.nonce);
                let mut its = of(*other).map(|(_, process)| process).filter(|process| Some(process.nonce) == nonce);
                if let Some(process) = its.find(|process| process.threads < entered) {
                    let threads = process.threads;
                    return harm(format!("{member} is up since view {entered}, but {other} follows {threads}"));
                }
            }
        }
        self.up = up;
        Ok(())
    }

    pub(super) fn retired(&self, node: NodeId) -> bool {
        self.retired.contains(&node)
    }
}
