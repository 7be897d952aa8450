//! What matching, subscribing and retaining cost: `cargo run --release -p fulmar-router --example measure_router [SCENARIO...]`.
//!
//! Times of matching are the best of several rounds on one thread; topics are asked for in an order that does not suit caches.
//! Memory is what the allocator was asked for. Parts of names run only those scenarios.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fulmar_codec::QoS;
use fulmar_router::{
    Cursor, Matches, NodeIndex, Options, Retained, RetainedLimits, Scan, SharedRef, SubscriberId, Trie, Version, Weigh,
};

const OPTIONS: Options = Options::new(QoS::AtMostOnce);
const ROUNDS: usize = 5;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let scenarios: [(&str, fn()); 9] = [
        ("exact: 50 of 50 topics", || exact(50)),
        ("exact: 1 of 1,000 topics", || exact(1_000)),
        ("exact: 1 of 1,000,000 topics", || exact(1_000_000)),
        ("fanout: 1 -> 1,000", fanout),
        ("fanout: 100,000 leave one filter", leave),
        ("wild: 100,000 filters", || wild(100_000)),
        ("wild: 1,000,000 filters", || wild(1_000_000)),
        ("remote: 100,000 filters on 2 other nodes", remote),
        ("retained: 100,000", || retained(100_000)),
    ];
    for (name, run) in scenarios {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("{name}");
            run();
        }
    }
}

fn exact(count: usize) {
    let topics: Vec<String> = (0..count).map(|i| format!("devices/{i}/commands")).collect();
    let trie = subscribed(&topics);
    time_matches(&trie, &topics, 1);
}

fn fanout() {
    let mut trie = Trie::new(1);
    for slot in 0..1000 {
        trie.subscribe("fan/out", subscriber(slot), OPTIONS);
    }
    time_matches(&trie, &["fan/out".to_owned()], 1000);
}

fn leave() {
    let mut trie = Trie::new(1);
    let join = time(100_000, || {
        for slot in 0..100_000 {
            trie.subscribe("fan/out", subscriber(slot), OPTIONS);
        }
    });
    let leave = time(100_000, || {
        for slot in 0..100_000 {
            trie.unsubscribe("fan/out", subscriber(slot * 7919 % 100_000));
        }
    });
    println!("  subscribe {join:.0} ns, unsubscribe {leave:.0} ns");
}

/// The filters of the `wild` scenario of the load generator: every topic matches three of them.
fn wild(count: usize) {
    let filters: Vec<String> = (0..count)
        .map(|i| match (i % 4, i / 4) {
            (0, key) => format!("w/{key}/+/b"),
            (1, key) => format!("w/{key}/#"),
            (2, key) => format!("+/{key}/a/#"),
            (_, key) => format!("w/+/n{key}/#"),
        })
        .collect();
    let topics: Vec<String> = (0..count / 4).map(|key| format!("w/{key}/a/b")).collect();
    let trie = subscribed(&filters);
    time_matches(&trie, &topics, 3);
    println!("  the tenth longest subscribe {} us", longest_subscribe(&filters));
}

fn remote() {
    let filters: Vec<String> = (0..100_000).map(|i| format!("devices/{i}/+/state")).collect();
    let before = allocated();
    let mut trie = Trie::new(1);
    let add = time(200_000, || {
        for filter in &filters {
            trie.remote_add(filter, NodeIndex(1));
            trie.remote_add(filter, NodeIndex(2));
        }
    });
    let bytes = (allocated() - before) as f64 / 200_000.0;
    let start = Instant::now();
    trie.remote_clear(NodeIndex(1));
    let clear = start.elapsed();
    println!("  add {add:.0} ns, {bytes:.0} bytes per filter and node, clearing one node {} us", clear.as_micros());
}

struct Message([u8; 16]);

impl Weigh for Message {
    fn bytes(&self) -> usize {
        self.0.len()
    }
}

fn retained(count: usize) {
    let limits = RetainedLimits {
        messages_max: usize::MAX,
        bytes_max: usize::MAX,
        tombstone_milliseconds: 3_600_000,
        tombstones_max: 100_000,
        tombstone_bytes_max: usize::MAX,
    };
    let topics: Vec<String> = (0..count).map(|i| format!("retained/{}/state", i * 7919 % count)).collect();
    let before = allocated();
    let mut store = Retained::new(limits);
    let mut clock = 0;
    let mut set_all = || {
        time(count, || {
            for topic in &topics {
                clock += 1;
                let _ = store.set(topic, Some(Arc::new(Message([0; 16]))), Version { clock, node: 1 }, None, 0);
            }
        })
    };
    let first = set_all();
    let bytes = (allocated() - before) as f64 / count as f64;
    let again = set_all();
    println!("  set {first:.0} ns new, {again:.0} ns again, {bytes:.0} bytes per message of 16 bytes");
    for filter in ["#", "retained/+/state", "retained/+/none", "retained/500/state"] {
        let (mut found, mut pieces, mut longest) = (0, 0, 0);
        let start = Instant::now();
        let mut cursor = Cursor::default();
        loop {
            let start = Instant::now();
            let scan = store.scan(filter, &mut cursor, 0, 1000, |stored| {
                found += usize::from(!black_box(stored.topic).is_empty());
                ControlFlow::Continue(())
            });
            pieces += 1;
            longest = longest.max(start.elapsed().as_micros());
            if scan == Scan::Done {
                break;
            }
        }
        let micros = start.elapsed().as_micros();
        println!("  scan {filter}: {found} found in {micros} us, {pieces} pieces, the longest {longest} us");
    }
}

/// A trie in which each filter has one subscriber; prints what that took.
fn subscribed(filters: &[String]) -> Trie {
    let before = allocated();
    let mut trie = Trie::new(1);
    let nanos = time(filters.len(), || {
        for (slot, filter) in filters.iter().enumerate() {
            trie.subscribe(filter, subscriber(slot), OPTIONS);
        }
    });
    let bytes = (allocated() - before) as f64 / filters.len() as f64;
    let counted = trie.bytes() as f64 / filters.len() as f64;
    let unsubscribe = time(filters.len(), || {
        for at in 0..filters.len() {
            let slot = at * 7919 % filters.len();
            trie.unsubscribe(&filters[slot], subscriber(slot));
        }
    });
    for (slot, filter) in filters.iter().enumerate() {
        trie.subscribe(filter, subscriber(slot), OPTIONS);
    }
    println!(
        "  subscribe {nanos:.0} ns, unsubscribe {unsubscribe:.0} ns, {bytes:.0} bytes per filter ({counted:.0} by its own count)"
    );
    trie
}

/// The microseconds of the tenth longest subscription: the longest ones tell more about the machine's scheduler.
fn longest_subscribe(filters: &[String]) -> u128 {
    let mut trie = Trie::new(1);
    let mut each: Vec<u128> = Vec::with_capacity(filters.len());
    for (slot, filter) in filters.iter().enumerate() {
        let start = Instant::now();
        trie.subscribe(filter, subscriber(slot), OPTIONS);
        each.push(start.elapsed().as_micros());
    }
    each.sort_unstable();
    each[each.len() - 10]
}

fn time_matches(trie: &Trie, topics: &[String], deliveries: usize) {
    let asked = 1_000_000_usize.div_ceil(deliveries);
    let step = if topics.len() > 7919 { 7919 } else { 1 };
    let order: Vec<&String> = (0..asked).map(|i| &topics[i * step % topics.len()]).collect();
    let mut seen = Seen::default();
    let round = || {
        time(asked, || {
            for topic in &order {
                trie.matches(topic, &mut seen);
            }
        })
    };
    let nanos = std::iter::repeat_with(round).take(ROUNDS).fold(f64::INFINITY, f64::min);
    assert_eq!(seen.count, asked * deliveries * ROUNDS);
    println!("  match {nanos:.0} ns per topic, {deliveries} deliveries each; {}", slowest_matches(trie, &order));
}

/// How long the slowest matches of one round take, each timed for itself.
fn slowest_matches(trie: &Trie, topics: &[&String]) -> String {
    let mut seen = Seen::default();
    let mut match_one = |topic: &str| {
        trie.matches(topic, &mut seen);
    };
    let mut each: Vec<f64> = topics.iter().map(|topic| time(1, || match_one(topic))).collect();
    black_box(seen.count);
    each.sort_unstable_by(f64::total_cmp);
    let microseconds = |per_mille: usize| each[(each.len() - 1) * per_mille / 1000] / 1000.0;
    format!("p99 {:.1} us, p99.9 {:.1} us", microseconds(990), microseconds(999))
}

#[derive(Default)]
struct Seen {
    count: usize,
    sum: u64,
}

impl Matches for Seen {
    fn local(&mut self, subscriber: SubscriberId, options: Options) {
        self.count += 1;
        self.sum += u64::from(subscriber.slot) + options.qos() as u64;
    }

    fn remote(&mut self, node: NodeIndex) {
        self.sum += u64::from(node.0);
    }

    fn shared(&mut self, group: SharedRef<'_>) {
        self.sum += group.present().count() as u64;
    }
}

fn subscriber(slot: usize) -> SubscriberId {
    SubscriberId { thread: 0, generation: 0, slot: slot as u32 }
}

/// Nanoseconds for each of the `count` things that `run` does.
fn time(count: usize, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / count as f64
}

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The system's allocator, counting the bytes that are in use.
struct Counting;

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}
