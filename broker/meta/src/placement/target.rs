//! Who should be the voters of each shard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Place;
use super::balance::{Loads, even_out};
use crate::meta::{Replicas, VOTERS_MAX};
use crate::names::NodeId;

/// The voters that each shard should have: what it has, completed and moved as little as can be.
pub(super) fn targets(places: &[Place], shards: &[Replicas]) -> Vec<BTreeSet<NodeId>> {
    let nodes: BTreeMap<NodeId, &Place> =
        places.iter().filter(|place| place.stays()).map(|place| (place.id, place)).collect();
    let sets = shards.iter().map(|replicas| kept(&nodes, replicas)).collect();
    let mut layout = Layout { factor: nodes.len().min(VOTERS_MAX), nodes, sets };
    for shard in 0..layout.sets.len() {
        layout.complete(shard);
    }
    for shard in 0..layout.sets.len() {
        layout.spread(shard);
    }
    even_out(
        &mut layout,
        Layout::loads,
        |layout, from, to| (0..layout.sets.len()).find(|shard| layout.can_move(*shard, from, to)),
        |layout, shard, from, to| layout.change(shard, Some(from), Some(to)),
    );
    layout.sets
}

/// Those that a shard has, a move under way counted as done, and retired nodes replaced by those that came for them.
fn kept(nodes: &BTreeMap<NodeId, &Place>, replicas: &Replicas) -> BTreeSet<NodeId> {
    let mut has: BTreeSet<NodeId> = replicas.voters.iter().copied().collect();
    if let Some(moving) = replicas.moving.filter(|moving| nodes.contains_key(&moving.to)) {
        has.insert(moving.to);
        if let Some(from) = moving.from {
            has.remove(&from);
        }
    }
    let successor = |old: &NodeId| nodes.values().find(|place| place.replaces.contains(old)).map(|place| place.id);
    let successors: Vec<NodeId> = has.iter().filter_map(successor).collect();
    has.extend(successors);
    has.retain(|node| nodes.contains_key(node));
    has
}

struct Layout<'a> {
    /// Those that keep shards.
    nodes: BTreeMap<NodeId, &'a Place>,
    factor: usize,
    sets: Vec<BTreeSet<NodeId>>,
}

impl Layout<'_> {
    fn loads(&self) -> Loads {
        let mut loads: Loads = self.nodes.keys().map(|node| (*node, 0)).collect();
        for node in self.sets.iter().flatten() {
            *loads.entry(*node).or_default() += 1;
        }
        loads
    }

    fn change(&mut self, shard: usize, remove: Option<NodeId>, add: Option<NodeId>) {
        let set = &mut self.sets[shard];
        if let Some(node) = remove {
            set.remove(&node);
        }
        set.extend(add);
    }

    fn zone(&self, node: NodeId) -> &str {
        self.nodes.get(&node).map_or("", |place| &place.zone)
    }

    fn zones(&self, of: impl Iterator<Item = NodeId>) -> usize {
        of.map(|node| self.zone(node)).collect::<BTreeSet<_>>().len()
    }

    /// In how many zones the shard would be if one replica moved.
    fn zones_after(&self, shard: usize, from: NodeId, to: NodeId) -> usize {
        self.zones(self.sets[shard].iter().copied().filter(|node| *node != from).chain([to]))
    }

    /// Whether a replica can move without being in fewer zones.
    fn can_move(&self, shard: usize, from: NodeId, to: NodeId) -> bool {
        let set = &self.sets[shard];
        set.contains(&from)
            && !set.contains(&to)
            && self.zones_after(shard, from, to) >= self.zones(set.iter().copied())
    }

    /// As many as there should be: those in new zones first, then those that have least.
    fn complete(&mut self, shard: usize) {
        while self.sets[shard].len() > self.factor {
            let loads = self.loads();
            let set = &self.sets[shard];
            let without = |node: NodeId| self.zones(set.iter().copied().filter(|other| *other != node));
            let most = set.iter().copied().max_by_key(|node| (without(*node), loads[node], *node));
            self.change(shard, most, None);
        }
        while self.sets[shard].len() < self.factor {
            let loads = self.loads();
            let set = &self.sets[shard];
            let with = |node: NodeId| self.zones(set.iter().copied().chain([node]));
            let others = self.nodes.keys().copied().filter(|node| !set.contains(node));
            let best = others.max_by_key(|node| (with(*node), Reverse(loads[node]), Reverse(*node)));
            self.change(shard, None, best);
        }
    }

    /// Moves replicas until the shard is in as many zones as can be.
    fn spread(&mut self, shard: usize) {
        let most = self.zones(self.nodes.keys().copied()).min(self.factor);
        while self.zones(self.sets[shard].iter().copied()) < most {
            let loads = self.loads();
            let set = &self.sets[shard];
            let others = || self.nodes.keys().copied().filter(|node| !set.contains(node));
            let moves = set.iter().flat_map(|from| others().map(|to| (*from, to)));
            let best = moves.max_by_key(|(from, to)| {
                (self.zones_after(shard, *from, *to), loads[from], Reverse(loads[to]), *from, Reverse(*to))
            });
            let Some((from, to)) = best else { return };
            self.change(shard, Some(from), Some(to));
        }
    }
}
