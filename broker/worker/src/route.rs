//! One publish, one match, every receiver: sessions of this thread at once, other threads by batch, other nodes by one
//! copy each, shared groups to one member.

use crate::effort::cost;
use crate::fanout::Fanout;
use crate::ids::Thread;
use crate::lanes::Lanes;
use crate::letter::{Batch, Target};
use crate::node::Node;
use crate::places::node_of;
use crate::receivers::Delivery;
use crate::sessions::{Sessions, Stamp};
use crate::to_store::shard_of;
use crate::worker::Worker;
use foldhash::fast::FixedState;
use fulmar_router::{Matches, Member, NodeIndex, Options, SharedRef, SubscriberId};
use fulmar_session::{Message, Outgoing, SharedMessage};
use fulmar_store::ShardId;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// Buffers that every publish uses again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The topic that an alias stands for.
    pub(crate) topic: String,
    pub(crate) found: Found,
    pub(crate) message: Vec<u8>,
    publish: u32,
    recent: Recent,
}

impl Scratch {
    pub(crate) fn new(has_store: bool) -> Scratch {
        Scratch { found: Found { has_store, ..Found::default() }, ..Scratch::default() }
    }
}

/// Whom a publish goes to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Sessions of this thread, each once.
    pub(crate) locals: Vec<Local>,
    /// Subscription ids beyond the first of a session: index into `locals`, id.
    pub(crate) more_ids: Vec<(u32, NonZeroU32)>,
    /// Subscriptions that made no receiver because the same client has another that matched.
    pub(crate) merged: usize,
    /// Sessions of other threads; one may be here more than once.
    pub(crate) others: Vec<(Thread, Target)>,
    /// Nodes with an ordinary subscriber, each once.
    pub(crate) nodes: Vec<NodeIndex>,
    /// Shards of the store with one, each once.
    pub(crate) shards: Vec<ShardId>,
    /// The shared subscriptions in which somebody has a turn, by number and with their whole names, where the store may
    /// have to be told of them.
    pub(crate) turns: Vec<(NonZeroU32, Arc<str>)>,
    /// Whether it may.
    pub(crate) has_store: bool,
    /// Whether members of shared groups are looked for in the store before other nodes.
    pub(crate) shards_first: bool,
    /// Shared groups for which a node shall pick a member: node, and where its group and filter stand in `names`.
    pub(crate) picks: Vec<Pick>,
    pub(crate) names: String,
}

/// A shared group of another node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    pub(crate) node: NodeIndex,
    start: u32,
    middle: u32,
    end: u32,
}

impl Pick {
    pub(crate) fn group_and_filter<'a>(&self, names: &'a str) -> (&'a str, &'a str) {
        (&names[self.start as usize..self.middle as usize], &names[self.middle as usize..self.end as usize])
    }
}

/// A session of this thread that a publish goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    pub(crate) id: SubscriberId,
    pub(crate) options: Options,
    /// The shared subscription that it is for, by its [`share_number`].
    pub(crate) share: Option<NonZeroU32>,
}

impl Found {
    pub(crate) fn clear(&mut self) {
        self.locals.clear();
        self.more_ids.clear();
        self.merged = 0;
        self.others.clear();
        self.nodes.clear();
        self.shards.clear();
        self.turns.clear();
        self.picks.clear();
        self.names.clear();
    }

    /// Connected local members first, round robin; then other nodes; an absent local member only when nobody else is
    /// there, so that the message waits for it; then absent ones whose sessions the store keeps. Where several nodes keep
    /// sessions together, the store comes before other nodes: what these acknowledge is not committed. False: there is
    /// nobody.
    pub(crate) fn pick(&mut self, group: &SharedRef<'_>, asking: Asking<'_>) -> bool {
        let shard = || group.nodes_in_turn().find(|node| shard_of(*node).is_some());
        if let Some(member) = asking.pick_present(group) {
            self.add_shared(group, member, asking.thread);
        } else if let Some(shard) = self.shards_first.then(shard).flatten() {
            self.add_pick(shard, group.group, group.filter);
        } else if let Some(node) = asking.pick_node(group) {
            self.add_pick(node, group.group, group.filter);
        } else if let Some(member) = asking.pick_absent(group) {
            self.add_shared(group, member, asking.thread);
        } else if let Some(shard) = group.nodes_in_turn().next() {
            self.add_pick(shard, group.group, group.filter);
        } else {
            return false;
        }
        true
    }

    /// The member of a shared group that gets the message. Not merged with an ordinary subscription of the same client:
    /// a shared one is a subscription of its own (MQTT 5.0, 4.8.2).
    pub(crate) fn add_shared(&mut self, group: &SharedRef<'_>, member: Member, thread: Thread) {
        let Member { subscriber, options } = member;
        let number = share_number(group.group, group.filter);
        let share = Some(number);
        if self.has_store {
            self.turns.push((number, format!("$share/{}/{}", group.group, group.filter).into()));
        }
        if subscriber.thread == thread {
            self.locals.push(Local { id: subscriber, options, share });
        } else {
            self.add_other(subscriber, options, share);
        }
    }

    fn add_other(&mut self, id: SubscriberId, options: Options, share: Option<NonZeroU32>) {
        self.others.push((id.thread, Target { slot: id.slot, generation: id.generation, options, share }));
    }

    /// Adds a subscription to one of the same client that was found already, if one target can stand for both: a target
    /// has one subscription id.
    #[inline]
    fn is_merged_with(&mut self, index: u32, id: SubscriberId, options: Options) -> bool {
        let Some((thread, target)) = self.others.get_mut(index as usize) else { return false };
        let is_same = (*thread, target.slot, target.generation) == (id.thread, id.slot, id.generation);
        let ids = (target.options.subscription_id(), options.subscription_id());
        if !is_same || target.share.is_some() || matches!(ids, (Some(one), Some(other)) if one != other) {
            return false;
        }
        target.options = merge(target.options, options);
        self.merged += 1;
        true
    }

    pub(crate) fn add_pick(&mut self, node: NodeIndex, group: &str, filter: &str) {
        let start = self.names.len() as u32;
        self.names.push_str(group);
        let middle = self.names.len() as u32;
        self.names.push_str(filter);
        self.picks.push(Pick { node: node_of(node), start, middle, end: self.names.len() as u32 });
    }

    pub(crate) fn is_empty(&self) -> bool {
        let has_receiver = !self.locals.is_empty() || !self.others.is_empty();
        !has_receiver && self.nodes.is_empty() && self.shards.is_empty() && self.picks.is_empty()
    }
}

/// Where the sessions of other threads stand that the publish under way has matched, as far as there is room: which of
/// their subscriptions are of one session is settled by their own thread, so what is forgotten here costs time only.
#[derive(Debug)]
struct Recent([Stamp; Recent::PLACES]);

impl Default for Recent {
    fn default() -> Recent {
        Recent([Stamp::default(); Recent::PLACES])
    }
}

impl Recent {
    const PLACES: usize = 256;

    #[inline]
    fn place(&mut self, id: SubscriberId) -> &mut Stamp {
        // Slots are given out densely; threads are few.
        &mut self.0[(id.slot as usize ^ usize::from(id.thread) << 5) % Recent::PLACES]
    }
}

/// Gathers who gets a publish.
struct Gather<'a> {
    asking: Asking<'a>,
    publisher: Option<SubscriberId>,
    /// Other nodes, and members of shared groups, were found by whoever passed it on.
    is_passed_on: bool,
    stamps: &'a mut [Stamp],
    recent: &'a mut Recent,
    publish: u32,
    found: &'a mut Found,
}

impl Gather<'_> {
    #[inline]
    fn add_local(&mut self, id: SubscriberId, options: Options) {
        let Some(stamp) = self.stamps.get_mut(id.slot as usize) else { return };
        if stamp.publish == self.publish {
            self.found.merged += 1;
            let local = &mut self.found.locals[stamp.index as usize];
            local.options = merge(local.options, options);
            if let (Some(_), Some(more)) = (local.options.subscription_id(), options.subscription_id())
                && local.options.subscription_id() != Some(more)
            {
                self.found.more_ids.push((stamp.index, more));
            }
            return;
        }
        *stamp = Stamp { publish: self.publish, index: self.found.locals.len() as u32 };
        self.found.locals.push(Local { id, options, share: None });
    }

    #[inline]
    fn add_other(&mut self, id: SubscriberId, options: Options) {
        let place = self.recent.place(id);
        if place.publish == self.publish && self.found.is_merged_with(place.index, id, options) {
            return;
        }
        *place = Stamp { publish: self.publish, index: self.found.others.len() as u32 };
        self.found.add_other(id, options, None);
    }
}

/// What a shared subscription is called where its name would be too long: two of one client have the same number once in
/// four thousand millions, and then the one gets what the other was owed.
pub(crate) fn share_number(group: &str, filter: &str) -> NonZeroU32 {
    NonZeroU32::new(FixedState::default().hash_one((group, filter)) as u32).unwrap_or(NonZeroU32::MIN)
}

/// Who asks for a member of a shared group: a thread knows for sure of its own sessions.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) thread: Thread,
    pub(crate) sessions: &'a Sessions,
    pub(crate) lanes: &'a Lanes,
    /// See [`Turn::window`](crate::turn::Turn::window).
    pub(crate) window: u16,
}

impl Asking<'_> {
    /// The member whose turn it is among those that are there.
    pub(crate) fn pick_present(self, group: &SharedRef<'_>) -> Option<Member> {
        let Asking { thread, sessions, window, .. } = self;
        let is_there = |member: &Member| {
            member.subscriber.thread != thread
                || sessions.by_subscriber(member.subscriber).is_some_and(|entry| entry.connection.is_some())
        };
        group.members_in_turn(thread, window).find(is_there)
    }

    /// The node whose turn it is among those that can be reached, or else among all.
    fn pick_node(self, group: &SharedRef<'_>) -> Option<NodeIndex> {
        let mut first = None;
        for node in group.nodes_in_turn().filter(|node| shard_of(*node).is_none()) {
            if self.lanes.to(node_of(node)).is_some() {
                return Some(node);
            }
            first.get_or_insert(node);
        }
        first
    }

    /// The member whose turn it is among those whose sessions wait for their clients. One that has ended may still be
    /// leaving its groups.
    pub(crate) fn pick_absent(self, group: &SharedRef<'_>) -> Option<Member> {
        let waits = |member: &Member| {
            member.subscriber.thread != self.thread
                || self.sessions.by_subscriber(member.subscriber).is_some_and(|entry| !entry.is_leaving)
        };
        group.absent_in_turn().find(waits)
    }
}

impl Matches for Gather<'_> {
    #[inline]
    fn local(&mut self, id: SubscriberId, options: Options) {
        if options.no_local() && self.publisher == Some(id) {
            return;
        }
        if id.thread == self.asking.thread {
            self.add_local(id, options);
        } else {
            self.add_other(id, options);
        }
    }

    fn remote(&mut self, node: NodeIndex) {
        if self.is_passed_on {
            return;
        }
        if let Some(shard) = shard_of(node) {
            if !self.found.shards.contains(&shard) {
                self.found.shards.push(shard);
            }
            return;
        }
        let node = node_of(node);
        if !self.found.nodes.contains(&node) {
            self.found.nodes.push(node);
        }
    }

    fn shared(&mut self, group: SharedRef<'_>) {
        if !self.is_passed_on {
            self.found.pick(&group, self.asking);
        }
    }
}

/// Overlapping subscriptions of one client: the highest QoS (MQTT 5.0, 3.3.4), retain as published if any asks for it.
fn merge(a: Options, b: Options) -> Options {
    let id = a.subscription_id().or(b.subscription_id());
    Options::new(a.qos().max(b.qos()))
        .with_retain_as_published(a.retain_as_published() || b.retain_as_published())
        .with_no_local(a.no_local() && b.no_local())
        .with_subscription_id(id)
}

impl Worker {
    /// Finds everyone who gets this publish; the answer is in `scratch.found`.
    pub(crate) fn find(&mut self, topic: &str, publisher: Option<SubscriberId>, from_peer: bool) {
        let visited = self.gather(publisher, from_peer, |node, gather| node.trie().matches(topic, gather));
        self.turn.effort.add(visited, cost::VISIT);
    }

    /// Gathers those that `tell` tells of, each once; the answer is in `scratch.found`.
    #[inline]
    fn gather<T>(
        &mut self,
        publisher: Option<SubscriberId>,
        is_passed_on: bool,
        tell: impl FnOnce(&Node, &mut Gather<'_>) -> T,
    ) -> T {
        let Worker { node, sessions, scratch, thread, turn, lanes, .. } = self;
        scratch.publish = next_stamp(scratch.publish, sessions, &mut scratch.recent);
        scratch.found.clear();
        let mut stamps = std::mem::take(&mut sessions.stamps);
        let mut gather = Gather {
            asking: Asking { thread: *thread, sessions, lanes, window: turn.window },
            publisher,
            is_passed_on,
            stamps: &mut stamps,
            recent: &mut scratch.recent,
            publish: scratch.publish,
            found: &mut scratch.found,
        };
        let told = tell(node, &mut gather);
        sessions.stamps = stamps;
        told
    }

    /// Delivers to the sessions of this thread and of other threads that were found.
    /// `message` is the same, if it is kept already.
    pub(crate) fn deliver_found(&mut self, outgoing: &Outgoing<'_>, message: Option<&Message>, now: Instant) {
        let Delivery { mut receivers, found, buffer, share, fanouts, outboxes } = self.delivery(now);
        receivers.turn.add_delivered(found.others.len(), 0);
        receivers.turn.effort.add(found.merged, cost::MATCH);
        receivers.turn.last_receivers = found.locals.len() + found.others.len();
        found.more_ids.sort_by_key(|(index, _)| *index);
        let mut shared = match message {
            None => SharedMessage::new(share, buffer),
            Some(message) => SharedMessage::of(message.clone(), share, buffer),
        };
        let next = if fanouts.are_of(outgoing.topic) {
            0
        } else {
            receivers.deliver(&found.locals, &found.more_ids, 0, outgoing, &mut shared)
        };
        if next < found.locals.len() {
            let (locals, more_ids) = (found.locals.clone(), found.more_ids.clone());
            fanouts.add(Fanout { message: shared.get(outgoing).clone(), locals, more_ids, next });
        }
        // One batch per thread; the message is shared by all of them.
        found.others.sort_by_key(|(thread, _)| *thread);
        for group in found.others.chunk_by(|a, b| a.0 == b.0) {
            let targets = group.iter().map(|(_, target)| *target);
            outboxes.with_room(group[0].0).publish(outgoing, targets, || shared.get(outgoing).clone());
        }
    }

    /// Delivers what other threads matched for sessions of this one.
    pub(crate) fn deliver_batch(&mut self, batch: &Batch, now: Instant) {
        for (outgoing, message, mine) in batch.publishes() {
            self.gather(None, true, |_, gather| {
                for Target { slot, generation, options, share } in mine.iter().copied() {
                    let id = SubscriberId { thread: gather.asking.thread, slot, generation };
                    if share.is_some() {
                        gather.found.locals.push(Local { id, options, share });
                    } else {
                        gather.add_local(id, options);
                    }
                }
            });
            self.deliver_found(&outgoing, message, now);
            self.hand_on_missed(&outgoing, message, now);
        }
    }

    /// Keeps a retained publish, if it is the newest for its topic.
    pub(crate) fn retain(&mut self, outgoing: &Outgoing<'_>, version: fulmar_cluster::Version, now: Instant) -> bool {
        let message = (!outgoing.payload.is_empty()).then(|| Message::new(outgoing, &mut self.scratch.message));
        let kept = self.node.retain(outgoing.topic, message, version, now);
        match kept {
            Ok(_) => {}
            Err(fulmar_router::Limit::Messages { .. }) => self.counters.limit_hits_retained_messages += 1,
            Err(fulmar_router::Limit::Bytes { .. }) => self.counters.limit_hits_retained_bytes += 1,
        }
        kept.is_ok()
    }
}

/// A stamp that no session carries.
fn next_stamp(last: u32, sessions: &mut Sessions, recent: &mut Recent) -> u32 {
    if last == u32::MAX {
        sessions.stamps.fill(Stamp::default());
        *recent = Recent::default();
        return 1;
    }
    last + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_codec::QoS;

    #[test]
    fn targets_of_another_thread_are_merged_as_its_own_thread_would_merge_them() {
        let session = |slot| SubscriberId { thread: 1, generation: 0, slot };
        let of = |qos, id| Options::new(qos).with_subscription_id(NonZeroU32::new(id));
        let share = NonZeroU32::new(9);
        let mut found = Found::default();
        found.add_other(session(1), of(QoS::AtMostOnce, 0), None);
        found.add_other(session(2), of(QoS::AtMostOnce, 7), None);
        found.add_other(session(3), of(QoS::AtMostOnce, 0), share);
        // Where it stands, of whom, and whether one target can stand for both.
        let cases = [
            (0, session(1), of(QoS::AtLeastOnce, 0), true),
            (0, session(1), of(QoS::AtMostOnce, 5), true),
            (0, session(2), of(QoS::AtMostOnce, 0), false),
            (0, SubscriberId { generation: 1, ..session(1) }, of(QoS::AtMostOnce, 0), false),
            (0, SubscriberId { thread: 2, ..session(1) }, of(QoS::AtMostOnce, 0), false),
            // A target has one subscription id.
            (1, session(2), of(QoS::ExactlyOnce, 8), false),
            (1, session(2), of(QoS::ExactlyOnce, 7), true),
            // A shared subscription is one of its own.
            (2, session(3), of(QoS::AtLeastOnce, 0), false),
            (3, session(3), of(QoS::AtLeastOnce, 0), false),
        ];
        for (index, id, options, wanted) in cases {
            assert_eq!(found.is_merged_with(index, id, options), wanted, "{index} {id:?} {options:?}");
        }
        let others: Vec<_> =
            found.others.iter().map(|(_, target)| (target.slot, target.options, target.share)).collect();
        let wanted = [
            (1, of(QoS::AtLeastOnce, 5), None),
            (2, of(QoS::ExactlyOnce, 7), None),
            (3, of(QoS::AtMostOnce, 0), share),
        ];
        assert_eq!((others.as_slice(), found.merged), (wanted.as_slice(), 3));
    }
}
