//! A node that announces, a peer that listens, and SUBACKs that wait for it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::NodeId;
use crate::frame::{InterestChange, InterestDelta, LinkMessage};

/// What a peer knows of a node's interest.
#[derive(Default)]
struct Listener {
    interest: PeerInterest,
    filters: BTreeSet<(Option<String>, String)>,
}

impl Listener {
    fn hear(&mut self, message: &LinkMessage<'_>) -> Result<(), InterestError> {
        match message {
            LinkMessage::InterestSnapshotBegin { version } => self.interest.handle_snapshot_begin(*version),
            LinkMessage::InterestSnapshotEnd => self.interest.handle_snapshot_end(),
            LinkMessage::Interest(delta) => {
                self.interest.handle_delta(delta)?;
                let filter = (delta.group.map(str::to_owned), delta.filter.to_owned());
                match delta.change {
                    InterestChange::Add => self.filters.insert(filter),
                    InterestChange::Remove => self.filters.remove(&filter),
                };
                Ok(())
            }
            other => panic!("not about interest: {other:?}"),
        }
    }
}

fn feed_all(local: &LocalInterest, feed: &mut InterestFeed, listener: &mut Listener) {
    let fed = local.feed(feed, usize::MAX, |message| listener.hear(message).is_ok());
    assert_eq!(fed, Ok(Fed::All));
}

fn change(version: u64, filter: &str) -> InterestDelta<'_> {
    InterestDelta { version, change: InterestChange::Add, group: None, filter }
}

#[test]
fn a_new_peer_is_told_everything_then_only_changes() {
    let mut local = LocalInterest::new(InterestLimits::default());
    local.add(None, "a/+");
    local.add(Some("g"), "b/#");
    let (mut feed, mut listener) = (local.new_feed(), Listener::default());
    feed_all(&local, &mut feed, &mut listener);
    assert_eq!(listener.interest.take_confirmation(), Some(2));

    local.remove(None, "a/+");
    assert_eq!(local.add(None, "c"), 4);
    let mut told = Vec::new();
    local
        .feed(&mut feed, usize::MAX, |message| {
            told.push(format!("{message:?}"));
            listener.hear(message).is_ok()
        })
        .unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    let wanted = [(None, "c".to_owned()), (Some("g".to_owned()), "b/#".to_owned())];
    assert!(listener.filters.iter().eq(&wanted), "{:?}", listener.filters);
    assert_eq!((listener.interest.take_confirmation(), listener.interest.take_confirmation()), (Some(4), None));
}

#[test]
fn a_node_without_filters_is_confirmed_too() {
    let (mut local, mut listener) = (LocalInterest::new(InterestLimits::default()), Listener::default());
    let mut feed = local.new_feed();
    feed_all(&local, &mut feed, &mut listener);
    assert_eq!((listener.interest.is_complete(), listener.interest.take_confirmation()), (true, Some(0)));
}

#[test]
fn a_filter_is_announced_once_and_its_second_subscriber_waits_for_it_all_the_same() {
    let mut local = LocalInterest::new(InterestLimits::default());
    assert_eq!([local.add(None, "a"), local.add(None, "a"), local.add(Some("g"), "a")], [1, 1, 2]);
    local.remove(None, "never/added");
    assert_eq!((local.version(), local.len()), (2, 2));
}

#[test]
fn a_peer_that_falls_behind_the_kept_changes_must_start_again() {
    let mut local = LocalInterest::new(InterestLimits { log_bytes_max: 1000 });
    let mut feed = local.new_feed();
    feed_all(&local, &mut feed, &mut Listener::default());
    for number in 0..1000 {
        local.add(None, &format!("filter/{number}"));
    }
    let error = local.feed(&mut feed, usize::MAX, |_| true).unwrap_err();
    assert_eq!(error.sent, 0);
    assert!((900..1000).contains(&error.kept), "{error}");
    // From the start it works.
    let mut listener = Listener::default();
    let mut feed = local.new_feed();
    feed_all(&local, &mut feed, &mut listener);
    assert_eq!((listener.filters.len(), listener.interest.take_confirmation()), (1000, Some(1000)));
}

#[test]
fn a_node_that_is_alone_keeps_no_changes() {
    let mut local = LocalInterest::new(InterestLimits::default());
    for number in 0..1000 {
        local.add(None, &format!("a/{number}"));
        local.remove(None, &format!("a/{number}"));
    }
    assert_eq!((local.version(), local.kept_bytes()), (2000, 0));
    // The first peer learns what is live and every change from then on.
    local.add(None, "before");
    let (mut feed, mut listener) = (local.new_feed(), Listener::default());
    local.add(None, "between");
    feed_all(&local, &mut feed, &mut listener);
    local.add(None, "after");
    assert!(local.kept_bytes() > 0);
    feed_all(&local, &mut feed, &mut listener);
    let known: Vec<&str> = listener.filters.iter().map(|(_, filter)| filter.as_str()).collect();
    assert_eq!(known, ["after", "before", "between"]);
}

#[test]
fn changes_out_of_order_are_errors() {
    let mut interest = PeerInterest::new();
    let out_of_place = |found| Err(InterestError::OutOfPlace { found });
    assert_eq!(interest.handle_delta(&change(1, "a")), out_of_place("interest"));
    assert_eq!(interest.handle_snapshot_end(), out_of_place("end of snapshot"));
    interest.handle_snapshot_begin(5).unwrap();
    assert_eq!(interest.handle_snapshot_begin(5), out_of_place("begin of snapshot"));
    assert_eq!(interest.handle_delta(&change(0, "in the snapshot")), Ok(()));
    assert_eq!(interest.handle_delta(&change(7, "a")), Err(InterestError::Gap { found: 7, wanted: 6 }));
    assert_eq!(interest.handle_delta(&change(6, "a")), Ok(()));
    assert_eq!(interest.take_confirmation(), None);
    interest.handle_snapshot_end().unwrap();
    assert_eq!(interest.take_confirmation(), Some(6));
    assert_eq!(interest.handle_delta(&change(0, "a")), Err(InterestError::Gap { found: 0, wanted: 7 }));
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, bool),
    Remove(u8, bool),
    Feed(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..20, any::<bool>()).prop_map(|(filter, shared)| Step::Add(filter, shared)),
        2 => (0u8..20, any::<bool>()).prop_map(|(filter, shared)| Step::Remove(filter, shared)),
        3 => (1usize..5).prop_map(Step::Feed),
    ]
}

proptest! {
    /// The list is sent in parts while filters come and go; in the end both sides agree.
    #[test]
    fn a_peer_that_is_told_in_parts_knows_everything_in_the_end(
        before in vec((0u8..20, any::<bool>()), 0..20),
        steps in vec(step(), 0..100),
    ) {
        let group = |shared: bool| shared.then_some("g");
        let mut local = LocalInterest::new(InterestLimits::default());
        let mut wanted = BTreeSet::new();
        for (filter, shared) in before {
            local.add(group(shared), &filter.to_string());
            wanted.insert((group(shared).map(str::to_owned), filter.to_string()));
        }
        let (mut feed, mut listener) = (local.new_feed(), Listener::default());
        for step in steps {
            match step {
                Step::Add(filter, shared) => {
                    local.add(group(shared), &filter.to_string());
                    wanted.insert((group(shared).map(str::to_owned), filter.to_string()));
                }
                Step::Remove(filter, shared) => {
                    local.remove(group(shared), &filter.to_string());
                    wanted.remove(&(group(shared).map(str::to_owned), filter.to_string()));
                }
                Step::Feed(messages_max) => {
                    local.feed(&mut feed, messages_max, |message| listener.hear(message).is_ok()).unwrap();
                }
            }
            prop_assert_eq!(local.len(), wanted.len());
        }
        feed_all(&local, &mut feed, &mut listener);
        prop_assert_eq!(&listener.filters, &wanted);
        let confirmed = listener.interest.take_confirmation();
        prop_assert!(confirmed.is_none_or(|version| version == local.version()));
    }

    #[test]
    fn a_lane_that_refuses_now_and_then_misses_nothing(refuse in vec(any::<bool>(), 1..200)) {
        let mut local = LocalInterest::new(InterestLimits::default());
        for number in 0..30 {
            local.add(None, &number.to_string());
        }
        let (mut feed, mut listener) = (local.new_feed(), Listener::default());
        for refuse in refuse {
            local.feed(&mut feed, 3, |message| !refuse && listener.hear(message).is_ok()).unwrap();
            local.add(None, "later");
        }
        feed_all(&local, &mut feed, &mut listener);
        prop_assert_eq!(listener.filters.len(), 31);
    }
}

const WAIT: Duration = Duration::from_secs(2);
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn released(barrier: &mut Barrier<&'static str>, now: Instant) -> Vec<(&'static str, Why)> {
    std::iter::from_fn(|| barrier.release(now)).map(|Released { what, why }| (what, why)).collect()
}

#[test]
fn a_suback_waits_for_every_linked_peer() {
    let now = Instant::now();
    let mut barrier = Barrier::new(WAIT, 10);
    assert!(barrier.is_confirmed(1));
    barrier.peer_linked(A);
    barrier.peer_linked(B);
    assert!(!barrier.is_confirmed(0), "a peer that has confirmed nothing does not have our list");
    barrier.wait(1, "first", now);
    barrier.wait(2, "second", now);
    barrier.confirmed(A, 2);
    assert_eq!(released(&mut barrier, now), []);
    barrier.confirmed(B, 1);
    assert_eq!(released(&mut barrier, now), [("first", Why::Confirmed)]);
    barrier.peer_gone(B);
    assert_eq!(released(&mut barrier, now), [("second", Why::Confirmed)]);
    assert!(barrier.is_empty());
}

#[test]
fn a_suback_waits_two_seconds_at_most() {
    let now = Instant::now();
    let mut barrier = Barrier::new(WAIT, 10);
    barrier.peer_linked(A);
    barrier.wait(1, "first", now);
    barrier.wait(2, "second", now + Duration::from_secs(1));
    assert_eq!(barrier.deadline(), Some(now + WAIT));
    assert_eq!(released(&mut barrier, now + WAIT), [("first", Why::TimedOut)]);
    assert_eq!(barrier.deadline(), Some(now + WAIT + Duration::from_secs(1)));
}

#[test]
fn too_many_waiting_subacks_let_the_oldest_go() {
    let now = Instant::now();
    let mut barrier = Barrier::new(WAIT, 2);
    barrier.peer_linked(A);
    for what in ["first", "second", "third"] {
        barrier.wait(1, what, now);
    }
    assert_eq!(released(&mut barrier, now), [("first", Why::Overflowed)]);
    assert_eq!(barrier.len(), 2);
}

#[test]
fn a_peer_that_is_linked_anew_must_confirm_anew() {
    let mut barrier: Barrier<()> = Barrier::new(WAIT, 2);
    barrier.peer_linked(A);
    barrier.confirmed(A, 9);
    barrier.peer_linked(A);
    assert!(!barrier.is_confirmed(1));
    // Confirmations of a peer that is not linked change nothing.
    barrier.peer_gone(A);
    barrier.confirmed(A, 9);
    barrier.peer_linked(A);
    assert!(!barrier.is_confirmed(1));
}
