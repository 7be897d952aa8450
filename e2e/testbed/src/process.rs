//! Starting other programs: to their end with what they said on failure, or in the background with a log file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Debian keeps `ip`, `nft` and `runc` in folders that an ordinary user's PATH lacks.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that reads nothing. Everything a supervisor starts must be one: its own standard input is the run's lock.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns what it printed; an error holds what it complained about.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {}", describe(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", describe(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`run`], with `input` to read.
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> anyhow::Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", describe(command)))?;
    // Inputs here are small files of ours, read whole before anything is printed: the pipes cannot block each other.
    child.stdin.take().expect("standard input was piped above").write_all(input).context("write its input")?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", describe(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts a command that goes on in the background and writes to `NAME.log` in `logs`.
pub(crate) fn start(name: &str, command: &mut Command, logs: &Path) -> anyhow::Result<Child> {
    let path = logs.join(format!("{name}.log"));
    let log = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    command.stdout(log.try_clone()?).stderr(log).spawn().with_context(|| format!("start {name}"))
}

/// Asks again and again until `probe` says yes. For programs that cannot tell us when they are ready.
pub(crate) fn wait_until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + limit;
    while !probe() {
        if Instant::now() >= end {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_tells_the_command_and_its_complaint() {
        let error = run(command("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "sh -c echo no such luck >&2; exit 3 ended with exit status: 3: no such luck");
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(run_with_input(&mut command("cat"), b"21.5").unwrap(), "21.5");
    }

    #[test]
    fn waiting_ends_at_its_limit() {
        let error = wait_until("a miracle", Duration::ZERO, || false).unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for a miracle");
    }
}
