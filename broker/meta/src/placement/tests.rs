//! What placement does with clusters of many shapes. Steps are committed to a real state machine, which refuses what
//! must not be, until there are no more.

use std::collections::{BTreeMap, BTreeSet};

use fulmar_random::Random;
use proptest::prelude::*;

use super::*;
use crate::meta::VOTERS_MAX;
use crate::{ClusterId, Command, Entry, Member, Meta, Reply, Start};

const CLUSTER: ClusterId = ClusterId(9);

/// A cluster in which shards catch up at once.
struct World {
    meta: Meta,
}

fn start(id: NodeId, zone: &str) -> Start {
    Start {
        member: Member { id, incarnation: 1 },
        nonce: id,
        name: format!("broker-{id}").into(),
        addresses: vec![],
        zone: zone.into(),
        level: 1,
    }
}

impl World {
    /// Nodes 1, 2, 3 and so on, in these zones.
    fn new(shards: u16, zones: &[&str]) -> Self {
        let mut world = Self { meta: Meta::new() };
        world.commit(Command::Bootstrap { cluster: CLUSTER, shards, first: start(1, zones[0]) });
        for (id, zone) in (1..).zip(zones).skip(1) {
            world.join(start(id, zone));
        }
        world
    }

    /// The same, at rest.
    fn settled(shards: u16, zones: &[&str]) -> Self {
        let mut world = Self::new(shards, zones);
        world.settle();
        world
    }

    fn join(&mut self, start: Start) {
        let made_at = self.meta.applied();
        self.commit(Command::Join { cluster: CLUSTER, made_at, start });
    }

    fn commit(&mut self, command: Command) {
        let index = self.meta.applied() + 1;
        let shown = format!("{command:?}");
        let applied = self.meta.apply(index, &Entry { time: 0, commands: vec![command] });
        assert_eq!(applied.replies, [Reply::Done], "{shown}");
    }

    /// Takes every step at once, until there are none. Answers how many rounds there were, and learners.
    fn settle(&mut self) -> (usize, usize) {
        let mut learners = 0;
        for round in 0..40 {
            let steps = plan(&self.meta.places(), self.meta.shards());
            if steps.is_empty() {
                return (round, learners);
            }
            for (shard, step) in steps {
                learners += usize::from(matches!(step, Step::AddLearner { .. }));
                self.take(shard, step);
            }
        }
        panic!("the steps never end: {:?}", plan(&self.meta.places(), self.meta.shards()));
    }

    /// The state machine refuses a step after which a shard would have too few voters.
    fn take(&mut self, shard: ShardId, step: Step) {
        self.commit(Command::MoveReplica { shard, step });
        if let Step::AddLearner { node, .. } = step {
            self.commit(Command::MoveReplica { shard, step: Step::CaughtUp(node) });
        }
    }

    fn sets(&self) -> Vec<BTreeSet<NodeId>> {
        self.meta.shards().iter().map(|it| it.voters().iter().copied().collect()).collect()
    }

    fn loads(&self, of: impl Fn(&Replicas) -> Vec<NodeId>) -> BTreeMap<NodeId, usize> {
        let mut loads: BTreeMap<NodeId, usize> = self.meta.nodes().map(|(id, _)| (id, 0)).collect();
        for node in self.meta.shards().iter().flat_map(of) {
            *loads.entry(node).or_default() += 1;
        }
        loads
    }

    fn replicas(&self) -> BTreeMap<NodeId, usize> {
        self.loads(|it| it.voters().to_vec())
    }

    fn leaders(&self) -> BTreeMap<NodeId, usize> {
        self.loads(|it| vec![it.leader()])
    }

    /// What must be true of a cluster at rest. All of it follows from what is wanted, not from how it is found.
    fn check(&self) {
        let places = self.meta.places();
        let staying: Vec<&Place> = places.iter().filter(|place| place.stays()).collect();
        let factor = staying.len().min(VOTERS_MAX);
        let zone_of: BTreeMap<NodeId, &str> = staying.iter().map(|place| (place.id, &*place.zone)).collect();
        let zones: BTreeSet<&str> = zone_of.values().copied().collect();
        for set in self.sets() {
            assert_eq!(set.len(), factor, "as many voters as there should be");
            let found: BTreeSet<&str> = set.iter().map(|node| zone_of[node]).collect();
            assert_eq!(found.len(), zones.len().min(factor), "in as many zones as can be");
        }
        // A node may have fewer than another by two or more only if its zone can't have more, or the other's can't have
        // less: each shard has one voter at least in each zone if there are few, and at most so many that the others
        // have theirs.
        let shards = self.meta.shards().len();
        let most_per_shard = factor + 1 - zones.len().min(factor);
        let loads = self.replicas();
        for (full, full_zone) in &zone_of {
            for (empty, empty_zone) in &zone_of {
                if loads[full] < loads[empty] + 2 {
                    continue;
                }
                let nodes_in = |zone| zone_of.values().filter(|other| **other == zone).count();
                let total =
                    |zone| zone_of.iter().filter(|(_, it)| **it == zone).map(|(id, _)| loads[id]).sum::<usize>();
                let can_take = total(*empty_zone) < shards * most_per_shard.min(nodes_in(*empty_zone));
                let least = if zones.len() <= factor { shards } else { 0 };
                let can_give = total(*full_zone) > least;
                let why = format!("{loads:?} in {zone_of:?}");
                assert!(full_zone != empty_zone && !(can_take && can_give), "{full} has more than {empty}: {why}");
            }
        }
    }

    fn check_leaders(&self) {
        let leaders = self.leaders();
        let may_lead: Vec<usize> =
            leaders.iter().filter(|(id, _)| may_lead(&self.meta.places(), **id)).map(|(_, load)| *load).collect();
        let (most, least) = (may_lead.iter().max().unwrap(), may_lead.iter().min().unwrap());
        assert!(most - least <= 1, "{leaders:?}");
    }
}

const COUNTS: [usize; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16];

#[test]
fn every_number_of_nodes_keeps_and_leads_equally_many_shards() {
    for shards in [12, 64] {
        for nodes in COUNTS {
            let world = World::settled(shards, &vec!["z"; nodes]);
            world.check();
            world.check_leaders();
            let loads: BTreeSet<usize> = world.replicas().into_values().collect();
            assert!(loads.last().unwrap() - loads.first().unwrap() <= 1, "{nodes} nodes, {shards} shards: {loads:?}");
        }
    }
}

#[test]
fn three_zones_have_one_voter_each_of_every_shard() {
    let world = World::settled(12, &["a", "b", "c", "a", "b", "c"]);
    world.check();
    assert_eq!(world.replicas().into_values().collect::<Vec<_>>(), [6; 6]);
    let world = World::settled(12, &["a", "a", "a", "b", "c"]);
    world.check();
    assert_eq!(world.replicas().into_values().collect::<Vec<_>>(), [4, 4, 4, 12, 12]);
}

#[test]
fn a_new_node_gets_its_fair_share_and_nothing_else_moves() {
    for shards in [12, 64] {
        for nodes in COUNTS {
            let mut world = World::settled(shards, &vec!["z"; nodes]);
            let before = world.sets();
            let id = nodes as NodeId + 1;
            world.join(start(id, "z"));
            let (_, learners) = world.settle();
            world.check();
            let share = world.replicas()[&id];
            assert_eq!(learners, share, "{nodes} nodes");
            assert!(share <= (usize::from(shards) * (nodes + 1).min(3)).div_ceil(nodes + 1), "{nodes} nodes: {share}");
            for (before, after) in before.iter().zip(world.sets()) {
                assert!(after.difference(before).all(|node| *node == id), "{before:?} {after:?}");
            }
        }
    }
}

#[test]
fn a_restart_moves_nothing_and_a_node_that_is_down_gets_nothing_new() {
    let mut world = World::settled(12, &["z"; 4]);
    world.commit(Command::Lead { leader: 1, term: 1 });
    world.commit(Command::Remove { member: Member { id: 2, incarnation: 1 }, term: 1 });
    assert_eq!(plan(&world.meta.places(), world.meta.shards()), []);

    // One that is down at first waits for its share, and so do others for what it would take off them.
    let mut world = World::new(12, &["z", "z"]);
    world.commit(Command::Lead { leader: 1, term: 1 });
    world.commit(Command::Remove { member: Member { id: 2, incarnation: 1 }, term: 1 });
    assert_eq!(plan(&world.meta.places(), world.meta.shards()), []);
}

#[test]
fn who_leaves_is_emptied_one_learner_at_a_time() {
    let mut world = World::settled(12, &["z"; 5]);
    world.commit(Command::Drain { node: 2, purpose: Purpose::Leave });
    let mut voters = 12 * 3;
    for _ in 0..20 {
        let steps = plan(&world.meta.places(), world.meta.shards());
        assert_eq!(steps.iter().map(|(shard, _)| shard).collect::<BTreeSet<_>>().len(), steps.len());
        for (shard, step) in steps {
            assert!(!matches!(step, Step::Prefer(2) | Step::AddLearner { node: 2, .. }), "{step:?}");
            world.take(shard, step);
        }
        let now = world.replicas().into_values().sum::<usize>();
        assert!(now >= 12 * 3, "{now} of {voters}");
        voters = now;
    }
    world.check();
    world.check_leaders();
    assert_eq!((world.replicas()[&2], world.leaders()[&2]), (0, 0));
}

#[test]
fn who_restarts_keeps_its_replicas_and_leads_nothing_until_it_is_back() {
    let mut world = World::settled(12, &["z"; 3]);
    world.commit(Command::Drain { node: 2, purpose: Purpose::Restart });
    world.settle();
    assert_eq!(world.replicas().into_values().collect::<Vec<_>>(), [12; 3]);
    assert_eq!(world.leaders().into_values().collect::<Vec<_>>(), [6, 0, 6]);
    world.commit(Command::CancelDrain { node: 2 });
    world.settle();
    assert_eq!(world.leaders().into_values().collect::<Vec<_>>(), [4; 3]);
}

#[test]
fn three_nodes_become_two_and_one_and_three_again() {
    let mut world = World::settled(12, &["z"; 3]);
    world.commit(Command::Drain { node: 3, purpose: Purpose::Leave });
    assert_eq!(world.settle().1, 0, "nobody gets anything");
    assert_eq!(world.replicas().into_values().collect::<Vec<_>>(), [12, 12, 0]);
    world.commit(Command::Drain { node: 1, purpose: Purpose::Leave });
    world.settle();
    assert_eq!(world.replicas().into_values().collect::<Vec<_>>(), [0, 12, 0]);
    assert_eq!(world.leaders().into_values().collect::<Vec<_>>(), [0, 12, 0]);
    world.commit(Command::CancelDrain { node: 1 });
    world.commit(Command::CancelDrain { node: 3 });
    world.settle();
    world.check();
    world.check_leaders();
}

#[test]
fn a_new_folder_takes_the_place_of_the_lost_one_in_every_shard() {
    let mut world = World::settled(12, &["z"; 5]);
    let before = world.sets();
    world.commit(Command::Lead { leader: 1, term: 1 });
    world.commit(Command::Remove { member: Member { id: 3, incarnation: 1 }, term: 1 });
    world.join(Start { name: "broker-3".into(), ..start(30, "z") });
    world.settle();
    let replaced: Vec<BTreeSet<NodeId>> =
        before.iter().map(|set| set.iter().map(|node| if *node == 3 { 30 } else { *node }).collect()).collect();
    assert_eq!(world.sets(), replaced);
    world.check_leaders();
}

#[test]
fn a_move_to_a_node_that_leaves_meanwhile_is_taken_back() {
    for stage in 0..3 {
        let mut world = World::settled(1, &["z"; 3]);
        let shard = ShardId(1);
        world.join(start(4, "z"));
        let steps = [Step::AddLearner { node: 4, replaces: Some(3) }, Step::CaughtUp(4), Step::Promote(4)];
        for step in &steps[..=stage] {
            world.commit(Command::MoveReplica { shard, step: *step });
        }
        world.commit(Command::Drain { node: 4, purpose: Purpose::Leave });
        assert_eq!(plan(&world.meta.places(), world.meta.shards()), [(shard, Step::Remove(4))]);
        world.settle();
        assert_eq!(world.sets(), [BTreeSet::from([1, 2, 3])]);
    }
}

#[test]
fn a_group_follows_the_shard_map_additions_first() {
    let moving = |stage| Some(Move { to: 4, from: Some(3), stage });
    let wanted = |voters: &[NodeId], moving| Replicas { voters: voters.to_vec(), leader: 1, moving };
    let learner = wanted(&[1, 2, 3], moving(Stage::Learner));
    assert_eq!(next_change(&learner, &[1, 2, 3], &[]), Some(GroupStep::AddLearner(4)));
    assert_eq!(next_change(&learner, &[1, 2, 3], &[4]), None);
    // Two steps were committed while the group was busy: they follow one by one.
    let moved = wanted(&[1, 2, 4], None);
    assert_eq!(next_change(&moved, &[1, 2, 3], &[]), Some(GroupStep::AddLearner(4)));
    assert_eq!(next_change(&moved, &[1, 2, 3], &[4]), Some(GroupStep::Promote(4)));
    assert_eq!(next_change(&moved, &[1, 2, 3, 4], &[]), Some(GroupStep::Remove(3)));
    assert_eq!(next_change(&moved, &[1, 2, 4], &[]), None);
}

/// Follows `plan_meta` to its end.
fn settle_group(places: &[Place], voters: &mut Vec<NodeId>, learners: &mut Vec<NodeId>) {
    for _ in 0..60 {
        let before = voters.len();
        match plan_meta(places, voters, learners) {
            None => return,
            Some(GroupStep::AddLearner(node)) => learners.push(node),
            Some(GroupStep::Promote(node)) => {
                learners.retain(|it| *it != node);
                voters.push(node);
            }
            Some(GroupStep::Demote(node)) => {
                voters.retain(|it| *it != node);
                learners.push(node);
            }
            Some(GroupStep::Remove(node)) => learners.retain(|it| *it != node),
        }
        let staying = places.iter().filter(|place| place.stays()).count();
        assert!(voters.len() >= before.min(group::meta_voters(staying)), "{places:?}");
    }
    panic!("the steps never end");
}

fn place(id: NodeId, zone: &str) -> Place {
    Place { id, zone: zone.into(), is_live: true, drain: None, replaces: vec![] }
}

#[test]
fn the_group_of_the_cluster_has_1_2_3_or_5_voters_in_all_zones() {
    for (nodes, wanted) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (9, 5), (16, 5)] {
        let mut places: Vec<Place> = (1..=nodes).map(|id| place(id, ["a", "b", "c"][id as usize % 3])).collect();
        let (mut voters, mut learners) = (vec![1], vec![]);
        settle_group(&places, &mut voters, &mut learners);
        assert_eq!((voters.len(), voters.len() + learners.len()), (wanted, nodes as usize));
        let zones: BTreeSet<u64> = voters.iter().map(|id| id % 3).collect();
        assert_eq!(zones.len(), wanted.min(3), "{voters:?}");

        // One of the voters leaves, and another gets its vote first.
        if nodes > 1 {
            places[0].drain = Some(Purpose::Leave);
            settle_group(&places, &mut voters, &mut learners);
            assert!(!voters.contains(&1) && learners.contains(&1), "{nodes}: {voters:?}");
            places.remove(0);
            settle_group(&places, &mut voters, &mut learners);
            assert!(!learners.contains(&1), "who is gone is in no group");
        }
    }
}

#[test]
fn who_is_down_keeps_its_vote_but_gets_none() {
    let mut places: Vec<Place> = (1..=4).map(|id| place(id, "")).collect();
    places[1].is_live = false;
    assert_eq!(plan_meta(&places, &[1, 2, 3], &[4]), None);
    assert_eq!(plan_meta(&places, &[1, 3], &[2, 4]), Some(GroupStep::Promote(4)));
    assert_eq!(plan_meta(&places, &[1, 3], &[2]), Some(GroupStep::AddLearner(4)));
}

/// A cluster that grows, shrinks, loses volumes, and is disturbed in the middle of what it does.
fn shaken(seed: u64) -> World {
    let mut random = Random::new(seed);
    let zones: Vec<&str> = ["a", "b", "c", "d", ""][..1 + random.below(5) as usize].to_vec();
    let shards = random.pick(&[12, 64]);
    let mut world = World::new(shards, &[random.pick(&zones)]);
    world.commit(Command::Lead { leader: 1, term: 1 });
    let mut next = 2;
    for _ in 0..12 {
        let nodes: Vec<NodeId> = world.meta.nodes().map(|(id, _)| id).collect();
        let node = random.pick(&nodes);
        let known = world.meta.node(node).unwrap().clone();
        let stay = world.meta.places().iter().filter(|place| place.stays()).count();
        match random.below(10) {
            0..5 if nodes.len() < 16 => {
                world.join(start(next, random.pick(&zones)));
                next += 1;
            }
            5..7 if known.drain.is_none() && stay > 1 => {
                world.commit(Command::Drain { node, purpose: random.pick(&[Purpose::Leave, Purpose::Restart]) });
            }
            7 if known.drain.is_some() => world.commit(Command::CancelDrain { node }),
            8 if known.drain.is_none() => {
                world.commit(Command::Remove { member: known.member, term: 1 });
                world.join(Start { name: known.name, ..start(next, &known.zone) });
                next += 1;
            }
            _ => {}
        }
        for _ in 0..random.below(4) {
            for (shard, step) in plan(&world.meta.places(), world.meta.shards()) {
                if random.below(3) > 0 {
                    world.take(shard, step);
                }
            }
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_happened_the_steps_end_where_they_should(seed in any::<u64>()) {
        let mut world = shaken(seed);
        world.settle();
        world.check();
        for node in world.meta.places().iter().filter(|place| !place.stays()) {
            prop_assert_eq!(world.replicas()[&node.id], 0);
        }
    }

    #[test]
    fn any_zones_are_used_as_evenly_as_they_can_be(zones in prop::collection::vec(0..5_usize, 1..16)) {
        let zones: Vec<&str> = zones.into_iter().map(|zone| ["a", "b", "c", "d", "e"][zone]).collect();
        World::settled(12, &zones).check();
    }
}
