//! Telling that a bound of the node is reached: once a minute for all threads together, with how often it was.

use crate::counters::Counters;
use crate::out::{Event, Out};
use crate::worker::Worker;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two log lines about the same bound.
const SILENCE: Duration = Duration::from_secs(60);

/// A bound of the node.
pub(crate) struct Bound {
    /// Its name in the configuration.
    pub(crate) limit: &'static str,
    /// How often it was reached.
    pub(crate) reached: fn(&Counters) -> u64,
}

/// The bounds whose reaching is told.
pub(crate) const BOUNDS: [Bound; 12] = [
    Bound { limit: "connections", reached: |counters| counters.limit_hits_connections },
    Bound { limit: "listeners[].limits.connections", reached: |counters| counters.limit_hits_listener_connections },
    Bound { limit: "connectionsPerAddress", reached: |counters| counters.limit_hits_connections_per_address },
    Bound { limit: "queuedMessages or queuedBytes", reached: |counters| counters.dropped_queue_full },
    Bound { limit: "queuedBytesTotal", reached: |counters| counters.dropped_node_full },
    Bound { limit: "sessions", reached: |counters| counters.limit_hits_sessions },
    Bound { limit: "sessionBytesTotal", reached: |counters| counters.limit_hits_session_bytes_total },
    Bound { limit: "retainedMessages", reached: |counters| counters.limit_hits_retained_messages },
    Bound { limit: "retainedBytes", reached: |counters| counters.limit_hits_retained_bytes },
    Bound { limit: "inputBufferBytesTotal", reached: |counters| counters.limit_hits_input_buffer_bytes_total },
    Bound { limit: "outputBufferBytesTotal", reached: |counters| counters.limit_hits_output_buffer_bytes_total },
    Bound { limit: "linkBufferBytes", reached: |counters| counters.limit_hits_link_buffer_bytes },
];

/// How often a thread had reached each of them when it last said so.
pub(crate) type Told = [u64; BOUNDS.len()];

/// What was refused because of one bound and not told yet.
#[derive(Debug)]
pub(crate) struct Alarm {
    start: Instant,
    untold: AtomicU64,
    /// In milliseconds since the start.
    next: AtomicU64,
}

impl Alarm {
    pub(crate) fn new(start: Instant) -> Alarm {
        Alarm { start, untold: AtomicU64::new(0), next: AtomicU64::new(0) }
    }

    /// One thread was refused so often since it last said so. Gives what to tell, to one thread only.
    fn ring(&self, times: u64, now: Instant) -> Option<u64> {
        self.untold.fetch_add(times, Ordering::Relaxed);
        let milliseconds = now.saturating_duration_since(self.start).as_millis() as u64;
        let next = self.next.load(Ordering::Relaxed);
        if milliseconds < next || self.untold.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let after = milliseconds + SILENCE.as_millis() as u64;
        let is_mine = self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_mine.then(|| self.untold.swap(0, Ordering::Relaxed)).filter(|times| *times > 0)
    }
}

impl Worker {
    /// Bounds of the node that were reached are told by whichever thread comes first.
    pub(crate) fn tell_limits(&mut self, now: Instant, out: &mut impl Out) {
        for (bound, (alarm, told)) in BOUNDS.iter().zip(self.node.alarms.iter().zip(&mut self.told)) {
            let reached = (bound.reached)(&self.counters);
            if let Some(times) = alarm.ring(reached - *told, now) {
                out.event(Event::LimitReached { limit: bound.limit, times });
            }
            *told = reached;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_reached_again_and_again_is_told_once_a_minute_with_the_sum() {
        let start = Instant::now();
        let alarm = Alarm::new(start);
        let ring = |seconds, times| alarm.ring(times, start + Duration::from_secs(seconds));
        assert_eq!([ring(0, 0), ring(1, 3), ring(2, 4), ring(60, 5)], [None, Some(3), None, None]);
        assert_eq!([ring(61, 0), ring(122, 0), ring(123, 1)], [Some(9), None, Some(1)]);
    }
}
