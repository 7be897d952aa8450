//! Seeds that are tried, and those that the environment names.

use std::fmt::{Debug, Display};

/// The number in a variable of the environment: a seed to replay, or how many to try.
///
/// # Panics
/// If it is not set, or no number.
pub fn named(variable: &str) -> u64 {
    let value = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
    value.parse().unwrap_or_else(|_| panic!("{variable} is {value:?}, wanted a number"))
}

/// Makes a deliberate mistake, and expects that one of so many seeds shows the harm it does.
///
/// # Panics
/// If none does.
pub fn find<V: Display>(mistake: impl Debug, seeds: u64, harm: impl Fn(u64) -> Option<V>) {
    let found = (0..seeds).find_map(|seed| harm(seed).map(|it| (seed, it)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{mistake:?} is not found in {seeds} seeds"));
    tell(format_args!("{mistake:?}: seed {seed}: {violation}"));
}

/// Runs so many seeds and expects that none shows anything.
///
/// # Panics
/// If one does.
pub fn all_well<V: Debug>(seeds: u64, run: impl Fn(u64) -> Option<V>) {
    let broken = (0..seeds).find_map(|seed| run(seed).map(|it| (seed, it)));
    assert!(broken.is_none(), "{broken:?}");
}

#[expect(clippy::print_stdout, reason = "whoever runs a test with its output wants to see it")]
fn tell(what: std::fmt::Arguments<'_>) {
    println!("{what}");
}
