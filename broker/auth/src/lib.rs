//! Who may connect and who may do what, as pure values.
//!
//! - Who connects: [`identity`] ties names, client ids and certificates together, [`passwords`] verifies passwords,
//!   [`verified`] remembers which have been, [`backoff`] slows down who guesses, [`bans`] keeps out who may not come.
//! - Who may do what: [`access`] says what rules mean, [`cache`] keeps the answers of a session, [`AccessFile`] reads
//!   rules and bans.
//! - Where others may have a say: [`hooks`].
//!
//! A client that connects meets them in this order: bans, identity, back-off, the cache of verified passwords, the
//! password file in a pool of threads, then the cache again and back-off with what came of it.
//!
//! Texts, the time and random bytes come in; decisions go out. Files, pools of threads and sockets belong to the
//! program. What is slow says so: only verifying a password is.

#![forbid(unsafe_code)]

pub mod access;
pub mod backoff;
pub mod bans;
pub mod cache;
mod document;
mod error;
mod file;
pub mod hooks;
pub mod identity;
pub mod passwords;
pub mod verified;

pub use error::{ERRORS_MAX, FileError};
pub use file::{AccessFile, AccessLimits};
