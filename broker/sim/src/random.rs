//! Where all chance of a run comes from.

use std::time::Duration;

pub(crate) use fulmar_random::Random;

/// What simulated machines and clients ask of it beside.
pub(crate) trait Chance {
    /// True in so many of 100 cases.
    fn percent(&mut self, percent: u64) -> bool;

    /// A time from `least` to `most` microseconds.
    fn micros(&mut self, least: u64, most: u64) -> Duration;

    /// A time from `least` to `most` milliseconds.
    fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.micros(least * 1000, most * 1000)
    }

    /// A source of its own, for what shall not change when others draw more or less.
    fn branch(&mut self) -> Random;
}

impl Chance for Random {
    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn micros(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(least + self.below(most - least + 1))
    }

    fn branch(&mut self) -> Random {
        Random::new(self.next())
    }
}
