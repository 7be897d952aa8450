//! What a data thread asks of the store, and what waits for its answers.
//!
//! Questions are gathered during a turn and posted at its end. Each has a number, under which stands here what is to be
//! done when the answer comes. What is asked of the store that nobody waits for and that must not get lost (an
//! acknowledgement of a client, a connection that ended) is asked again when nobody could be reached.

use crate::claiming::Claiming;
use crate::ids::{ConnId, SessionId, Thread};
use crate::pending::{Wait, WaitId};
use crate::slab::Slab;
use fulmar_codec::{ForwardProperties, PacketId, QoS, ReasonCode};
use fulmar_session::Outgoing;
use fulmar_store::{Ack, Ask, ClientId, Epoch, Message, Published, Recipients, Sequence, ShardId, Ticket};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Questions that may wait to be posted before retained messages are read on.
const QUESTIONS_MAX: usize = 1024;
/// The same by the bytes of the messages in them.
const BYTES_MAX: usize = 1 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Desk {
    thread: Thread,
    /// How many shards the store has; none: there is no store.
    shards: Option<NonZeroU16>,
    asked: Vec<(Ticket, Ask)>,
    /// Of the messages in them.
    bytes: usize,
    waits: Slab<Waits>,
    /// Sessions whose clients have acknowledged something in this turn.
    pub(crate) acknowledging: Vec<SessionId>,
    /// What nobody could be reached for, until it is asked again.
    again: Vec<(Waits, Ask)>,
}

/// What an answer is for.
#[derive(Debug)]
pub(crate) enum Waits {
    /// A client that is to be let in.
    Claim(Box<Claiming>),
    /// SUBACK.
    Subscribe(Box<Subscribing>),
    /// UNSUBACK, as it is to be written.
    Unsubscribe { conn: ConnId, packet: Vec<u8> },
    /// The next retained message of a client.
    Retained { conn: ConnId },
    /// A publish that others wait for too.
    Publish(WaitId),
    /// PUBREC with an error: the packet identifier is free.
    Refusal(Wait),
    /// PUBCOMP.
    Release { conn: ConnId, packet_id: PacketId },
    /// PUBRELs, for those of QoS 2.
    Acknowledge { conn: ConnId, client: ClientId, epoch: Epoch, acks: Vec<(Sequence, Ack)> },
    /// Nothing, but it must be done.
    Done(Ask),
    /// The end of a connection whose client has said goodbye.
    Left { conn: ConnId, ask: Ask },
    /// Nothing.
    Nobody,
}

/// A SUBSCRIBE on its way through the store.
#[derive(Debug)]
pub(crate) struct Subscribing {
    pub(crate) conn: ConnId,
    pub(crate) packet_id: PacketId,
    /// What to answer if the store takes all.
    pub(crate) codes: Vec<ReasonCode>,
    /// Of the filters that the store was asked for, the place in `codes`, and the filter if it is new.
    pub(crate) asked: Vec<(usize, Option<Box<str>>)>,
    pub(crate) reads: Vec<crate::retained::RetainedRead>,
}

impl Desk {
    pub(crate) fn new(thread: Thread, shards: Option<NonZeroU16>) -> Desk {
        Desk {
            thread,
            shards,
            asked: Vec::new(),
            bytes: 0,
            waits: Slab::new(),
            acknowledging: Vec::new(),
            again: Vec::new(),
        }
    }

    /// Whether there is a store.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.shards.is_some()
    }

    /// The shard of a client or a topic.
    pub(crate) fn shard_of(&self, name: &str) -> Option<ShardId> {
        self.shards.map(|shards| ShardId::of(name, shards))
    }

    /// A message for one session alone.
    pub(crate) fn for_one(
        &self,
        client: ClientId,
        message: Message,
        (qos, retain): (QoS, bool),
        subscription_ids: Vec<NonZeroU32>,
        share: Option<Arc<str>>,
    ) -> Option<Ask> {
        let shard = self.shard_of(&client)?;
        let to = Recipients::One { client, qos, retain, subscription_ids, share };
        Some(Ask::Publish { shard, published: Published { message, retain: None, to } })
    }

    /// Asks, and remembers for what.
    pub(crate) fn ask(&mut self, ask: Ask, waits: Waits) {
        if let Ask::Publish { published, .. } | Ask::ReceiveQos2 { published, .. } = &ask {
            self.bytes += published.message.bytes() as usize;
        }
        let (slot, generation) = self.waits.insert(waits);
        let number = u64::from(generation) << 32 | u64::from(slot);
        self.asked.push((Ticket { thread: self.thread, number }, ask));
    }

    /// What an answer is for. Each is given once.
    pub(crate) fn take(&mut self, number: u64) -> Option<Waits> {
        let waits = self.waits.remove(number as u32, (number >> 32) as u32);
        self.waits.end_turn();
        waits
    }

    /// Nobody could be reached: it is asked again a little later.
    pub(crate) fn ask_again(&mut self, ask: Ask, waits: Waits) {
        self.again.push((waits, ask));
    }

    /// Asks what is to be asked again.
    pub(crate) fn retry(&mut self) {
        for (waits, ask) in std::mem::take(&mut self.again) {
            self.ask(ask, waits);
        }
    }

    /// Whether something is to be asked again.
    pub(crate) fn has_more(&self) -> bool {
        !self.again.is_empty()
    }

    /// Whether so much is asked that what need not be now should wait.
    pub(crate) fn is_full(&self) -> bool {
        self.asked.len() >= QUESTIONS_MAX || self.bytes >= BYTES_MAX
    }

    /// Questions that were not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.waits.len() + self.again.len()
    }

    /// What was asked and is to be posted, and what it weighs. Whoever takes it all says so by [`Desk::posted`].
    pub(crate) fn asked(&mut self) -> (&mut Vec<(Ticket, Ask)>, usize) {
        (&mut self.asked, self.bytes)
    }

    pub(crate) fn posted(&mut self) {
        self.bytes = 0;
    }
}

/// A message as the store keeps it.
pub(crate) fn stored_message(outgoing: &Outgoing<'_>, scratch: &mut Vec<u8>, now: Instant) -> Message {
    scratch.clear();
    outgoing.forward.write_to(scratch);
    Message::new(outgoing.topic, outgoing.qos, scratch, outgoing.payload)
        .with_retain(outgoing.retain)
        .with_lifetime(outgoing.expiry_seconds_left(now))
}

/// When nobody wants a message of the store any more, which has come at `now`.
pub(crate) fn expiry(message: &Message, now: Instant) -> Option<Instant> {
    message.lifetime_seconds.map(|seconds| now + Duration::from_secs(seconds.into()))
}

/// A message that the store has kept, as receivers take it.
pub(crate) fn outgoing(message: &Message, expires: Option<Instant>) -> Outgoing<'_> {
    Outgoing {
        topic: message.topic(),
        qos: message.qos,
        retain: message.retain,
        forward: ForwardProperties::from_validated(message.properties()),
        payload: message.payload(),
        expires,
    }
}
