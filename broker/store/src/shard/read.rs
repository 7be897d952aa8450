//! What a leader reads: what is to be sent to whom, what is due, what subscriptions there are. Nothing here changes the
//! shard, and nothing of it is committed.

use std::num::NonZeroU32;
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};

use super::Shard;
use crate::body::{Bodies, Body, BodyPlace, Content, OnDisk};
use crate::command::Subscription;
use crate::ledger::{MessageId, Totals};
use crate::message::{Message, seconds_until};
use crate::names::{ClientId, Epoch, Generation, Index, Node, Number, Party, Sequence, ShardId, Time, Version, WillId};
use crate::outbox::Addressee;
use crate::queue::{Place, packet_id};
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
    /// Those of them that messages count whose bodies are not in memory.
    pub bytes_on_disk: u64,
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

    /// What may be sent to a client, in order, from a place in its queue on. Bodies that are not in memory are read.
    ///
    /// # Errors
    /// If one can't be.
    pub fn deliverable<B: Bodies>(
        &self,
        client: &str,
        from: Sequence,
        mut credit: Credit,
        now: Time,
        bodies: &mut B,
    ) -> Result<Vec<Delivery>, B::Error> {
        let mut deliveries = Vec::new();
        for (sequence, place) in self.window_of(client, from) {
            if !credit.take(self.place_bytes(place), deliveries.is_empty()) {
                break;
            }
            let message = place.body.map(|body| self.message_at(body, now, bodies)).transpose()?;
            deliveries.push(Delivery {
                sequence,
                packet_id: packet_id(sequence),
                qos: place.qos,
                retain: place.retain,
                subscription_ids: place.subscription_ids.clone(),
                message,
            });
        }
        Ok(deliveries)
    }

    /// What of a queue may be sent before its owner was given `until`: the bytes of each message.
    pub fn in_flight_before(&self, client: &str, until: Sequence) -> impl Iterator<Item = (Sequence, u64)> {
        let places = self.window_of(client, 0).take_while(move |(sequence, _)| *sequence < until);
        places.map(|(sequence, place)| (sequence, self.place_bytes(place)))
    }

    /// The part of a queue, from a place on, that its owner may have been sent.
    fn window_of(&self, client: &str, from: Sequence) -> impl Iterator<Item = (Sequence, &Place)> {
        let session = self.sessions.get(client);
        let owned = session.filter(|session| session.owner().is_some_and(|node| !self.is_gone(node)));
        let queue = owned.map(|session| &session.queue).filter(|queue| from < queue.window_end());
        let places = queue.map(|queue| queue.places().range(from..queue.window_end()));
        places.into_iter().flatten().map(|(sequence, place)| (*sequence, place))
    }

    fn place_bytes(&self, place: &Place) -> u64 {
        place.body.map_or(0, |body| self.ledger.body(body).bytes())
    }

    /// A message with what is left of its lifetime.
    fn message_at<B: Bodies>(&self, id: MessageId, now: Time, bodies: &mut B) -> Result<Message, B::Error> {
        let body = self.ledger.body(id);
        let message = match &body.content {
            Content::Memory(message) => message.clone(),
            Content::Disk(OnDisk { place, .. }) => bodies.read(id, *place)?,
        };
        Ok(left_of(message, body, now))
    }

    /// What those bodies count that may leave memory: of messages in queues and in the outbox. Retained ones stay.
    pub fn bytes_in_memory(&self) -> u64 {
        self.ledger.body_bytes().in_memory
    }

    /// What those bodies count that have left memory.
    pub fn bytes_on_disk(&self) -> u64 {
        self.ledger.body_bytes().on_disk
    }

    /// The bodies that may leave memory, the oldest first, by their numbers.
    pub fn leaving(&mut self) -> impl Iterator<Item = (u64, &Message)> {
        self.ledger.leaving()
    }

    /// A body, if there still is one with this number, was written to this place and leaves memory, or has moved there
    /// from another place. Whoever says so can read it there as long as the shard has it.
    pub fn put_on_disk(&mut self, body: u64, place: BodyPlace) {
        if self.ledger.bodies().contains_key(&body) {
            self.ledger.put_on_disk(body, place);
        }
    }

    /// Whether a body is at this place.
    pub fn is_at(&self, body: u64, place: BodyPlace) -> bool {
        self.place_of(body) == Some(place)
    }

    pub(crate) fn place_of(&self, body: MessageId) -> Option<BodyPlace> {
        self.ledger.bodies().get(&body)?.place()
    }

    /// Where bodies are that are not in memory.
    pub fn body_places(&self) -> impl Iterator<Item = (u64, BodyPlace)> {
        self.ledger.bodies().iter().filter_map(|(id, body)| Some((*id, body.place()?)))
    }

    /// Where bodies were that are not wanted there any more, since this was asked last.
    pub fn take_freed(&mut self) -> Vec<BodyPlace> {
        self.ledger.take_freed()
    }

    /// Brings all bodies into memory, for whoever looks at a shard that nobody drives.
    ///
    /// # Errors
    /// If one can't be read.
    pub fn bring_all<B: Bodies>(&mut self, bodies: &mut B) -> Result<(), B::Error> {
        let places: Vec<_> = self.body_places().collect();
        for (id, place) in places {
            let message = bodies.read(id, place)?;
            self.ledger.put_in_memory(id, message);
        }
        self.ledger.take_freed();
        Ok(())
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
    ///
    /// # Errors
    /// If a body that is not in memory can't be read.
    pub fn outbox<B: Bodies>(
        &self,
        destination: Party,
        from: Number,
        mut credit: Credit,
        now: Time,
        bodies: &mut B,
    ) -> Result<Vec<OutboxMessage>, B::Error> {
        let mut messages = Vec::new();
        let Some(outbox) = self.outbox.get(&destination) else { return Ok(messages) };
        for (number, waiting) in outbox.from(from) {
            if !credit.take(self.ledger.body(waiting.body).bytes(), messages.is_empty()) {
                break;
            }
            let to = match &waiting.to {
                Addressee::Subscribers { publisher } => Addressee::Subscribers { publisher: publisher.clone() },
                Addressee::Group(share) => Addressee::Group(self.ledger.shares().name(*share).clone()),
                Addressee::Retained(version) => Addressee::Retained(*version),
            };
            let message = self.message_at(waiting.body, now, bodies)?;
            messages.push(OutboxMessage { number, message, to });
        }
        Ok(messages)
    }

    /// The last number that was given to a message for a destination.
    pub fn last_for(&self, destination: Party) -> Number {
        self.outbox.get(&destination).map_or(0, |outbox| outbox.last())
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
        let message = body.message().filter(|_| !body.is_expired(now))?;
        Some((left_of(message.clone(), body, now), retained.version))
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
            bytes_on_disk: self.bytes_on_disk(),
        }
    }

    /// What was lost by policy since the shard began.
    pub fn totals(&self) -> Totals {
        self.ledger.totals
    }
}

/// The message with what is left of its lifetime.
fn left_of(message: Message, body: &Body, now: Time) -> Message {
    message.with_lifetime(body.expires.map(|expires| seconds_until(expires, now)))
}
