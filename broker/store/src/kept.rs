//! What a shard keeps for its clients, read as a whole: sessions with all that belongs to them, their queues, retained
//! messages. For who looks at a shard that nobody serves, or moves what is in it elsewhere ([`Intake`](crate::Intake)).
//!
//! Times are those of the shard's clock, not what is left of them. All bodies must be in memory: [`Shard::bring_all`].

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};

use crate::command::{Subscription, Will};
use crate::message::Message;
use crate::names::{ClientId, Node, Sequence, Time, Version};
use crate::session::{Presence, Session};
use crate::shard::Shard;

/// A session as it is kept.
#[derive(Debug, Clone, Copy)]
pub struct KeptSession<'a> {
    /// Who.
    pub client: &'a ClientId,
    /// As which user; none is anonymous.
    pub user: Option<&'a Arc<str>>,
    /// Who owns it, unless its life is over.
    pub owner: Option<Node>,
    /// How long it outlives its connection; `u32::MAX` is for ever.
    pub expiry_seconds: u32,
    /// When it ends, if nobody owns it and it does not last for ever.
    pub ends: Option<Time>,
    /// How many messages its client takes unacknowledged.
    pub receive_maximum: NonZeroU16,
    /// What is published if the client does not come back.
    pub will: Option<&'a Will>,
    /// When that is due, if nobody owns the session.
    pub will_due: Option<Time>,
    /// Packet identifiers of QoS 2 that the client has not released.
    pub received: &'a BTreeSet<PacketId>,
    /// What it has subscribed to.
    pub subscriptions: &'a BTreeMap<Arc<str>, Subscription>,
    /// The place of the next message in its queue.
    pub next: Sequence,
    /// What stands before this in its queue may have been sent.
    pub sent_until: Sequence,
    /// Messages in its queue.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: u64,
    /// How many of them may have been sent and are not acknowledged.
    pub in_flight: u32,
}

impl KeptSession<'_> {
    /// The same as it is when its owner, if it has one, is gone since `at`: when it ends, and when its will is due.
    #[must_use]
    pub fn left(self, at: Time) -> Self {
        if self.owner.is_none() {
            return self;
        }
        let (ends, will_due) = Session::dues(at, self.expiry_seconds, self.will);
        Self { owner: None, ends, will_due, ..self }
    }
}

/// A message as it is kept. Two that are the same one have the same `id`.
#[derive(Debug, Clone, Copy)]
pub struct KeptMessage<'a> {
    /// Which one of the shard.
    pub id: u64,
    /// The message. Its lifetime is that from when it came.
    pub message: &'a Message,
    /// When it is of no use any more.
    pub expires: Option<Time>,
}

/// A message in a queue.
#[derive(Debug, Clone, Copy)]
pub struct KeptPlace<'a> {
    /// Its place, which also makes its packet identifier.
    pub sequence: Sequence,
    /// None: the client has it (PUBREC is committed), and its PUBCOMP is awaited.
    pub message: Option<KeptMessage<'a>>,
    /// 1 or 2.
    pub qos: QoS,
    /// The retain flag that the client sees.
    pub retain: bool,
    /// To be sent along.
    pub subscription_ids: &'a [NonZeroU32],
    /// The shared subscription, while another member may still get it instead.
    pub share: Option<&'a Arc<str>>,
}

impl Shard {
    /// All sessions, by client identifier. One whose owner's life is over counts as left since it was.
    pub fn kept_sessions(&self) -> impl Iterator<Item = KeptSession<'_>> {
        self.sessions.iter().map(|(client, session)| {
            let Session { user, expiry_seconds, receive_maximum, will, subscriptions, queue, received, .. } = session;
            let (ends, will_due) = match session.presence {
                Presence::Owned => (None, None),
                Presence::Absent { ends, will_due } => (ends, will_due),
            };
            let owner = session.owner();
            let kept = KeptSession {
                client,
                user: user.as_ref(),
                owner,
                expiry_seconds: *expiry_seconds,
                ends,
                receive_maximum: *receive_maximum,
                will: will.as_ref(),
                will_due,
                received,
                subscriptions,
                next: queue.next(),
                sent_until: queue.window_end(),
                queued: queue.len(),
                queued_bytes: queue.bytes(),
                in_flight: queue.in_flight(),
            };
            let gone =
                owner.and_then(|owner| self.gone.get(&owner.id).filter(|it| owner.incarnation <= it.incarnation));
            gone.map_or(kept, |gone| kept.left(gone.since))
        })
    }

    /// The queue of a session, in order.
    pub fn kept_queue(&self, client: &str) -> impl Iterator<Item = KeptPlace<'_>> {
        let places = self.sessions.get(client).into_iter().flat_map(|session| session.queue.places());
        places.map(|(sequence, place)| KeptPlace {
            sequence: *sequence,
            message: place.body.map(|body| self.kept_message(body)),
            qos: place.qos,
            retain: place.retain,
            subscription_ids: &place.subscription_ids,
            share: place.share.map(|share| self.ledger.shares().name(share)),
        })
    }

    /// All retained messages by topic, also those whose time is over and that were not cleared up yet.
    pub fn kept_retained(&self) -> impl Iterator<Item = (KeptMessage<'_>, Version)> {
        self.retained.values().map(|retained| (self.kept_message(retained.body), retained.version))
    }

    fn kept_message(&self, id: u64) -> KeptMessage<'_> {
        let body = self.ledger.body(id);
        // See `bring_all`.
        let message = body.message().expect("who looks at a whole shard has brought it into memory");
        KeptMessage { id, message, expires: body.expires }
    }
}
