//! `testbed`: brings real Kubernetes clusters up and down on this machine, and runs commands in them.

#![allow(clippy::print_stdout, reason = "this is a command line program")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, Subcommand};
use fulmar_testbed::run::Run;
use fulmar_testbed::{RunName, Testbed, exec, lifecycle, supervisor};

/// Real Kubernetes clusters in namespaces of this machine.
#[derive(Parser)]
#[command(name = "testbed")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring up a cluster.
    Up {
        #[arg(long)]
        name: RunName,
        /// How many nodes it has; node 1 shares the network of the control plane.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(lifecycle::NODES_MAX)))]
        nodes: u8,
    },
    /// End a cluster and leave nothing behind.
    Down {
        #[arg(long)]
        name: RunName,
    },
    /// Run a command in a cluster's network, with its DNS, kubeconfig, kubectl and helm.
    Exec {
        #[arg(long)]
        name: RunName,
        #[arg(last = true, required = true)]
        words: Vec<OsString>,
    },
    /// Give image archives to every node of a cluster.
    Load {
        #[arg(long)]
        name: RunName,
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// List the clusters of this machine.
    Status,
    /// What `up` starts; of no use by hand.
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        name: RunName,
        #[arg(long)]
        nodes: u8,
    },
}

fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let mut progress = |line: &str| println!("{:6.1} s  {line}", start.elapsed().as_secs_f64());
    match Arguments::parse().command {
        Command::Up { name, nodes } => lifecycle::up(&name, nodes, &mut progress),
        Command::Down { name } => {
            lifecycle::down(&name)?;
            progress(&format!("testbed {name} is gone"));
            Ok(())
        }
        Command::Exec { name, words } => exec::exec(&Run::named(&name), &words),
        Command::Load { name, archives } => {
            let testbed = Testbed::attach(&name)?;
            for archive in archives {
                testbed.load_image(&archive)?;
                progress(&format!("loaded {}", archive.display()));
            }
            Ok(())
        }
        Command::Status => status(),
        Command::Supervise { name, nodes } => supervisor::supervise(&Run::named(&name), nodes),
    }
}

fn status() -> anyhow::Result<()> {
    for run in Run::all()? {
        if !run.is_alive()? {
            println!("{}: dead; the next start clears it", run.name());
            continue;
        }
        println!("{}: up, {} node(s), process {}", run.name(), run.nodes()?.len(), run.supervisor()?);
        println!("  KUBECONFIG={}", run.kubeconfig().display());
        println!("  logs in {}", run.logs().display());
        if let Ok(ended) = std::fs::read_to_string(run.logs().join("ended.log")) {
            ended.lines().for_each(|line| println!("  ended: {line}"));
        }
    }
    Ok(())
}
