//! Holds each SUBACK until every linked peer knows the filters, at most for a given time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::clock::NodeId;

/// Holds SUBACKs until every linked peer has confirmed, for one thread or one node. `T` names what waits.
#[derive(Debug)]
pub struct Barrier<T> {
    wait: Duration,
    waiting_max: usize,
    /// What each linked peer has confirmed, nothing before its first confirmation. Nodes are few.
    peers: Vec<(NodeId, Option<u64>)>,
    /// In the order of their versions, which is also that of their deadlines.
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    version: u64,
    deadline: Instant,
    what: T,
}

/// What need not wait any more, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released<T> {
    /// What waited.
    pub what: T,
    /// What ended the wait.
    pub why: Why,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Every linked peer has confirmed.
    Confirmed,
    /// Some peer has not, in all the time there is.
    TimedOut,
    /// Too many were waiting.
    Overflowed,
}

impl<T> Barrier<T> {
    /// Nothing waits longer than `wait`, and no more than `waiting_max` wait at a time.
    pub const fn new(wait: Duration, waiting_max: usize) -> Self {
        Self { wait, waiting_max, peers: Vec::new(), waiting: VecDeque::new() }
    }

    /// From now on this peer is waited for.
    pub fn peer_linked(&mut self, node: NodeId) {
        self.peer_gone(node);
        self.peers.push((node, None));
    }

    /// This peer is no longer waited for.
    pub fn peer_gone(&mut self, node: NodeId) {
        self.peers.retain(|(peer, _)| *peer != node);
    }

    /// A peer knows all changes up to `version`.
    pub fn confirmed(&mut self, node: NodeId, version: u64) {
        if let Some((_, confirmed)) = self.peers.iter_mut().find(|(peer, _)| *peer == node) {
            *confirmed = Some(confirmed.map_or(version, |before| before.max(version)));
        }
    }

    /// Whether a version need not wait at all. Ask this first: the usual answer without peers.
    pub fn is_confirmed(&self, version: u64) -> bool {
        self.peers.iter().all(|(_, confirmed)| confirmed.is_some_and(|confirmed| confirmed >= version))
    }

    /// Lets something wait for `version`; take what is due with [`release`](Self::release).
    pub fn wait(&mut self, version: u64, what: T, now: Instant) {
        // Versions are handed out in order, but threads may ask out of order by a little: never wait for less.
        let version = self.waiting.back().map_or(version, |last| last.version.max(version));
        self.waiting.push_back(Waiting { version, deadline: now + self.wait, what });
    }

    /// The next that need not wait any more. Call until there is none, after each event and at the deadline.
    pub fn release(&mut self, now: Instant) -> Option<Released<T>> {
        let first = self.waiting.front()?;
        let why = if self.is_confirmed(first.version) {
            Why::Confirmed
        } else if now >= first.deadline {
            Why::TimedOut
        } else if self.waiting.len() > self.waiting_max {
            Why::Overflowed
        } else {
            return None;
        };
        let Waiting { what, .. } = self.waiting.pop_front()?;
        Some(Released { what, why })
    }

    /// When the next wait runs out.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.deadline)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
