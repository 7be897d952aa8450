//! What a leader does of its own accord: it fetches what waits for its shard in the outboxes of others, says there what
//! has come, clears up what is due, and tells of wills.
//!
//! A message for another shard is fetched by the leader of that shard, from its own node's copy of the sender: both have
//! what is committed there. The sender's leader sees in its own copy of the receiver what has come. So nobody has to
//! send anything, and what is on its way is known after a crash by nothing but the two shards: the number that the
//! receiver expects, and the oldest one that the sender has.

use std::time::{Duration, Instant};

use fulmar_log::Disk;
use fulmar_store::{Command, Credit, Item, Number, OutboxMessage, Party, ShardId, Time, Told};

use crate::engine::Engine;
use crate::out::Out;
use crate::replica::Replica;
use crate::settings::sabotaged;

/// So much is fetched from an outbox at once.
const FETCHED_MESSAGES_MAX: usize = 1024;

impl<D: Disk + Clone> Engine<D> {
    /// A group may have become one that this node serves.
    pub(crate) fn start_leading(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if replica.leading.is_none() && replica.group.is_serving() {
            replica.start_leading(self.me, &self.settings.store);
            self.are_outboxes_changed = true;
        }
    }

    pub(crate) fn plan_upkeep(&mut self, time: Time, out: &mut impl Out) {
        if self.full.is_some() {
            return;
        }
        if std::mem::take(&mut self.are_outboxes_changed) {
            for at in 0..self.replicas.len() {
                self.fetch_from_outboxes(at, time);
                self.empty_outbox(at);
            }
        }
        for replica in &mut self.replicas {
            replica.plan_clearing(time);
            replica.tell_wills(self.settings.threads, out);
        }
    }

    /// Proposes what others have for this shard.
    fn fetch_from_outboxes(&mut self, at: usize, time: Time) {
        if self.replicas[at].leading.is_none() {
            return;
        }
        let me = self.replicas[at].id;
        for from in 0..self.replicas.len() {
            let source = self.replicas[from].id;
            let Some((_, oldest)) = self.replicas[from].shard.destinations().find(|it| it.0 == Party::Shard(me)) else {
                continue;
            };
            let expected = self.replicas[at].shard.expected(Party::Shard(source)).max(oldest);
            let Some(leading) = &self.replicas[at].leading else { continue };
            let first = leading.pulled.get(&source).map_or(expected, |next| expected.max(*next));
            let credit = Credit { messages: FETCHED_MESSAGES_MAX, bytes: self.settings.entry_bytes_max as u64 };
            let messages = self.replicas[from].shard.outbox(Party::Shard(me), first, credit, time);
            self.replicas[at].pull(source, messages, self.settings.entry_targets_max);
        }
    }

    /// Says what has come where it was to come.
    fn empty_outbox(&mut self, at: usize) {
        let Replica { shard, leading: Some(_), .. } = &self.replicas[at] else { return };
        let me = self.replicas[at].id;
        let waiting: Vec<(ShardId, Number)> = shard
            .destinations()
            .filter_map(|(party, oldest)| match party {
                Party::Shard(shard) => Some((shard, oldest)),
                Party::Node(_) => None,
            })
            .collect();
        for (destination, oldest) in waiting {
            let Some(receiver) = self.replicas.get(usize::from(destination.0)) else { continue };
            let mut until = receiver.shard.expected(Party::Shard(me)) - 1;
            if sabotaged!(self.settings, OutboxDoneEarly) {
                let all = Credit { messages: usize::MAX, bytes: u64::MAX };
                let waiting = self.replicas[at].shard.outbox(Party::Shard(destination), oldest, all, 0);
                until = waiting.last().map_or(until, |last| last.number);
            }
            let Some(leading) = &mut self.replicas[at].leading else { return };
            let done = leading.done.entry(destination).or_default();
            if until >= oldest && until > *done {
                *done = until;
                leading.upkeep.push_back(Command::OutboxDone { destination: Party::Shard(destination), until });
            }
        }
    }
}

impl Replica {
    /// Puts messages of another shard in line, matched with the subscriptions that there are.
    fn pull(&mut self, source: ShardId, messages: Vec<OutboxMessage>, targets_max: usize) {
        let Some(OutboxMessage { number: first, .. }) = messages.first() else { return };
        let first = *first;
        let (mut items, mut matched) = (Vec::new(), 0);
        for OutboxMessage { message, publisher, number: _ } in messages {
            let targets = self.matcher.matching(&message, Some(&publisher));
            matched += targets.len();
            if matched > targets_max && !items.is_empty() {
                break;
            }
            items.push(Item { message, retain: None, targets });
        }
        let Some(leading) = &mut self.leading else { return };
        leading.pulled.insert(source, first + items.len() as u64);
        leading.upkeep.push_back(Command::Publish { source: Party::Shard(source), first, items });
    }

    /// Whether there is something to clear up, and nothing does it yet.
    pub(crate) fn must_clear(&self, time: Time) -> bool {
        self.leading.as_ref().is_some_and(|leading| !leading.is_clearing)
            && self.shard.next_due().is_some_and(|due| due <= time.max(self.shard.time()))
    }

    fn plan_clearing(&mut self, time: Time) {
        if self.must_clear(time)
            && let Some(leading) = &mut self.leading
        {
            leading.is_clearing = true;
            leading.upkeep.push_back(Command::Expire);
        }
    }

    /// When there is something to clear up next.
    pub(crate) fn next_due(&self, now: Instant, time: Time) -> Option<Instant> {
        self.leading.as_ref().filter(|leading| !leading.is_clearing)?;
        let wait = self.shard.next_due()?.saturating_sub(time.max(self.shard.time()));
        now.checked_add(Duration::from_millis(wait))
    }

    /// Tells of wills that are to be published, each once as long as the engine lives.
    fn tell_wills(&mut self, threads: std::num::NonZeroU16, out: &mut impl Out) {
        if self.leading.is_none() {
            return;
        }
        for (id, pending) in self.wills.range(self.last_told_will + 1..) {
            self.last_told_will = *id;
            let ShardId(thread) = ShardId::of(&pending.client, threads);
            out.tell(thread, Told::Will { shard: self.id, id: *id, pending: pending.clone() });
        }
    }
}
