//! Says now and then how far long work has come.

use std::io::Write;
use std::time::{Duration, Instant};

/// So long nobody wonders.
const INTERVAL: Duration = Duration::from_secs(2);

/// See the [module](self).
pub(super) struct Progress {
    said: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { said: Instant::now() }
    }

    /// Says it on standard error, if enough time has passed.
    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if self.said.elapsed() >= INTERVAL {
            note(&what());
            self.said = Instant::now();
        }
    }
}

/// Tells something beside the result.
pub(super) fn note(what: &str) {
    // Nobody needs it to go on.
    let _ = writeln!(std::io::stderr(), "fulmar-broker: {what}");
}
