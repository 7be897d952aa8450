//! Project tasks: generated files, images, the demo and the end-to-end tests.

mod cargo;
mod check;
mod clients;
mod cluster;
mod demo;
mod e2e;
mod faults;
mod fuzz;
mod guard;
mod images;
mod licences;
mod manifests;
mod release;
mod sim;
mod soak;
mod steps;

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use fulmar_testbed::clients::Clients;
use fulmar_testbed::lifecycle;
use fulmar_testbed::monitoring::Monitoring;

/// Tasks of the Fulmar project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install and build what testbeds need and this machine lacks.
    Setup,
    /// Check format and lints, and run the tests that need no Kubernetes.
    Check,
    /// Run everything there is to test.
    Test,
    /// Install MQTT clients of other people's making, and run the broker's tests with them.
    Clients(clients::Arguments),
    /// Attack a broker that has little memory, and measure how others fare meanwhile.
    Attacks,
    /// Kill, stop, freeze and cut off the nodes of clusters, and see that nothing acknowledged is lost.
    Faults(faults::Arguments),
    /// Measure how long clients wait after each kind of failure.
    Recovery(faults::RecoveryArguments),
    /// Write manifests/install.yaml from the chart.
    Manifests(manifests::Arguments),
    /// Build the container images of broker and operator, without Docker.
    Images(images::Arguments),
    /// Bring up three brokers on a Kubernetes of their own, and pass messages between all of them.
    Demo(demo::Arguments),
    /// Look for bytes that break a part of the broker, guided by coverage.
    Fuzz(fuzz::Arguments),
    /// Hold instructions and system calls per message against what was recorded.
    Guard(guard::Arguments),
    /// Hold the release broker under churn and see that its memory settles and nothing is left.
    Soak(soak::Arguments),
    /// Simulate whole clusters with faults, one for each seed, on virtual time.
    Sim(sim::Arguments),
    /// Run the end-to-end tests on a real Kubernetes.
    E2e(e2e::Arguments),
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the workspace");
    // Whatever folder this was called from, printed commands and paths mean the root of the clone.
    std::env::set_current_dir(root).with_context(|| format!("go to {}", root.display()))?;
    match Arguments::parse().task {
        Task::Setup => {
            lifecycle::set_up(&mut |line| steps::say(line))?;
            Clients::find_or_install(&mut |line| steps::say(line))?;
            Monitoring::find_or_build(&mut |line| steps::say(line)).map(drop)
        }
        Task::Check => check::check(root),
        Task::Test => check::test(root),
        Task::Clients(arguments) => clients::run(root, &arguments),
        Task::Attacks => check::attacks(root),
        Task::Faults(arguments) => faults::run(root, &arguments),
        Task::Recovery(arguments) => faults::recovery(root, &arguments),
        Task::Manifests(arguments) => manifests::run(root, &arguments),
        Task::Images(arguments) => images::run(root, &arguments).map(drop),
        Task::Demo(arguments) => demo::run(root, &arguments),
        Task::Fuzz(arguments) => fuzz::run(root, &arguments),
        Task::Guard(arguments) => guard::run(root, &arguments),
        Task::Soak(arguments) => soak::run(root, &arguments),
        Task::Sim(arguments) => sim::run(root, &arguments),
        Task::E2e(arguments) => e2e::run(root, &arguments),
    }
}
