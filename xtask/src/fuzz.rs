//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, guided by coverage.
//!
//! What is built is instrumented by LLVM's own pass, which any compiler has: no nightly one is needed, and no sanitizer,
//! since the targets hold no unsafe code and panic where something is wrong. What is found is put into `fuzz/corpus`,
//! where `make test` reads it too and fails until it is mended.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use fulmar_testbed::packages;

use crate::cargo::{self, cargo};
use crate::cluster;
use crate::steps::{Steps, say};

/// Counters at each edge, and the operands of comparisons.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // The pass counts every function of a unit once; parts of units would be counted by their number.
    "-Ccodegen-units=1",
];

/// What `cargo xtask fuzz` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The targets; without any, all.
    targets: Vec<String>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    let result = run_steps(root, arguments, &mut steps);
    steps.say_summary();
    result
}

fn run_steps(root: &Path, Arguments { seconds, targets }: &Arguments, steps: &mut Steps) -> Result<()> {
    packages::install_missing(packages::FOR_FUZZING, &mut |line| say(line))?;
    let all = names(&root.join("fuzz/targets"))?;
    if let Some(unknown) = targets.iter().find(|target| !all.contains(target)) {
        bail!("found no target `{unknown}`, there are {}", all.join(", "));
    }
    let folder = cargo::target_folder(root)?.join("fuzz");
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    steps.step("build the fuzzer", || {
        // Only with --target do these flags spare build scripts and procedural macros.
        let words = format!("build --locked --release --manifest-path fuzz/Cargo.toml --target {host} --target-dir");
        let mut build = cargo(root, &words);
        build.arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
        cluster::run(&mut build)
    })?;
    let mut failed = Vec::new();
    for target in if targets.is_empty() { &all } else { targets } {
        let kept = root.join("fuzz/corpus").join(target);
        let found = folder.join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let mut fuzzer = Command::new(folder.join(&host).join("release").join(target));
        // The first folder takes what is new, the second is only read.
        fuzzer.args([&found, &kept]).arg(format!("-max_total_time={seconds}"));
        fuzzer.arg(format!("-artifact_prefix={}/", kept.display()));
        fuzzer.args(["-max_len=1200", "-len_control=20", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]);
        fuzzer.arg("-print_final_stats=1");
        if let Err(error) = steps.step(target, || cluster::run(&mut fuzzer)) {
            say(&format!("{error:#}"));
            failed.push(target.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        "found bytes that break {}; they are in fuzz/corpus now, and `cargo test -p fulmar-fuzz-targets` fails for them \
         until it is mended",
        failed.join(", ")
    );
    Ok(())
}

/// The targets, each of which has a program.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let name = |entry: fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<_> = entries.filter_map(Result::ok).filter_map(name).collect();
    names.sort();
    Ok(names)
}
