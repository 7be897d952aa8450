//! Clusters of three and five brokers that keep sessions together, each broker in a network of its own, to which
//! everything happens that can: killed, stopped, standing still, cut off, heard by nobody, without its folder, with a disk
//! that takes its time, with a wall clock that is stepped. What was acknowledged is neither lost nor doubled nor out of
//! order, and who is connected misses nothing.
//!
//! `cargo xtask faults` runs it, as root, because networks and control groups are root's. All that happens to the nodes
//! follows from a seed that is printed; `FULMAR_FAULTS_SEED` repeats it, though not to the microsecond: these are real
//! processes. `FULMAR_FAULTS_SECONDS` says for how long there are faults in each run, and `FULMAR_FAULTS_KIND` has all
//! faults be of one kind.
//!
//! `cargo xtask recovery` measures how long clients wait after each kind of failure (`recovery`).
//!
//! `run` is the story of a run, `plan` what happens to the nodes, `stage` how; `live`, `retained` and `mortals` are
//! clients with what must hold for them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a failure is read together with what happened before it")]
#![allow(clippy::print_stderr, reason = "a table and how it comes about are for different readers")]
#![allow(unreachable_pub, reason = "nothing is exported from a test, and pub says what is for other files")]

mod clock;
#[path = "../attack/group.rs"]
#[allow(dead_code, reason = "attacks use more of it")]
mod group;
mod harness;
mod live;
mod mortals;
mod network;
mod plan;
mod recovery;
mod retained;
mod run;
mod stage;
mod world;

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

use crate::run::Orders;

const SEED: &str = "FULMAR_FAULTS_SEED";
/// One kind of fault, by the name of its variant.
const KIND: &str = "FULMAR_FAULTS_KIND";
const SECONDS: &str = "FULMAR_FAULTS_SECONDS";
const MINUTES: &str = "FULMAR_FAULTS_MINUTES";
const REPETITIONS: &str = "FULMAR_RECOVERY_REPETITIONS";
/// One kind of failure, by the name of its variant.
const ONLY: &str = "FULMAR_RECOVERY_ONLY";
/// Of faults in one of the runs that everybody waits for.
const SECONDS_DEFAULT: u64 = 60;
/// Of faults in each of many runs.
const SECONDS_OF_MANY: u64 = 120;

fn main() {
    let mut arguments = Arguments::from_args();
    // One network at a time, and the machine for each.
    arguments.test_threads = Some(1);
    if arguments.ignored || arguments.include_ignored {
        network::leave_the_machine();
    }
    let with_nodes = |name: &str, nodes| {
        Trial::test(name, move || {
            let seconds = number(SECONDS).unwrap_or(SECONDS_DEFAULT);
            one(nodes, seed(), Duration::from_secs(seconds));
            Ok(())
        })
        // Needs root.
        .with_ignored_flag(true)
    };
    let mut trials = vec![
        Trial::test("a_seed_has_one_plan", || {
            plan::check();
            Ok(())
        }),
        with_nodes("three_nodes_lose_nothing", 3),
        with_nodes("five_nodes_lose_nothing", 5),
    ];
    if let Some(repetitions) = number(REPETITIONS) {
        let trial = Trial::test("recovery", move || {
            recovery::measure(repetitions as usize, std::env::var(ONLY).ok().as_deref());
            Ok(())
        });
        trials.push(trial.with_ignored_flag(true));
    }
    if let Some(minutes) = number(MINUTES) {
        let trial = Trial::test("many_runs_lose_nothing", move || {
            many(Duration::from_secs(60 * minutes));
            Ok(())
        });
        trials.push(trial.with_ignored_flag(true));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn one(nodes: usize, seed: u64, time: Duration) {
    let kind = std::env::var(KIND).ok();
    run::run(Orders { nodes, seed, time, kind: kind.as_deref() });
}

/// One run after the other, of three and of five nodes in turn, until the time is over.
fn many(time: Duration) {
    let (begin, first) = (Instant::now(), seed());
    let of_each = Duration::from_secs(number(SECONDS).unwrap_or(SECONDS_OF_MANY));
    for (count, seed) in (first..).enumerate() {
        let left = time.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return println!("{count} runs");
        }
        one([3, 5][count % 2], seed, of_each.min(left));
    }
}

/// What the run follows from: a number of the caller's, or any.
fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| RandomState::new().hash_one("faults") >> 32)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("found `{text}` in {variable}, wanted a number")))
}
