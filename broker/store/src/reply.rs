//! What became of a command. The same on every replica; the leader tells whoever asked.

use thiserror::Error;

use crate::names::{Epoch, Generation, Index, Node, Number, Sequence, Time, WillId};
use crate::settings::Bound;

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Of a command that has nothing to tell.
    Done,
    /// Nothing has changed.
    Refused(Refusal),
    /// Of a claim.
    Claimed(Claimed),
    /// Of SUBSCRIBE, filter by filter: whether it is new.
    Subscribed(Vec<Result<bool, Bound>>),
    /// Of UNSUBSCRIBE, filter by filter: whether there was one.
    Unsubscribed(Vec<bool>),
    /// Of messages of a stream, one by one. The source goes on with number `expected`.
    Published {
        /// What became of each.
        items: Vec<ItemReply>,
        /// The number that is wanted next.
        expected: Number,
    },
    /// Of acknowledgements, one by one.
    Acknowledged(Vec<AckReply>),
    /// Of a QoS 2 message that came for the first time, of a will, or of a message that was to be routed again: what
    /// its local targets got.
    Routed(Stored),
    /// The packet identifier is in use, or the number is done: the message was routed before.
    Duplicate,
    /// Of a release: whether the packet identifier was in use.
    Released(bool),
    /// Of a connection that ended.
    Disconnected {
        /// The session is no more.
        ended: bool,
        /// What is left of its will.
        will: WillState,
    },
    /// Of a session that was to be no more.
    Ended {
        /// There was that life of it.
        was_there: bool,
        /// Who owned it: its client is to be closed there.
        owner: Option<Node>,
    },
    /// Of a portion of clearing up.
    Cleared(Cleared),
    /// Of a session that is owned and served as before.
    Attached,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Its node's life is over.
    #[error("node {0} is gone")]
    NodeGone(Node),
    /// There is no such session.
    #[error("no session of that client")]
    NoSession,
    /// The session is another user's, who alone may take it over.
    #[error("the session is another user's")]
    OtherUser,
    /// Somebody else claimed the session since.
    #[error("epoch {found}, but the session's is {current}")]
    Epoch {
        /// That of the command.
        found: Epoch,
        /// That of the session.
        current: Epoch,
    },
    /// The session has no owner since its last one gave it up.
    #[error("nobody owns the session since epoch {epoch}")]
    NotOwned {
        /// That of the last owner.
        epoch: Epoch,
    },
    /// This very claim succeeded, and then a later one did.
    #[error("a later claim owns the session, with epoch {epoch}")]
    Superseded {
        /// That of the later claim.
        epoch: Epoch,
    },
    /// A message before these is missing.
    #[error("number {found}, expected {expected}")]
    OutOfOrder {
        /// That of the first message.
        found: Number,
        /// That of the message that is wanted.
        expected: Number,
    },
    /// More is said to be done than there ever was.
    #[error("number {found} was never used, the last one is {last}")]
    NeverSent {
        /// That of the command.
        found: Number,
        /// The last number that was given.
        last: Number,
    },
    /// The session that was to get a message of a shared subscription is no member of it, or no more.
    #[error("the session is no member of the shared subscription")]
    NoMember,
    /// That will is not pending: it was published before.
    #[error("will {0} is not pending")]
    NoWill(WillId),
    /// A bound was reached.
    #[error(transparent)]
    Bound(#[from] Bound),
}

/// A node owns a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// To be given with every command as its owner.
    pub epoch: Epoch,
    /// Of which life the session is.
    pub generation: Generation,
    /// The client had a session, and goes on with it (MQTT 5.0, 3.2.2.1.1).
    pub present: bool,
    /// Who owned it until now: its client is to be closed there.
    pub took_over: Option<Node>,
    /// What is before this in the queue may have been sent on an earlier connection: it goes out first, with DUP.
    pub sent_until: Sequence,
}

/// What became of one message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemReply {
    /// It came before, and was dealt with then.
    DoneBefore,
    /// It came now.
    Stored(Stored),
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The queues that it went to.
    pub queued: u32,
    /// Targets that it is not for: the session is of another life or gone, or the quality of service is 0.
    pub ignored: u32,
    /// Targets that are no members of their shared subscription any more: it is to be routed again.
    pub again: u32,
    /// Older messages that made room for it.
    pub dropped: u32,
    /// It was of no use any more when it came.
    pub is_expired: bool,
    /// Targets that had no room for it, by their position.
    pub refused: Vec<(u32, Bound)>,
    /// What became of it as a retained message, if it was to be one.
    pub retained: Option<RetainReply>,
}

/// What became of a message that was to be retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainReply {
    /// Its topic has it now; or none, if it was empty or nobody wanted it any more.
    Applied,
    /// Its topic had this version or a later one before, and nothing has changed.
    Older,
    /// There is no room for it, and nothing has changed.
    Refused(Bound),
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AckReply {
    /// It counts.
    Done = 1,
    /// It counted before, or the message is gone.
    DoneBefore = 2,
    /// It is not what that message awaits: QoS 1 awaits PUBACK; QoS 2 first PUBREC, then PUBCOMP.
    Unexpected = 3,
    /// The message cannot have been sent yet.
    NotSent = 4,
}

/// What is left of a will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillState {
    /// There is none.
    None,
    /// It waits until then, unless the client comes back.
    DueAt(Time),
    /// It is to be published.
    Pending(WillId),
}

/// What a portion of clearing up did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleared {
    /// Sessions whose node is gone, and which have no owner now.
    pub left: u32,
    /// Sessions that ended.
    pub ended: u32,
    /// Wills that are to be published now.
    pub wills: u32,
    /// Messages that nobody wants any more, in queues.
    pub messages: u32,
    /// The same, retained.
    pub retained: u32,
    /// Topics of which it is not remembered any more that their retained message was deleted.
    pub tombstones: u32,
    /// There is more to do at this time.
    pub more: bool,
}

/// What an entry did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The index of the last entry that the shard has applied.
    pub index: Index,
    /// To the commands, one by one. None of an entry that had been applied before.
    pub replies: Vec<Reply>,
    /// What changed about subscriptions, in order: what a leader's matcher and the interest of the cluster go by.
    pub subscriptions: Vec<SubscriptionChange>,
}

/// A session's subscription to one filter changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// Whose.
    pub client: crate::names::ClientId,
    /// In which life.
    pub generation: Generation,
    /// To what.
    pub filter: std::sync::Arc<str>,
    /// What it is now; none if it ended.
    pub subscription: Option<crate::command::Subscription>,
    /// How many sessions of the shard have the filter now: 0 ends the interest of the shard, and 1 of a new one began
    /// it.
    pub subscribers: u32,
}
