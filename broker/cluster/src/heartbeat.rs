//! When to ask a silent peer whether it lives, and when to give it up.
//!
//! A peer that says nothing for `interval` is sent a probe. Whatever arrives is an answer, to a probe or not. A probe
//! that is not answered within `timeout` is followed by another, `retries` times; when the last one is not answered
//! either, the peer counts as silent. So it has `interval + timeout * (1 + retries)` in all, counted from its last byte.

use std::time::{Duration, Instant};

/// See the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Silence before the first probe.
    pub interval: Duration,
    /// How long each probe waits for an answer.
    pub timeout: Duration,
    /// How many more probes follow the first one.
    pub retries: u32,
}

impl Default for Settings {
    /// Two seconds of silence in all.
    fn default() -> Self {
        Self { interval: Duration::from_millis(500), timeout: Duration::from_millis(500), retries: 2 }
    }
}

/// What the clock asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing now.
    Quiet,
    /// A probe is due.
    Probe,
    /// The last probe was not answered.
    Silent,
}

/// The heartbeat of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    settings: Settings,
    /// Probes that were not answered, the one under way included.
    unanswered: u32,
    /// When the next probe is due, or the last one's time is up.
    next: Instant,
}

impl Heartbeat {
    /// A connection that was just made.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self { settings, unanswered: 0, next: now + settings.interval }
    }

    /// Something arrived.
    pub fn heard(&mut self, now: Instant) {
        *self = Self::new(self.settings, now);
    }

    /// Lets time pass. Whoever looks late, because it was stopped itself, sends each probe all the same.
    pub fn tick(&mut self, now: Instant) -> Beat {
        if now < self.next {
            return Beat::Quiet;
        }
        if self.unanswered > self.settings.retries {
            return Beat::Silent;
        }
        self.unanswered += 1;
        self.next = now + self.settings.timeout;
        Beat::Probe
    }

    /// When [`tick`](Self::tick) has something to ask for.
    pub const fn deadline(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { interval: Duration::from_millis(300), timeout: Duration::from_millis(100), retries: 3 };

    /// What is asked for, and when, in milliseconds after `start`, if nothing is heard from then on.
    fn beats(mut heartbeat: Heartbeat, start: Instant) -> Vec<(u128, Beat)> {
        let mut all = Vec::new();
        loop {
            let at = heartbeat.deadline();
            assert_eq!(heartbeat.tick(at - Duration::from_millis(1)), Beat::Quiet);
            let beat = heartbeat.tick(at);
            all.push(((at - start).as_millis(), beat));
            if beat == Beat::Silent {
                return all;
            }
        }
    }

    #[test]
    fn a_silent_peer_is_probed_as_often_as_the_settings_say_and_then_given_up() {
        let start = Instant::now();
        let wanted =
            [(300, Beat::Probe), (400, Beat::Probe), (500, Beat::Probe), (600, Beat::Probe), (700, Beat::Silent)];
        assert_eq!(beats(Heartbeat::new(SETTINGS, start), start), wanted);
        let once = Settings { retries: 0, ..SETTINGS };
        assert_eq!(beats(Heartbeat::new(once, start), start), [(300, Beat::Probe), (400, Beat::Silent)]);
    }

    #[test]
    fn by_default_a_peer_has_two_seconds() {
        let start = Instant::now();
        let (at, last) = beats(Heartbeat::new(Settings::default(), start), start).pop().unwrap();
        assert_eq!((at, last), (2000, Beat::Silent));
    }

    #[test]
    fn whatever_arrives_answers_every_probe() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(SETTINGS, start);
        for _ in 0..4 {
            assert_eq!(heartbeat.tick(heartbeat.deadline()), Beat::Probe);
        }
        let heard = start + Duration::from_millis(699);
        heartbeat.heard(heard);
        assert_eq!(beats(heartbeat, heard).first(), Some(&(300, Beat::Probe)));
        assert_eq!(beats(heartbeat, heard).last(), Some(&(700, Beat::Silent)));
    }

    #[test]
    fn who_was_stopped_itself_does_not_blame_the_peer_at_once() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(SETTINGS, start);
        let late = start + Duration::from_secs(60);
        assert_eq!(heartbeat.tick(late), Beat::Probe);
        assert_eq!(heartbeat.deadline(), late + SETTINGS.timeout);
    }
}
