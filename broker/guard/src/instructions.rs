//! Instructions per message: this program under callgrind, once for a number of rounds and once for twice as many. The
//! difference is what the rounds cost; start, set-up and end cancel out.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::scenario::Scenario;

/// Instructions of one message of the scenario.
pub(crate) fn count(scenario: &Scenario) -> Result<f64> {
    let (once, twice) = (collected(scenario, scenario.rounds)?, collected(scenario, 2 * scenario.rounds)?);
    let messages = scenario.rounds as usize * scenario.messages_per_round();
    Ok(twice.saturating_sub(once) as f64 / messages as f64)
}

fn collected(scenario: &Scenario, rounds: u32) -> Result<u64> {
    let program = std::env::current_exe().context("find this program")?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    valgrind.args(["drive", scenario.name, &rounds.to_string()]).stdin(Stdio::null());
    let output = valgrind.output().context("start valgrind; `cargo xtask setup` installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind ended with {}: {said}", output.status);
    }
    parse(&said).with_context(|| format!("found no count in what callgrind said: {said}"))
}

/// The figure of callgrind's line `==PID== Collected : NUMBER`.
fn parse(said: &str) -> Option<u64> {
    let (_, figure) = said.lines().find_map(|line| line.split_once("Collected :"))?;
    figure.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_what_callgrind_says() {
        let said = "==7== Callgrind\n==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n";
        assert_eq!(parse(said), Some(1_234_567));
        assert_eq!(parse("==7== Callgrind\n"), None);
    }
}
