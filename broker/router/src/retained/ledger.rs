//! The limits of a store, what it holds measured against them, and when the time of what it holds is over.
//!
//! The store enters each message and tombstone here when it puts it in, and strikes it out when it takes it out.

use std::sync::Arc;

use super::Weigh;
use super::deadlines::{Deadline, Deadlines};

/// How much a store may hold.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct RetainedLimits {
    /// Messages. One more is refused.
    pub messages_max: usize,
    /// Bytes of messages and their topics. A message that would exceed them is refused.
    pub bytes_max: usize,
    /// How long a tombstone is kept. 0 keeps none, which is right for a broker without peers.
    pub tombstone_milliseconds: u64,
    /// Tombstones. For one more, the oldest is dropped.
    pub tombstones_max: usize,
    /// Bytes of the topics of tombstones. For more, the oldest are dropped.
    pub tombstone_bytes_max: usize,
}

/// The limit that keeps a message from being retained.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
pub enum Limit {
    /// See [`RetainedLimits::messages_max`].
    #[error("{max} messages are retained, more are not allowed")]
    Messages {
        /// The limit.
        max: usize,
    },
    /// See [`RetainedLimits::bytes_max`].
    #[error("retained messages and their topics would take {found} bytes, {max} are allowed")]
    Bytes {
        /// What they would come to.
        found: usize,
        /// The limit.
        max: usize,
    },
}

/// What a store holds, and what it had to turn away since it was made.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct RetainedCounts {
    /// Messages held.
    pub messages: usize,
    /// Their bytes, topics included.
    pub bytes: usize,
    /// Tombstones held.
    pub tombstones: usize,
    /// The bytes of their topics.
    pub tombstone_bytes: usize,
    /// Messages refused for the limit on messages.
    pub refused_messages_total: u64,
    /// Messages refused for the limit on bytes.
    pub refused_bytes_total: u64,
    /// Messages whose expiry ended.
    pub expired_total: u64,
    /// Tombstones dropped before their time for a limit.
    pub tombstones_dropped_total: u64,
}

pub(super) struct Ledger {
    limits: RetainedLimits,
    pub(super) counts: RetainedCounts,
    /// When messages expire.
    expiries: Deadlines,
    /// When tombstones go: the oldest first.
    tombstones: Deadlines,
}

impl Ledger {
    pub(super) fn new(limits: RetainedLimits) -> Self {
        Self {
            limits,
            counts: RetainedCounts::default(),
            expiries: Deadlines::default(),
            tombstones: Deadlines::default(),
        }
    }

    /// Whether a message fits in, in place of the one it replaces.
    pub(super) fn check_room<M: Weigh>(&mut self, key: &str, new: &M, replaced: Option<&M>) -> Result<(), Limit> {
        let RetainedLimits { messages_max, bytes_max, .. } = self.limits;
        if replaced.is_none() && self.counts.messages >= messages_max {
            self.counts.refused_messages_total += 1;
            return Err(Limit::Messages { max: messages_max });
        }
        let freed = replaced.map_or(0, |old| key.len() + old.bytes());
        let found = self.counts.bytes - freed + key.len() + new.bytes();
        if found > bytes_max {
            self.counts.refused_bytes_total += 1;
            return Err(Limit::Bytes { found, max: bytes_max });
        }
        Ok(())
    }

    pub(super) fn enter<M: Weigh>(&mut self, key: &Arc<str>, message: &M, expires_at: Option<u64>) -> Option<Deadline> {
        self.counts.messages += 1;
        self.counts.bytes += key.len() + message.bytes();
        expires_at.map(|at| self.expiries.add(at, key))
    }

    /// Nothing if tombstones are not kept.
    pub(super) fn enter_tombstone(&mut self, key: &Arc<str>, now: u64) -> Option<Deadline> {
        if self.limits.tombstone_milliseconds == 0 {
            return None;
        }
        self.counts.tombstones += 1;
        self.counts.tombstone_bytes += key.len();
        Some(self.tombstones.add(now.saturating_add(self.limits.tombstone_milliseconds), key))
    }

    /// Strikes out a message, or a tombstone if there is none.
    pub(super) fn strike<M: Weigh>(&mut self, key: &str, message: Option<&M>, deadline: Option<Deadline>) {
        let deadlines = match message {
            Some(message) => {
                self.counts.messages -= 1;
                self.counts.bytes -= key.len() + message.bytes();
                &mut self.expiries
            }
            None => {
                self.counts.tombstones -= 1;
                self.counts.tombstone_bytes -= key.len();
                &mut self.tombstones
            }
        };
        if let Some(deadline) = deadline {
            deadlines.remove(deadline);
        }
    }

    /// A topic whose message has expired. The store takes it out.
    pub(super) fn pop_expired(&mut self, now: u64) -> Option<Arc<str>> {
        let key = self.expiries.pop_due(now)?;
        self.counts.expired_total += 1;
        Some(key)
    }

    /// A topic whose tombstone was kept long enough. The store takes it out.
    pub(super) fn pop_tombstone(&mut self, now: u64) -> Option<Arc<str>> {
        self.tombstones.pop_due(now)
    }

    /// The topic of the oldest tombstone, if there are too many. The store takes it out.
    pub(super) fn pop_excess_tombstone(&mut self) -> Option<Arc<str>> {
        let RetainedLimits { tombstones_max, tombstone_bytes_max, .. } = self.limits;
        if self.counts.tombstones <= tombstones_max && self.counts.tombstone_bytes <= tombstone_bytes_max {
            return None;
        }
        self.counts.tombstones_dropped_total += 1;
        self.tombstones.pop_due(u64::MAX)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.expiries.next().into_iter().chain(self.tombstones.next()).min()
    }
}
