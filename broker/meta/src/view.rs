//! Who is live, by number.

use std::collections::BTreeMap;

use crate::names::{Incarnation, Member, NodeId};

/// The members that are live: whoever acknowledges a message waits for all of them that want it. A member that is
/// joining is among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// One more with each change. 0 is before the cluster began.
    pub number: u64,
    members: BTreeMap<NodeId, Incarnation>,
}

impl View {
    /// Before the cluster began.
    pub(crate) const EMPTY: Self = Self { number: 0, members: BTreeMap::new() };

    /// These members. The views of a cluster come from its [`Meta`](crate::Meta).
    pub fn new(number: u64, members: impl IntoIterator<Item = Member>) -> Self {
        Self { number, members: members.into_iter().map(|it| (it.id, it.incarnation)).collect() }
    }

    /// Whether this life is live.
    pub fn contains(&self, member: Member) -> bool {
        self.members.get(&member.id) == Some(&member.incarnation)
    }

    /// The life of a node that is live.
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.members.get(&id).map(|incarnation| Member { id, incarnation: *incarnation })
    }

    /// All of them, by id.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        self.members.iter().map(|(id, incarnation)| Member { id: *id, incarnation: *incarnation })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is live.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn insert(&mut self, member: Member) {
        self.members.insert(member.id, member.incarnation);
        self.number += 1;
    }

    pub(crate) fn remove(&mut self, member: Member) {
        self.members.remove(&member.id);
        self.number += 1;
    }
}
