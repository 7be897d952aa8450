//! Deliveries that their clients do not acknowledge: looked for in rounds, so that no message needs a timer or a time.
//!
//! Four times in the longest age that is allowed, all sessions of the thread are looked at, a few in each step. The
//! oldest delivery of a session that was there at five looks in a row is overdue: it is as old as is allowed, or a quarter
//! older.

use crate::ids::{ConnId, SessionId};
use crate::out::Out;
use crate::stored::Stored;
use crate::worker::Worker;
use fulmar_codec::ReasonCode;
use fulmar_session::{Excess, Limit};
use std::time::{Duration, Instant};

/// Rounds in the longest age.
const ROUNDS: u8 = 4;
/// Sessions that are looked at in one step.
const SESSIONS_PER_STEP: usize = 1000;
/// Between two steps of a round.
const STEP: Duration = Duration::from_millis(100);

/// Where the rounds stand.
#[derive(Debug)]
pub(crate) struct Overdue {
    next_round: Instant,
    next_step: Instant,
    /// The slot of the next session in this round; none: the round is over.
    next_slot: Option<u32>,
}

impl Overdue {
    pub(crate) fn new(start: Instant) -> Overdue {
        Overdue { next_round: start, next_step: start, next_slot: None }
    }
}

impl Worker {
    /// Goes on with the round. Tells when to come again at the latest.
    pub(crate) fn close_overdue(&mut self, now: Instant, out: &mut impl Out) -> Option<Instant> {
        let age = self.node.settings.limits.outbound_inflight_age?;
        let Overdue { next_round, next_step, next_slot } = self.overdue;
        let due = if next_slot.is_some() { next_step } else { next_round };
        if now < due {
            return Some(due);
        }
        if next_slot.is_none() {
            self.overdue.next_round = now + age / u32::from(ROUNDS);
        }
        let first = next_slot.unwrap_or(0);
        let looked_at = self.sessions.iter_from(first).take(SESSIONS_PER_STEP);
        let (mut last, mut count) = (first, 0);
        let mut waiting: Vec<(SessionId, ConnId)> = Vec::new();
        for (id, entry) in looked_at {
            (last, count) = (id.slot, count + 1);
            let stored = entry.queue().map_or(0, Stored::in_flight);
            if entry.session.in_flight() + stored > 0 {
                waiting.extend(entry.connection.map(|conn| (id, conn)));
            }
        }
        for (id, conn) in waiting {
            self.look(id, conn, now, out);
        }
        self.overdue.next_slot = (count == SESSIONS_PER_STEP).then_some(last + 1);
        self.overdue.next_step = now + STEP;
        Some(if self.overdue.next_slot.is_some() { self.overdue.next_step } else { self.overdue.next_round })
    }

    fn look(&mut self, id: SessionId, conn: ConnId, now: Instant, out: &mut impl Out) {
        let is_unheard = self.is_unheard(conn, id);
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let looks = match entry.stored.as_deref_mut().and_then(Stored::if_queue) {
            Some(stored) => stored.look_at_oldest(is_unheard),
            None => entry.session.look_at_oldest_delivery(is_unheard),
        };
        if looks >= ROUNDS {
            let excess = Excess { limit: Limit::OutboundInflightSeconds, reason: ReasonCode::QUOTA_EXCEEDED };
            self.close_beyond(conn, id, excess, now, out);
        }
    }
}
