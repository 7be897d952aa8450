//! What a leader knows of one other node's log, and what is under way to it.

use std::collections::VecDeque;
use std::time::Instant;

use crate::types::Index;

#[derive(Debug)]
pub(crate) struct Progress {
    /// The other log equals ours up to here, on disk. Only grows.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    pub(crate) state: State,
    /// When an answer of this term came last.
    pub(crate) heard: Instant,
    /// The last round of heartbeats it answered.
    pub(crate) round: u64,
    /// The fetch that was asked for on its behalf.
    pub(crate) fetch: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum State {
    /// It is not known where the logs part: one append at a time.
    Probe {
        /// When the one under way was sent.
        sent: Option<Instant>,
    },
    /// Appends follow each other without waiting.
    Stream(Window),
    /// It needs entries that are gone; the shell sends a snapshot.
    Snapshot {
        /// When it last got on.
        moved: Instant,
    },
}

/// Appends under way.
#[derive(Debug)]
pub(crate) struct Window {
    /// The last entry and the bytes of each.
    appends: VecDeque<(Index, usize)>,
    bytes: usize,
    /// When something was sent or answered last.
    moved: Instant,
}

impl Window {
    pub(crate) fn new(now: Instant) -> Self {
        Window { appends: VecDeque::new(), bytes: 0, moved: now }
    }

    pub(crate) fn has_room(&self, appends_max: usize, bytes_max: usize) -> bool {
        self.appends.len() < appends_max && self.bytes < bytes_max
    }

    pub(crate) fn sent(&mut self, last: Index, bytes: usize, now: Instant) {
        self.appends.push_back((last, bytes));
        self.bytes += bytes;
        self.moved = now;
    }

    pub(crate) fn stored(&mut self, matched: Index, now: Instant) {
        while let Some((_, bytes)) = self.appends.pop_front_if(|(last, _)| *last <= matched) {
            self.bytes -= bytes;
            self.moved = now;
        }
    }

    /// When it last got on.
    pub(crate) fn moved(&self) -> Instant {
        self.moved
    }
}

impl Progress {
    /// Nothing is known yet; entries are tried from `next` on.
    pub(crate) fn new(next: Index, now: Instant) -> Self {
        Progress { matched: 0, next, state: State::Probe { sent: None }, heard: now, round: 0, fetch: None }
    }

    /// Finds out where the logs part, beginning before `next`.
    pub(crate) fn probe(&mut self, next: Index) {
        self.next = next.max(self.matched + 1);
        self.state = State::Probe { sent: None };
        self.fetch = None;
    }

    /// The node has stored our log up to `matched`; `asked` if it says so in answer to an append. Whether a snapshot to
    /// it is over by that.
    pub(crate) fn stored(&mut self, matched: Index, asked: bool, log_start: Index, now: Instant) -> bool {
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        match &mut self.state {
            State::Stream(window) => {
                window.stored(matched, now);
                self.next = self.next.max(self.matched + 1);
                false
            }
            State::Probe { .. } => {
                if asked || news {
                    self.stream(now);
                }
                false
            }
            State::Snapshot { .. } => {
                let over = self.matched >= log_start;
                if over {
                    self.stream(now);
                }
                over
            }
        }
    }

    /// The node has received our log up to `received`; if nothing got on since `before`, what was sent after that is
    /// lost and goes again.
    pub(crate) fn received(&mut self, received: Index, before: Instant, now: Instant) {
        match &mut self.state {
            // A probe has arrived, though it is not on disk: more can follow, and need not be sent twice.
            State::Probe { .. } if received >= self.next => {
                self.stream(now);
                self.next = received + 1;
            }
            State::Probe { sent } => *sent = sent.filter(|sent| *sent > before),
            State::Stream(window) if received + 1 < self.next && window.moved() <= before => self.probe(received + 1),
            State::Stream(_) | State::Snapshot { .. } => {}
        }
    }

    /// Streams what comes after what is known to be there.
    fn stream(&mut self, now: Instant) {
        self.next = self.matched + 1;
        self.state = State::Stream(Window::new(now));
        self.fetch = None;
    }
}
