//! What must hold for any bytes. Each target panics where it does not.
//!
//! The same functions are called twice: with bytes from a seed in `make test` (`tests/seeded.rs`), and by a fuzzer that
//! is guided by coverage in `make fuzz` (`fuzz/`). What that finds is kept in `fuzz/corpus` and read by both.

#![allow(clippy::unwrap_used, reason = "whatever cannot be unwrapped is what a target looks for")]

mod auth;
mod codec;
mod config;
mod dice;
mod letters;
mod router;
mod session;
mod worker;

/// A function that panics on bytes that it should not have panicked on.
pub type Target = fn(&[u8]);

/// Every target with its name, which is that of its program in `fuzz/` and of its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("auth", auth::target),
    ("codec", codec::target),
    ("config", config::target),
    ("letters", letters::target),
    ("router", router::target),
    ("session", session::target),
    ("worker", worker::target),
];

/// The target of this name.
///
/// # Panics
///
/// If there is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target).expect("a name in TARGETS")
}
