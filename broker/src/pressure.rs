//! Watches how much of its memory the process uses, and tells data threads and listeners when that is too much.
//!
//! What they do about it is theirs (`fulmar_worker`, `pressure.rs`; `shortage.rs`). Here the level is decided: above
//! `memory.highPercent` it is high, above `memory.criticalPercent` critical, and it falls again only somewhat below, so
//! that it does not go up and down with every message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fulmar_config::MemoryConfig;
use fulmar_worker::{Node, Pressure};
use tracing::{error, info, warn};

use crate::grant::Grant;
use crate::reactor::Inbox;
use crate::shortage::Shortage;
use crate::throttle::Throttle;

/// Percent below a mark at which what was done above it ends.
const RELIEF_PERCENT: u64 = 4;
/// Looks while there is room enough, and when there is least.
const CALM: Duration = Duration::from_millis(250);
const ALERT: Duration = Duration::from_millis(20);
/// How fast many clients together can fill what is left, with room to spare: a gibibyte a second.
const GROWTH_PER_MILLISECOND: u64 = 1 << 20;
/// Looks while clients are closed: who went must have been counted before the next one has to go.
const RELIEF: Duration = Duration::from_millis(200);
/// Between two times that the allocator gives back what is free in it, which keeps data threads waiting for some
/// milliseconds.
const TRIM: Duration = Duration::from_secs(1);
/// The same where memory is not short, but more than it was: what is free lies between what is not, and the allocator
/// takes more before it has used it all.
const TIDY: Duration = Duration::from_secs(60);
/// It has grown if it is more by one in so many parts.
const GROWTH_PART: u64 = 32;
/// Giving back takes at most one in so many parts of the time, however much there is.
const TRIM_PART: u32 = 5000;

/// What was seen last, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct MemoryState {
    pub(crate) used: AtomicU64,
    pub(crate) granted: AtomicU64,
    pub(crate) pressure: AtomicU64,
}

/// Who has to know.
pub(crate) struct Watch {
    pub(crate) grant: Grant,
    pub(crate) marks: MemoryConfig,
    pub(crate) state: Arc<MemoryState>,
    pub(crate) node: Arc<Node>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) shortage: Arc<Shortage>,
}

/// One look at the memory that is used.
struct Look {
    used: u64,
    /// How long it took to give back what was free, if that was done.
    trimmed: Option<Duration>,
}

/// The last time that the allocator gave back what was free.
#[derive(Clone, Copy, Debug)]
struct Trimmed {
    at: Instant,
    took: Duration,
    /// What was used then.
    left: u64,
}

impl Trimmed {
    /// Whether it should again at `now`, when so much is used.
    fn is_due(&self, pressure: Pressure, used: u64, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at);
        match pressure {
            Pressure::Critical => true,
            Pressure::High => since >= TRIM,
            Pressure::Normal => {
                used > self.left + self.left / GROWTH_PART && since >= TIDY.max(self.took.saturating_mul(TRIM_PART))
            }
        }
    }
}

/// How much memory is used, in percent of what is granted, beside the marks.
fn judge(before: Pressure, used: u64, granted: u64, marks: &MemoryConfig) -> Pressure {
    let percent = percent(used, granted);
    let (high, critical) = (u64::from(marks.high_percent), u64::from(marks.critical_percent));
    // Who is above a mark already stays so until there is some relief.
    let mark = |mark: u64, level| if before >= level { mark.saturating_sub(RELIEF_PERCENT) } else { mark };
    if percent >= mark(critical, Pressure::Critical) {
        Pressure::Critical
    } else if percent >= mark(high, Pressure::High) {
        Pressure::High
    } else {
        Pressure::Normal
    }
}

fn percent(used: u64, granted: u64) -> u64 {
    used.saturating_mul(100) / granted.max(1)
}

/// When to look again.
fn next_look(pressure: Pressure, used: u64, granted: u64, marks: &MemoryConfig) -> Duration {
    match pressure {
        Pressure::Critical => RELIEF,
        Pressure::Normal | Pressure::High => {
            let mark = if pressure == Pressure::Normal { marks.high_percent } else { marks.critical_percent };
            let left = (granted / 100 * u64::from(mark)).saturating_sub(used);
            Duration::from_millis(left / GROWTH_PER_MILLISECOND).clamp(ALERT, CALM)
        }
    }
}

impl Watch {
    /// Watches until the task is aborted.
    pub(crate) async fn run(self) {
        let this = Arc::new(self);
        let (mut pressure, throttle) = (Pressure::Normal, Throttle::default());
        // What is there at the start was not given back by anybody.
        let mut trimmed = Trimmed { at: Instant::now(), took: Duration::ZERO, left: 0 };
        let granted = this.grant.bytes;
        this.state.granted.store(granted, Ordering::Relaxed);
        loop {
            let looking = this.clone();
            // Reading the kernel's files, and giving memory back to it, may block.
            let look = tokio::task::spawn_blocking(move || looking.look(pressure, trimmed)).await;
            let used = match look {
                Ok(Some(Look { used, trimmed: took })) => {
                    if let Some(took) = took {
                        trimmed = Trimmed { at: Instant::now(), took, left: used };
                    }
                    used
                }
                Ok(None) => {
                    error!("how much memory is used cannot be read any more, so nothing is refused for it");
                    this.tell(Pressure::Normal);
                    return;
                }
                Err(error) => {
                    error!(%error, "looking at memory failed");
                    return;
                }
            };
            let before = pressure;
            pressure = judge(before, used, granted, &this.marks);
            this.state.used.store(used, Ordering::Relaxed);
            this.tell(pressure);
            if pressure > before
                && let Some(withheld) = throttle.admit(Instant::now())
            {
                warn!(used, granted, pressure = name(pressure), withheld, "memory is short, new work is refused");
            } else if pressure == Pressure::Normal && before != pressure {
                info!(used, granted, "memory is not short any more");
            }
            tokio::time::sleep(next_look(pressure, used, granted, &this.marks)).await;
        }
    }

    /// Sees how much is used. Where that is too much, or more than it was, the allocator first gives back what is free in
    /// it: memory that nobody uses is no reason to refuse anyone.
    fn look(&self, pressure: Pressure, last: Trimmed) -> Option<Look> {
        let used = self.grant.used()?;
        let now = Instant::now();
        if !last.is_due(judge(pressure, used, self.grant.bytes, &self.marks), used, now) {
            return Some(Look { used, trimmed: None });
        }
        trim();
        Some(Look { used: self.grant.used()?, trimmed: Some(now.elapsed()) })
    }

    fn tell(&self, pressure: Pressure) {
        self.shortage.set_memory_critical(pressure == Pressure::Critical);
        self.node.set_pressure(pressure);
        // Shown when it holds.
        let before = self.state.pressure.swap(pressure.value().into(), Ordering::Relaxed);
        if before != u64::from(pressure.value()) {
            self.inboxes.iter().for_each(|inbox| inbox.wake_if_asleep());
        }
    }
}

fn name(pressure: Pressure) -> &'static str {
    match pressure {
        Pressure::Normal => "normal",
        Pressure::High => "high",
        Pressure::Critical => "critical",
    }
}

/// Gives pages that are free inside the allocator back to the kernel.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it takes the allocator's own locks and has no other preconditions.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: MemoryConfig = MemoryConfig { limit_bytes: None, high_percent: 85, critical_percent: 93 };

    #[test]
    fn the_level_rises_at_a_mark_and_falls_only_below_it() {
        let mut level = Pressure::Normal;
        let mut at = |percent| {
            level = judge(level, percent, 100, &MARKS);
            level
        };
        use Pressure::{Critical, High, Normal};
        let levels = [84, 85, 82, 81, 80, 84, 93, 90, 89, 88, 85, 95, 80].map(&mut at);
        let wanted =
            [Normal, High, High, High, Normal, Normal, Critical, Critical, Critical, High, High, Critical, Normal];
        assert_eq!(levels, wanted);
    }

    #[test]
    fn what_is_free_is_given_back_when_memory_is_short_and_now_and_then_when_it_has_grown() {
        use Pressure::{Critical, High, Normal};
        let at = Instant::now();
        let last = Trimmed { at, took: Duration::from_millis(20), left: 3200 };
        // Pressure, what is used, seconds since the last time, and whether it is time.
        let cases = [
            (Critical, 0, 0, true),
            (High, 0, 0, false),
            (High, 0, 1, true),
            (Normal, 3300, 1000, false),
            (Normal, 3301, 99, false),
            (Normal, 3301, 100, true),
        ];
        for (pressure, used, seconds, wanted) in cases {
            let found = last.is_due(pressure, used, at + Duration::from_secs(seconds));
            assert_eq!(found, wanted, "{pressure:?} {used} {seconds}");
        }
        let quick = Trimmed { took: Duration::ZERO, ..last };
        assert_eq!(
            [59, 60].map(|seconds| quick.is_due(Normal, 4000, at + Duration::from_secs(seconds))),
            [false, true]
        );
    }

    #[test]
    fn looks_are_frequent_when_they_matter() {
        let look = |pressure, megabytes: u64| next_look(pressure, megabytes << 20, 1000 << 20, &MARKS);
        assert_eq!(look(Pressure::Normal, 20), CALM);
        assert_eq!(look(Pressure::Normal, 750), Duration::from_millis(100));
        assert_eq!([look(Pressure::Normal, 849), look(Pressure::High, 925)], [ALERT; 2]);
        assert_eq!(look(Pressure::Critical, 950), RELIEF);
        assert_eq!(percent(u64::MAX, 0), u64::MAX);
    }
}
