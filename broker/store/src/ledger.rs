//! What queues, retained messages and the outbox of a shard have in common: the bodies of messages, kept once with a
//! count of who holds them; the table of what is due when; and how many bytes all of it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::message::{Message, after_seconds};
use crate::names::{ClientId, Sequence, Time};
use crate::settings::{Bound, cost};
use crate::shares::{ShareId, Shares, share_bytes};

/// Which body of the shard.
pub(crate) type MessageId = u64;

/// A message that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) message: Message,
    pub(crate) expires: Option<Time>,
    /// How many places hold it. Not part of a snapshot: counted again when it is loaded.
    pub(crate) references: u32,
}

impl Body {
    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// What is to be cleared up at some time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// An absent client's will.
    Will(ClientId),
    /// An absent client's session.
    Session(ClientId),
    /// A message that waits in a queue. Those in flight have no row: they are never dropped.
    Queued(ClientId, Sequence),
    /// The retained message of a topic.
    Retained(Arc<str>),
    /// That a topic's retained message was deleted.
    Tombstone(Arc<str>),
}

/// What was lost by policy since the shard began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages that made room for newer ones in full queues.
    pub dropped: u64,
    /// Messages that a queue had no room for.
    pub refused: u64,
    /// Messages that nobody wanted any more before they were sent.
    pub expired: u64,
    /// Messages of shared subscriptions whose member was no more, and that went to no other one: there was none, or the
    /// outbox had no room for them.
    pub stranded: u64,
    /// Deletions of retained messages that were forgotten before their time, because there was no room for them.
    pub forgotten: u64,
}

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    bodies: BTreeMap<MessageId, Body>,
    pub(crate) next_message: MessageId,
    due: BTreeSet<(Time, Due)>,
    bytes: u64,
    /// Messages in all queues.
    pub(crate) queued: u64,
    pub(crate) totals: Totals,
    shares: Shares,
    #[cfg(test)]
    pub(crate) sabotage: Option<Sabotage>,
}

impl Ledger {
    /// Keeps a message, held by the caller until it lets go: it may go to a queue and be dropped there while it is
    /// still on its way to others.
    pub(crate) fn add_body(&mut self, message: &Message, now: Time) -> MessageId {
        let id = self.next_message;
        self.next_message += 1;
        let expires = message.lifetime_seconds.map(|seconds| after_seconds(now, seconds));
        self.insert_body(id, Body { message: message.clone(), expires, references: 1 });
        id
    }

    pub(crate) fn insert_body(&mut self, id: MessageId, body: Body) {
        self.bytes += body_bytes(&body.message);
        self.bodies.insert(id, body);
    }

    /// The body that somebody holds.
    pub(crate) fn body(&self, id: MessageId) -> &Body {
        &self.bodies[&id]
    }

    pub(crate) fn bodies(&self) -> &BTreeMap<MessageId, Body> {
        &self.bodies
    }

    pub(crate) fn into_bodies(self) -> BTreeMap<MessageId, Body> {
        self.bodies
    }

    pub(crate) fn hold(&mut self, id: MessageId) {
        self.bodies.get_mut(&id).expect("a body is held while it is there").references += 1;
    }

    pub(crate) fn let_go(&mut self, id: MessageId) {
        let body = self.bodies.get_mut(&id).expect("a body is there as long as somebody holds it");
        body.references -= 1;
        if body.references == 0 {
            let bytes = body_bytes(&body.message);
            self.bodies.remove(&id);
            self.bytes -= bytes;
        }
    }

    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The number of a shared subscription, held by the caller until it lets go.
    pub(crate) fn hold_share_named(&mut self, name: &Arc<str>) -> ShareId {
        let id = self.shares.id(name).unwrap_or_else(|| {
            self.bytes += share_bytes(name);
            self.shares.add(name.clone())
        });
        self.hold_share(id);
        id
    }

    /// One of a snapshot, which nobody holds yet.
    pub(crate) fn insert_share(&mut self, id: ShareId, name: Arc<str>) {
        self.bytes += share_bytes(&name);
        self.shares.insert(id, name);
    }

    /// From a snapshot: the number of the next one.
    pub(crate) fn set_next_share(&mut self, next: ShareId) {
        self.shares.next = next;
    }

    pub(crate) fn hold_share(&mut self, id: ShareId) {
        self.shares.hold(id);
    }

    pub(crate) fn let_go_of_share(&mut self, id: ShareId) {
        if let Some(name) = self.shares.let_go(id) {
            self.bytes -= share_bytes(&name);
        }
    }

    /// Whether so many bytes more stay within the bound.
    pub(crate) fn has_room(&self, bytes: u64, bytes_max: u64) -> Result<(), Bound> {
        if self.bytes.saturating_add(bytes) <= bytes_max { Ok(()) } else { Err(Bound::ShardBytes) }
    }

    pub(crate) fn take(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn add_due(&mut self, at: Time, what: Due) {
        self.due.insert((at, what));
    }

    pub(crate) fn remove_due(&mut self, at: Time, what: Due) {
        self.due.remove(&(at, what));
    }

    /// What is due first.
    pub(crate) fn next_due(&self) -> Option<&(Time, Due)> {
        self.due.first()
    }

    #[cfg(test)]
    pub(crate) fn due(&self) -> &BTreeSet<(Time, Due)> {
        &self.due
    }
}

pub(crate) fn body_bytes(message: &Message) -> u64 {
    cost::BODY + message.bytes()
}

/// Mistakes that the tests must notice.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    EpochNotChecked,
    GapAccepted,
    PartsForgotten,
    GenerationNotChecked,
    WillFiredTwice,
    RetryMatchedAgain,
    InFlightDropped,
    ClaimRepeated,
    SnapshotWithoutInFlight,
    OlderVersionRetained,
    TombstoneForgotten,
    InheritedByAnotherUser,
    SharedLostAtEnd,
    SentQos2Moved,
}

/// Whether the test at hand asks for this mistake. Other builds have none of them.
macro_rules! sabotaged {
    ($ledger:expr, $mistake:ident) => {{
        #[cfg(test)]
        let sabotaged = $ledger.sabotage == Some($crate::ledger::Sabotage::$mistake);
        #[cfg(not(test))]
        let sabotaged = false;
        sabotaged
    }};
}
pub(crate) use sabotaged;
