//! The end-to-end tests, in their order. `cargo xtask e2e` runs them; words after `--` choose some by name.
//!
//! A group's tests run side by side. A test that measures time, or touches the operator that all share, is alone.

#![allow(clippy::unwrap_used, reason = "tests")]

mod clustering;
mod quickstart;

use std::process::ExitCode;

use anyhow::{Context, Result};
use fulmar_e2e::suite::{self, Test};
use fulmar_e2e::{Kit, test};

const GROUPS: &[&[Test]] = &[
    &[test!(quickstart::quickstart_is_ready_within_30_seconds)],
    &[
        test!(clustering::messages_pass_between_all_six_pairs_of_pods),
        test!(clustering::a_publish_crosses_a_link_once_however_many_subscribe_and_not_at_all_where_none_does),
    ],
];

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let filter: Vec<String> = std::env::args().skip(1).collect();
    let kit = Kit::from_environment().await?;
    kit.install_chart(SETTINGS).await.context("install the chart")?;
    let is_passed = suite::run(&kit, GROUPS, &filter).await?;
    Ok(if is_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Connections are read more often than by default, so that no test waits long for the autoscaler to look.
const SETTINGS: &[&str] = &["scrapeSeconds=3"];
