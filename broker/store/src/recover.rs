//! Shards that go on from copies of different ages, because later ones are lost.
//!
//! What one shard sends to another is numbered without gaps, and each of the two remembers how far that is. If one of them
//! has forgotten more than the other, the receiver would wait for ever for what the sender has given away, or take for old
//! what is new. So the receiver expects from then on what the sender sends next. What was on its way and is in neither
//! is lost, as everything is that only later copies had.

use crate::names::{Index, Party};
use crate::shard::{Shard, Stream};

impl Shard {
    /// Makes shards agree on what goes from one to the other. All of the cluster have to be there.
    pub fn reconcile(shards: &mut [Shard]) {
        for sender in 0..shards.len() {
            for receiver in (0..shards.len()).filter(|receiver| *receiver != sender) {
                let (of, to) = (Party::Shard(shards[sender].id), Party::Shard(shards[receiver].id));
                let sent = shards[sender].outbox.get(&to).map_or((0, 0), |outbox| (outbox.last_done(), outbox.last()));
                shards[receiver].expect(of, sent.0 + 1, sent.1 + 1);
            }
        }
    }

    /// The next number of a sender is one of these.
    fn expect(&mut self, of: Party, first: u64, next: u64) {
        let found = self.expected(of);
        let wanted = found.clamp(first, next);
        if wanted != found {
            self.sources.insert(of, Stream { next: wanted, after: None });
        }
    }

    /// The state stands at a later entry of another log, in which nothing came between.
    pub fn stand_at(&mut self, index: Index) {
        self.applied = self.applied.max(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addressee, Message, ShardId};
    use fulmar_codec::QoS;

    use crate::outbox::{Outbox, Waiting};

    const SENDER: ShardId = ShardId(0);
    const RECEIVER: ShardId = ShardId(1);

    /// A shard that has given `done` messages to the receiver, and has `waiting` more for it.
    fn sender(done: u64, waiting: u64) -> Shard {
        let mut shard = Shard::new(SENDER);
        let mut outbox = Outbox::restored(done);
        for _ in 0..waiting {
            let body = shard.ledger.add_body(&Message::new("t", QoS::AtLeastOnce, b"", b""), 0);
            let to = Addressee::Subscribers { publisher: "p".into() };
            outbox.push(Waiting { body, to }, &mut shard.ledger);
            shard.ledger.let_go(body);
        }
        shard.outbox.insert(Party::Shard(RECEIVER), outbox);
        shard
    }

    fn receiver(next: u64) -> Shard {
        let mut shard = Shard::new(RECEIVER);
        shard.sources.insert(Party::Shard(SENDER), Stream { next, after: Some("half".into()) });
        shard
    }

    /// What the receiver expects afterwards, and up to which client it has the first of that.
    fn reconciled(sender: Shard, receiver: Shard) -> (u64, Option<String>) {
        let mut shards = [sender, receiver];
        Shard::reconcile(&mut shards);
        assert_eq!(shards[0].expected(Party::Shard(RECEIVER)), 1, "nothing goes the other way");
        let half = shards[1].came_until(Party::Shard(SENDER)).map(|client| client.to_string());
        (shards[1].expected(Party::Shard(SENDER)), half)
    }

    #[test]
    fn a_receiver_expects_what_comes_next_whichever_of_the_two_has_forgotten_more() {
        let half = || Some("half".to_owned());
        assert_eq!(
            reconciled(sender(4, 3), receiver(6)),
            (6, half()),
            "they agree: 5 has come, 6 and 7 are on their way"
        );
        assert_eq!(reconciled(sender(4, 3), receiver(5)), (5, half()));
        assert_eq!(reconciled(sender(4, 3), receiver(8)), (8, half()));
        assert_eq!(reconciled(sender(4, 3), receiver(3)), (5, None), "3 and 4 are lost with the receiver's copy");
        assert_eq!(reconciled(sender(4, 3), receiver(20)), (8, None), "the next one will have number 8 again");
        assert_eq!(reconciled(Shard::new(SENDER), receiver(20)), (1, None), "all of the sender is lost");
        assert_eq!(reconciled(sender(4, 3), Shard::new(RECEIVER)), (5, None), "all of the receiver is lost");
    }

    #[test]
    fn a_shard_stands_where_it_is_told_to_unless_it_is_further() {
        let mut shard = Shard::new(SENDER);
        shard.stand_at(9);
        shard.stand_at(7);
        assert_eq!(shard.applied(), 9);
    }
}
