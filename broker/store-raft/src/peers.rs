//! What an engine knows of other nodes: who is live, which filters the sessions of all shards have, what came from them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use fulmar_log::Disk;
use fulmar_raft::NodeId;
use fulmar_store::{Command, Node, Party, Shard, ShardId};

use crate::draft::{Piece, Waits};
use crate::engine::Engine;
use crate::fed::Fed;
use crate::feed::{self, AGAIN};
use crate::feed_letter::{Confirm, Feed, Known, News};
use crate::letter::Letter;
use crate::out::Out;
use crate::replica::{Leading, Replica};
use crate::settings::sabotaged;
use crate::view::View;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) view: View,
    pub(crate) feds: BTreeMap<ShardId, Fed>,
    /// What came from other engines and concerns no group, for the next turn.
    pub(crate) letters: VecDeque<(NodeId, Letter)>,
    /// Who left views that are followed since the last turn.
    departed: Vec<Node>,
    /// How often all filters were asked for, in which life of this node last, and when that goes to the members again.
    round: u64,
    asked_as: u64,
    ask_at: Option<Instant>,
}

impl<D: Disk + Clone> Engine<D> {
    /// Follows the view with this number: these lives are live. SUBSCRIBE is answered when all of them know of it, and
    /// those that have left are said to be gone wherever this node leads. An earlier view is ignored.
    pub fn follow(&mut self, view: u64, members: Vec<Node>) {
        let departed = self.peers.view.follow(view, members);
        self.peers.departed.extend(departed);
        let (me, members) = (self.me, self.peers.view.members());
        for replica in &mut self.replicas {
            if let Some(leading) = &mut replica.leading {
                leading.feed.follow(me, members);
                leading.streams.retain(|origin, _| members.contains(origin));
            }
        }
    }

    /// This node is a member of the view until then, whatever it has not heard of: what its lease says. Without that it
    /// answers no SUBSCRIBE.
    pub fn acknowledge_until(&mut self, until: Instant) {
        self.peers.view.set_lasting(until);
    }

    /// Nothing that was told to a node may have come: its sessions are sent nothing until they are attached again.
    pub fn lost(&mut self, node: NodeId) {
        for replica in &mut self.replicas {
            replica.owned.retain(|_, owned| owned.to.id != node);
        }
    }

    /// Asks the leaders of all shards for all filters there are. Whoever joins does so when all members have confirmed
    /// the view that has it in: leaders that answer then wait for it with every later SUBSCRIBE, and tell it of all
    /// earlier ones.
    pub fn ask_for_feeds(&mut self) {
        (self.peers.round, self.peers.asked_as) = (self.peers.round + 1, self.me.incarnation);
        self.peers.ask_at = None;
    }

    /// Whether all have answered the last time that they were asked. Before, this node must not acknowledge what its
    /// clients publish.
    pub fn are_feeds_complete(&self) -> bool {
        let is_complete =
            |shard| self.peers.feds.get(&ShardId(shard)).is_some_and(|fed| fed.round() >= self.peers.round);
        let is_asked = self.peers.asked_as == self.me.incarnation;
        (is_asked && (0..self.settings.shards.get()).all(is_complete)) || sabotaged!(self.settings, FeedNotAskedFor)
    }

    /// Whether this node knows all filters for which SUBSCRIBE was answered: leaders have told it all there were when it
    /// joined, and wait for it as long as it is a member.
    pub(crate) fn knows_all_filters(&self, now: Instant) -> bool {
        self.settings.is_alone() || (self.are_feeds_complete() && self.peers.view.is_lasting(now))
    }

    /// What came from others is heard, and what follows from who is live is proposed. Comes first in a turn: what
    /// `now` says of the view counts for nothing that came later.
    pub(crate) fn hear_peers(&mut self, now: Instant, out: &mut impl Out) {
        if self.settings.is_alone() {
            return;
        }
        while let Some((from, letter)) = self.peers.letters.pop_front() {
            match letter {
                Letter::Feed(feed) => self.hear_feed(from, feed, out),
                Letter::Confirm(Confirm { shard, incarnation, round, known }) => {
                    if let Some(leading) = self.leading_mut(shard) {
                        leading.feed.confirm(Node { id: from, incarnation }, round, known);
                    }
                }
                Letter::AskForFeeds { incarnation, round } => {
                    self.replicas.iter_mut().for_each(|it| it.prove(Node { id: from, incarnation }, false, round));
                }
                Letter::Outbox { of, to, messages } => self.hear_outbox(from, of, to, messages),
                Letter::OutboxCame { of, to, until } => self.hear_outbox_came(of, to, until),
                // Those of groups do not come here.
                _ => {}
            }
        }
        self.clear_departed(now);
        self.ask_leaders(now, out);
    }

    fn hear_feed(&mut self, from: NodeId, feed: Feed, out: &mut impl Out) {
        let Feed { shard, term, incarnation, round, news } = feed;
        if shard.0 >= self.settings.shards.get() {
            return;
        }
        let fed = self.peers.feds.entry(shard).or_default();
        fed.note_leader(term, from);
        if fed.take(shard, news, out) && incarnation == self.me.incarnation {
            fed.note_round(round);
        }
        let (incarnation, round, known) = (self.me.incarnation, fed.round(), fed.known().clone());
        out.send(from, Letter::Confirm(Confirm { shard, incarnation, round, known }));
    }

    /// Lives that are over are said to be gone. Those that left while this node followed views are known. What else owns
    /// something and is not live left before, since whoever joins is in the view of all members first; but only as
    /// long as this node is a member itself.
    fn clear_departed(&mut self, now: Instant) {
        let departed = std::mem::take(&mut self.peers.departed);
        let view = &self.peers.view;
        for replica in &mut self.replicas {
            let Some(leading) = &mut replica.leading else { continue };
            let mut over = departed.clone();
            if leading.view_cleared < view.number() {
                let is_sure = view.is_lasting(now);
                over.extend(replica.shard.lives().filter(|life| view.is_over(*life).unwrap_or(is_sure)));
                leading.view_cleared = if is_sure { view.number() } else { leading.view_cleared };
            }
            for life in over {
                if !replica.shard.is_gone(life) && leading.said_gone.insert(life) {
                    leading.upkeep.push_back(Command::NodeGone(life));
                }
            }
        }
    }

    /// Asks all members, any of which may lead a shard, until all shards have answered.
    fn ask_leaders(&mut self, now: Instant, out: &mut impl Out) {
        let (round, is_asked) = (self.peers.round, self.peers.asked_as == self.me.incarnation);
        if !is_asked || self.peers.ask_at.is_some_and(|at| now < at) || self.are_feeds_complete() {
            return;
        }
        self.peers.ask_at = Some(now + AGAIN);
        let Node { id, incarnation } = self.me;
        for member in self.peers.view.members().iter().filter(|member| member.id != id) {
            out.send(member.id, Letter::AskForFeeds { incarnation, round });
        }
        let me = self.me;
        self.replicas.iter_mut().for_each(|replica| replica.prove(me, true, round));
    }

    /// What subscriptions have changed is told to others and to this node's own matcher, and whoever waited for that is
    /// answered.
    pub(crate) fn feed_peers(&mut self, now: Instant, out: &mut impl Out) {
        if self.settings.is_alone() {
            return;
        }
        let (id, is_lasting) =
            (self.me.id, self.peers.view.is_lasting(now) || sabotaged!(self.settings, LeaseNotChecked));
        for replica in &mut self.replicas {
            let Some(leading) = &mut replica.leading else { continue };
            let fed = self.peers.feds.entry(replica.id).or_default();
            fed.note_leader(leading.term, id);
            feed_self(fed, &replica.shard, out);
            fed.note_round(leading.proven_to_self);
            if (is_lasting && self.peers.view.number() > 0) || sabotaged!(self.settings, BarrierLeftOut) {
                leading.feed.release(sabotaged!(self.settings, BarrierLeftOut), out);
            }
            for (life, round, news) in leading.feed.letters(&replica.shard, now) {
                let (shard, term, incarnation) = (replica.id, leading.term, life.incarnation);
                out.send(life.id, Letter::Feed(Feed { shard, term, incarnation, round, news }));
            }
        }
    }

    /// When to look again.
    pub(crate) fn peers_deadline(&self) -> Option<Instant> {
        let leading = self.replicas.iter().filter_map(|replica| replica.leading.as_ref());
        let deadlines = leading.flat_map(|leading| [leading.feed.deadline(), leading.outboxes.deadline()]);
        let is_asking = self.peers.asked_as == self.me.incarnation && !self.are_feeds_complete();
        deadlines.flatten().chain(self.peers.ask_at.filter(|_| is_asking)).min()
    }

    fn leading_mut(&mut self, shard: ShardId) -> Option<&mut Leading> {
        let at = self.place_of(shard)?;
        self.replicas[at].leading.as_mut()
    }
}

impl Replica {
    /// Finds out whether this node leads still, by an entry that changes nothing, if it was not asked that before.
    fn prove(&mut self, life: Node, is_me: bool, round: u64) {
        let Some(leading) = &mut self.leading else { return };
        let is_new = if is_me { leading.asked_by_self < round } else { leading.feed.ask(life, round) };
        if is_new {
            leading.asked_by_self = if is_me { round } else { leading.asked_by_self };
            let nothing = Command::OutboxDone { destination: Party::Shard(self.id), until: 0 };
            self.pieces.push_back(Piece::command(nothing, Waits::Proof(life, round)));
        }
    }
}

/// The leader's own copy tells its own node.
fn feed_self(fed: &mut Fed, shard: &Shard, out: &mut impl Out) {
    while let Known::Until(since) = *fed.known() {
        if since >= shard.filters_changed_at() {
            return;
        }
        let Some((until, changes)) = feed::changes(shard, since) else { break };
        fed.take(shard.id(), News::Changes { since, until, changes }, out);
    }
    let filters = shard.filters_after(None).cloned().collect();
    fed.take(shard.id(), News::All { at: shard.applied(), after: None, filters, is_last: true }, out);
}
