//! Who belongs to a group and how that changes, and leadership that is handed over.

mod fixture;

use fixture::*;
use fulmar_raft::{
    Body, Change, ChangeError, HardState, Membership, MembershipError, ProposeError, Settings, TransferError,
};

fn with_learner() -> Membership {
    Membership::new([1, 2, 3], [4]).expect("four that differ")
}

/// The leader of three with the learner 4, which has everything.
fn leader_with_learner() -> Played {
    let mut leader = Played::leader();
    assert_eq!(leader.group.change(Change::AddLearner(4), leader.now), Ok(2));
    leader.outputs();
    for node in [2, 3, 4] {
        leader.receive(node, 1, Body::Stored { matched: 2 });
    }
    leader.outputs();
    leader.group.applied(2);
    leader
}

#[test]
fn a_membership_counts_as_soon_as_it_is_in_the_log_and_a_learner_gets_entries_but_no_say() {
    let mut leader = Played::leader();
    leader.group.change(Change::AddLearner(4), leader.now).unwrap();
    assert_eq!(leader.group.membership(), &with_learner());
    let entry = || vec![members(1, 2, &with_learner())];
    let sent = |to| (to, message(1, append(at(1, 1), entry(), 1)));
    assert_eq!(leader.messages(), [sent(2), sent(3), sent(4)]);
    leader.receive(4, 1, Body::Stored { matched: 2 });
    assert_eq!(leader.group.committed(), 1);
    leader.receive(3, 1, Body::Stored { matched: 2 });
    assert_eq!(leader.outputs().committed, entry());
}

#[test]
fn a_second_change_waits_for_the_first() {
    let mut leader = Played::leader();
    leader.group.change(Change::AddLearner(4), leader.now).unwrap();
    let second = leader.group.change(Change::AddLearner(5), leader.now);
    assert_eq!(second, Err(ChangeError::UnderWay { index: 2 }));
    leader.outputs();
    leader.receive(2, 1, Body::Stored { matched: 2 });
    assert_eq!(leader.group.change(Change::AddLearner(5), leader.now), Ok(3));
}

/// The mistake in the first description of one change at a time: two leaders that change the same membership could
/// commit with majorities that share no node, unless the later one first rules the earlier change out.
#[test]
fn a_leader_changes_nothing_before_it_has_committed_something_of_its_own() {
    let mut leader = Played::new(voters(&[1, 2, 3]));
    leader.elect();
    let change = leader.group.change(Change::AddLearner(4), leader.now);
    assert_eq!(change, Err(ChangeError::NotReady { index: 1 }));
    leader.receive(2, 1, Body::Stored { matched: 1 });
    assert_eq!(leader.group.change(Change::AddLearner(4), leader.now), Ok(2));
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut leader = leader_with_learner();
    let mut refused = |change| leader.group.change(change, leader.now).unwrap_err();
    let membership = ChangeError::Membership;
    assert_eq!(refused(Change::AddLearner(2)), membership(MembershipError::AlreadyMember { node: 2 }));
    assert_eq!(refused(Change::AddLearner(4)), membership(MembershipError::AlreadyMember { node: 4 }));
    assert_eq!(refused(Change::Promote(2)), membership(MembershipError::NotLearner { node: 2 }));
    assert_eq!(refused(Change::Demote(4)), membership(MembershipError::NotVoter { node: 4 }));
    assert_eq!(refused(Change::Remove(9)), membership(MembershipError::NotMember { node: 9 }));
    assert_eq!(refused(Change::Remove(1)), ChangeError::Leader { node: 1 });
    assert_eq!(refused(Change::Demote(1)), ChangeError::Leader { node: 1 });
    assert_eq!(leader.outputs().messages, []);
}

#[test]
fn a_learner_becomes_a_voter_only_when_it_has_caught_up() {
    let settings = Settings { promotion_lag_entries_max: 1, ..Settings::default() };
    let mut leader = Played::leader_with(settings);
    leader.group.change(Change::AddLearner(4), leader.now).unwrap();
    leader.outputs();
    leader.receive(2, 1, Body::Stored { matched: 2 });
    let promote = |leader: &mut Played| leader.group.change(Change::Promote(4), leader.now);
    assert_eq!(promote(&mut leader), Err(ChangeError::Behind { node: 4, found: 2, max: 1 }));
    leader.receive(4, 1, Body::Stored { matched: 1 });
    assert_eq!(promote(&mut leader), Ok(3));
    assert_eq!(leader.group.membership(), &voters(&[1, 2, 3, 4]));
}

#[test]
fn a_removed_node_gets_nothing_more_and_what_it_says_is_not_counted() {
    let mut leader = Played::leader();
    leader.group.change(Change::Remove(3), leader.now).unwrap();
    assert_eq!(leader.messages(), [(2, message(1, append(at(1, 1), vec![members(1, 2, &voters(&[1, 2]))], 1)))]);
    leader.receive(3, 1, Body::Stored { matched: 2 });
    assert_eq!(leader.group.committed(), 1, "of the two that count only the leader has it");
    leader.receive(2, 1, Body::Stored { matched: 2 });
    assert_eq!(leader.group.committed(), 2);
}

#[test]
fn a_removed_node_does_not_disturb() {
    let mut leader = Played::leader();
    leader.receive(3, 1, Body::AskPreVote { last: at(9, 9) });
    leader.receive(3, 2, Body::AskVote { last: at(9, 9), transfer: false });
    assert_eq!(leader.messages(), [(3, message(1, Body::PreVote { granted: false }))]);
    assert!(leader.group.is_leader());
}

#[test]
fn a_truncated_membership_counts_no_more() {
    let log = vec![empty(1, 1), members(1, 2, &voters(&[1, 2]))];
    let mut node = Played::with_log(HardState { term: 1, vote: None }, voters(&[1, 2, 3]), log);
    assert_eq!(node.group.membership(), &voters(&[1, 2]));
    node.receive(3, 2, append(at(1, 1), vec![empty(2, 2)], 0));
    assert_eq!(node.group.membership(), &voters(&[1, 2, 3]));
}

#[test]
fn who_lost_its_vote_by_an_entry_that_only_it_has_leads_until_that_is_committed() {
    // The leader 2 made node 1 a learner and lost that entry in a crash; with it, nobody but node 1 can win.
    let demoted = Membership::new([2], [1]).unwrap();
    let log = vec![empty(1, 1), members(1, 2, &demoted)];
    let mut node = Played::with_log(HardState { term: 1, vote: None }, voters(&[1, 2]), log);
    node.receive(2, 1, Body::AskPreVote { last: at(1, 1) });
    assert_eq!(node.messages(), [(2, message(1, Body::PreVote { granted: false }))]);
    node.elect();
    assert_eq!(node.group.committed(), 0, "its own log does not count");
    node.receive(2, 2, Body::Stored { matched: 3 });
    assert_eq!(node.group.committed(), 3);
    assert_eq!(node.messages(), [(2, message(2, Body::TakeOver))]);
}

#[test]
fn memberships_are_bounded_and_list_nobody_twice() {
    assert_eq!(Membership::new(1..=10, []), Err(MembershipError::TooManyVoters { found: 10 }));
    assert_eq!(Membership::new([1], 2..=1026), Err(MembershipError::TooManyLearners { found: 1025 }));
    assert_eq!(Membership::new([1, 2], [3, 2]), Err(MembershipError::Twice { node: 2 }));
    let alone = voters(&[1]);
    assert_eq!(alone.after(Change::Remove(1)), Err(MembershipError::LastVoter { node: 1 }));
}

#[test]
fn leadership_is_handed_over_when_the_other_one_has_everything() {
    let mut leader = Played::leader();
    leader.propose(b"x");
    leader.outputs();
    leader.group.transfer(2, leader.now).unwrap();
    assert_eq!(leader.messages(), []);
    assert_eq!(leader.group.propose(vec![], leader.now), Err(ProposeError::Transferring { to: 2 }));
    leader.receive(2, 1, Body::Stored { matched: 2 });
    assert_eq!(leader.messages(), [(2, message(1, Body::TakeOver))]);
    leader.receive(2, 2, Body::AskVote { last: at(1, 2), transfer: true });
    assert_eq!(leader.messages(), [(2, message(2, Body::Vote { granted: true }))]);
}

#[test]
fn a_transfer_that_does_not_succeed_ends_after_an_election_timeout() {
    let mut leader = Played::leader();
    leader.group.transfer(3, leader.now).unwrap();
    for _ in 0..5 {
        leader.wait(100);
        leader.receive(2, 1, Body::Beat { round: 0, received: 1, matched: 1 });
    }
    assert_eq!(leader.group.propose(vec![], leader.now), Ok(2));
}

#[test]
fn only_voters_take_over() {
    let mut leader = leader_with_learner();
    let mut refused = |to| leader.group.transfer(to, leader.now).unwrap_err();
    assert_eq!(refused(4), TransferError::NotVoter { node: 4 });
    assert_eq!(refused(1), TransferError::Already { node: 1 });
}

#[test]
fn who_is_asked_by_its_leader_takes_over_without_asking_whether_it_would_win() {
    let mut node = Played::new(voters(&[1, 2, 3]));
    node.receive(2, 1, Body::Heartbeat { committed: 0, round: 0 });
    node.messages();
    node.receive(3, 1, Body::TakeOver);
    assert_eq!(node.messages(), [], "node 3 does not lead");
    node.receive(2, 1, Body::TakeOver);
    let ask = message(2, Body::AskVote { last: at(0, 0), transfer: true });
    assert_eq!(node.messages(), [(2, ask.clone()), (3, ask)]);
}
