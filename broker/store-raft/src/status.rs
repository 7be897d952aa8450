//! How groups are: for metrics, for an operator who looks, and for readiness.

use std::time::{Duration, Instant};

use fulmar_log::Disk;
use fulmar_raft::{Index, NodeId, Term};

use crate::engine::Engine;
use crate::hosted::{Goal, Hosted};

/// What a leader said how far it is counts so long: a follower may be behind what it said just now.
const GOAL_COUNTS: Duration = Duration::from_secs(1);

/// A leader says it often; after so long it is another leader's turn, or this node is cut off.
const GOAL_LASTS: Duration = Duration::from_secs(5);

/// One group on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// 0 is that of the cluster, others have shards.
    pub group: u16,
    /// Its term.
    pub term: Term,
    /// Who leads it, if known.
    pub leader: Option<NodeId>,
    /// This node leads it and has applied what earlier leaders have committed.
    pub serves: bool,
    /// The last entry that was applied here.
    pub applied: Index,
    /// The last entry known to be committed.
    pub committed: Index,
    /// Who decides.
    pub voters: Vec<NodeId>,
    /// Who only follows.
    pub learners: Vec<NodeId>,
    /// How many entries each of the others lacks, as their leader knows it; none unless this node is the leader.
    pub lags: Vec<(NodeId, u64)>,
}

impl<D: Disk + Clone> Engine<D> {
    /// All groups of this node, in order.
    pub fn group_statuses(&self) -> impl Iterator<Item = GroupStatus> {
        self.groups().map(|group| {
            let (last, membership) = (group.last().index, group.membership());
            let lags = group.followers().map(|follower| (follower.node, last.saturating_sub(follower.matched)));
            GroupStatus {
                group: group.number,
                term: group.term(),
                leader: group.leader(),
                serves: group.is_serving(),
                applied: group.applied,
                committed: group.committed(),
                voters: membership.voters().to_vec(),
                learners: membership.learners().to_vec(),
                lags: lags.collect(),
            }
        })
    }

    /// Whether this node has, in each of its groups, applied what was committed there, as its leader says: for
    /// readiness, and before another node is stopped.
    pub fn is_caught_up(&self, now: Instant) -> bool {
        let has_all = self.cluster.as_ref().is_none_or(|cluster| {
            let numbered = (1..).zip(cluster.meta.shards());
            let mut ours = numbered.filter(|(_, replicas)| replicas.has(self.me.id));
            cluster.meta.cluster().is_some() && ours.all(|(number, _)| self.hosted(number).is_some())
        });
        has_all && self.groups().all(|group| self.is_leaving(group.number) || is_group_caught_up(group, now))
    }
}

fn is_group_caught_up(group: &Hosted, now: Instant) -> bool {
    let has_reached = |goal: Goal| {
        let was = goal.was_reached && now < goal.told + GOAL_COUNTS;
        now < goal.told + GOAL_LASTS && (goal.index <= group.applied || was)
    };
    group.is_serving() || group.goal.is_some_and(has_reached)
}
