//! What nodes and the leader of the group say to each other about leases, and what a node is told that asked for
//! something to be committed. Bytes are in `bytes/message.rs`.

use crate::names::{Member, NodeId};
use crate::reply::{Refusal, Reply};

/// A member asks for its lease. It may be lost, late, doubled and overtaken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// Who asks.
    pub member: Member,
    /// Counts up in a life; comes back with the grant.
    pub number: u64,
    /// Members of the view that it can't reach, and has not for as long as links wait.
    pub unreachable: Vec<NodeId>,
}

/// The leader answers a [`Renewal`]: the lease holds from when that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Whose lease it is.
    pub member: Member,
    /// Which renewal is answered.
    pub number: u64,
    /// The view that the leader knows, and the member has to know before the grant counts.
    pub view: u64,
}

/// A member that stops acknowledges nothing any more: it may be removed without waiting for its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// Whose life ends.
    pub member: Member,
}

/// What becomes of a command that a node had sent to the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What to do.
    pub advice: Advice,
    /// The refusal, for a human; empty if it was none.
    pub text: Box<str>,
}

/// What a node does about a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Nothing: it counts.
    Done,
    /// The same again, in a moment.
    Retry,
    /// Boot with a higher counter.
    NextLife,
    /// Set the folder aside, and join with a new one under a new id.
    StartAnew,
    /// Nothing helps but a human.
    GiveUp,
}

impl Answer {
    /// What to tell the node that asked.
    pub fn of(reply: &Reply) -> Self {
        let Reply::Refused(refusal) = reply else { return Self { advice: Advice::Done, text: "".into() } };
        Self { advice: refusal.advice(), text: refusal.to_string().into() }
    }
}

impl Refusal {
    /// What the node that asked does about it.
    pub fn advice(&self) -> Advice {
        match self {
            Self::NoCluster
            | Self::StillLive { .. }
            | Self::NameTaken { .. }
            | Self::NotInView { .. }
            | Self::NotLeading { .. } => Advice::Retry,
            Self::Over { .. } | Self::Known { .. } => Advice::NextLife,
            Self::Retired { .. } | Self::OldFolder { .. } | Self::Unknown { .. } | Self::Restored { .. } => {
                Advice::StartAnew
            }
            Self::Bound(_)
            | Self::OtherCluster { .. }
            | Self::Shards { .. }
            | Self::OtherFirst { .. }
            | Self::OtherName { .. }
            | Self::Level { .. }
            | Self::LastNode { .. }
            | Self::NotLeaving { .. }
            | Self::StillKeeps { .. }
            | Self::NoShard { .. }
            | Self::Step { .. }
            | Self::TooFewVoters { .. } => Advice::GiveUp,
        }
    }
}
