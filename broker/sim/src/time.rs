//! Virtual time.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::time::Duration;

/// Microseconds since the run began. Nodes have clocks of their own, which may be wrong; this one is nobody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// So many milliseconds after the beginning.
    pub const fn from_millis(milliseconds: u64) -> Time {
        Time(milliseconds * 1000)
    }

    /// How long it is since an earlier time; nothing if it is none.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl fmt::Display for Time {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:>3}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
