//! `cargo xtask faults` and `cargo xtask recovery`: clusters of real brokers to which everything happens that can.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use fulmar_testbed::packages;

use crate::cargo::{self, cargo};
use crate::cluster;
use crate::steps::{Steps, say};

/// What `cargo xtask faults` can be told.
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// What the faults follow from; any, if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs the optimized broker for so long, again and again; else there is one run of three nodes and one of five.
    #[arg(long)]
    minutes: Option<u32>,
}

/// What `cargo xtask recovery` can be told.
#[derive(clap::Args)]
pub(crate) struct RecoveryArguments {
    /// How often each kind of failure is measured.
    #[arg(long, default_value_t = 20)]
    repetitions: u32,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    let result = run_steps(root, arguments, &mut steps);
    steps.say_summary();
    result
}

pub(crate) fn run_steps(root: &Path, arguments: &Arguments, steps: &mut Steps) -> Result<()> {
    let Arguments { seed, minutes } = arguments;
    install()?;
    let mut command = match minutes {
        None => tests(root, "nodes_lose_nothing"),
        Some(minutes) => {
            ensure!(*minutes > 0, "found 0 minutes, wanted at least 1");
            let mut command = tests(root, "many_runs");
            command.env("FULMAR_FAULTS_MINUTES", minutes.to_string());
            optimized(root, &mut command)?;
            command
        }
    };
    if let Some(seed) = seed {
        command.env("FULMAR_FAULTS_SEED", seed.to_string());
    }
    steps.test("faults", &mut command)
}

/// Measures how long clients wait after each kind of failure, and prints a table.
pub(crate) fn recovery(root: &Path, arguments: &RecoveryArguments) -> Result<()> {
    install()?;
    let mut command = tests(root, "recovery");
    command.env("FULMAR_RECOVERY_REPETITIONS", arguments.repetitions.to_string());
    optimized(root, &mut command)?;
    cluster::run(&mut command)
}

fn install() -> Result<()> {
    packages::install_missing(packages::FOR_FAULTS, &mut |line| say(line))
}

fn tests(root: &Path, names: &str) -> Command {
    cargo(root, &format!("test --locked --workspace --test faults -- --ignored --nocapture {names}"))
}

/// Lets the tests run the broker that users would.
fn optimized(root: &Path, command: &mut Command) -> Result<()> {
    cluster::run(&mut cargo(root, "build --locked --workspace --release --bin fulmar-broker"))?;
    command.env("FULMAR_TEST_BROKER", cargo::target_folder(root)?.join("release/fulmar-broker"));
    Ok(())
}
