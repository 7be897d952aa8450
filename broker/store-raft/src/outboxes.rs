//! Messages for shards of which this node has no copy: the leader of the sender sends them to the leader of the receiver,
//! which says what has come.
//!
//! One batch for each receiver is on its way at a time, and goes again when nothing is heard of it. The numbers in both
//! shards say what comes next, so nothing has to be remembered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fulmar_log::Disk;
use fulmar_raft::NodeId;
use fulmar_store::{Command, Number, OutboxMessage, Party, ShardId, Time};

use crate::engine::Engine;
use crate::errors::Failed;
use crate::letter::Letter;
use crate::out::Out;

/// A batch of which nothing is heard is sent again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What a leader knows of outboxes between its shard and those without a copy here.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    /// When a batch was sent to a shard of which nothing was heard since, if that is not long ago.
    sent: BTreeMap<ShardId, Instant>,
    /// The nodes that send for a shard, and up to where they know that it has come.
    senders: BTreeMap<ShardId, (NodeId, Number)>,
    /// What was fetched from a copy here: up to where, which leader of the sender was told so, and when.
    fetched: BTreeMap<ShardId, (NodeId, Number, Instant)>,
}

impl Outboxes {
    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let told = self.fetched.values().map(|(.., at)| at);
        self.sent.values().chain(told).min().map(|at| *at + AGAIN)
    }
}

impl<D: Disk + Clone> Engine<D> {
    /// Sends what waits for shards that have no copy here, and says what has come of those that sent it.
    pub(crate) fn push_outboxes(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<(), Failed> {
        if self.settings.is_alone() {
            return Ok(());
        }
        for at in 0..self.replicas.len() {
            let Some(leading) = &mut self.replicas[at].leading else { continue };
            leading.outboxes.sent.retain(|_, at| now < *at + AGAIN);
            self.push_outbox(at, now, time, out)?;
            self.tell_what_was_fetched(at, now, out);
            let replica = &mut self.replicas[at];
            let Some(leading) = &mut replica.leading else { continue };
            for (of, (node, told)) in &mut leading.outboxes.senders {
                let until = replica.shard.expected(Party::Shard(*of)) - 1;
                if until > *told {
                    *told = until;
                    out.send(*node, Letter::OutboxCame { of: *of, to: replica.id, until });
                }
            }
        }
        Ok(())
    }

    fn push_outbox(&mut self, at: usize, now: Instant, time: Time, out: &mut impl Out) -> Result<(), Failed> {
        let replica = &self.replicas[at];
        let Some(leading) = &replica.leading else { return Ok(()) };
        let me = replica.id;
        let waiting: Vec<(ShardId, Number)> = replica
            .shard
            .destinations()
            .filter_map(|(party, oldest)| match party {
                Party::Shard(shard) if shard != me => Some((shard, oldest)),
                Party::Shard(_) | Party::Node(_) => None,
            })
            .filter(|(shard, _)| !leading.outboxes.sent.contains_key(shard))
            .collect();
        if let Some(leading) = &mut self.replicas[at].leading {
            leading.outboxes.sent.retain(|_, sent| *sent + AGAIN > now);
        }
        for (to, oldest) in waiting {
            let Some(leader) = self.leader(to).filter(|leader| *leader != self.me.id) else { continue };
            let replica = &mut self.replicas[at];
            // Who is in this shard's group fetches them from its own copy.
            let membership = replica.group.membership();
            if membership.is_voter(leader) || membership.is_learner(leader) {
                continue;
            }
            let Some(leading) = &mut replica.leading else { return Ok(()) };
            let first = leading.done.get(&to).map_or(oldest, |done| oldest.max(done + 1));
            let (credit, files) = (self.settings.fetch_credit(), self.bodies.of(replica.group.number));
            let messages = replica.shard.outbox(Party::Shard(to), first, credit, time, files)?;
            if !messages.is_empty() {
                leading.outboxes.sent.insert(to, now);
                out.send(leader, Letter::Outbox { of: me, to, messages });
            }
        }
        Ok(())
    }

    /// What this shard's leader has fetched from a copy of the sender is told to the leader of that, if it has no copy of
    /// this shard in which it would see that.
    fn tell_what_was_fetched(&mut self, at: usize, now: Instant, out: &mut impl Out) {
        let (receiver, me) = (&self.replicas[at], self.me.id);
        let Some(leading) = &receiver.leading else { return };
        let membership = receiver.group.membership();
        let mut fetched = BTreeMap::new();
        for sender in self.replicas.iter().filter(|sender| sender.id != receiver.id) {
            let until = receiver.shard.expected(Party::Shard(sender.id)) - 1;
            let waits = sender.oldest_for(receiver.id).is_some_and(|oldest| oldest <= until);
            let sees = |node: NodeId| node == me || membership.is_voter(node) || membership.is_learner(node);
            let Some(leader) = sender.group.leader().filter(|leader| waits && !sees(*leader)) else { continue };
            let told = leading.outboxes.fetched.get(&sender.id).copied();
            let told = told.filter(|(to, what, at)| (*to, *what) == (leader, until) && now < *at + AGAIN);
            if told.is_none() {
                out.send(leader, Letter::OutboxCame { of: sender.id, to: receiver.id, until });
            }
            fetched.insert(sender.id, told.unwrap_or((leader, until, now)));
        }
        if let Some(leading) = &mut self.replicas[at].leading {
            leading.outboxes.fetched = fetched;
        }
    }

    /// Messages came from the leader of a shard that has no copy here, or an old one.
    pub(crate) fn hear_outbox(&mut self, from: NodeId, of: ShardId, to: ShardId, messages: Vec<OutboxMessage>) {
        if of.0 >= self.settings.shards.get() || of == to {
            return;
        }
        let Some(at) = self.place_of(to) else { return };
        let replica = &mut self.replicas[at];
        let expected = replica.shard.expected(Party::Shard(of));
        let Some(leading) = &mut replica.leading else { return };
        // It is told in any case, whether something is new or not.
        leading.outboxes.senders.insert(of, (from, 0));
        let next = leading.pulled.get(&of).map_or(expected, |next| expected.max(*next));
        let new: Vec<_> = messages.into_iter().skip_while(|message| message.number < next).collect();
        if leading.paused_until.is_none() && new.first().is_some_and(|first| first.number == next) {
            replica.pull(of, new, self.settings.entry_targets_max);
        }
    }

    /// The leader of a shard says up to where the messages of another one have come.
    pub(crate) fn hear_outbox_came(&mut self, of: ShardId, to: ShardId, until: Number) {
        let Some(at) = self.place_of(of) else { return };
        let replica = &mut self.replicas[at];
        let oldest = replica.oldest_for(to);
        let Some(leading) = &mut replica.leading else { return };
        leading.outboxes.sent.remove(&to);
        let done = leading.done.entry(to).or_default();
        if oldest.is_some_and(|oldest| until >= oldest) && until > *done {
            *done = until;
            leading.upkeep.push_back(Command::OutboxDone { destination: Party::Shard(to), until });
        }
    }
}
