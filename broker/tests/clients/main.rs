//! The broker with MQTT clients of other people's making: Paho for Go and for Python, MQTT.js, rumqttc and mosquitto's,
//! in every version of MQTT that each speaks, against one broker and against three that are linked, where each client
//! goes to the next node.
//!
//! `cargo xtask clients` installs the clients (`e2e/clients`) and runs this; without them the tests are told as ignored.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a client talks to its test, and the log of a broker belongs to a failure")]
#![allow(unreachable_pub, reason = "nothing is exported from a test, and pub says what is for other files")]

mod foreign;
#[path = "../conformance/harness.rs"]
#[allow(dead_code, unused_imports, reason = "these tests need less of it than those of conformance")]
mod harness;
mod mosquitto;
mod proxy;
mod rumqtt;
mod scenarios;
mod stage;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::foreign::Kind;
use crate::stage::{Bed, Stage};

/// Tests wait for the network and for clients to connect again far more than for a processor.
const AT_ONE_TIME: usize = 8;

/// The first argument of a process that is the client of rumqttc.
const BE_RUMQTTC: &str = "be-rumqttc";

fn main() {
    let mut words = std::env::args().skip(1);
    if words.next().is_some_and(|word| word == BE_RUMQTTC) {
        return rumqtt::run(&words.next().expect("the settings follow"));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONE_TIME);
    let stage = Arc::new(Stage::default());
    let mut trials = Vec::new();
    let mut add = |name: String, nodes: usize, run: Box<dyn Fn(&Bed) + Send>| {
        let (stage, number) = (Arc::clone(&stage), trials.len());
        let trial = Trial::test(name, move || {
            run(&Bed::new(&stage, nodes, number));
            Ok(())
        });
        trials.push(trial.with_ignored_flag(true));
    };
    for nodes in [1, 3] {
        for kind in Kind::ALL {
            for version in [4, 5] {
                for (name, run) in scenarios::TESTS {
                    let name = format!("{}::v{version}::nodes_{nodes}::{name}", kind.name());
                    add(name, nodes, Box::new(move |bed| run(bed, kind, version)));
                }
            }
        }
        for version in [4, 5] {
            for (name, run) in mosquitto::TESTS {
                let name = format!("mosquitto::v{version}::nodes_{nodes}::{name}");
                add(name, nodes, Box::new(move |bed| run(bed, version)));
            }
        }
        add(format!("all::nodes_{nodes}::each_gets_what_every_other_says"), nodes, Box::new(scenarios::all_meet));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The brokers end before the process does.
    drop(stage);
    conclusion.exit();
}
