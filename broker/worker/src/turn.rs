//! What a turn of the event loop has done, and what it leaves to later ones, so that no turn is long.
//!
//! [`Turn`] is what this turn has done; it begins anew with each. [`PutOff`] is what there is to do yet: [`Worker::tick`]
//! goes on with it, each time as far as the turn goes ([`Portion`]), until nothing is left. How it goes on is told where it
//! belongs: messages in `fanout.rs`, retained ones in `retained.rs`, subscriptions of sessions that have ended in
//! `leaving.rs`, rights in `withdraw.rs`; here, reading and reminders. What work costs is in `effort.rs`.

use crate::connections::{Connections, Role};
use crate::effort::{Effort, cost};
use crate::fanout::Fanouts;
use crate::ids::{ConnId, SessionId};
use crate::line::Line;
use crate::node::Node;
use crate::out::Out;
use crate::timer::{Timer, Timers};
use crate::withdraw::Withdrawal;
use crate::worker::Worker;
use fulmar_router::Trie;
use std::collections::VecDeque;
use std::sync::RwLockWriteGuard;
use std::time::{Duration, Instant};

/// A write is a system call, so that those who got a message for many are written in portions.
const BULK_PER_TURN: usize = 256;
/// Clients that a turn closes, reminders that it looks at, and sessions for which it reads on, however much else it has
/// done.
pub(crate) const LEAST_PER_TURN: usize = 16;
/// What one read brings is much if it takes more than one in so many parts of a turn.
const MUCH_PART: u64 = 4;
/// A time window is so many bits of a count of nanoseconds: 8.4 ms.
const WINDOW_BITS: u32 = 23;
/// What waiting for another thread counts as: so many waits are a turn.
const WAIT_PART: u64 = 4;

/// What this turn has done.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) effort: Effort,
    /// The number of the time window in which the last bytes came, modulo 2^16.
    pub(crate) window: u16,
    /// Receivers of the message in the last packet.
    pub(crate) last_receivers: usize,
    /// What had been done when the last read began.
    before_read: u64,
    /// What one read may take before it is much.
    much: u64,
    /// A client has taken much of this turn: see `line.rs`.
    pub(crate) has_taken_much: bool,
    /// Who was not read on because the turn had done enough. They are when it ends.
    unread: Vec<ConnId>,
    /// Connections that got messages for many and may be written yet.
    bulk_left: usize,
}

impl Turn {
    pub(crate) fn new(effort_max: u64) -> Turn {
        Turn {
            effort: Effort::new(effort_max),
            window: 0,
            last_receivers: 0,
            before_read: 0,
            much: effort_max / MUCH_PART,
            has_taken_much: false,
            unread: Vec::new(),
            bulk_left: BULK_PER_TURN,
        }
    }

    /// Bytes have come. It is so late, since any fixed time.
    #[inline]
    pub(crate) fn begin_read(&mut self, time: Duration) {
        self.window = (time.as_nanos() >> WINDOW_BITS) as u16;
        self.before_read = self.effort.spent();
    }

    /// A client has sent one more packet.
    #[inline]
    pub(crate) fn begin_packet(&mut self) {
        self.effort.add(1, cost::PACKET);
        self.last_receivers = 0;
    }

    /// The subscriptions of the node, to change them. Another thread may be matching a message to thousands of them: who
    /// changes some often in a turn would wait each time. That is not the fault of whose packet it is.
    pub(crate) fn trie_mut<'a>(&mut self, node: &'a Node) -> RwLockWriteGuard<'a, Trie> {
        let (trie, has_waited) = node.trie_mut();
        if has_waited {
            self.before_read += self.effort.add_part_of_turn(WAIT_PART);
        }
        trie
    }

    /// A message went to so many receivers, or so many bytes to one. That is what messages are for, however many they are,
    /// and what they get in one turn is written at one time: it is bounded elsewhere (`fanout.rs`).
    #[inline]
    pub(crate) fn add_delivered(&mut self, receivers: usize, bytes: usize) {
        let before = self.effort.spent();
        self.effort.add(receivers, cost::DELIVERY);
        self.effort.add(bytes / 1024, cost::KIBIBYTE);
        self.before_read += self.effort.spent() - before;
    }

    /// Whether what was read last has taken much, but for deliveries.
    #[inline]
    pub(crate) fn is_much(&self) -> bool {
        self.effort.spent().saturating_sub(self.before_read) > self.much
    }

    /// Of those who got messages for many, as many as may be are written in this turn.
    pub(crate) fn write_bulk(&mut self, connections: &mut Connections) {
        self.bulk_left -= connections.take_from_bulk(self.bulk_left);
    }

    pub(crate) fn end(&mut self) {
        self.effort.end_turn();
        self.has_taken_much = false;
        self.bulk_left = BULK_PER_TURN;
    }
}

/// What was begun, or is due, and goes on in later turns.
#[derive(Debug, Default)]
pub(crate) struct PutOff {
    /// Messages that some of their receivers have not got.
    pub(crate) fanouts: Fanouts,
    /// Who was not read on because it has sent more to many than they have got.
    ahead: Vec<ConnId>,
    /// Who has taken much of a turn and waits for others like it.
    pub(crate) line: Line,
    /// Reminders that are due.
    due: VecDeque<Timer>,
    /// Sessions whose retained messages go on.
    pub(crate) reading_on: VecDeque<SessionId>,
    /// Sessions that have ended and still have subscriptions.
    pub(crate) leaving: VecDeque<SessionId>,
    /// A change of rules that not every session has been looked at for.
    pub(crate) withdrawal: Option<Withdrawal>,
    /// All clients are to go, from the session in this slot on.
    pub(crate) dismissal: Option<u32>,
}

impl PutOff {
    /// Whether there is nothing for the next turn.
    pub(crate) fn is_empty(&self) -> bool {
        let PutOff { fanouts, ahead, line, due, reading_on, leaving, withdrawal, dismissal } = self;
        let has_sent_all = fanouts.is_empty() && ahead.is_empty() && line.is_empty();
        has_sent_all
            && due.is_empty()
            && reading_on.is_empty()
            && leaving.is_empty()
            && withdrawal.is_none()
            && dismissal.is_none()
    }

    /// A session goes on with its retained messages in a later turn.
    pub(crate) fn read_on(&mut self, id: SessionId, is_reading_on: &mut bool) {
        if !std::mem::replace(is_reading_on, true) {
            self.reading_on.push_back(id);
        }
    }

    /// Reminders that are due now come behind those that were due before, and not before these are looked at.
    fn take_due(&mut self, timers: &mut Timers, now: Instant) {
        if self.due.is_empty() {
            let mut due = Vec::from(std::mem::take(&mut self.due));
            timers.take_due(now, &mut due);
            self.due = due.into();
        }
    }
}

/// How much of something is done in this turn: some of it always, and more until the turn has done enough.
#[derive(Debug)]
pub(crate) struct Portion {
    /// So many more are done whatever the turn has done.
    least: usize,
}

impl Portion {
    pub(crate) fn of_at_least(least: usize) -> Portion {
        Portion { least }
    }

    /// Whether one more is done.
    #[inline]
    pub(crate) fn goes_on(&mut self, is_enough: bool) -> bool {
        let goes_on = self.least > 0 || !is_enough;
        self.least = self.least.saturating_sub(1);
        goes_on
    }
}

impl Worker {
    /// Whether this turn has done as much as it may, or brought as much output: nobody should be read before the next.
    #[inline]
    pub fn is_sated(&self) -> bool {
        self.turn.effort.is_spent() || self.is_full()
    }

    /// The rest of what this connection sent waits for the next turn.
    pub(crate) fn read_next_turn(&mut self, conn: ConnId, out: &mut impl Out) {
        self.turn.unread.push(conn);
        self.pause(conn, out);
    }

    /// The rest of what this connection sent waits until many have got what it sent before.
    pub(crate) fn read_after_fanouts(&mut self, conn: ConnId, out: &mut impl Out) {
        self.put_off.ahead.push(conn);
        self.pause(conn, out);
    }

    /// The turn ends, and its output is about to be sent: in the next one everybody is read on.
    pub(crate) fn read_on(&mut self, now: Instant, out: &mut impl Out) {
        if !self.has_backlog() {
            self.turn.unread.append(&mut self.put_off.ahead);
        }
        let mut unread = std::mem::take(&mut self.turn.unread);
        for conn in unread.drain(..) {
            match self.connections.get(conn).map(|connection| connection.role) {
                Some(Role::Client(session)) => self.resume(conn, session, now, out),
                Some(Role::Lane(_)) => self.resume_lane(conn, out),
                Some(Role::AwaitConnect { .. } | Role::AwaitAnswer { .. }) | None => {}
            }
        }
        self.turn.unread = unread;
        self.let_next_through(now, out);
    }

    /// Looks at the reminders that are due, as many as fit into this turn.
    pub(crate) fn remind_some(&mut self, now: Instant, out: &mut impl Out) {
        self.put_off.take_due(&mut self.timers, now);
        let mut portion = Portion::of_at_least(LEAST_PER_TURN);
        while portion.goes_on(self.turn.effort.is_spent())
            && let Some(timer) = self.put_off.due.pop_front()
        {
            match timer {
                Timer::Connection { slot, generation } => {
                    self.connection_due(ConnId { slot, generation }, now, out);
                }
                Timer::Session { slot, generation } => self.session_due(SessionId { slot, generation }, now),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_as_small_as_it_may_be_once_the_turn_has_done_enough_and_ends_only_then() {
        let count = |least, enough_from| {
            let mut portion = Portion::of_at_least(least);
            (0..100).take_while(|done| portion.goes_on(*done >= enough_from)).count()
        };
        assert_eq!([count(16, 0), count(16, 15), count(16, 40), count(0, 0), count(1, 100)], [16, 16, 40, 0, 100]);
    }
}
