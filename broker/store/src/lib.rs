//! The durable state of one shard as a pure machine: committed entries in, replies out, the same bytes on every replica.

#![deny(unsafe_code)]

mod bytes;
mod command;
mod interest;
mod ledger;
mod message;
mod names;
mod outbox;
mod queue;
mod reply;
mod session;
mod settings;
mod shard;
#[cfg(test)]
mod tests;

pub use bytes::{BytesError, LEVEL, Loader, Snapshot, SnapshotError};
pub use command::{Ack, Claim, Command, Entry, Item, Routed, Subscription, Target, Will, WillFate};
pub use ledger::Totals;
pub use message::Message;
pub use names::{ClientId, Epoch, Generation, Index, Node, Number, Party, Sequence, ShardId, Time, Version, WillId};
pub use reply::{
    AckReply, Applied, Claimed, Cleared, ItemReply, Refusal, Reply, Stored, SubscriptionChange, WillState,
};
pub use settings::{Bound, QueuePolicy, Settings, cost};
pub use shard::{Counts, Credit, Delivery, OutboxMessage, SessionView, Shard};
