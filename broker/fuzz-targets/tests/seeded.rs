//! Every target with bytes from a seed, and with all that the fuzzer has found before.
//!
//! A failing run prints the target and the bytes; `FUZZ_SEED` and `FUZZ_INPUTS` choose other ones and more of them.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fulmar_fuzz_targets::{TARGETS, Target, target};
use fulmar_random::Random;

/// Bytes without a pattern.
fn bytes(random: &mut Random) -> Vec<u8> {
    let length = random.below(1000);
    (0..length).map(|_| random.next().to_le_bytes()[0]).collect()
}

/// What is known of a target, in a fixed order.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

fn run(name: &str, target: Target, bytes: &[u8]) {
    let result = catch_unwind(|| target(bytes));
    assert!(result.is_ok(), "target {name} fails for these bytes: {bytes:?}");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap())
}

/// Known inputs, the same with changes, and random ones.
fn hunt(name: &str) {
    let target = target(name);
    let known = corpus(name);
    known.iter().for_each(|bytes| run(name, target, bytes));
    let mut random = Random::new(number("FUZZ_SEED", 1));
    for round in 0..number("FUZZ_INPUTS", 600) {
        let mut bytes = if round % 2 == 0 && !known.is_empty() { random.pick(&known) } else { bytes(&mut random) };
        for _ in 0..random.below(5) {
            if !bytes.is_empty() {
                let at = random.index(bytes.len());
                bytes[at] = random.next().to_le_bytes()[0];
            }
        }
        run(name, target, &bytes);
    }
}

#[test]
fn access_and_password_files_hold_for_any_text() {
    hunt("auth");
}

#[test]
fn packets_hold_for_any_bytes() {
    hunt("codec");
}

#[test]
fn the_configuration_holds_for_any_text() {
    hunt("config");
}

#[test]
fn what_nodes_say_to_each_other_holds_for_any_bytes() {
    hunt("letters");
}

#[test]
fn the_trie_is_as_the_model_after_any_history() {
    hunt("router");
}

#[test]
fn a_session_holds_its_bounds_in_any_order_of_events() {
    hunt("session");
}

#[test]
fn a_data_thread_is_empty_after_any_clients_have_gone() {
    hunt("worker");
}

#[test]
fn every_target_has_a_program_of_the_fuzzer_and_a_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let names = |folder: &str, suffix: &str| {
        let entries = fs::read_dir(fuzz.join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.to_str().unwrap().replace(suffix, "")).collect();
        names.sort();
        names
    };
    let targets: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("targets", ".rs"), targets);
    assert_eq!(names("corpus", ""), targets);
}
