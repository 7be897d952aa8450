//! What the shell carries out, and the connections that it hands over and reports on.

use super::Address;
use crate::clock::NodeId;
use crate::hello::RefusalReason;
use crate::letters::Channel;

/// Names one attempt to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u64);

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect, and report [`Peers::handle_connected`](super::Peers::handle_connected) or [`Peers::handle_dial_failed`](super::Peers::handle_dial_failed).
    Dial {
        /// To report by.
        attempt: Attempt,
        /// Where to.
        address: Address,
    },
    /// Connect to write letters, and report [`Peers::handle_letters_connected`](super::Peers::handle_letters_connected) or [`Peers::handle_letters_ended`](super::Peers::handle_letters_ended).
    DialLetters {
        /// To report by.
        attempt: Attempt,
        /// Where to.
        address: Address,
        /// What the letters are about.
        channel: Channel,
    },
    /// Read no more letters from this connection and close it; nothing is to be reported.
    CloseLetters {
        /// Which.
        connection: u64,
    },
    /// Give the attempt up, with the connection for letters that it has become; nothing is to be reported.
    Abandon {
        /// Which.
        attempt: Attempt,
    },
    /// All data threads: lives of the link to this node up to the epoch are over.
    Gone {
        /// Which node.
        node: NodeId,
        /// The last epoch that is over.
        epoch: u64,
    },
    /// The cluster will not have this process, in the life that it lives: it has a copy of a data folder.
    Refused {
        /// In the words of the node that said so.
        reason: RefusalReason,
    },
}

/// An accepted connection, to be handed to a data thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneUp {
    /// The peer.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its incarnation.
    pub incarnation: u64,
    /// The life of the link.
    pub epoch: u64,
    /// Which lane.
    pub lane: u16,
    /// How many there are.
    pub lanes: u16,
    /// Which of this node's connections it is.
    pub connection: u64,
    /// The data thread of this node that it belongs to.
    pub thread: u16,
}

impl LaneUp {
    /// What to report when this connection is lost.
    pub const fn lost(&self) -> LostLane {
        LostLane { node: self.node, epoch: self.epoch, lane: self.lane, connection: self.connection }
    }
}

/// Names a connection that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostLane {
    /// The peer.
    pub node: NodeId,
    /// The life of the link.
    pub epoch: u64,
    /// Which lane.
    pub lane: u16,
    /// Which connection.
    pub connection: u64,
}
