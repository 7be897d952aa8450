//! What a leader knows of the others, for whoever decides about them or shows them.

use std::time::Instant;

use crate::group::{Group, Role};
use crate::progress::State;
use crate::types::{Index, NodeId};

/// Another member of the group, as its leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Which node.
    pub node: NodeId,
    /// Up to here its log is known to equal the leader's, on disk.
    pub matched: Index,
    /// When it answered last; the beginning of the term if it never did.
    pub heard: Instant,
    /// It lacks entries that are gone, and is sent a snapshot.
    pub needs_snapshot: bool,
}

impl Group {
    /// The others, by id; nobody unless this node leads.
    pub fn followers(&self) -> impl Iterator<Item = Follower> + '_ {
        let leading = match &self.role {
            Role::Leader(leading) => Some(leading),
            Role::Follower | Role::PreCandidate { .. } | Role::Candidate { .. } => None,
        };
        leading.into_iter().flat_map(|leading| &leading.peers).map(|(node, progress)| Follower {
            node: *node,
            matched: progress.matched,
            heard: progress.heard,
            needs_snapshot: matches!(progress.state, State::Snapshot { .. }),
        })
    }

    /// The first entry of this node's own office; none unless it leads.
    pub fn office_begins(&self) -> Option<Index> {
        match &self.role {
            Role::Leader(leading) => Some(leading.first),
            Role::Follower | Role::PreCandidate { .. } | Role::Candidate { .. } => None,
        }
    }

    /// Whether the last change of the membership is committed.
    pub fn is_membership_committed(&self) -> bool {
        self.memberships.current_index() <= self.commit
    }
}
