//! The greeting on a new connection between nodes, before it becomes a lane or carries letters: the dialler says who it
//! is and what the connection is for, the other side accepts with the same of its own, or refuses and says why.
//!
//! What is said is here, how it is written in `bytes`. Who is accepted is decided in [`peers`](crate::peers).

mod bytes;

use std::fmt;

use thiserror::Error;

use crate::clock::NodeId;
use crate::frame::FrameError;
use crate::letters::Channel;

pub use bytes::{SplitGreeting, encode_greeting, split_greeting};

/// The version of everything between nodes: greeting, frames, messages. Nodes link only with their own version.
pub const PROTOCOL: u16 = 3;

/// What this version can do.
pub const FEATURE_LEVEL: u32 = 1;

/// A greeting is never longer.
pub const GREETING_BYTES_MAX: usize = 1024;

/// Names of nodes and clusters are never longer; Kubernetes allows pods 253 (RFC 1123).
pub const NAME_BYTES_MAX: usize = 253;

/// Data threads of a node, and so lanes of a link.
pub const THREADS_MAX: u16 = 1024;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The lane of this number.
    Lane(u16),
    /// Letters of the dialler.
    Letters(Channel),
}

/// Who a node is and what it wants with this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the node's version can do. The lowest of a cluster counts; for now there is only one level.
    pub feature_level: u32,
    /// The cluster it belongs to; empty if it has no name.
    pub cluster: String,
    /// Its id, which outlives restarts.
    pub node: NodeId,
    /// Which of its lives this is: the boot counter of a node with a store, otherwise random, made at each start.
    pub incarnation: u64,
    /// Random, drawn at each start: two processes with copies of one data folder differ by it.
    pub nonce: u64,
    /// Its name, for people: the pod's.
    pub name: String,
    /// How many data threads it has.
    pub threads: u16,
    /// What this connection is for.
    pub purpose: Purpose,
    /// Of a lane, the life of the link: the dialler's, or 0 if it does not know whom it dials; in the answer the agreed
    /// one. Of a connection for letters its number, which only grows in one life of the dialler; the same in the answer.
    pub epoch: u64,
    /// The number of this connection among those for the lane in this life; in the answer as agreed. 0 for letters.
    pub generation: u32,
    /// Its Lamport clock, so that nobody starts behind.
    pub clock: u64,
}

/// A connection is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// Who refuses.
    pub node: NodeId,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a connection is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// A node dialled itself.
    Itself,
    /// Another node has the same id: a copied data folder.
    SameNodeId {
        /// The name of the node that refuses.
        name: String,
    },
    /// Not of this cluster.
    WrongCluster {
        /// The cluster of the node that refuses.
        wanted: String,
    },
    /// Another version of the protocol.
    WrongProtocol {
        /// The version of the node that refuses.
        wanted: u16,
    },
    /// There is a connection for the same purpose, at least as new as this one.
    AlreadyLinked,
    /// The node that refuses is dialling for this lane itself, and its id is lower.
    LowerDials,
    /// There is no such lane between the two.
    NoSuchLane {
        /// How many there are.
        lanes: u16,
    },
    /// As many nodes as can be are known.
    TooManyNodes {
        /// The limit.
        max: u16,
    },
    /// The node stops.
    ShuttingDown,
    /// The node has no store, so letters are of no use to it.
    NoStore,
    /// Another process is the node, and this one has a copy of its data folder.
    Copied {
        /// The boot counter of this one.
        found: u64,
        /// That of the other one.
        recorded: u64,
    },
    /// Connections of another process of the same node stand. It may have ended a moment ago.
    AnotherProcess {
        /// Its boot counter.
        incarnation: u64,
    },
}

impl RefusalReason {
    /// Whether it happens in a healthy cluster: the connection is not needed, or the node will be back.
    pub const fn is_usual(&self) -> bool {
        matches!(
            self,
            RefusalReason::Itself
                | RefusalReason::AlreadyLinked
                | RefusalReason::LowerDials
                | RefusalReason::ShuttingDown
        )
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefusalReason::Itself => f.write_str("the node dialled itself"),
            RefusalReason::SameNodeId { name } => {
                write!(f, "node {name} has the same id; each node needs a data folder of its own")
            }
            RefusalReason::WrongCluster { wanted } => write!(f, "the node belongs to cluster {wanted:?}"),
            RefusalReason::WrongProtocol { wanted } => write!(f, "the node speaks link protocol {wanted}"),
            RefusalReason::AlreadyLinked => f.write_str("there is a connection for this already"),
            RefusalReason::LowerDials => f.write_str("the node with the lower id is dialling"),
            RefusalReason::NoSuchLane { lanes } => write!(f, "there are only {lanes} lanes"),
            RefusalReason::TooManyNodes { max } => write!(f, "the node knows {max} others, which is its limit"),
            RefusalReason::ShuttingDown => f.write_str("the node stops"),
            RefusalReason::NoStore => f.write_str("the node has no data folder, wanted one on each node or on none"),
            RefusalReason::Copied { found, recorded } if found <= recorded => {
                write!(f, "boot counter {found} of a restored or copied folder, more than {recorded} is wanted")
            }
            RefusalReason::Copied { found, recorded } => {
                write!(f, "boot counter {found} of a restored or copied folder, the process with {recorded} runs")
            }
            RefusalReason::AnotherProcess { incarnation } => {
                write!(f, "another process of the same node is connected, with boot counter {incarnation}")
            }
        }
    }
}

/// What stands in a greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// The dialler's first word, or the acceptance.
    Hello(Hello),
    /// The refusal.
    Refusal(Refusal),
}

/// Why bytes are no greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GreetingError {
    /// Somebody else speaks, or we dialled something else.
    #[error("not a node of a Fulmar cluster")]
    Magic,
    /// A node of another version, whose greeting we can't read.
    #[error("link protocol {found}, wanted {PROTOCOL}")]
    Protocol {
        /// Its version.
        found: u16,
    },
    /// Longer than any greeting.
    #[error("greeting of {found} bytes, at most {GREETING_BYTES_MAX} are allowed")]
    TooLong {
        /// The announced length.
        found: usize,
    },
    /// Something in it can't be read.
    #[error("greeting: {0}")]
    Content(#[from] FrameError),
}
