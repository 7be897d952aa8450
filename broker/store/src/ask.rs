//! What the data threads of a node ask of a store on behalf of their clients, and what they are told.
//!
//! A store is the same for them whether it is in memory, on one node's disk or replicated: they name the client or the
//! topic, and the store finds the shard and its leader, matches, commits and answers. What one thread asks about one
//! client is done in the order in which it was asked, and so is what it publishes to one shard.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};

use crate::command::{Ack, Claim, Destination, Subscription, WillFate};
use crate::message::Message;
use crate::names::{ClientId, Epoch, Generation, Node, Number, Sequence, ShardId, Version, WillId};
use crate::reply::{Claimed, Reply};
use crate::session::PendingWill;
use crate::shard::Delivery;

/// Which data thread asks, and its own name for the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The data thread.
    pub thread: u16,
    /// What it calls the question.
    pub number: u64,
}

/// What a data thread calls a session that it serves. The store gives it back with all that concerns the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The data thread.
    pub thread: u16,
    /// Its place for the session.
    pub slot: u32,
    /// Which use of the place.
    pub generation: u32,
}

/// A question, and what the leader of its shard has to know of where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The node whose data thread asks, in this life. It gets the answer, and what is told of a session that it claims.
    pub origin: Node,
    /// What that node calls the question.
    pub ticket: Ticket,
    /// The place of a publish in the stream from that node to the shard, which has no gaps and begins at 1. None: the
    /// node is alone, and its store numbers by itself.
    pub number: Option<Number>,
    /// The question. A claim whose nonce is not 0 names the node, too, and may come again as it is.
    pub ask: Ask,
}

/// A question. Each is answered once by [`Told::Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A client connected and wants its session, or a new one. From the answer on deliveries come, to `owner`. If the
    /// session is another user's, [`Claim::takeover`](crate::Claim::takeover) says whether the claim is refused
    /// ([`Refusal::OtherUser`](crate::Refusal::OtherUser)) or that session ends.
    Claim {
        /// Who serves it.
        owner: Owner,
        /// What it wants. [`Claim::node`](crate::Claim::node) and the nonce are the store's to fill in.
        claim: Claim,
    },
    /// A session that is owned already is still served: asked anew of a leader that may not know of it, after another
    /// one led or after what it told may have been lost. Nothing of the session changes. Answered by
    /// [`Reply::Attached`], and deliveries go on from `next`; or by a refusal if its epoch is over.
    Attach {
        /// Who serves it.
        owner: Owner,
        /// Whose session.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// The first message of its queue that its owner was not told yet.
        next: Sequence,
    },
    /// A client subscribes. Answered when it is committed and everybody who publishes knows of it.
    Subscribe {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// What it wants; a shared subscription with its whole `$share/GROUP/FILTER`.
        subscriptions: Vec<(Arc<str>, Subscription)>,
    },
    /// A client unsubscribes.
    Unsubscribe {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// What it does not want any more.
        filters: Vec<Arc<str>>,
    },
    /// A message for a shard. Answered when it is committed.
    Publish {
        /// The shard.
        shard: ShardId,
        /// The message.
        published: Published,
    },
    /// A client with a session here published with QoS 2. All of it is committed at once, so that a retry with the same
    /// packet identifier is known wherever it comes.
    ReceiveQos2 {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// Until this is released, a PUBLISH with it is a retry.
        packet_id: PacketId,
        /// The message.
        published: Published,
        /// Who wants it. Subscribers of its own shard may be among them, and are matched at once.
        destinations: Vec<Destination>,
    },
    /// A client released a packet identifier.
    Release {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// Which.
        packet_id: PacketId,
    },
    /// A client acknowledged what it was sent.
    Acknowledge {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// What became of which message.
        acks: Vec<(Sequence, Ack)>,
    },
    /// A client's connection ended. No deliveries come from here on.
    Disconnect {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// A new session expiry, if DISCONNECT had one.
        expiry_seconds: Option<u32>,
        /// What becomes of its will.
        will: WillFate,
    },
    /// A session is to be no more, whoever owns it: its user's rights were withdrawn. Its will is published like any
    /// other, if that is still allowed. Answered by [`Reply::Ended`]; may be asked again.
    End {
        /// Whose.
        client: ClientId,
        /// Which life of it, as [`Claimed::generation`](crate::Claimed::generation) told it. A later one is left alone.
        generation: Generation,
    },
    /// A message of a shared subscription was given to a member that is connected, or there is none: [`Told::Orphan`].
    Adopted {
        /// Of which shard.
        shard: ShardId,
        /// Which.
        number: Number,
    },
    /// A will was published to all who are connected, or may not be published: [`Told::Will`]. It goes to the shards
    /// now and is forgotten.
    WillDone {
        /// Of which shard.
        shard: ShardId,
        /// Which.
        will: WillId,
        /// The version that it got as a retained message, if it is to be one.
        retain: Option<Version>,
        /// Who else wants it; nobody if it may not be published.
        destinations: Vec<Destination>,
    },
}

impl Ask {
    /// The shard that it is for, of so many.
    pub fn shard(&self, shards: NonZeroU16) -> ShardId {
        match self {
            Ask::Publish { shard, .. } | Ask::Adopted { shard, .. } | Ask::WillDone { shard, .. } => *shard,
            Ask::Claim { claim, .. } => ShardId::of(&claim.client, shards),
            Ask::Attach { client, .. }
            | Ask::Subscribe { client, .. }
            | Ask::Unsubscribe { client, .. }
            | Ask::ReceiveQos2 { client, .. }
            | Ask::Release { client, .. }
            | Ask::Acknowledge { client, .. }
            | Ask::Disconnect { client, .. }
            | Ask::End { client, .. } => ShardId::of(client, shards),
        }
    }
}

/// A message for a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What was published.
    pub message: Message,
    /// It is to be the retained message of its topic, as this version of it: the Lamport clock and the id of the node
    /// where it was published. The highest version counts, in whatever order they come, so it may be asked again with
    /// the same one. What became of it is in [`Stored::retained`](crate::Stored::retained).
    pub retain: Option<Version>,
    /// Who gets it.
    pub to: Recipients,
}

/// Who gets a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// Nobody: it is only retained.
    Nobody,
    /// The sessions of the shard that have subscribed to its topic, but not by shared subscriptions.
    Matching {
        /// Who published it, if that may have subscribed without wanting its own (no local).
        publisher: Option<ClientId>,
    },
    /// One session, whatever it has subscribed to: what is retained, or its turn in a shared subscription.
    One {
        /// Whose.
        client: ClientId,
        /// The lower of publisher and subscription.
        qos: QoS,
        /// The retain flag that the client sees.
        retain: bool,
        /// Those of the subscriptions that it is for.
        subscription_ids: Vec<NonZeroU32>,
        /// The shared subscription whose turn it is, with its whole `$share/GROUP/FILTER`: if the session is no member
        /// any more, another one gets it.
        share: Option<Arc<str>>,
    },
    /// One of the sessions of the shard that share a subscription.
    Group {
        /// The name of the group.
        group: Arc<str>,
        /// Their filter.
        filter: Arc<str>,
    },
}

/// What a data thread is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What became of a question.
    Answer {
        /// What it was called.
        number: u64,
        /// What became of it.
        answer: Answer,
    },
    /// Messages for a client, in their order.
    Deliver {
        /// Whose.
        owner: Owner,
        /// The life of its owner for which they are.
        epoch: Epoch,
        /// The messages.
        deliveries: Vec<Delivery>,
    },
    /// The client connected elsewhere: its connection here is to be closed (MQTT 5.0, 3.1.4, 0x8E).
    TakenOver {
        /// Whose.
        owner: Owner,
        /// The life of its owner that is over.
        epoch: Epoch,
    },
    /// The session is no more ([`Ask::End`]): its connection here is to be closed.
    Ended {
        /// Whose.
        owner: Owner,
        /// The life of its owner that is over.
        epoch: Epoch,
    },
    /// A message of a shared subscription, whose member is no more and of which no session of the store is a member: it
    /// is for one that is connected and has a session of another kind, then [`Ask::Adopted`].
    Orphan {
        /// Of which shard.
        shard: ShardId,
        /// Which.
        number: Number,
        /// The subscription, with its whole `$share/GROUP/FILTER`.
        share: Arc<str>,
        /// What.
        message: Message,
    },
    /// A will is due: it is to be published to all who are connected, if its user may publish it, then
    /// [`Ask::WillDone`].
    Will {
        /// Of which shard.
        shard: ShardId,
        /// Which.
        id: WillId,
        /// Whose, and what.
        pending: PendingWill,
    },
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A session is owned.
    Claimed(Box<OwnedSession>),
    /// It is committed, or refused for ever.
    Reply(Reply),
    /// Nobody could be reached who may decide, or nobody knows what was decided. Claims, acknowledgements and what has
    /// a packet identifier may be asked again; a publish was or was not stored.
    Unavailable,
    /// This node does not serve the shard, and nothing was done.
    NotLeader {
        /// The id of the node that does, if it is known.
        leader: Option<u64>,
    },
}

/// What the owner of a session has to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedSession {
    /// What the claim came to.
    pub claimed: Claimed,
    /// What it subscribed to.
    pub subscriptions: Vec<(Arc<str>, Subscription)>,
    /// QoS 2 packet identifiers of the client that were not released.
    pub received: Vec<PacketId>,
}
