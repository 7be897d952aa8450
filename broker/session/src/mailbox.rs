//! Messages that wait for a client: bounded in number and bytes, the oldest give way to new ones.
//!
//! Two bounds apply: that of the client, and what the node has for the messages of all its clients.

use std::collections::VecDeque;

use crate::kept::Delivery;
use crate::limits::Limits;
use crate::quota::Short;

/// An empty mailbox with room for more than this gives its room back.
const IDLE_CAPACITY_MAX: usize = 32;

/// Of the oldest messages so many are looked at when the node has no room for a new one, so that refusing stays cheap.
const GIVE_WAY_MAX: usize = 16;

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

    /// Whether a delivery of so many bytes can be taken in, if need be in place of all others.
    pub(crate) fn can_hold(bytes: usize, limits: &Limits) -> bool {
        limits.queued_messages_max > 0 && bytes <= limits.queued_bytes_max
    }

    /// The node is short of memory for a new delivery: the oldest ones go, if a few of them make room for it. If they
    /// do not, because others wait for the same messages, the client loses nothing. Says how many went.
    pub(crate) fn give_way(&mut self, Short(bytes): Short) -> usize {
        let mut freed = 0;
        let makes_room = |delivery: &Delivery| {
            freed += delivery.bytes_freed();
            freed >= bytes
        };
        let Some(last) = self.queue.iter().take(GIVE_WAY_MAX).position(makes_room) else { return 0 };
        (0..=last).for_each(|_| drop(self.pop_front()));
        last + 1
    }

    /// Takes a delivery in that [`can_hold`](Self::can_hold) allows, and says how many older ones gave way.
    pub(crate) fn push(&mut self, delivery: Delivery, limits: &Limits) -> usize {
        let bytes = delivery.bytes();
        let mut evicted = 0;
        while (self.queue.len() >= limits.queued_messages_max || self.bytes + bytes > limits.queued_bytes_max)
            && self.pop_front().is_some()
        {
            evicted += 1;
        }
        self.bytes += bytes;
        self.queue.push_back(delivery);
        evicted
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
