//! The memberships of the groups themselves: a shard's follows the shard map, that of this crate's own group follows
//! the nodes.

use std::collections::BTreeSet;

use super::Place;
use crate::meta::Replicas;
use crate::names::NodeId;

/// A step of a group's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupStep {
    /// A node follows without a vote.
    AddLearner(NodeId),
    /// A learner becomes a voter. The group itself refuses it to one that is behind.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A node leaves the group.
    Remove(NodeId),
}

/// The next change that brings a shard's group to what the shard map says, additions first.
pub fn next_change(wanted: &Replicas, voters: &[NodeId], learners: &[NodeId]) -> Option<GroupStep> {
    let has = |node: &NodeId| voters.contains(node) || learners.contains(node);
    let all = || wanted.voters.iter().copied().chain(wanted.learner());
    let added = all().find(|node| !has(node)).map(GroupStep::AddLearner);
    let promoted = || wanted.voters.iter().find(|node| learners.contains(node)).copied().map(GroupStep::Promote);
    let removed = || voters.iter().chain(learners).copied().find(|node| !wanted.has(*node)).map(GroupStep::Remove);
    added.or_else(promoted).or_else(removed)
}

/// How many voters the group of this crate's state has: with four nodes no more may fail than with three.
pub(super) const fn meta_voters(nodes: usize) -> usize {
    match nodes {
        0..3 => nodes,
        3..5 => 3,
        _ => 5,
    }
}

/// The next change of the group that keeps this crate's state: all nodes are in it, a few have a vote.
pub fn plan_meta(places: &[Place], voters: &[NodeId], learners: &[NodeId]) -> Option<GroupStep> {
    let place = |node: NodeId| places.iter().find(|place| place.id == node);
    let stays = |node: NodeId| place(node).is_some_and(Place::stays);
    let has = |node: NodeId| voters.contains(&node) || learners.contains(&node);
    let missing = places.iter().filter(|place| place.is_live && !has(place.id)).map(|place| place.id);
    let wanted = meta_voters(places.iter().filter(|place| place.stays()).count());
    let good: Vec<NodeId> = voters.iter().copied().filter(|node| stays(*node)).collect();
    let zone = |node: NodeId| place(node).map_or("", |place| &place.zone);
    let zones: BTreeSet<&str> = good.iter().map(|node| zone(*node)).collect();
    let candidates = learners.iter().copied().filter(|node| stays(*node) && place(*node).is_some_and(|it| it.is_live));
    let best = candidates.min_by_key(|node| (zones.contains(zone(*node)), *node));
    if let Some(node) = missing.min() {
        return Some(GroupStep::AddLearner(node));
    }
    if let Some(node) = best.filter(|_| good.len() < wanted) {
        return Some(GroupStep::Promote(node));
    }
    // Who leaves gives its vote up when another has it, or when fewer are wanted.
    let leaving = voters.iter().copied().find(|node| !stays(*node)).filter(|_| good.len() >= wanted);
    let crowded = |node: &NodeId| good.iter().filter(|other| zone(**other) == zone(*node)).count();
    let surplus = good.iter().copied().max_by_key(|node| (crowded(node), *node)).filter(|_| good.len() > wanted);
    let retired = learners.iter().copied().find(|node| place(*node).is_none());
    let fewer = leaving.or(surplus).map(GroupStep::Demote);
    fewer.or(retired.map(GroupStep::Remove))
}
