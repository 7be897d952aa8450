//! `cargo xtask soak`: the release broker under churn for half an hour.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cargo::{self, cargo};
use crate::cluster;

/// What `cargo xtask soak` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long; at least 3.
    #[arg(long, default_value_t = 30)]
    minutes: u32,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    cluster::run(&mut cargo(root, "build --locked --workspace --release --bin fulmar-broker"))?;
    cluster::run(&mut cargo(root, "build --locked --workspace --bin soak"))?;
    let target = cargo::target_folder(root)?;
    let mut soak = Command::new(target.join("debug/soak"));
    soak.arg(target.join("release/fulmar-broker")).arg(arguments.minutes.to_string());
    cluster::run(&mut soak)
}
