//! Accepting while the process is out of descriptors or memory: it rests, and says so now and then.

use std::io;
use std::time::{Duration, Instant};

/// How long accepting rests; trying again at once would fail again at once.
pub(crate) const REST: Duration = Duration::from_millis(100);
/// A broker at its limit accepts one client for each that leaves: the log does not repeat itself for each.
const SILENCE: Duration = Duration::from_secs(60);

/// What was said about shortages of one listener.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    said: Option<Instant>,
}

impl Shortage {
    /// Whether a shortage at this time is worth a log line.
    pub(crate) fn is_news(&mut self, now: Instant) -> bool {
        let is_news = self.said.is_none_or(|said| now.saturating_duration_since(said) >= SILENCE);
        if is_news {
            self.said = Some(now);
        }
        is_news
    }
}

/// Whether accepting failed for want of descriptors or memory.
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_that_lasts_is_told_once_a_minute() {
        let (mut shortage, start) = (Shortage::default(), Instant::now());
        let told = |at: u64| shortage.is_news(start + Duration::from_secs(at));
        assert_eq!([0, 1, 59, 60, 61, 121].map(told), [true, false, false, true, false, true]);
    }
}
