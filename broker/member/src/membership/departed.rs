//! Nodes that have left for ever: drained for that, with nothing left on them, and down for some time.
//!
//! One that only restarts is back before. If it comes later than that, its folder is set aside and it joins as a new
//! node: it had nothing left that anybody would miss.

use std::collections::BTreeMap;

use fulmar_meta::{Command, Life, Meta, Moment, NodeId, Purpose};

use super::Membership;
use crate::output::Output;
use crate::settings::Settings;

/// Since when nodes are down as this leader sees it, and when it was proposed last that they are gone. No more than there
/// are nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Departed(BTreeMap<NodeId, (Moment, Option<Moment>)>);

impl Departed {
    /// These have left, or may come back in a moment. Returns who is to be retired now.
    fn note(&mut self, nodes: &[NodeId], settings: &Settings, now: Moment) -> Vec<NodeId> {
        self.0.retain(|node, _| nodes.contains(node));
        let mut due = Vec::new();
        for node in nodes {
            let (since, proposed) = self.0.entry(*node).or_insert((now, None));
            let may_again = proposed.is_none_or(|at| now.since(at) >= settings.leases.retry);
            if now.since(*since) >= settings.gone_after && may_again {
                *proposed = Some(now);
                due.push(*node);
            }
        }
        due
    }

    pub(super) fn next_deadline(&self, settings: &Settings) -> Option<Moment> {
        let due = |(since, proposed): &(Moment, Option<Moment>)| match proposed {
            Some(at) => *at + settings.leases.retry,
            None => *since + settings.gone_after,
        };
        self.0.values().map(due).min()
    }
}

impl Membership {
    /// The leader retires whoever has left.
    pub(super) fn retire(&mut self, meta: &Meta, now: Moment, out: &mut Vec<Output>) {
        let keeps = |node: NodeId| meta.shards().iter().any(|replicas| replicas.has(node));
        let has_left = |node: &fulmar_meta::Node| node.drain == Some(Purpose::Leave) && node.life == Life::Down;
        let leads = self.role.leads && self.leases.is_granting();
        let all = meta.nodes().filter(|(id, node)| leads && has_left(node) && !keeps(*id));
        let left: Vec<NodeId> = all.map(|(id, _)| id).collect();
        for node in self.departed.note(&left, &self.settings, now) {
            out.push(Output::Propose { term: self.role.term, command: Command::Gone { node } });
        }
    }
}
