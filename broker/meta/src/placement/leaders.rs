//! Who should lead each shard.

use std::collections::BTreeSet;

use super::balance::{Loads, even_out};
use super::{Place, may_lead};
use crate::meta::Replicas;
use crate::names::NodeId;

/// The leader that each shard should have, among the voters that it has: the one that it has, unless that may not lead
/// or others lead less.
pub(super) fn leaders(places: &[Place], shards: &[Replicas], targets: &[BTreeSet<NodeId>]) -> Vec<NodeId> {
    let candidates = |(replicas, target): (&Replicas, &BTreeSet<NodeId>)| -> Vec<NodeId> {
        let voters = || replicas.voters.iter().copied();
        let good: Vec<_> = voters().filter(|node| target.contains(node) && may_lead(places, *node)).collect();
        if !good.is_empty() {
            return good;
        }
        // Better one that leaves later than one that is not there, and better that one than none.
        let known: Vec<_> = voters().filter(|node| places.iter().any(|place| place.id == *node)).collect();
        if known.is_empty() || known.contains(&replicas.leader) { vec![replicas.leader] } else { known }
    };
    let candidates: Vec<Vec<NodeId>> = shards.iter().zip(targets).map(candidates).collect();
    let mut chosen: Vec<NodeId> = shards.iter().map(|replicas| replicas.leader).collect();
    for shard in 0..chosen.len() {
        if !candidates[shard].contains(&chosen[shard]) {
            let loads = loads(&chosen, places);
            let least = candidates[shard].iter().min_by_key(|node| (loads.get(node), **node));
            chosen[shard] = least.copied().unwrap_or(chosen[shard]);
        }
    }
    even_out(
        &mut chosen,
        |chosen| loads(chosen, places),
        |chosen, from, to| (0..chosen.len()).find(|shard| chosen[*shard] == from && candidates[*shard].contains(&to)),
        |chosen, shard, _, to| chosen[shard] = to,
    );
    chosen
}

fn loads(chosen: &[NodeId], places: &[Place]) -> Loads {
    let can = |place: &&Place| place.drain.is_none();
    let mut loads: Loads = places.iter().filter(can).map(|place| (place.id, 0)).collect();
    for node in chosen {
        *loads.entry(*node).or_default() += 1;
    }
    loads
}
