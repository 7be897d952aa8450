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
        let known = |node: &NodeId| places.iter().any(|place| place.id == *node);
        let leads = |node: &NodeId| may_lead(places, *node);
        let stays = |node: &NodeId| target.contains(node);
        let voters =
            |which: &dyn Fn(&NodeId) -> bool| replicas.voters.iter().copied().filter(which).collect::<Vec<_>>();
        // Better one that restarts soon than one that has to go, and better that one than one that is not there.
        let choices = [voters(&|node| stays(node) && leads(node)), voters(&stays), voters(&known)];
        choices.into_iter().find(|choice| !choice.is_empty()).unwrap_or_else(|| vec![replicas.leader])
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
