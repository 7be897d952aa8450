//! What is wrong with bytes: what was found beside what was wanted.

use thiserror::Error;

/// What is wrong with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BytesError {
    /// Of another format.
    #[error("format {found}, only {wanted} is known")]
    Format {
        /// What it says.
        found: u8,
        /// The one that is known.
        wanted: u8,
    },
    /// From a build that knows more.
    #[error("command {found} is unknown to feature level {level}")]
    UnknownCommand {
        /// The number of the command.
        found: u8,
        /// What this build knows.
        level: u16,
    },
    /// A variant that nobody defined.
    #[error("unknown {what} {found}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// Its number.
        found: u8,
    },
    /// They end too early.
    #[error("{wanted} bytes are wanted at byte {at}, found {found}")]
    Truncated {
        /// Where.
        at: usize,
        /// How many.
        wanted: usize,
        /// What is left.
        found: usize,
    },
    /// They end too late.
    #[error("{found} bytes follow the end")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// Text that is none.
    #[error("text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where it begins.
        at: usize,
    },
    /// A value that is not among those allowed.
    #[error("{what} is {found}, which is not allowed")]
    Value {
        /// Of what.
        what: &'static str,
        /// The value.
        found: u64,
    },
    /// More than there may be.
    #[error("{what} is {found}, at most {most} is allowed")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The number.
        found: u64,
        /// The largest one that is allowed.
        most: u64,
    },
    /// A list that is no set.
    #[error("{what} are not in order, or twice the same")]
    Disorder {
        /// Of what.
        what: &'static str,
    },
}
