//! `cargo xtask sim`: whole clusters in one process on virtual time, one for each seed.
//!
//! What is run is built with optimizations and with all its checks, in a profile of its own, and with the deliberate
//! mistakes that it must be able to find; nothing else of the workspace is built with them.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cargo::cargo;
use crate::cluster;

/// What `cargo xtask sim` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only this seed, with a trace of all that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Each of the deliberate mistakes is made instead, and must be found.
    #[arg(long)]
    bugs: bool,
    /// One of them only, by its name.
    #[arg(long)]
    bug: Option<String>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    cluster::run(&mut command(root, arguments))
}

fn command(root: &Path, arguments: &Arguments) -> Command {
    let Arguments { seeds, first, seed, bugs, bug } = arguments;
    let run = "run --locked --quiet --profile sim --package fulmar-sim --features sabotage --bin sim --";
    let mut command = cargo(root, run);
    command.arg("--seeds").arg(seeds.to_string()).arg("--first").arg(first.to_string());
    if let Some(seed) = seed {
        command.arg("--seed").arg(seed.to_string());
    }
    if *bugs {
        command.arg("--bugs");
    }
    if let Some(bug) = bug {
        command.arg("--bug").arg(bug);
    }
    command
}
