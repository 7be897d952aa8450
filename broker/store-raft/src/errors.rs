//! Why an engine does not begin, and why one does not go on.

use std::io;
use std::path::{Path, PathBuf};

use fulmar_log::{ReadError, Refusal, WriteError};
use fulmar_raft::{MembershipError, RecoverError, WireError};
use fulmar_store::BytesError;
use thiserror::Error;

use crate::settings::Mode;

/// Why an engine was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The log says no.
    #[error(transparent)]
    Log(#[from] fulmar_log::OpenError),
    /// An entry can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
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
    /// The file that says whose folder it is can't be read.
    #[error("{} is damaged: {what}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another release made the folder, most likely a newer one.
    #[error("{} says {found:?}, wanted {wanted:?}: start the release that made it, nothing was changed", path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What is known.
        wanted: &'static str,
    },
    /// The file that says whose folder it is has gone.
    #[error("{} has a log, but nothing says whose it is and how often it was opened", folder.display())]
    NoIdentity {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder belongs to another node.
    #[error("{} was made by node {found:016x}, wanted {wanted:016x}", folder.display())]
    OtherNode {
        /// The folder.
        folder: PathBuf,
        /// Who made it.
        found: u64,
        /// Who we are.
        wanted: u64,
    },
    /// The number of shards can't be changed, as everything is found by it.
    #[error("{} was made with {found} shards, wanted {wanted}", folder.display())]
    Shards {
        /// The folder.
        folder: PathBuf,
        /// As it was made.
        found: u16,
        /// As set.
        wanted: u16,
    },
    /// What a group keeps beside its log makes no sense.
    #[error("state of group {group}")]
    State {
        /// The group.
        group: u16,
        /// Why.
        source: WireError,
    },
    /// What a group has on disk does not fit together.
    #[error("group {group}")]
    Group {
        /// The group.
        group: u16,
        /// Why.
        source: RecoverError,
    },
    /// The log of a group begins after a snapshot that is not there, or not whole.
    #[error("log of group {group} begins after entry {start}, and no snapshot of its shard reaches there: {found}")]
    NoSnapshot {
        /// The group.
        group: u16,
        /// Where its log begins.
        start: u64,
        /// What there is.
        found: String,
    },
    /// What a group that left this node keeps makes no sense.
    #[error("state of group {group}: {found} bytes, and a floor is longer")]
    Floor {
        /// The group.
        group: u16,
        /// How many there are.
        found: usize,
    },
    /// A node that is alone keeps its shards in another way than a member of a cluster.
    #[error("{} was made by {found}, wanted {wanted}", folder.display())]
    Mode {
        /// The folder.
        folder: PathBuf,
        /// As it was made.
        found: Mode,
        /// As set.
        wanted: Mode,
    },
    /// The voters that were given make no group.
    #[error(transparent)]
    Voters(#[from] MembershipError),
    /// It has failed at once.
    #[error(transparent)]
    Failed(#[from] Failed),
}

impl OpenError {
    pub(crate) fn disk(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { step, path: path.to_owned(), source }
    }
}

/// Why an engine does nothing more. Whoever drives it stops the node: what is on its disk nobody knows until it is
/// opened again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failed {
    /// The log has failed.
    #[error(transparent)]
    Log(#[from] fulmar_log::Failed),
    /// The log does not take what it should.
    #[error("log refuses a write: {0}")]
    Refused(#[from] Refusal),
    /// The log does not give back what was written.
    #[error("entry {index} of group {group} can't be read: {reason}")]
    Read {
        /// The group.
        group: u16,
        /// Which entry.
        index: u64,
        /// Why.
        reason: String,
    },
    /// A committed entry is beyond this build.
    #[error("entry {index} of group {group}: {error}")]
    Entry {
        /// The group.
        group: u16,
        /// Which entry.
        index: u64,
        /// Why.
        error: BytesError,
    },
    /// A committed entry of group 0 is beyond this build.
    #[error("entry {index} of group 0: {error}")]
    MetaEntry {
        /// Which entry.
        index: u64,
        /// Why.
        error: fulmar_meta::BytesError,
    },
    /// The cluster has another number of shards than this node was set to. Everything is found by it.
    #[error("the cluster has {found} shards, wanted {wanted}")]
    Shards {
        /// That of the cluster.
        found: usize,
        /// As set.
        wanted: u16,
    },
    /// The body of a message is not as it was written. Other nodes have copies of it.
    #[error("{} is damaged at offset {offset}: body {body}: {what}", path.display())]
    Body {
        /// The file.
        path: PathBuf,
        /// Where the body begins.
        offset: u64,
        /// Which one of its shard.
        body: u64,
        /// What is wrong.
        what: String,
    },
    /// What was written as a snapshot is none.
    #[error("a snapshot can't be sent: {0}")]
    Chunk(#[from] BytesError),
    /// A snapshot could not be written.
    #[error("{step} {}: {reason}", path.display())]
    Disk {
        /// What was tried.
        step: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the disk said.
        reason: String,
    },
}

impl Failed {
    pub(crate) fn disk(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Disk { step, path: path.to_owned(), reason: error.to_string() }
    }
}

/// What became of a write to the log.
pub(crate) enum Written {
    Whole,
    /// There is no room for so many bytes.
    Full(usize),
}

/// A full disk is no failure.
pub(crate) fn written(result: Result<(), WriteError>) -> Result<Written, Failed> {
    match result {
        Ok(()) => Ok(Written::Whole),
        Err(WriteError::Full { wanted }) => Ok(Written::Full(wanted)),
        Err(WriteError::Refused(refusal)) => Err(refusal.into()),
        Err(WriteError::Failed(failed)) => Err(failed.into()),
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
