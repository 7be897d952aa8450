//! The names and numbers that everything else here is addressed by, and readings of a node's clock.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A node: random, made with its data folder, never used again.
pub type NodeId = u64;

/// A node's boot counter: higher at each start, and whenever the cluster has given up the life before.
pub type Incarnation = u64;

/// The position of an entry in the log of the group.
pub type Index = u64;

/// The number of an election of the group.
pub type Term = u64;

/// Milliseconds of the leaders' clocks, as the entries carry them. Never goes back.
pub type Time = u64;

/// What this build knows. The cluster's is the lowest of all its nodes.
pub type Level = u16;

/// The cluster: random, made when it is bootstrapped, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One life of a node, from start to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node.
    pub id: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}#{}", self.id, self.incarnation)
    }
}

/// A shard of the cluster. The first is 1: the group that keeps this crate's state is not one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a node's own clock reads: the time since its machine started, sleep included (CLOCK_BOOTTIME). A clock that
/// stands still while the machine sleeps, as [`std::time::Instant`] does, would let a lease outlive its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long after `earlier` this is; nothing if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}
