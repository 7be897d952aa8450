//! The broker as a process, seen from outside: real sockets, signals, files and probes.
//!
//! Each test starts brokers of its own on free ports of the loopback interface (`harness`), and waits for what it
//! wants to see rather than for time to pass.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod harness;
mod messages;
mod operation;
mod overload;
mod tls;
