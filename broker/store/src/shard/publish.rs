//! Messages of a numbered stream, and how any message gets into the queues of this shard.

use fulmar_codec::QoS;

use super::Shard;
use crate::command::{Item, Target};
use crate::ledger::{MessageId, sabotaged};
use crate::names::{Number, Party};
use crate::queue::Place;
use crate::reply::{ItemReply, Refusal, Reply, Stored};
use crate::settings::Bound;

impl Shard {
    /// Only the next expected number goes on with a stream: what is earlier was dealt with, what is later waits for
    /// what is missing. A mere high-water mark would take a batch that was lost with an old leader for one that was
    /// done.
    pub(super) fn publish(&mut self, source: Party, first: Number, items: &[Item]) -> Result<Reply, Refusal> {
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
        let mut replies = Vec::with_capacity(items.len());
        let mut number = first;
        for item in items {
            replies.push(match number < expected {
                true => ItemReply::DoneBefore,
                false => ItemReply::Stored(self.store(item)),
            });
            number = number.saturating_add(1);
        }
        let expected = expected.max(number);
        self.sources.insert(source, expected);
        Ok(Reply::Published { items: replies, expected })
    }

    /// Brings a message to its targets here, and to its topic if it is to be retained.
    pub(super) fn store(&mut self, item: &Item) -> Stored {
        let body = self.ledger.add_body(&item.message, self.time);
        let stored = self.store_body(item, body);
        self.ledger.let_go(body);
        stored
    }

    /// The same, with the body that somebody else holds too.
    pub(super) fn store_body(&mut self, item: &Item, body: MessageId) -> Stored {
        let Item { message: _, retain, targets } = item;
        let mut stored = Stored { is_expired: self.ledger.body(body).is_expired(self.time), ..Stored::default() };
        if let Some(version) = retain {
            stored.retained = Some(self.retain(item.message.topic(), body, *version));
        }
        if stored.is_expired {
            self.ledger.totals.expired += targets.len() as u64;
            return stored;
        }
        for (position, target) in (0..).zip(targets) {
            match self.queue(target, body) {
                None => stored.ignored += 1,
                Some(Ok(dropped)) => {
                    stored.queued += 1;
                    stored.dropped += dropped;
                }
                Some(Err(bound)) => {
                    self.ledger.totals.refused += 1;
                    stored.refused.push((position, bound));
                }
            }
        }
        stored
    }

    /// Puts a message into a session's queue. None if it is not for that session: the one that was matched is no more,
    /// or the message is of QoS 0, which waits for nobody.
    fn queue(&mut self, target: &Target, body: MessageId) -> Option<Result<u32, Bound>> {
        let Target { client, generation, qos, retain, subscription_ids } = target;
        let session = self.sessions.get_mut(client)?;
        let is_other_life = session.generation != *generation && !sabotaged!(self.ledger, GenerationNotChecked);
        if is_other_life || session.is_over(self.time) || *qos == QoS::AtMostOnce {
            return None;
        }
        let subscription_ids = subscription_ids.as_slice().into();
        let place = Place { body: Some(body), qos: *qos, retain: *retain, subscription_ids };
        let window = session.window(&self.settings);
        Some(session.queue.push(client, place, window, &mut self.ledger, &self.settings))
    }
}
