//! A publish to a topic that was judged before allocates nothing, and neither does judging one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fulmar_auth::cache::Decisions;
use fulmar_auth::{AccessFile, AccessLimits};

thread_local! {
    /// Of this thread, because the test harness has others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The allocator of the system, counted.
struct Counting;

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, and so from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn known_decisions_and_judgements_allocate_nothing() {
    let text = r#"
rules:
- {allow: publish, users: [alice], filters: ["a/${username}/#"]}
- {deny: publish, clientIds: [m1], filters: ["b/${clientid}"]}
- {allow: all, filters: ["b/#", "c/+/d"]}
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
        rights.may_subscribe("$share/group/b/#");
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "judgements");
}
