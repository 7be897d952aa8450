//! Which node should keep which shard, and what the next step there is.
//!
//! [`plan`] looks at nodes and shards as they are and gives at most one step for each shard; when these are committed
//! (and, for [`Step::CaughtUp`], have become true) it is asked again, until it has no more. It has no memory: what a
//! step is part of is in the shard map.
//!
//! What it is after, in this order:
//!
//! 1. A shard has as many voters as there are nodes that stay, up to three, and never fewer on the way.
//! 2. They are in as many zones as can be.
//! 3. All nodes keep equally many, as far as zones allow.
//! 4. Nothing moves that need not. A node that is down stays where it is: a restart is never a leave.
//! 5. Each node leads equally many, as far as the voters allow; one that drains leads none.
//!
//! `target.rs` finds the voters, `leaders.rs` who of them leads, `balance.rs` has what both use.

mod balance;
mod group;
mod leaders;
mod target;

use std::collections::BTreeSet;

pub use group::{GroupStep, next_change, plan_meta};

use crate::command::{Purpose, Step};
use crate::meta::{Move, Replicas, Stage};
use crate::names::{NodeId, ShardId};

/// What placement has to know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub id: NodeId,
    /// Where it runs. Nodes of which nobody said are in a zone together.
    pub zone: Box<str>,
    /// It lives. One that does not keeps what it has, but gets nothing new.
    pub is_live: bool,
    /// It gives away what it has.
    pub drain: Option<Purpose>,
    /// Retired nodes whose place it takes.
    pub replaces: Vec<NodeId>,
}

impl Place {
    /// Whether it keeps shards, in the end.
    fn stays(&self) -> bool {
        self.drain != Some(Purpose::Leave)
    }
}

/// The next step of each shard that is not where it should be and need not wait, from shard 1 on.
pub fn plan(places: &[Place], shards: &[Replicas]) -> Vec<(ShardId, Step)> {
    let targets = target::targets(places, shards);
    let leaders = leaders::leaders(places, shards, &targets);
    let is_settled = |(replicas, target): (&Replicas, &BTreeSet<NodeId>)| {
        replicas.moving.is_none() && replicas.voters.iter().eq(target)
    };
    let all_settled = shards.iter().zip(&targets).all(is_settled);
    let steps = shards.iter().zip(&targets).zip(&leaders).map(|((replicas, target), leader)| {
        let must_go = |node: NodeId| !target.contains(&node) || !may_lead(places, node);
        // Leaders are evened out once, when all replicas are in place, and not again with each of them.
        let prefers = replicas.leader != *leader && (all_settled || must_go(replicas.leader));
        if prefers && replicas.voters.contains(leader) {
            return Some(Step::Prefer(*leader));
        }
        step(places, replicas, target)
    });
    let numbered = (1..).map(ShardId).zip(steps);
    numbered.filter_map(|(shard, step)| Some((shard, step?))).collect()
}

/// Whether the node may lead shards. One that is down may: it comes back, and others lead meanwhile.
fn may_lead(places: &[Place], node: NodeId) -> bool {
    places.iter().any(|place| place.id == node && place.drain.is_none())
}

/// The next step towards the target.
fn step(places: &[Place], replicas: &Replicas, target: &BTreeSet<NodeId>) -> Option<Step> {
    let place = |node| places.iter().find(|place| place.id == node);
    // Whoever leads is asked to let another lead first.
    let surplus: Vec<NodeId> =
        replicas.voters.iter().copied().filter(|node| !target.contains(node) && *node != replicas.leader).collect();
    if let Some(Move { to, from, stage }) = replicas.moving {
        return match stage {
            // Nobody needs it there any more.
            Stage::Learner | Stage::CaughtUp if !target.contains(&to) => Some(Step::Remove(to)),
            // The shard's leader says when it has caught up.
            Stage::Learner => None,
            Stage::CaughtUp => Some(Step::Promote(to)),
            Stage::Voter => {
                let planned = from.filter(|from| surplus.contains(from));
                planned.or(surplus.first().copied()).map(Step::Remove)
            }
        };
    }
    let mut missing = target.iter().copied().filter(|node| !replicas.voters.contains(node));
    // Who is gone for good is replaced before who only should be elsewhere; a successor takes the place of its own.
    let gives_up = |to: NodeId| {
        let predecessors = place(to).map_or(&[][..], |place| &place.replaces);
        let mut leaving: Vec<NodeId> = replicas.voters.iter().copied().filter(|it| !target.contains(it)).collect();
        leaving.sort_by_key(|node| (!predecessors.contains(node), place(*node).is_some(), *node));
        leaving.first().copied()
    };
    if replicas.voters.len() > target.len() {
        return surplus.first().copied().map(Step::Remove);
    }
    let to = missing.find(|node| place(*node).is_some_and(|place| place.is_live))?;
    Some(Step::AddLearner { node: to, replaces: gives_up(to).filter(|_| replicas.voters.len() >= target.len()) })
}

#[cfg(test)]
mod tests;
