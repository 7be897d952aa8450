//! Messages of shared subscriptions whose member is no more. They wait in the outbox for this very shard until its
//! leader has found another member, here or elsewhere.
//!
//! While a session waits for its client, so does what it is owed: to send it to another member too would have two of
//! them do the same work. When the session ends, what waits goes on, and so does what may have been sent with QoS 1. Of
//! QoS 2, what may have been sent goes nowhere: it must not reach another member (MQTT 5.0, 4.8.2). When only the
//! subscription ends, all that may have been sent stays with the client, which is still to get it (3.10.4).

use std::sync::Arc;

use fulmar_codec::QoS;

use super::Shard;
use super::publish::Outcome;
use crate::command::{Onward, Target};
use crate::ledger::{MessageId, sabotaged};
use crate::names::{ClientId, Number, Party, Sequence};
use crate::outbox::{Addressee, Waiting};
use crate::queue::Queue;
use crate::reply::{Refusal, Reply, Stored};
use crate::settings::{Bound, cost};
use crate::shares::ShareId;

// What moves on takes no more than it did in the queue, so a full shard keeps it.
const _: () = assert!(cost::OUTBOX <= cost::PLACE);

impl Shard {
    /// What is to be routed again is in the outbox for this.
    pub(super) fn itself(&self) -> Party {
        Party::Shard(self.id)
    }

    /// A message whose member was no more when it came.
    pub(super) fn keep_to_route_again(&mut self, share: &Arc<str>, body: MessageId) -> Result<(), Bound> {
        let share = self.ledger.hold_share_named(share);
        let room = self.ledger.has_room(cost::OUTBOX, self.settings.shard_bytes_max);
        let kept = room.and_then(|()| self.put_to_route_again(Waiting { body, to: Addressee::Group(share) }));
        self.ledger.let_go_of_share(share);
        kept
    }

    /// Room in bytes is up to the caller.
    fn put_to_route_again(&mut self, waiting: Waiting) -> Result<(), Bound> {
        if self.is_full(&self.itself()) {
            return Err(Bound::Outbox);
        }
        self.outbox.entry(self.itself()).or_default().push(waiting, &mut self.ledger);
        Ok(())
    }

    /// The session has ended: what it was owed as a member is for others.
    pub(super) fn move_on_at_end(&mut self, client: &ClientId, queue: &mut Queue) {
        if sabotaged!(self.ledger, SharedLostAtEnd) {
            return;
        }
        let window_end = queue.window_end();
        let moves_qos2 = sabotaged!(self.ledger, SentQos2Moved);
        let may_move = |sequence, qos| sequence >= window_end || qos == QoS::AtLeastOnce || moves_qos2;
        let all = queue.places().iter().filter(|(sequence, place)| may_move(**sequence, place.qos));
        let shared = all.filter_map(|(sequence, place)| Some((*sequence, place.body?, place.share?)));
        for (sequence, body, share) in shared.collect::<Vec<_>>() {
            self.move_on(client, queue, (sequence, body, share));
        }
    }

    /// The client has left a shared subscription: what it was not sent yet is for other members.
    pub(super) fn move_on_at_unsubscribe(&mut self, client: &ClientId, filter: &str) {
        let Some(left) = self.ledger.shares().id(filter) else { return };
        let session = self.sessions.get_mut(client).expect("who unsubscribes has a session");
        let mut queue = std::mem::take(&mut session.queue);
        let waiting = queue.places().range(queue.window_end()..).filter(|(_, place)| place.share == Some(left));
        let waiting = waiting.filter_map(|(sequence, place)| Some((*sequence, place.body?, left)));
        for place in waiting.collect::<Vec<_>>() {
            self.move_on(client, &mut queue, place);
        }
        self.sessions.get_mut(client).expect("it was there just now").queue = queue;
    }

    /// Moves a message from a queue to those that are to be routed again, unless nobody wants it any more. Without room
    /// it is lost, and counted.
    fn move_on(
        &mut self,
        client: &ClientId,
        queue: &mut Queue,
        (sequence, body, share): (Sequence, MessageId, ShareId),
    ) {
        let to = Addressee::Group(share);
        if self.ledger.body(body).is_expired(self.time) {
            self.ledger.totals.expired += 1;
        } else if self.put_to_route_again(Waiting { body, to }).is_err() {
            self.ledger.totals.stranded += 1;
        }
        queue.remove(client, sequence, &mut self.ledger);
    }

    /// A node that was to find a member is gone. What it may have sent with QoS 2 must not reach another one.
    pub(super) fn move_on_of_gone(&mut self, waiting: &Waiting) {
        let message = self.ledger.body(waiting.body);
        let may_move = matches!(waiting.to, Addressee::Group(_)) && message.qos() != QoS::ExactlyOnce;
        if !may_move {
            return;
        }
        if message.is_expired(self.time) {
            self.ledger.totals.expired += 1;
        } else if self.put_to_route_again(waiting.clone()).is_err() {
            self.ledger.totals.stranded += 1;
        }
    }

    /// The oldest message that is to be routed again goes on, or stays where it is. It is taken from there by the entry
    /// that brings it on, so it goes on once, whoever leads.
    pub(super) fn route_again(&mut self, number: Number, to: &Onward) -> Result<Reply, Refusal> {
        let (last, expected) = self.outbox.get(&self.itself()).map_or((0, 1), |it| (it.last(), it.last_done() + 1));
        if number > last {
            return Err(Refusal::NeverSent { found: number, last });
        }
        if number != expected {
            let refusal = Refusal::OutOfOrder { found: number, expected };
            return if number < expected { Ok(Reply::Duplicate) } else { Err(refusal) };
        }
        let oldest = self.outbox.get(&self.itself()).and_then(|outbox| outbox.oldest());
        let waiting = oldest.cloned().expect("what has a number and is not done waits");
        let mut stored = Stored::default();
        if self.ledger.body(waiting.body).is_expired(self.time) {
            self.ledger.totals.expired += 1;
            stored.is_expired = true;
        } else {
            match to {
                Onward::Member(target) => {
                    stored.dropped = self.queue_again(target, waiting.body)?;
                    stored.queued = 1;
                }
                Onward::Destination(destination) => self.pass_on(*destination, waiting)?,
                Onward::Nobody => self.ledger.totals.stranded += 1,
            }
        }
        let itself = self.itself();
        let outbox = self.outbox.get_mut(&itself).expect("it was there just now");
        outbox.done(number, &mut self.ledger);
        Ok(Reply::Routed(stored))
    }

    fn queue_again(&mut self, target: &Target, body: MessageId) -> Result<u32, Refusal> {
        if !self.is_there(target) {
            return Err(Refusal::NoMember);
        }
        match self.queue(target, body) {
            Outcome::Queued { dropped } => Ok(dropped),
            Outcome::Refused(bound) => Err(Refusal::Bound(bound)),
            Outcome::Ignored | Outcome::Again => Err(Refusal::NoMember),
        }
    }

    /// It takes no more for one destination than it did for the other.
    fn pass_on(&mut self, destination: Party, waiting: Waiting) -> Result<(), Refusal> {
        if let Party::Node(node) = destination
            && self.is_gone(node)
        {
            return Err(Refusal::NodeGone(node));
        }
        // This shard's own place is the one that it leaves.
        if destination != self.itself() && self.is_full(&destination) {
            return Err(Refusal::Bound(Bound::Outbox));
        }
        self.outbox.entry(destination).or_default().push(waiting, &mut self.ledger);
        Ok(())
    }
}
