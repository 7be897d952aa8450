//! How nodes give away what they have.

use super::*;

#[test]
fn a_node_leaves_for_ever_when_it_has_nothing_and_does_not_live() {
    let mut world = World::new(3);
    let drain = |node, purpose| Command::Drain { node, purpose };
    assert_eq!(world.refused(Command::Gone { node: 1 }), Refusal::NotLeaving { node: 1 });
    assert_eq!(world.apply(drain(1, Purpose::Leave)), Reply::Done);
    assert_eq!(world.apply(drain(1, Purpose::Leave)), Reply::DoneBefore);
    assert_eq!(world.meta.state(1), Some(State::Draining));
    let keeps = world.refused(Command::Gone { node: 1 });
    assert_eq!(text(&keeps), "node 0000000000000001 keeps 12 replicas, wanted are 0");

    assert_eq!(world.apply(drain(2, Purpose::Leave)), Reply::Done);
    assert_eq!(world.refused(drain(3, Purpose::Leave)), Refusal::LastNode { node: 3, name: "broker-3".into() });
    assert_eq!(world.refused(Command::Gone { node: 2 }), Refusal::StillLive { member: member(2, 1) });
    world.remove(member(2, 1));
    assert_eq!(world.meta.state(2), Some(State::Down));
    assert_eq!(world.apply(Command::Gone { node: 2 }), Reply::Done);
    assert_eq!(world.apply(Command::Gone { node: 2 }), Reply::DoneBefore);
    assert_eq!(world.meta.state(2), Some(State::Gone));
    assert_eq!(world.refused(Command::Boot { cluster: CLUSTER, start: start(2, 2) }), Refusal::Retired { node: 2 });
}

#[test]
fn a_drain_can_be_cancelled() {
    let mut world = World::new(2);
    world.apply(Command::Drain { node: 2, purpose: Purpose::Leave });
    assert_eq!(world.meta.factor(), 1);
    assert_eq!(world.apply(Command::CancelDrain { node: 2 }), Reply::Done);
    assert_eq!(world.apply(Command::CancelDrain { node: 2 }), Reply::DoneBefore);
    assert_eq!((world.meta.state(2), world.meta.factor()), (Some(State::Up), 2));
    assert_eq!(world.refused(Command::CancelDrain { node: 9 }), Refusal::Unknown { node: 9 });
}

#[test]
fn a_start_ends_the_drain_for_a_restart_but_not_the_one_for_leaving() {
    let mut world = World::new(3);
    for (node, purpose) in [(2, Purpose::Restart), (3, Purpose::Leave)] {
        world.apply(Command::Drain { node, purpose });
        world.remove(member(node, 1));
        world.boot(start(node, 2));
    }
    world.confirm_all(member(2, 2));
    world.confirm_all(member(3, 2));
    assert_eq!(world.states(), [(1, State::Up), (2, State::Up), (3, State::Draining)]);
}
