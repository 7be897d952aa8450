//! Makes a shard of the chunks of a snapshot. Nothing in them is believed: a shard that comes out of it is one that
//! entries could have made, as far as anything depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use fulmar_codec::QoS;
use thiserror::Error;

use super::snapshot::{Head, Record, SessionHead};
use super::{Bytes, BytesError, FORMAT, Reader};
use crate::body::{Bodies, Body, Content, Nowhere, OnDisk};
use crate::ledger::{Due, MessageId, Totals};
use crate::names::{ClientId, Node, Party, Sequence};
use crate::outbox::{Addressee, Outbox, Waiting};
use crate::queue::{IDS, Place, Queue};
use crate::session::{EARLIER_CLAIMS, Presence, Session, head_bytes, subscription_bytes};
use crate::settings::cost;
use crate::shard::{Gone, Retained, Shard, Stream};
use crate::shares::ShareId;

/// Numbers that count up stay below this for ever.
const COUNTER_MAX: u64 = 1 << 62;

/// Why chunks are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// They can't be read.
    #[error("snapshot chunk {chunk}: {error}")]
    Bytes {
        /// Which.
        chunk: u32,
        /// Why.
        error: BytesError,
    },
    /// One is missing or came twice.
    #[error("snapshot chunk {found}, expected {expected}")]
    OutOfOrder {
        /// The one that came.
        found: u32,
        /// The one that is wanted.
        expected: u32,
    },
    /// They don't fit together.
    #[error("snapshot record {record}: {what}")]
    Inconsistent {
        /// Which, counted from 0.
        record: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A body that it refers to can't be read.
    #[error("snapshot record {record}: body {body}: {reason}")]
    Body {
        /// Which, counted from 0.
        record: u64,
        /// The number of the body.
        body: u64,
        /// Why.
        reason: String,
    },
    /// There were not all.
    #[error("snapshot ends after {records} records without an end")]
    Incomplete {
        /// How many there were.
        records: u64,
    },
}

/// Takes the chunks of a snapshot one after the other.
#[derive(Default)]
pub struct Loader {
    pub(super) shard: Option<Shard>,
    chunks: u32,
    records: u64,
    is_complete: bool,
    may_have_places: bool,
    /// What records that belong to one before them belong to.
    session: Option<ClientId>,
    destination: Option<Party>,
}

type Checked = Result<(), &'static str>;

fn check(holds: bool, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(what) }
}

impl Loader {
    /// Before the first chunk of a snapshot that has all bodies in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Before the first chunk of a snapshot that may say where bodies are instead.
    pub fn with_places() -> Self {
        Self { may_have_places: true, ..Self::default() }
    }

    /// More records come to a shard that there is.
    pub(super) fn going_on(shard: Shard) -> Self {
        Self { shard: Some(shard), ..Self::default() }
    }

    /// The shard so far: its bodies may leave memory meanwhile.
    pub fn shard_mut(&mut self) -> Option<&mut Shard> {
        self.shard.as_mut()
    }

    /// Takes the next chunk, while all bodies are in memory.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.chunk_with(bytes, &mut Nowhere)
    }

    /// Takes the next chunk. Retained messages that have left memory are read again.
    pub fn chunk_with<B: Bodies>(&mut self, bytes: &[u8], bodies: &mut B) -> Result<(), SnapshotError>
    where
        B::Error: Display,
    {
        let expected = self.chunks;
        let failed = |error| SnapshotError::Bytes { chunk: expected, error };
        let mut reader = Reader::of_format(FORMAT, bytes).map_err(failed)?;
        let found = u32::get(&mut reader).map_err(failed)?;
        if found != expected {
            return Err(SnapshotError::OutOfOrder { found, expected });
        }
        while !reader.is_empty() {
            let record = Record::get(&mut reader).map_err(failed)?;
            let at = self.records;
            if let Record::Retained(body, _) = record {
                self.bring(body, bodies)?;
            }
            self.record(record).map_err(|what| SnapshotError::Inconsistent { record: at, what })?;
            self.records += 1;
        }
        self.chunks = self.chunks.saturating_add(1);
        Ok(())
    }

    /// A retained message stays in memory.
    fn bring<B: Bodies>(&mut self, body: MessageId, bodies: &mut B) -> Result<(), SnapshotError>
    where
        B::Error: Display,
    {
        let Some(shard) = &mut self.shard else { return Ok(()) };
        let Some(place) = shard.place_of(body) else { return Ok(()) };
        let failed = |error: B::Error| SnapshotError::Body { record: self.records, body, reason: error.to_string() };
        let message = bodies.read(body, place).map_err(failed)?;
        shard.ledger.put_in_memory(body, message);
        Ok(())
    }

    /// After the last chunk.
    pub fn finish(self) -> Result<Shard, SnapshotError> {
        match (self.shard, self.is_complete) {
            (Some(shard), true) => Ok(shard),
            _ => Err(SnapshotError::Incomplete { records: self.records }),
        }
    }

    pub(super) fn record(&mut self, record: Record) -> Checked {
        check(!self.is_complete, "it follows the end")?;
        let Some(shard) = &mut self.shard else {
            let Record::Head(head) = record else { return Err("it is not the head") };
            self.shard = Some(shard_of(&head)?);
            return Ok(());
        };
        match record {
            Record::Head(_) => Err("there is a head already"),
            Record::Source(source, next, after) => {
                check(next <= COUNTER_MAX, "a number is too high")?;
                check(shard.sources.insert(source, Stream { next, after }).is_none(), "a source is there twice")
            }
            Record::Gone(Node { id, incarnation }, since, index) => {
                let gone = Gone { incarnation, since, index };
                check(shard.gone.insert(id, gone).is_none(), "a node that is gone is there twice")
            }
            Record::Body(id, expires, message) => {
                check(id < shard.ledger.next_message, "a message is newer than the newest")?;
                check(!shard.ledger.bodies().contains_key(&id), "a message is there twice")?;
                shard.ledger.insert_body(id, Body::new(Content::Memory(message), expires, 0));
                Ok(())
            }
            Record::BodyAt(id, expires, place, bytes, qos) => {
                check(self.may_have_places, "a message is in another file")?;
                check(id < shard.ledger.next_message, "a message is newer than the newest")?;
                check(!shard.ledger.bodies().contains_key(&id), "a message is there twice")?;
                check(bytes <= place.length, "a message has more bytes than its place")?;
                let content = Content::Disk(OnDisk { place, bytes, qos });
                shard.ledger.insert_body(id, Body::new(content, expires, 0));
                Ok(())
            }
            Record::Share(id, name) => {
                let shares = shard.ledger.shares();
                check(id < shares.next, "a shared subscription is newer than the newest")?;
                let is_new = !shares.contains(id) && shares.id(&name).is_none();
                check(is_new, "a shared subscription is there twice")?;
                shard.ledger.insert_share(id, name);
                Ok(())
            }
            Record::Session(head) => {
                self.session = Some(head.client.clone());
                insert_session(shard, head)
            }
            Record::Retained(body, version) => {
                check_body(shard, body)?;
                let message = shard.ledger.body(body).message();
                let topic = message.ok_or("a retained message is not in memory")?.topic().into();
                check(!shard.retained.contains_key(&topic), "a topic has two retained messages")?;
                shard.insert_retained(topic, Retained { body, version });
                Ok(())
            }
            Record::Tombstone(topic, version, ends) => {
                check(!shard.retained.contains_key(&topic), "a deleted topic has a retained message")?;
                check(shard.tombstones.get(&topic).is_none(), "a topic was deleted twice")?;
                shard.insert_tombstone(topic, version, ends);
                Ok(())
            }
            Record::Will(id, pending) => {
                check((1..=shard.last_will).contains(&id), "a will is newer than the newest")?;
                shard.ledger.take(pending.bytes());
                check(shard.wills.insert(id, pending).is_none(), "a will is there twice")
            }
            Record::Outbox(destination, last_done) => {
                self.destination = Some(destination);
                check(last_done <= COUNTER_MAX, "a number is too high")?;
                let outbox = Outbox::restored(last_done);
                check(shard.outbox.insert(destination, outbox).is_none(), "a destination is there twice")
            }
            Record::Waiting(body, to) => {
                check_body(shard, body)?;
                if let Addressee::Group(share) = to {
                    check_share(shard, share)?;
                }
                let outbox = self.destination.and_then(|destination| shard.outbox.get_mut(&destination));
                outbox.ok_or("no destination is before it")?.push(Waiting { body, to }, &mut shard.ledger);
                Ok(())
            }
            Record::End(records) => {
                check(records == self.records, "the end counts other records")?;
                let is_held = shard.ledger.bodies().values().all(|body| body.references > 0);
                check(is_held, "a message is held by nobody")?;
                check(shard.ledger.shares().are_all_held(), "a shared subscription is held by nobody")?;
                shard.interest.forget_changes(shard.applied);
                self.is_complete = true;
                Ok(())
            }
            Record::Subscription(..) | Record::Received(_) | Record::Place(..) => {
                let client = self.session.clone().ok_or("no session is before it")?;
                insert_into_session(shard, &client, record)
            }
        }
    }
}

fn shard_of(head: &Head) -> Result<Shard, &'static str> {
    let Head { id, settings, applied, time, last_epoch, last_will, next_message, next_share, totals } = *head;
    let Totals { dropped, refused, expired, stranded, forgotten } = totals;
    let numbers = [last_epoch, last_will, next_message, next_share.get(), applied];
    let counts = [dropped, refused, expired, stranded, forgotten];
    check(numbers.iter().chain(&counts).all(|number| *number <= COUNTER_MAX), "a number is too high")?;
    let mut shard = Shard::new(id);
    (shard.settings, shard.applied, shard.time) = (settings, applied, time);
    (shard.last_epoch, shard.last_will) = (last_epoch, last_will);
    shard.ledger.next_message = next_message;
    shard.ledger.set_next_share(next_share);
    shard.ledger.totals = totals;
    Ok(shard)
}

fn check_body(shard: &Shard, body: MessageId) -> Checked {
    check(shard.ledger.bodies().contains_key(&body), "its message is not there")
}

fn check_share(shard: &Shard, share: ShareId) -> Checked {
    check(shard.ledger.shares().contains(share), "its shared subscription is not there")
}

fn insert_session(shard: &mut Shard, head: SessionHead) -> Checked {
    let SessionHead { client, user, generation, claim, presence, expiry_seconds, .. } = head;
    let SessionHead { receive_maximum, will, next, window_end, .. } = head;
    check(!shard.sessions.contains_key(&client), "a session is there twice")?;
    check(generation <= claim.answer.epoch, "a generation is newer than the epoch")?;
    check(claim.answer.epoch <= shard.last_epoch, "an epoch is newer than the newest")?;
    check(claim.earlier.len() <= EARLIER_CLAIMS, "too many earlier claims")?;
    check(window_end <= next && next <= COUNTER_MAX, "a window ends behind the queue")?;
    match presence {
        Presence::Owned => {
            shard.owned.entry(claim.node).or_default().insert(client.clone());
        }
        Presence::Absent { ends, will_due } => {
            check(will_due.is_some() == will.is_some(), "a will has no time, or a time no will")?;
            if let Some(ends) = ends {
                shard.ledger.add_due(ends, Due::Session(client.clone()));
            }
            if let Some(due) = will_due {
                shard.ledger.add_due(due, Due::Will(client.clone()));
            }
        }
    }
    let session = Session {
        user,
        generation,
        claim,
        presence,
        expiry_seconds,
        receive_maximum,
        will,
        subscriptions: BTreeMap::new(),
        queue: Queue::restored(next, window_end),
        received: BTreeSet::new(),
    };
    shard.ledger.take(head_bytes(&client, &session.user) + session.will_bytes(&client));
    shard.sessions.insert(client, session);
    Ok(())
}

fn insert_into_session(shard: &mut Shard, client: &ClientId, record: Record) -> Checked {
    match record {
        Record::Subscription(filter, subscription) => {
            let session = shard.sessions.get_mut(client).ok_or("its session is not there")?;
            let before = session.subscriptions.insert(filter.clone(), subscription);
            check(before.is_none(), "a subscription is there twice")?;
            shard.ledger.take(subscription_bytes(&filter));
            shard.interest.add(&filter, shard.applied);
            Ok(())
        }
        Record::Received(packet_id) => {
            let session = shard.sessions.get_mut(client).ok_or("its session is not there")?;
            check(session.received.insert(packet_id), "a packet identifier is there twice")?;
            shard.ledger.take(cost::RECEIVED);
            Ok(())
        }
        Record::Place(sequence, place) => {
            check_place(shard, client, sequence, &place)?;
            let session = shard.sessions.get_mut(client).ok_or("its session is not there")?;
            session.queue.insert(client, sequence, place, &mut shard.ledger);
            Ok(())
        }
        _ => Err("it does not belong to a session"),
    }
}

fn check_place(shard: &Shard, client: &ClientId, sequence: Sequence, place: &Place) -> Checked {
    let queue = &shard.sessions.get(client).ok_or("its session is not there")?.queue;
    check(sequence < queue.next(), "a message is behind the end of its queue")?;
    check(queue.places().last_key_value().is_none_or(|(last, _)| *last < sequence), "a queue is out of order")?;
    let oldest = queue.places().first_key_value().map_or(sequence, |(oldest, _)| *oldest);
    let is_in_flight = sequence < queue.window_end();
    check(!is_in_flight || sequence - oldest < IDS, "a window is wider than there are identifiers")?;
    if let Some(share) = place.share {
        check_share(shard, share)?;
        check(place.body.is_some(), "a message was released and may go to others")?;
    }
    match (place.body, place.qos) {
        (_, QoS::AtMostOnce) => Err("a message of QoS 0 waits"),
        (Some(body), _) => check_body(shard, body),
        (None, QoS::ExactlyOnce) => check(is_in_flight, "a message was released before it was sent"),
        (None, QoS::AtLeastOnce) => Err("a message of QoS 1 was released"),
    }
}

#[cfg(test)]
mod tests;
