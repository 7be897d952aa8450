//! openraft's own tests for log stores, on `fulmar-log`: that what a consensus asks of its log holds, by the judgement of
//! others. Consensus itself is ours (decision 0005), so nothing of openraft is in any program; see decision 0006 for what
//! of the suite says something about our storage.
#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::result_large_err, reason = "that is how openraft wants it")]

mod log_store;
mod state_machine;
mod suite;

use std::io::Cursor;

openraft::declare_raft_types!(
    /// What the suite stores: text.
    pub(crate) Types: D = String, R = ()
);
