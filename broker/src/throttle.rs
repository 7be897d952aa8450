//! Log lines that strangers can cause at will: the first is written, then one a minute at most, which tells how many
//! were withheld since the last.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines about the same thing.
const SILENCE: Duration = Duration::from_secs(60);

/// What was said about one thing, by whichever thread.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    said: Option<Instant>,
    withheld: u64,
}

impl Throttle {
    /// Whether a line may be written now; then how many were withheld since the last one.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().expect("nothing panics while lines are counted");
        if last.said.is_some_and(|said| now.saturating_duration_since(said) < SILENCE) {
            last.withheld += 1;
            return None;
        }
        last.said = Some(now);
        Some(std::mem::take(&mut last.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_a_minute_with_the_number_of_lines_withheld() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let told = |at: u64| throttle.admit(start + Duration::from_secs(at));
        assert_eq!([0, 1, 59, 60, 61, 121].map(told), [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
