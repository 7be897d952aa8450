//! The time that entries carry: milliseconds since 1970 that neither jump nor stand still while a broker runs.
//!
//! Sessions end, messages expire and wills are due by that time, and it never goes back. If it followed the wall clock at
//! once, a clock that somebody sets forward would end every session whose client is away, and one that is set right again
//! would let no will come due until the world has caught up. So it goes at the pace of the clock that nobody can set, and
//! comes closer to the wall clock by at most a tenth of the time that passes.

use std::time::Duration;

use fulmar_meta::Moment;
use fulmar_store::Time;

/// Of the time that passes, this part is made up for.
const CATCH_UP: u32 = 10;

/// A clock that goes steadily: what the two clocks of a machine show is handed over by whoever reads them.
#[derive(Debug, Clone)]
pub struct SteadyClock {
    /// When it was read last, since the machine started and since 1970.
    read: Duration,
    time: Duration,
}

impl SteadyClock {
    /// Begins with the time of the wall clock, since 1970.
    pub const fn start(boot: Moment, wall: Duration) -> Self {
        Self { read: boot.0, time: wall }
    }

    /// The time when the two clocks show this.
    pub fn at(&mut self, boot: Moment, wall: Duration) -> Time {
        let passed = boot.0.saturating_sub(self.read);
        let (expected, slack) = (self.time + passed, passed / CATCH_UP);
        self.read = boot.0.max(self.read);
        self.time = wall.clamp(expected.saturating_sub(slack), expected + slack);
        u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: u64 = 1_000_000;

    fn clock() -> SteadyClock {
        SteadyClock::start(Moment(Duration::from_secs(50)), Duration::from_secs(BEGIN))
    }

    /// What it shows in milliseconds since it began, so many seconds later by both clocks.
    fn show(clock: &mut SteadyClock, boot: u64, wall: u64) -> u64 {
        clock.at(Moment(Duration::from_secs(50 + boot)), Duration::from_secs(wall)) - 1000 * BEGIN
    }

    #[test]
    fn it_goes_with_the_wall_clock_where_nobody_sets_that() {
        let mut clock = clock();
        assert_eq!([1, 2, 60].map(|at| show(&mut clock, at, BEGIN + at)), [1_000, 2_000, 60_000]);
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_slowly() {
        let mut clock = clock();
        let ahead = |at| BEGIN + 7200 + at;
        assert_eq!([0, 10, 20].map(|at| show(&mut clock, at, ahead(at))), [0, 11_000, 22_000]);
        // It arrives, and is not overtaken.
        assert_eq!(show(&mut clock, 80_000, ahead(80_000)), 87_200_000);
    }

    #[test]
    fn a_clock_that_is_set_back_is_waited_for_and_time_goes_on() {
        let mut clock = clock();
        assert_eq!([0, 10, 20].map(|at| show(&mut clock, at, BEGIN - 7200 + at)), [0, 9_000, 18_000]);
        assert_eq!(show(&mut clock, 30, 0), 27_000);
    }

    #[test]
    fn a_step_that_is_taken_back_is_soon_forgotten() {
        let mut clock = clock();
        assert_eq!(show(&mut clock, 10, BEGIN + 100_000), 11_000);
        assert_eq!(show(&mut clock, 20, BEGIN + 20), 20_000);
    }

    #[test]
    fn readings_close_to_each_other_lose_nothing() {
        let mut clock = clock();
        for step in 1..=1_000_000_u32 {
            let passed = Duration::from_micros(3) * step;
            clock.at(Moment(Duration::from_secs(50) + passed), Duration::from_secs(BEGIN + 9));
        }
        assert_eq!(clock.time, Duration::from_secs(BEGIN) + Duration::from_millis(3300));
    }
}
