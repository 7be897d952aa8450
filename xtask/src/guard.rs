//! `cargo xtask guard`: what a message costs in instructions and system calls, held against what was recorded.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use fulmar_testbed::packages;

use crate::cargo::{self, cargo};
use crate::cluster;
use crate::steps::say;

/// Where the figures are.
const RECORDED: &str = "broker/guard/recorded.txt";

/// What `cargo xtask guard` can be told.
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Write the figures that are found into the file, instead of comparing.
    #[arg(long)]
    record: bool,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    packages::install_missing(packages::FOR_GUARD, &mut |line| say(line))?;
    // System calls are the same whatever the compiler made of the broker; instructions are what the images would run.
    cluster::run(&mut cargo(root, "build --locked --workspace --bin fulmar-broker"))?;
    cluster::run(&mut cargo(root, "build --locked --workspace --profile image --bin guard"))?;
    let target = cargo::target_folder(root)?;
    let task = if arguments.record { "record" } else { "check" };
    let mut guard = Command::new(target.join("image/guard"));
    guard.arg(task).arg(target.join("debug/fulmar-broker")).arg(RECORDED).current_dir(root);
    cluster::run(&mut guard)
}
