//! Runs seeds, as many at a time as there are cores, until one shows something that must not be.
//!
//! `sim --seeds N --first F` runs N seeds from F on. `sim --seed S` runs one and writes all that happens to standard
//! error. `sim --bugs` makes each of the deliberate mistakes, and wants each found within the seeds, by one that shows
//! nothing without it; `sim --bug NAME` one of them.
#![expect(clippy::print_stdout, reason = "what it finds is told there")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use fulmar_sim::{Bug, Options, Report, play};

/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(10);

struct Arguments {
    seeds: u64,
    first: u64,
    seed: Option<u64>,
    bugs: Vec<Bug>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments { seeds: 300, first: 0, seed: None, bugs: Vec::new() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("found {text:?}, wanted a number"));
            match word.as_str() {
                "--seeds" => arguments.seeds = number(value()?)?,
                "--first" => arguments.first = number(value()?)?,
                "--seed" => arguments.seed = Some(number(value()?)?),
                "--bugs" => arguments.bugs = Bug::ALL.to_vec(),
                "--bug" => {
                    let name = value()?;
                    arguments.bugs.push(Bug::named(&name).ok_or(format!("found no mistake {name:?}"))?);
                }
                _ => return Err(format!("found {word:?}, wanted --seeds, --first, --seed, --bugs or --bug")),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let is_good = match (arguments.seed, &arguments.bugs[..]) {
        (Some(seed), bugs) => replay(seed, bugs.first().copied()),
        (None, []) => run_all(&arguments),
        (None, bugs) => find_all(&arguments, bugs),
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs one seed with all that happens.
fn replay(seed: u64, bug: Option<Bug>) -> bool {
    let report = play(Options { seed, is_traced: true, is_loud: true, bug, ..Options::default() });
    tell(&report);
    report.violations.is_empty()
}

fn tell(report: &Report) {
    println!("seed {}: {} steps, {} s, {:?}", report.seed, report.steps, report.time, report.happened);
    report.violations.iter().for_each(|violation| println!("  {violation}"));
    report.known.iter().for_each(|(reason, count)| println!("  known, {count} times: {reason}"));
}

/// Runs seeds until they are all done.
fn run_all(arguments: &Arguments) -> bool {
    let start = Instant::now();
    let (next, steps, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let found = Mutex::new(Vec::new());
    let (told, known) = (Mutex::new(start), Mutex::new(BTreeMap::<&str, u64>::new()));
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.seeds {
                        return;
                    }
                    let report = play(Options { seed: arguments.first + number, ..Options::default() });
                    steps.fetch_add(report.steps, Ordering::Relaxed);
                    let done = 1 + done.fetch_add(1, Ordering::Relaxed);
                    for reason in report.known.keys() {
                        *known.lock().expect("nothing panics while it is held").entry(reason).or_default() += 1;
                    }
                    if !report.violations.is_empty() {
                        tell(&report);
                        found.lock().expect("nothing panics while it is held").push(report.seed);
                    }
                    let mut told = told.lock().expect("nothing panics while it is held");
                    if told.elapsed() >= TELL {
                        *told = Instant::now();
                        println!("{done} of {} seeds, {} s", arguments.seeds, start.elapsed().as_secs());
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().expect("nothing panics while it is held");
    found.sort_unstable();
    let (seeds, steps, seconds) = (arguments.seeds, steps.into_inner(), start.elapsed().as_secs());
    println!("{seeds} seeds, {steps} steps, {seconds} s, {} with violations", found.len());
    for (reason, count) in known.into_inner().expect("nothing panics while it is held") {
        println!("known and not mended, in {count} seeds: {reason}");
    }
    if let Some(seed) = found.first() {
        last_lines(*seed);
        println!(
            "seeds with violations: {found:?}; `make sim SEED={seed}` runs the first again, with all that happens"
        );
    }
    found.is_empty()
}

/// What came before the violation.
fn last_lines(seed: u64) {
    let report = play(Options { seed, is_traced: true, ..Options::default() });
    println!("the last of seed {seed}:");
    let skipped = report.lines.len().saturating_sub(60);
    report.lines.iter().skip(skipped).for_each(|line| println!("  {line}"));
    tell(&report);
}

/// Of each seed, whether it shows something without any mistake; found out when somebody asks.
struct Plain {
    first: u64,
    are_good: Vec<OnceLock<bool>>,
}

impl Plain {
    fn new(arguments: &Arguments) -> Plain {
        Plain { first: arguments.first, are_good: (0..arguments.seeds).map(|_| OnceLock::new()).collect() }
    }

    /// The seeds by which a mistake can be found: what they show does not come about by itself.
    fn good_seeds(&self) -> impl Iterator<Item = u64> {
        (self.first..).zip(&self.are_good).filter_map(|(seed, is_good)| {
            let is_good = is_good.get_or_init(|| play(Options { seed, ..Options::default() }).violations.is_empty());
            is_good.then_some(seed)
        })
    }
}

/// Looks for each mistake.
fn find_all(arguments: &Arguments, bugs: &[Bug]) -> bool {
    let start = Instant::now();
    let plain = Plain::new(arguments);
    let next = AtomicUsize::new(0);
    let are_found = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = find(&plain, *bug);
                    are_found.fetch_and(found, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} mistakes, {} s", bugs.len(), start.elapsed().as_secs());
    are_found.into_inner()
}

fn find(plain: &Plain, bug: Bug) -> bool {
    let start = Instant::now();
    let mut tried = 0;
    for seed in plain.good_seeds() {
        tried += 1;
        let report = play(Options { seed, bug: Some(bug), ..Options::default() });
        if let Some(violation) = report.violations.first() {
            let seconds = start.elapsed().as_secs();
            println!("{bug:?}: found by seed {seed}, the {tried}th, after {seconds} s: {violation}");
            return true;
        }
    }
    println!("{bug:?}: NOT FOUND in {tried} seeds, {} s", start.elapsed().as_secs());
    false
}
