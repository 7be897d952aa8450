//! Every normative statement of MQTT 3.1.1 and 5.0 that concerns a server, tested over the wire: against one broker
//! in memory, one with a data folder, and again against three that are linked, where each connection goes to the next node.
//!
//! A test is a function whose name begins with the number of its statement; `docs/conformance.md` is the table of all
//! statements, and a test of its own (`table`) holds both against each other. They run as tests of `cargo test` do:
//! `cargo test -p fulmar-broker --test conformance -- three::v5::mqtt_3_1`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the log of a broker belongs to a failure")]
#![allow(unreachable_pub, reason = "nothing is exported from a test, and pub says what is for other files")]

mod bed;
mod corner;
mod harness;
mod ids;
mod table;
mod target;
mod v3;
mod v5;
mod wire;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::bed::Bed;
use crate::table::Table;
use crate::target::{Shape, Stage};

/// A test of a statement, by its name.
#[derive(Clone, Copy)]
struct Statement {
    name: &'static str,
    run: fn(&Bed),
}

/// The tests of a file, by name. One that says in both versions the same is written once: `name = path::of_the_other`.
macro_rules! statements {
    ($($name:ident $(= $body:path)?),* $(,)?) => {
        pub const TESTS: &[crate::Statement] =
            &[$(crate::Statement { name: stringify!($name), run: crate::statements!(@ $name $($body)?) }),*];
    };
    (@ $name:ident $body:path) => { $body };
    (@ $name:ident) => { $name };
}
use statements;

/// Tests wait for the network and for time far more than for a processor.
const AT_ONE_TIME: usize = 24;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONE_TIME);
    let stage = Arc::new(Stage::default());
    let table = Arc::new(Table::read());
    let versions = [("v3", wire::V3, v3::all()), ("v5", wire::V5, v5::all())];
    let mut trials = Vec::new();
    for shape in Shape::ALL {
        for (version, level, statements) in &versions {
            let (version, level) = (*version, *level);
            for Statement { name, run } in statements.iter().copied() {
                let (stage, number) = (Arc::clone(&stage), trials.len());
                let resumes = table.resumes(version, name);
                trials.push(Trial::test(format!("{}::{version}::{name}", shape.name()), move || {
                    let bed = Bed::new(&stage, shape, level, number);
                    run(&bed);
                    match (bed.has_resumed(), resumes) {
                        (true, false) => Err("it resumes a session, and the table does not say so".into()),
                        (false, true) => Err("it resumes no session, and the table says so".into()),
                        _ => Ok(()),
                    }
                }));
            }
        }
    }
    trials.push(Trial::test("table_and_tests_agree", move || {
        let tests = versions.map(|(version, _, statements)| (version, statements));
        let faults = table.disagreements(&tests);
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The brokers end before the process does.
    drop(stage);
    conclusion.exit();
}
