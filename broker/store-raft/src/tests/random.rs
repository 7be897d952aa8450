//! One node or three, and clients, at random from a seed: these connect, subscribe, publish, acknowledge and leave; nodes
//! lose their power, processes are killed, disks fill up and fail, nodes are cut off. What was answered must hold.
//!
//! `client.rs` is what a client knows and checks; `world.rs`, `publish.rs` and `listen.rs` are what stands between clients
//! and engines; of several nodes, `courier.rs` carries what is asked to whoever leads, and `view.rs` says who is live.
//! `nodes.rs` is how all of it breaks.

mod client;
mod courier;
mod listen;
mod nodes;
mod publish;
mod view;
mod world;

use self::world::World;
use crate::settings::Sabotage;

/// What is wrong.
type Violation = String;

const SEEDS: u64 = 300;
const SEEDS_OF_THREE: u64 = 100;

fn run(seed: u64, nodes: usize, sabotage: Option<Sabotage>) -> Result<(), Violation> {
    let mut world = World::new(seed, nodes, sabotage)?;
    for _ in 0..world.steps {
        world.step()?;
    }
    world.finish()
}

#[test]
fn what_was_answered_holds_whatever_crashes() {
    for seed in 0..SEEDS {
        if let Err(violation) = run(seed, 1, None) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn what_was_answered_holds_whichever_node_leads() {
    // The last one lost a message of a shared subscription whose member a node did not know yet.
    for seed in (0..SEEDS_OF_THREE).chain([1210]) {
        if let Err(violation) = run(seed, 3, None) {
            panic!("seed {seed}: {violation}");
        }
    }
}

/// Whether a mistake shows with so many nodes.
fn is_found(nodes: usize, sabotage: Sabotage) {
    let found = (0..SEEDS).find_map(|seed| run(seed, nodes, Some(sabotage)).err().map(|violation| (seed, violation)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{sabotage:?} is not found"));
    println!("{sabotage:?} is found with seed {seed} of {nodes}: {violation}");
}

#[test]
fn an_answer_before_the_sync_is_found() {
    is_found(1, Sabotage::AnswerBeforeSync);
    is_found(3, Sabotage::AnswerBeforeSync);
}

#[test]
fn an_answer_before_the_commit_is_found() {
    is_found(1, Sabotage::AnswerBeforeCommit);
    is_found(3, Sabotage::AnswerBeforeCommit);
}

#[test]
fn a_second_delivery_to_the_same_owner_is_found() {
    is_found(1, Sabotage::DeliveredTwice);
}

#[test]
fn a_boot_counter_that_goes_back_is_found() {
    is_found(1, Sabotage::BootCounterNotSynced);
}

#[test]
fn a_log_that_goes_before_its_snapshot_is_safe_is_found() {
    is_found(1, Sabotage::SnapshotNotSynced);
}

#[test]
fn an_outbox_that_is_emptied_too_early_is_found() {
    is_found(1, Sabotage::OutboxDoneEarly);
    is_found(3, Sabotage::OutboxDoneEarly);
}

#[test]
fn a_subscription_that_is_acknowledged_before_all_know_it_is_found() {
    is_found(3, Sabotage::BarrierLeftOut);
}

#[test]
fn a_node_that_acknowledges_before_it_knows_all_filters_is_found() {
    is_found(3, Sabotage::FeedNotAskedFor);
}

#[test]
fn a_gap_in_what_a_node_publishes_is_found() {
    is_found(3, Sabotage::GapAccepted);
}

#[test]
fn parts_that_are_not_cut_in_the_order_of_clients_are_found() {
    is_found(3, Sabotage::CutUnsorted);
}

#[test]
fn a_second_delivery_after_a_change_of_leader_is_found() {
    is_found(3, Sabotage::AttachedFromStart);
}
