//! One step of a shard's replicas after the other.

use super::*;

const SHARD: ShardId = ShardId(3);

fn step(step: Step) -> Command {
    Command::MoveReplica { shard: SHARD, step }
}

fn add(node: NodeId, replaces: Option<NodeId>) -> Step {
    Step::AddLearner { node, replaces }
}

/// A shard of three voters.
fn three(nodes: u64) -> World {
    let mut world = World::new(nodes);
    for node in [2, 3] {
        for it in [add(node, None), Step::CaughtUp(node), Step::Promote(node)] {
            assert_eq!(world.apply(step(it)), Reply::Done);
        }
    }
    assert_eq!(world.meta.shard(SHARD).unwrap(), &Replicas { voters: vec![1, 2, 3], leader: 1, moving: None });
    world
}

#[test]
fn a_replica_moves_from_one_node_to_another_in_four_steps() {
    let mut world = three(4);
    let mut seen = Vec::new();
    for it in [add(4, Some(3)), Step::CaughtUp(4), Step::Promote(4), Step::Remove(3)] {
        assert_eq!(world.apply(step(it)), Reply::Done);
        let replicas = world.meta.shard(SHARD).unwrap();
        seen.push((replicas.voters().to_vec(), replicas.learner(), replicas.moving().map(|it| it.stage)));
        assert_eq!(world.apply(step(it)), Reply::DoneBefore, "{it:?}");
    }
    let wanted = [
        (vec![1, 2, 3], Some(4), Some(Stage::Learner)),
        (vec![1, 2, 3], Some(4), Some(Stage::CaughtUp)),
        (vec![1, 2, 3, 4], None, Some(Stage::Voter)),
        (vec![1, 2, 4], None, None),
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn a_step_that_does_not_follow_is_refused_by_name() {
    let mut world = three(5);
    let mut refused = |it| text(&world.refused(step(it)));
    let wanted = "shard 3, node 0000000000000002: a voter, wanted is a node without a replica";
    assert_eq!(refused(add(2, None)), wanted);
    assert_eq!(refused(add(4, Some(5))), "shard 3, node 0000000000000004: no voter to replace, wanted is a voter");
    assert_eq!(refused(Step::CaughtUp(4)), "shard 3, node 0000000000000004: no learner, wanted is a learner");
    let wanted = "shard 3, node 0000000000000004: no learner, wanted is a learner that has caught up";
    assert_eq!(refused(Step::Promote(4)), wanted);
    assert_eq!(refused(Step::Prefer(4)), "shard 3, node 0000000000000004: no voter, wanted is a voter");
    let wanted = "shard 3, node 0000000000000001: the preferred leader, wanted is another voter";
    assert_eq!(refused(Step::Remove(1)), wanted);
    assert_eq!(
        refused(add(9, None)),
        "node 0000000000000009 does not belong to the cluster; it may join with a new folder"
    );
    world.apply(step(add(4, Some(3))));
    let mut refused = |it| text(&world.refused(step(it)));
    let wanted = "shard 3, node 0000000000000004: a learner that is behind, wanted is one that has caught up";
    assert_eq!(refused(Step::Promote(4)), wanted);
    assert_eq!(
        refused(add(5, Some(2))),
        "shard 3, node 0000000000000005: another replica is on its way, wanted is one at a time"
    );
}

#[test]
fn a_shard_never_has_fewer_voters_than_there_should_be() {
    let mut world = three(4);
    let few = world.refused(step(Step::Remove(3)));
    assert_eq!(text(&few), "shard 3 would have 2 voters, at least 3 are wanted");
    world.apply(Command::Drain { node: 4, purpose: Purpose::Leave });
    assert_eq!(world.refused(step(Step::Remove(3))), few);
    world.apply(Command::Drain { node: 3, purpose: Purpose::Leave });
    assert_eq!(world.apply(step(Step::Remove(3))), Reply::Done);
    assert_eq!(world.meta.shard(SHARD).unwrap().voters(), [1, 2]);
}

#[test]
fn a_learner_may_be_taken_back_and_a_retired_voter_removed() {
    let mut world = three(4);
    world.apply(step(add(4, Some(3))));
    assert_eq!(world.apply(step(Step::Remove(4))), Reply::Done);
    assert_eq!(world.meta.shard(SHARD).unwrap().moving(), None);
    world.remove(member(3, 1));
    world.join(Start { name: "broker-3".into(), ..start(30, 1) });
    for it in [add(30, Some(3)), Step::CaughtUp(30), Step::Promote(30), Step::Remove(3)] {
        assert_eq!(world.apply(step(it)), Reply::Done);
    }
    assert_eq!(world.meta.shard(SHARD).unwrap().voters(), [1, 2, 30]);
    let again = step(add(3, None));
    assert_eq!(world.refused(again), Refusal::Unknown { node: 3 });
}

#[test]
fn there_is_no_shard_0_and_none_behind_the_last() {
    let mut world = three(3);
    for shard in [0, 13] {
        let shard = ShardId(shard);
        let refused = world.refused(Command::MoveReplica { shard, step: Step::Prefer(2) });
        assert_eq!(refused, Refusal::NoShard { shard, last: 12 });
        assert_eq!(world.meta.shard(shard), None);
    }
}
