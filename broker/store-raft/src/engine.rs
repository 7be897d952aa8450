//! The engine: what a thread drives, and the story of one turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_log::{Disk, Log};
use fulmar_raft::NodeId;
use fulmar_random::Random;
use fulmar_store::{Answer, Ask, Asked, ClientId, Generation, Node, Refusal, Reply, ShardId, Time};

use crate::apply::Applying;
use crate::asked::Asker;
use crate::counts::{Counts, State};
use crate::errors::Failed;
use crate::hosted::{Hosted, Kept};
use crate::leaving::Leaving;
use crate::letter::Letter;
use crate::meta_group::{META, MetaGroup};
use crate::out::Out;
use crate::peers::Peers;
use crate::propose::{Proposing, ask_bytes};
use crate::replica::{Replica, shard_of};
use crate::settings::Settings;
use crate::snapshot::Snapshots;
use crate::tails::Tails;
use crate::transfer::{Portion, Transfers};
use crate::write::Unwritten;

/// For so long nothing was written when a log counts as idle.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// How long a full disk is left alone.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// The replicated store of one node. See the [crate].
pub struct Engine<D: Disk> {
    pub(crate) settings: Settings,
    pub(crate) me: Node,
    pub(crate) disk: D,
    pub(crate) log: Log<D>,
    /// Group 0, unless the node is alone.
    pub(crate) cluster: Option<MetaGroup>,
    /// The shards that this node has copies of, in order.
    pub(crate) replicas: Vec<Replica>,
    /// What is kept of groups that are not here, or are and have nothing.
    pub(crate) left: BTreeMap<u16, Kept>,
    /// Replicas that the map does not give this node any more.
    pub(crate) leaving: BTreeMap<u16, Leaving>,
    pub(crate) random: Random,
    /// What groups want written and the disk had no room for.
    pub(crate) unwritten: Vec<Unwritten>,
    /// How much was to be written when the disk was full.
    pub(crate) full: Option<usize>,
    pub(crate) failed: Option<Failed>,
    pub(crate) snapshots: Snapshots<D::File>,
    pub(crate) transfers: Transfers<D::File>,
    /// Bodies of messages that are not in memory.
    pub(crate) bodies: Tails<D::File>,
    /// For engines of other nodes, to go with the next turn.
    pub(crate) letters: Vec<(NodeId, Letter)>,
    /// What leaders of shards said of their learners.
    caught_up: Vec<(u16, NodeId)>,
    /// Entries were applied, so there may be something in an outbox, or less.
    pub(crate) are_outboxes_changed: bool,
    /// When the log is idle enough to be made easy to open.
    pub(crate) settle_at: Option<Instant>,
    /// Questions that were refused at once, whose answers go with the next turn.
    refused: Vec<(Asker, Answer)>,
    /// What is known of other nodes.
    pub(crate) peers: Peers,
    pub(crate) counted: Counts,
}

impl<D: Disk + Clone> Engine<D> {
    pub(crate) fn new(settings: Settings, me: Node, disk: D, log: Log<D>, random: Random) -> Self {
        let bodies = Tails::new(&settings.folder);
        Self {
            settings,
            me,
            disk,
            log,
            cluster: None,
            replicas: Vec::new(),
            left: BTreeMap::new(),
            leaving: BTreeMap::new(),
            random,
            unwritten: Vec::new(),
            full: None,
            failed: None,
            snapshots: Snapshots::default(),
            transfers: Transfers::default(),
            bodies,
            letters: Vec::new(),
            caught_up: Vec::new(),
            are_outboxes_changed: true,
            settle_at: None,
            refused: Vec::new(),
            peers: Peers::default(),
            counted: Counts::default(),
        }
    }

    /// This life of the node: what its claims and its stream of messages are known by.
    pub fn node(&self) -> Node {
        self.me
    }

    /// A data thread asks, of this node or another one. The answer comes with a turn; whoever asks bounds how much it
    /// asks before.
    pub fn ask(&mut self, asked: Asked) {
        let asker = Asker { origin: asked.origin, ticket: asked.ticket };
        let shard = asked.ask.shard(self.settings.shards);
        let Some(at) = self.place_of(shard) else {
            let leader = self.leader(shard);
            return self.refused.push((asker, Answer::NotLeader { leader }));
        };
        if self.replicas[at].shard.is_gone(asked.origin) {
            let refusal = Refusal::NodeGone(asked.origin);
            return self.refused.push((asker, Answer::Reply(Reply::Refused(refusal))));
        }
        // One that has left and is not remembered as gone any more, or joins and was heard of too early.
        let is_stranger = !self.settings.is_alone() && !self.peers.view.contains(asked.origin);
        let replica = &mut self.replicas[at];
        if let Ask::Disconnect { client, epoch, .. } = &asked.ask {
            replica.give_up_session(client, *epoch);
        }
        let bytes = ask_bytes(&asked.ask);
        let is_room = replica.asks.len() < self.settings.asks_max
            && (replica.asks.is_empty() || replica.asks_bytes + bytes <= self.settings.asks_bytes_max)
            && (!matches!(asked.ask, Ask::Subscribe { .. }) || replica.held() < self.settings.asks_max);
        // What is behind something that was refused must not come before it.
        let is_passed_over = replica.refusing.contains(&asked.origin);
        if self.full.is_none() && is_room && !is_stranger && !is_passed_over {
            replica.asks_bytes += bytes;
            replica.asks.push_back(asked);
            return;
        }
        replica.refusing.insert(asked.origin);
        let counter =
            if self.full.is_some() { &mut self.counted.full_disk_refusals } else { &mut self.counted.asks_refused };
        *counter += 1;
        self.refused.push((asker, Answer::Unavailable));
    }

    /// What the engine of another node has to say.
    pub fn receive(&mut self, from: NodeId, letter: Letter, now: Instant) {
        match letter {
            Letter::Raft { group, message } => {
                self.note_leader(group, &message);
                if let Some(hosted) = self.hosted_mut(group) {
                    hosted.receive(from, message, now);
                }
            }
            Letter::Portion { of, total, offset, bytes } => {
                self.transfers.push(from, Portion { of, total, offset, bytes });
            }
            Letter::Taken { of, until } => self.transfers.taken.push((from, of, until)),
            Letter::Committed { group, index } => {
                if let Some(hosted) = self.hosted_mut(group).filter(|hosted| hosted.leader() == Some(from)) {
                    hosted.set_goal(index, now);
                }
            }
            Letter::MayLeave { group, question } => self.may_leave(from, group, question),
            Letter::Left { group, question } => self.left(group, question),
            Letter::CaughtUp { group, node } => {
                // One for each shard: whoever leads it says it again.
                self.caught_up.retain(|(other, _)| *other != group);
                self.caught_up.push((group, node));
            }
            other => self.peers.letters.push_back((from, other)),
        }
    }

    /// The groups of this node, that of the cluster first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Hosted> {
        let shards = self.replicas.iter().map(|replica| &replica.group);
        self.cluster.iter().map(|cluster| &cluster.group).chain(shards)
    }

    pub(crate) fn hosted(&self, group: u16) -> Option<&Hosted> {
        match self.place_of_group(group) {
            Some(at) => Some(&self.replicas[at].group),
            None => self.cluster.as_ref().filter(|_| group == META).map(|cluster| &cluster.group),
        }
    }

    pub(crate) fn hosted_mut(&mut self, group: u16) -> Option<&mut Hosted> {
        match self.place_of_group(group) {
            Some(at) => Some(&mut self.replicas[at].group),
            None => self.cluster.as_mut().filter(|_| group == META).map(|cluster| &mut cluster.group),
        }
    }

    /// Where the shard of a group is among those of this node; nowhere if it is group 0.
    pub(crate) fn place_of_group(&self, group: u16) -> Option<usize> {
        shard_of(group).and_then(|shard| self.place_of(shard))
    }

    /// Where the copy of a shard is among those of this node.
    pub(crate) fn place_of(&self, shard: ShardId) -> Option<usize> {
        self.replicas.binary_search_by_key(&shard, |replica| replica.id).ok()
    }

    pub(crate) fn replica(&self, shard: ShardId) -> Option<&Replica> {
        self.place_of(shard).map(|at| &self.replicas[at])
    }

    /// Does all that was asked so far: it is matched, proposed, written, synced once for all shards, committed, applied
    /// and answered. Returns when to come again at the latest; none: when there is something new.
    ///
    /// `time` is the wall clock in milliseconds, by which messages and sessions expire.
    ///
    /// # Errors
    /// After an error the engine does nothing more, and what was not answered may or may not have happened.
    pub fn turn(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<Option<Instant>, Failed> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let result = self.try_turn(now, time, out);
        if let Err(failed) = &result {
            self.failed = Some(failed.clone());
        }
        result
    }

    fn try_turn(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<Option<Instant>, Failed> {
        self.tick(now);
        self.hear_peers(now, out);
        self.tell_refused(out);
        self.host(now, time, out)?;
        self.plan_upkeep(now, time, out)?;
        self.propose(now, time, out);
        self.carry_out(now, time, out)?;
        // What entries have made necessary is known now, and what of it is to be told needs no other turn.
        self.plan_upkeep(now, time, out)?;
        self.feed_peers(now, out);
        self.push_outboxes(now, time, out)?;
        self.write_snapshots(now)?;
        self.tend_bodies()?;
        self.settle_log(now)?;
        Ok(self.next_turn(now, time))
    }

    fn tick(&mut self, now: Instant) {
        let shards = self.replicas.iter_mut().map(|replica| &mut replica.group);
        let groups = self.cluster.iter_mut().map(|cluster| &mut cluster.group).chain(shards);
        groups.for_each(|group| group.tick(now));
    }

    /// What a member of a cluster does beside what is asked.
    fn host(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<(), Failed> {
        self.leave(out)?;
        for (group, node) in std::mem::take(&mut self.caught_up) {
            self.caught_up(group, node, now, time);
        }
        self.place(now, time)?;
        self.transfer(now)
    }

    fn tell_refused(&mut self, out: &mut impl Out) {
        for (asker, answer) in self.refused.drain(..) {
            asker.answer(answer, out);
        }
        self.replicas.iter_mut().for_each(|replica| replica.refusing.clear());
    }

    fn propose(&mut self, now: Instant, time: Time, out: &mut impl Out) {
        if self.full.is_some() {
            let refused: usize = self.replicas.iter_mut().map(|replica| replica.refuse_asks(out)).sum();
            self.counted.full_disk_refusals += refused as u64;
            return;
        }
        let mut with = Proposing {
            settings: &self.settings,
            me: self.me,
            view: &self.peers.view,
            random: &mut self.random,
            now,
            time,
        };
        for replica in &mut self.replicas {
            replica.propose(&mut with, out);
        }
    }

    /// Does what the groups want, until they want nothing more: what a write makes possible comes after it.
    fn carry_out(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<(), Failed> {
        /// A follower that reads much of its log again goes on in the next turn.
        const ROUNDS_MAX: usize = 32;
        for _ in 0..ROUNDS_MAX {
            let has_applied = self.take_outputs(now, time, out)?;
            let has_written = self.write(now, time, out)?;
            if !has_applied && !has_written {
                break;
            }
        }
        self.letters.drain(..).for_each(|(to, letter)| out.send(to, letter));
        let with = Applying { settings: &self.settings, me: self.me, time };
        let mut read = 0;
        for replica in &mut self.replicas {
            let files = self.bodies.of(replica.group_number());
            replica.deliver(with, files, &mut read, out)?;
        }
        self.counted.body_bytes_read += read;
        Ok(())
    }

    /// A log that was not written to for a while says how far it is synced, so that damage is told from a torn write.
    fn settle_log(&mut self, now: Instant) -> Result<(), Failed> {
        if self.full.is_none() && self.settle_at.take_if(|at| *at <= now).is_some() {
            // Without room for it the next batch says the same.
            crate::errors::written(self.log.settle())?;
        }
        Ok(())
    }

    fn next_turn(&self, now: Instant, time: Time) -> Option<Instant> {
        let ticks = self.groups().filter_map(Hosted::next_tick);
        if let Some(retry) = self.full.map(|_| now + FULL_RETRY) {
            let looks = self.cluster.as_ref().and_then(|cluster| cluster.placing.next_look());
            return Some(ticks.chain(looks).fold(retry, Instant::min));
        }
        if self.has_work(time) || self.snapshots.is_writing() || self.must_tend_bodies() {
            return Some(now);
        }
        let dues = self.replicas.iter().filter_map(|replica| replica.next_due(now, time));
        let looks = self.cluster.as_ref().and_then(|cluster| cluster.placing.next_look());
        let others = [looks, self.transfers.next_resend(), self.peers_deadline()];
        ticks.chain(dues).chain(self.settle_at).chain(others.into_iter().flatten()).min()
    }

    /// Whether another turn would do something at once.
    pub(crate) fn has_work(&self, time: Time) -> bool {
        self.full.is_none()
            && (self.are_outboxes_changed
                || !(self.refused.is_empty() && self.peers.letters.is_empty())
                || self.must_host()
                || self.groups().any(Hosted::is_touched)
                || self.replicas.iter().any(|it| it.has_work() || it.must_clear(time)))
    }

    /// Whether a member of a cluster has something to do at once.
    fn must_host(&self) -> bool {
        !self.letters.is_empty()
            || !self.caught_up.is_empty()
            || self.transfers.has_work()
            || self.must_leave()
            || self.cluster.as_ref().is_some_and(|it| it.placing.is_due)
    }

    /// Whether it takes what must be durable.
    pub fn state(&self) -> State {
        match (&self.failed, self.full) {
            (Some(_), _) => State::Failed,
            (None, Some(wanted)) => State::Full { wanted },
            (None, None) => State::Works,
        }
    }

    /// Who leads a shard, as far as this node knows.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        match self.replica(shard) {
            Some(replica) => replica.group.leader(),
            None => self.peers.feds.get(&shard)?.leader(),
        }
    }

    /// The term in which this node leads a shard, whether it answers for it already or will in a moment.
    pub fn leads(&self, shard: ShardId) -> Option<u64> {
        let group = &self.replica(shard)?.group;
        group.is_leader().then(|| group.term())
    }

    /// Whether this node answers for a shard.
    pub fn serves(&self, shard: ShardId) -> bool {
        self.replica(shard).is_some_and(|replica| replica.leading.is_some())
    }

    /// All sessions that this node has copies of: their clients, which lives of them these are, and whose they are.
    pub fn sessions(&self) -> impl Iterator<Item = (&ClientId, Generation, Option<&Arc<str>>)> {
        self.replicas.iter().flat_map(|replica| replica.shard.users_after(None))
    }

    /// How many sessions that is.
    pub fn session_count(&self) -> usize {
        self.replicas.iter().map(|replica| replica.shard.counts().sessions).sum()
    }

    /// Whether there is a session under this name.
    pub fn has_session(&self, client: &str) -> bool {
        let shard = ShardId::of(client, self.settings.shards);
        self.replica(shard).is_some_and(|replica| replica.shard.session(client).is_some())
    }

    /// What there is and what happened.
    pub fn counts(&self) -> Counts {
        let usage = self.log.usage();
        let groups = self.groups().count();
        let mut counts = Counts {
            groups,
            log_bytes: usage.bytes,
            log_entries: usage.entries,
            body_file_bytes: self.bodies.bytes(),
            ..self.counted
        };
        for replica in &self.replicas {
            let (of_shard, totals) = (replica.shard.counts(), replica.shard.totals());
            counts.leaders += usize::from(replica.leading.is_some());
            counts.terms += replica.group.term();
            counts.asks += replica.asks.len();
            counts.held += replica.held();
            counts.sessions += of_shard.sessions;
            counts.subscriptions += of_shard.subscriptions;
            counts.queued += of_shard.queued;
            counts.retained += of_shard.retained;
            counts.tombstones += of_shard.tombstones;
            counts.wills += of_shard.wills;
            counts.bytes += of_shard.bytes;
            counts.bytes_on_disk += of_shard.bytes_on_disk;
            counts.dropped += totals.dropped;
            counts.refused += totals.refused;
            counts.expired += totals.expired;
            counts.forgotten += totals.forgotten;
            counts.stranded += totals.stranded;
        }
        counts
    }

    /// Makes all that was written durable, and the log easy to open. An engine that is dropped instead is as one whose
    /// process was killed.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn close(self) -> Result<(), Failed> {
        crate::errors::written(self.log.close()).map(drop)
    }
}
