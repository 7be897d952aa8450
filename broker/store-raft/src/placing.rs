//! Replicas follow the map: which shards this node has, and what the leaders of groups do about members and leadership.
//!
//! Nothing here is remembered that matters: the map says what is wanted, the groups say what is, and each look takes
//! one step. What is refused is tried again with a later look. The leader of group 0 also makes the map's next steps.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use fulmar_log::Disk;
use fulmar_meta::placement::{GroupStep, next_change, plan, plan_meta};
use fulmar_meta::{Command, Stage, Step};
use fulmar_raft::{Change, Index, NodeId};
use fulmar_store::{Shard, Time};

use crate::engine::Engine;
use crate::errors::Failed;
use crate::hosted::{Hosted, Kept};
use crate::letter::Letter;
use crate::meta_group::MetaGroup;
use crate::replica::{Replica, shard_of};

/// How often leaders look, beside when something has changed.
const LOOK: Duration = Duration::from_millis(100);

/// How long a leader keeps its office after it could not hand it over.
const TRANSFER_RETRY: Duration = Duration::from_secs(1);

/// How often the leader of group 0 is told the same.
const TELL_AGAIN: Duration = Duration::from_millis(500);

/// How often leaders tell how far they are.
const GOALS: Duration = Duration::from_millis(500);

/// Who lacks no more entries than this has caught up.
const LAG_ENTRIES_MAX: Index = 128;

/// What leaders remember of their last looks.
#[derive(Debug, Default)]
pub(crate) struct Placing {
    /// Something has changed.
    pub(crate) is_due: bool,
    look_at: Option<Instant>,
    goals_at: Option<Instant>,
    /// The state that the last plan was made of, and the entry that it became.
    planned: (Index, Index),
    /// Leaders that try to hand over, and until when they don't again.
    transfers: BTreeMap<u16, Instant>,
    /// What the leader of group 0 was told, and until when it is not told again.
    told: BTreeMap<(u16, NodeId), Instant>,
}

impl Placing {
    /// When to look again.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.look_at
    }
}

impl<D: Disk + Clone> Engine<D> {
    /// This node has what the map gives it. What the map does not give it any more goes later (`leaving.rs`).
    pub(crate) fn follow_map(&mut self, now: Instant) -> Result<(), Failed> {
        let Some(MetaGroup { meta, begins_shards, .. }) = &self.cluster else { return Ok(()) };
        let (found, wanted) = (meta.shards().len(), self.settings.shards.get());
        if meta.cluster().is_some() && found != usize::from(wanted) {
            return Err(Failed::Shards { found, wanted });
        }
        if *begins_shards {
            self.begin_shards(now)?;
        }
        let Some(MetaGroup { meta, begins_shards: false, .. }) = &self.cluster else { return Ok(()) };
        let numbered = (1..).zip(meta.shards());
        let ours = numbered.filter(|(_, replicas)| replicas.has(self.me.id)).map(|(number, _)| number);
        let missing: Vec<u16> = ours.filter(|number| self.hosted(*number).is_none()).collect();
        for number in missing {
            let kept = self.left.remove(&number).unwrap_or_else(|| Kept::new(Default::default()));
            self.add_replica(number, kept, now);
        }
        Ok(())
    }

    /// A shard without entries.
    pub(crate) fn add_replica(&mut self, number: u16, kept: Kept, now: Instant) {
        let Some(id) = shard_of(number) else { return };
        let group = self.new_group(number, kept, now);
        let replica = Replica::new(group, self.settings.sabotaged_shard(Shard::new(id)), self.random.next());
        let at = self.replicas.partition_point(|other| other.id < id);
        self.replicas.insert(at, replica);
    }

    /// Leaders take the next step of each group that they lead, as far as there is one.
    pub(crate) fn place(&mut self, now: Instant, time: Time) -> Result<(), Failed> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        let is_due = std::mem::take(&mut cluster.placing.is_due);
        if !is_due && cluster.placing.look_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        let begins_shards = cluster.begins_shards;
        cluster.placing.look_at = Some(now + LOOK);
        cluster.placing.transfers.retain(|_, until| now < *until);
        cluster.placing.told.retain(|_, until| now < *until);
        if cluster.placing.goals_at.is_none_or(|at| at <= now) {
            cluster.placing.goals_at = Some(now + GOALS);
            self.tell_goals();
        }
        self.plan(now, time);
        self.place_meta(now);
        for number in self.replicas.iter().map(Replica::group_number).collect::<Vec<_>>() {
            self.place_shard(number, now, time);
        }
        self.ask_to_leave(now);
        // The disk had no room for them before.
        if begins_shards { self.follow_map(now) } else { Ok(()) }
    }

    /// Tells followers how far they should be.
    fn tell_goals(&mut self) {
        let mut letters = Vec::new();
        for group in self.groups().filter(|group| group.is_serving()) {
            let letter = Letter::Committed { group: group.number, index: group.committed() };
            letters.extend(group.followers().map(|follower| (follower.node, letter.clone())));
        }
        self.letters.extend(letters);
    }

    /// The leader of group 0 proposes the next step of each shard, when the last ones are committed.
    fn plan(&mut self, now: Instant, time: Time) {
        let Some(MetaGroup { group, meta, placing, .. }) = &self.cluster else { return };
        let (made_of, became) = placing.planned;
        let applied = meta.applied();
        if !group.is_serving() || applied < became || applied == made_of {
            return;
        }
        let steps = plan(&meta.places(), meta.shards());
        let commands = steps.into_iter().map(|(shard, step)| Command::MoveReplica { shard, step }).collect::<Vec<_>>();
        // What is not taken now is planned again, and what is lost with a leader is planned by the next one.
        let proposed = if commands.is_empty() { Some(0) } else { self.propose_to_meta(commands, now, time).ok() };
        if let (Some(index), Some(cluster)) = (proposed, &mut self.cluster) {
            cluster.placing.planned = (applied, index);
        }
    }

    /// The leader of group 0 brings its own members in line with the nodes.
    fn place_meta(&mut self, now: Instant) {
        let (me, is_full) = (self.me.id, self.full.is_some());
        let patience = self.settings.raft.election_timeout;
        let Some(MetaGroup { group, meta, placing, .. }) = &mut self.cluster else { return };
        if !group.is_serving() || meta.cluster().is_none() {
            return;
        }
        let places = meta.places();
        let (voters, learners) = (group.membership().voters().to_vec(), group.membership().learners().to_vec());
        let step = plan_meta(&places, &voters, &learners);
        let must_go = matches!(step, Some(GroupStep::Demote(node) | GroupStep::Remove(node)) if node == me);
        let drains = places.iter().any(|place| place.id == me && place.drain.is_some());
        if must_go || drains || is_full {
            let can_lead = |node: &NodeId| {
                let stays = |it: &fulmar_meta::placement::Place| it.id == *node && it.is_live && it.drain.is_none();
                *node != me && places.iter().any(stays) && is_near(group, *node, patience, now)
            };
            if let Some(to) = voters.iter().copied().find(can_lead) {
                hand_over(group, &mut placing.transfers, to, now);
            }
        }
        if !must_go {
            take(group, step, patience, now);
        }
    }

    /// The leader of a shard's group brings its members in line with the map, and gives its office to whom the map says.
    fn place_shard(&mut self, number: u16, now: Instant, time: Time) {
        let (me, patience) = (self.me.id, self.settings.raft.election_timeout);
        let is_full = self.full.is_some();
        let Some(at) = self.place_of_group(number) else { return };
        let Some(MetaGroup { meta, placing, .. }) = &mut self.cluster else { return };
        let Some(wanted) = meta.shard(fulmar_meta::ShardId(number)) else { return };
        let group = &mut self.replicas[at].group;
        if !group.is_serving() {
            return;
        }
        let (voters, learners) = (group.membership().voters().to_vec(), group.membership().learners().to_vec());
        let step = next_change(wanted, &voters, &learners);
        let must_go = matches!(step, Some(GroupStep::Remove(node)) if node == me);
        let leader = wanted.leader();
        // On a disk without room nothing is led: others go on.
        let gives_up = must_go || is_full;
        if gives_up || leader != me {
            let can_lead = |node: &NodeId| {
                *node != me && voters.contains(node) && wanted.has(*node) && is_near(group, *node, patience, now)
            };
            let others = || voters.iter().copied().filter(|_| gives_up);
            if let Some(to) = std::iter::once(leader).chain(others()).find(can_lead) {
                hand_over(group, &mut placing.transfers, to, now);
            }
        }
        if !must_go {
            take(group, step, patience, now);
        }
        let learner = wanted.moving().filter(|moving| moving.stage == Stage::Learner).map(|moving| moving.to);
        // One that the map took away and wants again before its group has let it go is a voter still.
        let has = |node: &NodeId| learners.contains(node) || voters.contains(node);
        let is_here = |node: &NodeId| *node == me || (has(node) && is_near(group, *node, patience, now));
        let Some(node) = learner.filter(is_here) else { return };
        let to = self.cluster.as_ref().and_then(|cluster| cluster.group.leader());
        self.tell_caught_up(number, node, to, now, time);
    }

    fn tell_caught_up(&mut self, number: u16, node: NodeId, leader: Option<NodeId>, now: Instant, time: Time) {
        let Some(cluster) = &mut self.cluster else { return };
        let Some(leader) = leader.filter(|_| !cluster.placing.told.contains_key(&(number, node))) else { return };
        cluster.placing.told.insert((number, node), now + TELL_AGAIN);
        if leader == self.me.id {
            self.caught_up(number, node, now, time);
        } else {
            self.letters.push((leader, Letter::CaughtUp { group: number, node }));
        }
    }

    /// The leader of a shard says that a learner has all that it has.
    pub(crate) fn caught_up(&mut self, number: u16, node: NodeId, now: Instant, time: Time) {
        let Some(MetaGroup { group, meta, .. }) = &self.cluster else { return };
        let shard = fulmar_meta::ShardId(number);
        let moving = meta.shard(shard).and_then(|replicas| replicas.moving());
        if group.is_serving() && moving.is_some_and(|it| it.to == node && it.stage == Stage::Learner) {
            // If it is not taken it is told again.
            let _ = self.propose_to_meta(vec![Command::MoveReplica { shard, step: Step::CaughtUp(node) }], now, time);
        }
    }
}

/// Whether a follower answers and lacks next to nothing. One that has no entry of this leader yet may have no room for
/// any, and could not even vote for itself.
fn is_near(group: &Hosted, node: NodeId, patience: Duration, now: Instant) -> bool {
    let last = group.last().index;
    let begun = group.office_begins().unwrap_or(0);
    group.followers().any(|follower| {
        follower.node == node
            && !follower.needs_snapshot
            && follower.matched + LAG_ENTRIES_MAX >= last
            && follower.matched >= begun
            // It has what the log starts with, however short that is.
            && follower.matched > 0
            && now < follower.heard + patience
    })
}

fn hand_over(group: &mut Hosted, transfers: &mut BTreeMap<u16, Instant>, to: NodeId, now: Instant) {
    if let Entry::Vacant(vacant) = transfers.entry(group.number) {
        vacant.insert(now + TRANSFER_RETRY);
        // Who does not lead any more need not.
        let _ = group.transfer(to, now);
    }
}

/// Takes a step of the group's own members. What the group refuses now, one change being under way for instance, is
/// tried again with the next look.
fn take(group: &mut Hosted, step: Option<GroupStep>, patience: Duration, now: Instant) {
    let change = match step {
        Some(GroupStep::AddLearner(node)) => Change::AddLearner(node),
        Some(GroupStep::Promote(node)) if is_near(group, node, patience, now) => Change::Promote(node),
        Some(GroupStep::Demote(node)) => Change::Demote(node),
        Some(GroupStep::Remove(node)) => Change::Remove(node),
        Some(GroupStep::Promote(_)) | None => return,
    };
    let Ok(after) = group.membership().after(change) else { return };
    let answers = |node: &&NodeId| **node == group.id() || is_near(group, **node, patience, now);
    // Who is left must be able to go on: nobody should give up a vote for one who is down and may never come back.
    if group.is_membership_committed() && after.voters().iter().filter(answers).count() * 2 > after.voters().len() {
        let _ = group.change(change, now);
    }
}
