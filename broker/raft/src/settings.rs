//! How patient a group is and how much it holds.

use std::time::Duration;

/// Times and limits of a group. The nodes of a group should agree on the times; limits may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often a leader shows that it lives.
    pub heartbeat_interval: Duration,
    /// A node that heard from a leader within this time helps nobody else to become one. A leader that has not heard
    /// from a majority for this long gives up.
    pub election_timeout: Duration,
    /// Elections begin between `election_timeout` and this, by chance, so that seldom two begin at once.
    pub election_timeout_max: Duration,
    /// A leader whose disk takes longer than this for a write gives up.
    pub disk_timeout: Duration,
    /// Entries in one append.
    pub append_entries_max: usize,
    /// Bytes of entries in one append; a larger entry goes alone.
    pub append_bytes_max: usize,
    /// Appends under way to one node.
    pub window_appends_max: usize,
    /// Bytes under way to one node; one append may reach beyond.
    pub window_bytes_max: usize,
    /// Entries kept in memory for slower nodes; older ones are fetched from the log. What is not stored yet is kept
    /// in any case.
    pub cache_entries_max: usize,
    /// Bytes of the same.
    pub cache_bytes_max: usize,
    /// Entries that a leader takes before the first of them is committed.
    pub uncommitted_entries_max: usize,
    /// Bytes of the same.
    pub uncommitted_bytes_max: usize,
    /// Bytes of committed entries handed out at a time; a larger entry goes alone.
    pub committed_bytes_max: usize,
    /// Reads that wait for confirmation.
    pub reads_max: usize,
    /// Answers that wait for the disk. Beyond it the oldest is dropped, as if the network had lost it.
    pub held_answers_max: usize,
    /// A snapshot that has not moved for this long is given up.
    pub snapshot_timeout: Duration,
    /// How far behind a learner may be when it becomes a voter, in entries.
    pub promotion_lag_entries_max: u64,
    /// A deliberate mistake, to see that the simulation finds it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<crate::sabotage::Sabotage>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(1000),
            disk_timeout: Duration::from_secs(5),
            append_entries_max: 1024,
            append_bytes_max: 1024 * 1024,
            window_appends_max: 16,
            window_bytes_max: 4 * 1024 * 1024,
            cache_entries_max: 4096,
            cache_bytes_max: 4 * 1024 * 1024,
            uncommitted_entries_max: 4096,
            uncommitted_bytes_max: 16 * 1024 * 1024,
            committed_bytes_max: 4 * 1024 * 1024,
            reads_max: 4096,
            held_answers_max: 256,
            snapshot_timeout: Duration::from_secs(10),
            promotion_lag_entries_max: 1024,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

impl Settings {
    /// Whether a deliberate mistake is to be made here. Outside of tests there are none.
    #[cfg(any(test, feature = "sabotage"))]
    pub(crate) fn sabotages(&self, what: crate::sabotage::Sabotage) -> bool {
        self.sabotage == Some(what)
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[inline(always)]
    pub(crate) fn sabotages(&self, _: crate::sabotage::Sabotage) -> bool {
        false
    }
}
