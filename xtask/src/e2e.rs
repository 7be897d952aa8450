//! `cargo xtask e2e`: the end-to-end tests, on a testbed of their own or on the user's cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cluster::{Cluster, run as run_command};
use crate::images;
use crate::steps::{Steps, say};

/// What `cargo xtask e2e` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave the testbed running, to look at it.
    #[arg(long)]
    keep: bool,
    /// What the test program is told, such as the name of one test.
    #[arg(last = true)]
    test_arguments: Vec<String>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let Arguments { keep, test_arguments } = arguments;
    let steps = Steps::begin();
    let images = steps.step("build the images", || images::run(root, &images::Arguments::default()))?;
    let mut cargo_test = vec!["test", "--offline", "--package", "fulmar-e2e"];
    steps.step("build the tests", || {
        run_command(Command::new("cargo").args(&cargo_test).arg("--no-run").current_dir(root))
    })?;

    let cluster = Cluster::from_environment(root, "test")?;
    steps.step("bring up the testbed", || cluster.up().and_then(|()| cluster.load(&images)))?;
    cargo_test.push("--");
    cargo_test.extend(test_arguments.iter().map(String::as_str));
    let result = steps.step("run the tests", || {
        let index: PathBuf = images.index.clone();
        run_command(cluster.command("cargo").args(cargo_test).env("FULMAR_IMAGES", index).current_dir(root))
    });
    if result.is_err()
        && let Err(error) = cluster.show_state()
    {
        say(&format!("{error:#}"));
    }
    if !keep {
        steps.step("end the testbed", || cluster.down())?;
    }
    result
}
