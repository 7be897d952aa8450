//! When the process uses almost all the memory that it is granted: new work is refused first, then those who make it
//! hold most are sent away, so that it never has to be killed.
//!
//! Bounds on each queue are not enough: allocators waste, the kernel's buffers count, and connections take memory in
//! proportion to their number. The control side measures what is really used ([`crate::Node::set_pressure`]); what
//! data threads do about it is here and where each of these is done:
//!
//! | from | what |
//! |---|---|
//! | high | CONNECT is refused (0x89), unless a session waits for it, whose queue it takes away |
//! | high | a new subscription is refused (0x97); so is a retained message for a topic that has none |
//! | high | a client that keeps topic aliases gets no new ones |
//! | high | a client that sends much is not read for a moment, longer the more it sent |
//! | critical | every CONNECT is refused, and sockets are not accepted |
//! | critical | who does not read gets no QoS 0 |
//! | critical | of each thread's clients the one that holds most is closed (0x97), then the next, until there is room |

use crate::connections::Role;
use crate::effort::cost;
use crate::ids::ConnId;
use crate::out::Out;
use crate::worker::{Consumed, Worker};
use fulmar_codec::{Connect, ReasonCode};
use fulmar_session::Outgoing;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How much of its memory the process uses.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Pressure {
    /// There is room.
    #[default]
    Normal,
    /// Nothing new should begin.
    High,
    /// What there is has to become less.
    Critical,
}

impl Pressure {
    /// As a number, for atomics and metrics: 0, 1, 2.
    pub fn value(self) -> u8 {
        self as u8
    }

    /// The pressure with this number; the highest for all that are larger.
    pub fn from_value(value: u8) -> Pressure {
        match value {
            0 => Pressure::Normal,
            1 => Pressure::High,
            _ => Pressure::Critical,
        }
    }
}

/// Bytes that a client may send in one [`WINDOW`] under pressure before it has to rest for as long as it was ahead.
const WINDOW_BYTES: usize = 16 << 10;
/// Housekeeping comes as often.
const WINDOW: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(1);
/// Closing a client that holds less would hurt it and help nobody.
const HOLDING_BYTES_MIN: usize = 64 << 10;

/// Who sends much while memory is short.
#[derive(Debug, Default)]
pub(crate) struct Restraint {
    /// Bytes of each client in this window.
    sent: HashMap<ConnId, usize>,
    resting: Vec<(Instant, ConnId)>,
    /// Of the times that memory was found to be critical, how many were answered.
    reliefs: u64,
}

impl Restraint {
    pub(crate) fn is_idle(&self) -> bool {
        self.resting.is_empty() && self.sent.is_empty()
    }
}

impl Worker {
    /// Whether a client has to come again later. Judged before its password, which takes memory to verify.
    pub(crate) fn is_too_busy_for(&self, connect: &Connect<'_>) -> bool {
        // As it is now: a thread that has slept since the start knows of nothing before its first turn ends.
        match self.node.pressure() {
            Pressure::Normal => false,
            Pressure::High => connect.clean_start || self.sessions.find(connect.client_id).is_none(),
            Pressure::Critical => true,
        }
    }

    /// Whether a message is not to be retained, here or on other nodes. What a topic has already may change.
    pub(crate) fn refuses_to_retain(&self, outgoing: &Outgoing<'_>, now: Instant) -> bool {
        self.pressure != Pressure::Normal
            && !outgoing.payload.is_empty()
            && !self.node.has_retained(outgoing.topic, now)
    }

    /// A client sent so much. Under pressure it rests for a moment if that is more than its share.
    #[inline]
    pub(crate) fn restrain(&mut self, conn: ConnId, taken: Consumed, now: Instant, out: &mut impl Out) -> Consumed {
        if self.pressure == Pressure::Normal { taken } else { self.restrain_client(conn, taken, now, out) }
    }

    #[cold]
    fn restrain_client(&mut self, conn: ConnId, taken: Consumed, now: Instant, out: &mut impl Out) -> Consumed {
        let Some(connection) = self.connections.get_mut(conn) else { return taken };
        let sent = self.restraint.sent.entry(conn).or_default();
        *sent += taken.bytes;
        if *sent <= WINDOW_BYTES || connection.is_resting {
            return taken;
        }
        let windows = u32::try_from(*sent / WINDOW_BYTES).unwrap_or(u32::MAX);
        let rest = WINDOW.saturating_mul(windows).min(REST_MAX);
        self.restraint.resting.push((now + rest, conn));
        connection.is_resting = true;
        self.counters.overload_publishers_paused += 1;
        self.pause(conn, out);
        Consumed { paused: true, ..taken }
    }

    /// A window is over: who has rested enough is read on.
    pub(crate) fn release_rested(&mut self, now: Instant, out: &mut impl Out) {
        self.restraint.sent.clear();
        let is_over = |(until, _): &mut (Instant, ConnId)| *until <= now;
        let rested: Vec<_> = self.restraint.resting.extract_if(.., is_over).collect();
        for (_, conn) in rested {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            connection.is_resting = false;
            if let Role::Client(id) = connection.role {
                self.resume(conn, id, now, out);
            }
        }
    }

    /// Closes the client that holds most, if memory was found to be that short since the last time.
    pub(crate) fn close_largest(&mut self, now: Instant, out: &mut impl Out) {
        let reliefs = self.node.reliefs();
        if std::mem::replace(&mut self.restraint.reliefs, reliefs) == reliefs || self.pressure != Pressure::Critical {
            return;
        }
        let clients = self.connections.iter().filter_map(|(conn, connection)| {
            let Role::Client(id) = connection.role else { return None };
            let entry = self.sessions.get(id)?;
            // What outlives the connection is not gained by closing it.
            let with_session = if entry.session.outlives_connection() {
                0
            } else {
                entry.session.queued_bytes() + entry.memory.bytes()
            };
            let with_connection = connection.unsent_bytes() + entry.session.alias_bytes();
            Some((with_connection + with_session, conn, id))
        });
        let largest = clients.max_by_key(|(bytes, ..)| *bytes).filter(|(bytes, ..)| *bytes >= HOLDING_BYTES_MIN);
        self.turn.effort.add(self.connections.len(), cost::MATCH);
        if let Some((_, conn, id)) = largest {
            self.counters.overload_clients_closed += 1;
            self.close_client(conn, id, ReasonCode::QUOTA_EXCEEDED, now, out);
        }
    }
}
