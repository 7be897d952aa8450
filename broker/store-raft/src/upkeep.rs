//! What a leader does of its own accord: it fetches what waits for its shard in the outboxes of others, says there what
//! has come, finds other members for what those of shared subscriptions left behind, clears up what is due, and tells
//! of wills.
//!
//! A message for another shard is fetched by the leader of that shard, from its own node's copy of the sender: both have
//! what is committed there. The sender's leader sees in its own copy of the receiver what has come. So nobody has to
//! send anything, and what is on its way is known after a crash by nothing but the two shards: the number that the
//! receiver expects, and the oldest one that the sender has. Where a node has no copy of the other shard, `outboxes.rs` sends
//! what waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_log::Disk;
use fulmar_store::{
    Addressee, Command, Item, Message, Node, Number, Onward, OutboxMessage, Party, ShardId, Target, Time, Told,
};

use crate::engine::Engine;
use crate::errors::Failed;
use crate::out::Out;
use crate::replica::Replica;
use crate::settings::sabotaged;

impl<D: Disk + Clone> Engine<D> {
    /// A group may have become one that this node serves.
    pub(crate) fn start_leading(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let is_early = sabotaged!(self.settings, ServesEarly) && replica.group.is_leader();
        if replica.leading.is_none() && (replica.group.is_serving() || is_early) {
            replica.start_leading(self.me, &self.settings.store);
            let leading = replica.leading.iter_mut();
            leading.for_each(|leading| leading.feed.follow(self.me, self.peers.view.members()));
            self.are_outboxes_changed = true;
        }
    }

    pub(crate) fn plan_upkeep(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<(), Failed> {
        if self.full.is_some() {
            return Ok(());
        }
        let knows_all_filters = self.knows_all_filters(now);
        let resumed = self.replicas.iter_mut().filter_map(|replica| replica.resume_outboxes(time)).count();
        if std::mem::take(&mut self.are_outboxes_changed) || resumed > 0 {
            for at in 0..self.replicas.len() {
                self.empty_outbox(at);
                if self.replicas[at].leading.as_ref().is_some_and(|leading| leading.paused_until.is_none()) {
                    self.fetch_from_outboxes(at, time)?;
                    self.route_again(at, knows_all_filters, time, out)?;
                }
            }
        }
        for replica in &mut self.replicas {
            replica.plan_clearing(time);
            // Who publishes a will must know for whom it is.
            if knows_all_filters {
                replica.tell_wills(self.me, self.settings.threads, out);
            }
        }
        Ok(())
    }

    /// Proposes what others have for this shard.
    fn fetch_from_outboxes(&mut self, at: usize, time: Time) -> Result<(), Failed> {
        let me = self.replicas[at].id;
        for from in (0..self.replicas.len()).filter(|from| *from != at) {
            let source = self.replicas[from].id;
            let Some(oldest) = self.replicas[from].oldest_for(me) else { continue };
            let expected = self.replicas[at].shard.expected(Party::Shard(source)).max(oldest);
            let Some(leading) = &self.replicas[at].leading else { break };
            let first = leading.pulled.get(&source).map_or(expected, |next| expected.max(*next));
            let messages = self.waiting_for(me, from, first, time)?;
            self.replicas[at].pull(source, messages, self.settings.entry_targets_max);
        }
        Ok(())
    }

    /// What waits for a shard in the outbox of another one.
    fn waiting_for(
        &mut self,
        shard: ShardId,
        from: usize,
        first: Number,
        time: Time,
    ) -> Result<Vec<OutboxMessage>, Failed> {
        let source = &self.replicas[from];
        let files = self.bodies.of(source.group_number());
        source.shard.outbox(Party::Shard(shard), first, self.settings.fetch_credit(), time, files)
    }

    /// Finds other members of shared subscriptions for messages whose member is no more: here, or in another shard.
    fn route_again(
        &mut self,
        at: usize,
        knows_all_filters: bool,
        time: Time,
        out: &mut impl Out,
    ) -> Result<(), Failed> {
        let me = self.replicas[at].id;
        let oldest = self.replicas[at].oldest_for(me);
        let Some(leading) = &mut self.replicas[at].leading else { return Ok(()) };
        let Some(oldest) = oldest else {
            (leading.awaits_member, leading.awaits_adoption) = (None, None);
            return Ok(());
        };
        let first = oldest.max(leading.routed_again);
        let messages = self.waiting_for(me, at, first, time)?;
        let last = messages.last().map_or(0, |last| last.number);
        for OutboxMessage { number, message, to } in messages {
            let share = match to {
                Addressee::Group(name) => Some(name),
                Addressee::Subscribers { .. } | Addressee::Retained(_) => None,
            };
            let mut to = share.as_ref().map_or(Onward::Nobody, |name| self.member(at, name, &message));
            let knows_all = knows_all_filters
                && self.replicas.len() == usize::from(self.settings.shards.get())
                && self.replicas.iter().all(|replica| replica.leading.is_some());
            let Some(leading) = &mut self.replicas[at].leading else { break };
            if to == Onward::Nobody && !knows_all && leading.must_await_member(number, last, knows_all_filters, time) {
                break;
            }
            leading.awaits_member = None;
            if let (Onward::Nobody, Some(name)) = (&to, &share) {
                to = self.member_of_others(name);
            }
            let Some(leading) = &mut self.replicas[at].leading else { break };
            if let (Onward::Nobody, Some(share)) = (&to, share) {
                if leading.awaits_adoption.replace(number) != Some(number) {
                    let ShardId(thread) = ShardId::of(&share, self.settings.threads);
                    out.tell(self.me, thread, Told::Orphan { shard: me, number, share, message });
                }
                break;
            }
            leading.routed_again = number + 1;
            leading.upkeep.push_back(Command::RouteAgain { number, to });
        }
        Ok(())
    }

    fn member(&mut self, at: usize, name: &Arc<str>, message: &Message) -> Onward {
        let Replica { matcher, shard, .. } = &mut self.replicas[at];
        if let Some(target) = matcher.in_turn(name, message, shard) {
            return Onward::Member(target);
        }
        let elsewhere = self.replicas.iter().find(|replica| replica.matcher.has_members(name));
        elsewhere.map_or(Onward::Nobody, |replica| Onward::Destination(Party::Shard(replica.id)))
    }

    /// A shard that has no copy here and of which leaders tell that it has members. These may have no turn, which is
    /// found there; as this is asked for after a while only, such a message goes round slowly.
    fn member_of_others(&self, name: &str) -> Onward {
        let has = |(shard, fed): &(&ShardId, &crate::fed::Fed)| self.place_of(**shard).is_none() && fed.has(name);
        let elsewhere = self.peers.feds.iter().find(has);
        elsewhere.map_or(Onward::Nobody, |(shard, _)| Onward::Destination(Party::Shard(*shard)))
    }

    /// Says what has come where it was to come.
    fn empty_outbox(&mut self, at: usize) {
        let Replica { shard, leading: Some(_), .. } = &self.replicas[at] else { return };
        let me = self.replicas[at].id;
        let waiting: Vec<(ShardId, Number)> = shard
            .destinations()
            .filter_map(|(party, oldest)| match party {
                Party::Shard(shard) if shard != me => Some((shard, oldest)),
                Party::Shard(_) | Party::Node(_) => None,
            })
            .collect();
        for (destination, oldest) in waiting {
            let Some(receiver) = self.replica(destination) else { continue };
            let mut until = receiver.shard.expected(Party::Shard(me)) - 1;
            if sabotaged!(self.settings, OutboxDoneEarly) {
                until = self.replicas[at].shard.last_for(Party::Shard(destination));
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
    pub(crate) fn pull(&mut self, source: ShardId, messages: Vec<OutboxMessage>, targets_max: u64) {
        let Some(OutboxMessage { number: first, .. }) = messages.first() else { return };
        let first = *first;
        let (mut items, mut matched) = (Vec::new(), 0);
        for OutboxMessage { message, to, number: _ } in messages {
            let (targets, retain) = match to {
                Addressee::Subscribers { publisher } => (self.matcher.matching(&message, Some(&publisher)), None),
                Addressee::Group(name) => (vec![self.member_or_nobody(name, &message)], None),
                Addressee::Retained(version) => (Vec::new(), Some(version)),
            };
            matched += targets.len() as u64;
            if matched > targets_max && !items.is_empty() {
                break;
            }
            items.push(Item { message, retain, targets });
        }
        let Some(leading) = &mut self.leading else { return };
        leading.pulled.insert(source, first + items.len() as u64);
        leading.upkeep.push_back(Command::Publish { source: Party::Shard(source), first, items, goes_on: false });
    }

    /// A member of a shared subscription. If there is none any more, that is found when it is committed, and the message
    /// is routed again.
    fn member_or_nobody(&mut self, name: Arc<str>, message: &Message) -> Target {
        let member = self.matcher.in_turn(&name, message, &self.shard);
        member.unwrap_or_else(|| Target {
            client: "".into(),
            generation: 0,
            qos: message.qos,
            retain: false,
            subscription_ids: Vec::new(),
            share: Some(name),
        })
    }

    /// The number of the oldest message that waits for a shard.
    pub(crate) fn oldest_for(&self, shard: ShardId) -> Option<Number> {
        self.shard.destinations().find(|it| it.0 == Party::Shard(shard)).map(|(_, oldest)| oldest)
    }

    /// If outboxes were left alone long enough.
    fn resume_outboxes(&mut self, time: Time) -> Option<Time> {
        let leading = self.leading.as_mut()?;
        let awaited = leading.awaits_member.map(|(_, until)| until).filter(|until| *until <= time);
        leading.paused_until.take_if(|until| *until <= time).or(awaited)
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

    /// When there is something to clear up or to be tried again.
    pub(crate) fn next_due(&self, now: Instant, time: Time) -> Option<Instant> {
        let leading = self.leading.as_ref()?;
        let due = self.shard.next_due().filter(|_| !leading.is_clearing);
        let outboxes = leading.paused_until.or(leading.awaits_member.map(|(_, until)| until));
        let next = due.into_iter().chain(outboxes).min()?;
        now.checked_add(Duration::from_millis(next.saturating_sub(time.max(self.shard.time()))))
    }

    /// Tells of wills that are to be published, each once as long as the engine lives.
    fn tell_wills(&mut self, me: Node, threads: std::num::NonZeroU16, out: &mut impl Out) {
        if self.leading.is_none() {
            return;
        }
        for (id, pending) in self.wills.range(self.last_told_will + 1..) {
            self.last_told_will = *id;
            let ShardId(thread) = ShardId::of(&pending.client, threads);
            out.tell(me, thread, Told::Will { shard: self.id, id: *id, pending: pending.clone() });
        }
    }
}
