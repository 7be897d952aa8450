//! Shared groups: the members of `$share/GROUP/FILTER` on this node, and the nodes that have some.
//!
//! A group keeps whose turn it is (`turns.rs`) and, as it is told, who is absent. Which node or member gets a message is
//! decided by the worker (MQTT 5.0, 4.8.2).

use std::sync::atomic::{AtomicU32, Ordering};

use super::turns::{Present, Share, in_turn};
use super::{Subscribed, Unsubscribed};
use crate::hash::Hashes;
use crate::indexed::{Indexed, Keyed};
use crate::subscriber::{Member, NodeIndex, SubscriberId};

/// One shared group of one filter.
pub(super) struct Group {
    name: Box<str>,
    filter: Box<str>,
    pub(super) present: Present,
    /// Members whose clients are away. Nobody is in both lists.
    pub(super) absent: Indexed<Member>,
    /// Distinct. As many as the cluster has nodes: short enough to search.
    pub(super) nodes: Vec<NodeIndex>,
    /// Counts under a read lock, hence atomic.
    turn: AtomicU32,
}

impl Group {
    pub(super) fn new(name: &str, filter: &str) -> Self {
        Self {
            name: name.into(),
            filter: filter.into(),
            present: Present::default(),
            absent: Indexed::default(),
            nodes: Vec::new(),
            turn: AtomicU32::new(0),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_local() && self.nodes.is_empty()
    }

    /// Whether this node has members, present or not.
    pub(super) fn is_local(&self) -> bool {
        !(self.present.is_empty() && self.absent.is_empty())
    }

    /// A member is present: a new one, one that was absent, or the same with other options.
    pub(super) fn join(&mut self, member: Member, hashes: &Hashes) -> Subscribed {
        let first = !self.is_local();
        if let Some(present) = self.present.find_mut(member.subscriber, hashes) {
            present.options = member.options;
            return Subscribed { new: false, first };
        }
        let was_absent = self.take_absent(member.subscriber, hashes).is_some();
        self.present.add(member, hashes);
        Subscribed { new: !was_absent, first }
    }

    pub(super) fn leave(&mut self, subscriber: SubscriberId, hashes: &Hashes) -> Unsubscribed {
        let member = self.present.take(subscriber, hashes).or_else(|| self.take_absent(subscriber, hashes));
        let existed = member.is_some();
        Unsubscribed { existed, last: existed && !self.is_local() }
    }

    /// Whether it was there and present.
    pub(super) fn set_absent(&mut self, subscriber: SubscriberId, hashes: &Hashes) -> bool {
        let Some(member) = self.present.take(subscriber, hashes) else { return false };
        self.absent.add(member, hashes);
        true
    }

    fn take_absent(&mut self, subscriber: SubscriberId, hashes: &Hashes) -> Option<Member> {
        let at = self.absent.find(&subscriber, hashes)?;
        Some(self.absent.remove(at, hashes))
    }

    pub(super) fn remove_node(&mut self, node: NodeIndex) -> bool {
        let at = self.nodes.iter().position(|&other| other == node);
        at.map(|at| self.nodes.swap_remove(at)).is_some()
    }

    pub(super) fn as_ref(&self) -> SharedRef<'_> {
        SharedRef {
            group: &self.name,
            filter: &self.filter,
            shares: self.present.shares(),
            absent: &self.absent,
            nodes: &self.nodes,
            turn: &self.turn,
        }
    }
}

impl Keyed for Group {
    type Key = str;

    fn key(&self) -> &str {
        &self.name
    }

    fn hash(key: &str, hashes: &Hashes) -> u64 {
        hashes.name(key)
    }
}

/// A shared group whose filter matches. It has members, or there are nodes that have.
#[derive(Copy, Clone)]
pub struct SharedRef<'a> {
    /// The name between `$share/` and the filter.
    pub group: &'a str,
    /// The filter itself.
    pub filter: &'a str,
    /// The members on this node that are present, by thread.
    shares: &'a [Share],
    /// The members on this node that are absent, in no particular order.
    pub absent: &'a [Member],
    /// The other nodes that have members, in no particular order.
    pub nodes: &'a [NodeIndex],
    turn: &'a AtomicU32,
}

impl<'a> SharedRef<'a> {
    /// Counts up with each call, on whatever thread, and starts over after 2^32: the round robin of the group.
    #[must_use]
    pub fn take_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The members on this node that are present, in no particular order. Takes nobody's turn.
    pub fn present(&self) -> impl Iterator<Item = Member> + use<'a> {
        self.shares.iter().flat_map(|share| share.members()).copied()
    }

    /// The members on this node that are present, starting with the one whose turn it is. Whoever cannot take the message
    /// is passed over by asking for the next.
    ///
    /// `asking` is the data thread, `window` the number of the time window: some milliseconds, counted modulo 2^16. Where
    /// threads have many messages in a window, each gives them to its own members, which may get up to 256 more than
    /// others; otherwise all take equal turns.
    pub fn members_in_turn(&self, asking: u16, window: u16) -> impl Iterator<Item = Member> + use<'a> {
        in_turn(self.shares, asking, window, self.turn)
    }

    /// The members on this node that are absent, starting with the one whose turn it is.
    pub fn absent_in_turn(&self) -> impl Iterator<Item = Member> + use<'a> {
        self.in_turn(self.absent)
    }

    /// The other nodes, starting with the one whose turn it is.
    pub fn nodes_in_turn(&self) -> impl Iterator<Item = NodeIndex> + use<'a> {
        self.in_turn(self.nodes)
    }

    /// All count on the same turn: it is taken only where it is used.
    fn in_turn<T: Copy>(&self, all: &'a [T]) -> impl Iterator<Item = T> + use<'a, T> {
        let start = if all.is_empty() { 0 } else { self.take_turn() as usize % all.len() };
        all[start..].iter().chain(&all[..start]).copied()
    }
}
