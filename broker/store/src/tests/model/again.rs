//! Messages of shared subscriptions whose member is no more, in the model.

use std::sync::Arc;

use fulmar_codec::QoS;

use super::{Kept, Model, Place};
use crate::*;

/// The shard of all random entries: what is to be routed again is in the outbox for it.
pub(in crate::tests) const ITSELF: Party = Party::Shard(ShardId(1));

impl Model {
    pub(super) fn is_full(&self, destination: &Party) -> bool {
        let waiting = self.outbox.get(destination).map_or(0, |(_, waiting)| waiting.len());
        waiting >= self.settings.outbox_messages_max as usize
    }

    pub(super) fn send(&mut self, destination: Party, kept: Kept, to: Addressee) {
        let (last, waiting) = self.outbox.entry(destination).or_default();
        *last += 1;
        waiting.push((*last, kept, to));
    }

    /// One whose member was no more when it came.
    pub(super) fn keep_to_route_again(&mut self, kept: &Kept, share: &Arc<str>) -> Result<(), Bound> {
        if self.bytes_with(kept, Some(share)) + cost::OUTBOX > self.settings.shard_bytes_max {
            return Err(Bound::ShardBytes);
        }
        if self.is_full(&ITSELF) {
            return Err(Bound::Outbox);
        }
        self.send(ITSELF, kept.clone(), Addressee::Group(share.clone()));
        Ok(())
    }

    /// Whose place is gone, or whose node.
    pub(super) fn move_on(&mut self, kept: Kept, share: Arc<str>) {
        if kept.is_expired(self.time) {
            self.totals.expired += 1;
        } else if self.is_full(&ITSELF) {
            self.totals.stranded += 1;
        } else {
            self.send(ITSELF, kept, Addressee::Group(share));
        }
    }

    /// What a session leaves that is no more.
    pub(super) fn move_on_all(&mut self, places: Vec<Place>, sent_until: Sequence) {
        for Place { sequence, kept, qos, share, .. } in places {
            if let (Some(kept), Some(share)) = (kept, share)
                && (sequence >= sent_until || qos == QoS::AtLeastOnce)
            {
                self.move_on(kept, share);
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, client: &ClientId, filter: &str) -> bool {
        let session = self.sessions.get_mut(client).unwrap();
        let was_there = session.subscriptions.remove(filter).is_some();
        let sent_until = session.sent_until;
        let is_left = |place: &Place| place.sequence >= sent_until && place.share.as_deref() == Some(filter);
        let (left, stay) = std::mem::take(&mut session.queue).into_iter().partition(is_left);
        session.queue = stay;
        self.move_on_all(left, sent_until);
        was_there
    }

    pub(super) fn route_again(&mut self, number: Number, to: &Onward) -> Result<Reply, Refusal> {
        let (last, waiting) = self.outbox.get(&ITSELF).cloned().unwrap_or_default();
        let expected = last + 1 - waiting.len() as u64;
        match number {
            _ if number > last => return Err(Refusal::NeverSent { found: number, last }),
            _ if number > expected => return Err(Refusal::OutOfOrder { found: number, expected }),
            _ if number < expected => return Ok(Reply::Duplicate),
            _ => {}
        }
        let (_, kept, addressee) = waiting[0].clone();
        let mut stored = Stored { is_expired: kept.is_expired(self.time), ..Stored::default() };
        if stored.is_expired {
            self.totals.expired += 1;
        } else {
            match to {
                Onward::Nobody => self.totals.stranded += 1,
                Onward::Member(target) if target.qos == QoS::AtMostOnce || !self.is_there(target) => {
                    return Err(Refusal::NoMember);
                }
                Onward::Member(target) => {
                    let dropped = self.queue(target, &kept)?;
                    self.totals.dropped += u64::from(dropped);
                    (stored.queued, stored.dropped) = (1, dropped);
                }
                Onward::Destination(Party::Node(node)) if self.is_gone(*node) => {
                    return Err(Refusal::NodeGone(*node));
                }
                Onward::Destination(destination) => {
                    if *destination != ITSELF && self.is_full(destination) {
                        return Err(Bound::Outbox.into());
                    }
                    self.send(*destination, kept, addressee);
                }
            }
        }
        self.outbox.get_mut(&ITSELF).unwrap().1.remove(0);
        Ok(Reply::Routed(stored))
    }

    /// The session that was matched is there, and still a member if it was matched as one.
    pub(super) fn is_there(&self, target: &Target) -> bool {
        let Some(session) = self.sessions.get(&target.client) else { return false };
        let is_over = session.ends().is_some_and(|ends| ends <= self.time);
        let is_member = target.share.as_ref().is_none_or(|share| session.subscriptions.contains_key(share));
        session.generation == target.generation && !is_over && is_member
    }
}
