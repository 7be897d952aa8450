//! Topics by the time at which something ends for them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Finds a topic's deadline again to remove it.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub(super) struct Deadline {
    pub(super) at: u64,
    /// Tells deadlines at the same time apart, the earlier made first.
    serial: u64,
}

/// Keys of topics, the earliest deadline first.
#[derive(Default)]
pub(super) struct Deadlines {
    keys: BTreeMap<Deadline, Arc<str>>,
    serial: u64,
}

impl Deadlines {
    pub(super) fn add(&mut self, at: u64, key: &Arc<str>) -> Deadline {
        self.serial += 1;
        let deadline = Deadline { at, serial: self.serial };
        self.keys.insert(deadline, key.clone());
        deadline
    }

    /// Removes a deadline, unless it was popped already.
    pub(super) fn remove(&mut self, deadline: Deadline) {
        self.keys.remove(&deadline);
    }

    /// Takes the first topic whose time has come.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Arc<str>> {
        let first = self.keys.first_entry().filter(|first| first.key().at <= now)?;
        Some(first.remove())
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.keys.first_key_value().map(|(deadline, _)| deadline.at)
    }
}
