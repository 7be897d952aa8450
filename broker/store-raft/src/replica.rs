//! One shard on this node: its Raft group, its state, and what goes on between them.
//!
//! `propose.rs` makes entries of what is asked, `apply.rs` does what is committed and answers. What both share is here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fulmar_raft::{RoleChange, Term};
use fulmar_store::{
    Answer, Ask, ClientId, Command, Epoch, Node, Number, Party, PendingWill, Shard, ShardId, Stored, Ticket, Time,
    Told, WillId,
};

use crate::deliver::Owned;
use crate::draft::{Draft, InFlight, Piece};
use crate::hosted::Hosted;
use crate::matcher::{Matcher, split_share};
use crate::out::Out;

/// See the [module](self).
pub(crate) struct Replica {
    pub(crate) id: ShardId,
    pub(crate) group: Hosted,
    pub(crate) shard: Shard,
    pub(crate) matcher: Matcher,

    /// What was asked and is not proposed.
    pub(crate) asks: VecDeque<(Ticket, Ask)>,
    pub(crate) asks_bytes: usize,
    /// The ask that was taken from those last, matched, as far as it is not proposed.
    pub(crate) pieces: VecDeque<Piece>,
    /// An entry for which the group had no room.
    pub(crate) put_off: Option<Draft>,
    /// What this node has proposed.
    pub(crate) in_flight: VecDeque<InFlight>,
    /// This node leads, and has applied all that earlier leaders have committed.
    pub(crate) leading: Option<Leading>,

    /// The sessions that data threads of this node serve.
    pub(crate) owned: BTreeMap<ClientId, Owned>,
    /// Sessions that may have something to be sent.
    pub(crate) to_deliver: BTreeSet<ClientId>,
    /// Sessions that this node has claimed without knowing it at the time, so that nobody serves them.
    pub(crate) orphans: BTreeMap<ClientId, Orphan>,
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
}

impl Leading {
    /// Whether it is too early to give up a message of a shared subscription. What this node knows of shards that
    /// others lead may be old: somebody may be a member since.
    pub(crate) fn must_await_member(&mut self, number: Number, now: Time) -> bool {
        const WAIT_MILLISECONDS: Time = 1000;
        let until = self.awaits_member.filter(|(awaiting, _)| *awaiting == number).map(|(_, until)| until);
        let until = until.unwrap_or(now + WAIT_MILLISECONDS);
        self.awaits_member = Some((number, until)).filter(|_| now < until);
        self.awaits_member.is_some()
    }

    pub(crate) fn pause_outboxes(&mut self, now: Time) {
        const PAUSE_MILLISECONDS: Time = 1000;
        self.paused_until = Some(now + PAUSE_MILLISECONDS);
    }
}

/// A session that this node owns and nobody serves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orphan {
    pub(crate) epoch: Epoch,
    /// In this term it was proposed that it is left.
    pub(crate) left_in: Option<Term>,
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
            pieces: VecDeque::new(),
            put_off: None,
            in_flight: VecDeque::new(),
            leading: None,
            owned: BTreeMap::new(),
            to_deliver: BTreeSet::new(),
            orphans: BTreeMap::new(),
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
        let Some(leading) = &self.leading else { return !self.asks.is_empty() && !self.group.is_leader() };
        if self.put_off.is_some() || leading.is_out_of_step {
            // With others, an answer of theirs or a deadline comes first.
            return self.in_flight.is_empty() && self.is_alone();
        }
        !(self.asks.is_empty() && self.pieces.is_empty() && leading.upkeep.is_empty())
            || self.orphans.values().any(|orphan| orphan.left_in != Some(leading.term))
    }

    /// The group says that something about who leads has changed.
    pub(crate) fn role_changed(&mut self, role: RoleChange, out: &mut impl Out) {
        if self.leading.as_ref().is_some_and(|leading| role.serves_after.is_none() || leading.term != role.term) {
            self.stop_leading(out);
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
            awaits_adoption: None,
            paused_until: None,
            is_clearing: false,
            upkeep,
            parts: Stored::default(),
        });
    }

    /// A snapshot that was received takes the place of the shard: what is not as it was is told. Whoever is served here
    /// has missed what lies between, and its session goes to whom the shard says.
    pub(crate) fn replace(&mut self, shard: Shard, me: Node, seed: u64, time: Time, out: &mut impl Out) {
        self.give_up(out);
        let before = std::mem::replace(&mut self.shard, shard);
        self.matcher = Matcher::of(&self.shard, seed);
        let (had, has) = (filters(&before), filters(&self.shard));
        for (filter, begins) in
            had.difference(&has).map(|it| (it, false)).chain(has.difference(&had).map(|it| (it, true)))
        {
            let (share, filter) = split_share(filter);
            out.interest(self.id, share, filter, begins);
        }
        let time = time.max(self.shard.time());
        for (message, version) in self.shard.retained_after(None, time) {
            if before.retained(message.topic(), 0).is_none_or(|(_, it)| it != version) {
                out.retained(message.topic(), Some(&message), version);
            }
        }
        for (topic, version) in self.shard.deleted() {
            if before.retained(topic, 0).is_some() {
                out.retained(topic, None, version);
            }
        }
        self.to_deliver.clear();
        self.wills.clear();
        self.note_wills();
        let is_ours = |client: &&ClientId| self.shard.session(client).is_some_and(|it| it.owner == Some(me));
        let ours = self.shard.users_after(None).map(|(client, ..)| client).filter(is_ours);
        let orphan = |client: &ClientId| {
            let epoch = self.shard.session(client)?.epoch;
            Some((client.clone(), Orphan { epoch, left_in: None }))
        };
        self.orphans = ours.filter_map(orphan).collect();
    }

    /// This node serves nobody of the shard any more.
    pub(crate) fn give_up(&mut self, out: &mut impl Out) {
        self.stop_leading(out);
        for (_, Owned { owner, epoch, .. }) in std::mem::take(&mut self.owned) {
            out.tell(owner.thread, Told::TakenOver { owner, epoch });
        }
    }

    /// Nobody knows what becomes of what was proposed, and what waits is for somebody else.
    fn stop_leading(&mut self, out: &mut impl Out) {
        self.leading = None;
        let drafts = self.put_off.take().into_iter().map(|draft| draft.waits);
        let proposed = self.in_flight.drain(..).map(|it| it.waits).chain(drafts);
        let tickets = proposed.flatten().flat_map(|waits| waits.tickets().collect::<Vec<_>>());
        give_up(tickets.chain(self.pieces.drain(..).flat_map(|piece| piece.step.tickets())), out);
        self.refuse_asks(out);
    }

    /// Answers what nobody has looked at yet, and says how much that was.
    pub(crate) fn refuse_asks(&mut self, out: &mut impl Out) -> usize {
        let count = self.asks.len();
        give_up(self.asks.drain(..).map(|(ticket, _)| ticket), out);
        self.asks_bytes = 0;
        count
    }

    /// No deliveries go to this owner any more.
    pub(crate) fn give_up_session(&mut self, client: &ClientId, epoch: Epoch) {
        if self.owned.get(client).is_some_and(|owned| owned.epoch == epoch) {
            self.owned.remove(client);
        }
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

fn filters(shard: &Shard) -> BTreeSet<Arc<str>> {
    shard.filters().map(|(filter, _)| filter.clone()).collect()
}

/// Nobody here knows what becomes of these questions.
pub(crate) fn give_up(tickets: impl Iterator<Item = Ticket>, out: &mut impl Out) {
    for Ticket { thread, number } in tickets {
        out.tell(thread, Told::Answer { number, answer: Answer::Unavailable });
    }
}
