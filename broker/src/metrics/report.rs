//! What a data thread tells the control side now and then: its numbers, and that it is alive.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fulmar_worker::{Counters, Gauges, LinkCounters};
use tokio::sync::watch;

use crate::reactor::LagCounts;

/// The numbers of one data thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    pub(crate) links: Vec<LinkCounters>,
    pub(crate) lag: LagCounts,
}

/// Where a data thread leaves its numbers.
#[derive(Debug)]
pub(crate) struct ThreadReport {
    start: Instant,
    /// When the thread last ended a turn, in milliseconds since `start`.
    beat_milliseconds: AtomicU64,
    numbers: Mutex<Numbers>,
    /// While the broker stops: nobody would lose anything if the thread ended now.
    is_quiet: watch::Sender<bool>,
}

impl Default for ThreadReport {
    fn default() -> Self {
        ThreadReport {
            start: Instant::now(),
            beat_milliseconds: AtomicU64::new(0),
            numbers: Mutex::default(),
            is_quiet: watch::Sender::new(false),
        }
    }
}

impl ThreadReport {
    /// The thread has ended a turn.
    pub(crate) fn beat(&self, now: Instant) {
        let milliseconds = now.saturating_duration_since(self.start).as_millis();
        self.beat_milliseconds.store(u64::try_from(milliseconds).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago the thread ended a turn.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        let beat = Duration::from_millis(self.beat_milliseconds.load(Ordering::Relaxed));
        now.saturating_duration_since(self.start).saturating_sub(beat)
    }

    pub(crate) fn set_quiet(&self, is_quiet: bool) {
        self.is_quiet.send_if_modified(|current| std::mem::replace(current, is_quiet) != is_quiet);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        *self.is_quiet.borrow()
    }

    pub(crate) async fn wait_until_quiet(&self) {
        // The sender lives as long as this report.
        let _ = self.is_quiet.subscribe().wait_for(|is_quiet| *is_quiet).await;
    }

    pub(crate) fn publish(&self, numbers: Numbers) {
        *self.lock() = numbers;
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.numbers.lock().expect("nothing panics while numbers are copied")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_turn() {
        let report = ThreadReport::default();
        let start = report.start;
        let second = Duration::from_secs(1);
        assert_eq!(report.silence(start + second * 3), second * 3);
        report.beat(start + second * 2);
        assert_eq!(report.silence(start + second * 3), second);
        assert_eq!(report.silence(start), Duration::ZERO);
    }
}
