//! Who keeps a shard, and how one replica after the other moves.

use super::Meta;
use crate::command::Step;
use crate::names::{NodeId, ShardId};
use crate::reply::{Refusal, Reply};

/// Who keeps a shard. The shard's own group follows this, addition by addition and then removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    pub(crate) voters: Vec<NodeId>,
    pub(crate) leader: NodeId,
    pub(crate) moving: Option<Move>,
}

/// A replica on its way. A shard has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Move {
    /// Who gets it.
    pub to: NodeId,
    /// Who is to give it up; nobody if the shard gets one voter more.
    pub from: Option<NodeId>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The new one is a learner, and behind.
    Learner,
    /// It is a learner, and not behind.
    CaughtUp,
    /// It is a voter; the old one is one still.
    Voter,
}

impl Replicas {
    pub(crate) fn alone(node: NodeId) -> Self {
        Self { voters: vec![node], leader: node, moving: None }
    }

    /// Who decides, by id.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Who only follows, and is to become a voter.
    pub fn learner(&self) -> Option<NodeId> {
        self.moving.filter(|it| it.stage != Stage::Voter).map(|it| it.to)
    }

    /// Who is to lead, when it can. Always a voter.
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// The replica on its way.
    pub fn moving(&self) -> Option<Move> {
        self.moving
    }

    /// Whether the node is a voter or learner.
    pub fn has(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learner() == Some(node)
    }
}

impl Meta {
    pub(super) fn move_replica(&mut self, shard: ShardId, step: Step) -> Result<Reply, Refusal> {
        let state = self.cluster_mut()?;
        let last = u16::try_from(state.shards.len()).expect("there are few");
        let place = usize::from(shard.0).checked_sub(1).filter(|place| *place < state.shards.len());
        let place = place.ok_or(Refusal::NoShard { shard, last })?;
        let (Step::AddLearner { node, .. }
        | Step::CaughtUp(node)
        | Step::Promote(node)
        | Step::Remove(node)
        | Step::Prefer(node)) = step;
        // Those that are retired may be removed still.
        if !matches!(step, Step::Remove(_)) && !state.nodes.contains_key(&node) {
            return Err(Refusal::Unknown { node });
        }
        let wanted = state.factor();
        match state.shards[place].step(step) {
            Ok(true) => {}
            Ok(false) => return Ok(Reply::DoneBefore),
            Err((found, wanted)) => return Err(Refusal::Step { shard, node, found, wanted }),
        }
        let mut changed = state.shards[place].clone();
        changed.take(step);
        let found = changed.voters.len();
        if found < state.shards[place].voters.len() && found < wanted {
            return Err(Refusal::TooFewVoters { shard, found, wanted });
        }
        state.shards[place] = changed;
        Ok(Reply::Done)
    }
}

/// What was found, and what is wanted instead.
type Misstep = (&'static str, &'static str);

impl Replicas {
    /// Whether the step can be taken and changes anything.
    fn step(&self, step: Step) -> Result<bool, Misstep> {
        let stage = |node| self.moving.filter(|it| it.to == node).map(|it| it.stage);
        let is_voter = |node| self.voters.contains(&node);
        match step {
            Step::AddLearner { node, replaces } => match self.moving {
                Some(it) if it.to == node && it.from == replaces => Ok(false),
                Some(_) => Err(("another replica is on its way", "one at a time")),
                None if is_voter(node) => Err(("a voter", "a node without a replica")),
                None if replaces.is_some_and(|old| !is_voter(old)) => Err(("no voter to replace", "a voter")),
                None => Ok(true),
            },
            Step::CaughtUp(node) => match stage(node) {
                Some(Stage::Learner) => Ok(true),
                Some(Stage::CaughtUp | Stage::Voter) => Ok(false),
                None => Err(("no learner", "a learner")),
            },
            Step::Promote(node) => match stage(node) {
                Some(Stage::CaughtUp) => Ok(true),
                Some(Stage::Voter) => Ok(false),
                Some(Stage::Learner) => Err(("a learner that is behind", "one that has caught up")),
                None if is_voter(node) => Ok(false),
                None => Err(("no learner", "a learner that has caught up")),
            },
            Step::Remove(node) if self.leader == node => Err(("the preferred leader", "another voter")),
            Step::Remove(node) => Ok(self.has(node)),
            Step::Prefer(node) if !is_voter(node) => Err(("no voter", "a voter")),
            Step::Prefer(node) => Ok(self.leader != node),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::AddLearner { node, replaces } => {
                self.moving = Some(Move { to: node, from: replaces, stage: Stage::Learner });
            }
            Step::CaughtUp(_) => self.set_stage(Stage::CaughtUp),
            Step::Promote(node) => {
                self.voters.push(node);
                self.voters.sort_unstable();
                self.set_stage(Stage::Voter);
            }
            Step::Remove(node) => {
                self.voters.retain(|voter| *voter != node);
                self.moving = self.moving.filter(|it| it.to != node && it.from != Some(node));
            }
            Step::Prefer(node) => self.leader = node,
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(moving) = &mut self.moving {
            moving.stage = stage;
        }
    }
}
