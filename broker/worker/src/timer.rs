//! One coarse timer wheel per data thread.
//!
//! A timer is a reminder, not a deadline: when it fires, its owner looks at the real deadline and sets the next
//! reminder. So a packet that moves a deadline (keep alive) writes only a time stamp, and nothing is ever cancelled.

use std::time::{Duration, Instant};

/// How coarse timers are.
const TICK: Duration = Duration::from_millis(100);
/// Slots of the wheel: later times wait in the last slot and are set again.
const SLOTS: usize = 512;

/// What a reminder is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Timer {
    /// CONNECT must have come, then: keep alive and acknowledgements that wait for too long.
    Connection { slot: u32, generation: u32 },
    /// The session or its will is due.
    Session { slot: u32, generation: u32 },
}

/// The wheel.
#[derive(Debug)]
pub(crate) struct Timers {
    slots: Vec<Vec<Timer>>,
    start: Instant,
    /// The first tick that has not fired.
    next: u64,
    waiting: usize,
}

impl Timers {
    pub(crate) fn new(start: Instant) -> Timers {
        Timers { slots: (0..SLOTS).map(|_| Vec::new()).collect(), start, next: 0, waiting: 0 }
    }

    /// Reminds no earlier than `at`, or earlier when that is further away than the wheel reaches.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        let tick = (at.saturating_duration_since(self.start).as_millis() / TICK.as_millis()) as u64 + 1;
        let tick = tick.clamp(self.next, self.next + SLOTS as u64 - 1);
        self.slots[(tick % SLOTS as u64) as usize].push(timer);
        self.waiting += 1;
    }

    /// Moves every reminder that is due at `now` to `due`.
    pub(crate) fn take_due(&mut self, now: Instant, due: &mut Vec<Timer>) {
        let tick = (now.saturating_duration_since(self.start).as_millis() / TICK.as_millis()) as u64;
        if tick >= self.next + SLOTS as u64 {
            // The loop stood still for longer than the wheel is long: everything is due.
            self.slots.iter_mut().for_each(|slot| due.append(slot));
        } else {
            for at in self.next..=tick {
                due.append(&mut self.slots[(at % SLOTS as u64) as usize]);
            }
        }
        self.next = self.next.max(tick + 1);
        self.waiting -= due.len();
    }

    /// When to look again; `None` while nothing waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        (self.next..self.next + SLOTS as u64)
            .find(|tick| !self.slots[(tick % SLOTS as u64) as usize].is_empty())
            .map(|tick| self.start + TICK * tick as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(timers: &mut Timers, at: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        timers.take_due(at, &mut due);
        due.iter()
            .map(|timer| match timer {
                Timer::Connection { slot, .. } | Timer::Session { slot, .. } => *slot,
            })
            .collect()
    }

    fn timer(slot: u32) -> Timer {
        Timer::Session { slot, generation: 0 }
    }

    #[test]
    fn a_reminder_fires_once_and_not_before_its_time() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set(timer(1), start + Duration::from_millis(250));
        timers.set(timer(2), start + Duration::from_millis(1250));
        assert_eq!(timers.next_due(), Some(start + Duration::from_millis(300)));
        assert_eq!(due(&mut timers, start + Duration::from_millis(250)), []);
        assert_eq!(due(&mut timers, start + Duration::from_millis(300)), [1]);
        assert_eq!(due(&mut timers, start + Duration::from_secs(2)), [2]);
        assert_eq!(timers.next_due(), None);
    }

    #[test]
    fn a_far_reminder_comes_early_instead_of_never() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set(timer(1), start + Duration::from_secs(3600));
        assert_eq!(due(&mut timers, start + Duration::from_secs(52)), [1]);
    }

    #[test]
    fn after_a_long_pause_everything_that_is_due_fires() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        timers.set(timer(1), start + Duration::from_secs(1));
        timers.set(timer(2), start + Duration::from_secs(40));
        assert_eq!(due(&mut timers, start + Duration::from_secs(900)), [1, 2]);
        timers.set(timer(3), start + Duration::from_secs(901));
        assert_eq!(due(&mut timers, start + Duration::from_millis(901_100)), [3]);
    }
}
