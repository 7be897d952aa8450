//! What is compacted, who gets a snapshot, and what one does to the log.

mod fixture;

use fixture::*;
use fulmar_raft::{
    Body, Entry, HardState, Outputs, Position, RecoverError, Recovered, Settings, Snapshot, SnapshotOrder, Write,
};

fn snapshot(position: Position) -> Snapshot {
    Snapshot { position, membership: voters(&[1, 2, 3]) }
}

fn send(to: u64) -> Vec<SnapshotOrder> {
    vec![SnapshotOrder::Send { to, term: 1 }]
}

fn stop(to: u64) -> Vec<SnapshotOrder> {
    vec![SnapshotOrder::Stop { to }]
}

/// A leader whose log starts after entry 2, and node 3 that has nothing.
fn leader_without_log() -> Played {
    let mut leader = Played::new(voters(&[1, 2, 3]));
    leader.elect();
    leader.propose(b"x");
    leader.outputs();
    leader.receive(2, 1, Body::Stored { matched: 2 });
    leader.outputs();
    leader.group.applied(1);
    leader.outputs();
    leader.group.applied(2);
    assert_eq!(leader.group.compact(2), Some(snapshot(at(1, 2))));
    leader
}

fn refuse(leader: &mut Played) {
    leader.wait(250);
    leader.receive(2, 1, Body::Beat { round: 0, received: 2, matched: 2 });
    leader.receive(3, 1, Body::Beat { round: 0, received: 0, matched: 0 });
}

#[test]
fn what_is_not_applied_or_gone_already_is_not_compacted() {
    let mut leader = leader_without_log();
    assert_eq!((leader.group.compact(3), leader.group.compact(1)), (None, None));
    assert_eq!(leader.group.snapshot_at(2), Some(snapshot(at(1, 2))));
}

#[test]
fn who_needs_entries_that_are_gone_gets_a_snapshot_and_then_entries_again() {
    let mut leader = leader_without_log();
    refuse(&mut leader);
    assert_eq!(leader.outputs().snapshots, send(3));
    leader.propose(b"y");
    let to_3 = |outputs: Outputs| outputs.messages.into_iter().filter(|(to, _)| *to == 3).collect::<Vec<_>>();
    assert_eq!(to_3(leader.outputs()), [], "nothing but heartbeats until the snapshot is there");
    leader.receive(3, 1, Body::Stored { matched: 2 });
    let outputs = leader.outputs();
    assert_eq!(outputs.snapshots, stop(3));
    assert_eq!(to_3(outputs), [(3, message(1, append(at(1, 2), vec![command(1, 3, b"y")], 2)))]);
}

#[test]
fn a_snapshot_that_does_not_get_on_is_given_up_and_tried_again() {
    let settings_timeout = Settings::default().snapshot_timeout.as_millis() as u64;
    let mut leader = leader_without_log();
    refuse(&mut leader);
    assert_eq!(leader.outputs().snapshots, send(3));
    let beats = |leader: &mut Played| {
        for node in [2, 3] {
            leader.receive(node, 1, Body::Beat { round: 0, received: 0, matched: 0 });
        }
    };
    for _ in 0..settings_timeout / 400 {
        leader.wait(400);
        beats(&mut leader);
    }
    assert_eq!(leader.outputs().snapshots, stop(3));
    leader.wait(250);
    beats(&mut leader);
    leader.outputs();
    leader.receive(3, 1, Body::Refused { previous: 2, shareable: at(0, 0) });
    assert_eq!(leader.outputs().snapshots, send(3));
    leader.group.snapshot_moved(3, leader.now);
    leader.wait(400);
    beats(&mut leader);
    leader.group.snapshot_failed(3, leader.now);
    assert_eq!(leader.outputs().snapshots, []);
}

#[test]
fn snapshots_stop_with_the_leadership() {
    let mut leader = leader_without_log();
    refuse(&mut leader);
    leader.outputs();
    leader.receive(2, 2, Body::Heartbeat { committed: 0, round: 0 });
    assert_eq!(leader.outputs().snapshots, stop(3));
}

fn follower(entries: Vec<Entry>) -> Played {
    Played::with_log(HardState { term: 3, vote: None }, voters(&[1, 2]), entries)
}

#[test]
fn a_snapshot_replaces_a_log_that_lacks_it_and_memberships_too() {
    // The uncommitted membership would count majorities among the wrong nodes.
    let mut node = follower(vec![empty(1, 1), members(2, 2, &voters(&[1, 9])), empty(2, 3)]);
    assert!(node.group.install(2, 3, snapshot(at(3, 2)), node.now));
    let write =
        Write { ticket: 1, hard_state: None, reset: Some(snapshot(at(3, 2))), truncate_from: None, append: vec![] };
    assert_eq!(node.unstored(), Outputs { write: Some(write.clone()), ..Outputs::default() });
    let state = (node.group.last(), node.group.committed(), node.group.membership().clone());
    assert_eq!(state, (at(3, 2), 2, voters(&[1, 2, 3])));
    assert!(!node.group.install(2, 3, snapshot(at(3, 9)), node.now), "the first one is not in place yet");
    assert_eq!((node.group.snapshot_at(2), node.group.compact(2)), (None, None));
    node.store(&write);
    assert_eq!(node.group.snapshot_at(2), Some(snapshot(at(3, 2))));
    assert_eq!(node.messages(), [(2, message(3, Body::Stored { matched: 2 }))]);
}

#[test]
fn a_snapshot_of_what_the_log_has_only_tells_what_is_committed() {
    let mut node = follower(vec![empty(1, 1), empty(2, 2), empty(2, 3)]);
    assert!(!node.group.install(2, 3, snapshot(at(2, 2)), node.now));
    assert_eq!((node.group.committed(), node.group.last()), (2, at(2, 3)));
    assert_eq!(node.messages(), [(2, message(3, Body::Stored { matched: 2 }))]);
}

#[test]
fn a_snapshot_of_an_old_leader_is_refused() {
    let mut node = follower(vec![]);
    assert!(!node.group.install(2, 2, snapshot(at(2, 9)), node.now));
    assert_eq!(node.unstored(), Outputs::default());
}

#[test]
fn entries_after_a_snapshot_follow_it() {
    let mut node = follower(vec![empty(1, 1)]);
    assert!(node.group.install(2, 3, snapshot(at(3, 7)), node.now));
    node.receive(2, 3, append(at(3, 7), vec![empty(3, 8)], 8));
    let write = node.unstored().write.unwrap();
    assert_eq!((write.reset.as_ref(), &write.append[..]), (Some(&snapshot(at(3, 7))), &[empty(3, 8)][..]));
    node.store(&write);
    assert_eq!(node.outputs().committed, [empty(3, 8)]);
}

#[test]
fn what_can_not_be_a_log_is_not_started_from() {
    let start = || Snapshot { position: at(2, 5), membership: voters(&[1]) };
    let from = |applied, entries: Vec<Entry>| Recovered::from_log(HardState::default(), start(), applied, entries);
    assert_eq!(from(5, vec![empty(2, 7)]), Err(RecoverError::Gap { found: 7, wanted: 6 }));
    let back = RecoverError::TermGoesBack { index: 6, found: 1, before: 2 };
    assert_eq!(from(5, vec![empty(1, 6)]), Err(back));
    assert_eq!(from(7, vec![empty(2, 6)]), Err(RecoverError::AppliedBeyondLog { applied: 7, last: 6 }));
    assert_eq!(from(4, vec![empty(2, 6)]), Err(RecoverError::AppliedBeforeLog { applied: 4, start: 5 }));
    assert!(from(6, vec![empty(2, 6)]).is_ok());
}
