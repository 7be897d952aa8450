//! What the caller settles, and the limits of the format.

use crate::OpenError;

/// The largest state of a group.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// The largest batch, with what surrounds its records. One MQTT packet has at most 256 MB (MQTT 5.0, 1.5.5).
pub const BATCH_BYTES_MAX: usize = 1 << 30;

/// Offsets in a segment have 32 bits, so a full one must leave room for the largest batch.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose log it is: a log of another node is not opened.
    pub node: u64,
    /// A number that nobody outside can guess, for the segments made from now on. Checksums begin with it, so that a
    /// message whose bytes imitate a batch is not taken for one.
    pub salt: u64,
    /// A segment that is as long takes no more batches. Each begins with the states of all groups, which should be but
    /// a small part of it.
    pub segment_bytes: u64,
    /// How many groups there may be.
    pub groups_max: usize,
    /// A deliberate bug, to see that the tests find it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<Sabotage>,
}

impl Settings {
    /// 64 MiB for each segment, 128 groups.
    #[must_use]
    pub const fn new(node: u64, salt: u64) -> Self {
        Self {
            node,
            salt,
            segment_bytes: 64 * 1024 * 1024,
            groups_max: 128,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let max = SEGMENT_BYTES_MAX;
        if self.segment_bytes > max {
            return Err(OpenError::SegmentBytes { found: self.segment_bytes, max });
        }
        Ok(())
    }

    #[cfg(any(test, feature = "sabotage"))]
    pub(crate) fn sabotaged(&self, bug: Sabotage) -> bool {
        self.sabotage == Some(bug)
    }
}

/// Bugs that the tests must find. Nothing of it is in a release.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// `sync` does nothing.
    NoSync,
    /// A new segment's name may be lost.
    FolderNotSynced,
    /// Whatever was read is believed.
    ChecksumNotChecked,
    /// A torn tail stays where it is, and new batches go behind it.
    TailNotCut,
    /// A new segment begins without the states of the groups.
    StateNotCarried,
    /// Segments go before the purge that allows it is synced.
    ReclaimBeforeSync,
    /// An old segment is written over while its old name may come back.
    SpareNotSynced,
    /// What a failed sync may have lost is trusted when it can be read at open.
    TailNotRewritten,
}

/// Whether the tests asked for this bug.
macro_rules! sabotaged {
    ($settings:expr, $bug:ident) => {{
        #[cfg(any(test, feature = "sabotage"))]
        let it = $settings.sabotaged($crate::settings::Sabotage::$bug);
        #[cfg(not(any(test, feature = "sabotage")))]
        let it = {
            let _: &$crate::Settings = &$settings;
            false
        };
        it
    }};
}
pub(crate) use sabotaged;
