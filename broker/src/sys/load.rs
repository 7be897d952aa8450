//! How much of something happens per minute, as averages over the last 1, 5 and 15 minutes in which the newest weighs
//! most and what is long past fades: as `uptime` shows the load of a machine.

use std::time::Duration;

/// The names of the averages and how fast they fade, in seconds.
pub(crate) const WINDOWS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// The averages of one counter. They begin at 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    count: u64,
    per_minute: [f64; WINDOWS.len()],
}

impl Load {
    /// The counter stands at `count`, so long after it was looked at last.
    pub(crate) fn update(&mut self, count: u64, since: Duration) {
        let seconds = since.as_secs_f64();
        let more = count.saturating_sub(std::mem::replace(&mut self.count, count));
        if seconds <= 0.0 {
            return;
        }
        let rate = more as f64 * 60.0 / seconds;
        for (average, (_, fade)) in self.per_minute.iter_mut().zip(WINDOWS) {
            *average = rate + (*average - rate) * (-seconds / fade).exp();
        }
    }

    /// The averages, in the order of [`WINDOWS`].
    pub(crate) fn per_minute(&self) -> [f64; WINDOWS.len()] {
        self.per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn what_goes_on_steadily_is_approached_and_what_ended_fades() {
        let mut load = Load::default();
        load.update(20, TEN);
        // 120 a minute for a sixth of the first window.
        let first = 120.0 * (1.0 - (-1.0_f64 / 6.0).exp());
        assert!((load.per_minute()[0] - first).abs() < 1e-9, "{load:?}");
        for tens in 2..=360 {
            load.update(20 * tens, TEN);
        }
        let [one, five, fifteen] = load.per_minute();
        assert!((one - 120.0).abs() < 1e-6 && (five - 120.0).abs() < 0.1 && (fifteen - 120.0).abs() < 3.0, "{load:?}");
        assert!(one > five && five > fifteen, "{load:?}");
        load.update(20 * 360, Duration::from_secs(60));
        let [one, five, fifteen] = load.per_minute();
        assert!((one - 120.0 / 1_f64.exp()).abs() < 0.1, "{load:?}");
        assert!(one < five && five < fifteen, "{load:?}");
    }

    #[test]
    fn no_time_is_no_news() {
        let mut load = Load::default();
        load.update(5, Duration::ZERO);
        assert_eq!(load.per_minute(), [0.0; 3]);
    }
}
