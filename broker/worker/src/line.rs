//! Clients who take much of a turn stand in line: each turn reads one of them, so that whoever sends little waits for one
//! of them at most, and not for all.
//!
//! What counts is all that one read brought, however many packets it is: a message that matches thousands of
//! subscriptions, or a flood; not how many get it. Who is alone in the line is read again in the next turn and loses nothing by it.

use crate::connections::Role;
use crate::ids::ConnId;
use crate::out::Out;
use crate::worker::Worker;
use std::collections::VecDeque;
use std::time::Instant;

/// Who has taken much stands in line for so many reads, even if these bring little.
const READS_IN_LINE: u8 = 8;

/// Who waits to be read.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Each once, and some that have gone.
    waiting: VecDeque<ConnId>,
    /// Whose turn it is.
    let_through: Option<ConnId>,
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Worker {
    /// What was just read of this client took much of the turn. The rest waits in line.
    #[cold]
    pub(crate) fn has_taken_much(&mut self, conn: ConnId, out: &mut impl Out) {
        self.counters.heavy_reads += 1;
        // It is the second: nobody knew that it would be. Nobody else is read then.
        if std::mem::replace(&mut self.turn.has_taken_much, true) {
            self.turn.effort.spend_all();
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.reads_in_line = READS_IN_LINE;
            self.stand_in_line(conn, out);
        }
    }

    fn stand_in_line(&mut self, conn: ConnId, out: &mut impl Out) {
        if let Some(connection) = self.connections.get_mut(conn)
            && !std::mem::replace(&mut connection.stands_in_line, true)
        {
            self.put_off.line.waiting.push_back(conn);
        }
        self.pause(conn, out);
    }

    /// Whether a client that has taken much before has to wait now.
    #[cold]
    pub(crate) fn must_stand_in_line(&mut self, conn: ConnId, out: &mut impl Out) -> bool {
        let line = &mut self.put_off.line;
        let is_let_through = line.let_through.take_if(|first| *first == conn).is_some();
        let is_first = line.let_through.is_none() && line.is_empty() && !self.turn.has_taken_much;
        if !is_let_through && !is_first {
            self.stand_in_line(conn, out);
            return true;
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.reads_in_line = connection.reads_in_line.saturating_sub(1);
        }
        false
    }

    /// The turn ends: in the next one the first in line is read, if there is anything of it.
    pub(crate) fn let_next_through(&mut self, now: Instant, out: &mut impl Out) {
        self.put_off.line.let_through = None;
        while let Some(conn) = self.put_off.line.waiting.pop_front() {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            connection.stands_in_line = false;
            let Role::Client(session) = connection.role else { continue };
            self.resume(conn, session, now, out);
            // Something else may hold it back.
            if self.connections.get(conn).is_some_and(|connection| !connection.paused) {
                self.put_off.line.let_through = Some(conn);
                return;
            }
        }
    }
}
