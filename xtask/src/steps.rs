//! Telling what a long task is doing, how long each part of it took, and what the tests in it said.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The parts of one task, one after the other.
pub(crate) struct Steps {
    start: Instant,
    done: Vec<Done>,
}

/// A part that has ended.
struct Done {
    name: String,
    seconds: f64,
    outcome: &'static str,
    /// The lines with which test programs close.
    test_results: Vec<String>,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self { start: Instant::now(), done: Vec::new() }
    }

    /// Does one part. Its name is printed before, its time after; an error says which part it was.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.step_with_results(name, |_| work())
    }

    /// Does one part that is a test runner.
    pub(crate) fn test(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.step_with_results(name, |results| run_tests(command, results))
    }

    /// Prints one line for each part, then what its tests said.
    pub(crate) fn say_summary(&self) {
        say("");
        for Done { name, seconds, outcome, test_results } in &self.done {
            say(&format!("{seconds:8.1} s  {outcome:6}  {name}"));
            test_results.iter().for_each(|line| say(line));
        }
        say(&format!("{:8.1} s  in all", self.start.elapsed().as_secs_f64()));
    }

    fn step_with_results<T>(&mut self, name: &str, work: impl FnOnce(&mut Vec<String>) -> Result<T>) -> Result<T> {
        say(&format!("== {name}"));
        let start = Instant::now();
        let mut test_results = Vec::new();
        let result = work(&mut test_results);
        let (seconds, total) = (start.elapsed().as_secs_f64(), self.start.elapsed().as_secs_f64());
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        say(&format!("== {name}: {outcome}, {seconds:.1} s, {total:.1} s in all"));
        self.done.push(Done { name: name.to_owned(), seconds, outcome, test_results });
        result.with_context(|| name.to_owned())
    }
}

/// Runs tests for all to see, and notes the lines with which the test programs close.
fn run_tests(command: &mut Command, results: &mut Vec<String>) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start the tests")?;
    for line in BufReader::new(child.stdout.take().expect("standard output was piped above")).lines() {
        let line = line.context("read what the tests print")?;
        say(&line);
        if line.starts_with("test result: ") {
            results.push(line);
        }
    }
    let status = child.wait().context("wait for the tests")?;
    if !status.success() {
        bail!("the tests ended with {status}");
    }
    if results.is_empty() {
        bail!("found no test result, at least one is wanted");
    }
    Ok(())
}

/// Prints a line for the person who waits.
#[allow(clippy::print_stdout, reason = "tasks talk to the person who started them")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_the_tests_close_with_is_kept_whether_they_pass_or_fail() {
        let mut steps = Steps::begin();
        steps.test("good", &mut shell("echo test a ... ok; echo 'test result: ok. 1 passed'")).unwrap();
        let error = steps.test("bad", &mut shell("echo 'test result: FAILED. 0 passed'; exit 101")).unwrap_err();
        assert_eq!(format!("{error:#}"), "bad: the tests ended with exit status: 101");
        let kept: Vec<_> = steps.done.iter().map(|done| (done.outcome, done.test_results.concat())).collect();
        let wanted = [("ok", "test result: ok. 1 passed"), ("FAILED", "test result: FAILED. 0 passed")];
        assert_eq!(kept, wanted.map(|(outcome, result)| (outcome, result.to_owned())));
    }

    #[test]
    fn a_test_run_that_tests_nothing_fails() {
        let error = Steps::begin().test("empty", &mut shell("true")).unwrap_err();
        assert_eq!(format!("{error:#}"), "empty: found no test result, at least one is wanted");
    }
}
