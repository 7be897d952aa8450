//! What queues, retained messages and the outbox of a shard have in common: the bodies of messages, kept once with a
//! count of who holds them; the table of what is due when; and how many bytes all of it takes.
//!
//! Bodies that are not retained may leave memory, the oldest first: whoever has waited longest is likely to wait on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::body::{Body, BodyBytes, BodyPlace, Content, OnDisk};
use crate::message::{Message, after_seconds};
use crate::names::{ClientId, Sequence, Time};
use crate::settings::Bound;
use crate::shares::{ShareId, Shares, share_bytes};

/// Which body of the shard.
pub(crate) type MessageId = u64;

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
    /// What those bodies count that may leave memory.
    in_memory: u64,
    /// What those count that have left.
    on_disk: u64,
    /// Bodies before this one have left memory, or stay for ever.
    oldest_in_memory: MessageId,
    /// Where bodies were that are of no use any more there, until it is asked for.
    freed: Vec<BodyPlace>,
    /// Messages in all queues.
    pub(crate) queued: u64,
    pub(crate) totals: Totals,
    shares: Shares,
    #[cfg(any(test, feature = "sabotage"))]
    pub(crate) sabotage: Option<Sabotage>,
}

impl Ledger {
    /// Keeps a message, held by the caller until it lets go: it may go to a queue and be dropped there while it is
    /// still on its way to others.
    pub(crate) fn add_body(&mut self, message: &Message, now: Time) -> MessageId {
        let id = self.next_message;
        self.next_message += 1;
        let expires = message.lifetime_seconds.map(|seconds| after_seconds(now, seconds));
        self.insert_body(id, Body::new(Content::Memory(message.clone()), expires, 1));
        id
    }

    pub(crate) fn insert_body(&mut self, id: MessageId, body: Body) {
        let BodyBytes { in_memory, on_disk } = body.counts();
        self.bytes += body.cost();
        self.in_memory += in_memory;
        self.on_disk += on_disk;
        self.oldest_in_memory = self.oldest_in_memory.min(id);
        self.bodies.insert(id, body);
    }

    /// Changes where a body is, or whether it must stay.
    fn change_body(&mut self, id: MessageId, change: impl FnOnce(&mut Body)) {
        let body = self.bodies.get_mut(&id).expect("a body is there as long as somebody holds it");
        let before = body.counts();
        change(body);
        let after = body.counts();
        if body.may_leave() {
            self.oldest_in_memory = self.oldest_in_memory.min(id);
        }
        self.in_memory = self.in_memory - before.in_memory + after.in_memory;
        self.on_disk = self.on_disk - before.on_disk + after.on_disk;
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

    pub(crate) fn body_bytes(&self) -> BodyBytes {
        BodyBytes { in_memory: self.in_memory, on_disk: self.on_disk }
    }

    /// The bodies that may leave memory, the oldest first.
    pub(crate) fn leaving(&mut self) -> impl Iterator<Item = (MessageId, &Message)> {
        let oldest = self.bodies.range(self.oldest_in_memory..).find(|(_, body)| body.may_leave());
        self.oldest_in_memory = oldest.map_or(self.next_message, |(id, _)| *id);
        let bodies = self.bodies.range(self.oldest_in_memory..).filter(|(_, body)| body.may_leave());
        bodies.filter_map(|(id, body)| Some((*id, body.message()?)))
    }

    /// A body is at this place now, and needs no memory any more. Where it was before is free.
    pub(crate) fn put_on_disk(&mut self, id: MessageId, place: BodyPlace) {
        self.freed.extend(self.bodies.get(&id).and_then(Body::place));
        self.change_body(id, |body| {
            let bytes = u32::try_from(body.bytes()).expect("a packet of MQTT has at most 256 MB");
            body.content = Content::Disk(OnDisk { place, bytes, qos: body.qos() });
        });
    }

    /// The message is in memory again.
    pub(crate) fn put_in_memory(&mut self, id: MessageId, message: Message) {
        self.freed.extend(self.bodies.get(&id).and_then(Body::place));
        self.change_body(id, |body| body.content = Content::Memory(message));
    }

    /// Whether a body is a topic's retained message.
    pub(crate) fn set_retained(&mut self, id: MessageId, is_retained: bool) {
        self.change_body(id, |body| body.is_retained = is_retained);
    }

    pub(crate) fn take_freed(&mut self) -> Vec<BodyPlace> {
        std::mem::take(&mut self.freed)
    }

    pub(crate) fn hold(&mut self, id: MessageId) {
        self.bodies.get_mut(&id).expect("a body is held while it is there").references += 1;
    }

    pub(crate) fn let_go(&mut self, id: MessageId) {
        let body = self.bodies.get_mut(&id).expect("a body is there as long as somebody holds it");
        body.references -= 1;
        if body.references == 0
            && let Some(body) = self.bodies.remove(&id)
        {
            let BodyBytes { in_memory, on_disk } = body.counts();
            self.bytes -= body.cost();
            self.in_memory -= in_memory;
            self.on_disk -= on_disk;
            self.freed.extend(body.place());
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

/// Mistakes that the tests must notice.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Whoever has owned a session may speak for it.
    EpochNotChecked,
    /// A stream goes on with whatever number comes.
    GapAccepted,
    /// Which sessions had their part of a message is forgotten.
    PartsForgotten,
    /// The next session of a client gets messages of the one before.
    GenerationNotChecked,
    /// A will stays with its session when it is published.
    WillFiredTwice,
    /// A packet identifier of QoS 2 that was received says nothing.
    RetryMatchedAgain,
    /// A full queue drops what the client may have been sent.
    InFlightDropped,
    /// A claim that comes twice counts twice.
    ClaimRepeated,
    /// A snapshot has neither what is in flight to clients nor which of their packet identifiers are open.
    SnapshotWithoutInFlight,
    /// An older retained message replaces a newer one.
    OlderVersionRetained,
    /// That a retained message was deleted is not remembered.
    TombstoneForgotten,
    /// Another user gets the session of a client.
    InheritedByAnotherUser,
    /// What a member of a shared subscription has not acknowledged ends with its session.
    SharedLostAtEnd,
    /// A message of QoS 2 that was sent goes to another member.
    SentQos2Moved,
}

/// Whether the test at hand asks for this mistake. Other builds have none of them.
macro_rules! sabotaged {
    ($ledger:expr, $mistake:ident) => {{
        #[cfg(any(test, feature = "sabotage"))]
        let sabotaged = $ledger.sabotage == Some($crate::ledger::Sabotage::$mistake);
        #[cfg(not(any(test, feature = "sabotage")))]
        let sabotaged = false;
        sabotaged
    }};
}
pub(crate) use sabotaged;
