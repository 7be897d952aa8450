//! Clients that publish more than they may in a second are not read on until their time has come: they lose nothing.
//!
//! What was taken is acknowledged as ever, and what others send them goes out. What they say themselves waits in their
//! socket behind their own publishes, acknowledgements and pings too; so while they wait nobody blames them for being
//! silent. The configuration sees to it that the wait is short for one packet.

use crate::client::Flow;
use crate::ids::{ConnId, SessionId};
use crate::limits::Limits;
use crate::out::{Event, Out};
use crate::rate::Bucket;
use crate::worker::Worker;
use std::time::{Duration, Instant};

/// Between two log lines about the same connection.
const SILENCE: Duration = Duration::from_secs(60);

/// What one connection may publish.
#[derive(Debug)]
pub(crate) struct Meter {
    publishes: Option<Bucket>,
    bytes: Option<Bucket>,
    /// It is not read until then.
    until: Option<Instant>,
    told: Option<Instant>,
}

/// Which of its buckets is empty, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Wait {
    limit: &'static str,
    time: Duration,
}

const PUBLISHES: &str = "publishesPerSecond";
const BYTES: &str = "publishBytesPerSecond";

impl Meter {
    fn new(limits: &Limits, now: Instant) -> Meter {
        let bucket = |rate| Bucket::new(rate, now);
        Meter {
            publishes: limits.publishes_per_second.map(bucket),
            bytes: limits.publish_bytes_per_second.map(bucket),
            until: None,
            told: None,
        }
    }

    /// One publish of so many bytes was taken.
    fn take(&mut self, bytes: usize, now: Instant) -> Option<Wait> {
        let take = |bucket: &mut Option<Bucket>, units, limit| {
            let bucket = bucket.as_mut()?;
            bucket.take(units, now);
            bucket.wait(now).map(|time| Wait { limit, time })
        };
        let waits = [take(&mut self.publishes, 1, PUBLISHES), take(&mut self.bytes, bytes as u64, BYTES)];
        waits.into_iter().flatten().max_by_key(|wait| wait.time)
    }

    fn tells(&mut self, now: Instant) -> bool {
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= SILENCE);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }

    /// Until when the connection is not read, if it is not.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The wait is over, if it is by now.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }
}

impl Worker {
    /// Whether there are any rates that a client may publish at.
    #[inline]
    pub(crate) fn is_metered(&self) -> bool {
        let limits = &self.node.settings.limits;
        limits.publishes_per_second.is_some() || limits.publish_bytes_per_second.is_some()
    }

    /// A publish of so many bytes, header and all, was taken from a client: it may have to wait before the next.
    pub(crate) fn meter(
        &mut self,
        conn: ConnId,
        id: SessionId,
        bytes: usize,
        now: Instant,
        out: &mut impl Out,
    ) -> Option<Flow> {
        let limits = &self.node.settings.limits;
        let connection = self.connections.get_mut(conn)?;
        let meter = connection.meter.get_or_insert_with(|| Box::new(Meter::new(limits, now)));
        let Wait { limit, time } = meter.take(bytes, now)?;
        let until = now + time;
        meter.until = Some(until);
        match limit {
            PUBLISHES => self.counters.limit_hits_publishes_per_second += 1,
            _ => self.counters.limit_hits_publish_bytes_per_second += 1,
        }
        if meter.tells(now)
            && let Some(entry) = self.sessions.get(id)
        {
            let (client_id, origin) = (entry.session.client_id(), connection.origin);
            out.event(Event::ClientBeyondLimit { client_id, origin, limit });
        }
        self.remind(conn, until);
        Some(self.pause(conn, out))
    }

    /// Reads a client on whose time has come. Tells when that will be, if it has not.
    pub(crate) fn end_throttle(
        &mut self,
        conn: ConnId,
        id: SessionId,
        now: Instant,
        out: &mut impl Out,
    ) -> Option<Instant> {
        let meter = self.connections.get_mut(conn)?.meter.as_mut()?;
        if meter.expire(now) {
            self.resume(conn, id, now, out);
        }
        self.connections.get(conn)?.meter.as_ref()?.until()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn the_emptier_bucket_says_how_long_to_wait() {
        let now = Instant::now();
        let rate = NonZeroU64::new;
        let limits =
            Limits { publishes_per_second: rate(2), publish_bytes_per_second: rate(1000), ..Limits::default() };
        let mut meter = Meter::new(&limits, now);
        let wait = |limit, milliseconds| Some(Wait { limit, time: Duration::from_millis(milliseconds) });
        assert_eq!(meter.take(10, now), None);
        assert_eq!(meter.take(10, now), None);
        assert_eq!(meter.take(10, now), wait(PUBLISHES, 500));
        assert_eq!(meter.take(3000, now), wait(BYTES, 2030));
        assert!(meter.tells(now) && !meter.tells(now + SILENCE / 2) && meter.tells(now + SILENCE));
    }
}
