//! What a message costs, counted instead of timed, so that no neighbour of this machine can change it.
//!
//! `guard check BROKER RECORDED` counts instructions per message in the pure core (`instructions`, under callgrind) and
//! system calls per message of the real broker (`system_calls`, under strace), both for the fixed input of `scenario`, and
//! fails where a figure is not the recorded one within 10 % (`recorded`). `guard record` writes the file anew.

mod core;
mod instructions;
mod recorded;
mod rules;
mod scenario;
mod system_calls;
mod trace;

use std::path::Path;

use anyhow::{Context, Result, bail};
use recorded::Recorded;
use scenario::SCENARIOS;

const USAGE: &str = "wanted check BROKER RECORDED, record BROKER RECORDED or drive SCENARIO ROUNDS";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // What runs under callgrind: this program again.
        ["drive", name, rounds] => {
            let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).context("no such scenario")?;
            core::drive(scenario, rounds.parse().context("a number of rounds")?);
            Ok(())
        }
        ["check", broker, file] => check(&measure(Path::new(broker))?, Path::new(file)),
        ["record", broker, file] => measure(Path::new(broker))?.write(Path::new(file)),
        _ => bail!(USAGE),
    }
}

fn measure(broker: &Path) -> Result<Recorded> {
    let mut figures = Recorded::default();
    for scenario in SCENARIOS {
        let per_message = instructions::count(scenario).with_context(|| scenario.name)?;
        say(&format!("{:<12} {per_message:>8.1} instructions per message", scenario.name));
        figures.put("instructions", scenario.name, per_message);
    }
    for scenario in SCENARIOS {
        let per_message = system_calls::count(scenario, broker).with_context(|| scenario.name)?;
        say(&format!("{:<12} {per_message:>8.3} system calls per message", scenario.name));
        figures.put("system-calls", scenario.name, per_message);
    }
    Ok(figures)
}

fn check(found: &Recorded, file: &Path) -> Result<()> {
    let differences = Recorded::read(file)?.compare(found);
    if differences.is_empty() {
        return Ok(());
    }
    differences.iter().for_each(|line| say(line));
    bail!(
        "{} of the figures in {} no longer hold. If that is meant, `cargo xtask guard --record` writes them anew: a commit \
         of its own, with the reason",
        differences.len(),
        file.display()
    )
}

#[expect(clippy::print_stdout, reason = "it talks to the person who started it")]
fn say(line: &str) {
    println!("{line}");
}
