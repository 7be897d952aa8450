//! So many in a second: a bucket of tokens, as one point in time.
//!
//! Each unit moves the point on by what it costs. While the point is no further ahead of now than the burst, more is
//! taken; beyond that, whoever asks waits until it is again. What is taken is taken whole, so that a unit larger than
//! the burst passes, and is paid for afterwards.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// As much as is granted in this time may come at once.
const BURST: Duration = Duration::from_secs(1);
const NANOSECONDS: u64 = 1_000_000_000;

/// So many units in a second, and at most a second's worth at once.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: NonZeroU64,
    /// Up to here everything that was taken is paid for.
    paid_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: NonZeroU64, now: Instant) -> Bucket {
        Bucket { per_second, paid_at: now }
    }

    /// Takes units, however many there are.
    pub fn take(&mut self, units: u64, now: Instant) {
        let per_second = self.per_second.get();
        let (seconds, rest) = (units / per_second, units % per_second);
        // The rest is below a second's worth: in 128 bits nothing overflows.
        let nanoseconds = (u128::from(rest) * u128::from(NANOSECONDS)).div_ceil(u128::from(per_second));
        let cost = Duration::new(seconds, 0) + Duration::from_nanos(nanoseconds as u64);
        self.paid_at = self.paid_at.max(now) + cost;
    }

    /// Whether everything that was taken is paid for, so that a new bucket would be no other.
    pub fn is_full(&self, now: Instant) -> bool {
        self.paid_at <= now
    }

    /// How long to wait before more may be taken; none while there is something left.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let ahead = self.paid_at.saturating_duration_since(now);
        ahead.checked_sub(BURST).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: u64, now: Instant) -> Bucket {
        Bucket::new(NonZeroU64::new(per_second).expect("not 0"), now)
    }

    #[test]
    fn a_seconds_worth_comes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut bucket = bucket(10, start);
        let mut now = start;
        let mut taken = Vec::new();
        for number in 0..31 {
            now += bucket.wait(now).unwrap_or_default();
            bucket.take(1, now);
            taken.push((number, now.duration_since(start).as_millis()));
        }
        let expected: Vec<_> = (0..31).map(|number: u128| (number as i32, number.saturating_sub(10) * 100)).collect();
        // The eleventh goes while the bucket is just empty.
        assert_eq!(taken, expected);
    }

    #[test]
    fn what_is_larger_than_a_seconds_worth_passes_and_is_paid_for() {
        let start = Instant::now();
        let mut bucket = bucket(1000, start);
        bucket.take(5500, start);
        assert_eq!(bucket.wait(start), Some(Duration::from_millis(4500)));
        assert_eq!(bucket.wait(start + Duration::from_millis(4500)), None);
        // Idle time fills it to the burst and no further.
        let later = start + Duration::from_secs(60);
        bucket.take(1500, later);
        assert_eq!(bucket.wait(later), Some(Duration::from_millis(500)));
    }

    #[test]
    fn no_number_is_too_large() {
        let start = Instant::now();
        for (per_second, units) in [(1, 1 << 30), (u64::MAX, u64::MAX), (1 << 50, u64::from(u32::MAX))] {
            let mut bucket = bucket(per_second, start);
            bucket.take(units, start);
            assert!(bucket.wait(start).unwrap_or_default() <= Duration::from_secs(1 << 30), "{per_second} {units}");
        }
    }
}
