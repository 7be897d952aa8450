//! Reads that see everything committed before they were asked for.

mod fixture;

use fixture::*;
use fulmar_raft::{Body, ReadError, ReadOutcome, Settings};

fn beat(round: u64) -> Body {
    Body::Beat { round, received: 1, matched: 1 }
}

#[test]
fn a_read_waits_for_a_round_of_heartbeats_sent_after_it() {
    let mut leader = Played::leader();
    leader.group.read(7, leader.now).unwrap();
    let heartbeat = message(1, Body::Heartbeat { committed: 1, round: 1 });
    let outputs = leader.outputs();
    assert_eq!((outputs.messages, outputs.reads), (vec![(2, heartbeat.clone()), (3, heartbeat)], vec![]));
    leader.receive(2, 1, beat(0));
    assert_eq!(leader.outputs().reads, [], "an answer to an older round proves nothing");
    leader.receive(2, 1, beat(1));
    assert_eq!(leader.outputs().reads, [(7, ReadOutcome::At(1))]);
}

#[test]
fn reads_that_come_together_share_a_round_and_later_ones_get_another() {
    let mut leader = Played::leader();
    leader.group.read(1, leader.now).unwrap();
    leader.group.read(2, leader.now).unwrap();
    assert_eq!(leader.messages().len(), 2);
    leader.group.read(3, leader.now).unwrap();
    assert_eq!(leader.messages().len(), 2);
    leader.receive(3, 1, beat(1));
    assert_eq!(leader.outputs().reads, [(1, ReadOutcome::At(1)), (2, ReadOutcome::At(1))]);
    leader.receive(2, 1, beat(2));
    assert_eq!(leader.outputs().reads, [(3, ReadOutcome::At(1))]);
}

#[test]
fn a_new_leader_answers_reads_after_its_first_entry_is_committed() {
    let mut leader = Played::new(voters(&[1, 2, 3]));
    leader.elect();
    leader.group.read(1, leader.now).unwrap();
    leader.outputs();
    leader.receive(2, 1, Body::Beat { round: 1, received: 1, matched: 0 });
    assert_eq!(leader.outputs().reads, [], "it can't know yet what its predecessor has committed");
    leader.receive(2, 1, Body::Stored { matched: 1 });
    assert_eq!(leader.outputs().reads, [(1, ReadOutcome::At(1))]);
}

#[test]
fn reads_of_a_leader_that_is_none_any_more_are_refused() {
    let mut leader = Played::leader();
    leader.group.read(1, leader.now).unwrap();
    leader.outputs();
    leader.receive(3, 2, Body::Heartbeat { committed: 0, round: 0 });
    assert_eq!(leader.outputs().reads, [(1, ReadOutcome::NotLeader)]);
    assert_eq!(leader.group.read(2, leader.now), Err(ReadError::NotLeader { leader: Some(3) }));
}

#[test]
fn reads_that_wait_are_limited() {
    let mut leader = Played::leader_with(Settings { reads_max: 1, ..Settings::default() });
    assert_eq!(leader.group.read(1, leader.now), Ok(()));
    assert_eq!(leader.group.read(2, leader.now), Err(ReadError::Full { max: 1 }));
}

#[test]
fn who_is_alone_answers_reads_at_once() {
    let mut node = Played::new(voters(&[1]));
    node.wait(0);
    node.outputs();
    node.group.read(1, node.now).unwrap();
    assert_eq!(node.outputs().reads, [(1, ReadOutcome::At(1))]);
}
