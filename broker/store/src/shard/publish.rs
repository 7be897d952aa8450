//! Messages of a numbered stream, and how any message gets into the queues of this shard.

use fulmar_codec::QoS;

use super::{Shard, Stream};
use crate::command::{Item, Target};
use crate::ledger::{MessageId, sabotaged};
use crate::names::{ClientId, Number, Party};
use crate::queue::Place;
use crate::reply::{ItemReply, Refusal, Reply, Stored};
use crate::settings::Bound;

impl Shard {
    /// Only the next expected number goes on with a stream: what is earlier was dealt with, what is later waits for
    /// what is missing. A mere high-water mark would take a batch that was lost with an old leader for one that was
    /// done.
    ///
    /// A message for many sessions comes in parts with one number, cut in the order of the clients. Who had theirs is
    /// remembered by the last of them, so that whoever proposes the message again, matched anew, doubles nothing.
    pub(super) fn publish(
        &mut self,
        source: Party,
        first: Number,
        items: &[Item],
        goes_on: bool,
    ) -> Result<Reply, Refusal> {
        if let Party::Node(node) = source
            && self.is_gone(node)
        {
            return Err(Refusal::NodeGone(node));
        }
        let expected = self.expected(source);
        if first > expected && !sabotaged!(self.ledger, GapAccepted) {
            return Err(Refusal::OutOfOrder { found: first, expected });
        }
        if !self.sources.contains_key(&source) && self.sources.len() >= self.settings.nodes_max as usize {
            return Err(Refusal::Bound(Bound::Nodes));
        }
        let mut after = self.came_until(source).cloned();
        let mut replies = Vec::with_capacity(items.len());
        let mut next = expected;
        for ((number, left), item) in (first..).zip((0..items.len()).rev()).zip(items) {
            if number < next {
                replies.push(ItemReply::DoneBefore);
                continue;
            }
            replies.push(ItemReply::Stored(self.store(item, after.as_ref())));
            if left > 0 || !goes_on {
                (next, after) = (number.saturating_add(1), None);
            } else if !sabotaged!(self.ledger, PartsForgotten) {
                after = after.max(item.targets.iter().map(|target| target.client.clone()).max());
            }
        }
        self.sources.insert(source, Stream { next, after });
        Ok(Reply::Published { items: replies, expected: next })
    }

    /// Brings a message to its targets here that come after a client, and to its topic if it is to be retained.
    fn store(&mut self, item: &Item, after: Option<&ClientId>) -> Stored {
        let body = self.ledger.add_body(&item.message, self.time);
        let stored = self.store_body(item, body, after);
        self.ledger.let_go(body);
        stored
    }

    /// The same, with the body that somebody else holds too.
    pub(super) fn store_body(&mut self, item: &Item, body: MessageId, after: Option<&ClientId>) -> Stored {
        let Item { message: _, retain, targets } = item;
        let mut stored = Stored { is_expired: self.ledger.body(body).is_expired(self.time), ..Stored::default() };
        if let Some(version) = retain {
            stored.retained = Some(self.retain(item.message.topic(), body, *version));
        }
        let is_wanted = |target: &Target| after.is_none_or(|after| target.client > *after);
        if stored.is_expired {
            self.ledger.totals.expired += targets.iter().filter(|target| is_wanted(target)).count() as u64;
            return stored;
        }
        for (position, target) in (0..).zip(targets).filter(|(_, target)| is_wanted(target)) {
            match self.queue(target, body) {
                Outcome::Ignored => stored.ignored += 1,
                Outcome::Again => stored.again += 1,
                Outcome::Queued { dropped } => {
                    stored.queued += 1;
                    stored.dropped += dropped;
                }
                Outcome::Refused(bound) => {
                    self.ledger.totals.refused += 1;
                    stored.refused.push((position, bound));
                }
            }
        }
        stored
    }

    /// Puts a message into a session's queue, if it is for that session.
    pub(super) fn queue(&mut self, target: &Target, body: MessageId) -> Outcome {
        let Target { client, generation: _, qos, retain, subscription_ids, share } = target;
        if *qos == QoS::AtMostOnce {
            return Outcome::Ignored;
        }
        if !self.is_there(target) {
            let again = share.as_ref().map(|share| self.keep_to_route_again(share, body));
            return again.map_or(Outcome::Ignored, |kept| kept.map_or_else(Outcome::Refused, |()| Outcome::Again));
        }
        let share = share.as_ref().map(|share| self.ledger.hold_share_named(share));
        let subscription_ids = subscription_ids.as_slice().into();
        let place = Place { body: Some(body), qos: *qos, retain: *retain, subscription_ids, share };
        let session = self.sessions.get_mut(client).expect("it is there");
        let window = session.window(&self.settings);
        let pushed = session.queue.push(client, place, window, &mut self.ledger, &self.settings);
        if let Some(share) = share {
            self.ledger.let_go_of_share(share);
        }
        pushed.map_or_else(Outcome::Refused, |dropped| Outcome::Queued { dropped })
    }

    /// Whether there is the session that was matched, still a member if it was matched as one.
    pub(super) fn is_there(&self, target: &Target) -> bool {
        let Some(session) = self.sessions.get(&target.client) else { return false };
        let is_other_life = session.generation != target.generation && !sabotaged!(self.ledger, GenerationNotChecked);
        let is_member = target.share.as_ref().is_none_or(|share| session.subscriptions.contains_key(share));
        !is_other_life && !session.is_over(self.time) && is_member
    }
}

/// What became of a message for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the queue, and so many older ones made room.
    Queued { dropped: u32 },
    /// It is not for that session: the one that was matched is no more, or it is of QoS 0, which waits for nobody.
    Ignored,
    /// It is for another member of a shared subscription.
    Again,
    /// There is no room.
    Refused(Bound),
}
