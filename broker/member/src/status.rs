//! What a node says of its part in the cluster: what it lacks to be ready, in words, and how things stand.

use std::time::Duration;

use fulmar_meta::{ClusterId, Incarnation, Index, Level, Member, NODES_MAX, NodeId, State, Term};

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
    /// It has the only vote, if its folder is no old copy: others are asked.
    Alone {
        /// Who does not answer.
        silent: Vec<Box<str>>,
        /// Somebody is further.
        ahead: Option<NodeId>,
    },
    /// Nobody says who leads the cluster.
    Leader {
        /// How many others answer that belong to it.
        answering: usize,
    },
    /// A node joins only when it is linked with all members.
    Links {
        /// With whom it is not.
        to: Vec<Member>,
    },
    /// It asked to be taken in.
    Admission {
        /// Why it was not yet, if the leader said so.
        refused: Option<Box<str>>,
    },
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
    Lease {
        /// Who would give it, if that is known.
        leader: Option<NodeId>,
    },
    /// It leads the cluster itself, and holds no lease: no majority has confirmed that it leads.
    Majority,
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

/// Names of nodes, as far as somebody knows them.
pub trait Names {
    /// That of a node.
    fn name(&self, node: NodeId) -> Option<String>;
}

impl<F: Fn(NodeId) -> Option<String>> Names for F {
    fn name(&self, node: NodeId) -> Option<String> {
        self(node)
    }
}

/// A node for a human: its name, or its id if nobody knows one.
pub fn named(node: NodeId, names: &impl Names) -> String {
    names.name(node).unwrap_or_else(|| format!("node {node:016x}"))
}

impl Missing {
    /// In words, with nodes by their names.
    pub fn text(&self, names: &impl Names) -> String {
        let name = |node: NodeId| named(node, names);
        let all = |members: &[Member]| list(members.iter().map(|member| name(member.id)));
        match self {
            Self::Cluster(obstacle) => obstacle.text(names),
            Self::OtherCluster { found, wanted } => {
                format!("nodes that answer belong to cluster {found}, wanted is {wanted}")
            }
            Self::Alone { ahead: Some(node), .. } => format!(
                "this data folder decides alone for the cluster and is behind {}: it may be an old copy",
                name(*node)
            ),
            Self::Alone { silent, ahead: None } => {
                let silent = match silent.as_slice() {
                    [] => String::new(),
                    silent => format!(", and no answer from {}", list(silent.iter().map(ToString::to_string))),
                };
                format!(
                    "this data folder decides alone for the cluster: others are asked whether it is an old copy{silent}"
                )
            }
            Self::Leader { answering: 0 } => "no node says who leads the cluster".to_owned(),
            Self::Leader { answering } => {
                format!("the cluster has no leader, say those of its nodes that answer ({answering})")
            }
            Self::Links { to } => format!("not linked with all members of the cluster: {}", all(to)),
            Self::Admission { refused: None } => "not a member of the cluster yet: the leader was asked".to_owned(),
            Self::Admission { refused: Some(why) } => format!("not a member of the cluster yet: {why}"),
            Self::Confirmed { by } => format!("joining: not confirmed by {}", all(by)),
            Self::Threads => "joining: data threads do not follow the view yet".to_owned(),
            Self::Feeds => "joining: not all shards have told their filters yet".to_owned(),
            Self::Lease { leader: None } => "no lease: no node says who leads the cluster".to_owned(),
            Self::Lease { leader: Some(leader) } => {
                format!("no lease: {}, who leads the cluster, does not answer", name(*leader))
            }
            Self::Majority => {
                "no lease: this node leads the cluster, and no majority has confirmed that yet".to_owned()
            }
            Self::Draining => "draining".to_owned(),
            Self::NextLife => "removed from the cluster, about to join again".to_owned(),
            Self::Stopped => "stopping".to_owned(),
            Self::Ended(text) => text.to_string(),
        }
    }
}

impl Obstacle {
    /// In words, with nodes by their names.
    pub fn text(&self, names: &impl Names) -> String {
        let name = |member: &Member| named(member.id, names);
        match self {
            Self::NotFirst { found } => format!(
                "no cluster yet: {found} addresses found, none of them belongs to a cluster, and this node may not begin \
                 one: that is for the node whose name ends with -0, or with cluster.bootstrap (--bootstrap=true)"
            ),
            Self::Known { wanted, found } => format!(
                "cluster {wanted} is wanted: {found} addresses found, none of them belongs to it, and no other is begun"
            ),
            Self::Discovery => "no cluster yet: discovery has not found the same addresses twice".to_owned(),
            Self::TooMany { found } => {
                format!("no cluster yet: {found} addresses found, at most {NODES_MAX} can be asked")
            }
            Self::Silent { addresses, found } => {
                let silent = addresses.len();
                let addresses = list(addresses.iter().map(ToString::to_string));
                format!("no cluster yet: {silent} of {found} addresses do not answer: {addresses}")
            }
            Self::SecondLook => "no cluster yet: all nodes found are asked a second time".to_owned(),
            Self::Belongs { node, cluster } => {
                format!("no cluster begun: {} belongs to cluster {cluster}", name(node))
            }
            Self::Other { node } => format!("no cluster yet: {} begins it", name(node)),
            Self::Committing => "the cluster begins: its first entry is not committed yet".to_owned(),
        }
    }
}

/// Some of a list: a line for a human has an end.
pub fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN_MAX: usize = 8;
    let more = items.len().saturating_sub(SHOWN_MAX);
    let shown = items.take(SHOWN_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
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
    /// The feature level of the cluster: what all its nodes know.
    pub level: Level,
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
