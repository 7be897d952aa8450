//! Whether memory has settled.

use std::time::Duration;

/// The broker's memory at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) bytes: u64,
}

/// By how many percent the median of the last minute is above that of the minute after the first third: of 30 minutes,
/// the last above the eleventh. Medians: a burst of messages that wait at the wrong second is no growth.
pub(crate) fn growth(samples: &[Sample], minutes: u32) -> f64 {
    let minute = |number: u32| {
        let (from, to) = (Duration::from_secs(60) * (number - 1), Duration::from_secs(60) * number);
        let mut bytes: Vec<u64> =
            samples.iter().filter(|sample| sample.at >= from && sample.at < to).map(|sample| sample.bytes).collect();
        bytes.sort_unstable();
        // Without a sample it is no number, and nothing passes.
        bytes.get(bytes.len() / 2).map_or(f64::NAN, |median| *median as f64)
    };
    let (first, last) = (minute(minutes / 3 + 1), minute(minutes));
    100.0 * (last - first) / first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(bytes: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..180).map(|second| Sample { at: Duration::from_secs(second), bytes: bytes(second) }).collect()
    }

    #[test]
    fn what_settles_after_the_first_third_has_not_grown() {
        assert_eq!(growth(&samples(|second| if second < 60 { 10 } else { 1000 }), 3), 0.0);
    }

    #[test]
    fn a_leak_is_growth_and_a_burst_is_not() {
        let leak = growth(&samples(|second| 1000 + second), 3);
        assert!((4.5..6.5).contains(&leak), "{leak}");
        assert_eq!(growth(&samples(|second| if second % 3 == 0 { 5000 } else { 1000 }), 3), 0.0);
    }

    #[test]
    fn without_samples_there_is_no_verdict_that_passes() {
        let is_allowed = growth(&[], 3) <= 5.0;
        assert!(!is_allowed);
    }
}
