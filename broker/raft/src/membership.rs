//! Who belongs to a group: voters, who decide, and learners, who only follow; and how one becomes the other.
//!
//! Memberships change by one voter at a time, so that a majority before and a majority after always share a node
//! (Ongaro's dissertation, 4.1). Whether a change may start now is the leader's matter (`change.rs`).

use std::sync::Arc;

use thiserror::Error;

use crate::types::{Index, NodeId};

/// More voters only make a group slower.
pub const VOTERS_MAX: usize = 9;

/// The largest group of learners.
pub const LEARNERS_MAX: usize = 1024;

/// Voters and learners, each sorted. A clone is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Membership {
    voters: Arc<[NodeId]>,
    learners: Arc<[NodeId]>,
}

/// A step from one membership to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A new node follows without a vote.
    AddLearner(NodeId),
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A voter or learner leaves.
    Remove(NodeId),
}

/// Why a membership can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// Too many voters.
    #[error("group of {found} voters, at most {VOTERS_MAX} are allowed")]
    TooManyVoters {
        /// How many.
        found: usize,
    },
    /// Too many learners.
    #[error("group of {found} learners, at most {LEARNERS_MAX} are allowed")]
    TooManyLearners {
        /// How many.
        found: usize,
    },
    /// A node is listed twice, as voter or learner.
    #[error("node {node} is in the group twice")]
    Twice {
        /// Which one.
        node: NodeId,
    },
    /// It is there already.
    #[error("node {node} is in the group already")]
    AlreadyMember {
        /// Which one.
        node: NodeId,
    },
    /// A step that needs a voter.
    #[error("node {node} is no voter of the group")]
    NotVoter {
        /// Which one.
        node: NodeId,
    },
    /// A step that needs a learner.
    #[error("node {node} is no learner of the group")]
    NotLearner {
        /// Which one.
        node: NodeId,
    },
    /// A step that needs a member.
    #[error("node {node} is not in the group")]
    NotMember {
        /// Which one.
        node: NodeId,
    },
    /// Nobody could decide any more.
    #[error("node {node} is the only voter of the group")]
    LastVoter {
        /// Which one.
        node: NodeId,
    },
}

impl Membership {
    /// Sorts and checks.
    pub fn new(
        voters: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, MembershipError> {
        let (voters, learners) = (sorted(voters), sorted(learners));
        if voters.len() > VOTERS_MAX {
            return Err(MembershipError::TooManyVoters { found: voters.len() });
        }
        if learners.len() > LEARNERS_MAX {
            return Err(MembershipError::TooManyLearners { found: learners.len() });
        }
        let mut all = [&voters[..], &learners[..]].concat();
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(MembershipError::Twice { node: pair[0] });
        }
        Ok(Membership { voters: voters.into(), learners: learners.into() })
    }

    /// Who decides.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Who only follows.
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Whether the node decides.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.binary_search(&node).is_ok()
    }

    /// Whether the node follows without a vote.
    pub fn is_learner(&self, node: NodeId) -> bool {
        self.learners.binary_search(&node).is_ok()
    }

    /// All of them.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(self.learners.iter()).copied()
    }

    /// The membership after a step.
    pub fn after(&self, change: Change) -> Result<Self, MembershipError> {
        let without = |list: &[NodeId], node| list.iter().copied().filter(|other| *other != node).collect::<Vec<_>>();
        let with = |list: &[NodeId], node| [list, &[node]].concat();
        let (voters, learners) = (&*self.voters, &*self.learners);
        if let Change::Demote(node) | Change::Remove(node) = change
            && voters == [node]
        {
            return Err(MembershipError::LastVoter { node });
        }
        match change {
            Change::AddLearner(node) if self.is_voter(node) || self.is_learner(node) => {
                Err(MembershipError::AlreadyMember { node })
            }
            Change::AddLearner(node) => Self::new(voters.iter().copied(), with(learners, node)),
            Change::Promote(node) if !self.is_learner(node) => Err(MembershipError::NotLearner { node }),
            Change::Promote(node) => Self::new(with(voters, node), without(learners, node)),
            Change::Demote(node) if !self.is_voter(node) => Err(MembershipError::NotVoter { node }),
            Change::Demote(node) => Self::new(without(voters, node), with(learners, node)),
            Change::Remove(node) if !self.is_voter(node) && !self.is_learner(node) => {
                Err(MembershipError::NotMember { node })
            }
            Change::Remove(node) => Self::new(without(voters, node), without(learners, node)),
        }
    }

    /// The greatest value that a majority of the voters has reached; the smallest possible one without voters.
    pub(crate) fn majority<T: Ord + Default>(&self, value: impl FnMut(NodeId) -> T) -> T {
        let mut values: Vec<T> = self.voters.iter().copied().map(value).collect();
        values.sort_unstable();
        let below = values.len().saturating_sub(1) / 2;
        values.into_iter().nth(below).unwrap_or_default()
    }

    /// Whether a majority of the voters is so. Never without voters.
    pub(crate) fn has_majority(&self, is: impl FnMut(NodeId) -> bool) -> bool {
        self.majority(is)
    }
}

fn sorted(nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
    nodes.sort_unstable();
    nodes
}

/// The memberships in a log: the one at its start and those of later entries, oldest first. The last one counts,
/// committed or not; when its entry is truncated, the one before counts again.
#[derive(Debug, Clone)]
pub(crate) struct Memberships {
    start: Membership,
    later: Vec<(Index, Membership)>,
}

impl Memberships {
    pub(crate) fn new(start: Membership, later: Vec<(Index, Membership)>) -> Self {
        Memberships { start, later }
    }

    /// The one that counts.
    pub(crate) fn current(&self) -> &Membership {
        self.later.last().map_or(&self.start, |(_, membership)| membership)
    }

    /// The entry of the current one; 0 if it came with the start of the log.
    pub(crate) fn current_index(&self) -> Index {
        self.later.last().map_or(0, |(index, _)| *index)
    }

    /// The one after the entry at `index`.
    pub(crate) fn at(&self, index: Index) -> &Membership {
        let count = self.later.partition_point(|(at, _)| *at <= index);
        count.checked_sub(1).map_or(&self.start, |last| &self.later[last].1)
    }

    /// Those that may count somewhere in the group: the one after the entry at `index` and all later ones.
    pub(crate) fn since(&self, index: Index) -> impl Iterator<Item = &Membership> {
        let later = self.later.iter().filter(move |(at, _)| *at > index).map(|(_, membership)| membership);
        std::iter::once(self.at(index)).chain(later)
    }

    pub(crate) fn push(&mut self, index: Index, membership: Membership) {
        self.later.push((index, membership));
    }

    /// Forgets those of truncated entries.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.later.retain(|(index, _)| *index < from);
    }

    /// The log starts after `index` now.
    pub(crate) fn compact(&mut self, index: Index) {
        self.start = self.at(index).clone();
        self.later.retain(|(at, _)| *at > index);
    }
}
