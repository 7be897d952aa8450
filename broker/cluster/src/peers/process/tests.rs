//! Processes that say that they are the same node.

use std::time::{Duration, Instant};

use super::*;
use crate::hello::{Greeting, Purpose, Refusal};
use crate::letters::Channel;
use crate::peers::LaneUp;
use crate::peers::tests::{MIDDLE, discover, node};

const LIFE: Life = Life { incarnation: 200, nonce: 2000 };

/// A process of node 2: its first one has the nonce 2000.
fn process(incarnation: u64, nonce: u64) -> Peers {
    let mut peers = node(2, 1);
    (peers.me.incarnation, peers.me.nonce) = (incarnation, nonce);
    peers.settings.has_letters = true;
    peers
}

fn watcher(lives: &[(u64, Life)]) -> Peers {
    let mut peers = node(1, 1);
    peers.settings.has_letters = true;
    peers.set_lives(lives.iter().map(|(id, life)| (NodeId(*id), *life)).collect());
    peers
}

fn lane(from: &Peers, to: &mut Peers, now: Instant) -> Result<LaneUp, RefusalReason> {
    let hello = from.me.hello(0, Purpose::Lane(0));
    to.handle_inbound(&hello, 0, 0, now).map(|(_, lane)| lane).map_err(|refusal| refusal.reason)
}

fn letters(from: &Peers, to: &mut Peers) -> Result<u64, RefusalReason> {
    let hello = Hello { epoch: 1, ..from.me.hello(0, Purpose::Letters(Channel::Control)) };
    let accepted = to.handle_letters_inbound(&hello, Channel::Control, 0);
    accepted.map(|(_, from)| from.connection).map_err(|refusal| refusal.reason)
}

#[test]
fn a_second_process_waits_until_no_connection_of_the_first_stands() {
    let now = Instant::now();
    for recorded in [false, true] {
        let lives = [(2, LIFE)];
        let mut a = watcher(if recorded { &lives } else { &[] });
        let (first, second) = (process(200, 2000), process(201, 7));
        let up = lane(&first, &mut a, now).unwrap();
        let connection = letters(&first, &mut a).unwrap();
        let waits = RefusalReason::AnotherProcess { incarnation: 200 };
        assert_eq!(lane(&second, &mut a, now), Err(waits.clone()));
        assert_eq!(letters(&second, &mut a), Err(waits.clone()));
        a.handle_lane_lost(&up.lost(), now, MIDDLE);
        assert_eq!(lane(&second, &mut a, now), Err(waits.clone()), "letters still come");
        assert_eq!(a.poll(now), None, "the first one is as it was");
        a.handle_letters_closed(connection);
        assert_eq!(lane(&second, &mut a, now).map(|lane| lane.incarnation), Ok(201));
        // It goes on where it was only stopped for a while, and the cluster has not given it up.
        let back = lane(&first, &mut a, now).map(|lane| lane.incarnation);
        assert_eq!(back, if recorded { Ok(200) } else { Err(RefusalReason::AnotherProcess { incarnation: 201 }) });
    }
}

#[test]
fn whoever_does_not_come_after_the_life_that_is_committed_has_a_copy() {
    let now = Instant::now();
    for (incarnation, text) in [(200, "200"), (199, "199")] {
        let mut a = watcher(&[(2, LIFE)]);
        let copy = process(incarnation, 7);
        let refusal = RefusalReason::Copied { found: incarnation, recorded: 200 };
        let wanted = format!("boot counter {text} of a restored or copied folder, more than 200 is wanted");
        assert_eq!(refusal.to_string(), wanted);
        for is_connected in [false, true] {
            if is_connected {
                lane(&process(200, 2000), &mut a, now).unwrap();
            }
            assert_eq!(lane(&copy, &mut a, now), Err(refusal.clone()));
            assert_eq!(letters(&copy, &mut a), Err(refusal.clone()));
        }
    }
}

#[test]
fn the_process_whose_life_is_committed_takes_the_place_of_another_one() {
    let now = Instant::now();
    let mut a = watcher(&[]);
    let (first, second) = (process(201, 7), process(201, 8));
    lane(&first, &mut a, now).unwrap();
    let connection = letters(&first, &mut a).unwrap();
    assert!(lane(&second, &mut a, now).is_err());
    a.set_lives([(NodeId(2), Life { incarnation: 201, nonce: 8 })].into());
    assert_eq!(lane(&second, &mut a, now).map(|lane| lane.epoch), Ok(2));
    let actions: Vec<Action> = std::iter::from_fn(|| a.poll(now)).collect();
    assert_eq!(actions, [Action::Gone { node: NodeId(2), epoch: 1 }, Action::CloseLetters { connection }]);
    assert_eq!(lane(&first, &mut a, now), Err(RefusalReason::Copied { found: 201, recorded: 201 }));
}

#[test]
fn another_life_of_the_same_process_is_taken_at_once() {
    let now = Instant::now();
    let mut a = watcher(&[(2, LIFE)]);
    lane(&process(200, 2000), &mut a, now).unwrap();
    assert_eq!(lane(&process(201, 2000), &mut a, now).map(|lane| (lane.incarnation, lane.epoch)), Ok((201, 2)));
}

#[test]
fn of_two_processes_that_meet_the_one_whose_life_is_committed_refuses_the_other_for_good() {
    let now = Instant::now();
    let (mut first, mut second) = (process(200, 2000), process(201, 7));
    let same = RefusalReason::SameNodeId { name: "broker-2".to_owned() };
    assert_eq!(lane(&second, &mut first, now), Err(same.clone()), "neither is committed");
    first.set_lives([(NodeId(2), LIFE)].into());
    second.set_lives([(NodeId(2), LIFE)].into());
    let refusal = RefusalReason::Copied { found: 201, recorded: 200 };
    assert_eq!(refusal.to_string(), "boot counter 201 of a restored or copied folder, the process with 200 runs");
    assert_eq!(lane(&second, &mut first, now), Err(refusal.clone()));
    assert_eq!(letters(&second, &mut first), Err(refusal));
    assert_eq!(lane(&first, &mut second, now), Err(same));
}

#[test]
fn a_process_that_is_refused_for_good_says_so_unless_that_was_about_an_earlier_life_of_it() {
    let now = Instant::now();
    for (found, is_final) in [(201, true), (200, false)] {
        for for_letters in [false, true] {
            let mut copy = process(201, 7);
            discover(&mut copy, &[1], now);
            let reason = RefusalReason::Copied { found, recorded: 201 };
            let refusal = Greeting::Refusal(Refusal { node: NodeId(1), reason: reason.clone() });
            while let Some(action) = copy.poll(now) {
                match action {
                    Action::Dial { attempt, .. } if !for_letters => {
                        copy.handle_connected(attempt, 0).unwrap();
                        assert_eq!(copy.handle_answer(attempt, &refusal, now, MIDDLE), None);
                        break;
                    }
                    Action::DialLetters { attempt, .. } if for_letters => {
                        copy.handle_letters_connected(attempt, 0).unwrap();
                        assert_eq!(copy.handle_letters_answer(attempt, &refusal, now, MIDDLE), None);
                        break;
                    }
                    _ => {}
                }
            }
            let wanted = is_final.then_some(Action::Refused { reason });
            let said = std::iter::from_fn(|| copy.poll(now)).find(|action| matches!(action, Action::Refused { .. }));
            assert_eq!(said, wanted);
        }
    }
}

#[test]
fn a_node_that_is_dialled_is_judged_by_its_answer_as_well() {
    let now = Instant::now();
    let mut a = watcher(&[(2, LIFE)]);
    discover(&mut a, &[2], now);
    let Some(Action::Dial { attempt, .. }) = a.poll(now) else { panic!("nobody is dialled") };
    a.handle_connected(attempt, 0).unwrap();
    let answer = Hello { epoch: 1, ..process(200, 7).me.hello(0, Purpose::Lane(0)) };
    assert_eq!(a.handle_answer(attempt, &Greeting::Hello(answer), now, MIDDLE), None);
    assert!(a.deadline().is_some_and(|at| at <= now + Duration::from_secs(1)), "it is tried again");
}
