//! The whole state of a shard, cut into chunks of bounded size.
//!
//! A chunk is the format, its number (the first is 0) and whole records up to the size that was asked for, or exactly
//! one that is larger. The same state makes the same chunks, so replicas can be compared by them. What can be derived
//! is not written: counts of references, the table of what is due, who owns what, and all sums.
//!
//! Bodies that are not in memory are not in it: it says where they are. For somebody who does not have those files
//! [`Inlining`](super::Inlining) puts them in, and then it is the same on all replicas.

use std::num::NonZeroU16;
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};

use super::{Bytes, BytesError, FORMAT, Reader, bytes_of_enum, bytes_of_struct, unknown};
use crate::body::{BodyPlace, Content, OnDisk};
use crate::command::{Subscription, Will};
use crate::ledger::{MessageId, Totals, sabotaged};
use crate::message::Message;
use crate::names::{ClientId, Epoch, Generation, Index, Node, Number, Party, Sequence, ShardId, Time, Version, WillId};
use crate::outbox::Addressee;
use crate::queue::Place;
use crate::session::{LastClaim, PendingWill, Presence, Session, User};
use crate::settings::Settings;
use crate::shard::Shard;
use crate::shares::ShareId;

/// One piece of the state.
pub(super) enum Record {
    /// The first.
    Head(Head),
    /// A source, the number it goes on with, and up to which client the message with that number has come.
    Source(Party, Number, Option<ClientId>),
    /// A node, the last life that is over, since when, and which entry said so.
    Gone(Node, Time, Index),
    /// A message that records behind it refer to.
    Body(MessageId, Option<Time>, Message),
    Session(SessionHead),
    /// Of the session before it, like the next two.
    Subscription(Arc<str>, Subscription),
    Received(PacketId),
    Place(Sequence, Place),
    Retained(MessageId, Version),
    /// That the retained message of a topic was deleted, and until when that is remembered. The oldest first.
    Tombstone(Arc<str>, Version, Time),
    Will(WillId, PendingWill),
    /// A destination, and the last number that it has.
    Outbox(Party, Number),
    /// Of the destination before it.
    Waiting(MessageId, Addressee<ShareId>),
    /// A shared subscription that records behind it refer to.
    Share(ShareId, Arc<str>),
    /// The last: how many there were before it.
    End(u64),
    /// A message whose body is elsewhere, instead of [`Body`](Self::Body): where, its bytes and its quality of service.
    BodyAt(MessageId, Option<Time>, BodyPlace, u32, QoS),
}

pub(super) struct Head {
    pub(super) id: ShardId,
    pub(super) settings: Settings,
    pub(super) applied: Index,
    pub(super) time: Time,
    pub(super) last_epoch: Epoch,
    pub(super) last_will: WillId,
    pub(super) next_message: MessageId,
    pub(super) next_share: ShareId,
    pub(super) totals: Totals,
}

pub(super) struct SessionHead {
    pub(super) client: ClientId,
    pub(super) user: User,
    pub(super) generation: Generation,
    pub(super) claim: LastClaim,
    pub(super) presence: Presence,
    pub(super) expiry_seconds: u32,
    pub(super) receive_maximum: NonZeroU16,
    pub(super) will: Option<Will>,
    pub(super) next: Sequence,
    pub(super) window_end: Sequence,
}

bytes_of_enum!(Record, unknown!("record"), {
    1 => Head(head),
    2 => Source(source, next, after),
    3 => Gone(node, since, index),
    4 => Body(id, expires, message),
    5 => Session(head),
    6 => Subscription(filter, subscription),
    7 => Received(packet_id),
    8 => Place(sequence, place),
    9 => Retained(body, version),
    10 => Will(id, pending),
    11 => Outbox(destination, last_done),
    12 => Waiting(body, to),
    13 => End(records),
    14 => Tombstone(topic, version, ends),
    15 => Share(id, name),
    16 => BodyAt(id, expires, place, bytes, qos),
});
bytes_of_struct!(BodyPlace { file, offset, length });

bytes_of_struct!(Head { id, settings, applied, time, last_epoch, last_will, next_message, next_share, totals });
bytes_of_struct!(Totals { dropped, refused, expired, stranded, forgotten });
bytes_of_struct!(PendingWill { client, user, will });
bytes_of_struct!(SessionHead {
    client,
    user,
    generation,
    claim,
    presence,
    expiry_seconds,
    receive_maximum,
    will,
    next,
    window_end,
});
bytes_of_struct!(LastClaim { node, nonce, answer, earlier });
bytes_of_enum!(Addressee<ShareId>, unknown!("addressee"), { 1 => Subscribers { publisher }, 2 => Group(share), 3 => Retained(version), });
bytes_of_enum!(Presence, unknown!("presence"), { 1 => Owned, 2 => Absent { ends, will_due }, });

impl Bytes for Place {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { body, qos, retain, subscription_ids, share } = self;
        body.put(out);
        qos.put(out);
        retain.put(out);
        subscription_ids.to_vec().put(out);
        share.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let (body, qos, retain) = (Bytes::get(reader)?, Bytes::get(reader)?, Bytes::get(reader)?);
        let subscription_ids: Vec<_> = Bytes::get(reader)?;
        Ok(Self { body, qos, retain, subscription_ids: subscription_ids.into(), share: Bytes::get(reader)? })
    }
}

/// The chunks of a shard's state: see [`Shard::snapshot`].
pub struct Snapshot {
    records: Box<dyn Iterator<Item = Record> + Send>,
    /// One that did not fit into the chunk before.
    put_off: Vec<u8>,
    chunk_bytes: usize,
    number: u32,
}

impl Shard {
    /// The whole state as chunks of at most so many bytes, or of exactly one record that is larger. A [`Loader`] makes
    /// a shard of them. They are of this moment, while the shard goes on: a clone is read, which shares all messages
    /// and becomes less with each chunk.
    ///
    /// [`Loader`]: super::Loader
    pub fn snapshot(&self, chunk_bytes: usize) -> Snapshot {
        let records = self.clone().into_records().enumerate().map(|(before, record)| match record {
            Record::End(_) => Record::End(before as u64),
            other => other,
        });
        Snapshot { records: Box::new(records), put_off: Vec::new(), chunk_bytes, number: 0 }
    }

    pub(super) fn into_records(self) -> impl Iterator<Item = Record> + Send {
        let forgets_in_flight = sabotaged!(self.ledger, SnapshotWithoutInFlight);
        let Self { sources, gone, sessions, retained, tombstones, wills, outbox, ledger, .. } = self;
        let head = Record::Head(Head {
            id: self.id,
            settings: self.settings,
            applied: self.applied,
            time: self.time,
            last_epoch: self.last_epoch,
            last_will: self.last_will,
            next_message: ledger.next_message,
            next_share: ledger.shares().next,
            totals: ledger.totals,
        });
        let sources = sources.into_iter().map(|(source, stream)| Record::Source(source, stream.next, stream.after));
        let gone = gone.into_iter().map(|(id, gone)| {
            let node = Node { id, incarnation: gone.incarnation };
            Record::Gone(node, gone.since, gone.index)
        });
        let shares: Vec<Record> = ledger.shares().iter().map(|(id, name)| Record::Share(id, name.clone())).collect();
        let bodies = ledger.into_bodies().into_iter();
        let bodies = bodies.map(|(id, body)| match body.content {
            Content::Memory(message) => Record::Body(id, body.expires, message),
            Content::Disk(OnDisk { place, bytes, qos }) => Record::BodyAt(id, body.expires, place, bytes, qos),
        });
        let sessions = sessions.into_iter();
        let sessions = sessions.flat_map(move |(client, session)| session_records(client, session, forgets_in_flight));
        let retained = retained.into_values().map(|retained| Record::Retained(retained.body, retained.version));
        let tombstones: Vec<Record> =
            tombstones.iter().map(|(topic, it)| Record::Tombstone(topic.clone(), it.version, it.ends)).collect();
        let wills = wills.into_iter().map(|(id, pending)| Record::Will(id, pending));
        let outbox = outbox.into_iter().flat_map(|(destination, outbox)| {
            let waiting = outbox.from(0).map(|(_, it)| Record::Waiting(it.body, it.to.clone()));
            [Record::Outbox(destination, outbox.last_done())].into_iter().chain(waiting).collect::<Vec<_>>()
        });
        let all = std::iter::once(head).chain(sources).chain(gone).chain(bodies).chain(shares).chain(sessions);
        all.chain(retained).chain(tombstones).chain(wills).chain(outbox).chain([Record::End(0)])
    }
}

fn session_records(client: ClientId, session: Session, forgets_in_flight: bool) -> Vec<Record> {
    let Session {
        user,
        generation,
        claim,
        presence,
        expiry_seconds,
        receive_maximum,
        will,
        subscriptions,
        queue,
        received,
    } = session;
    let window_end = if forgets_in_flight { 0 } else { queue.window_end() };
    let next = queue.next();
    let head = Record::Session(SessionHead {
        client,
        user,
        generation,
        claim,
        presence,
        expiry_seconds,
        receive_maximum,
        will,
        next,
        window_end,
    });
    let subscriptions = subscriptions.into_iter().map(|(filter, it)| Record::Subscription(filter, it));
    let received = received.into_iter().filter(|_| !forgets_in_flight).map(Record::Received);
    let places = queue.into_places().into_iter().filter(|(_, place)| !forgets_in_flight || place.body.is_some());
    let places = places.map(|(sequence, place)| Record::Place(sequence, place));
    [head].into_iter().chain(subscriptions).chain(received).chain(places).collect()
}

impl Iterator for Snapshot {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = vec![FORMAT];
        self.number.put(&mut chunk);
        let head = chunk.len();
        chunk.append(&mut self.put_off);
        for record in self.records.by_ref() {
            let start = chunk.len();
            record.put(&mut chunk);
            if chunk.len() > self.chunk_bytes && start > head {
                self.put_off = chunk.split_off(start);
                break;
            }
        }
        self.number += 1;
        (chunk.len() > head).then_some(chunk)
    }
}
