//! What a node says of its part in the cluster: what it lacks to be ready, in words, and how things stand.

use std::fmt;
use std::time::Duration;

use fulmar_meta::{ClusterId, Incarnation, Index, Member, NODES_MAX, NodeId, State, Term};

/// What keeps a node from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// There is no cluster yet, and this node does not begin one.
    Cluster(Obstacle),
    /// The nodes that answer belong to another cluster, or to several.
    OtherCluster {
        /// Theirs.
        found: ClusterId,
        /// The one that is wanted, or another one that was found.
        wanted: ClusterId,
    },
    /// Nobody says who leads the cluster.
    Leader,
    /// A node joins only when it is linked with all members.
    Links {
        /// With whom it is not.
        to: Vec<Member>,
    },
    /// It asked to be taken in.
    Admission,
    /// Others must say that they wait for it.
    Confirmed {
        /// Who has not said so.
        by: Vec<Member>,
    },
    /// Its data threads do not follow the view yet.
    Threads,
    /// Leaders of shards have not told it all filters yet.
    Feeds,
    /// It holds no lease.
    Lease,
    /// It gives away what it has.
    Draining,
    /// Its life is over, and the next one has not begun.
    NextLife,
    /// It has stopped.
    Stopped,
    /// It can't go on.
    Ended(Box<str>),
}

/// Why a node does not begin a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It is not the one that may.
    NotFirst {
        /// How many addresses discovery found.
        found: usize,
    },
    /// The cluster is known by name: it exists somewhere.
    Known {
        /// Its name.
        wanted: ClusterId,
        /// How many addresses discovery found.
        found: usize,
    },
    /// Discovery is not sure who there is.
    Discovery,
    /// It found more than it can ask.
    TooMany {
        /// How many.
        found: usize,
    },
    /// Some do not answer.
    Silent {
        /// Which.
        addresses: Vec<Box<str>>,
        /// Of how many.
        found: usize,
    },
    /// All are empty; they are asked once more.
    SecondLook,
    /// One belongs to a cluster.
    Belongs {
        /// Who.
        node: Member,
        /// To which.
        cluster: ClusterId,
    },
    /// Another node may begin it, and has the lower id.
    Other {
        /// Who.
        node: Member,
    },
    /// It has begun: the first entry is not committed yet.
    Committing,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(obstacle) => obstacle.fmt(f),
            Self::OtherCluster { found, wanted } => {
                write!(f, "nodes that answer belong to cluster {found}, wanted is {wanted}")
            }
            Self::Leader => f.write_str("no node says who leads the cluster"),
            Self::Links { to } => {
                f.write_str("not linked with all members of the cluster: ")?;
                list(f, to)
            }
            Self::Admission => f.write_str("not a member of the cluster yet: the leader was asked"),
            Self::Confirmed { by } => {
                f.write_str("joining: not confirmed by ")?;
                list(f, by)
            }
            Self::Threads => f.write_str("joining: data threads do not follow the view yet"),
            Self::Feeds => f.write_str("joining: not all shards have told their filters yet"),
            Self::Lease => f.write_str("no lease: the leader of the cluster does not answer"),
            Self::Draining => f.write_str("draining"),
            Self::NextLife => f.write_str("removed from the cluster, about to join again"),
            Self::Stopped => f.write_str("stopping"),
            Self::Ended(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFirst { found } => write!(
                f,
                "no cluster yet: {found} addresses found, none of them belongs to a cluster, and this node may not begin \
                 one: that is for the node whose name ends with -0, or with cluster.bootstrap (--bootstrap=true)"
            ),
            Self::Known { wanted, found } => write!(
                f,
                "cluster {wanted} is wanted: {found} addresses found, none of them belongs to it, and no other is begun"
            ),
            Self::Discovery => f.write_str("no cluster yet: discovery has not found the same addresses twice"),
            Self::TooMany { found } => {
                write!(f, "no cluster yet: {found} addresses found, at most {NODES_MAX} can be asked")
            }
            Self::Silent { addresses, found } => {
                write!(f, "no cluster yet: {} of {found} addresses do not answer: ", addresses.len())?;
                list(f, addresses)
            }
            Self::SecondLook => f.write_str("no cluster yet: all nodes found are asked a second time"),
            Self::Belongs { node, cluster } => write!(f, "no cluster begun: {node} belongs to cluster {cluster}"),
            Self::Other { node } => write!(f, "no cluster yet: {node} begins it"),
            Self::Committing => f.write_str("the cluster begins: its first entry is not committed yet"),
        }
    }
}

/// Some of a list: a line for a human has an end.
fn list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    const SHOWN_MAX: usize = 8;
    for (at, item) in items.iter().take(SHOWN_MAX).enumerate() {
        write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
    }
    if items.len() > SHOWN_MAX { write!(f, " and {} more", items.len() - SHOWN_MAX) } else { Ok(()) }
}

/// How things stand, for metrics and the admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This life of this node.
    pub member: Member,
    /// The cluster, once it is known that it has begun.
    pub cluster: Option<ClusterId>,
    /// Who leads group 0, as far as this node knows.
    pub leader: Option<NodeId>,
    /// In which term.
    pub term: Term,
    /// Whether this node does and grants leases.
    pub is_granting: bool,
    /// The number of the view.
    pub view: u64,
    /// The view that all data threads follow.
    pub followed: u64,
    /// What is applied of group 0.
    pub applied: Index,
    /// All nodes of the cluster, those that are down too.
    pub members: Vec<MemberStatus>,
    /// For how long this node may acknowledge if nothing comes.
    pub lease_left: Duration,
    /// Whether clients may come.
    pub serves: bool,
    /// What was counted.
    pub counts: Counts,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// Its last life.
    pub incarnation: Incarnation,
    /// Its pod.
    pub name: Box<str>,
    /// What the cluster says of it.
    pub state: State,
    /// Whether this node is linked with that life, or is it.
    pub is_linked: bool,
}

/// What happened since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Commands that had to be sent to the leader again.
    pub asked_again: u64,
    /// Commands of the program that were not taken since too many were open.
    pub asks_refused: u64,
    /// Commands of others that this leader put off since too many were under way.
    pub proposals_refused: u64,
    /// Requests of others for what only a leader decides, or in the name of somebody else.
    pub requests_refused: u64,
    /// How often others were asked what they are.
    pub looks: u64,
    /// Lives of this node that the cluster gave up.
    pub lives_lost: u64,
    /// How often this node lost its lease while it served.
    pub leases_lost: u64,
}
