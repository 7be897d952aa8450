//! The store of retained messages against a model that keeps a plain map and compares every topic with the filter.
//!
//! A failing run prints its smallest input; `PROPTEST_RNG_SEED` runs a seed again, `PROPTEST_CASES` runs more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use fulmar_codec::filter_matches;
use fulmar_router::{Cursor, Limit, Retained, RetainedCounts, RetainedLimits, Scan, Set, Version, Weigh};
use proptest::prelude::*;

/// A message that is nothing but its weight.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
struct Message(usize);

impl Weigh for Message {
    fn bytes(&self) -> usize {
        self.0
    }
}

const LIMITS: RetainedLimits = RetainedLimits {
    messages_max: usize::MAX,
    bytes_max: usize::MAX,
    tombstone_milliseconds: 1000,
    tombstones_max: usize::MAX,
    tombstone_bytes_max: usize::MAX,
};

fn version(clock: u64) -> Version {
    Version { clock, node: 1 }
}

/// A store with these topics, each of which has a message.
fn store_of(topics: &[&str]) -> Retained<Message> {
    let mut store = Retained::new(LIMITS);
    for topic in topics {
        assert_eq!(store.set(topic, Some(Message(1)), version(1), None, 0), Set::Applied);
    }
    store
}

/// All topics that a filter finds, in the order of the store.
fn found(store: &Retained<Message>, filter: &str) -> Vec<String> {
    let mut topics = Vec::new();
    let scan = store.scan(filter, &mut Cursor::default(), 0, usize::MAX, |stored| {
        topics.push(stored.topic.to_owned());
        ControlFlow::Continue(())
    });
    assert_eq!(scan, Scan::Done);
    topics
}

#[derive(Clone, Debug)]
enum Op {
    Set { topic: String, weight: Option<usize>, version: Version, expires_in: Option<u64> },
    Wait { milliseconds: u64 },
    Expire { at_most: usize },
}

/// What a store without limits should hold.
#[derive(Default)]
struct Model {
    now: u64,
    topics: BTreeMap<String, State>,
}

#[derive(Copy, Clone)]
struct State {
    message: Option<Message>,
    version: Version,
    /// The end of the message, or of its tombstone.
    ends_at: Option<u64>,
}

impl Model {
    /// Messages turn into tombstones and tombstones vanish as soon as their time comes.
    fn pass_time(&mut self, milliseconds: u64) {
        self.now += milliseconds;
    }

    /// What becomes visible of that when the store cleans up.
    fn expire(&mut self) {
        let now = self.now;
        for state in self.topics.values_mut() {
            if state.message.is_some() && state.ends_at.is_some_and(|at| at <= now) {
                *state = State { message: None, ends_at: Some(now + LIMITS.tombstone_milliseconds), ..*state };
            }
        }
        self.topics.retain(|_, state| state.message.is_some() || state.ends_at.is_none_or(|at| at > now));
    }

    fn set(&mut self, topic: &str, message: Option<Message>, version: Version, expires_at: Option<u64>) -> Set {
        if self.topics.get(topic).is_some_and(|old| version <= old.version) {
            return Set::Older;
        }
        let message = message.filter(|_| expires_at.is_none_or(|at| at > self.now));
        let ends_at = if message.is_some() { expires_at } else { Some(self.now + LIMITS.tombstone_milliseconds) };
        self.topics.insert(topic.to_owned(), State { message, version, ends_at });
        Set::Applied
    }

    fn matches(&self, filter: &str) -> BTreeMap<String, (Message, Version, Option<u64>)> {
        let live = self.topics.iter().filter_map(|(topic, state)| {
            let message = state.message.filter(|_| state.ends_at.is_none_or(|at| at > self.now))?;
            Some((topic.clone(), (message, state.version, state.ends_at)))
        });
        live.filter(|(topic, _)| filter_matches(filter, topic)).collect()
    }

    fn counts(&self) -> (usize, usize, usize) {
        let messages = self.topics.iter().filter_map(|(topic, state)| Some(topic.len() + state.message?.0));
        let (count, bytes) = messages.fold((0, 0), |(count, bytes), message| (count + 1, bytes + message));
        (count, bytes, self.topics.len() - count)
    }
}

fn level() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a!", "a\u{1}", "b", "", "$SYS", "ü", "a0"]).prop_map(str::to_owned)
}

/// Joins levels; no levels, which would be no topic, become two empty ones.
fn join(levels: &[String]) -> String {
    Some(levels.join("/")).filter(|text| !text.is_empty()).unwrap_or_else(|| "/".to_owned())
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5).prop_map(|levels| join(&levels))
}

fn filter() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => level(), 2 => Just("+".to_owned())];
    let end = prop_oneof![2 => Just(None), 1 => Just(Some("#".to_owned()))];
    (prop::collection::vec(part, 0..5), end).prop_map(|(mut levels, end)| {
        levels.extend(end);
        join(&levels)
    })
}

fn op() -> impl Strategy<Value = Op> {
    let version = (0..20_u64, 0..3_u64).prop_map(|(clock, node)| Version { clock, node });
    let weight = prop_oneof![3 => (0..9_usize).prop_map(Some), 1 => Just(None)];
    let expires_in = prop_oneof![2 => Just(None), 1 => (0..2000_u64).prop_map(Some)];
    prop_oneof![
        8 => (topic(), weight, version, expires_in).prop_map(|(topic, weight, version, expires_in)|
            Op::Set { topic, weight, version, expires_in }),
        1 => (0..1500_u64).prop_map(|milliseconds| Op::Wait { milliseconds }),
        1 => (1..5_usize).prop_map(|at_most| Op::Expire { at_most }),
    ]
}

fn run(ops: Vec<Op>) -> (Retained<Message>, Model) {
    let (mut store, mut model) = (Retained::new(LIMITS), Model::default());
    for op in ops {
        match op {
            Op::Set { topic, weight, version, expires_in } => {
                let expires_at = expires_in.map(|after| model.now + after);
                let message = weight.map(Message);
                let set = store.set(&topic, message, version, expires_at, model.now);
                assert_eq!(set, model.set(&topic, message, version, expires_at));
            }
            Op::Wait { milliseconds } => model.pass_time(milliseconds),
            Op::Expire { at_most } => {
                while store.expire(model.now, at_most) == at_most {}
                model.expire();
                assert!(store.next_expiry().is_none_or(|at| at > model.now));
            }
        }
        let counts = store.counts();
        assert_eq!((counts.messages, counts.bytes, counts.tombstones), model.counts());
    }
    (store, model)
}

proptest! {
    #[test]
    fn any_history_is_found_like_in_the_model(
        ops in prop::collection::vec(op(), 1..150),
        filters in prop::collection::vec(filter(), 1..20),
        steps_max in 1..9_usize,
        matches_max in 1..9_usize,
    ) {
        let (store, model) = run(ops);
        for filter in &filters {
            let (mut cursor, mut result, mut last) = (Cursor::default(), BTreeMap::new(), Scan::More);
            while last == Scan::More {
                let mut matches = 0;
                last = store.scan(filter, &mut cursor, model.now, steps_max, |stored| {
                    let value = (*stored.message, stored.version, stored.expires_at);
                    assert_eq!(result.insert(stored.topic.to_owned(), value), None, "visited twice");
                    matches += 1;
                    if matches == matches_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                prop_assert!(matches <= steps_max.min(matches_max));
            }
            prop_assert_eq!(&result, &model.matches(filter), "{}", filter);
            for (topic, value) in result {
                let stored = store.get(&topic, model.now).expect("it was found");
                prop_assert_eq!((*stored.message, stored.version, stored.expires_at), value);
            }
        }
    }

    /// Two nodes that got the same changes in any order, or one of them a copy of the other, hold the same.
    #[test]
    fn the_order_of_arrival_and_copies_make_no_difference(
        changes in prop::collection::vec((topic(), any::<bool>(), 0..99_u64), 1..60).prop_shuffle(),
        steps_max in 1..9_usize,
    ) {
        // The version tells everything about a change, as in a cluster.
        let (mut one, mut other, mut copied) = (Retained::new(LIMITS), Retained::new(LIMITS), Retained::new(LIMITS));
        let set = |store: &mut Retained<Message>, (topic, some, clock): &(String, bool, u64)| {
            let message = some.then_some(Message(*clock as usize));
            let _ = store.set(topic, message, Version { clock: *clock, node: u64::from(*some) }, None, 0);
        };
        changes.iter().for_each(|change| set(&mut one, change));
        changes.iter().rev().for_each(|change| set(&mut other, change));
        let mut cursor = Cursor::default();
        while one.copy(&mut cursor, 0, steps_max, |stored| {
            let set = copied.set(stored.topic, stored.message.copied(), stored.version, stored.expires_at, 0);
            assert_eq!(set, Set::Applied);
            ControlFlow::Continue(())
        }) == Scan::More {}
        prop_assert_eq!(whole(&one), whole(&other));
        prop_assert_eq!(whole(&one), whole(&copied));
        prop_assert_eq!(one.counts(), copied.counts());
    }

    /// What is there during the whole of a scan is visited once, whatever changes between its pieces.
    #[test]
    fn a_scan_goes_on_while_topics_come_and_go(
        stay in prop::collection::btree_set(topic(), 1..30),
        others in prop::collection::vec((topic(), any::<bool>()), 1..60),
        filter in filter(),
        steps_max in 1..4_usize,
    ) {
        let mut store = store_of(&stay.iter().map(String::as_str).collect::<Vec<_>>());
        let (mut cursor, mut visits, mut clock) = (Cursor::default(), Vec::new(), 1);
        let mut others = others.iter().filter(|(topic, _)| !stay.contains(topic));
        while store.scan(&filter, &mut cursor, 0, steps_max, |stored| {
            visits.push(stored.topic.to_owned());
            ControlFlow::Continue(())
        }) == Scan::More {
            for (topic, some) in others.by_ref().take(3) {
                clock += 1;
                let _ = store.set(topic, some.then_some(Message(1)), version(clock), None, 0);
            }
        }
        let once: BTreeSet<_> = visits.iter().cloned().collect();
        prop_assert_eq!(once.len(), visits.len(), "a topic was visited twice");
        let expected: BTreeSet<_> = stay.iter().filter(|topic| filter_matches(&filter, topic)).cloned().collect();
        prop_assert!(once.is_superset(&expected), "{:?} of {:?}", once, expected);
        prop_assert!(once.iter().all(|topic| filter_matches(&filter, topic)));
    }

    #[test]
    fn unchecked_input_does_no_harm(topics in prop::collection::vec("[a+#/$\u{0}\u{1}]{0,8}", 0..30), filter in "[a+#/$\u{0}\u{1}]{0,8}") {
        let store = store_of(&topics.iter().enumerate()
            .filter(|(at, topic)| !topics[..*at].iter().any(|other| other.replace('\0', "/") == topic.replace('\0', "/")))
            .map(|(_, topic)| topic.as_str()).collect::<Vec<_>>());
        let _ = found(&store, &filter);
    }
}

fn whole(store: &Retained<Message>) -> Vec<(String, Option<Message>, Version)> {
    let mut all = Vec::new();
    let scan = store.copy(&mut Cursor::default(), 0, usize::MAX, |stored| {
        all.push((stored.topic.to_owned(), stored.message.copied(), stored.version));
        ControlFlow::Continue(())
    });
    assert_eq!(scan, Scan::Done);
    all
}

#[test]
fn filters_find_what_they_match() {
    let store = store_of(&["a", "a/b", "a/b/c", "a!", "a!/b", "b/b/c", "$SYS/b", "/b", "a/"]);
    assert_eq!(found(&store, "a/#"), ["a", "a/", "a/b", "a/b/c"]);
    assert_eq!(found(&store, "+/b"), ["/b", "a/b", "a!/b"]);
    assert_eq!(found(&store, "+/b/#"), ["/b", "a/b", "a/b/c", "a!/b", "b/b/c"]);
    assert_eq!(found(&store, "#"), ["/b", "a", "a/", "a/b", "a/b/c", "a!", "a!/b", "b/b/c"]);
    assert_eq!(found(&store, "$SYS/#"), ["$SYS/b"]);
    assert_eq!(found(&store, "$SYS/b"), ["$SYS/b"]);
    assert_eq!(found(&store, "a/b/c/d"), [] as [&str; 0]);
}

#[test]
fn a_scan_reads_only_branches_that_match() {
    // 1,000 devices with 100 topics each, of which the filters want few.
    let mut store = Retained::new(LIMITS);
    for device in 0..1000 {
        for sensor in 0..100 {
            let topic = format!("site/{device:04}/sensor/{sensor:02}");
            assert_eq!(store.set(&topic, Some(Message(1)), version(1), None, 0), Set::Applied);
        }
    }
    // The steps that a filter takes are the smallest limit within which it gets to its end.
    let enough = |filter, steps| {
        store.scan(filter, &mut Cursor::default(), 0, steps, |_| ControlFlow::Continue(())) == Scan::Done
    };
    assert!(enough("site/0500/sensor/50", 2));
    assert!(enough("site/0500/#", 101));
    assert!(enough("site/0500/sensor/+", 101));
    assert!(enough("elsewhere/+/sensor/50", 1));
    // Per device: the sensor, its neighbours before the jump, and the next device.
    assert!(enough("site/+/sensor/50", 1000 * 12));
    assert!(enough("site/+/+/none", 1000 * 12));
    assert!(!enough("site/#", 99_999));
}

#[test]
fn topics_of_any_depth_need_no_stack() {
    for levels in [1_000, 65_536] {
        let deep = "/".repeat(levels - 1);
        let store = store_of(&[&deep, "a", &"b/".repeat(levels / 2)]);
        assert_eq!(found(&store, &deep), [deep.as_str()]);
        assert_eq!(found(&store, &vec!["+"; levels].join("/")), [deep.as_str()]);
        assert_eq!(found(&store, &format!("{}/+", vec!["+"; levels].join("/"))), [] as [&str; 0]);
        assert_eq!(found(&store, "/#"), [deep.as_str()]);
        assert_eq!(found(&store, "#").len(), 3);
    }
}

#[test]
fn the_highest_version_wins() {
    let mut store = Retained::new(LIMITS);
    let set = |store: &mut Retained<_>, weight: Option<usize>, clock, node| {
        store.set("a", weight.map(Message), Version { clock, node }, None, 0)
    };
    assert_eq!(set(&mut store, Some(1), 5, 1), Set::Applied);
    assert_eq!(set(&mut store, Some(2), 4, 9), Set::Older);
    assert_eq!(set(&mut store, Some(2), 5, 1), Set::Older);
    assert_eq!(set(&mut store, Some(3), 5, 2), Set::Applied);
    assert_eq!(set(&mut store, None, 5, 1), Set::Older);
    assert_eq!(*store.get("a", 0).expect("is retained").message, Message(3));
    assert_eq!(set(&mut store, None, 6, 1), Set::Applied);
    assert_eq!(store.get("a", 0), None);
}

#[test]
fn tombstones_keep_late_messages_away_for_their_time() {
    let mut store = Retained::new(LIMITS);
    assert_eq!(store.set("a", None, version(5), None, 0), Set::Applied);
    assert_eq!(store.set("a", Some(Message(1)), version(4), None, 10), Set::Older);
    assert_eq!((store.next_expiry(), store.expire(999, 9)), (Some(1000), 0));
    assert_eq!(store.expire(1000, 9), 1);
    assert_eq!(store.set("a", Some(Message(1)), version(4), None, 1000), Set::Applied);
    assert_eq!(store.counts(), RetainedCounts { messages: 1, bytes: 2, ..RetainedCounts::default() });
}

#[test]
fn an_expired_message_is_not_given_out_and_leaves_a_tombstone() {
    let mut store = Retained::new(LIMITS);
    assert_eq!(store.set("a", Some(Message(1)), version(5), Some(100), 0), Set::Applied);
    assert_eq!(store.get("a", 99).expect("not yet expired").expires_at, Some(100));
    assert_eq!(store.get("a", 100), None);
    let visit = |_: fulmar_router::Stored<'_, &Message>| panic!("it has expired");
    assert_eq!(store.scan("#", &mut Cursor::default(), 100, 9, visit), Scan::Done);
    let visit = |_: fulmar_router::Stored<'_, Option<&Message>>| panic!("it has expired");
    assert_eq!(store.copy(&mut Cursor::default(), 100, 9, visit), Scan::Done);
    assert_eq!(store.expire(100, 9), 1);
    assert_eq!(store.set("a", Some(Message(1)), version(4), None, 100), Set::Older);
    let counts = RetainedCounts { tombstones: 1, tombstone_bytes: 1, expired_total: 1, ..RetainedCounts::default() };
    assert_eq!(store.counts(), counts);
    // A message that comes too late altogether is the same as a deletion.
    assert_eq!(store.set("b", Some(Message(1)), version(1), Some(100), 100), Set::Applied);
    assert_eq!((store.get("b", 100), store.counts().tombstones), (None, 2));
}

#[test]
fn a_message_that_replaces_one_with_expiry_lives_on() {
    let mut store = Retained::new(LIMITS);
    assert_eq!(store.set("a", Some(Message(1)), version(1), Some(100), 0), Set::Applied);
    assert_eq!(store.set("a", Some(Message(2)), version(2), None, 0), Set::Applied);
    assert_eq!(store.expire(100, 9), 0);
    assert_eq!(*store.get("a", 100).expect("has no expiry").message, Message(2));
}

#[test]
fn limits_refuse_one_more_and_count_it() {
    let mut store = Retained::new(RetainedLimits { messages_max: 2, bytes_max: 20, ..LIMITS });
    assert_eq!(store.set("a", Some(Message(5)), version(1), None, 0), Set::Applied);
    assert_eq!(store.set("b", Some(Message(5)), version(1), None, 0), Set::Applied);
    let full = Set::Refused(Limit::Messages { max: 2 });
    assert_eq!(store.set("c", Some(Message(5)), version(1), None, 0), full);
    // What is there can be replaced within the limit on bytes, and stays when that is refused.
    assert_eq!(store.set("b", Some(Message(13)), version(2), None, 0), Set::Applied);
    let heavy = Set::Refused(Limit::Bytes { found: 21, max: 20 });
    assert_eq!(store.set("b", Some(Message(14)), version(3), None, 0), heavy);
    assert_eq!(*store.get("b", 0).expect("stays").message, Message(13));
    assert_eq!(store.set("a", None, version(2), None, 0), Set::Applied);
    assert_eq!(store.set("c", Some(Message(5)), version(1), None, 0), Set::Applied);
    let counts = store.counts();
    assert_eq!((counts.messages, counts.bytes), (2, 20));
    assert_eq!((counts.refused_messages_total, counts.refused_bytes_total), (1, 1));
}

#[test]
fn tombstones_have_limits_too_and_the_oldest_goes_first() {
    let limits = RetainedLimits { tombstones_max: 3, tombstone_bytes_max: 10, ..LIMITS };
    let mut store = Retained::new(limits);
    for (now, topic) in ["a", "b", "c", "d"].into_iter().enumerate() {
        assert_eq!(store.set(topic, None, version(5), None, now as u64), Set::Applied);
    }
    assert_eq!(store.set("b", Some(Message(1)), version(4), None, 9), Set::Older);
    assert_eq!(store.set("a", Some(Message(1)), version(4), None, 9), Set::Applied);
    assert_eq!((store.counts().tombstones, store.counts().tombstones_dropped_total), (3, 1));
    assert_eq!(store.set("9 letters", None, version(5), None, 10), Set::Applied);
    assert_eq!((store.counts().tombstones, store.counts().tombstone_bytes), (2, 10));
    assert_eq!(store.set("11 letters!", None, version(5), None, 11), Set::Applied);
    assert_eq!((store.counts().tombstones, store.counts().tombstones_dropped_total), (0, 6));
}

#[test]
fn a_broker_alone_keeps_no_tombstones() {
    let mut store = Retained::new(RetainedLimits { tombstone_milliseconds: 0, ..LIMITS });
    assert_eq!(store.set("a", Some(Message(1)), version(1), Some(50), 0), Set::Applied);
    assert_eq!(store.set("b", Some(Message(1)), version(1), None, 0), Set::Applied);
    assert_eq!(store.set("b", None, version(2), None, 0), Set::Applied);
    assert_eq!(store.expire(50, 9), 1);
    assert_eq!(store.counts(), RetainedCounts { expired_total: 1, ..RetainedCounts::default() });
}

#[test]
fn a_done_scan_stays_done() {
    let store = store_of(&["a"]);
    let mut cursor = Cursor::default();
    assert_eq!(store.scan("#", &mut cursor, 0, 9, |_| ControlFlow::Continue(())), Scan::Done);
    assert_eq!(store.scan("#", &mut cursor, 0, 9, |_| panic!("was visited before")), Scan::Done);
}
