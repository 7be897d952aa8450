//! What may be asked of the group: the commands of which entries are made.

use crate::names::{ClusterId, Index, Level, Member, NodeId, ShardId, Term, Time};

/// What is committed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The leader's clock. The state never goes back: it takes the latest it has seen.
    pub time: Time,
    /// In this order.
    pub commands: Vec<Command>,
}

/// One change of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The cluster begins, with one node. Proposed once, by the first ordinal, when nothing speaks of an older cluster.
    Bootstrap {
        /// Its name for ever.
        cluster: ClusterId,
        /// How many shards it has for ever.
        shards: u16,
        /// Its first node.
        first: Start,
    },
    /// A node leads the group from here on. What it decides in this term counts; what others decided before, but was
    /// not committed, does not any more.
    Lead {
        /// Who.
        leader: NodeId,
        /// In which term.
        term: Term,
    },
    /// A node with a new folder.
    Join {
        /// The cluster that it means.
        cluster: ClusterId,
        /// An entry of the group that a leader told it of, before it made its folder.
        made_at: Index,
        /// Who.
        start: Start,
    },
    /// A node that belongs to the cluster begins a new life.
    Boot {
        /// The cluster that it means.
        cluster: ClusterId,
        /// Who.
        start: Start,
    },
    /// A member is linked with one that is joining, knows what it has to know of it, and waits for it from now on.
    Confirm {
        /// Who is joining.
        member: Member,
        /// Who waits for it.
        by: Member,
    },
    /// A life is over. The leader saw to it that its lease is.
    Remove {
        /// Whose.
        member: Member,
        /// The term in which the leader decided it.
        term: Term,
    },
    /// A member's addresses or zone have changed.
    Describe {
        /// Whose.
        member: Member,
        /// Where it is reached.
        addresses: Vec<Box<str>>,
        /// Where it runs.
        zone: Box<str>,
    },
    /// A node is to give away what it has.
    Drain {
        /// Who.
        node: NodeId,
        /// What for.
        purpose: Purpose,
    },
    /// It is not, after all.
    CancelDrain {
        /// Who.
        node: NodeId,
    },
    /// A node that has nothing any more has left for ever.
    Gone {
        /// Who.
        node: NodeId,
    },
    /// One step of a shard's replicas.
    MoveReplica {
        /// Which shard.
        shard: ShardId,
        /// Which step.
        step: Step,
    },
}

/// What a node says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its id and the boot counter of its folder.
    pub member: Member,
    /// Random, made at each start and kept in memory only: two processes with copies of one folder differ by it.
    pub nonce: u64,
    /// Its pod.
    pub name: Box<str>,
    /// Where it is reached.
    pub addresses: Vec<Box<str>>,
    /// Where it runs; empty if nobody said.
    pub zone: Box<str>,
    /// What its build knows.
    pub level: Level,
}

/// What a node is drained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// It comes back: its replicas stay. Its next start ends the drain.
    Restart,
    /// It does not: its replicas go.
    Leave,
}

/// A step of a shard's replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A node gets the shard without a vote, in order to replace one that has it or to be one more.
    AddLearner {
        /// Who.
        node: NodeId,
        /// Whom it is to replace.
        replaces: Option<NodeId>,
    },
    /// The learner has all that the shard's leader has, says that leader.
    CaughtUp(NodeId),
    /// The learner gets a vote.
    Promote(NodeId),
    /// A voter or learner has the shard no longer.
    Remove(NodeId),
    /// A voter is to lead the shard, when it can.
    Prefer(NodeId),
}
