//! One node and its clients, at random from a seed: they connect, subscribe, publish, acknowledge and leave; the node
//! loses its power, its process is killed, its disk fills up and fails. What was answered must hold.
//!
//! `client.rs` is what a client knows and checks, `world.rs` what stands between clients and the engine.

mod client;
mod world;

use self::world::World;
use crate::settings::Sabotage;

/// What is wrong.
type Violation = String;

const SEEDS: u64 = 300;

fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<(), Violation> {
    let mut world = World::new(seed, sabotage)?;
    for _ in 0..world.steps {
        world.step()?;
    }
    world.finish()
}

#[test]
fn what_was_answered_holds_whatever_crashes() {
    for seed in 0..SEEDS {
        if let Err(violation) = run(seed, None) {
            panic!("seed {seed}: {violation}");
        }
    }
}

fn is_found(sabotage: Sabotage) {
    let found = (0..SEEDS).find_map(|seed| run(seed, Some(sabotage)).err().map(|violation| (seed, violation)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{sabotage:?} is not found"));
    println!("{sabotage:?} is found with seed {seed}: {violation}");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    is_found(Sabotage::AnswerBeforeSync);
}

#[test]
fn an_answer_before_the_commit_is_found() {
    is_found(Sabotage::AnswerBeforeCommit);
}

#[test]
fn a_second_delivery_to_the_same_owner_is_found() {
    is_found(Sabotage::DeliveredTwice);
}

#[test]
fn a_boot_counter_that_goes_back_is_found() {
    is_found(Sabotage::BootCounterNotSynced);
}

#[test]
fn a_log_that_goes_before_its_snapshot_is_safe_is_found() {
    is_found(Sabotage::SnapshotNotSynced);
}

#[test]
fn an_outbox_that_is_emptied_too_early_is_found() {
    is_found(Sabotage::OutboxDoneEarly);
}
