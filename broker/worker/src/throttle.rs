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
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// Between two log lines about the same connection.
const SILENCE: Duration = Duration::from_secs(60);

/// What one client may publish.
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

/// Clients that went before they had paid for what they published, and that are remembered at a time. Who comes back later
/// than the longest wait has paid.
const DEBTORS_MAX: usize = 65_536;

/// What clients that are gone have published and not paid for: coming back does not make it undone.
#[derive(Debug)]
pub(crate) struct Debts {
    /// By a hash of the client id: two of the same hash share a debt, which costs one of them a wait.
    meters: HashMap<u64, Box<Meter>, FixedState>,
    /// In the order in which they went.
    debtors: VecDeque<u64>,
    hasher: FixedState,
}

impl Debts {
    /// `seed` keeps others from choosing a client id for its hash.
    pub(crate) fn new(seed: u64) -> Debts {
        let hasher = FixedState::with_seed(seed);
        Debts { meters: HashMap::with_hasher(hasher.clone()), debtors: VecDeque::new(), hasher }
    }

    /// A client has gone, and what it has not paid for waits for it.
    pub(crate) fn keep(&mut self, client_id: &str, meter: Box<Meter>, now: Instant) {
        let is_over = |meters: &HashMap<u64, Box<Meter>, FixedState>, debtor: &u64| {
            meters.get(debtor).is_none_or(|meter| meter.is_paid(now))
        };
        while let Some(debtor) = self.debtors.front()
            && (self.debtors.len() >= DEBTORS_MAX || is_over(&self.meters, debtor))
        {
            self.meters.remove(debtor);
            self.debtors.pop_front();
        }
        if !meter.is_paid(now) {
            let debtor = self.hasher.hash_one(client_id);
            self.meters.insert(debtor, meter);
            self.debtors.push_back(debtor);
        }
    }

    fn take(&mut self, client_id: &str) -> Option<Box<Meter>> {
        if self.meters.is_empty() {
            return None;
        }
        self.meters.remove(&self.hasher.hash_one(client_id))
    }
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

    fn is_paid(&self, now: Instant) -> bool {
        [&self.publishes, &self.bytes].into_iter().flatten().all(|bucket| bucket.is_full(now))
    }

    /// How long to wait before the next publish, if at all.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let waits = [&self.publishes, &self.bytes].map(|bucket| bucket.as_ref()?.wait(now));
        waits.into_iter().flatten().max()
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

    /// A client has come back before it had paid: it is not read until then.
    pub(crate) fn take_debt(&mut self, conn: ConnId, id: SessionId, now: Instant, out: &mut impl Out) {
        let Some(entry) = self.sessions.get(id) else { return };
        let Some(mut meter) = self.debts.take(entry.session.client_id()) else { return };
        let until = meter.wait(now).map(|time| now + time);
        meter.until = until;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.meter = Some(meter);
        if let Some(until) = until {
            self.remind(conn, until);
            self.pause(conn, out);
        }
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
