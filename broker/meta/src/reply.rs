//! What became of a command. The same on every replica; the leader tells whoever asked.

use thiserror::Error;

use crate::limits::Bound;
use crate::names::{ClusterId, Incarnation, Index, Level, Member, NodeId, ShardId, Term};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It counts.
    Done,
    /// It counted before; nothing has changed.
    DoneBefore,
    /// Nothing has changed.
    Refused(Refusal),
}

/// Why a command changed nothing: what was found, and what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A bound was reached.
    #[error(transparent)]
    Bound(#[from] Bound),
    /// Nobody has bootstrapped it.
    #[error("the cluster has not begun yet")]
    NoCluster,
    /// The node means another cluster.
    #[error("cluster {found}, but this one is {wanted}")]
    OtherCluster {
        /// The one that it means.
        found: ClusterId,
        /// This one.
        wanted: ClusterId,
    },
    /// The cluster has another number of shards, or cannot have that many.
    #[error("{found} shards, wanted are {wanted}")]
    Shards {
        /// That of the command.
        found: u16,
        /// That of the cluster, or the most there may be.
        wanted: u16,
    },
    /// Another node bootstrapped it.
    #[error("node {found:016x} is not the one that the cluster began with")]
    OtherFirst {
        /// That of the command.
        found: NodeId,
    },
    /// Whoever decided it leads no more.
    #[error("decided in term {found}, but the leader's is {wanted}")]
    NotLeading {
        /// That of the command.
        found: Term,
        /// That of the last leader that said so.
        wanted: Term,
    },
    /// The node belonged to the cluster and never will again: it has to start anew under a new id.
    #[error("node {node:016x} is retired; a new folder with a new id is wanted")]
    Retired {
        /// Which.
        node: NodeId,
    },
    /// The folder may be one of a node that was retired long ago: it has to start anew under a new id.
    #[error("the folder was made at entry {found}, wanted is one made after {after} and before {before}")]
    OldFolder {
        /// That of the command.
        found: Index,
        /// The last entry at which a node was retired that is not remembered by name.
        after: Index,
        /// The entry of the command.
        before: Index,
    },
    /// The node is not of this cluster: it has to start anew under a new id.
    #[error("node {node:016x} does not belong to the cluster; it may join with a new folder")]
    Unknown {
        /// Which.
        node: NodeId,
    },
    /// A join of a node that has joined.
    #[error("node {node:016x} has joined before with boot counter {recorded}")]
    Known {
        /// Which.
        node: NodeId,
        /// Its last start.
        recorded: Incarnation,
    },
    /// The folder is behind what the node did: it was restored or copied. The node has to start anew under a new id.
    #[error("boot counter {found} of a restored or copied folder, more than {recorded} is wanted")]
    Restored {
        /// That of the folder.
        found: Incarnation,
        /// The last that started.
        recorded: Incarnation,
    },
    /// The cluster has given this life up: the node has to begin another.
    #[error("the life of {member} is over, a higher boot counter is wanted")]
    Over {
        /// Whose.
        member: Member,
    },
    /// An earlier life is still in the view. It leaves when its lease has run out; then this may be sent again.
    #[error("{member} is still in the view")]
    StillLive {
        /// Whose.
        member: Member,
    },
    /// A node that joins has the name of another one that lives.
    #[error("a live member, node {:016x}, has the name {name:?} already: each needs one of its own", .member.id)]
    NameTaken {
        /// Which.
        name: Box<str>,
        /// Who has it.
        member: Member,
    },
    /// The life is not in the view.
    #[error("{member} is not in view {view}")]
    NotInView {
        /// Whose.
        member: Member,
        /// The view.
        view: u64,
    },
    /// The node has another name.
    #[error("node {node:016x} is {wanted:?}, found {found:?}")]
    OtherName {
        /// Which.
        node: NodeId,
        /// What it says.
        found: Box<str>,
        /// What it said when it joined.
        wanted: Box<str>,
    },
    /// The node's build is too old for what the cluster does by now.
    #[error("feature level {found}, at least {wanted} is wanted")]
    Level {
        /// The node's.
        found: Level,
        /// The cluster's.
        wanted: Level,
    },
    /// Somebody has to keep the shards.
    #[error("{name} is the last one that keeps shards")]
    LastNode {
        /// Which.
        node: NodeId,
        /// Its name.
        name: Box<str>,
    },
    /// The node is not asked to leave.
    #[error("node {node:016x} is not leaving")]
    NotLeaving {
        /// Which.
        node: NodeId,
    },
    /// The node has replicas still.
    #[error("node {node:016x} keeps {replicas} replicas, wanted are 0")]
    StillKeeps {
        /// Which.
        node: NodeId,
        /// Of how many shards.
        replicas: usize,
    },
    /// There is no such shard.
    #[error("shard {shard}, wanted is 1 to {last}")]
    NoShard {
        /// That of the command.
        shard: ShardId,
        /// The last.
        last: u16,
    },
    /// The step does not follow from where the shard is.
    #[error("shard {shard}, node {node:016x}: {found}, wanted is {wanted}")]
    Step {
        /// Which shard.
        shard: ShardId,
        /// Which node.
        node: NodeId,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// The shard would have too few voters.
    #[error("shard {shard} would have {found} voters, at least {wanted} are wanted")]
    TooFewVoters {
        /// Which shard.
        shard: ShardId,
        /// How many.
        found: usize,
        /// How many at least.
        wanted: usize,
    },
}

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The index of the last entry that was applied.
    pub index: Index,
    /// To the commands, one by one. None of an entry that had been applied before.
    pub replies: Vec<Reply>,
    /// Who is live has changed: [`Meta::view`](crate::Meta::view) is a newer one.
    pub is_new_view: bool,
}
