//! The broker as a process, seen from outside: real sockets, signals, files and probes.
//!
//! Each test starts brokers of its own on free ports of the loopback interface (`harness`), and waits for what it
//! wants to see rather than for time to pass.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the log of a broker belongs to a failure")]
#![allow(unreachable_pub, reason = "nothing is exported from a test, and pub says what is for other files")]

mod admin;
mod auth;
mod auth_load;
mod bad_input;
mod bridges;
mod client_certificates;
mod cluster;
mod data_folder;
mod descriptors;
mod durable;
mod durable_copies;
mod durable_drain;
mod durable_folder;
mod durable_full;
mod durable_nodes;
mod durable_nodes_traffic;
mod durable_recover;
mod durable_synced;
mod durable_tails;
mod durable_terms;
mod durable_traffic;
mod harness;
mod library;
mod limits;
mod limits_page;
mod memory;
mod messages;
mod operation;
mod overload;
mod owners;
mod passwd;
mod probes;
mod tls;
mod told;
