//! Project tasks: generated files, images, the demo and the end-to-end tests.

mod cluster;
mod crds;
mod e2e;
mod images;
mod licences;
mod manifests;
mod steps;

use std::path::Path;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tasks of the Fulmar project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write crds/ and the chart's definitions from the API types.
    Crds,
    /// Write manifests/install.yaml from the chart.
    Manifests(manifests::Arguments),
    /// Build the container images of broker and operator, without Docker.
    Images(images::Arguments),
    /// Run the end-to-end tests on a real Kubernetes.
    E2e(e2e::Arguments),
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the workspace");
    match Arguments::parse().task {
        Task::Crds => crds::run(root),
        Task::Manifests(arguments) => manifests::run(root, &arguments),
        Task::Images(arguments) => images::run(root, &arguments).map(drop),
        Task::E2e(arguments) => e2e::run(root, &arguments),
    }
}
