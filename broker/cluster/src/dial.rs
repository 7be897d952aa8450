//! When to dial an address again.

use std::time::{Duration, Instant};

/// Times between attempts: the first redial is immediate, then `initial`, twice that, and so on up to `max`, each
/// longer or shorter by up to `jitter_percent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOffSettings {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// How far a wait may differ, so that nodes do not dial in step.
    pub jitter_percent: u8,
}

impl Default for BackOffSettings {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(60), jitter_percent: 10 }
    }
}

/// The back-off of one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u32,
    until: Option<Instant>,
}

impl BackOff {
    /// An attempt failed. `random` is any number.
    pub fn failed(&mut self, settings: &BackOffSettings, now: Instant, random: u32) {
        self.until = Some(now + delay(settings, self.failures, random));
        self.failures = self.failures.saturating_add(1);
    }

    /// An attempt succeeded. Whether that counts shows when the connection is [`lost`](Self::lost).
    pub fn accepted(&mut self) {
        self.until = None;
    }

    /// A connection that stood since then was lost. If it stood for long enough to be of use, the first redial is
    /// immediate; if not, that was one more failure. Several that are lost together count once.
    pub fn lost(&mut self, settings: &BackOffSettings, since: Instant, now: Instant, random: u32) {
        if self.until.is_none() {
            if now.saturating_duration_since(since) >= settings.initial {
                self.failures = 0;
            }
            self.failed(settings, now, random);
        }
    }

    /// There is news that makes an attempt worth while: dial as soon as there is a reason.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether it is time.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// When it is time, if that is not at once.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Attempts that failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

fn delay(settings: &BackOffSettings, failures: u32, random: u32) -> Duration {
    let BackOffSettings { initial, max, jitter_percent } = *settings;
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let delay = initial.checked_mul(factor).map_or(max, |delay| delay.min(max));
    // From -1 to 1.
    let swing = f64::from(random) / f64::from(u32::MAX) * 2.0 - 1.0;
    delay.mul_f64(1.0 + swing * f64::from(jitter_percent.min(100)) / 100.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIDDLE: u32 = u32::MAX / 2;

    fn seconds(failures: u32, random: u32) -> f64 {
        delay(&BackOffSettings::default(), failures, random).as_secs_f64()
    }

    #[test]
    fn the_first_redial_is_immediate_then_waits_double_up_to_a_minute() {
        let waits: Vec<f64> = (0..9).map(|failures| seconds(failures, MIDDLE).round()).collect();
        assert_eq!(waits, [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    #[test]
    fn jitter_is_a_tenth_to_both_sides() {
        assert_eq!((seconds(1, 0), seconds(1, u32::MAX)), (0.9, 1.1));
    }

    #[test]
    fn news_end_the_wait() {
        let now = Instant::now();
        let mut back_off = BackOff::default();
        for _ in 0..5 {
            back_off.failed(&BackOffSettings::default(), now, MIDDLE);
        }
        assert!(!back_off.is_over(now));
        back_off.reset();
        assert_eq!((back_off.is_over(now), back_off.failures()), (true, 0));
    }

    #[test]
    fn only_a_connection_that_stood_is_redialled_at_once() {
        let (settings, now) = (BackOffSettings::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        let mut back_off = BackOff::default();
        back_off.accepted();
        back_off.lost(&settings, now, later, MIDDLE);
        back_off.lost(&settings, now, later, MIDDLE);
        assert_eq!((back_off.is_over(later), back_off.failures()), (true, 1));
        back_off.accepted();
        back_off.lost(&settings, later, later, MIDDLE);
        assert_eq!((back_off.is_over(later), back_off.failures()), (false, 2));
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest_and_its_jitter(failures in any::<u32>(), random in any::<u32>()) {
            prop_assert!(seconds(failures, random) <= 66.0);
        }
    }
}
