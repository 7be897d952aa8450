//! The clocks of a node, which run a little faster or slower than true time, stand still or jump.

use std::time::{Duration, Instant};

use fulmar_meta::Moment;
use fulmar_store_node::{Clock, SteadyClock};

use crate::Time;

/// What the wall clock of a right machine shows when a run begins, in microseconds since 1970.
const WALL_AT_START: i64 = 1_700_000_000_000_000;

/// The clocks of one machine.
#[derive(Debug, Clone)]
pub(crate) struct MachineClock {
    /// Instants are counted from here. No node sees those of another.
    base: Instant,
    /// So many microseconds in a second too fast.
    fast: i64,
    /// When the machine was booted.
    booted: Time,
    /// How far the wall clock is wrong, in microseconds.
    wall_wrong: i64,
}

impl MachineClock {
    pub(crate) fn new(base: Instant, fast: i64) -> MachineClock {
        MachineClock { base, fast, booted: Time::default(), wall_wrong: 0 }
    }

    fn passed(&self, at: Time) -> u64 {
        let at = i128::from(at.0);
        u64::try_from(at + at * i128::from(self.fast) / 1_000_000).expect("no clock goes backwards")
    }

    /// For whatever waits in a process.
    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.base + Duration::from_micros(self.passed(at))
    }

    /// Since the machine was booted, for leases.
    pub(crate) fn moment(&self, at: Time) -> Moment {
        let since = self.passed(at) - self.passed(self.booted);
        // Nobody can act on a lease of the first second.
        Moment(Duration::from_micros(since + 1_000_000))
    }

    /// Microseconds since 1970.
    pub(crate) fn wall(&self, at: Time) -> u64 {
        let at = i64::try_from(self.passed(at)).unwrap_or(i64::MAX);
        u64::try_from(WALL_AT_START + at + self.wall_wrong).unwrap_or_default()
    }

    /// For what a process that starts writes into entries.
    pub(crate) fn steady(&self, at: Time) -> SteadyClock {
        SteadyClock::start(self.moment(at), Duration::from_micros(self.wall(at)))
    }

    /// All that a store wants to know.
    pub(crate) fn read(&self, at: Time, steady: &mut SteadyClock) -> Clock {
        let moment = self.moment(at);
        Clock { now: self.instant(at), moment, time: steady.at(moment, Duration::from_micros(self.wall(at))) }
    }

    /// The first time at which the clock shows this instant, or a later one.
    pub(crate) fn when(&self, instant: Instant) -> Time {
        let passed = i128::try_from(instant.saturating_duration_since(self.base).as_micros()).unwrap_or(i128::MAX);
        let about = u64::try_from(passed * 1_000_000 / i128::from(1_000_000 + self.fast)).unwrap_or(u64::MAX);
        let mut at = Time(about.saturating_sub(2));
        while self.instant(at) < instant {
            at.0 += 1;
        }
        at
    }

    pub(crate) fn jump_wall(&mut self, microseconds: i64) {
        self.wall_wrong += microseconds;
    }

    pub(crate) fn set_wall_right(&mut self) {
        self.wall_wrong = 0;
    }

    pub(crate) fn boot(&mut self, at: Time) {
        self.booted = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_what_it_is_asked_for_and_not_before() {
        for fast in [-5000, 0, 7000] {
            let clock = MachineClock::new(Instant::now(), fast);
            for at in [0, 1, 999_999, 1_000_001, 123_456_789].map(Time) {
                let found = clock.when(clock.instant(at));
                assert!(clock.instant(found) >= clock.instant(at) && found <= at, "{fast} {at}: {found}");
            }
        }
    }
}
