//! Lamport time that follows the wall clock: which of two things that happened on different nodes counts as the later
//! one. What a node has seen is always earlier than what it makes; of what it has not seen yet the wall clocks decide, so
//! that a client that goes to another node faster than the word of it is not taken for its own predecessor.
//!
//! Retained messages and claims of client identifiers carry a [`Version`]; the highest wins on every node, whatever
//! the order of arrival. One [`Clock`] serves all threads of a node.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A node's identity: random, made with its data folder, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// A moment in Lamport time. Ordered by clock, then by node, so that two nodes never make equal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The Lamport clock.
    pub clock: u64,
    /// The node whose clock it is.
    pub node: NodeId,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.clock, self.node)
    }
}

/// A peer may be this far ahead of us; beyond that its clock is not believed, so that one broken node cannot use up
/// the numbers of all others. In microseconds of wall time, which clocks follow, it is over 35 years.
const AHEAD_MAX: u64 = 1 << 50;

/// The Lamport clock of a node.
#[derive(Debug)]
pub struct Clock {
    node: NodeId,
    last: AtomicU64,
}

impl Clock {
    /// Starts at `start`: the wall clock in microseconds, so that a restarted node is rarely behind what it said in
    /// its life before. Nothing depends on the wall clock being right.
    pub const fn new(node: NodeId, start: u64) -> Self {
        Self { node, last: AtomicU64::new(start) }
    }

    /// The node whose clock this is.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The latest moment that was made or seen.
    pub fn now(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// A version later than all that were made or seen here, and not before `wall`, the wall clock in microseconds.
    pub fn tick(&self, wall: u64) -> Version {
        let next = |last: u64| last.saturating_add(1).max(wall);
        let last = self.last.update(Ordering::Relaxed, Ordering::Relaxed, next);
        Version { clock: next(last), node: self.node }
    }

    /// Takes note of a peer's clock: every later [`tick`](Self::tick) is higher. Answers false when it was not
    /// believed.
    pub fn observe(&self, clock: u64) -> bool {
        if clock > self.now().saturating_add(AHEAD_MAX) {
            return false;
        }
        self.last.fetch_max(clock, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_after_seeing_a_version_is_later() {
        let (here, there) = (Clock::new(NodeId(1), 10), Clock::new(NodeId(2), 500));
        let seen = there.tick(0);
        assert!(here.observe(seen.clock));
        assert_eq!(here.tick(0), Version { clock: 502, node: NodeId(1) });
    }

    #[test]
    fn what_was_not_seen_yet_is_ordered_by_the_wall_clocks() {
        let (busy, idle) = (Clock::new(NodeId(1), 10), Clock::new(NodeId(2), 10));
        let earlier = (0..5).map(|_| busy.tick(100)).max().unwrap();
        assert_eq!(earlier.clock, 104, "each has its own, even within one microsecond");
        assert!(idle.tick(200) > earlier);
    }

    #[test]
    fn an_older_clock_does_not_set_ours_back() {
        let clock = Clock::new(NodeId(1), 10);
        assert!(clock.observe(3));
        assert_eq!(clock.tick(0).clock, 11);
    }

    #[test]
    fn equal_clocks_are_ordered_by_node() {
        let (low, high) = (Version { clock: 7, node: NodeId(1) }, Version { clock: 7, node: NodeId(2) });
        assert!(low < high && Version { clock: 8, node: NodeId(1) } > high);
    }

    #[test]
    fn a_clock_absurdly_far_ahead_is_not_believed() {
        let clock = Clock::new(NodeId(1), 10);
        assert!(!clock.observe(u64::MAX));
        assert_eq!(clock.tick(0).clock, 11);
    }
}
