//! What time it is, by the three clocks that matter.

use std::time::Instant;

use fulmar_meta::Moment;
use fulmar_store::Time;

/// Read together, at one point of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// For whatever waits in this process.
    pub now: Instant,
    /// Goes on while the machine sleeps, for leases.
    pub moment: Moment,
    /// Milliseconds since 1970, by which messages and sessions expire: of a [`SteadyClock`](crate::SteadyClock).
    pub time: Time,
}

impl Clock {
    /// When it will be that moment; at once if it is over.
    pub(crate) fn instant_of(&self, moment: Moment) -> Instant {
        self.now + moment.0.saturating_sub(self.moment.0)
    }
}
