//! What a leader may ask of the shard: the commands of which entries are made.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS, SubscriptionOptions};

use crate::message::Message;
use crate::names::{ClientId, Epoch, Generation, Node, Number, Party, Sequence, ShardId, Time, Version, WillId};
use crate::settings::Settings;

/// What is committed at once. Either all of it is applied or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The leader's clock. The shard never goes back: it takes the latest it has seen.
    pub time: Time,
    /// In this order.
    pub commands: Vec<Command>,
}

/// One change of the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// New bounds. What exceeds them already stays.
    Settings(Settings),
    /// A client connected to a node.
    Claim(Claim),
    /// A client subscribes.
    Subscribe {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// What it wants.
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
    /// Messages for sessions and retained messages of this shard.
    Publish {
        /// Whose stream they belong to.
        source: Party,
        /// The number of the first of them there; the others follow.
        first: Number,
        /// What was published.
        items: Vec<Item>,
        /// The last of them is a part of a message for many sessions: others with the same number follow, for sessions
        /// behind those of this one in the order of their clients.
        goes_on: bool,
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
    /// A client published with QoS 2. Committed before PUBREC.
    ReceiveQos2 {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// Until this is released, a PUBLISH with it is a retry.
        packet_id: PacketId,
        /// The message and where it goes: all of it in this entry, or nothing.
        routed: Routed,
    },
    /// A client sent PUBREL: its packet identifier is free.
    Release {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// Which.
        packet_id: PacketId,
    },
    /// A client's connection ended, and its node says so.
    Disconnect {
        /// Who.
        client: ClientId,
        /// As which owner.
        epoch: Epoch,
        /// A new session expiry, if DISCONNECT had one (MQTT 5.0, 3.14.2.2.2).
        expiry_seconds: Option<u32>,
        /// What becomes of its will.
        will: WillFate,
    },
    /// A session is to be no more, whoever owns it: its user's rights were withdrawn. A later life of it is left alone.
    End {
        /// Whose.
        client: ClientId,
        /// Which life of it.
        generation: Generation,
    },
    /// A life of a node is over; the cluster's members have agreed on that.
    NodeGone(Node),
    /// A will that was due has been matched. One that its client may not publish any more goes nowhere.
    PublishWill {
        /// Which, of those that [`Shard::pending_wills`](crate::Shard::pending_wills) tells.
        will: WillId,
        /// It is to be the retained message of its topic, which belongs to this shard, as this version of it.
        retain: Option<Version>,
        /// Who gets it here.
        targets: Vec<Target>,
        /// Who else gets it, by the outbox.
        destinations: Vec<Destination>,
    },
    /// A destination has all messages of the outbox up to this number.
    OutboxDone {
        /// Which.
        destination: Party,
        /// The last that it has.
        until: Number,
    },
    /// The oldest message of the outbox for this shard itself goes on. If it can't go there, it stays where it is.
    RouteAgain {
        /// Its number there.
        number: Number,
        /// Where it goes.
        to: Onward,
    },
    /// Clears up a portion of what is due: see [`Shard::next_due`](crate::Shard::next_due).
    Expire,
}

/// A client connected to a node, which wants to own its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub client: ClientId,
    /// As which user; none is anonymous.
    pub user: Option<Arc<str>>,
    /// What if the session is another user's.
    pub takeover: Takeover,
    /// The node that it connected to.
    pub node: Node,
    /// Random, the same when the claim is sent again.
    pub nonce: u64,
    /// The client wants a new session (MQTT 5.0, 3.1.2.4).
    pub clean: bool,
    /// How long the session outlives the connection; 4,294,967,295 is for ever (MQTT 5.0, 3.1.2.11.2).
    pub expiry_seconds: u32,
    /// How many messages the client takes unacknowledged. [`Settings::in_flight_max`] counts where it is lower.
    pub receive_maximum: NonZeroU16,
    /// What to publish if the connection is lost.
    pub will: Option<Will>,
}

/// Who may take over a client identifier that is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Takeover {
    /// Its user: nobody else gets it before the session has ended.
    #[default]
    SameUser = 1,
    /// Whoever connects with it. The session ends, as nobody else shall read what waits in it.
    AnyUser = 2,
}

/// What is published when a connection is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The message. Its lifetime counts from when it is published.
    pub message: Message,
    /// How long a client may be away before (MQTT 5.0, 3.1.3.2.2).
    pub delay_seconds: u32,
}

/// What a client wants to have of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// As in SUBSCRIBE.
    pub options: SubscriptionOptions,
    /// To be sent along with what matches.
    pub id: Option<NonZeroU32>,
}

/// A message for this shard, already matched with its subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What was published.
    pub message: Message,
    /// It is the retained message of its topic, as this version of it, unless there was a later one; with an empty
    /// payload the topic has none any more (MQTT 5.0, 3.3.1.3).
    pub retain: Option<Version>,
    /// Who gets it.
    pub targets: Vec<Target>,
}

/// A session that gets a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose.
    pub client: ClientId,
    /// The life of the session that was matched.
    pub generation: Generation,
    /// The lower of publisher and subscription: 1 or 2. Messages of QoS 0 do not wait for anybody and are ignored.
    pub qos: QoS,
    /// The retain flag that the client sees.
    pub retain: bool,
    /// Those of the subscriptions that matched.
    pub subscription_ids: Vec<NonZeroU32>,
    /// The shared subscription as whose member it gets it, whole: `$share/GROUP/FILTER`. A session that is no member
    /// any more does not get it; then it is in the outbox for this shard itself, to be routed again.
    pub share: Option<Arc<str>>,
}

/// Where a message of a shared subscription goes whose member is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// To another member of this shard.
    Member(Target),
    /// To a node or another shard, which finds a member there.
    Destination(Party),
    /// Nobody is left, anywhere.
    Nobody,
}

/// A message that one entry brings on its whole way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// What this shard does with it itself.
    pub item: Item,
    /// Who else gets it, by the outbox.
    pub destinations: Vec<Destination>,
}

/// A place that a message goes to by the outbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The place. Of this shard itself only shared subscriptions are found in this way.
    pub party: Party,
    /// What becomes of it there.
    pub wants: Wants,
}

/// What becomes of a message at its destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wants {
    /// All get it who have subscribed to its topic, but not by shared subscriptions.
    Subscribers,
    /// One member of a shared subscription gets it, which is named with its whole `$share/GROUP/FILTER`.
    Group(Arc<str>),
    /// It is the retained message of its topic, as this version of it.
    Retained(Version),
}

impl Destination {
    /// All at that place who have subscribed to its topic.
    #[must_use]
    pub fn subscribers(party: Party) -> Self {
        Self { party, wants: Wants::Subscribers }
    }

    /// The same of each of these shards.
    #[must_use]
    pub fn subscribers_of(shards: &[ShardId]) -> Vec<Self> {
        shards.iter().map(|shard| Self::subscribers(Party::Shard(*shard))).collect()
    }
}

/// What a client did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ack {
    /// PUBACK of QoS 1.
    Ack = 1,
    /// PUBREC of QoS 2. PUBREL is sent when this is committed.
    Received = 2,
    /// PUBCOMP of QoS 2.
    Complete = 3,
    /// It is not wanted: PUBACK or PUBREC with an error (MQTT 5.0, 4.8.2), or a packet too large for the client.
    Discard = 4,
}

/// What becomes of a will when the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WillFate {
    /// It is published after its delay, or when the session ends.
    Keep = 1,
    /// It is forgotten: the client said goodbye (MQTT 5.0, 3.14.4).
    Delete = 2,
    /// It is published now.
    Fire = 3,
}
