//! What the shell is to do, in this order: what comes later may rest on what came before.

use fulmar_meta::{Answer, Command, Incarnation, Moment, NodeId, Term, View};

use crate::folder::Folder;
use crate::message::MemberMessage;

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write this into the data folder, and sync it, before anything that follows is done.
    Save(Folder),
    /// Make group 0 with this node as its only voter, unless the folder has a group 0. The engine then says that the
    /// node leads it; until it does, this comes again.
    BeginCluster,
    /// Group 0 may go on by this node's vote alone: nobody who answers has more of it. These do not answer.
    DecideAlone {
        /// Addresses that discovery found.
        silent: Vec<Box<str>>,
    },
    /// Propose this to group 0 in this term, or not at all: never later, and never by way of another leader. Dropped if
    /// the group does not take it: what still matters comes again.
    Propose {
        /// The term in which it was decided.
        term: Term,
        /// What.
        command: Command,
    },
    /// Ask group 0 which entry makes a read current, and answer by [`Membership::confirmed`] or
    /// [`Membership::read_failed`].
    ///
    /// [`Membership::confirmed`]: crate::Membership::confirmed
    /// [`Membership::read_failed`]: crate::Membership::read_failed
    Read(u64),
    /// Transfer the leadership of group 0 to this node, if it may have it.
    TransferMeta(NodeId),
    /// Send this on the control channel, if there is a connection.
    Send {
        /// To whom; never this node.
        to: NodeId,
        /// What.
        message: MemberMessage,
    },
    /// This is who is live: for all data threads and for the engine. When all data threads follow it, it is to be said
    /// by [`Membership::followed`](crate::Membership::followed).
    View(View),
    /// Acknowledge until then by a clock that is read for the purpose, and not at all if it is none. For data threads
    /// to compare with; what they have may be older by a moment, but for a `None`, which must have reached all of them
    /// before what follows is done.
    Acknowledge(Option<Moment>),
    /// Clients may come.
    Serve,
    /// Close all clients and take no more.
    CloseClients,
    /// The cluster has given this life up. Close the links and forget what peers said; raise the boot counter above
    /// this, and answer by [`Membership::begin_life`](crate::Membership::begin_life).
    BeginNextLife {
        /// The counter must be higher.
        above: Incarnation,
    },
    /// What became of a command that [`Membership::ask`](crate::Membership::ask) was given.
    Answered {
        /// Which.
        command: Command,
        /// What became of it.
        answer: Answer,
    },
    /// Set the data folder aside and begin with an empty one, as another node: this one can't come back. Says why, for
    /// a human. Nothing follows.
    StartAnew(Box<str>),
    /// Nothing helps but a human, who is told this. Nothing follows.
    GiveUp(Box<str>),
}
