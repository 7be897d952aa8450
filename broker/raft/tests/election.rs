//! Who leads, by what votes, and what must be on disk first.

mod fixture;

use fixture::*;
use fulmar_raft::{
    Body, Contradiction, HardState, Membership, Outputs, Recovered, RoleChange, Settings, Snapshot, Write,
};

#[test]
fn who_hears_no_leader_asks_whether_it_would_win_before_it_ends_a_term() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.wait_for_deadline();
    let ask = message(0, Body::AskPreVote { last: at(0, 0) });
    assert_eq!(node.unstored(), Outputs { messages: vec![(2, ask.clone()), (3, ask)], ..Outputs::default() });
    assert_eq!(node.group.term(), 0);
}

#[test]
fn a_candidate_asks_for_votes_only_when_its_own_is_on_disk() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.wait_for_deadline();
    node.unstored();
    node.receive(3, 0, Body::PreVote { granted: true });
    let write = Write {
        ticket: 1,
        hard_state: Some(HardState { term: 1, vote: Some(ME) }),
        reset: None,
        truncate_from: None,
        append: vec![],
    };
    assert_eq!(node.unstored(), Outputs { write: Some(write.clone()), ..Outputs::default() });
    node.store(&write);
    let ask = message(1, Body::AskVote { last: at(0, 0), transfer: false });
    assert_eq!(node.unstored(), Outputs { messages: vec![(2, ask.clone()), (3, ask)], ..Outputs::default() });
}

#[test]
fn a_slow_disk_makes_an_election_longer_and_however_few_answers_may_wait_all_voters_are_asked() {
    let settings = Settings { held_answers_max: 0, ..Settings::default() };
    let mut node = Played::with(settings, Recovered::new(Snapshot::initial(voters(&[1, 2, 3]))));
    node.wait_for_deadline();
    node.receive(3, 0, Body::PreVote { granted: true });
    let write = node.unstored().write.unwrap();
    for _ in 0..3 {
        node.wait_for_deadline();
        assert_eq!(node.unstored(), Outputs::default());
    }
    node.store(&write);
    let ask = message(1, Body::AskVote { last: at(0, 0), transfer: false });
    assert_eq!(node.messages(), [(2, ask.clone()), (3, ask)]);
}

#[test]
fn questions_of_a_term_that_is_over_are_not_sent() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.wait_for_deadline();
    node.receive(3, 0, Body::PreVote { granted: true });
    node.receive(2, 5, Body::TermOver);
    assert_eq!(
        node.messages(),
        [(2, message(0, Body::AskPreVote { last: at(0, 0) })), (3, message(0, Body::AskPreVote { last: at(0, 0) }))]
    );
}

#[test]
fn a_vote_is_told_only_when_it_is_on_disk() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.receive(2, 4, Body::AskVote { last: at(0, 0), transfer: false });
    let outputs = node.unstored();
    let write = outputs.write.clone().unwrap();
    assert_eq!((write.hard_state, outputs.messages), (Some(HardState { term: 4, vote: Some(2) }), vec![]));
    node.store(&write);
    assert_eq!(node.messages(), [(2, message(4, Body::Vote { granted: true }))]);
}

#[test]
fn a_node_votes_once_in_a_term_and_again_for_the_same_candidate() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    let ask = Body::AskVote { last: at(0, 0), transfer: false };
    for from in [2, 3, 2] {
        node.receive(from, 4, ask.clone());
    }
    let vote = |granted| message(4, Body::Vote { granted });
    assert_eq!(node.messages(), [(2, vote(true)), (3, vote(false)), (2, vote(true))]);
}

#[test]
fn a_vote_outlives_a_restart() {
    let mut node = Played::with_log(HardState { term: 4, vote: Some(3) }, voters(&[1, 2, 3]), vec![]);
    node.receive(2, 4, Body::AskVote { last: at(4, 9), transfer: false });
    assert_eq!(node.messages(), [(2, message(4, Body::Vote { granted: false }))]);
}

#[test]
fn only_a_log_that_is_as_up_to_date_gets_a_vote() {
    let log = vec![empty(1, 1), empty(3, 2)];
    let asks = [(at(3, 1), false), (at(2, 9), false), (at(3, 2), true), (at(3, 3), true), (at(4, 1), true)];
    for (last, granted) in asks {
        let mut node = Played::with_log(HardState { term: 4, vote: None }, voters(&[1, 2, 3]), log.clone());
        node.receive(2, 5, Body::AskPreVote { last });
        node.receive(2, 5, Body::AskVote { last, transfer: false });
        let (pre_vote, vote) = (message(5, Body::PreVote { granted }), message(5, Body::Vote { granted }));
        assert_eq!(node.messages(), [(2, pre_vote), (2, vote)], "{last:?}");
    }
}

#[test]
fn who_hears_a_leader_helps_nobody_to_replace_it_unless_the_leader_asks() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.receive(3, 1, Body::Heartbeat { committed: 0, round: 0 });
    node.messages();
    node.wait(499);
    node.receive(2, 1, Body::AskPreVote { last: at(9, 9) });
    node.receive(2, 2, Body::AskVote { last: at(9, 9), transfer: false });
    assert_eq!(node.messages(), [(2, message(1, Body::PreVote { granted: false }))]);
    node.receive(2, 2, Body::AskVote { last: at(9, 9), transfer: true });
    assert_eq!(node.messages(), [(2, message(2, Body::Vote { granted: true }))]);
}

#[test]
fn a_leader_that_was_not_heard_for_an_election_timeout_is_not_protected() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.receive(3, 1, Body::Heartbeat { committed: 0, round: 0 });
    node.messages();
    node.wait(500);
    node.receive(2, 2, Body::AskVote { last: at(9, 9), transfer: false });
    assert_eq!(node.messages().last(), Some(&(2, message(2, Body::Vote { granted: true }))));
}

#[test]
fn terms_spread_with_pre_votes_so_that_a_long_log_and_a_high_term_find_together() {
    // The node's log is longer, the asking one's term is higher: it refuses, and knows the term for its own election.
    let mut node = Played::with_log(HardState { term: 2, vote: None }, voters(&[1, 2, 3]), vec![empty(2, 1)]);
    node.receive(2, 7, Body::AskPreVote { last: at(1, 1) });
    assert_eq!(node.messages(), [(2, message(7, Body::PreVote { granted: false }))]);
    // The other way round: who asks in an old term is told the new one.
    node.receive(3, 3, Body::AskPreVote { last: at(3, 9) });
    assert_eq!(node.messages(), [(3, message(7, Body::PreVote { granted: false }))]);
    node.receive(3, 9, Body::PreVote { granted: false });
    assert_eq!(node.group.term(), 9);
}

#[test]
fn a_leader_of_an_old_term_is_told_that_it_is_over() {
    let mut node = Played::with_log(HardState { term: 5, vote: None }, voters(&[1, 2, 3]), vec![]);
    node.receive(2, 4, Body::Heartbeat { committed: 0, round: 0 });
    node.receive(2, 4, append(at(0, 0), vec![empty(4, 1)], 0));
    node.receive(2, 4, Body::Stored { matched: 3 });
    assert_eq!(node.messages(), [(2, message(5, Body::TermOver)), (2, message(5, Body::TermOver))]);

    let mut leader = Played::leader();
    leader.receive(3, 5, Body::TermOver);
    assert_eq!((leader.group.is_leader(), leader.group.term()), (false, 5));
}

#[test]
fn a_leader_begins_with_an_empty_entry_and_serves_when_it_is_applied() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.wait_for_deadline();
    node.receive(2, 0, Body::PreVote { granted: true });
    let write = node.unstored().write.unwrap();
    node.store(&write);
    node.unstored();
    node.receive(3, 1, Body::Vote { granted: false });
    assert!(!node.group.is_leader());
    node.receive(2, 1, Body::Vote { granted: true });
    let outputs = node.group.take_outputs();
    assert_eq!(outputs.role, Some(RoleChange { term: 1, leader: Some(ME), serves_after: Some(1) }));
    assert_eq!(outputs.write.unwrap().append, [empty(1, 1)]);
    let first = message(1, append(at(0, 0), vec![empty(1, 1)], 0));
    assert_eq!(outputs.messages, [(2, first.clone()), (3, first)], "in parallel with the leader's own write");
    assert!(!node.group.is_serving());
}

#[test]
fn a_leader_without_a_majority_gives_up() {
    let mut leader = Played::leader();
    leader.wait(499);
    assert!(leader.group.is_leader());
    leader.wait(1);
    let role = leader.group.take_outputs().role;
    assert_eq!(role, Some(RoleChange { term: 1, leader: None, serves_after: None }));
}

#[test]
fn a_leader_whose_disk_hangs_gives_up_and_is_not_elected_before_it_is_back() {
    let mut leader = Played::leader();
    leader.propose(b"x");
    let write = leader.unstored().write.unwrap();
    for _ in 0..50 {
        assert!(leader.group.is_leader());
        leader.wait(100);
        for node in [2, 3] {
            leader.receive(node, 1, Body::Beat { round: 0, received: 2, matched: 2 });
        }
    }
    assert!(!leader.group.is_leader());
    leader.unstored();
    leader.wait_for_deadline();
    assert_eq!(leader.unstored().messages, []);
    leader.store(&write);
    let ask = message(1, Body::AskPreVote { last: at(1, 2) });
    assert_eq!(leader.unstored().messages, [(2, ask.clone()), (3, ask)]);
}

#[test]
fn who_is_alone_leads_at_once_when_its_vote_is_on_disk() {
    let mut node = Played::new(voters(&[1]));
    node.wait(0);
    let write = node.unstored().write.unwrap();
    assert!(!node.group.is_leader());
    node.store(&write);
    assert_eq!(node.outputs().committed, [empty(1, 1)]);
    assert!(node.group.is_leader());
    node.wait(60_000);
    assert!(node.group.is_leader(), "it always hears from a majority: itself");
}

#[test]
fn learners_and_strangers_never_ask_for_votes_but_give_them() {
    for membership in [Membership::new([2, 3], [ME]).unwrap(), Membership::default()] {
        let mut node = Played::new(membership);
        for _ in 0..5 {
            node.wait_for_deadline();
            assert_eq!(node.messages(), []);
        }
        // It may have become a voter by an entry that it does not have yet.
        node.receive(2, 3, Body::AskVote { last: at(1, 1), transfer: false });
        assert_eq!(node.messages(), [(2, message(3, Body::Vote { granted: true }))]);
    }
}

#[test]
fn votes_count_only_for_the_candidate_that_asked_in_this_term_and_from_voters() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.wait_for_deadline();
    node.receive(2, 0, Body::PreVote { granted: true });
    node.outputs();
    node.receive(9, 1, Body::Vote { granted: true });
    node.receive(2, 0, Body::Vote { granted: true });
    assert!(!node.group.is_leader());
    // Another election, another count.
    node.wait_for_deadline();
    node.receive(3, 1, Body::Vote { granted: true });
    assert!(!node.group.is_leader());
}

#[test]
fn two_leaders_in_a_term_are_reported() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.receive(2, 4, Body::Heartbeat { committed: 0, round: 0 });
    node.receive(3, 4, Body::Heartbeat { committed: 0, round: 0 });
    assert_eq!(node.outputs().contradictions, [Contradiction::TwoLeaders { term: 4, known: 2, found: 3 }]);
}
