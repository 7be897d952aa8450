//! Whole groups on virtual time with a simulated network and simulated disks, each run from one seed.
//!
//! `world.rs` runs the events, `node.rs` is a node with its disk and state machine, `network.rs` loses, delays and
//! doubles messages, `acts.rs` draws what users do and what breaks, `checks.rs` is what must hold after every step.
//!
//! A failed seed is replayed with a trace by `RAFT_SEED=17 cargo test -p fulmar-raft replay -- --ignored --nocapture`.

mod acts;
mod checks;
mod network;
mod node;
mod world;

use fulmar_harness::{Violation, seeds};

use crate::sabotage::Sabotage;
use acts::Storm;
use world::{Report, World};

const SEEDS: u64 = 300;

fn storm(seed: u64) -> Storm {
    Storm::ALL[usize::try_from(seed % 3).expect("less than three")]
}

#[test]
fn no_seed_breaks_a_rule_and_all_groups_recover() {
    let mut total = Report::default();
    for seed in 0..SEEDS {
        match World::new(seed, storm(seed), None).run() {
            Ok(report) => total.add(&report),
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
    }
    println!("{total:?}");
    // A simulation in which nothing happens proves nothing.
    assert!(total.elections > SEEDS && total.committed > 50 * SEEDS && total.reads > SEEDS, "{total:?}");
    assert!(total.crashes > SEEDS && total.snapshots > SEEDS / 2 && total.changes > SEEDS, "{total:?}");
    assert!(total.fetches > SEEDS && total.truncations > SEEDS / 2 && total.transfers > SEEDS / 2, "{total:?}");
}

/// Breaks a rule on purpose, and expects that a seed shows what comes of it: not the broken rule itself, as promises
/// are not compared with disks here, but two leaders, logs that differ, or something committed that is lost.
fn find(sabotage: Sabotage, storm: Storm) {
    let break_rule = |seed| {
        let mut world = World::new(seed, storm, Some(sabotage));
        world.checks.promises = false;
        world.run().err().filter(Violation::is_harm)
    };
    seeds::find(sabotage, SEEDS, break_rule);
}

#[test]
fn votes_told_before_they_are_stored_are_found() {
    find(Sabotage::VoteBeforeStored, Storm::Leaders);
}

#[test]
fn entries_acknowledged_before_they_are_stored_are_found() {
    find(Sabotage::AcknowledgeBeforeStored, Storm::Leaders);
}

#[test]
fn two_votes_in_a_term_are_found() {
    find(Sabotage::VoteTwice, Storm::Leaders);
}

#[test]
fn entries_of_old_terms_committed_by_counting_are_found() {
    find(Sabotage::CommitOldTerms, Storm::Leaders);
}

#[test]
fn votes_for_candidates_with_any_log_are_found() {
    find(Sabotage::VoteForAnyLog, Storm::Leaders);
}

#[test]
fn committed_entries_cut_off_by_a_stale_append_are_found() {
    find(Sabotage::TruncateOnStaleAppend, Storm::Nothing);
}

#[test]
fn two_membership_changes_at_once_are_found() {
    find(Sabotage::TwoChangesAtOnce, Storm::Members);
}

#[test]
fn reads_without_confirmation_are_found() {
    find(Sabotage::UnconfirmedRead, Storm::Nothing);
}

#[test]
#[ignore = "replays the seed in RAFT_SEED with a trace"]
fn replay() {
    let seed = seeds::named("RAFT_SEED");
    let mut world = World::new(seed, storm(seed), None);
    world.trace = true;
    println!("{:?}", world.run());
}
