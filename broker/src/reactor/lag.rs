//! How late an event loop is: how long somebody who comes at any time waits until the loop looks at what they want.
//!
//! Think of a probe that arrives every ten milliseconds. While the loop sleeps it is looked at when it comes; while a
//! turn is under way it waits for the turn's end. So a long turn weighs by its length, as it does for clients: turns
//! counted one by one would hide one long turn behind a thousand short ones. The probes are only reckoned with, from
//! clock readings that the loop takes anyway, so most turns cost a comparison.

use std::time::{Duration, Instant};

const PROBE: Duration = Duration::from_millis(10);

/// Upper ends of the ranges that waits are counted in, in seconds as they are shown.
pub(crate) const BOUNDS: [(Duration, &str); 9] = [
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(2), "0.002"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(20), "0.02"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(2), "2"),
];

/// What probes have met since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LagCounts {
    /// Probes by how long they waited: up to each of [`BOUNDS`], and longer.
    pub(crate) probes: [u64; BOUNDS.len() + 1],
    /// How long all of them waited.
    pub(crate) waited: Duration,
}

/// The lag of one loop.
#[derive(Debug)]
pub(crate) struct Lag {
    next_probe: Instant,
    is_asleep: bool,
    counts: LagCounts,
}

impl Lag {
    pub(crate) fn new(now: Instant) -> Lag {
        Lag { next_probe: now, is_asleep: false, counts: LagCounts::default() }
    }

    /// A turn begins and looks at all that has come; before it the loop was asleep or in its last turn.
    #[inline]
    pub(crate) fn turn_begins(&mut self, now: Instant) {
        if self.next_probe <= now {
            self.pass(now);
        }
        self.is_asleep = false;
    }

    /// The loop has nothing to do.
    pub(crate) fn fall_asleep(&mut self, now: Instant) {
        self.turn_begins(now);
        self.is_asleep = true;
    }

    pub(crate) fn counts(&self) -> LagCounts {
        self.counts
    }

    fn pass(&mut self, now: Instant) {
        while self.next_probe <= now {
            let wait = if self.is_asleep { Duration::ZERO } else { now - self.next_probe };
            let range = BOUNDS.iter().position(|(bound, _)| wait <= *bound).unwrap_or(BOUNDS.len());
            self.counts.probes[range] += 1;
            self.counts.waited += wait;
            self.next_probe += PROBE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_in_a_turn_waits_for_its_end_and_who_comes_in_a_sleep_does_not_wait() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut lag = Lag::new(start);
        lag.turn_begins(start);
        // Probes at 10, 20 and 30 wait for 25, 15 and 5 ms.
        lag.turn_begins(at(35));
        // At 40 for 2 ms; at 50 to 100 for nothing.
        lag.fall_asleep(at(42));
        lag.turn_begins(at(100));
        let counts = lag.counts();
        assert_eq!(counts.probes, [7, 1, 1, 0, 1, 1, 0, 0, 0, 0]);
        assert_eq!(counts.waited, Duration::from_millis(25 + 15 + 5 + 2));
    }

    #[test]
    fn a_loop_that_stood_still_weighs_by_how_long_it_did() {
        let start = Instant::now();
        let mut lag = Lag::new(start);
        // A second of short turns, then one turn of a second.
        (0..1000).for_each(|turn| lag.turn_begins(start + Duration::from_millis(turn)));
        lag.turn_begins(start + Duration::from_secs(2));
        let late: u64 = lag.counts().probes[7..].iter().sum();
        assert_eq!((late, lag.counts().probes.iter().sum::<u64>()), (90, 201));
    }
}
