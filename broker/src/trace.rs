//! Names for connections in log lines: what is said of one connection can be found by one word, on whichever thread.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// An odd number whose multiples pass by all others before they come again, and look unlike their neighbours.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Gives each connection of this process a number of its own.
#[derive(Debug)]
pub(crate) struct Traces {
    next: AtomicU64,
}

/// A connection's number as log lines show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace(pub(crate) u64);

impl Traces {
    /// With a random start, two processes' logs can be searched together.
    pub(crate) fn new(start: u64) -> Traces {
        Traces { next: AtomicU64::new(start) }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(STEP, Ordering::Relaxed)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_are_shown_with_all_their_digits() {
        let traces = Traces::new(1);
        assert_eq!(
            [Trace(traces.next()), Trace(traces.next())].map(|trace| trace.to_string()),
            ["0000000000000001", "9e3779b97f4a7c16"]
        );
    }
}
