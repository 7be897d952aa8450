//! A cluster of which one node is left.

use super::*;

const INDEX: Index = 1000 + RECOVERY_GAP;
const TERM: Term = 5 + RECOVERY_GAP;

/// Of three nodes the second one is left, which was about to leave, under another id.
fn recovered() -> World {
    let mut world = World::new(3);
    world.apply(Command::Drain { node: 2, purpose: Purpose::Leave });
    let survivor = Survivor { was: 2, id: 20, index: INDEX, term: TERM };
    World { meta: world.meta.recovered(survivor).unwrap() }
}

fn of_survivor(incarnation: Incarnation) -> Start {
    Start { name: "broker-2".into(), ..start(20, incarnation) }
}

#[test]
fn one_node_keeps_all_and_whoever_comes_back_begins_anew() {
    let mut world = recovered();
    assert_eq!((world.meta.cluster(), world.meta.applied()), (Some(CLUSTER), INDEX));
    assert_eq!(world.states(), [(20, State::Down)]);
    assert!(world.meta.shards().iter().all(|it| (it.voters(), it.leader(), it.moving()) == (&[20][..], 20, None)));
    assert_eq!((world.meta.shards().len(), world.view(), world.meta.view().number > RECOVERY_GAP), (12, vec![], true));
    for lost in 1..=3 {
        let refusal = world.refused(Command::Boot { cluster: CLUSTER, start: start(lost, 9) });
        assert_eq!((refusal.clone(), refusal.advice()), (Refusal::Retired { node: lost }, Advice::StartAnew));
    }
    // Of these the folder that is left knew nothing.
    let later = world.refused(Command::Boot { cluster: CLUSTER, start: start(4, 2) });
    assert_eq!((later.clone(), later.advice()), (Refusal::Unknown { node: 4 }, Advice::StartAnew));
    let joining = Command::Join { cluster: CLUSTER, made_at: 1002, start: start(5, 1) };
    assert_eq!(world.refused(joining).advice(), Advice::StartAnew);

    assert_eq!(world.boot(of_survivor(1)), Reply::Done);
    assert_eq!(world.join(start(6, 1)), Reply::Done);
    assert_eq!(world.join(Start { name: "broker-1".into(), ..start(7, 1) }), Reply::Done, "its name is free");
    assert_eq!(world.view(), [member(6, 1), member(7, 1), member(20, 1)]);
}

#[test]
fn what_was_decided_before_does_not_count() {
    let mut world = recovered();
    let refusal = world.refused(Command::Lead { leader: 1, term: 9 });
    assert_eq!(refusal, Refusal::NotLeading { found: 9, wanted: TERM });
}

#[test]
fn the_state_is_read_as_it_was_written() {
    let world = recovered();
    let mut bytes = Vec::new();
    world.meta.snapshot(&mut bytes);
    assert_eq!(Meta::load(&bytes), Ok(world.meta));
}

#[test]
fn a_node_that_the_cluster_does_not_know_recovers_nothing() {
    let survivor = Survivor { was: 9, id: 20, index: INDEX, term: TERM };
    assert_eq!(World::new(2).meta.recovered(survivor), None);
    assert_eq!(Meta::new().recovered(survivor), None);
}

#[test]
fn more_nodes_than_are_remembered_by_name_are_refused_all_the_same() {
    let mut meta = World::new(3).meta;
    for round in 0..TOMBSTONES_MAX as u64 {
        let was = meta.nodes().next().unwrap().0;
        let survivor = Survivor { was, id: 10_000 + round, index: meta.applied() + 1, term: meta.leader().term + 1 };
        meta = meta.recovered(survivor).unwrap();
    }
    let mut world = World { meta };
    assert_eq!(world.meta.tombstones(), TOMBSTONES_MAX);
    let forgotten = (1..=3).filter(|id| world.meta.tombstone(*id).is_none()).count();
    assert!(forgotten > 0, "so many were retired");
    for lost in 1..=3 {
        let refusal = world.refused(Command::Boot { cluster: CLUSTER, start: start(lost, 9) });
        assert_eq!(refusal.advice(), Advice::StartAnew);
    }
}
