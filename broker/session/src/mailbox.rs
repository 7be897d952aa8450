//! Messages that wait for a client: bounded in number and bytes, the oldest give way to new ones.

use std::collections::VecDeque;
use std::time::Instant;

use fulmar_codec::{PublishHead, QoS};

use crate::limits::Limits;
use crate::message::{Message, Outgoing};

/// A message for one receiver, kept: it waits in the mailbox, or its body is held until it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    pub(crate) subscription_ids: SubscriptionIds,
    /// That of the publisher, or that of the subscription if it is lower.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// The body is held until the acknowledgement, even if the session cannot be resumed.
    pub(crate) keep: bool,
}

impl Delivery {
    /// What to write for this receiver, but for the packet id.
    pub(crate) fn head(&self, outgoing: &Outgoing<'_>, now: Instant) -> PublishHead<'_> {
        PublishHead {
            qos: self.qos,
            retain: self.retain,
            message_expiry: outgoing.expiry_seconds_left(now),
            subscription_ids: self.subscription_ids.as_slice(),
            ..PublishHead::default()
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.message.bytes() + self.subscription_ids.heap_bytes()
    }
}

/// Subscription identifiers of a delivery: rarely any, hardly ever two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SubscriptionIds {
    None,
    One([u32; 1]),
    Many(Box<[u32]>),
}

impl SubscriptionIds {
    pub(crate) fn new(ids: &[u32]) -> Self {
        match *ids {
            [] => Self::None,
            [id] => Self::One([id]),
            _ => Self::Many(ids.into()),
        }
    }

    fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => id,
            Self::Many(ids) => ids,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::None | Self::One(_) => 0,
            Self::Many(ids) => size_of_val::<[u32]>(ids),
        }
    }
}

/// An empty mailbox with room for more than this gives its room back.
const IDLE_CAPACITY_MAX: usize = 32;

/// Deliveries of QoS 1 and 2 in the order in which they are to be sent.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    queue: VecDeque<Delivery>,
    bytes: usize,
}

impl Mailbox {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }

    /// Takes a delivery in and says how many older ones gave way, or gives it back if it can never fit.
    pub(crate) fn push(&mut self, delivery: Delivery, limits: &Limits) -> Result<usize, Delivery> {
        let bytes = delivery.bytes();
        if limits.queued_messages_max == 0 || bytes > limits.queued_bytes_max {
            return Err(delivery);
        }
        let mut evicted = 0;
        while (self.queue.len() >= limits.queued_messages_max || self.bytes + bytes > limits.queued_bytes_max)
            && self.pop_front().is_some()
        {
            evicted += 1;
        }
        self.bytes += bytes;
        self.queue.push_back(delivery);
        Ok(evicted)
    }

    pub(crate) fn pop_front(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.bytes -= delivery.bytes();
        if self.queue.is_empty() && self.queue.capacity() > IDLE_CAPACITY_MAX {
            self.queue = VecDeque::new();
        }
        Some(delivery)
    }
}
