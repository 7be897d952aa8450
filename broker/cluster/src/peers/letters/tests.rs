//! Nodes that dial each other for letters, with the shell between them played by the test.

use std::time::Duration;

use super::*;
use crate::peers::tests::{MIDDLE, address, discover, node};
use crate::peers::{Found, Known, LinkState, Lodger};

const CONTROL: Channel = Channel::Control;
const BULK: Channel = Channel::Bulk;

fn with_store(id: u64) -> Peers {
    let mut peers = node(id, 1);
    peers.settings.has_letters = true;
    peers
}

/// The attempts for letters that are due now; those for lanes are never answered.
fn dials(peers: &mut Peers, now: Instant) -> Vec<(Attempt, Channel)> {
    let mut dials = Vec::new();
    while let Some(action) = peers.poll(now) {
        match action {
            Action::DialLetters { attempt, channel, .. } => dials.push((attempt, channel)),
            Action::Dial { .. } => {}
            other => panic!("wanted to dial, found {other:?}"),
        }
    }
    dials
}

fn inbound(peers: &mut Peers, hello: &Hello) -> Result<(Hello, LettersFrom), Refusal> {
    let Purpose::Letters(channel) = hello.purpose else { panic!("wanted letters, found {:?}", hello.purpose) };
    peers.handle_letters_inbound(hello, channel, 0)
}

fn said(result: &Result<(Hello, LettersFrom), Refusal>) -> Greeting {
    match result {
        Ok((answer, _)) => Greeting::Hello(answer.clone()),
        Err(refusal) => Greeting::Refusal(refusal.clone()),
    }
}

/// Carries a whole attempt of `from` to `to`: what both sides make of it.
fn greet(
    from: &mut Peers,
    attempt: Attempt,
    to: &mut Peers,
    now: Instant,
) -> (Option<LettersUp>, Result<LettersFrom, RefusalReason>) {
    let hello = from.handle_letters_connected(attempt, 0).unwrap();
    let there = inbound(to, &hello);
    let here = from.handle_letters_answer(attempt, &said(&there), now, MIDDLE);
    (here, there.map(|(_, letters)| letters).map_err(|refusal| refusal.reason))
}

/// Two nodes, of which the first writes to the second on both channels.
fn connected(now: Instant) -> (Peers, Peers, [Attempt; 2]) {
    let (mut a, mut b) = (with_store(1), with_store(2));
    discover(&mut a, &[2], now);
    let attempts = dials(&mut a, now);
    for (attempt, _) in &attempts {
        assert!(greet(&mut a, *attempt, &mut b, now).0.is_some());
    }
    let [(control, CONTROL), (bulk, BULK)] = attempts[..] else { panic!("{attempts:?}") };
    (a, b, [control, bulk])
}

#[test]
fn each_channel_is_dialled_once_without_waiting_for_lanes() {
    let now = Instant::now();
    let (mut a, mut b) = (with_store(1), with_store(2));
    discover(&mut a, &[2], now);
    let attempts = dials(&mut a, now);
    assert_eq!(attempts.iter().map(|(_, channel)| *channel).collect::<Vec<_>>(), Channel::ALL);
    for (attempt, channel) in attempts {
        let (here, there) = greet(&mut a, attempt, &mut b, now);
        let up = LettersUp { node: NodeId(2), incarnation: 200, name: "broker-2".to_owned(), channel };
        assert_eq!(here, Some(up));
        let there = there.unwrap();
        assert_eq!((there.node, there.incarnation, there.channel), (NodeId(1), 100, channel));
    }
    assert_eq!((dials(&mut a, now), a.letters_deadlines().count()), (vec![], 0));
    let known = Known {
        node: NodeId(2),
        incarnation: 200,
        name: "broker-2".to_owned(),
        address: Some(address(2).socket),
        letters: Channel::ALL.to_vec(),
        is_linked: false,
    };
    assert_eq!(a.known(), [known]);
    assert_eq!(a.found(), [Found { address: address(2), lodger: Lodger::Node(NodeId(2)) }]);
    // Whom it has been dialled by it knows, too, but not where.
    let back = b.known();
    assert_eq!((back[0].node, back[0].address, back[0].letters.len()), (NodeId(1), None, 0));
    assert!(a.view(now).iter().all(|view| view.state == LinkState::Dialling), "lanes are as they were");
}

#[test]
fn a_node_without_a_store_neither_dials_nor_accepts() {
    let now = Instant::now();
    let (mut a, mut b) = (with_store(1), node(2, 1));
    discover(&mut a, &[2], now);
    discover(&mut b, &[1], now);
    assert_eq!((dials(&mut b, now), b.letters_deadlines().count()), (vec![], 0));
    let (attempt, _) = dials(&mut a, now)[0];
    assert_eq!(greet(&mut a, attempt, &mut b, now), (None, Err(RefusalReason::NoStore)));
}

#[test]
fn a_node_does_not_write_to_itself_on_any_channel() {
    let now = Instant::now();
    let mut a = with_store(1);
    discover(&mut a, &[1], now);
    for (attempt, _) in dials(&mut a, now) {
        let hello = a.handle_letters_connected(attempt, 0).unwrap();
        let refusal = inbound(&mut a, &hello).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::Itself);
        assert_eq!(a.handle_letters_answer(attempt, &Greeting::Refusal(refusal), now, MIDDLE), None);
    }
    let later = now + Duration::from_secs(100);
    assert_eq!((dials(&mut a, later), a.letters_deadlines().count(), a.found_itself()), (vec![], 0, true));
    assert_eq!(a.found()[0].lodger, Lodger::Itself);
}

#[test]
fn a_lost_connection_is_dialled_at_once_and_then_with_longer_waits() {
    let start = Instant::now();
    let (mut a, mut b, [control, _]) = connected(start);
    let mut now = start + Duration::from_secs(60);
    a.handle_letters_ended(control, now, MIDDLE);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let [(attempt, CONTROL)] = dials(&mut a, now)[..] else { panic!("nothing is dialled") };
        a.handle_letters_ended(attempt, now, MIDDLE);
        let deadline = a.letters_deadlines().min().unwrap();
        waits.push((deadline - now).as_secs_f64().round());
        now = deadline;
    }
    assert_eq!(waits, [1.0, 2.0, 4.0, 8.0]);
    // Whoever dials us is there: it is dialled without a wait.
    let [(attempt, CONTROL)] = dials(&mut a, now)[..] else { panic!("nothing is dialled") };
    a.handle_letters_ended(attempt, now, MIDDLE);
    assert_eq!(dials(&mut a, now), []);
    discover(&mut b, &[1], now);
    let (attempt, _) = dials(&mut b, now)[0];
    assert!(greet(&mut b, attempt, &mut a, now).0.is_some());
    assert_eq!(dials(&mut a, now).len(), 1);
}

#[test]
fn of_two_addresses_of_a_node_one_is_dialled_and_of_two_connections_the_later_stands_on_both_sides() {
    let now = Instant::now();
    for later_answers_first in [false, true] {
        let (mut a, mut b) = (with_store(1), with_store(2));
        // It is not known that both are the same node.
        discover(&mut a, &[2, 3], now);
        let attempts: Vec<_> = dials(&mut a, now).into_iter().filter(|(_, channel)| *channel == BULK).collect();
        let [(one, _), (two, _)] = attempts[..] else { panic!("{attempts:?}") };
        let hellos = [one, two].map(|attempt| a.handle_letters_connected(attempt, 0).unwrap());
        let [first, second] = hellos.each_ref().map(|hello| inbound(&mut b, hello));
        let replaced = first.as_ref().unwrap().1.connection;
        assert_eq!(b.poll(now), Some(Action::CloseLetters { connection: replaced }));
        let mut answers = [(one, said(&first)), (two, said(&second))];
        if later_answers_first {
            answers.reverse();
        }
        let ups: Vec<_> = answers
            .iter()
            .map(|(attempt, answer)| a.handle_letters_answer(*attempt, answer, now, MIDDLE).is_some())
            .collect();
        if later_answers_first {
            assert_eq!((ups, a.poll(now)), (vec![true, false], None));
        } else {
            assert_eq!((ups, a.poll(now)), (vec![true, true], Some(Action::Abandon { attempt: one })));
        }
        // What is reported of the other one changes nothing.
        a.handle_letters_ended(one, now, MIDDLE);
        b.handle_letters_closed(replaced);
        assert!(a.letters.is_connected(NodeId(2), BULK) && b.letters.has(NodeId(1)));
        a.handle_letters_ended(two, now + Duration::from_secs(60), MIDDLE);
        let again = dials(&mut a, now + Duration::from_secs(60));
        assert_eq!(again.iter().filter(|(_, channel)| *channel == BULK).count(), 1, "one for the node");
    }
}

#[test]
fn of_one_life_the_highest_number_counts_and_another_life_counts_whatever_its_number() {
    let now = Instant::now();
    let (_, mut b, _) = connected(now);
    let hello = |incarnation, epoch| {
        let mut a = with_store(1);
        a.me.incarnation = incarnation;
        Hello { epoch, ..a.me.hello(0, Purpose::Letters(CONTROL)) }
    };
    assert_eq!(inbound(&mut b, &hello(100, 1)).unwrap_err().reason, RefusalReason::AlreadyLinked);
    // Of the same process.
    let (answer, from) = inbound(&mut b, &hello(101, 1)).unwrap();
    assert_eq!((answer.epoch, from.incarnation, b.known()[0].incarnation), (1, 101, 101));
    assert!(matches!(b.poll(now), Some(Action::CloseLetters { .. })));
}

#[test]
fn a_connection_outlives_its_address_but_is_not_made_again() {
    let now = Instant::now();
    let (mut a, _, [control, _]) = connected(now);
    discover(&mut a, &[], now);
    assert!(matches!(a.poll(now), Some(Action::Abandon { .. })), "of the lane");
    assert_eq!((a.poll(now), a.known()[0].letters.len()), (None, 2));
    a.handle_letters_ended(control, now, MIDDLE);
    let later = now + Duration::from_secs(100);
    assert_eq!((a.poll(later), a.deadline(), a.known()[0].letters.len()), (None, None, 1));
}

#[test]
fn an_attempt_for_an_address_that_is_gone_is_given_up() {
    let now = Instant::now();
    let mut a = with_store(1);
    discover(&mut a, &[2], now);
    let attempts = dials(&mut a, now);
    discover(&mut a, &[], now);
    let abandoned: Vec<_> = std::iter::from_fn(|| a.poll(now)).collect();
    for (attempt, _) in attempts {
        assert!(abandoned.contains(&Action::Abandon { attempt }));
        assert_eq!(a.handle_letters_connected(attempt, 0), None);
    }
}

#[test]
fn a_new_life_ends_all_connections_and_greets_anew_at_once() {
    let now = Instant::now();
    let (mut a, mut b, attempts) = connected(now);
    discover(&mut b, &[1], now);
    let (back, _) = dials(&mut b, now)[0];
    let from_b = greet(&mut b, back, &mut a, now).1.unwrap();
    // A link with a life of its own, too.
    let hello = b.me.hello(0, Purpose::Lane(0));
    assert!(a.handle_inbound(&hello, 0, 0, now).is_ok());
    while a.poll(now).is_some() {}

    a.begin_life(101);
    let mut ended: Vec<_> = std::iter::from_fn(|| a.actions.pop_front()).collect();
    let wanted = [
        Action::Abandon { attempt: attempts[0] },
        Action::Abandon { attempt: attempts[1] },
        Action::CloseLetters { connection: from_b.connection },
        Action::Gone { node: NodeId(2), epoch: 1 },
    ];
    ended.retain(|action| wanted.contains(action));
    assert_eq!(ended, wanted);
    let again = dials(&mut a, now);
    assert_eq!(again.len(), 2);
    for (attempt, _) in again {
        let (here, there) = greet(&mut a, attempt, &mut b, now);
        assert_eq!((here.is_some(), there.unwrap().incarnation), (true, 101));
    }
}

#[test]
fn a_new_life_that_greets_for_letters_ends_the_lanes_of_the_old_one() {
    let now = Instant::now();
    let (mut a, mut b, _) = connected(now);
    let hello = b.me.hello(0, Purpose::Lane(0));
    assert!(a.handle_inbound(&hello, 0, 0, now).is_ok());
    while a.poll(now).is_some() {}
    b.begin_life(201);
    discover(&mut b, &[1], now);
    while let Some(action) = b.poll(now) {
        if let Action::DialLetters { attempt, channel: CONTROL, .. } = action {
            assert!(greet(&mut b, attempt, &mut a, now).0.is_some());
        }
    }
    assert_eq!(a.poll(now), Some(Action::Gone { node: NodeId(2), epoch: 1 }));
    assert_eq!(a.known()[0].incarnation, 201);
}

#[test]
fn connections_for_letters_are_bounded() {
    let now = Instant::now();
    let mut a = with_store(1);
    a.settings.nodes_max = 3;
    let hello = |id| with_store(id).me.hello(0, Purpose::Letters(BULK));
    for id in 2..5 {
        inbound(&mut a, &hello(id)).unwrap();
    }
    assert_eq!(inbound(&mut a, &hello(5)).unwrap_err().reason, RefusalReason::TooManyNodes { max: 3 });
    let closed = a.letters.incoming[&(NodeId(3), BULK)].connection;
    a.handle_letters_closed(closed);
    inbound(&mut a, &hello(5)).unwrap();

    // Those to nodes that are not found any more make room for others.
    let mut a = with_store(1);
    a.settings.nodes_max = 3;
    for id in 2..12 {
        discover(&mut a, &[id], now);
        let mut other = with_store(id);
        for (attempt, _) in letters_due(&mut a, now) {
            assert!(greet(&mut a, attempt, &mut other, now).0.is_some());
        }
        assert!(a.letters.outgoing.len() <= 6);
    }
    assert!(a.letters.is_connected(NodeId(11), BULK));
}

/// As `dials`, whatever else there is to do.
fn letters_due(peers: &mut Peers, now: Instant) -> Vec<(Attempt, Channel)> {
    let due = |action| match action {
        Action::DialLetters { attempt, channel, .. } => Some((attempt, channel)),
        _ => None,
    };
    std::iter::from_fn(|| peers.poll(now)).filter_map(due).collect()
}
