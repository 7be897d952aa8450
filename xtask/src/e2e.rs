//! `cargo xtask e2e`: the end-to-end tests, on a testbed of their own or on the user's cluster.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use fulmar_testbed::monitoring::Monitoring;

use crate::cargo::cargo;
use crate::cluster::Cluster;
use crate::images::{self, Images};
use crate::steps::{Steps, say};

/// The package whose tests need a Kubernetes.
pub(crate) const PACKAGE: &str = "fulmar-e2e";

/// As many as pods of a cluster have, so that a node can be lost.
const NODES: u8 = 3;

/// What `cargo xtask e2e` can be told.
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Leave the testbed running, to look at it.
    #[arg(long)]
    keep: bool,
    /// What the test programs are told, such as the name of one test.
    #[arg(last = true)]
    test_arguments: Vec<String>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    let result = run_steps(root, arguments, &mut steps);
    steps.say_summary();
    result
}

/// The same as a part of a larger task.
pub(crate) fn run_steps(root: &Path, arguments: &Arguments, steps: &mut Steps) -> Result<()> {
    let Arguments { keep, test_arguments } = arguments;
    let images = steps.step("images", || images::run(root, &images::Arguments::default()))?;
    let programs = steps.step("build the end-to-end tests", || build_tests(root))?;
    let cluster = Cluster::from_environment(root, "test", NODES)?;
    if matches!(cluster, Cluster::Testbed { .. }) {
        steps.step("Prometheus and its adapter", || Monitoring::find_or_build(&mut |line| say(line)).map(drop))?;
    }
    let result = steps
        .step("testbed up", || cluster.up().and_then(|()| cluster.load(&images)))
        .and_then(|()| run_programs(root, &cluster, &programs, &images, test_arguments, steps));
    if !keep {
        // What failed before is told first; it may be why this fails too.
        let down = steps.step("testbed down", || cluster.down());
        return result.and(down);
    }
    result
}

/// Runs every test program, whether those before it failed or not.
fn run_programs(
    root: &Path,
    cluster: &Cluster,
    programs: &[TestProgram],
    images: &Images,
    test_arguments: &[String],
    steps: &mut Steps,
) -> Result<()> {
    let mut failed = Vec::new();
    for TestProgram { name, path } in programs {
        let mut command = cluster.command(path);
        command.args(test_arguments).env("FULMAR_IMAGES", &images.index).current_dir(root.join("e2e"));
        if let Err(error) = steps.test(&format!("end-to-end: {name}"), &mut command) {
            say(&format!("{error:#}"));
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    if let Err(error) = cluster.show_state() {
        say(&format!("{error:#}"));
    }
    bail!("these end-to-end tests failed: {}", failed.join(", "))
}

/// One test program of the package.
struct TestProgram {
    name: String,
    path: PathBuf,
}

/// Builds the tests, as a part of the whole workspace so that they share its libraries. They are started without cargo:
/// inside a testbed there is no network to reach a registry by.
fn build_tests(root: &Path) -> Result<Vec<TestProgram>> {
    // By pattern: cargo builds the suite only when it is named, because it needs a Kubernetes.
    let build = "test --locked --workspace --lib --test * --no-run --message-format json-render-diagnostics";
    let mut child = cargo(root, build).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start cargo")?;
    let manifest = root.join("e2e/Cargo.toml");
    let messages = BufReader::new(child.stdout.take().expect("standard output was piped above"));
    let mut programs = Vec::new();
    for message in Message::parse_stream(messages) {
        if let Message::CompilerArtifact(artifact) = message.context("read what cargo built")?
            && artifact.profile.test
            && artifact.manifest_path == manifest
            && let Some(path) = artifact.executable
        {
            programs.push(TestProgram { name: artifact.target.name, path: path.into() });
        }
    }
    let status = child.wait().context("wait for cargo")?;
    if !status.success() {
        bail!("cargo ended with {status}");
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}
