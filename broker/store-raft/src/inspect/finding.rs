//! What was found in a folder that somebody should know of: in words for who must act.

use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use fulmar_log::{Cut, Damage, OpenError, ReadError};

use crate::identity::TITLE;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// In which group, if it is about one.
    pub group: Option<u16>,
    /// In which file or folder.
    pub file: Option<PathBuf>,
    /// Where in it.
    pub offset: Option<u64>,
    /// What there is.
    pub found: String,
    /// What there should be.
    pub wanted: String,
}

/// What was found. The names are for ever: others look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file or folder can't be read.
    Unreadable,
    /// There is data, but nothing says whose.
    IdentityMissing,
    /// What says whose it is has changed.
    IdentityDamaged,
    /// Another build made the folder.
    IdentityFormat,
    /// The folder is another node's.
    OtherNode,
    /// There is data, but not the file with the node's id.
    NodeIdMissing,
    /// What should be the node's id is none.
    NodeIdDamaged,
    /// The folder was made with another number of shards.
    OtherShards,
    /// The node was started before, and has no log.
    LogGone,
    /// Bytes of the log have changed that were on the disk.
    LogDamaged,
    /// Segments of the log are missing.
    LogIncomplete,
    /// Another build wrote the log.
    LogFormat,
    /// A segment of the log is another node's.
    LogOtherNode,
    /// The last write was not finished.
    TornTail,
    /// What a group keeps beside its entries makes no sense.
    GroupState,
    /// The entries of a group do not fit together.
    GroupInconsistent,
    /// An entry can't be read.
    EntryDamaged,
    /// Another build made an entry.
    EntryFormat,
    /// The snapshot that a log goes on from is not there.
    SnapshotMissing,
    /// A snapshot that is not needed can't be read.
    SnapshotDamaged,
    /// A file that nobody needs.
    LeftOver,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 22] = [
        Self::Unreadable,
        Self::IdentityMissing,
        Self::IdentityDamaged,
        Self::IdentityFormat,
        Self::OtherNode,
        Self::NodeIdMissing,
        Self::NodeIdDamaged,
        Self::OtherShards,
        Self::LogGone,
        Self::LogDamaged,
        Self::LogIncomplete,
        Self::LogFormat,
        Self::LogOtherNode,
        Self::TornTail,
        Self::GroupState,
        Self::GroupInconsistent,
        Self::EntryDamaged,
        Self::EntryFormat,
        Self::SnapshotMissing,
        Self::SnapshotDamaged,
        Self::LeftOver,
        Self::LeftOver,
    ];

    /// A word for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::IdentityMissing => "identityMissing",
            Self::IdentityDamaged => "identityDamaged",
            Self::IdentityFormat => "identityFormat",
            Self::OtherNode => "otherNode",
            Self::NodeIdMissing => "nodeIdMissing",
            Self::NodeIdDamaged => "nodeIdDamaged",
            Self::OtherShards => "otherShards",
            Self::LogGone => "logGone",
            Self::LogDamaged => "logDamaged",
            Self::LogIncomplete => "logIncomplete",
            Self::LogFormat => "logFormat",
            Self::LogOtherNode => "logOtherNode",
            Self::TornTail => "tornTail",
            Self::GroupState => "groupState",
            Self::GroupInconsistent => "groupInconsistent",
            Self::EntryDamaged => "entryDamaged",
            Self::EntryFormat => "entryFormat",
            Self::SnapshotMissing => "snapshotMissing",
            Self::SnapshotDamaged => "snapshotDamaged",
            Self::LeftOver => "leftOver",
        }
    }

    /// Whether something acknowledged may be lost, or a broker would not start. The others settle themselves.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        !matches!(self, Self::TornTail | Self::SnapshotDamaged | Self::LeftOver)
    }

    pub(super) const fn is_about_identity(self) -> bool {
        matches!(self, Self::IdentityDamaged | Self::IdentityFormat | Self::Unreadable)
    }

    /// What it means.
    #[must_use]
    pub const fn means(self) -> &'static str {
        match self {
            Self::Unreadable => "the broker does not start, and nothing is said of what is in there",
            Self::IdentityMissing => {
                "the broker does not start: without the file nobody knows whose the data is and how often it was opened"
            }
            Self::IdentityDamaged => "the broker does not start: the file was changed or the disk lost it",
            Self::IdentityFormat | Self::LogFormat | Self::EntryFormat => {
                "the broker does not start: another release, most likely a newer one, has written here what this one can't read"
            }
            Self::OtherNode => "the broker does not start: node-id and store come from different folders",
            Self::NodeIdMissing => {
                "the broker makes up another id at its start, and does not take what another has written"
            }
            Self::NodeIdDamaged => "the broker does not start: the file was changed or the disk lost it",
            Self::OtherShards => "the broker does not start: everything is found by the number of shards",
            Self::LogGone => {
                "the broker starts with nothing: whatever kept the folder has not kept its newest part, the log"
            }
            Self::LogDamaged => {
                "the broker does not start: these bytes were on the disk and have changed, so what was acknowledged \
                 there and behind may be lost; what stands before can be read"
            }
            Self::LogIncomplete => "the broker does not start: files of the log are gone that were needed",
            Self::LogOtherNode => "the broker does not start: a file of another node was put into the log",
            Self::TornTail => {
                "the last write was under way when the broker ended; nothing in it was acknowledged, and the next start \
                 cuts it off"
            }
            Self::GroupState | Self::GroupInconsistent => {
                "the broker does not start: what is written makes no sense, though its checksums are right"
            }
            Self::EntryDamaged => "the broker does not start: an entry has changed since it was written",
            Self::SnapshotMissing => {
                "the broker does not start: the log begins where a snapshot ended that is not there or not whole; this \
                 shard is lost in this folder"
            }
            Self::SnapshotDamaged => "nothing is lost: the log goes back far enough without it",
            Self::LeftOver => "it is the rest of something that was not finished; the next start removes it",
        }
    }

    /// What can be done.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Unreadable => {
                "look at the permissions of the file and its owner, and at the system's log for disk errors"
            }
            Self::IdentityMissing | Self::IdentityDamaged => {
                "put the file back from a backup of this very folder; otherwise take out what can be read with export \
                 --damaged, and import it into an empty folder"
            }
            Self::IdentityFormat | Self::LogFormat | Self::EntryFormat => {
                "start the release that wrote it; to change to this one, export with that one and import with this one"
            }
            Self::OtherNode | Self::LogOtherNode => {
                "put the files back to where they belong; to move data to another node use export and import"
            }
            Self::NodeIdMissing | Self::NodeIdDamaged => {
                "write the node that the store names into the file, in 16 hexadecimal digits"
            }
            Self::OtherShards => "use export and import: sessions and topics find their new shards",
            Self::LogGone => {
                "if the folder was copied, copy it again with its log while no broker runs; what snapshots hold can be \
                 taken out with export --damaged"
            }
            Self::LogDamaged
            | Self::LogIncomplete
            | Self::GroupState
            | Self::GroupInconsistent
            | Self::EntryDamaged
            | Self::SnapshotMissing => {
                "keep a copy of the folder and look for disk errors. A member of a cluster: move the folder away and start \
                 the node with an empty one, it gets its copies from the others. A broker alone: import the last backup, \
                 or take out what can be read with export --damaged and import it into an empty folder"
            }
            Self::TornTail | Self::SnapshotDamaged | Self::LeftOver => "nothing",
        }
    }
}

impl Finding {
    fn new(kind: Kind, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { kind, group: None, file: None, offset: None, found: found.into(), wanted: wanted.into() }
    }

    fn in_file(self, file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    pub(super) fn in_group(self, group: u16) -> Self {
        Self { group: Some(group), ..self }
    }

    /// The file with the node's id is not there.
    #[must_use]
    pub fn no_node_id(path: PathBuf) -> Self {
        Self::new(Kind::NodeIdMissing, "no such file", "the node's id").in_file(path)
    }

    /// The file with the node's id holds something else.
    #[must_use]
    pub fn node_id(path: PathBuf, text: &str) -> Self {
        Self::new(Kind::NodeIdDamaged, format!("{text:?}"), "16 hexadecimal digits that are not all zero").in_file(path)
    }

    /// A file or folder can't be read.
    #[must_use]
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::new(Kind::Unreadable, error.to_string(), "to read it").in_file(path)
    }

    /// A file or folder that nobody needs.
    #[must_use]
    pub fn left_over(path: PathBuf) -> Self {
        Self::new(Kind::LeftOver, "a file that nobody needs", "nothing").in_file(path)
    }

    pub(super) fn no_identity(path: PathBuf) -> Self {
        Self::new(Kind::IdentityMissing, "no such file", "whose the data is").in_file(path)
    }

    pub(super) fn other_node(path: PathBuf, found: u64, wanted: u64) -> Self {
        Self::new(Kind::OtherNode, format!("node {found:016x}"), format!("node {wanted:016x}, as node-id says"))
            .in_file(path)
    }

    pub(super) fn other_shards(path: PathBuf, found: NonZeroU16, wanted: NonZeroU16) -> Self {
        Self::new(Kind::OtherShards, format!("{found} shards"), format!("{wanted}")).in_file(path)
    }

    pub(super) fn log_gone(path: PathBuf, lives: u64) -> Self {
        Self::new(Kind::LogGone, "no segment", format!("the log of a node that was started {lives} times"))
            .in_file(path)
    }

    /// The file that says whose folder it is can't be read.
    pub(super) fn identity_damaged(path: PathBuf, what: &'static str) -> Self {
        Self::new(Kind::IdentityDamaged, what, format!("{TITLE:?} and what belongs to it")).in_file(path)
    }

    /// Another release made the folder.
    pub(super) fn identity_format(path: PathBuf, found: &str, wanted: &'static str) -> Self {
        let wanted = format!("{wanted:?} and what belongs to it");
        Self::new(Kind::IdentityFormat, format!("{found:?}"), wanted).in_file(path)
    }

    /// Why a log can't be opened.
    pub(super) fn log(problem: &OpenError) -> Self {
        match problem {
            OpenError::Damage(damage) => Self::damage(Kind::LogDamaged, damage),
            OpenError::Disk { path, source, .. } => Self::unreadable(path, source),
            OpenError::Missing { group, from, until, segment } => Self {
                group: u16::try_from(*group).ok(),
                ..Self::new(
                    Kind::LogIncomplete,
                    format!("segment {segment} as the oldest"),
                    format!("those with the entries {from} to {until} of group {group}"),
                )
            },
            OpenError::OtherNode { file, found, wanted } => {
                let wanted = format!("node {wanted:016x}, as the first segment says");
                Self::new(Kind::LogOtherNode, format!("node {found:016x}"), wanted).in_file(file)
            }
            OpenError::Version { file, found, wanted } => {
                Self::new(Kind::LogFormat, format!("format version {found}"), format!("{wanted}")).in_file(file)
            }
            OpenError::SegmentBytes { found, max } => {
                Self::new(Kind::LogDamaged, format!("segments of {found} bytes"), format!("at most {max}"))
            }
        }
    }

    fn damage(kind: Kind, damage: &Damage) -> Self {
        let Damage { file, offset, defect } = damage;
        let found = format!("{} {:#x}", defect.what, defect.found);
        Self::new(kind, found, format!("{:#x}", defect.wanted)).in_file(file).at(*offset)
    }

    pub(super) fn torn(cut: &Cut) -> Self {
        let Cut { file, offset, bytes, defect } = cut;
        let found = format!("{bytes} bytes behind the last whole write: {} {:#x}", defect.what, defect.found);
        Self::new(Kind::TornTail, found, format!("{:#x}", defect.wanted)).in_file(file).at(*offset)
    }

    pub(super) fn state(group: u16, error: &impl ToString) -> Self {
        Self::new(Kind::GroupState, error.to_string(), "term, vote and where its log starts").in_group(group)
    }

    pub(super) fn inconsistent(group: u16, error: &impl ToString) -> Self {
        Self::new(Kind::GroupInconsistent, error.to_string(), "entries that follow each other").in_group(group)
    }

    pub(super) fn entry(group: u16, error: &ReadError) -> Self {
        let finding = match error {
            ReadError::Damage(damage) => Self::damage(Kind::EntryDamaged, damage),
            ReadError::Disk { path, source } => Self::unreadable(path, source),
            other => Self::new(Kind::EntryDamaged, other.to_string(), "to read it"),
        };
        finding.in_group(group)
    }

    pub(super) fn unknown_entry(group: u16, index: u64, error: &impl ToString) -> Self {
        Self::new(Kind::EntryFormat, format!("entry {index}: {}", error.to_string()), "one that this release knows")
            .in_group(group)
    }

    pub(super) fn no_snapshot(group: u16, start: u64, found: String) -> Self {
        let wanted = format!("a whole snapshot at entry {start} or behind, where the log goes on");
        Self::new(Kind::SnapshotMissing, found, wanted).in_group(group)
    }

    pub(super) fn snapshot(group: u16, path: PathBuf, found: String) -> Self {
        Self::new(Kind::SnapshotDamaged, found, "a whole snapshot").in_file(path).in_group(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_emergencies_names_whatever_may_be_found() {
        let page = include_str!("../../../../docs/data-folder.md");
        for kind in Kind::ALL {
            let name = format!("`{}`", kind.name());
            assert!(
                page.lines().any(|line| line.starts_with("| ") && line.contains(&name)),
                "{name} is not in a table"
            );
        }
    }

    #[test]
    fn what_settles_itself_needs_nobody_and_all_else_does() {
        for kind in Kind::ALL {
            assert_eq!(kind.is_damage(), kind.advice() != "nothing", "{kind:?}");
        }
    }
}
