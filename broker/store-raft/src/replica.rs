//! One shard on this node: its Raft group, its state, and what goes on between them.
//!
//! `propose.rs` makes entries of what is asked, `apply.rs` does what is committed and answers. What both share is here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fulmar_raft::{RoleChange, Term};
use fulmar_store::{
    Asked, ClientId, Command, Epoch, Node, Number, Party, PendingWill, Shard, ShardId, Stored, Time, Version, WillId,
};

use crate::asked::{Asker, give_up, send_away};
use crate::deliver::Owned;
use crate::draft::{Draft, InFlight, Piece};
use crate::feed::Feed;
use crate::hosted::Hosted;
use crate::matcher::Matcher;
use crate::out::Out;
use crate::outboxes::Outboxes;

/// See the [module](self).
pub(crate) struct Replica {
    pub(crate) id: ShardId,
    pub(crate) group: Hosted,
    pub(crate) shard: Shard,
    pub(crate) matcher: Matcher,

    /// What was asked and is not proposed.
    pub(crate) asks: VecDeque<Asked>,
    pub(crate) asks_bytes: usize,
    /// Nodes of whose questions one was refused since the last turn.
    pub(crate) refusing: BTreeSet<Node>,
    /// The ask that was taken from those last, matched, as far as it is not proposed.
    pub(crate) pieces: VecDeque<Piece>,
    /// An entry for which the group had no room.
    pub(crate) put_off: Option<Draft>,
    /// What this node has proposed.
    pub(crate) in_flight: VecDeque<InFlight>,
    /// This node leads, and has applied all that earlier leaders have committed.
    pub(crate) leading: Option<Leading>,

    /// The sessions that data threads serve, of whatever node, as far as this leader knows.
    pub(crate) owned: BTreeMap<ClientId, Owned>,
    /// Sessions that may have something to be sent.
    pub(crate) to_deliver: BTreeSet<ClientId>,
    /// The one of those that had its turn last.
    pub(crate) delivered_last: Option<ClientId>,
    /// Wills that are to be published.
    pub(crate) wills: BTreeMap<WillId, PendingWill>,
    /// The last one of which a data thread was told.
    pub(crate) last_told_will: WillId,
}

/// What only a leader knows.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(crate) term: Term,
    /// Of this node's own stream.
    pub(crate) next_number: Number,
    /// A message of that stream was refused, so those behind it are, too: it goes on when all are known.
    pub(crate) is_out_of_step: bool,
    /// Of what this shard gets from the outboxes of others: the next to be proposed.
    pub(crate) pulled: BTreeMap<ShardId, Number>,
    /// Of what others have got from the outbox of this shard: up to where that was proposed.
    pub(crate) done: BTreeMap<ShardId, Number>,
    /// Of what this shard's outbox has for the shard itself: the next to be proposed.
    pub(crate) routed_again: Number,
    /// Nobody known is a member for this message, which waits until then for somebody to become known.
    pub(crate) awaits_member: Option<(Number, Time)>,
    /// Messages up to this one have waited for that.
    pub(crate) awaited: Number,
    /// A data thread looks for a member for this message among those who are connected.
    pub(crate) awaits_adoption: Option<Number>,
    /// Outboxes are left alone until then: the shard had no room for what is in them.
    pub(crate) paused_until: Option<Time>,
    /// A portion of clearing up was proposed.
    pub(crate) is_clearing: bool,
    /// What goes first.
    pub(crate) upkeep: VecDeque<Command>,
    /// What became of the first parts of a message that goes in parts.
    pub(crate) parts: Stored,
    /// Of the streams of nodes that number themselves: the next to be proposed.
    pub(crate) streams: BTreeMap<Node, Number>,
    /// What others know of the filters of the shard, and who waits for that.
    pub(crate) feed: Feed,
    /// Between this shard and those without a copy here.
    pub(crate) outboxes: Outboxes,
    /// The last question of this node for all filters, and the last one since when it is known to lead.
    pub(crate) asked_by_self: u64,
    pub(crate) proven_to_self: u64,
    /// The last view of which all lives were looked for that are over, and those that were said to be gone.
    pub(crate) view_cleared: u64,
    pub(crate) said_gone: BTreeSet<Node>,
}

impl Leading {
    /// Whether it is too early to give up a message of a shared subscription. What this node knows of shards that
    /// others lead may be old: somebody may be a member since. All there are, up to `last`, wait together, and not before
    /// this node knows all filters.
    pub(crate) fn must_await_member(
        &mut self,
        number: Number,
        last: Number,
        knows_all_filters: bool,
        now: Time,
    ) -> bool {
        const WAIT_MILLISECONDS: Time = 1000;
        if number <= self.awaited && knows_all_filters {
            return false;
        }
        let begun = self.awaits_member.filter(|_| knows_all_filters);
        let (until_number, until) = begun.unwrap_or((last, now + WAIT_MILLISECONDS));
        self.awaits_member = Some((until_number, until));
        if now < until {
            return true;
        }
        self.awaited = until_number.max(number);
        false
    }

    pub(crate) fn pause_outboxes(&mut self, now: Time) {
        const PAUSE_MILLISECONDS: Time = 1000;
        self.paused_until = Some(now + PAUSE_MILLISECONDS);
    }
}

impl Replica {
    pub(crate) fn new(group: Hosted, shard: Shard, seed: u64) -> Self {
        let id = shard.id();
        let matcher = Matcher::of(&shard, seed);
        let mut replica = Self {
            id,
            group,
            shard,
            matcher,
            asks: VecDeque::new(),
            asks_bytes: 0,
            refusing: BTreeSet::new(),
            pieces: VecDeque::new(),
            put_off: None,
            in_flight: VecDeque::new(),
            leading: None,
            owned: BTreeMap::new(),
            to_deliver: BTreeSet::new(),
            delivered_last: None,
            wills: BTreeMap::new(),
            last_told_will: 0,
        };
        replica.note_wills();
        replica
    }

    /// The number of its group: 0 is that of the cluster's own.
    pub(crate) fn group_number(&self) -> u16 {
        self.group.number
    }

    /// Whether nobody else takes part, so that nothing has to be confirmed by others.
    pub(crate) fn is_alone(&self) -> bool {
        self.group.is_alone()
    }

    /// Whether there is something that can be proposed now.
    pub(crate) fn has_work(&self) -> bool {
        if !self.to_deliver.is_empty() {
            return true;
        }
        let Some(leading) = &self.leading else { return !self.asks.is_empty() && !self.group.is_leader() };
        if self.put_off.is_some() || leading.is_out_of_step {
            // With others, an answer of theirs or a deadline comes first.
            return self.in_flight.is_empty() && self.is_alone();
        }
        !(self.asks.is_empty() && self.pieces.is_empty() && leading.upkeep.is_empty())
    }

    /// The group says that something about who leads has changed.
    pub(crate) fn role_changed(&mut self, role: RoleChange, is_alone: bool, out: &mut impl Out) {
        if self.leading.as_ref().is_some_and(|leading| role.serves_after.is_none() || leading.term != role.term) {
            self.stop_leading(is_alone, out);
        }
    }

    /// Begins to serve.
    pub(crate) fn start_leading(&mut self, me: Node, settings: &fulmar_store::Settings) {
        let mut upkeep = VecDeque::new();
        if self.shard.settings() != settings {
            upkeep.push_back(Command::Settings(*settings));
        }
        if me.incarnation > 1 {
            // Whatever earlier lives of this node own, nobody serves; new claims come behind it.
            upkeep.push_back(Command::NodeGone(Node { id: me.id, incarnation: me.incarnation - 1 }));
        }
        self.leading = Some(Leading {
            term: self.group.term(),
            next_number: self.shard.expected(Party::Node(me)),
            is_out_of_step: false,
            pulled: BTreeMap::new(),
            done: BTreeMap::new(),
            routed_again: 0,
            awaits_member: None,
            awaited: 0,
            awaits_adoption: None,
            paused_until: None,
            is_clearing: false,
            upkeep,
            parts: Stored::default(),
            streams: BTreeMap::new(),
            feed: Feed::default(),
            outboxes: Outboxes::default(),
            asked_by_self: 0,
            proven_to_self: 0,
            view_cleared: 0,
            said_gone: BTreeSet::new(),
        });
    }

    /// A snapshot that was received takes the place of the shard: retained messages that are not as they were are told.
    /// What filters there are is told by the leader.
    pub(crate) fn replace(&mut self, shard: Shard, seed: u64, time: Time, out: &mut impl Out) {
        self.give_up(out);
        let before = std::mem::replace(&mut self.shard, shard);
        self.matcher = Matcher::of(&self.shard, seed);
        let time = time.max(self.shard.time());
        for (message, version) in self.shard.retained_after(None, time) {
            if before.retained(message.topic(), 0).is_none_or(|(_, it)| it != version) {
                out.retained(message.topic(), Some(&message), version);
            }
        }
        // What was not retained here either: peers that have not come so far may tell of it.
        let known: BTreeMap<&str, Version> = before.deleted().collect();
        for (topic, version) in self.shard.deleted() {
            if known.get(topic) != Some(&version) {
                out.retained(topic, None, version);
            }
        }
        self.wills.clear();
        self.note_wills();
    }

    /// This node leads the shard no longer, and serves nobody of it.
    pub(crate) fn give_up(&mut self, out: &mut impl Out) {
        self.stop_leading(false, out);
    }

    /// Nobody knows what becomes of what was proposed, and what waits is for somebody else. So are the sessions.
    fn stop_leading(&mut self, is_alone: bool, out: &mut impl Out) {
        let held = self.leading.take().map(|leading| leading.feed.askers().collect::<Vec<_>>());
        let proposed: Vec<_> = self.in_flight.drain(..).flat_map(|it| it.waits).collect();
        give_up(held.into_iter().flatten().chain(proposed.iter().flat_map(|waits| waits.askers())), out);
        let drafts: Vec<_> = self.put_off.take().into_iter().flat_map(|draft| draft.waits).collect();
        let pieces = self.pieces.drain(..).flat_map(|piece| piece.step.askers());
        let waiting: Vec<_> = drafts.iter().flat_map(|waits| waits.askers()).chain(pieces).collect();
        send_away(waiting.into_iter(), self.group.leader(), is_alone, out);
        self.send_asks_away(is_alone, out);
        self.owned.clear();
        self.to_deliver.clear();
    }

    /// What nobody has looked at yet is for somebody else.
    pub(crate) fn send_asks_away(&mut self, is_alone: bool, out: &mut impl Out) {
        self.asks_bytes = 0;
        let asks = self.asks.drain(..).map(|asked| Asker { origin: asked.origin, ticket: asked.ticket });
        send_away(asks, self.group.leader(), is_alone, out);
    }

    /// Answers what nobody has looked at yet, and says how much that was.
    pub(crate) fn refuse_asks(&mut self, out: &mut impl Out) -> usize {
        let count = self.asks.len();
        self.asks_bytes = 0;
        give_up(self.asks.drain(..).map(|asked| Asker { origin: asked.origin, ticket: asked.ticket }), out);
        count
    }

    /// What is proposed can't be written: who waits for it need not wait until there is room. It may come to be.
    pub(crate) fn give_up_proposed(&mut self, out: &mut impl Out) {
        let proposed = self.in_flight.iter_mut().flat_map(|it| std::mem::take(&mut it.waits));
        proposed.for_each(|waits| give_up(waits.askers(), out));
    }

    /// No deliveries go to this owner any more.
    pub(crate) fn give_up_session(&mut self, client: &ClientId, epoch: Epoch) {
        if self.owned.get(client).is_some_and(|owned| owned.epoch == epoch) {
            self.owned.remove(client);
        }
    }

    /// How many answers wait until other nodes know of what they say.
    pub(crate) fn held(&self) -> usize {
        self.leading.as_ref().map_or(0, |leading| leading.feed.held())
    }

    /// Takes note of wills that are to be published now. Few entries have any, and these know by the number.
    pub(crate) fn note_wills(&mut self) {
        if self.shard.counts().wills == self.wills.len() {
            return;
        }
        let last = self.wills.last_key_value().map_or(0, |(last, _)| *last);
        for (id, pending) in self.shard.pending_wills().filter(|(id, _)| *id > last) {
            self.wills.insert(id, pending.clone());
        }
    }
}

/// The shard of a group; none of group 0.
pub(crate) fn shard_of(group: u16) -> Option<ShardId> {
    group.checked_sub(1).map(ShardId)
}

/// The group of a shard.
pub(crate) fn group_of(shard: ShardId) -> u16 {
    shard.0 + 1
}
