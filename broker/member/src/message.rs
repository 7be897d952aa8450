//! What nodes say to each other about the cluster. Bytes are in `message/bytes.rs`.

mod bytes;

pub use bytes::MESSAGE_BYTES_MAX;

use fulmar_meta::{Answer, ClusterId, Command, Goodbye, Grant, Index, Member, NodeId, Renewal, Term};

/// A letter on the control channel between two nodes. It may be lost; one of an earlier life may still come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberMessage {
    /// Asks the other node what it is: answered by [`NodeState`].
    Look,
    /// What the other node is.
    State(NodeState),
    /// Asks the leader of group 0 to have a command committed.
    Request(Request),
    /// What became of it.
    Answer {
        /// As in the request.
        nonce: u64,
        /// As in the request.
        number: u64,
        /// The answer.
        answer: Answer,
    },
    /// For the leader of group 0: a member asks for its lease.
    Renewal(Renewal),
    /// From the leader.
    Grant(Grant),
    /// For the leader: a member has stopped.
    Goodbye(Goodbye),
}

/// What a node is, for one that looks for its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeState {
    /// The cluster that its folder is bound to; none if the node is empty.
    pub cluster: Option<ClusterId>,
    /// It is empty, and may begin a cluster.
    pub may_begin: bool,
    /// Who leads group 0, as far as it knows, and in which term.
    pub leader: Option<(Term, NodeId)>,
    /// What it has applied of group 0.
    pub applied: Index,
    /// Who is live by then.
    pub view: Vec<Member>,
}

/// A command that somebody wants committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of the process that asks: copies of a folder must not take each other's answers.
    pub nonce: u64,
    /// Counts up in that process.
    pub number: u64,
    /// What is wanted.
    pub command: Command,
}
