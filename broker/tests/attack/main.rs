//! Attacks on a broker that has little memory, from attackers that have much of everything but processor time, while
//! well-behaved clients go on. For each attack: the broker is never killed, nobody well-behaved is closed, loses a
//! message or waits for long, and when the attackers are gone everything is as it was before.
//!
//! `cargo xtask attacks` runs them, as root, because the broker and its attackers live in control groups of their own
//! (versions 1 and 2). The broker is built with optimizations for it: what is measured is time. A table of figures is
//! printed at the end.
//!
//! `stage` is the story of one attack, `attackers` what they do (this program again, started as a process of its own),
//! `well_behaved` those who are to be served.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are for whoever runs it")]
#![allow(unreachable_pub, reason = "nothing is exported from a test, and pub says what is for other files")]

mod attackers;
#[allow(dead_code, reason = "other tests make disks slow")]
mod group;
mod harness;
mod stage;
mod well_behaved;
mod wire;

use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Trial};

use crate::attackers::ATTACKS;

fn main() {
    if let Some(attack) = attackers::asked_for() {
        attackers::run(&attack);
        return;
    }
    let mut arguments = Arguments::from_args();
    // Each attack has the machine for itself.
    arguments.test_threads = Some(1);
    let table = Arc::new(Mutex::new(Vec::new()));
    let trials = ATTACKS.iter().map(|attack| {
        let table = table.clone();
        Trial::test(attack.name, move || {
            let row = stage::play(attack);
            table.lock().unwrap().push(row);
            Ok(())
        })
        // Needs root and an optimized broker.
        .with_ignored_flag(true)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    stage::print(&table.lock().unwrap());
    conclusion.exit();
}
