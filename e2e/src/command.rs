//! Running the programs that a user would call: kubectl, helm, mosquitto's clients.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// No call that ends by itself takes longer.
const LIMIT: Duration = Duration::from_secs(180);

/// A command from words parted by single spaces. Arguments that hold spaces are added to it one by one.
#[must_use]
pub fn command(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).kill_on_drop(true);
    command
}

/// Runs a command that must succeed and returns what it printed.
pub async fn run(mut command: Command) -> Result<String> {
    let shown = shown(&command);
    let output = output(&mut command, None).await?;
    succeeded(&shown, output)
}

/// The same for a command that reads `input`.
pub async fn run_with_input(mut command: Command, input: &str) -> Result<String> {
    let shown = shown(&command);
    let output = output(&mut command, Some(input)).await?;
    succeeded(&shown, output)
}

/// Runs a command that must fail and returns what it complained about.
pub async fn run_to_failure(mut command: Command, input: Option<&str>) -> Result<String> {
    let shown = shown(&command);
    let output = output(&mut command, input).await?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        bail!("found that {shown} succeeds, wanted it to fail");
    }
    Ok(complaint)
}

/// Runs a command that must succeed and returns what it complained about all the same.
pub async fn run_to_warning(mut command: Command) -> Result<String> {
    let shown = shown(&command);
    let output = output(&mut command, None).await?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    succeeded(&shown, output).map(|_| complaint)
}

async fn output(command: &mut Command, input: Option<&str>) -> Result<Output> {
    let shown = shown(command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {shown}"))?;
    let work = async {
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).await.with_context(|| format!("write to {shown}"))?;
        }
        child.wait_with_output().await.with_context(|| format!("wait for {shown}"))
    };
    timeout(LIMIT, work).await.with_context(|| format!("{shown} took longer than {LIMIT:?}"))?
}

fn succeeded(shown: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} ended with {}: {}", output.status, complaint.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {shown} printed"))
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_command_prints_and_reads_is_passed_on() {
        assert_eq!(run(command("echo one two")).await.unwrap(), "one two\n");
        assert_eq!(run_with_input(command("cat"), "text").await.unwrap(), "text");
    }

    #[tokio::test]
    async fn failure_and_success_are_told_apart() {
        let error = run(command("cat /nonexistent/file")).await.unwrap_err().to_string();
        assert!(error.starts_with("cat /nonexistent/file ended with exit status: 1: "), "{error}");
        assert!(run_to_failure(command("cat /nonexistent/file"), None).await.unwrap().contains("No such file"));
        assert_eq!(run_to_warning(command("true")).await.unwrap(), "");
        assert!(run_to_warning(command("cat /nonexistent/file")).await.is_err());
        let error = run_to_failure(command("true"), None).await.unwrap_err().to_string();
        assert_eq!(error, "found that true succeeds, wanted it to fail");
    }
}
