//! Nodes that dial each other, with the shell between them played by the test.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::*;

pub(super) const MIDDLE: u32 = u32::MAX / 2;

pub(super) fn address(node: u64) -> Address {
    let ip = Ipv4Addr::new(10, 0, 0, u8::try_from(node).unwrap());
    Address { socket: SocketAddr::new(IpAddr::V4(ip), 7800), host: "nodes.test".into() }
}

pub(super) fn node(id: u64, threads: u16) -> Peers {
    let me = Me {
        node: NodeId(id),
        incarnation: id * 100,
        nonce: id * 1000,
        name: format!("broker-{id}"),
        cluster: "test".to_owned(),
        threads,
    };
    Peers::new(me, PeersSettings::default())
}

fn inbound(peers: &mut Peers, hello: &Hello, now: Instant) -> Result<(Hello, LaneUp), Refusal> {
    let Purpose::Lane(lane) = hello.purpose else { panic!("wanted a lane, found {:?}", hello.purpose) };
    peers.handle_inbound(hello, lane, 0, now)
}

pub(super) fn discover(peers: &mut Peers, nodes: &[u64], now: Instant) {
    let addresses = nodes.iter().map(|node| address(*node)).collect();
    assert_eq!(peers.handle_resolved(&addresses, now), 0);
}

fn dial(peers: &mut Peers, now: Instant) -> Option<(Attempt, Address)> {
    match peers.poll(now)? {
        Action::Dial { attempt, address } => Some((attempt, address)),
        other => panic!("wanted to dial, found {other:?}"),
    }
}

/// Carries a whole attempt of `from` to `to`: what both sides make of it.
fn greet(from: &mut Peers, attempt: Attempt, to: &mut Peers, now: Instant) -> (Option<LaneUp>, Option<LaneUp>) {
    let hello = from.handle_connected(attempt, 0).unwrap();
    let (answer, there) = match inbound(to, &hello, now) {
        Ok((answer, lane)) => (Greeting::Hello(answer), Some(lane)),
        Err(refusal) => (Greeting::Refusal(refusal), None),
    };
    (from.handle_answer(attempt, &answer, now, MIDDLE), there)
}

/// Lets `from` dial `to` until it has nothing more to dial; returns the lanes that came up.
fn link(from: &mut Peers, to: &mut Peers, now: Instant) -> Vec<u16> {
    let mut lanes = Vec::new();
    while let Some((attempt, _)) = dial(from, now) {
        let (here, there) = greet(from, attempt, to, now);
        let (here, there) = (here.unwrap(), there.unwrap());
        assert_eq!((here.lane, here.lanes, here.epoch), (there.lane, there.lanes, there.epoch));
        lanes.push(here.lane);
    }
    lanes
}

/// All connections of lanes to a node are lost, and whether its life is over remains to be seen.
fn lose_lanes(peers: &mut Peers, of: u64, now: Instant) {
    for lane in 0..peers.nodes[&NodeId(of)].lanes() {
        let lost = peers.lane_up(NodeId(of), lane).unwrap().lost();
        peers.handle_lane_lost(&lost, now, MIDDLE);
    }
}

#[test]
fn one_lane_for_each_thread_of_the_node_with_more() {
    let now = Instant::now();
    let (mut a, mut b) = (node(1, 1), node(2, 3));
    discover(&mut a, &[2], now);
    assert_eq!(link(&mut a, &mut b, now), [0, 1, 2]);
    assert_eq!((a.poll(now), b.poll(now), a.deadline()), (None, None, None));
    let view = &a.view(now)[0];
    assert_eq!((view.name.as_str(), view.state, view.lanes_up, view.lanes), ("broker-2", LinkState::Up, 3, 3));
    assert!(!view.synchronised);
    a.handle_synchronised(NodeId(2), 1);
    assert!(a.view(now)[0].synchronised);
}

#[test]
fn a_node_recognises_itself() {
    let now = Instant::now();
    let mut a = node(1, 1);
    discover(&mut a, &[1], now);
    let (attempt, _) = dial(&mut a, now).unwrap();
    let hello = a.handle_connected(attempt, 0).unwrap();
    let refusal = inbound(&mut a, &hello, now).unwrap_err();
    assert_eq!(refusal, Refusal { node: NodeId(1), reason: RefusalReason::Itself });
    assert_eq!(a.handle_answer(attempt, &Greeting::Refusal(refusal), now, MIDDLE), None);
    assert!(a.found_itself());
    assert_eq!((a.poll(now), a.deadline(), a.view(now)), (None, None, vec![]));
}

#[test]
fn strangers_are_refused_and_told_why() {
    let now = Instant::now();
    let mut a = node(1, 2);
    let hello = node(2, 3).me.hello(0, Purpose::Lane(0));
    let cases = [
        (Hello { cluster: "other".to_owned(), ..hello.clone() }, "the node belongs to cluster \"test\""),
        (Hello { purpose: Purpose::Lane(3), ..hello.clone() }, "there are only 3 lanes"),
        (
            // It has no store, or its life was not committed yet.
            Hello { node: NodeId(1), ..hello.clone() },
            "node broker-1 has the same id; each node needs a data folder of its own",
        ),
    ];
    for (hello, wanted) in cases {
        assert_eq!(inbound(&mut a, &hello, now).unwrap_err().to_string(), wanted);
    }
    a.stop();
    assert_eq!(inbound(&mut a, &hello, now).unwrap_err().reason, RefusalReason::ShuttingDown);
}

#[test]
fn a_refusal_that_people_must_mend_is_shown_and_tried_again() {
    let now = Instant::now();
    let mut a = node(1, 1);
    discover(&mut a, &[2], now);
    for _ in 0..2 {
        let (attempt, _) = dial(&mut a, now).unwrap();
        a.handle_connected(attempt, 0).unwrap();
        let reason = RefusalReason::WrongCluster { wanted: "other".to_owned() };
        let refusal = Greeting::Refusal(Refusal { node: NodeId(2), reason });
        assert_eq!(a.handle_answer(attempt, &refusal, now, MIDDLE), None);
    }
    assert_eq!((dial(&mut a, now), a.deadline().is_some()), (None, true));
    let view = &a.view(now)[0];
    assert_eq!(view.state, LinkState::Refused);
    assert_eq!(view.refusal.as_deref(), Some("the node belongs to cluster \"other\""));
}

#[test]
fn failed_attempts_wait_longer_each_time_and_news_end_the_wait() {
    let start = Instant::now();
    let mut a = node(1, 1);
    discover(&mut a, &[2], start);
    let mut now = start;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let (attempt, _) = dial(&mut a, now).unwrap();
        a.handle_dial_failed(attempt, now, MIDDLE);
        let deadline = a.deadline().unwrap();
        waits.push((deadline - now).as_secs_f64().round());
        now = deadline;
    }
    assert_eq!(waits, [0.0, 1.0, 2.0, 4.0, 8.0]);
    let view = &a.view(now)[0];
    assert_eq!((view.state, view.failures, view.silent_for.as_secs()), (LinkState::BackOff, 5, 15));

    let (attempt, _) = dial(&mut a, now).unwrap();
    a.handle_dial_failed(attempt, now, MIDDLE);
    assert_eq!(dial(&mut a, now), None);
    discover(&mut a, &[2], now);
    assert_eq!(dial(&mut a, now), None, "the same answer again is no news");
    discover(&mut a, &[2, 3], now);
    assert_eq!(dial(&mut a, now).map(|(_, to)| to), Some(address(2)));

    let (attempt, _) = dial(&mut a, now).unwrap();
    a.handle_dial_failed(attempt, now, MIDDLE);
    let hello = node(4, 1).me.hello(0, Purpose::Lane(0));
    inbound(&mut a, &hello, now).unwrap();
    assert_eq!(dial(&mut a, now).map(|(_, to)| to), Some(address(3)));
}

#[test]
fn when_both_dial_at_once_the_lower_ones_connection_is_kept() {
    let now = Instant::now();
    // All orders in which two first greetings can cross.
    for (first_at_a, first_at_b) in [(true, true), (true, false), (false, true), (false, false)] {
        let (mut a, mut b) = (node(1, 1), node(2, 1));
        discover(&mut a, &[2], now);
        discover(&mut b, &[1], now);
        let (from_a, _) = dial(&mut a, now).unwrap();
        let (from_b, _) = dial(&mut b, now).unwrap();
        let hello_a = a.handle_connected(from_a, 0).unwrap();
        let hello_b = b.handle_connected(from_b, 0).unwrap();
        let answer = |result: &Result<(Hello, LaneUp), Refusal>| match result {
            Ok((answer, _)) => Greeting::Hello(answer.clone()),
            Err(refusal) => Greeting::Refusal(refusal.clone()),
        };
        // Each side meets the other's greeting and the answer to its own in either order, if the answer is there.
        let mut at_a = None;
        let mut at_b = None;
        if first_at_a {
            at_a = Some(inbound(&mut a, &hello_b, now));
        }
        if first_at_b {
            at_b = Some(inbound(&mut b, &hello_a, now));
        }
        let mut answered_a = None;
        if let Some(result) = &at_b {
            answered_a = Some(a.handle_answer(from_a, &answer(result), now, MIDDLE));
        }
        let mut answered_b = None;
        if let Some(result) = &at_a {
            answered_b = Some(b.handle_answer(from_b, &answer(result), now, MIDDLE));
        }
        let at_a = at_a.unwrap_or_else(|| inbound(&mut a, &hello_b, now));
        let at_b = at_b.unwrap_or_else(|| inbound(&mut b, &hello_a, now));
        let answered_a = answered_a.unwrap_or_else(|| a.handle_answer(from_a, &answer(&at_b), now, MIDDLE));
        let answered_b = answered_b.unwrap_or_else(|| b.handle_answer(from_b, &answer(&at_a), now, MIDDLE));

        // The connection each side holds last is the same one, and it is one that both accepted.
        let a_dialled = (answered_a.is_some(), at_b.is_ok());
        let b_dialled = (at_a.is_ok(), answered_b.is_some());
        let case = format!("{first_at_a} {first_at_b}: {a_dialled:?} {b_dialled:?}");
        assert_eq!(a_dialled.0, a_dialled.1, "{case}");
        let kept_at_a = if a_dialled.0 { "a's" } else { "b's" };
        let kept_at_b = if a_dialled.1 { "a's" } else { "b's" };
        assert_eq!(kept_at_a, kept_at_b, "{case}");
        assert!(a_dialled == (true, true) || b_dialled == (true, true), "{case}");
        assert_eq!((a.view(now)[0].state, b.view(now)[0].state), (LinkState::Up, LinkState::Up), "{case}");
    }
}

#[test]
fn a_node_that_lost_the_connection_before_the_other_noticed_is_taken_back() {
    let now = Instant::now();
    let later = now + Duration::from_secs(5);
    for (dialler, other) in [(1, 2), (2, 1)] {
        let (mut dialler, mut other) = (node(dialler, 1), node(other, 1));
        discover(&mut dialler, &[other.me.node.0], now);
        let (attempt, _) = dial(&mut dialler, now).unwrap();
        let lane = greet(&mut dialler, attempt, &mut other, now).0.unwrap();
        dialler.handle_lane_lost(&lane.lost(), later, MIDDLE);
        let (attempt, _) = dial(&mut dialler, later).unwrap();
        let (here, there) = greet(&mut dialler, attempt, &mut other, later);
        assert_eq!((here.unwrap().epoch, there.unwrap().epoch), (1, 1));
    }
}

#[test]
fn a_loss_of_a_connection_that_was_replaced_changes_nothing() {
    let now = Instant::now();
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    discover(&mut a, &[2], now);
    let (attempt, _) = dial(&mut a, now).unwrap();
    let (first, at_b) = greet(&mut a, attempt, &mut b, now);
    a.handle_lane_lost(&first.unwrap().lost(), now + Duration::from_secs(5), MIDDLE);
    let (attempt, _) = dial(&mut a, now + Duration::from_secs(5)).unwrap();
    greet(&mut a, attempt, &mut b, now).0.unwrap();
    b.handle_lane_lost(&at_b.unwrap().lost(), now, MIDDLE);
    assert_eq!(b.view(now)[0].state, LinkState::Up);
}

#[test]
fn a_life_that_one_side_ended_is_ended_by_the_other_when_they_meet() {
    let now = Instant::now();
    let later = now + Duration::from_secs(5);
    for gone_at_dialler in [true, false] {
        let (mut a, mut b) = (node(1, 2), node(2, 2));
        discover(&mut a, &[2], now);
        assert_eq!(link(&mut a, &mut b, now), [0, 1]);
        if gone_at_dialler {
            a.handle_gone(NodeId(2), 1, later, MIDDLE);
            assert_eq!(a.poll(later), Some(Action::Gone { node: NodeId(2), epoch: 1 }));
        } else {
            b.handle_gone(NodeId(1), 1, later, MIDDLE);
            assert_eq!(b.poll(later), Some(Action::Gone { node: NodeId(1), epoch: 1 }));
            let lane = a.lane_up(NodeId(2), 0).unwrap();
            a.handle_lane_lost(&lane.lost(), later, MIDDLE);
        }
        let (attempt, _) = dial(&mut a, later).unwrap();
        let (here, there) = greet(&mut a, attempt, &mut b, later);
        assert_eq!((here.unwrap().epoch, there.unwrap().epoch), (2, 2));
        // The side that did not know ends its life before the new one begins.
        let (late, node) = if gone_at_dialler { (&mut b, NodeId(1)) } else { (&mut a, NodeId(2)) };
        assert_eq!(late.poll(later), Some(Action::Gone { node, epoch: 1 }));
        assert_eq!(link(&mut a, &mut b, later), [1]);
    }
}

#[test]
fn a_restarted_node_begins_a_new_life() {
    let now = Instant::now();
    let later = now + Duration::from_secs(5);
    for restarted_dials in [true, false] {
        let (mut a, mut b) = (node(1, 1), node(2, 1));
        discover(&mut a, &[2], now);
        link(&mut a, &mut b, now);
        b = node(2, 2);
        (b.me.incarnation, b.me.nonce) = (b.me.incarnation + 1, 1);
        lose_lanes(&mut a, 2, later);
        if restarted_dials {
            discover(&mut b, &[1], later);
            let (attempt, _) = dial(&mut b, later).unwrap();
            let (here, there) = greet(&mut b, attempt, &mut a, later);
            assert_eq!((here.unwrap().epoch, there.unwrap().epoch), (2, 2));
            assert_eq!(a.poll(later), Some(Action::Gone { node: NodeId(2), epoch: 1 }));
            assert_eq!(link(&mut b, &mut a, later), [1]);
        } else {
            let (attempt, _) = dial(&mut a, later).unwrap();
            // The answer comes from a node that cannot know that a life was before: the next greeting settles it.
            assert_eq!(greet(&mut a, attempt, &mut b, later).0, None);
            assert_eq!(a.poll(later), Some(Action::Gone { node: NodeId(2), epoch: 1 }));
            assert_eq!(link(&mut a, &mut b, later + Duration::from_secs(2)), [0, 1]);
        }
        assert_eq!(a.view(later)[0].lanes, 2);
    }
}

/// Copies of one folder, of which one comes when the other has gone, say that they are the same life.
#[test]
fn a_node_that_comes_back_in_the_same_life_with_other_threads_has_as_many_lanes_as_it_has_threads() {
    let now = Instant::now();
    let later = now + Duration::from_secs(5);
    let soon = later + BackOffSettings::default().initial;
    for (before, after) in [(4, 3), (3, 4)] {
        for (is_noticed, comes_back_dials) in [(true, true), (true, false), (false, true), (false, false)] {
            let (mut a, mut b) = (node(1, 2), node(2, before));
            discover(&mut a, &[2], now);
            assert_eq!(link(&mut a, &mut b, now).len(), usize::from(before));
            b = node(2, after);
            b.me.nonce += 1;
            lose_lanes(&mut a, 2, later);
            let gone = Some(Action::Gone { node: NodeId(2), epoch: 1 });
            if is_noticed {
                a.handle_gone(NodeId(2), 1, later, MIDDLE);
                assert_eq!(a.poll(later), gone);
            }
            let lanes: Vec<u16> = (0..after).collect();
            if comes_back_dials {
                discover(&mut b, &[1], later);
                let (attempt, _) = dial(&mut b, later).unwrap();
                assert_eq!(greet(&mut b, attempt, &mut a, later).0.unwrap().lanes, after);
                assert_eq!(link(&mut b, &mut a, later), lanes[1..]);
            } else {
                if !is_noticed {
                    let (attempt, _) = dial(&mut a, later).unwrap();
                    assert_eq!(greet(&mut a, attempt, &mut b, later).0, None, "the life is over for one of them");
                    assert_eq!(a.poll(later), gone);
                }
                assert_eq!(link(&mut a, &mut b, soon), lanes);
            }
            for (one, other) in [(&a, "broker-2"), (&b, "broker-1")] {
                let view = &one.view(soon)[0];
                let found = (view.name.as_str(), view.state, view.lanes_up, view.lanes);
                assert_eq!(found, (other, LinkState::Up, after, after), "{before} {is_noticed} {comes_back_dials}");
            }
        }
    }
}

#[test]
fn a_dial_to_another_address_of_a_linked_node_changes_nothing() {
    let now = Instant::now();
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    discover(&mut a, &[2], now);
    link(&mut a, &mut b, now);
    discover(&mut a, &[2, 3], now);
    let (attempt, to) = dial(&mut a, now).unwrap();
    assert_eq!(to, address(3));
    assert_eq!(greet(&mut a, attempt, &mut b, now), (None, None));
    let later = now + Duration::from_secs(100);
    assert_eq!((dial(&mut a, later), a.deadline(), a.view(later).len()), (None, None, 1));
}

#[test]
fn an_inbound_connection_ends_our_own_attempt_unless_ours_is_ahead() {
    let now = Instant::now();
    let (mut a, mut b) = (node(1, 1), node(2, 1));
    discover(&mut a, &[2], now);
    link(&mut a, &mut b, now);
    discover(&mut b, &[1], now);
    let _ = dial(&mut b, now).map(|(attempt, _)| greet(&mut b, attempt, &mut a, now));
    let later = now + Duration::from_secs(5);
    let (lost_a, lost_b) = (a.lane_up(NodeId(2), 0).unwrap().lost(), b.lane_up(NodeId(1), 0).unwrap().lost());
    a.handle_lane_lost(&lost_a, later, MIDDLE);
    b.handle_lane_lost(&lost_b, later, MIDDLE);
    let (from_a, _) = dial(&mut a, later).unwrap();
    let (from_b, _) = dial(&mut b, later).unwrap();
    let hello_b = b.handle_connected(from_b, 0).unwrap();
    // The lower has only begun to connect: it takes the other's connection.
    assert!(inbound(&mut a, &hello_b, later).is_ok());
    assert_eq!(a.poll(later), Some(Action::Abandon { attempt: from_a }));
    assert_eq!(a.handle_connected(from_a, 0), None);

    // The lower has said hello: the other is refused and takes that.
    a.handle_lane_lost(&a.lane_up(NodeId(2), 0).unwrap().lost(), later + Duration::from_secs(5), MIDDLE);
    let later = later + Duration::from_secs(5);
    let (from_a, _) = dial(&mut a, later).unwrap();
    let hello_a = a.handle_connected(from_a, 0).unwrap();
    let refused = inbound(&mut a, &hello_b, later).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::LowerDials);
    let (answer, _) = inbound(&mut b, &hello_a, later).unwrap();
    assert_eq!(b.poll(later), Some(Action::Abandon { attempt: from_b }));
    assert!(a.handle_answer(from_a, &Greeting::Hello(answer), later, MIDDLE).is_some());
}

#[test]
fn an_address_that_is_gone_from_discovery_is_not_dialled() {
    let now = Instant::now();
    let mut a = node(1, 1);
    discover(&mut a, &[2], now);
    let (attempt, _) = dial(&mut a, now).unwrap();
    discover(&mut a, &[], now);
    assert_eq!(a.poll(now), Some(Action::Abandon { attempt }));
    assert_eq!((a.poll(now), a.handle_connected(attempt, 0)), (None, None));
    assert_eq!(a.view(now), []);
}

#[test]
fn nodes_and_addresses_are_bounded() {
    let now = Instant::now();
    let mut a = node(1, 1);
    a.settings.nodes_max = 3;
    let addresses: BTreeSet<Address> = (2..10).map(address).collect();
    assert_eq!(a.handle_resolved(&addresses, now), 5);
    discover(&mut a, &[], now);
    let hello = |id| node(id, 1).me.hello(0, Purpose::Lane(0));
    for id in 2..5 {
        inbound(&mut a, &hello(id), now).unwrap();
    }
    assert_eq!(inbound(&mut a, &hello(5), now).unwrap_err().reason, RefusalReason::TooManyNodes { max: 3 });
    // One that is gone makes room.
    a.handle_gone(NodeId(3), 1, now, MIDDLE);
    inbound(&mut a, &hello(5), now).unwrap();
    assert_eq!(a.view(now).iter().filter_map(|view| view.node).collect::<Vec<_>>(), [2, 4, 5].map(NodeId));
}
