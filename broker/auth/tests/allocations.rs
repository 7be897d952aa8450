//! A publish to a topic that was judged before allocates nothing, and neither does judging one.

#[path = "../../tests/counting/mod.rs"]
mod counting;

use counting::ALLOCATIONS;
use fulmar_auth::cache::Decisions;
use fulmar_auth::{AccessFile, AccessLimits};

#[test]
fn known_decisions_and_judgements_allocate_nothing() {
    let text = r#"
rules:
- {allow: publish, users: [alice], filters: ["a/${username}/#"]}
- {deny: publish, clientIds: [m1], filters: ["b/${clientid}"]}
- {allow: all, filters: ["b/#", "c/+/d"]}
- {deny: all, filters: ["${clientid}/+/#", "+/${username}/+/x", "c/${clientid}"]}
"#;
    let list = AccessFile::parse(text, AccessLimits::default()).expect("the file is right").list;
    let topics = [("a/alice/1", true), ("b/m1", false), ("b/m2", true), ("c/1/d", true), ("c/1", false)];
    let mut decisions = Decisions::default();
    let mut decide = |topic: &str| decisions.decide(1, topic, || list.rights("m1", Some("alice")).may_publish(topic));
    assert!(topics.iter().all(|(topic, allowed)| decide(topic) == *allowed));
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        assert!(topics.iter().all(|(topic, allowed)| decide(topic) == *allowed));
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "known decisions");
    for (topic, allowed) in topics {
        let rights = list.rights("m1", Some("alice"));
        assert_eq!(rights.may_publish(topic), allowed);
        assert!(rights.may_subscribe("$share/group/b/#") && !rights.may_subscribe("+/m1/#"));
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "judgements");
}
