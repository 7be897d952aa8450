//! The subscription trie against a model that keeps a plain list and compares level by level.
//!
//! A failing run prints its smallest input; `PROPTEST_RNG_SEED` runs a seed again, `PROPTEST_CASES` runs more of them.

mod model;

use fulmar_codec::QoS;
use fulmar_router::{Member, NodeIndex, Options, Subscribed, SubscriberId, Trie, Unsubscribed};
use model::{Found, Key, Model, Op, apply, check_whole, subscriber};
use proptest::prelude::*;

/// Few different levels, so that filters meet; all that is odd about levels is among them.
fn level() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "", "$SYS", "$share", "ü", "a level longer than what a node holds in place"])
        .prop_map(str::to_owned)
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

/// Joins levels; no levels, which would be no topic, become two empty ones.
fn join(levels: &[String]) -> String {
    Some(levels.join("/")).filter(|text| !text.is_empty()).unwrap_or_else(|| "/".to_owned())
}

fn key() -> impl Strategy<Value = Key> {
    let group =
        prop_oneof![2 => Just(None), 1 => prop::sample::select(vec![Some("g".to_owned()), Some("h".to_owned())])];
    (group, filter())
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (key(), 0..50u32, 0..3u32).prop_map(|(key, slot, id)| Op::Subscribe { key, slot, id }),
        3 => (key(), 0..50u32).prop_filter_map("a shared group", |((group, filter), slot)| {
            Some(Op::SetAbsent { group: group?, filter, slot })
        }),
        4 => (key(), 0..50u32).prop_map(|(key, slot)| Op::Unsubscribe { key, slot }),
        3 => (key(), 0..9u16).prop_map(|(key, node)| Op::RemoteAdd { key, node }),
        2 => (key(), 0..9u16).prop_map(|(key, node)| Op::RemoteRemove { key, node }),
        1 => (0..9u16, 1..20usize).prop_map(|(node, step)| Op::RemoteClear { node, step }),
    ]
}

proptest! {
    #[test]
    fn any_history_matches_like_the_model(
        seed: u64,
        ops in prop::collection::vec(op(), 1..200),
        topics in prop::collection::vec(topic(), 1..20),
    ) {
        let (mut trie, mut model) = (Trie::new(seed), Model::default());
        for (at, op) in ops.iter().enumerate() {
            let before = trie.changes();
            apply(op, &mut trie, &mut model);
            let topic = &topics[at % topics.len()];
            let found = Found::in_trie(&trie, topic);
            prop_assert_eq!(&found, &model.matches(topic));
            prop_assert!(trie.changes() >= before);
        }
        check_whole(&trie, &model);
        for topic in &topics {
            prop_assert_eq!(Found::in_trie(&trie, topic), model.matches(topic));
        }
    }

    #[test]
    fn nothing_is_left_when_all_have_left(seed: u64, ops in prop::collection::vec(op(), 1..200)) {
        let (mut trie, mut model) = (Trie::new(seed), Model::default());
        let at_rest = trie.counts();
        for op in &ops {
            apply(op, &mut trie, &mut model);
        }
        for (key, members) in std::mem::take(&mut model.members) {
            for subscriber in members.into_keys() {
                match &key {
                    (None, filter) => trie.unsubscribe(filter, subscriber),
                    (Some(group), filter) => trie.unsubscribe_shared(group, filter, subscriber),
                };
            }
        }
        for node in 0..9 {
            trie.remote_clear(NodeIndex(node));
        }
        prop_assert_eq!(trie.counts(), at_rest);
        prop_assert_eq!(Found::in_trie(&trie, "a"), Found::default());
    }

    /// Filters and topics that no codec would let through give wrong answers at worst.
    #[test]
    fn unchecked_input_does_no_harm(filters in prop::collection::vec("[a+#/$\u{0}]{0,8}", 0..30), topic in "[a+#/$\u{0}]{0,8}") {
        let mut trie = Trie::new(1);
        for filter in &filters {
            trie.subscribe(filter, subscriber(1), Options::new(QoS::AtMostOnce));
            trie.remote_shared_add(filter, filter, NodeIndex(1));
        }
        Found::in_trie(&trie, &topic);
        for filter in &filters {
            trie.unsubscribe(filter, subscriber(1));
            trie.remote_shared_remove(filter, filter, NodeIndex(1));
        }
        prop_assert_eq!(trie.counts(), Trie::new(1).counts());
    }
}

const OPTIONS: Options = Options::new(QoS::AtMostOnce);

/// A trie in which the filter at index i has subscriber i.
fn trie_of(filters: &[&str]) -> Trie {
    let mut trie = Trie::new(42);
    for (slot, filter) in filters.iter().enumerate() {
        trie.subscribe(filter, subscriber(slot as u32), OPTIONS);
    }
    trie
}

fn slots(trie: &Trie, topic: &str) -> Vec<u32> {
    let mut slots: Vec<u32> = Found::in_trie(trie, topic).members.iter().map(|m| m.subscriber.slot).collect();
    slots.sort_unstable();
    slots
}

#[test]
fn wildcards_match_as_in_the_examples_of_the_standard() {
    // MQTT 5.0, 4.7.1.2 and 4.7.1.3.
    let trie = trie_of(&["sport/tennis/player1/#", "sport/#", "#", "+", "+/tennis/#", "sport/+", "+/+", "/+"]);
    assert_eq!(slots(&trie, "sport/tennis/player1"), [0, 1, 2, 4]);
    assert_eq!(slots(&trie, "sport/tennis/player1/score/wimbledon"), [0, 1, 2, 4]);
    assert_eq!(slots(&trie, "sport"), [1, 2, 3]);
    assert_eq!(slots(&trie, "sport/"), [1, 2, 5, 6]);
    assert_eq!(slots(&trie, "/finance"), [2, 6, 7]);
}

#[test]
fn leading_wildcards_do_not_match_dollar_topics() {
    // MQTT 5.0, 4.7.2.
    let trie = trie_of(&["#", "+/monitor/Clients", "$SYS/#", "$SYS/monitor/+", "$SYS/monitor/Clients", "+", "$SYS"]);
    assert_eq!(slots(&trie, "$SYS/monitor/Clients"), [2, 3, 4]);
    assert_eq!(slots(&trie, "$SYS"), [2, 6]);
    assert_eq!(slots(&trie, "a/$SYS"), [0]);
}

#[test]
fn levels_compare_by_their_exact_bytes() {
    let trie = trie_of(&["Straße/+", "strasse/+", "Straße/Ä", "\u{feff}a/+"]);
    assert_eq!(slots(&trie, "Straße/Ä"), [0, 2]);
    assert_eq!(slots(&trie, "Straße/A\u{308}"), [0]);
    assert_eq!(slots(&trie, "\u{feff}a/b"), [3]);
    assert_eq!(slots(&trie, "a/b"), [] as [u32; 0]);
}

#[test]
fn topics_of_any_depth_need_no_stack() {
    for levels in [1_000, 65_536] {
        let deep = "/".repeat(levels - 1);
        let plus = vec!["+"; levels].join("/");
        let trie = trie_of(&[&deep, &plus, "#", &format!("{deep}/#"), &format!("{plus}/+"), "/+/#"]);
        assert_eq!(slots(&trie, &deep), [0, 1, 2, 3, 5]);
        let mut trie = trie;
        for (slot, filter) in [&deep, &plus, "#", &format!("{deep}/#"), &format!("{plus}/+"), "/+/#"].iter().enumerate()
        {
            assert!(trie.unsubscribe(filter, subscriber(slot as u32)).last);
        }
        assert_eq!(trie.counts(), Trie::new(0).counts());
    }
}

#[test]
fn a_bomb_of_wildcards_visits_each_node_once() {
    // All 4,096 filters of 12 levels that are each `a` or `+`: every one of them matches, by 2^12 ways.
    let mut trie = Trie::new(7);
    for bits in 0..4096_u32 {
        let levels: Vec<_> = (0..12).map(|level| if bits >> level & 1 == 0 { "a" } else { "+" }).collect();
        trie.subscribe(&levels.join("/"), subscriber(bits), OPTIONS);
    }
    let mut found = Found::default();
    let visited = trie.matches(&["a"; 12].join("/"), &mut found);
    assert_eq!(found.members.len(), 4096);
    assert!(visited <= trie.counts().nodes, "{visited} visits, {:?}", trie.counts());
    // A topic that does not get that far costs only its own levels.
    assert!(trie.matches("a/a/a", &mut found) <= 2 + 4 + 8);
}

#[test]
fn a_hundred_thousand_subscribers_of_one_filter_leave_quickly_in_any_order() {
    let mut trie = Trie::new(5);
    for slot in 0..100_000 {
        assert_eq!(trie.subscribe("fan/+", subscriber(slot), OPTIONS), Subscribed { new: true, first: slot == 0 });
    }
    assert_eq!(Found::in_trie(&trie, "fan/out").members.len(), 100_000);
    // Searching the list each time would take 10^10 steps here.
    for slot in (0..100_000).rev().step_by(2).chain((0..100_000).step_by(2)) {
        let last = slot == 99_998;
        assert_eq!(trie.unsubscribe("fan/+", subscriber(slot)), Unsubscribed { existed: true, last });
    }
    assert_eq!(trie.counts(), Trie::new(0).counts());
}

#[test]
fn subscribing_again_replaces_the_options() {
    let mut trie = trie_of(&["a/+"]);
    let options = Options::new(QoS::ExactlyOnce).with_no_local(true);
    assert_eq!(trie.subscribe("a/+", subscriber(0), options), Subscribed { new: false, first: false });
    assert_eq!(Found::in_trie(&trie, "a/b").members, [Member { subscriber: subscriber(0), options }]);
}

#[test]
fn a_later_session_in_the_same_slot_is_another_subscriber() {
    let (old, new) =
        (SubscriberId { thread: 1, generation: 1, slot: 9 }, SubscriberId { thread: 1, generation: 2, slot: 9 });
    let mut trie = Trie::new(1);
    assert!(trie.subscribe("a", old, OPTIONS).first);
    assert_eq!(trie.subscribe("a", new, OPTIONS), Subscribed { new: true, first: false });
    assert_eq!(trie.unsubscribe("a", old), Unsubscribed { existed: true, last: false });
    assert_eq!(trie.unsubscribe("a", old), Unsubscribed { existed: false, last: false });
    assert_eq!(trie.unsubscribe("a", new), Unsubscribed { existed: true, last: true });
}

#[test]
fn plain_subscriptions_and_groups_are_announced_apart() {
    let mut trie = Trie::new(1);
    assert!(trie.subscribe("a", subscriber(1), OPTIONS).first);
    assert!(trie.subscribe_shared("g", "a", subscriber(1), OPTIONS).first);
    assert!(trie.subscribe_shared("h", "a", subscriber(1), OPTIONS).first);
    assert!(!trie.subscribe_shared("h", "a", subscriber(2), OPTIONS).first);
    assert!(trie.unsubscribe("a", subscriber(1)).last);
    assert!(!trie.unsubscribe("a", subscriber(1)).existed);
    assert!(trie.unsubscribe_shared("g", "a", subscriber(1)).last);
    assert!(!trie.unsubscribe_shared("h", "a", subscriber(1)).last);
    assert!(trie.unsubscribe_shared("h", "a", subscriber(2)).last);
}

#[test]
fn a_node_that_is_cleared_in_pieces_is_gone_and_the_others_stay() {
    let mut trie = Trie::new(1);
    for i in 0..5_000 {
        trie.remote_add(&format!("a/{i}/+"), NodeIndex((i % 2) as u16));
        trie.remote_shared_add("g", &format!("b/{i}"), NodeIndex((i % 2) as u16));
    }
    let (mut pieces, mut next) = (0, Some(0));
    while let Some(from) = next {
        next = trie.remote_clear_from(NodeIndex(0), from, 1000);
        pieces += 1;
    }
    assert!(pieces > 10, "cleared in {pieces} pieces");
    assert_eq!(trie.counts().remote, 5_000);
    assert_eq!(Found::in_trie(&trie, "a/0/x"), Found::default());
    assert_eq!(Found::in_trie(&trie, "a/1/x").nodes, [NodeIndex(1)]);
}

#[test]
fn the_trie_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Trie>();
}
