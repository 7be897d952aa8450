//! What the admin port asks of the thread that drives this node's part in the cluster, and what it is answered: the
//! words of the contract with an operator. docs/admin.md shows each of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Why a node is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Purpose {
    /// It will not come back: leaderships, copies and clients move to other nodes.
    Leave,
    /// It comes back with its copies: leaderships and clients move.
    Restart,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DrainState {
    /// The node is not drained.
    None,
    /// It hands over.
    Draining,
    /// Nothing is left on it that has to move. That is so only while all numbers beside it are 0; copies of a node that
    /// restarts do not count.
    Drained,
}

/// The drain of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DrainReport {
    pub(crate) state: DrainState,
    /// Why; `None` as long as it is not drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<Purpose>,
    /// Groups that it leads.
    pub(crate) leaders: u32,
    /// Copies on it.
    pub(crate) replicas: u32,
    /// Clients connected to it.
    pub(crate) clients: u32,
}

/// What a node is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MemberState {
    /// The others wait for it, and it acknowledges nothing yet.
    Joining,
    /// It belongs to the cluster.
    Up,
    /// It hands over what it keeps.
    Draining,
    /// It left, or was replaced, and will never be a member again.
    Gone,
}

/// A node of the cluster. Ids have 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberReport {
    pub(crate) node_id: String,
    pub(crate) incarnation: u64,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    pub(crate) state: MemberState,
    /// Whether the view says that it lives.
    pub(crate) is_live: bool,
}

/// A copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CopyReport {
    pub(crate) node_id: String,
    /// Whether it counts for a majority.
    pub(crate) is_voter: bool,
    /// Entries that it lacks. Only the leader of the shard knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lag: Option<u64>,
}

/// A shard, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardReport {
    pub(crate) number: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<String>,
    pub(crate) copies: Vec<CopyReport>,
}

/// The cluster, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterReport {
    /// 32 hexadecimal digits; `None` before this node has joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_id: Option<String>,
    pub(crate) node_id: String,
    pub(crate) view: u64,
    pub(crate) members: Vec<MemberReport>,
    pub(crate) shards: Vec<ShardReport>,
    pub(crate) drain: DrainReport,
}

/// A question, with the place for its answer. Whoever drops it unanswered says that it cannot be answered now.
#[derive(Debug)]
pub(crate) enum Question {
    /// What does the cluster look like?
    Cluster(oneshot::Sender<ClusterReport>),
    /// How far has the drain come?
    Drain(oneshot::Sender<DrainReport>),
    /// Begin a drain, or go on with one for another purpose. The answer is what it looks like when the cluster has
    /// agreed.
    BeginDrain(Purpose, oneshot::Sender<Ordered>),
    /// Stay after all. Without a drain it changes nothing.
    CancelDrain(oneshot::Sender<Ordered>),
}

/// What became of an order.
pub(crate) type Ordered = Result<DrainReport, Refused>;

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

/// Why nothing can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable(pub(crate) &'static str);

/// Whoever drives this node's part in the cluster. Asking never waits: the question is put into an inbox.
pub(crate) trait ClusterControl: fmt::Debug + Send + Sync {
    /// Puts a question.
    fn ask(&self, question: Question) -> Result<(), Unavailable>;
}

/// A node that keeps nothing together with others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NothingKept;

impl ClusterControl for NothingKept {
    fn ask(&self, _: Question) -> Result<(), Unavailable> {
        Err(Unavailable(
            "this node is no member of a cluster that keeps anything, so there is nothing to tell or to drain",
        ))
    }
}
