//! The durable state of one shard as a pure machine: committed entries in, replies out, the same bytes on every
//! replica.
//!
//! A [`Shard`] holds what must survive nodes: sessions with their subscriptions, queues and QoS 2 state of both
//! directions, wills, retained messages, and an outbox for other shards and for nodes. Raft commits [`Entry`]s; every
//! replica hands them to [`Shard::apply`] in the same order, and all have the same state and the same replies. Nothing
//! here reads a clock, draws a random number or does I/O: time comes with the entry, and never goes back.
//!
//! Consensus, the log and who leads are below this crate; matching topics with subscriptions, delivering to clients and
//! acknowledging to publishers are above it. The leader
//!
//! - matches what is published with its own trie, kept by [`Applied::subscriptions`], and proposes the targets;
//! - sends what [`Shard::deliverable`] gives to the session's owner, and commits what comes back as [`Ack`]s;
//! - proposes [`Command::Expire`] when [`Shard::next_due`] says so, and again while [`Cleared::more`] does;
//! - matches [`Shard::pending_wills`], and sends what [`Shard::outbox`] holds until [`Command::OutboxDone`];
//! - finds other members for what the outbox holds for the shard itself: [`Command::RouteAgain`].
//!
//! # What is decided here
//!
//! **Epochs and generations** are numbers of the shard, not of the session. Each claim gets a higher epoch than any
//! before it, and a generation is the epoch that began it. So an owner of a session that ended can't speak for a new
//! one of the same name, and what was matched for the old one is not for the new one.
//!
//! **A claim that is sent again** gets the answer that it got before. If somebody else claimed the session in between
//! it is refused ([`Refusal::Superseded`]): sending again after a change of leader must not take a session back. A
//! session remembers its last four claims before the current one for that, and none once it has ended: then the claim
//! makes a new session, whose owner, if its client has gone meanwhile, gives it up like any other.
//!
//! **In flight** is what an owner may have sent: the oldest messages, as many as the client takes, in a window that
//! only committed entries move. The leader gives out nothing else, so no replica has to be told what was sent. What is
//! in the window is neither dropped nor expired, since its packet identifier may be open at the client. Packet
//! identifiers are 1 + sequence modulo 65,535, and a window never spans more. [`Claimed::sent_until`] tells the next
//! owner which messages may need DUP. QoS 0 never waits here: it is delivered live or not at all (MQTT 5.0, 4.3.1).
//!
//! **Whose a session is** it remembers: the user that its first claim named. What waits in it is for nobody else, so a
//! claim by another user is refused or ends the session, as [`Takeover`] says; it never inherits queue, subscriptions
//! or packet identifiers. [`Command::End`] ends one life of a session whose user's rights were withdrawn.
//!
//! **Streams** go on with the expected number only. What a destination of the outbox has to match itself is sent
//! without targets: its own leader knows its subscriptions. Nodes are destinations like shards, so that a QoS 2 message
//! reaches live subscribers once. A message for many sessions may come in parts: they have one number, are cut in the
//! order of the clients, and the stream knows how far they came, so whoever proposes the message again, matched anew,
//! sends nobody a second copy and leaves nobody out.
//!
//! **Retained messages** have the version that their publisher's node gave them, because they reach the shard on
//! several ways: the highest counts, in whatever order they come. A deletion leaves a tombstone with its version, and
//! so does a message whose time is over, for [`Settings::tombstone_seconds`]: nothing older comes back.
//!
//! **Shared subscriptions** are subscriptions like any other. A message whose turn it was for a member names the shared
//! subscription ([`Target::share`]), and when the session ends or unsubscribes, others get what is left: what waits,
//! and when the session ends also what may have been sent with QoS 1. What may have been sent with QoS 2 never moves
//! (MQTT 5.0, 4.8.2), and what was begun before UNSUBSCRIBE is completed (3.10.4). It waits in the outbox for this very
//! shard until the leader knows its way [`Onward`]; so does what comes for a member that is no more.
//!
//! **A will** whose time has come is first moved to those that are to be published: from there on nothing cancels it.
//! It is taken from there by the entry that brings it to its targets and to the outbox, so it is published once,
//! whoever leads. A session's end publishes its will (MQTT 5.0, 3.1.2.5), also if that is a clean start; a client
//! that takes its own session over keeps the will with a delay from being published, but not one without.
//!
//! **A life of a node that is gone** is refused from that entry on, and its sessions count as left since then, though
//! they are dealt with in portions. Its numbers are forgotten at once, because the node is remembered instead, up to
//! [`Settings::nodes_max`].
//!
//! **Bounds** are in [`Settings`], and every one that is reached is named. Queues bound what waits, as nodes do. What
//! an entry brings on its whole way (QoS 2, a will) is refused as a whole when the outbox has no room; a single queue
//! that has none is told target by target. A message that is retained and has no room leaves the old one. What can't be
//! refused, because it follows from the end of something, is counted: [`Totals`].
//!
//! # What is not here
//!
//! Which member of a shared subscription gets a message: that is up to whoever matches. Files: a shard says which bodies
//! may leave memory ([`Shard::leaving`]), remembers where they are ([`BodyPlace`]) and asks for them when they are sent
//! ([`Bodies`]), never when an entry is applied. Sessions that are clean and have no will: their leader keeps them. Whether an
//! entry is too large and whether [`Settings`] make sense: whoever proposes them asks [`Weight`] and
//! [`Settings::check`] first, and a shard applies what was committed.

#![deny(unsafe_code)]

mod ask;
mod body;
mod bytes;
mod command;
mod interest;
mod kept;
mod ledger;
mod message;
mod names;
mod outbox;
mod queue;
mod recover;
mod reply;
mod session;
mod settings;
mod shard;
mod shares;
#[cfg(test)]
mod tests;
mod tombstones;
mod weight;

pub use ask::{Answer, Ask, Asked, OwnedSession, Owner, Published, Recipients, Ticket, Told};
pub use body::{Bodies, BodyPlace};
pub use bytes::{
    BytesError, Inlining, Intake, LEVEL, Loader, NewMessage, NewPlace, NewSession, Snapshot, SnapshotError,
};
pub use command::{
    Ack, Claim, Command, Destination, Entry, Item, Onward, Routed, Subscription, Takeover, Target, Wants, Will,
    WillFate,
};
pub use kept::{KeptMessage, KeptPlace, KeptSession};
#[cfg(any(test, feature = "sabotage"))]
pub use ledger::Sabotage;
pub use ledger::Totals;
pub use message::Message;
pub use names::{ClientId, Epoch, Generation, Index, Node, Number, Party, Sequence, ShardId, Time, Version, WillId};
pub use outbox::Addressee;
pub use reply::{
    AckReply, Applied, Claimed, Cleared, ItemReply, Refusal, Reply, RetainReply, Stored, SubscriptionChange, WillState,
};
pub use session::PendingWill;
pub use settings::{Bound, QueuePolicy, SettingError, Settings, cost};
pub use shard::{Counts, Credit, Delivery, OutboxMessage, SessionView, Shard};
pub use weight::Weight;
