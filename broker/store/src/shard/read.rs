//! What a leader reads: what is to be sent to whom, what is due, what subscriptions there are. Nothing here changes the
//! shard, and nothing of it is committed.

use std::num::NonZeroU32;
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};

use super::Shard;
use crate::command::Subscription;
use crate::ledger::{Body, Totals};
use crate::message::{Message, seconds_until};
use crate::names::{ClientId, Epoch, Generation, Index, Node, Number, Party, Sequence, ShardId, Time, Version, WillId};
use crate::outbox::Addressee;
use crate::queue::packet_id;
use crate::session::PendingWill;
use crate::settings::Settings;

/// How much may be read at once. At least one message is given, however large, if any is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// Messages.
    pub messages: usize,
    /// Their topics, properties and payloads.
    pub bytes: u64,
}

impl Credit {
    /// Whether there is enough for one more, which is then taken.
    fn take(&mut self, bytes: u64, is_first: bool) -> bool {
        if self.messages == 0 || (bytes > self.bytes && !is_first) {
            return false;
        }
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// A message that may be sent to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place in the queue.
    pub sequence: Sequence,
    /// The identifier that it has whoever sends it.
    pub packet_id: PacketId,
    /// 1 or 2.
    pub qos: QoS,
    /// The retain flag that the client sees.
    pub retain: bool,
    /// To be sent along.
    pub subscription_ids: Box<[NonZeroU32]>,
    /// The message, with what is left of its lifetime. None: the client has it, and PUBREL is to be sent.
    pub message: Option<Message>,
}

/// A message on its way to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    /// Its number in the stream from this shard to the destination.
    pub number: Number,
    /// The message, with what is left of its lifetime. One that is over is sent too, so that no number is missing.
    pub message: Message,
    /// Who gets it there.
    pub to: Addressee,
}

/// What there is to know of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView {
    /// That of the last claim.
    pub epoch: Epoch,
    /// Of which life it is.
    pub generation: Generation,
    /// Who owns it.
    pub owner: Option<Node>,
    /// Messages in its queue.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: u64,
    /// How many of them may have been sent and are not acknowledged.
    pub in_flight: u32,
    /// Subscriptions.
    pub subscriptions: usize,
    /// QoS 2 packet identifiers that the client has open.
    pub received: usize,
}

/// How much there is in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sessions.
    pub sessions: usize,
    /// Subscriptions of all of them.
    pub subscriptions: u64,
    /// Messages in all queues.
    pub queued: u64,
    /// Messages, each once.
    pub messages: usize,
    /// Retained messages.
    pub retained: usize,
    /// Topics of which it is remembered that their retained message was deleted.
    pub tombstones: usize,
    /// Wills that are to be published.
    pub wills: usize,
    /// All bytes, by the measure of [`crate::cost`].
    pub bytes: u64,
}

impl Shard {
    /// Which shard it is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The last entry that was applied.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The latest time that an entry had.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What may be sent to a client, in order, from a place in its queue on.
    pub fn deliverable(&self, client: &str, from: Sequence, mut credit: Credit, now: Time) -> Vec<Delivery> {
        let Some(session) = self.sessions.get(client) else { return Vec::new() };
        let queue = &session.queue;
        let mut deliveries = Vec::new();
        let is_owned = session.owner().is_some_and(|node| !self.is_gone(node));
        if !is_owned || from >= queue.window_end() {
            return deliveries;
        }
        for (&sequence, place) in queue.places().range(from..queue.window_end()) {
            let body = place.body.map(|body| self.ledger.body(body));
            if !credit.take(body.map_or(0, |body| body.message.bytes()), deliveries.is_empty()) {
                break;
            }
            deliveries.push(Delivery {
                sequence,
                packet_id: packet_id(sequence),
                qos: place.qos,
                retain: place.retain,
                subscription_ids: place.subscription_ids.clone(),
                message: body.map(|body| message_at(body, now)),
            });
        }
        deliveries
    }

    /// What a session is.
    pub fn session(&self, client: &str) -> Option<SessionView> {
        let session = self.sessions.get(client)?;
        Some(SessionView {
            epoch: session.epoch(),
            generation: session.generation,
            owner: session.owner().filter(|node| !self.is_gone(*node)),
            queued: session.queue.len(),
            queued_bytes: session.queue.bytes(),
            in_flight: session.queue.in_flight(),
            subscriptions: session.subscriptions.len(),
            received: session.received.len(),
        })
    }

    /// Sessions whose client identifier comes after `after` in the order of its bytes, which life of them it is, and
    /// whose they are: to find those whose users have lost their rights.
    pub fn users_after(&self, after: Option<&str>) -> impl Iterator<Item = (&ClientId, Generation, Option<&Arc<str>>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        let sessions = self.sessions.range::<str, _>((start, Unbounded));
        sessions.map(|(client, session)| (client, session.generation, session.user.as_ref()))
    }

    /// All subscriptions, for a leader that begins. Later changes come with [`Shard::apply`].
    pub fn subscriptions(&self) -> impl Iterator<Item = (&ClientId, Generation, &Arc<str>, &Subscription)> {
        self.sessions.iter().flat_map(|(client, session)| {
            let of_session = session.subscriptions.iter();
            of_session.map(move |(filter, subscription)| (client, session.generation, filter, subscription))
        })
    }

    /// Each filter that any session has and that comes after `after` in the order of its bytes, once.
    pub fn filters_after(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<str>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        self.interest.filters().range::<str, _>((start, Unbounded)).map(|(filter, _)| filter)
    }

    /// Each filter that any session has, once, and how many have it.
    pub fn filters(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.interest.filters().iter().map(|(filter, sessions)| (filter, *sessions))
    }

    /// Filters that the first session got (true) or the last one gave up, in entries behind `index`. None if that is
    /// too long ago, or before the snapshot that this replica began with: then [`filters`](Self::filters) tells all.
    ///
    /// With the entry in which each changed.
    pub fn filters_since(&self, index: Index) -> Option<impl Iterator<Item = (Index, &Arc<str>, bool)>> {
        self.interest.changes_since(index)
    }

    /// When there is something to clear up, at the earliest. [`Command::Expire`](crate::Command::Expire) does it, again
    /// and again until it tells that there is no more.
    pub fn next_due(&self) -> Option<Time> {
        if self.owned.keys().any(|node| self.is_gone(*node)) {
            return Some(self.time);
        }
        self.ledger.next_due().map(|(at, _)| *at)
    }

    /// Whether a row of the table is due.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.ledger.next_due().is_some_and(|(at, _)| *at <= now)
    }

    /// Wills that are to be matched and published, the oldest first, and whose they are.
    pub fn pending_wills(&self) -> impl Iterator<Item = (WillId, &PendingWill)> {
        self.wills.iter().map(|(id, pending)| (*id, pending))
    }

    /// What waits for a destination, from a number on. What waits for this shard itself is to be routed again, by
    /// [`Command::RouteAgain`](crate::Command::RouteAgain).
    pub fn outbox(&self, destination: Party, from: Number, mut credit: Credit, now: Time) -> Vec<OutboxMessage> {
        let Some(outbox) = self.outbox.get(&destination) else { return Vec::new() };
        let mut messages = Vec::new();
        for (number, waiting) in outbox.from(from) {
            let body = self.ledger.body(waiting.body);
            if !credit.take(body.message.bytes(), messages.is_empty()) {
                break;
            }
            let to = match &waiting.to {
                Addressee::Subscribers { publisher } => Addressee::Subscribers { publisher: publisher.clone() },
                Addressee::Group(share) => Addressee::Group(self.ledger.shares().name(*share).clone()),
            };
            messages.push(OutboxMessage { number, message: message_at(body, now), to });
        }
        messages
    }

    /// Destinations for which something waits, and the number of the oldest.
    pub fn destinations(&self) -> impl Iterator<Item = (Party, Number)> {
        let waiting = self.outbox.iter().filter(|(_, outbox)| outbox.len() > 0);
        waiting.map(|(destination, outbox)| (*destination, outbox.last_done() + 1))
    }

    /// The number that a source goes on with.
    pub fn expected(&self, source: Party) -> Number {
        self.sources.get(&source).map_or(1, |stream| stream.next)
    }

    /// Up to which client the message with that number has come, if it came in parts and not all of them are there.
    pub fn came_until(&self, source: Party) -> Option<&ClientId> {
        self.sources.get(&source)?.after.as_ref()
    }

    /// All lives of nodes that own sessions here, have streams to here, or for which something waits here. Some may be
    /// there more than once.
    pub fn lives(&self) -> impl Iterator<Item = Node> {
        let parties = self.sources.keys().chain(self.outbox.keys());
        let others = parties.filter_map(|party| if let Party::Node(node) = party { Some(*node) } else { None });
        self.owned.keys().copied().chain(others)
    }

    /// The last entry in which the first session got a filter or the last one gave one up, or an earlier or later one
    /// without such changes in between.
    pub fn filters_changed_at(&self) -> Index {
        self.interest.changed_at()
    }

    /// The retained message of a topic, unless it is over, with what is left of its lifetime.
    pub fn retained(&self, topic: &str, now: Time) -> Option<(Message, Version)> {
        let retained = self.retained.get(topic)?;
        self.retained_at(retained, now)
    }

    /// All retained messages whose topic comes after `after` in the order of their bytes.
    pub fn retained_after(&self, after: Option<&str>, now: Time) -> impl Iterator<Item = (Message, Version)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        self.retained
            .range::<str, _>((start, Unbounded))
            .filter_map(move |(_, retained)| self.retained_at(retained, now))
    }

    /// Topics of which it is remembered that their retained message was deleted, and by which version.
    pub fn deleted(&self) -> impl Iterator<Item = (&str, Version)> {
        self.tombstones.iter().map(|(topic, tombstone)| (&**topic, tombstone.version))
    }

    fn retained_at(&self, retained: &super::Retained, now: Time) -> Option<(Message, Version)> {
        let body = self.ledger.body(retained.body);
        (!body.is_expired(now)).then(|| (message_at(body, now), retained.version))
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len(),
            subscriptions: self.interest.subscriptions(),
            queued: self.ledger.queued,
            messages: self.ledger.bodies().len(),
            retained: self.retained.len(),
            tombstones: self.tombstones.len(),
            wills: self.wills.len(),
            bytes: self.ledger.bytes(),
        }
    }

    /// What was lost by policy since the shard began.
    pub fn totals(&self) -> Totals {
        self.ledger.totals
    }
}

/// The message with what is left of its lifetime.
fn message_at(body: &Body, now: Time) -> Message {
    body.message.clone().with_lifetime(body.expires.map(|expires| seconds_until(expires, now)))
}
