//! Looking at a folder that no engine has open, without changing anything: whose it is, what its log and snapshots hold,
//! and what keeps an engine from opening it.
//!
//! An engine gives up at the first thing that is wrong. An [`Inspector`] goes on as far as anything can be read, says of
//! each thing what was found, what was wanted, what that means and what can be done ([`Finding`]), and gives the shards
//! as they are up to there. One group after the other is read, so that no more than one shard need be in memory.

mod finding;
mod group;

use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use fulmar_log::{Disk, File, Look, look};

use crate::errors::OpenError;
use crate::identity::Identity;
use crate::open::LOG;
use crate::snapshot::{Named, is_unfinished};

pub use finding::{Finding, Kind};
pub use group::{GroupReport, SnapshotReport};

/// What an engine would want of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The node that opens it, if that is known.
    pub node: Option<u64>,
    /// How many shards it would be opened with, if that is known.
    pub shards: Option<NonZeroU16>,
}

/// A folder of an engine that is only read. See the [module](self).
pub struct Inspector<D: Disk> {
    disk: D,
    folder: PathBuf,
    identity: Option<Identity>,
    log: Option<Look<D>>,
    /// Snapshot files, the newest of each group first, and their lengths.
    snapshots: Vec<(Named, u64)>,
    findings: Vec<Finding>,
}

/// What a log takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogReport {
    /// The version of its format.
    pub version: Option<u32>,
    /// Files.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of these are whole batches.
    pub intact: u64,
}

impl<D: Disk + Clone> Inspector<D> {
    /// Looks at all of a folder but what is in its shards.
    pub fn open(disk: D, folder: &Path, wanted: Wanted) -> Self {
        let mut inspector = Self {
            disk,
            folder: folder.to_owned(),
            identity: None,
            log: None,
            snapshots: Vec::new(),
            findings: Vec::new(),
        };
        if let Err(finding) = inspector.read_folder() {
            inspector.findings.push(finding);
        }
        inspector.read_log();
        inspector.compare(wanted);
        inspector
    }

    fn read_folder(&mut self) -> Result<(), Finding> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| Finding::unreadable(&path, &error)
        };
        let names = self.disk.list(&self.folder).map_err(unreadable(&self.folder))?;
        for name in &names {
            if is_unfinished(name) {
                self.findings.push(Finding::left_over(self.folder.join(name)));
            } else if let Some(named) = Named::parse(name) {
                let length = self.disk.open(&self.folder.join(name)).and_then(|file| file.length());
                self.snapshots.push((named, length.unwrap_or(0)));
            }
        }
        self.snapshots.sort_unstable_by(|a, b| b.cmp(a));
        self.identity = Identity::read(&self.disk, &self.folder).map_err(|error| match error {
            OpenError::Identity { path, what } => Finding::identity_damaged(path, what),
            OpenError::Format { path, found, wanted } => Finding::identity_format(path, &found, wanted),
            OpenError::Disk { path, source, .. } => Finding::unreadable(&path, &source),
            other => Finding::unreadable(&self.folder, &io::Error::other(other)),
        })?;
        Ok(())
    }

    fn read_log(&mut self) {
        let folder = self.folder.join(LOG);
        match look(self.disk.clone(), &folder) {
            Ok(seen) => {
                self.findings.extend(seen.problem.as_ref().map(Finding::log));
                self.findings.extend(seen.torn.as_ref().map(Finding::torn));
                self.findings.extend(seen.left_over.iter().map(|name| Finding::left_over(folder.join(name))));
                self.log = Some(seen);
            }
            Err(fulmar_log::OpenError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.findings.push(Finding::log(&error)),
        }
    }

    /// What does not fit together, though each part can be read.
    fn compare(&mut self, wanted: Wanted) {
        let has_log = self.log.as_ref().is_some_and(|log| !log.segments.is_empty());
        let is_named = self.identity.is_some() || self.findings.iter().any(|it| it.kind.is_about_identity());
        let path = self.folder.join("identity");
        if !is_named && (has_log || !self.snapshots.is_empty()) {
            self.findings.push(Finding::no_identity(path.clone()));
        }
        let Some(Identity { node, shards, incarnation, mode: _ }) = self.identity else { return };
        if let Some(wanted) = wanted.node.filter(|wanted| *wanted != node) {
            self.findings.push(Finding::other_node(path.clone(), node, wanted));
        }
        if let Some(wanted) = wanted.shards.filter(|wanted| *wanted != shards) {
            self.findings.push(Finding::other_shards(path, shards, wanted));
        }
        if incarnation > 0 && !has_log {
            self.findings.push(Finding::log_gone(self.folder.join(LOG), incarnation));
        }
    }

    /// Takes note of something that is not about what this reads.
    pub fn note(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What the folder says of itself, if it can be read.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// What the log takes up.
    pub fn log(&self) -> LogReport {
        let segments = self.log.as_ref().map_or(&[][..], |log| &log.segments);
        LogReport {
            version: self.log.as_ref().and_then(|log| log.version),
            segments: segments.len(),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            intact: segments.iter().map(|segment| segment.intact).sum(),
        }
    }

    /// What there is to say so far; more comes with [`group`](Self::group).
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether an engine would open the folder with all that was acknowledged, as far as it was read.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| !finding.kind.is_damage())
    }

    /// The groups of which there is anything, in order: 0 is that of the cluster, the others are those of shards.
    pub fn groups(&self) -> Vec<u16> {
        let of_log = self.log.iter().flat_map(|log| log.groups.iter().filter_map(|it| u16::try_from(it.group).ok()));
        let of_files = self.snapshots.iter().map(|(named, _)| named.group);
        let all: std::collections::BTreeSet<u16> = of_log.chain(of_files).collect();
        all.into_iter().collect()
    }

    fn is_log_damaged(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.problem.is_some() || log.segments.is_empty())
    }
}
