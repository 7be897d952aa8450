//! What is to be written, what is being written, and the messages that wait for it.
//!
//! A message that promises something (a vote, stored entries) must not leave before the promise is on disk, and one
//! that says what a candidate has must not leave before it would survive a crash. So every message waits for all
//! writes asked for before it, except for what a leader sends in its own right and heartbeats' answers, which wait for
//! the hard state only.

use std::collections::VecDeque;
use std::time::Instant;

use crate::message::{Body, Message};
use crate::outputs::Write;
use crate::types::{Entry, HardState, Index, NodeId, Snapshot, Ticket};

#[derive(Debug)]
pub(crate) struct Writes {
    /// What is gathered for the next write. Its ticket counts up with every write taken.
    open: Write,
    /// The last entry handed out to be written.
    written: Index,
    /// Writes handed out that are not reported as stored.
    under_way: VecDeque<UnderWay>,
    /// The last one reported as stored.
    stored: Ticket,
    /// The last one that has a hard state.
    hard_state: Ticket,
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct UnderWay {
    ticket: Ticket,
    since: Instant,
    /// The last entry of the log when it is stored, unless it was truncated since.
    last: Index,
}

#[derive(Debug)]
struct Held {
    until: Ticket,
    to: NodeId,
    message: Message,
}

impl Held {
    /// Whether it asks for votes: at most one for each voter, as a new election replaces those of the last one.
    fn is_question(&self) -> bool {
        matches!(self.message.body, Body::AskPreVote { .. } | Body::AskVote { .. })
    }
}

impl Writes {
    pub(crate) fn new(last: Index) -> Self {
        Writes {
            open: Write { ticket: 1, hard_state: None, reset: None, truncate_from: None, append: Vec::new() },
            written: last,
            under_way: VecDeque::new(),
            stored: 0,
            hard_state: 0,
            held: VecDeque::new(),
        }
    }

    fn is_open_empty(&self) -> bool {
        let Write { ticket: _, hard_state, reset, truncate_from, append } = &self.open;
        hard_state.is_none() && reset.is_none() && truncate_from.is_none() && append.is_empty()
    }

    pub(crate) fn hard_state(&mut self, hard_state: HardState) {
        self.open.hard_state = Some(hard_state);
        self.hard_state = self.open.ticket;
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        self.open.append.push(entry);
    }

    pub(crate) fn truncate(&mut self, from: Index) {
        self.open.append.retain(|entry| entry.index < from);
        if from <= self.written {
            self.open.truncate_from = Some(self.open.truncate_from.unwrap_or(from).min(from));
            self.written = from - 1;
        }
        for write in &mut self.under_way {
            write.last = write.last.min(from - 1);
        }
    }

    /// The log is replaced; returns by which write.
    pub(crate) fn reset(&mut self, snapshot: Snapshot) -> Ticket {
        self.written = snapshot.position.index;
        self.open.reset = Some(snapshot);
        self.open.truncate_from = None;
        self.open.append.clear();
        for write in &mut self.under_way {
            write.last = 0;
        }
        self.open.ticket
    }

    /// What is to be written now; `last` is the last entry of the log.
    pub(crate) fn take(&mut self, last: Index, now: Instant) -> Option<Write> {
        if self.is_open_empty() {
            return None;
        }
        let ticket = self.open.ticket;
        let next = Write { ticket: ticket + 1, hard_state: None, reset: None, truncate_from: None, append: Vec::new() };
        self.written = last;
        self.under_way.push_back(UnderWay { ticket, since: now, last });
        Some(std::mem::replace(&mut self.open, next))
    }

    /// All writes up to `ticket` are on disk: the last entry that is, too, if that is known to have changed.
    pub(crate) fn stored(&mut self, ticket: Ticket) -> Option<Index> {
        let mut last = None;
        while let Some(write) = self.under_way.pop_front_if(|write| write.ticket <= ticket) {
            self.stored = write.ticket;
            last = Some(write.last);
        }
        last
    }

    /// The last ticket that what was asked for so far has, written or not.
    pub(crate) fn latest(&self) -> Ticket {
        if self.is_open_empty() { self.open.ticket - 1 } else { self.open.ticket }
    }

    /// Since when the oldest write is under way.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.under_way.front().map(|write| write.since)
    }

    /// Whether all writes up to `ticket` are on disk.
    pub(crate) fn is_stored(&self, ticket: Ticket) -> bool {
        ticket <= self.stored
    }

    /// The ticket of the last hard state.
    pub(crate) fn hard_state_ticket(&self) -> Ticket {
        self.hard_state
    }

    /// Keeps a message until a write is on disk. Of answers, which others can ask for without end, the oldest one is
    /// lost beyond the limit, as on a network. Whether one was lost.
    pub(crate) fn hold(&mut self, until: Ticket, to: NodeId, message: Message, answers_max: usize) -> bool {
        self.held.push_back(Held { until, to, message });
        let answers = self.held.iter().filter(|held| !held.is_question()).count();
        let oldest = self.held.iter().position(|held| !held.is_question()).filter(|_| answers > answers_max);
        oldest.and_then(|oldest| self.held.remove(oldest)).is_some()
    }

    /// Questions that were not sent yet are out of date.
    pub(crate) fn forget_questions(&mut self) {
        self.held.retain(|held| !held.is_question());
    }

    /// The messages that may leave now.
    pub(crate) fn release(&mut self, messages: &mut Vec<(NodeId, Message)>) {
        let stored = self.stored;
        for _ in 0..self.held.len() {
            let held = self.held.pop_front().expect("counted");
            if held.until <= stored {
                messages.push((held.to, held.message));
            } else {
                self.held.push_back(held);
            }
        }
    }
}
