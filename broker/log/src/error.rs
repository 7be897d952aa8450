//! What can go wrong, by who must act: the caller who asked for nonsense, the operator of a full or broken disk.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{GroupId, Index};

/// Bytes that are not what was written, where only a broken disk or a foreign hand can be the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} is damaged at offset {offset}: {defect}", file.display())]
pub struct Damage {
    /// The segment.
    pub file: PathBuf,
    /// Where the batch or record begins that is not intact.
    pub offset: u64,
    /// What is wrong with it.
    pub defect: Defect,
}

/// How bytes differ from what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{what} is {found:#x}, wanted {wanted:#x}")]
pub struct Defect {
    /// The part of the format.
    pub what: &'static str,
    /// What is there.
    pub found: u64,
    /// What should be there.
    pub wanted: u64,
}

impl Defect {
    pub(crate) fn in_file(self, file: &Path, offset: u64) -> Damage {
        Damage { file: file.to_owned(), offset, defect: self }
    }
}

/// The disk refused something after which nobody knows what is on it. The log does nothing more; the process must
/// stop and open it again, because a second sync would report success for bytes that the first one lost.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("log has failed and takes nothing more: {step} {}: {reason}", path.display())]
pub struct Failed {
    /// What was tried.
    pub step: &'static str,
    /// With which file or folder.
    pub path: PathBuf,
    /// What the disk said.
    pub reason: String,
}

impl Failed {
    pub(crate) fn new(step: &'static str, path: &Path, error: &io::Error) -> Self {
        Self { step, path: path.to_owned(), reason: error.to_string() }
    }
}

/// Why a log was not opened. Nothing was changed in its folder, unless by an error of the disk.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A setting out of range.
    #[error("segments of {found} bytes were asked for, at most {max} are possible")]
    SegmentBytes {
        /// As set.
        found: u64,
        /// What offsets can express.
        max: u64,
    },
    /// The disk refused.
    #[error("{step} {}", path.display())]
    Disk {
        /// What was tried.
        step: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Acknowledged data may be lost: the node must not go on with what is left.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// Entries that no purge gave up are in no segment.
    #[error("group {group} has lost its entries {from} to {until}: the oldest segment found is number {segment}")]
    Missing {
        /// Whose.
        group: GroupId,
        /// The first that is missing.
        from: Index,
        /// The last that is missing.
        until: Index,
        /// The oldest segment of those that follow each other up to the last.
        segment: u64,
    },
    /// The folder belongs to another node.
    #[error("{} was written by node {found:016x}, wanted {wanted:016x}", file.display())]
    OtherNode {
        /// The segment.
        file: PathBuf,
        /// Who wrote it.
        found: u64,
        /// Who we are.
        wanted: u64,
    },
    /// Written by a newer release.
    #[error("{} has format version {found}, wanted {wanted}", file.display())]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The one that we know.
        wanted: u32,
    },
}

impl OpenError {
    pub(crate) fn disk(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { step, path: path.to_owned(), source }
    }
}

/// What a caller may not ask for. Nothing of the batch was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// An entry that does not follow the last one.
    #[error("entry {found} of group {group} is out of order, wanted {wanted}")]
    OutOfOrder {
        /// Whose.
        group: GroupId,
        /// The index given.
        found: Index,
        /// The next one.
        wanted: Index,
    },
    /// What was purged can't be taken back.
    #[error("group {group} is to be truncated from {found}, but was purged up to {purged}")]
    TruncateOfPurged {
        /// Whose.
        group: GroupId,
        /// The first index to go.
        found: Index,
        /// The last that is gone already.
        purged: Index,
    },
    /// There must be an index behind it.
    #[error("group {group} is to be purged up to {found}, at most {max} is possible")]
    PurgeOfAll {
        /// Whose.
        group: GroupId,
        /// The last index to go.
        found: Index,
        /// The largest possible.
        max: Index,
    },
    /// See [`crate::STATE_BYTES_MAX`].
    #[error("state of group {group} has {found} bytes, at most {max} are allowed")]
    StateTooLarge {
        /// Whose.
        group: GroupId,
        /// Its length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// See [`crate::BATCH_BYTES_MAX`].
    #[error("batch has {found} bytes, at most {max} are allowed")]
    BatchTooLarge {
        /// Its length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// See [`crate::Settings::groups_max`].
    #[error("group {group} is new, and there are {max} already, the most allowed")]
    TooManyGroups {
        /// The one too many.
        group: GroupId,
        /// The limit.
        max: usize,
    },
}

/// Why a batch was not written. None of it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The caller's mistake.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No room. The log goes on as before; the same batch may be tried again when there is.
    #[error("disk is full, {wanted} bytes were not written")]
    Full {
        /// How many were to be written.
        wanted: usize,
    },
    /// The log takes nothing more.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// Why entries were not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// They were given up.
    #[error("entry {found} of group {group} was purged, the first one is {first}")]
    Purged {
        /// Whose.
        group: GroupId,
        /// The index asked for.
        found: Index,
        /// The oldest that may be asked for.
        first: Index,
    },
    /// What is on the disk is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The disk refused.
    #[error("read {}", path.display())]
    Disk {
        /// The segment.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The log takes nothing more.
    #[error(transparent)]
    Failed(#[from] Failed),
}
