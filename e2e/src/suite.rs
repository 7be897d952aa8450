//! Runs tests in their order, in groups: the tests of a group side by side, one group after the other.
//!
//! Every test gets a namespace of its own, which is described when the test fails and removed when it ends. What is
//! printed has the form of Rust's own test runner, with the time of each test.

use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use crate::{Kit, Namespace};

/// Two cores carry no more clusters at a time within the limits that tests set.
const SIDE_BY_SIDE_MAX: usize = 2;
/// No test takes longer, whatever it waits for.
const TEST_LIMIT: Duration = Duration::from_secs(420);

/// One test: a sentence and a function.
#[derive(Clone, Copy)]
pub struct Test {
    /// What is true when it passes, in words joined by `_`.
    pub name: &'static str,
    /// Does it, in a namespace of its own.
    pub run: fn(Namespace) -> BoxFuture<'static, Result<()>>,
}

/// Names a test after its file and function.
#[macro_export]
macro_rules! test {
    ($module:ident::$name:ident) => {
        $crate::suite::Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |namespace| Box::pin($module::$name(namespace)),
        }
    };
}

/// Runs those tests of the groups whose names hold one of the words in `filter`, or all. Returns whether all passed.
pub async fn run(kit: &Kit, groups: &[&[Test]], filter: &[String]) -> Result<bool> {
    let start = Instant::now();
    let is_chosen = |test: &&Test| filter.is_empty() || filter.iter().any(|word| test.name.contains(word));
    let all: usize = groups.iter().map(|group| group.len()).sum();
    let chosen: Vec<Vec<&Test>> = groups.iter().map(|group| group.iter().filter(is_chosen).collect()).collect();
    let count: usize = chosen.iter().map(Vec::len).sum();
    if count == 0 {
        bail!("no test has a name with any of {filter:?}");
    }
    say(&format!("\nrunning {count} tests"));
    let mut failed = Vec::new();
    for group in chosen {
        let results = stream::iter(group).map(|test| async move { (test, run_one(kit, test).await) });
        let mut results = results.buffer_unordered(SIDE_BY_SIDE_MAX);
        while let Some((test, (result, took))) = results.next().await {
            let seconds = took.as_secs_f64();
            match result {
                Ok(()) => say(&format!("test {} ... ok ({seconds:.1} s)", test.name)),
                Err(error) => {
                    say(&format!("test {} ... FAILED ({seconds:.1} s)\n{error:#}", test.name));
                    failed.push(test.name);
                }
            }
        }
    }
    if !failed.is_empty() {
        say(&format!("\nfailures:\n    {}", failed.join("\n    ")));
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let (failures, passed) = (failed.len(), count - failed.len());
    say(&format!(
        "\ntest result: {verdict}. {passed} passed; {failures} failed; 0 ignored; 0 measured; {} filtered out; \
         finished in {:.2}s\n",
        all - count,
        start.elapsed().as_secs_f64()
    ));
    Ok(failed.is_empty())
}

async fn run_one(kit: &Kit, test: &Test) -> (Result<()>, Duration) {
    let start = Instant::now();
    let (_, function) = test.name.split_once("::").unwrap_or(("", test.name));
    let name = function.replace('_', "-");
    let name = name[..name.len().min(63)].trim_end_matches('-');
    let namespace = match Namespace::create(kit, name).await {
        Ok(namespace) => namespace,
        Err(error) => return (Err(error), start.elapsed()),
    };
    // A panic in an assertion is a failure like any other.
    let work = AssertUnwindSafe((test.run)(namespace.clone())).catch_unwind();
    let result = match tokio::time::timeout(TEST_LIMIT, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(anyhow!("{}", message_of(panic.as_ref()))),
        Err(_) => Err(anyhow!("the test took longer than {TEST_LIMIT:?}")),
    };
    let took = start.elapsed();
    let result = match result {
        Ok(()) => namespace.delete().await.context("remove the test's namespace"),
        Err(error) => {
            let state = namespace.describe().await.unwrap_or_else(|error| format!("{error:#}"));
            let removed = namespace.delete().await.err().map(|error| format!("{error:#}")).unwrap_or_default();
            Err(error.context(format!("{state}{removed}\n--- {} failed", test.name)))
        }
    };
    (result, took)
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the test panicked")
}

/// Prints at once, so that a person can follow and a log that breaks off tells how far it came.
#[allow(clippy::print_stdout, reason = "a test runner talks to the person who started it")]
pub fn say(line: &str) {
    println!("{line}");
    let _ = io::stdout().flush();
}
