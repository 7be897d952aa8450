//! Brings sessions and retained messages from elsewhere into a shard that nobody serves.
//!
//! It makes the records of a snapshot and gives them to the loader, which believes nothing: what comes out is a shard
//! that entries could have made. Sequences stay, because packet identifiers are made of them and clients may hold some
//! (MQTT 5.0, 4.4). Epochs, and so the lives of sessions, are this shard's own.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};

use super::Loader;
use super::snapshot::{Record, SessionHead};
use crate::command::{Subscription, Will};
use crate::ledger::MessageId;
use crate::message::Message;
use crate::names::{ClientId, Node, Sequence, Time, Version};
use crate::queue::Place;
use crate::reply::Claimed;
use crate::session::{LastClaim, PendingWill, Presence};
use crate::shard::Shard;

/// See the [module](self).
pub struct Intake {
    loader: Loader,
    /// Whose claims the sessions count as made by: a life of the node that is over before anybody is served.
    node: Node,
    /// The messages that are here already, by the caller's numbers for them.
    bodies: BTreeMap<u64, MessageId>,
}

/// A session that nobody owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Who.
    pub client: ClientId,
    /// As which user; none is anonymous.
    pub user: Option<Arc<str>>,
    /// How long it outlives a connection; `u32::MAX` is for ever.
    pub expiry_seconds: u32,
    /// When it ends; none is never.
    pub ends: Option<Time>,
    /// How many messages its client takes unacknowledged.
    pub receive_maximum: NonZeroU16,
    /// What is published when the client does not come back, and when.
    pub will: Option<(Will, Time)>,
    /// The place of the next message in its queue.
    pub next: Sequence,
    /// What stands before this in its queue may have been sent.
    pub sent_until: Sequence,
    /// Packet identifiers of QoS 2 that the client has not released.
    pub received: Vec<PacketId>,
    /// What it has subscribed to.
    pub subscriptions: Vec<(Arc<str>, Subscription)>,
}

/// A message, with the caller's number for it: the same one is kept once.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// The caller's number.
    pub id: u64,
    /// The message.
    pub message: &'a Message,
    /// When it is of no use any more.
    pub expires: Option<Time>,
}

/// A message in a queue.
#[derive(Debug, Clone, Copy)]
pub struct NewPlace<'a> {
    /// Its place.
    pub sequence: Sequence,
    /// None: the client has it, and its PUBCOMP is awaited.
    pub message: Option<NewMessage<'a>>,
    /// 1 or 2.
    pub qos: QoS,
    /// The retain flag that the client sees.
    pub retain: bool,
    /// To be sent along.
    pub subscription_ids: &'a [NonZeroU32],
    /// The shared subscription, while another member may still get it instead.
    pub share: Option<&'a Arc<str>>,
}

type Taken = Result<(), &'static str>;

impl Intake {
    /// Into this shard, which may have sessions of its own.
    pub fn new(shard: Shard, node: Node) -> Self {
        Self { loader: Loader::going_on(shard), node, bodies: BTreeMap::new() }
    }

    /// The shard as it is so far.
    pub fn shard(&self) -> &Shard {
        self.loader.shard.as_ref().expect("it began with a shard")
    }

    fn shard_mut(&mut self) -> &mut Shard {
        self.loader.shard.as_mut().expect("it began with a shard")
    }

    /// Takes a session. Its queue follows.
    ///
    /// # Errors
    /// If there is a session of this client, or if the parts do not fit together.
    pub fn session(&mut self, session: NewSession) -> Taken {
        let NewSession { client, user, expiry_seconds, ends, receive_maximum, will, .. } = session;
        let NewSession { next, sent_until, received, subscriptions, .. } = session;
        let shard = self.shard_mut();
        shard.last_epoch += 1;
        let epoch = shard.last_epoch;
        let answer = Claimed { epoch, generation: epoch, present: false, took_over: None, sent_until };
        let (will, will_due) = will.unzip();
        self.loader.record(Record::Session(SessionHead {
            client,
            user,
            generation: epoch,
            claim: LastClaim { node: self.node, nonce: 0, answer, earlier: Vec::new() },
            presence: Presence::Absent { ends, will_due },
            expiry_seconds,
            receive_maximum,
            will,
            next,
            window_end: sent_until,
        }))?;
        let subscriptions = subscriptions.into_iter().map(|(filter, it)| Record::Subscription(filter, it));
        let received = received.into_iter().map(Record::Received);
        subscriptions.chain(received).try_for_each(|record| self.loader.record(record))
    }

    /// Takes a message of the queue of the session that came last.
    ///
    /// # Errors
    /// If it does not follow the message before it, or can't be at its place.
    pub fn queued(&mut self, place: NewPlace<'_>) -> Taken {
        let NewPlace { sequence, message, qos, retain, subscription_ids, share } = place;
        let body = message.map(|message| self.body(message));
        // The place holds it for itself.
        let share = share.map(|name| self.shard_mut().ledger.hold_share_named(name));
        let place = Place { body, qos, retain, subscription_ids: subscription_ids.into(), share };
        let taken = self.loader.record(Record::Place(sequence, place));
        if let Some(share) = share {
            self.shard_mut().ledger.let_go_of_share(share);
        }
        taken
    }

    /// Takes the retained message of a topic, also of one whose message was deleted here.
    ///
    /// # Errors
    /// If the topic has one.
    pub fn retained(&mut self, message: NewMessage<'_>, version: Version) -> Taken {
        self.shard_mut().remove_tombstone(message.message.topic());
        let body = self.body(message);
        self.loader.record(Record::Retained(body, version))
    }

    /// Whether a topic has a retained message, though its time may be over.
    pub fn has_retained(&self, topic: &str) -> bool {
        self.shard().retained.contains_key(topic)
    }

    /// Takes a will that is to be published.
    ///
    /// # Errors
    /// If it can't be kept.
    pub fn will(&mut self, pending: PendingWill) -> Taken {
        let shard = self.shard_mut();
        shard.last_will += 1;
        let id = shard.last_will;
        self.loader.record(Record::Will(id, pending))
    }

    fn body(&mut self, NewMessage { id, message, expires }: NewMessage<'_>) -> MessageId {
        if let Some(body) = self.bodies.get(&id).filter(|body| self.shard().ledger.bodies().contains_key(body)) {
            return *body;
        }
        let shard = self.shard_mut();
        let body = shard.ledger.next_message;
        shard.ledger.next_message += 1;
        let record = Record::Body(body, expires, message.clone());
        self.loader.record(record).expect("a number that nobody has had");
        self.bodies.insert(id, body);
        body
    }

    /// The shard with all that was taken. After an error it is of no use.
    pub fn finish(self) -> Shard {
        let mut shard = self.loader.shard.expect("it began with a shard");
        shard.interest.forget_changes(shard.applied);
        shard
    }
}
