//! Looking for the cluster: whom discovery found, what they say of themselves, and whether a cluster may be begun.
//!
//! A cluster is begun when nothing speaks of an older one: the operator knows none, the folder knows none, and every
//! node that discovery finds has said twice, a look apart, that it has none either. Who does not answer may have one.

use std::collections::BTreeMap;

use fulmar_meta::{ClusterId, Index, Member, Moment, NODES_MAX, NodeId, Term};

use crate::message::NodeState;
use crate::sabotage::sabotaged;
use crate::settings::Settings;
use crate::status::Obstacle;

/// An address that discovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As a human knows it.
    pub address: Box<str>,
    /// Who answers there, if anybody does and control letters reach it. This node too, if that is its own address.
    pub node: Option<Member>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Seek {
    found: Vec<Found>,
    too_many: Option<usize>,
    /// Since when discovery gives the answer that it gives, and is sure of it.
    settled: Option<Moment>,
    seen: BTreeMap<Member, Seen>,
    /// When others were asked last.
    pub(crate) looked: Option<Moment>,
}

/// What another node said of itself.
#[derive(Debug, Clone)]
struct Seen {
    state: NodeState,
    /// Since when it says that its folder is as it is.
    since: Moment,
    at: Moment,
}

impl Seek {
    pub(crate) fn discovered(&mut self, found: &[Found], is_settled: bool, now: Moment) {
        self.too_many = Some(found.len()).filter(|found| *found > NODES_MAX);
        let mut found = found[..found.len().min(NODES_MAX)].to_vec();
        found.sort_by(|one, other| one.address.cmp(&other.address));
        let is_same = self.found.iter().map(|it| &it.address).eq(found.iter().map(|it| &it.address));
        self.settled = if is_settled { self.settled.filter(|_| is_same).or(Some(now)) } else { None };
        self.found = found;
    }

    /// Another node said what it is.
    pub(crate) fn heard(&mut self, from: Member, state: NodeState, now: Moment) {
        let is_same = |seen: &&Seen| (seen.state.cluster, seen.state.may_begin) == (state.cluster, state.may_begin);
        let since = self.seen.get(&from).filter(is_same).map_or(now, |seen| seen.since);
        // Of the lives of a node only the last one counts.
        if self.seen.keys().any(|member| member.id == from.id && member.incarnation > from.incarnation) {
            return;
        }
        self.seen.retain(|member, _| member.id != from.id || *member == from);
        if self.seen.len() < NODES_MAX || self.seen.contains_key(&from) {
            self.seen.insert(from, Seen { state, since, at: now });
        }
    }

    /// Forgets what is too old to count.
    pub(crate) fn forget(&mut self, settings: &Settings, now: Moment) {
        self.seen.retain(|_, seen| now.since(seen.at) < settings.look_counts());
    }

    /// The cluster that others belong to. None as well if they belong to several: then a human has to look.
    pub(crate) fn cluster(&self) -> Option<(ClusterId, Option<ClusterId>)> {
        let mut clusters = self.seen.values().filter_map(|seen| seen.state.cluster);
        let first = clusters.next()?;
        Some((first, clusters.find(|other| *other != first)))
    }

    /// Who leads, as the latest of them know.
    pub(crate) fn leader(&self, cluster: Option<ClusterId>) -> Option<(Term, NodeId)> {
        self.of_cluster(cluster).filter_map(|state| state.leader).max()
    }

    /// What the leader that they name has applied, in its own words.
    pub(crate) fn applied_by(&self, leader: NodeId) -> Option<&NodeState> {
        let leads = |state: &&NodeState| state.leader.is_some_and(|(_, id)| id == leader);
        self.seen.iter().filter(|(member, _)| member.id == leader).map(|(_, seen)| &seen.state).find(leads)
    }

    /// Who is live, as the one says that has applied most, if it has more than this.
    pub(crate) fn view_after(&self, applied: Index, cluster: Option<ClusterId>) -> Option<&NodeState> {
        let latest = self.of_cluster(cluster).max_by_key(|state| state.applied)?;
        Some(latest).filter(|state| state.applied > applied)
    }

    /// How many have said lately that they belong to it.
    pub(crate) fn answering(&self, cluster: Option<ClusterId>) -> usize {
        self.of_cluster(cluster).count()
    }

    /// Whether anybody belongs to it.
    pub(crate) fn knows(&self, cluster: Option<ClusterId>) -> bool {
        self.of_cluster(cluster).next().is_some()
    }

    fn of_cluster(&self, cluster: Option<ClusterId>) -> impl Iterator<Item = &NodeState> {
        let states = self.seen.values().map(|seen| &seen.state);
        states.filter(move |state| cluster.is_some() && state.cluster == cluster)
    }

    fn others(&self, me: Member) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |found| found.node.is_none_or(|node| node.id != me.id))
    }

    /// Addresses from which nothing was heard.
    pub(crate) fn silent(&self, me: Member) -> Vec<Box<str>> {
        let is_silent = |found: &&Found| found.node.and_then(|node| self.seen.get(&node)).is_none();
        self.others(me).filter(is_silent).map(|found| found.address.clone()).collect()
    }

    /// Whether discovery is sure who there is.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.is_some() && self.too_many.is_none()
    }

    /// Who of a cluster fits, by its own word.
    pub(crate) fn find(&self, cluster: Option<ClusterId>, fits: impl Fn(&NodeState) -> bool) -> Option<NodeId> {
        let of_cluster = |seen: &Seen| cluster.is_some() && seen.state.cluster == cluster;
        self.seen.iter().find(|(_, seen)| of_cluster(seen) && fits(&seen.state)).map(|(member, _)| member.id)
    }

    /// How many addresses were found.
    pub(crate) fn found(&self) -> usize {
        self.found.len()
    }

    /// Why no cluster may be begun. `has_begun` is whether this node has said so in its folder.
    pub(crate) fn obstacle(&self, settings: &Settings, me: Member, has_begun: bool, now: Moment) -> Option<Obstacle> {
        if sabotaged!(settings, BeginWithoutAsking) {
            return None;
        }
        if let Some(found) = self.too_many {
            return Some(Obstacle::TooMany { found });
        }
        if self.settled.is_none() {
            return Some(Obstacle::Discovery);
        }
        let belonging = self.seen.iter().find_map(|(member, seen)| Some((*member, seen.state.cluster?)));
        if let Some((node, cluster)) = belonging {
            return Some(Obstacle::Belongs { node, cluster });
        }
        let others = self.others(me);
        let seen_of = |found: &Found| found.node.and_then(|node| self.seen.get(&node));
        let silent = self.silent(me);
        if !silent.is_empty() && !sabotaged!(settings, SilenceIsEmpty) {
            return Some(Obstacle::Silent { addresses: silent, found: self.found.len() });
        }
        if others.filter_map(seen_of).any(|seen| seen.at.since(seen.since) < settings.look_interval) {
            return Some(Obstacle::SecondLook);
        }
        let lower = self.seen.iter().find(|(member, seen)| seen.state.may_begin && member.id < me.id);
        let settled = self.settled.filter(|since| now.since(*since) >= settings.look_interval);
        match lower {
            Some((node, _)) if !has_begun => Some(Obstacle::Other { node: *node }),
            _ if settled.is_none() => Some(Obstacle::SecondLook),
            _ => None,
        }
    }

    /// When something may be begun without anybody saying more.
    pub(crate) fn next_deadline(&self, settings: &Settings, now: Moment) -> Option<Moment> {
        self.settled.map(|since| since + settings.look_interval).filter(|at| *at > now)
    }
}
