//! `cargo xtask check` and `cargo xtask test`: all that must hold before a change is handed over.
//!
//! Cargo builds a library again for every set of features that its users ask for. Everything here therefore selects
//! from the whole workspace, so that all steps share what one of them has built.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use fulmar_testbed::lifecycle;

use crate::cargo::cargo;
use crate::steps::{Steps, say};
use crate::{clients, cluster, e2e, faults, guard, manifests};

/// What needs no Kubernetes and no root.
pub(crate) fn check(root: &Path) -> Result<()> {
    summed_up(|steps| check_steps(root, steps))
}

/// Everything there is to test.
pub(crate) fn test(root: &Path) -> Result<()> {
    summed_up(|steps| {
        check_steps(root, steps)?;
        clients::run_steps(root, &clients::Arguments::default(), steps)?;
        steps.step("set up this machine", || lifecycle::set_up(&mut |line| say(line)))?;
        steps.step("instructions and system calls", || guard::run(root, &guard::Arguments::default()))?;
        steps.step("generated manifests", || manifests::run(root, &manifests::Arguments { check: true }))?;
        let testbeds = "test --locked --workspace --test testbeds -- --ignored --test-threads 1";
        steps.test("tests of the testbeds", &mut cargo(root, testbeds))?;
        steps.test("attacks", &mut attack_tests(root))?;
        faults::run_steps(root, &faults::Arguments::default(), steps)?;
        // They mount disks of their own, which needs root.
        let full = "test --locked --workspace --test process -- --ignored durable_full";
        steps.test("full disks", &mut cargo(root, full))?;
        e2e::run_steps(root, &e2e::Arguments::default(), steps)
    })
}

/// The broker in little memory, under attack. Needs root.
pub(crate) fn attacks(root: &Path) -> Result<()> {
    summed_up(|steps| steps.test("attacks", &mut attack_tests(root)))
}

/// What is measured is time, so our own crates are built with optimizations too; those of others are in any case.
fn attack_tests(root: &Path) -> Command {
    let mut command = cargo(root, "test --locked --workspace --test attack -- --ignored");
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
    command
}

fn check_steps(root: &Path, steps: &mut Steps) -> Result<()> {
    steps.step("format", || cluster::run(&mut cargo(root, "fmt --all --check")))?;
    // --all-targets would leave out the end-to-end suite, which cargo takes only when it is named.
    let clippy = "clippy --locked --workspace --lib --bins --examples --tests --test * -- --deny warnings";
    steps.step("lints", || cluster::run(&mut cargo(root, clippy)))?;
    let unit = format!("test --locked --workspace --exclude {}", e2e::PACKAGE);
    steps.test("tests without Kubernetes", &mut cargo(root, &unit))
}

/// Says how each step went, whether all went well or one did not.
fn summed_up(work: impl FnOnce(&mut Steps) -> Result<()>) -> Result<()> {
    let mut steps = Steps::begin();
    let result = work(&mut steps);
    steps.say_summary();
    result
}
