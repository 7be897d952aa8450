//! Shared groups: the members of `$share/GROUP/FILTER` on this node, and the nodes that have some.
//!
//! A group keeps only whose turn it is. Which node or member gets a message is decided by the worker, which knows who
//! is connected and who has room (MQTT 5.0, 4.8.2).

use std::sync::atomic::{AtomicU32, Ordering};

use crate::hash::Hashes;
use crate::indexed::{Indexed, Keyed};
use crate::subscriber::{Member, NodeIndex};

/// One shared group of one filter.
pub(super) struct Group {
    name: Box<str>,
    filter: Box<str>,
    pub(super) members: Indexed<Member>,
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
            members: Indexed::default(),
            nodes: Vec::new(),
            turn: AtomicU32::new(0),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.nodes.is_empty()
    }

    pub(super) fn remove_node(&mut self, node: NodeIndex) -> bool {
        let at = self.nodes.iter().position(|&other| other == node);
        at.map(|at| self.nodes.swap_remove(at)).is_some()
    }

    pub(super) fn as_ref(&self) -> SharedRef<'_> {
        SharedRef {
            group: &self.name,
            filter: &self.filter,
            members: &self.members,
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

/// A shared group whose filter matches. At least one of `members` and `nodes` is not empty.
#[derive(Copy, Clone, Debug)]
pub struct SharedRef<'a> {
    /// The name between `$share/` and the filter.
    pub group: &'a str,
    /// The filter itself.
    pub filter: &'a str,
    /// The members on this node, in no particular order.
    pub members: &'a [Member],
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

    /// The members on this node, starting with the one whose turn it is. Whoever cannot take the message is passed over
    /// by asking for the next.
    pub fn members_in_turn(&self) -> impl Iterator<Item = Member> + use<'a> {
        in_turn(self.members, self.take_turn())
    }

    /// The other nodes, starting with the one whose turn it is.
    pub fn nodes_in_turn(&self) -> impl Iterator<Item = NodeIndex> + use<'a> {
        in_turn(self.nodes, self.take_turn())
    }
}

fn in_turn<T: Copy>(all: &[T], turn: u32) -> impl Iterator<Item = T> + use<'_, T> {
    let start = turn as usize % all.len().max(1);
    all[start..].iter().chain(&all[..start]).copied()
}
