//! Who may connect and who may do what, as pure values.
//!
//! - [`passwords`] reads a password file and verifies passwords; [`verified`] remembers which have been verified.
//!
//! Texts, the time and random bytes come in; decisions go out. Files, pools of threads and sockets belong to the
//! program. What is slow says so: only verifying a password is.

#![forbid(unsafe_code)]

pub mod access;
pub mod bans;
mod document;
mod error;
mod file;
pub mod passwords;
pub mod verified;

pub use error::{ERRORS_MAX, FileError};
pub use file::{AccessFile, AccessLimits};
