//! What a peer announces: checks that its changes arrive in order and says what may be confirmed.

use thiserror::Error;

use crate::frame::InterestDelta;

/// Filters one peer may announce. At 100 bytes each they would take a gigabyte here.
const FILTERS_MAX: usize = 10_000_000;

/// The state of one peer's announcements in one life of its link. The filters themselves are in the trie.
#[derive(Debug, Default)]
pub struct PeerInterest {
    awaits: Awaits,
    /// The last change that arrived.
    version: u64,
    confirmed: u64,
    confirm_due: bool,
    /// Additions less removals: repetitions in a snapshot make it too high, never too low.
    filters: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    #[default]
    Snapshot,
    SnapshotEnd,
    Change,
}

/// A peer's announcements make no sense. End the life of its link as out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InterestError {
    /// A change is missing.
    #[error("interest change {found} arrived, wanted {wanted}")]
    Gap {
        /// The change that arrived.
        found: u64,
        /// The one that should have.
        wanted: u64,
    },
    /// A change, a part or an end of a snapshot without its beginning, or a second beginning.
    #[error("{found} arrived out of place")]
    OutOfPlace {
        /// What arrived.
        found: &'static str,
    },
    /// More filters than a node may have.
    #[error("more than {max} filters announced")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

impl PeerInterest {
    /// Nothing has been announced yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer begins to list its filters.
    pub fn handle_snapshot_begin(&mut self, version: u64) -> Result<(), InterestError> {
        if self.awaits != Awaits::Snapshot {
            return Err(InterestError::OutOfPlace { found: "begin of snapshot" });
        }
        self.awaits = Awaits::SnapshotEnd;
        self.version = version;
        Ok(())
    }

    /// A change, or a part of the snapshot. When this succeeds, put it into the trie.
    pub fn handle_delta(&mut self, delta: &InterestDelta<'_>) -> Result<(), InterestError> {
        use crate::frame::InterestChange::{Add, Remove};
        match (self.awaits, delta.version) {
            (Awaits::Snapshot, _) => return Err(InterestError::OutOfPlace { found: "interest" }),
            (Awaits::SnapshotEnd, 0) => {}
            (Awaits::SnapshotEnd | Awaits::Change, found) if found == self.version + 1 => self.version = found,
            (Awaits::SnapshotEnd | Awaits::Change, found) => {
                return Err(InterestError::Gap { found, wanted: self.version + 1 });
            }
        }
        match delta.change {
            Add if self.filters >= FILTERS_MAX => return Err(InterestError::TooMany { max: FILTERS_MAX }),
            Add => self.filters += 1,
            Remove => self.filters = self.filters.saturating_sub(1),
        }
        Ok(())
    }

    /// The peer has listed everything.
    pub fn handle_snapshot_end(&mut self) -> Result<(), InterestError> {
        if self.awaits != Awaits::SnapshotEnd {
            return Err(InterestError::OutOfPlace { found: "end of snapshot" });
        }
        self.awaits = Awaits::Change;
        // Also version 0 is confirmed: so the peer learns that its list, though empty, has arrived.
        self.confirm_due = true;
        Ok(())
    }

    /// Whether everything the peer had announced when the link came up is known here.
    pub fn is_complete(&self) -> bool {
        self.awaits == Awaits::Change
    }

    /// What to confirm to the peer, once all that was handled is in the trie for all threads to see.
    pub fn take_confirmation(&mut self) -> Option<u64> {
        if !self.is_complete() || !(self.confirm_due || self.version > self.confirmed) {
            return None;
        }
        self.confirm_due = false;
        self.confirmed = self.version;
        Some(self.version)
    }
}
