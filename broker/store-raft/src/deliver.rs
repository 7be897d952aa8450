//! What a session that is owned here has been sent, and what it may be sent next.

use std::collections::BTreeMap;

use fulmar_store::{Ack, AckReply, Bodies, ClientId, Credit, Delivery, Epoch, Node, Owner, Sequence, Shard, Time};

/// A session that a data thread of some node serves.
#[derive(Debug)]
pub(crate) struct Owned {
    /// The node.
    pub(crate) to: Node,
    pub(crate) owner: Owner,
    pub(crate) epoch: Epoch,
    /// All before it was sent.
    next: Sequence,
    /// What was sent and is not acknowledged.
    unacknowledged: BTreeMap<Sequence, u64>,
    unacknowledged_bytes: u64,
}

impl Owned {
    pub(crate) fn new(to: Node, owner: Owner, epoch: Epoch) -> Self {
        Self { to, owner, epoch, next: 0, unacknowledged: BTreeMap::new(), unacknowledged_bytes: 0 }
    }

    /// One that was sent all before `next`, by whoever led before. What of that is not acknowledged counts.
    pub(crate) fn attached(self, client: &ClientId, next: Sequence, shard: &Shard) -> Self {
        let unacknowledged = shard.in_flight_before(client, next).filter(|(_, bytes)| *bytes > 0).collect();
        let unacknowledged_bytes = BTreeMap::values(&unacknowledged).sum();
        Self { next, unacknowledged, unacknowledged_bytes, ..self }
    }

    /// Acknowledgements were committed.
    pub(crate) fn acknowledged(&mut self, acks: &[(Sequence, Ack)], replies: &[AckReply]) {
        for ((sequence, _), reply) in acks.iter().zip(replies) {
            if matches!(reply, AckReply::Done | AckReply::DoneBefore)
                && let Some(bytes) = self.unacknowledged.remove(sequence)
            {
                self.unacknowledged_bytes -= bytes;
            }
        }
    }

    /// What it is sent now: each message once, as far as the client takes messages, and no more bytes than may be
    /// unacknowledged, unless it is a single message that has more.
    pub(crate) fn take<B: Bodies>(
        &mut self,
        client: &ClientId,
        shard: &Shard,
        bytes_max: u64,
        now: Time,
        bodies: &mut B,
    ) -> Result<Vec<Delivery>, B::Error> {
        let room = bytes_max.saturating_sub(self.unacknowledged_bytes);
        if room == 0 || shard.session(client).is_none_or(|session| session.epoch != self.epoch) {
            return Ok(Vec::new());
        }
        let credit = Credit { messages: usize::MAX, bytes: room };
        let mut deliveries = shard.deliverable(client, self.next, credit, now, bodies)?;
        if self.unacknowledged_bytes > 0 && deliveries.first().is_some_and(|first| bytes(first) > room) {
            deliveries.clear();
        }
        for delivery in &deliveries {
            self.next = delivery.sequence + 1;
            if bytes(delivery) > 0 {
                self.unacknowledged.insert(delivery.sequence, bytes(delivery));
                self.unacknowledged_bytes += bytes(delivery);
            }
        }
        Ok(deliveries)
    }

    /// A mistake for the tests.
    pub(crate) fn forget_what_was_sent(&mut self) {
        (self.next, self.unacknowledged, self.unacknowledged_bytes) = (0, BTreeMap::new(), 0);
    }
}

fn bytes(delivery: &Delivery) -> u64 {
    delivery.message.as_ref().map_or(0, fulmar_store::Message::bytes)
}
