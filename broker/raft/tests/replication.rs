//! How entries get from a leader to the others, what is acknowledged, and what is committed by it.

mod fixture;

use std::sync::Arc;

use fixture::*;
use fulmar_raft::{
    Body, Contradiction, Fetch, HardState, Message, Outputs, ProposeError, Recovered, Settings, Snapshot, Write,
};

fn stored(matched: u64) -> Body {
    Body::Stored { matched }
}

/// A follower of node 2 in term 3 with two entries of term 1.
fn follower() -> Played {
    let log = vec![command(1, 1, b"a"), command(1, 2, b"b")];
    Played::with_log(HardState { term: 3, vote: None }, voters(&[1, 2, 3]), log)
}

#[test]
fn entries_are_acknowledged_when_they_are_on_disk_and_not_before() {
    let mut node = follower();
    node.receive(2, 3, append(at(1, 2), vec![command(3, 3, b"c")], 1));
    let append = vec![command(3, 3, b"c")];
    let write = Write { ticket: 1, hard_state: None, reset: None, truncate_from: None, append };
    let committed = vec![command(1, 1, b"a")];
    // The first entry is not in memory any more, so it comes from the log.
    let fetch = Fetch { id: 1, from: 1, until: 1, bytes_max: 4 * 1024 * 1024 };
    let stored_before = vec![(2, message(3, stored(2)))];
    let wanted =
        Outputs { write: Some(write.clone()), fetches: vec![fetch], messages: stored_before, ..Outputs::default() };
    assert_eq!(node.unstored(), wanted);
    node.group.fetched(1, committed.clone(), node.now);
    node.store(&write);
    assert_eq!(
        node.unstored(),
        Outputs { messages: vec![(2, message(3, stored(3)))], committed, ..Outputs::default() }
    );
}

#[test]
fn a_repeated_or_empty_append_acknowledges_no_more_than_is_on_disk() {
    let mut node = follower();
    node.receive(2, 3, append(at(1, 2), vec![command(3, 3, b"c")], 0));
    let write = node.unstored().write.unwrap();
    node.receive(2, 3, append(at(1, 2), vec![command(3, 3, b"c")], 0));
    node.receive(2, 3, append(at(3, 3), vec![], 0));
    node.receive(2, 3, Body::Heartbeat { committed: 0, round: 5 });
    let beat = Body::Beat { round: 5, received: 3, matched: 2 };
    assert_eq!(node.unstored(), Outputs { messages: vec![(2, message(3, beat))], ..Outputs::default() });
    node.store(&write);
    assert_eq!(node.messages(), [(2, message(3, stored(3)))]);
}

#[test]
fn what_was_stored_before_a_truncation_is_not_acknowledged_as_what_replaced_it() {
    let mut node = follower();
    node.receive(2, 3, append(at(1, 2), vec![command(3, 3, b"c")], 0));
    let first = node.unstored().write.unwrap();
    // The leader of the next term replaces entry 3 while the first one is still being written.
    node.receive(3, 4, append(at(1, 2), vec![command(4, 3, b"d")], 0));
    let second = node.unstored().write.unwrap();
    assert_eq!((second.truncate_from, &second.append[..]), (Some(3), &[command(4, 3, b"d")][..]));
    node.store(&first);
    assert_eq!(node.messages(), [], "the term is not on disk, and of entry 3 only what is gone");
    node.store(&second);
    assert_eq!(node.messages(), [(3, message(4, stored(3))), (3, message(4, stored(2)))], "the second one had waited");
}

#[test]
fn an_old_append_takes_nothing_away() {
    let mut node = follower();
    node.receive(2, 3, append(at(1, 2), vec![command(3, 3, b"c"), command(3, 4, b"d")], 4));
    node.outputs();
    node.receive(2, 3, append(at(1, 1), vec![command(1, 2, b"b")], 1));
    assert_eq!(node.unstored(), Outputs { messages: vec![(2, message(3, stored(4)))], ..Outputs::default() });
    assert_eq!((node.group.last(), node.group.committed()), (at(3, 4), 4));
}

#[test]
fn entries_that_contradict_the_leader_go() {
    let mut node = follower();
    node.receive(2, 3, append(at(1, 1), vec![command(2, 2, b"x"), command(3, 3, b"y")], 0));
    let append = vec![command(2, 2, b"x"), command(3, 3, b"y")];
    let write = Write { ticket: 1, hard_state: None, reset: None, truncate_from: Some(2), append };
    assert_eq!(node.unstored().write, Some(write));
}

#[test]
fn committed_entries_never_go_and_who_contradicts_them_is_reported() {
    let mut node = follower();
    node.receive(2, 3, append(at(1, 2), vec![command(2, 3, b"c")], 3));
    node.outputs();
    node.receive(3, 4, append(at(1, 2), vec![command(4, 3, b"d"), command(4, 4, b"e")], 3));
    let contradiction = Contradiction::CommittedEntry { index: 3, wanted: 2, found: 4 };
    assert_eq!(node.outputs(), Outputs { contradictions: vec![contradiction], ..Outputs::default() });
    assert_eq!(node.group.last(), at(2, 3));
}

#[test]
fn entries_out_of_order_are_reported() {
    let disorders = [(vec![empty(3, 4)], 4), (vec![empty(3, 3), empty(3, 5)], 5), (vec![empty(3, 3), empty(2, 4)], 4)];
    let later_than_the_leader = (vec![empty(4, 3)], 3);
    for (entries, index) in disorders.into_iter().chain([later_than_the_leader]) {
        let mut node = follower();
        node.receive(2, 3, append(at(1, 2), entries, 0));
        assert_eq!(node.outputs().contradictions, [Contradiction::Disorder { index }]);
        assert_eq!(node.group.last(), at(1, 2));
    }
}

#[test]
fn a_gap_is_refused_with_the_last_entry_that_can_be_shared() {
    let log = vec![empty(1, 1), empty(2, 2), empty(2, 3), empty(4, 4), empty(4, 5)];
    let mut node = Played::with_log(HardState { term: 6, vote: None }, voters(&[1, 2, 3]), log);
    let refused = |previous, shareable| (2, message(6, Body::Refused { previous, shareable }));
    node.receive(2, 6, append(at(6, 9), vec![], 0));
    node.receive(2, 6, append(at(3, 4), vec![empty(6, 5)], 0));
    node.receive(2, 6, append(at(1, 2), vec![], 0));
    assert_eq!(node.messages(), [refused(9, at(4, 5)), refused(4, at(2, 3)), refused(2, at(1, 1))]);
}

#[test]
fn a_leader_finds_where_logs_part_a_whole_term_at_a_time() {
    let log = vec![empty(1, 1), empty(1, 2), empty(5, 3), empty(5, 4)];
    let mut leader = Played::with_log(HardState { term: 5, vote: None }, voters(&[1, 2, 3]), log);
    leader.elect();
    leader.receive(3, 6, Body::Refused { previous: 4, shareable: at(3, 4) });
    let probe = |previous, entries| (3, message(6, append(previous, entries, 0)));
    // Those of term 5 can't be shared with a log that ends in term 3. The entries are not in memory: it only asks.
    assert_eq!(leader.messages(), [probe(at(1, 2), vec![])]);
    leader.receive(3, 6, stored(2));
    let fetch = leader.outputs().fetches[0];
    assert_eq!((fetch.from, fetch.until), (3, 5));
    leader.group.fetched(fetch.id, vec![empty(5, 3), empty(5, 4)], leader.now);
    assert_eq!(
        leader.messages(),
        [probe(at(1, 2), vec![empty(5, 3), empty(5, 4)]), probe(at(5, 4), vec![empty(6, 5)])]
    );
}

#[test]
fn entries_of_old_terms_are_committed_only_with_one_of_the_leaders_own() {
    let log = vec![empty(1, 1), empty(2, 2)];
    let mut leader = Played::with_log(HardState { term: 2, vote: None }, voters(&[1, 2, 3]), log);
    leader.elect();
    leader.receive(2, 3, stored(2));
    leader.outputs();
    assert_eq!(leader.group.committed(), 0);
    leader.receive(2, 3, stored(3));
    assert_eq!(leader.group.committed(), 3);
}

#[test]
fn a_leader_counts_itself_when_its_own_write_is_stored() {
    let mut leader = Played::leader();
    leader.propose(b"x");
    let write = leader.unstored().write.unwrap();
    assert_eq!(leader.group.committed(), 1);
    leader.receive(2, 1, stored(2));
    assert_eq!(leader.group.committed(), 1, "one of three has it");
    leader.store(&write);
    assert_eq!(leader.outputs().committed, [command(1, 2, b"x")]);
}

#[test]
fn others_may_commit_before_the_leaders_disk_but_nothing_is_applied_that_its_log_may_lose() {
    let mut leader = Played::leader();
    leader.propose(b"x");
    let write = leader.unstored().write.unwrap();
    leader.receive(2, 1, stored(2));
    leader.receive(3, 1, stored(2));
    assert_eq!((leader.group.committed(), leader.unstored().committed), (2, vec![]));
    leader.store(&write);
    assert_eq!(leader.outputs().committed, [command(1, 2, b"x")]);
}

#[test]
fn appends_follow_each_other_without_waiting_until_the_window_is_full() {
    let settings = Settings { append_entries_max: 1, window_appends_max: 2, ..Settings::default() };
    let mut leader = Played::leader_with(settings);
    for byte in [b"a", b"b", b"c"] {
        leader.propose(byte);
    }
    let sent = |previous, entry| message(1, append(at(1, previous), vec![entry], 1));
    let to_2 = |messages: Vec<(u64, Message)>| -> Vec<Message> {
        messages.into_iter().filter(|(to, _)| *to == 2).map(|(_, message)| message).collect()
    };
    assert_eq!(to_2(leader.messages()), [sent(1, command(1, 2, b"a")), sent(2, command(1, 3, b"b"))]);
    leader.receive(2, 1, stored(2));
    assert_eq!(to_2(leader.messages()), [message(1, append(at(1, 3), vec![command(1, 4, b"c")], 2))]);
}

#[test]
fn what_got_lost_is_sent_again_after_two_heartbeats() {
    let mut leader = Played::leader();
    leader.propose(b"x");
    leader.messages();
    let beat = |received| Body::Beat { round: 0, received, matched: 1 };
    leader.wait(100);
    leader.receive(2, 1, beat(1));
    leader.wait(50);
    leader.receive(3, 1, beat(1));
    let appends = |messages: Vec<(u64, Message)>| -> Vec<(u64, Message)> {
        messages.into_iter().filter(|(_, message)| matches!(message.body, Body::Append { .. })).collect()
    };
    assert_eq!(appends(leader.messages()), [], "it may only be slow");
    leader.wait(50);
    leader.receive(2, 1, beat(2));
    leader.receive(3, 1, beat(1));
    let again = message(1, append(at(1, 1), vec![command(1, 2, b"x")], 1));
    assert_eq!(appends(leader.messages()), [(3, again)], "node 2 has it and only needs time to store it");
}

#[test]
fn a_probe_that_arrived_is_not_sent_again_while_a_slow_disk_stores_it() {
    let mut leader = Played::new(voters(&[1, 2, 3]));
    leader.elect();
    leader.wait(300);
    leader.receive(3, 1, Body::Beat { round: 0, received: 1, matched: 0 });
    leader.propose(b"x");
    let to_3: Vec<Message> = leader.messages().into_iter().filter(|(to, _)| *to == 3).map(|(_, it)| it).collect();
    let heartbeat = message(1, Body::Heartbeat { committed: 0, round: 0 });
    assert_eq!(to_3, [heartbeat, message(1, append(at(1, 1), vec![command(1, 2, b"x")], 0))]);
}

#[test]
fn a_restarted_node_learns_what_is_committed_though_nothing_is_proposed() {
    let mut leader = Played::leader();
    leader.wait(200);
    leader.receive(2, 1, Body::Beat { round: 0, received: 0, matched: 0 });
    let ask = (2, message(1, append(at(1, 1), vec![], 1)));
    assert!(leader.messages().contains(&ask));
}

#[test]
fn commits_are_told_to_a_node_as_far_as_it_has_the_entries() {
    let mut leader = Played::leader();
    leader.propose(b"x");
    leader.outputs();
    leader.receive(2, 1, stored(2));
    leader.outputs();
    leader.wait(100);
    let beat = |committed| message(1, Body::Heartbeat { committed, round: 0 });
    assert_eq!(leader.messages(), [(2, beat(2)), (3, beat(1))]);
}

#[test]
fn committed_entries_come_in_portions_that_wait_for_being_applied() {
    let settings = Settings { committed_bytes_max: 1, ..Settings::default() };
    let mut leader = Played::leader_with(settings);
    leader.group.propose(vec![Arc::from(*b"a"), Arc::from(*b"b")], leader.now).unwrap();
    leader.outputs();
    leader.receive(2, 1, stored(3));
    assert_eq!(leader.outputs().committed, [command(1, 2, b"a")]);
    assert_eq!(leader.outputs().committed, []);
    leader.group.applied(2);
    assert_eq!(leader.outputs().committed, [command(1, 3, b"b")]);
}

#[test]
fn what_waits_to_be_committed_is_limited_but_one_large_command_passes() {
    let settings = Settings { uncommitted_entries_max: 2, uncommitted_bytes_max: 100, ..Settings::default() };
    let mut leader = Played::leader_with(settings);
    leader.propose(&[0; 1000]);
    let full = ProposeError::Full { entries: 2, bytes: 1033, entries_max: 2, bytes_max: 100 };
    assert_eq!(leader.group.propose(vec![Arc::from([1])], leader.now), Err(full));
    leader.outputs();
    leader.receive(2, 1, stored(2));
    assert_eq!(leader.group.propose(vec![Arc::from([1]), Arc::from([2])], leader.now), Ok(3));
    let full = ProposeError::Full { entries: 3, bytes: 67, entries_max: 2, bytes_max: 100 };
    assert_eq!(leader.group.propose(vec![Arc::from([3])], leader.now), Err(full));
}

#[test]
fn followers_take_no_proposals_and_name_the_leader() {
    let mut node = follower();
    node.receive(2, 3, Body::Heartbeat { committed: 0, round: 0 });
    assert_eq!(node.group.propose(vec![], node.now), Err(ProposeError::NotLeader { leader: Some(2) }));
}

#[test]
fn a_committed_entry_that_the_log_does_not_give_is_reported() {
    let mut node = follower();
    node.receive(2, 3, append(at(1, 2), vec![], 2));
    let fetch = node.unstored().fetches[0];
    node.group.fetched(fetch.id, vec![], node.now);
    let outputs = node.unstored();
    assert_eq!(outputs.contradictions, [Contradiction::EntryMissing { index: 1 }]);
    assert_eq!(outputs.fetches, [Fetch { id: 2, ..fetch }]);
}

#[test]
fn answers_that_wait_for_the_disk_are_limited() {
    let settings = Settings { held_answers_max: 2, ..Settings::default() };
    let mut node = Played::with(settings, Recovered::new(Snapshot::initial(voters(&[1, 2, 3]))));
    for _ in 0..3 {
        node.receive(2, 4, Body::AskVote { last: at(0, 0), transfer: false });
    }
    let outputs = node.unstored();
    assert_eq!((outputs.messages, outputs.answers_lost), (vec![], 1));
    node.store(&outputs.write.unwrap());
    assert_eq!(node.messages().len(), 2);
}

#[test]
fn who_says_it_has_more_than_there_is_is_reported_and_not_counted() {
    let mut leader = Played::leader();
    leader.receive(2, 1, stored(9));
    let contradiction = Contradiction::StoredTooMuch { node: 2, found: 9, last: 1 };
    assert_eq!(leader.outputs(), Outputs { contradictions: vec![contradiction], ..Outputs::default() });
}
