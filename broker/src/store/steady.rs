//! Reads the clocks of this machine that the time of entries is made from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fulmar_store::Time;

use crate::boot_clock;

/// The time that entries carry.
pub(crate) struct SteadyClock(fulmar_store_node::SteadyClock);

impl SteadyClock {
    /// Begins with the time of the wall clock.
    pub(crate) fn start() -> SteadyClock {
        SteadyClock(fulmar_store_node::SteadyClock::start(boot_clock::now(), wall_clock()))
    }

    /// The time now.
    pub(crate) fn now(&mut self) -> Time {
        self.0.at(boot_clock::now(), wall_clock())
    }
}

/// A clock before 1970 is as good as none.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
