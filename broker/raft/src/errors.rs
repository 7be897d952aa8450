//! Why a group refuses what the shell asks for.

use thiserror::Error;

use crate::membership::MembershipError;
use crate::types::{Index, NodeId};

/// Why commands are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Ask the leader.
    #[error("node does not lead the group, the leader is {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Too much waits to be committed.
    #[error("{entries} entries of {bytes} bytes would wait to be committed, at most {entries_max} of {bytes_max} may")]
    Full {
        /// How many would wait.
        entries: usize,
        /// Their bytes.
        bytes: usize,
        /// The limits.
        entries_max: usize,
        /// The limits.
        bytes_max: usize,
    },
    /// Leadership is on its way to another node.
    #[error("leadership is being transferred to node {to}")]
    Transferring {
        /// To which.
        to: NodeId,
    },
}

/// Why a membership is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// It can't be proposed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// It would make no sense.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// One change at a time.
    #[error("the membership change at {index} is not committed yet")]
    UnderWay {
        /// Its entry.
        index: Index,
    },
    /// The leader must have committed an entry of its own term first.
    #[error("the leader's first entry {index} is not committed yet")]
    NotReady {
        /// Its entry.
        index: Index,
    },
    /// Transfer the leadership first.
    #[error("node {node} leads the group, and a leader neither leaves nor loses its vote")]
    Leader {
        /// The leader.
        node: NodeId,
    },
    /// A voter that lacks entries would make the group wait for them.
    #[error("learner {node} lacks {found} entries, at most {max} may be missing")]
    Behind {
        /// The learner.
        node: NodeId,
        /// How many are missing.
        found: u64,
        /// The limit.
        max: u64,
    },
}

/// Why a read is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Ask the leader.
    #[error("node does not lead the group, the leader is {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Too many wait.
    #[error("{max} reads wait for confirmation already")]
    Full {
        /// The limit.
        max: usize,
    },
}

/// Why leadership is not transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TransferError {
    /// Ask the leader.
    #[error("node does not lead the group, the leader is {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Only voters lead.
    #[error("node {node} is no voter of the group")]
    NotVoter {
        /// Which one.
        node: NodeId,
    },
    /// It leads already.
    #[error("node {node} leads the group already")]
    Already {
        /// Which one.
        node: NodeId,
    },
}
