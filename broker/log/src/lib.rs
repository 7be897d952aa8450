//! The write-ahead log of all groups of a node: one sequence of segments, one write and one sync for what all want.
//!
//! A group is a number; its entries have an index without gaps, a term and opaque bytes. Beside them each group has a
//! *state*, a few bytes that are always there (votes, membership, where its snapshot is). Nothing here knows Raft.
//!
//! - [`Log`]: open, write, sync, read, reclaim. [`Write`]: what can be written. [`Recovered`]: what was found.
//! - [`look`]: the same without changing anything, and beyond damage.
//! - [`disk`]: what the log asks of a disk, the real one, and one in memory that crashes, fills up and lies on demand.
//! - `format`: every byte of a segment. `recover`: how a torn tail is told from damage. `index`: where entries are.
//!
//! The caller makes sure that no other process has the folder open, and stops the node when the log says that it failed.

mod batch;
pub mod disk;
mod error;
mod format;
mod index;
mod log;
mod look;
mod read;
mod recover;
mod replay;
mod scan;
mod segment;
mod settings;

pub use disk::{Disk, File, ReadOnlyDisk, StdDisk};
pub use error::{Damage, Defect, Failed, OpenError, ReadError, Refusal, WriteError};
pub use log::{Cut, Log, Recovered, RecoveredGroup, Usage};
pub use look::{Look, SegmentLook, look};
pub use read::Entry;
#[cfg(any(test, feature = "sabotage"))]
pub use settings::Sabotage;
pub use settings::{BATCH_BYTES_MAX, STATE_BYTES_MAX, Settings};

/// One of the logs that share the segments.
pub type GroupId = u32;
/// Where an entry stands in its group; the first one ever is 1.
pub type Index = u64;
/// A number that goes with each entry. The log keeps it and makes nothing of it.
pub type Term = u64;

/// One thing to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write<'a> {
    /// Replaces the state of a group.
    State {
        /// The group.
        group: GroupId,
        /// At most [`STATE_BYTES_MAX`]; a group without state has none of them.
        bytes: &'a [u8],
    },
    /// Adds an entry behind the last one.
    Append {
        /// The group.
        group: GroupId,
        /// One more than that of the last entry, or than what was purged last.
        index: Index,
        /// Kept with it.
        term: Term,
        /// What it says.
        payload: &'a [u8],
    },
    /// Takes back the entries from an index on.
    Truncate {
        /// The group.
        group: GroupId,
        /// The first to go; not one that was purged. If there is none, nothing happens.
        from: Index,
    },
    /// Gives up the entries up to an index. Beyond the last entry, the group goes on behind `until`, as after a snapshot
    /// from elsewhere.
    Purge {
        /// The group.
        group: GroupId,
        /// The last to go.
        until: Index,
    },
    /// Gives up a group with its state; its number may be used again, from the beginning.
    Forget {
        /// The group.
        group: GroupId,
    },
}

impl Write<'_> {
    /// The group it is about.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        match *self {
            Write::State { group, .. }
            | Write::Append { group, .. }
            | Write::Truncate { group, .. }
            | Write::Purge { group, .. }
            | Write::Forget { group } => group,
        }
    }
}

#[cfg(test)]
mod tests;
