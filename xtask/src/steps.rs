//! Telling what a long task is doing, and how long each part of it took.

use std::time::Instant;

use anyhow::{Context, Result};

/// The parts of one task, one after the other.
pub(crate) struct Steps {
    start: Instant,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self { start: Instant::now() }
    }

    /// Does one part. Its name is printed before, its time after; an error says which part it was.
    pub(crate) fn step<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!("== {name}"));
        let start = Instant::now();
        let result = work().with_context(|| name.to_owned())?;
        let (step, total) = (start.elapsed().as_secs_f64(), self.start.elapsed().as_secs_f64());
        say(&format!("== {name}: {step:.1} s, {total:.1} s in all"));
        Ok(result)
    }
}

/// Prints a line for the person who waits.
#[allow(clippy::print_stdout, reason = "tasks talk to the person who started them")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
