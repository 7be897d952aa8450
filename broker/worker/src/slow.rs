//! Slow consumers: clients that have been behind for a while, named in the log when they fall behind and when they
//! catch up.
//!
//! A client is behind while its socket does not take everything that there is for it; [`Connections`] keeps those in
//! the order in which they fell behind. So only the newest of them have to be looked at, a few times a second, and
//! messages that are delivered cost nothing.
//!
//! [`Connections`]: crate::connections::Connections

use crate::out::{Event, Out};
use crate::worker::Worker;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Who has been behind for so long is slow.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// Which clients had fallen behind at which time.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Times, and how many had fallen behind until then.
    marks: VecDeque<(Instant, u32)>,
}

impl History {
    /// How many had fallen behind by now. Gives how many of these had long enough ago to be slow if they still are.
    pub(crate) fn mark(&mut self, now: Instant, fallen_behind: u32) -> Option<u32> {
        self.marks.push_back((now, fallen_behind));
        let is_old = |(at, _): &mut (Instant, u32)| now.saturating_duration_since(*at) >= SLOW_AFTER;
        std::iter::from_fn(|| self.marks.pop_front_if(is_old)).last().map(|(_, fallen_behind)| fallen_behind)
    }
}

impl Worker {
    /// Names clients that have become slow, and those that were and have caught up.
    pub(crate) fn look_for_slow(&mut self, now: Instant, out: &mut impl Out) {
        let mut slow = self.connections.take_slow(now);
        for conn in slow.drain(..) {
            if let Some((client_id, connection)) = self.client_of(conn) {
                let unsent_bytes = connection.unsent_bytes();
                out.event(Event::ClientSlow { client_id, origin: connection.origin, unsent_bytes });
            }
        }
        let mut caught_up = self.connections.take_caught_up();
        for conn in caught_up.drain(..) {
            if let Some((client_id, connection)) = self.client_of(conn) {
                out.event(Event::ClientCaughtUp { client_id, origin: connection.origin });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_fell_behind_long_enough_ago_are_told_once_each_time() {
        let start = Instant::now();
        let mut history = History::default();
        let mut mark = |seconds, fallen_behind| history.mark(start + Duration::from_secs(seconds), fallen_behind);
        assert_eq!([mark(0, 3), mark(1, 4), mark(4, 9)], [None; 3]);
        assert_eq!([mark(5, 9), mark(6, 9), mark(7, 9), mark(60, 9)], [Some(3), Some(4), None, Some(9)]);
    }
}
