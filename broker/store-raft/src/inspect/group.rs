//! One group of a folder: who belongs to it, its entries, its snapshots, and the shard that they make.

use std::path::PathBuf;

use fulmar_log::Disk;
use fulmar_meta::{Entry as MetaEntry, Meta};
use fulmar_raft::{Entry, Membership, NodeId, Payload, Position, Recovered, Snapshot};
use fulmar_store::{Entry as ShardEntry, Shard, ShardId};

use super::{Finding, Inspector};
use crate::bodies::Bringing;
use crate::hosted::Kept;
use crate::replica::shard_of;
use crate::snapshot::{self, Loaded, Named};

/// So much of the log is read at once.
const READ_BYTES: usize = 4 << 20;

/// What there is of a group.
#[derive(Debug, Clone)]
pub struct GroupReport {
    /// Which: 0 is that of the cluster.
    pub group: u16,
    /// The shard that it keeps.
    pub shard: Option<ShardId>,
    /// The latest term that this node has seen.
    pub term: u64,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Who decides.
    pub voters: Vec<NodeId>,
    /// Who has copies without deciding.
    pub learners: Vec<NodeId>,
    /// The log begins behind this entry.
    pub start: u64,
    /// The last entry that can be read.
    pub last: u64,
    /// In which term it was made: of two copies the one whose last entry is of the later term has more, of the same term
    /// the one with the later entry.
    pub last_term: u64,
    /// Bytes of the entries between.
    pub entry_bytes: u64,
    /// The snapshots that there are, the newest first.
    pub snapshots: Vec<SnapshotReport>,
    /// The last entry that is in the shard as it was read.
    pub applied: u64,
    /// What group 0 says of the cluster.
    pub cluster: Option<Box<Meta>>,
    /// Where the log ended when the group left this node, until it is as far again.
    pub floor: Option<u64>,
}

/// A snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The file.
    pub path: PathBuf,
    /// The last entry that is in it.
    pub index: u64,
    /// Its length.
    pub bytes: u64,
    /// The version of its format, if it has one.
    pub version: Option<u32>,
    /// Whether the shard was read from it.
    pub is_used: bool,
}

impl GroupReport {
    /// Entries in the log.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.last.saturating_sub(self.start)
    }

    /// Whether nobody but this node decides: then all entries count. Otherwise the last ones may be taken back by others
    /// when the node is back among them.
    #[must_use]
    pub fn is_alone(&self, node: NodeId) -> bool {
        self.voters == [node] && self.learners.is_empty()
    }
}

impl<D: Disk + Clone> Inspector<D> {
    /// Reads one of the [groups](Self::groups): what there is of it, and its shard as far as it can be read. What is
    /// wrong is added to the [findings](Self::findings).
    pub fn group(&mut self, group: u16) -> (GroupReport, Option<Shard>) {
        let mut report = GroupReport {
            group,
            shard: shard_of(group),
            term: 0,
            vote: None,
            voters: Vec::new(),
            learners: Vec::new(),
            start: 0,
            last: 0,
            last_term: 0,
            entry_bytes: 0,
            snapshots: self.snapshot_files(group),
            applied: 0,
            cluster: None,
            floor: None,
        };
        let Kept { hard_state, start, floor } = match self.kept(group) {
            Ok(kept) => kept,
            Err(finding) => {
                self.findings.push(*finding);
                return (report, None);
            }
        };
        (report.term, report.vote, report.start) = (hard_state.term, hard_state.vote, start.position.index);
        report.floor = floor.map(|floor| floor.index);
        let entries = self.entries(group, start.position.index, &mut report);
        let last = entries.last().map_or(start.position, Entry::position);
        (report.last, report.last_term) = (last.index, last.term);
        let membership = entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some(membership),
            _ => None,
        });
        let membership = membership.unwrap_or(&start.membership).clone();
        (report.voters, report.learners) = (membership.voters().to_vec(), membership.learners().to_vec());
        let places: Vec<Option<Position>> =
            report.snapshots.iter().map(|it| place(it.index, &start, &entries)).collect();
        let applied = report.start;
        if let Err(error) = Recovered::from_log(hard_state, start, applied, entries) {
            self.findings.push(Finding::inconsistent(group, &error));
            return (report, None);
        }
        let shard = self.contents(&mut report, &places);
        (report, shard)
    }

    fn snapshot_files(&self, group: u16) -> Vec<SnapshotReport> {
        let files = self.snapshots.iter().filter(|(named, _)| named.group == group);
        let report = |(named, bytes): &(Named, u64)| SnapshotReport {
            path: self.folder.join(named.name()),
            index: named.index,
            bytes: *bytes,
            version: snapshot::version(&self.disk, &self.folder.join(named.name())),
            is_used: false,
        };
        files.map(report).collect()
    }

    fn kept(&self, group: u16) -> Result<Kept, Box<Finding>> {
        let found = self.log.iter().flat_map(|log| &log.groups).find(|it| it.group == u32::from(group));
        match found.filter(|found| !found.state.is_empty()) {
            Some(found) => Kept::decode(group, &found.state).map_err(|error| Box::new(Finding::state(group, &error))),
            None => Ok(Kept::new(Membership::default())),
        }
    }

    /// The entries without what they command. Ends where one can't be read.
    fn entries(&mut self, group: u16, start: u64, report: &mut GroupReport) -> Vec<Entry> {
        let mut entries = Vec::new();
        let read = self.each_entry(group, start + 1, |entry| {
            report.entry_bytes += entry.payload.len() as u64;
            let payload = match Payload::decode(entry.payload).map_err(|error| error.to_string())? {
                Payload::Command(_) => Payload::Empty,
                other => other,
            };
            entries.push(Entry { term: entry.term, index: entry.index, payload });
            Ok(())
        });
        self.findings.extend(read.err().map(|finding| *finding));
        entries
    }

    /// Gives entries to `handle`, from one on, up to the last one or the first that can't be read.
    fn each_entry(
        &mut self,
        group: u16,
        from: u64,
        mut handle: impl FnMut(fulmar_log::Entry<'_>) -> Result<(), String>,
    ) -> Result<(), Box<Finding>> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let mut next = from;
        loop {
            let read = log.read(group.into(), next, READ_BYTES);
            let read = read.map_err(|error| Box::new(Finding::entry(group, &error)))?;
            if read.is_empty() {
                return Ok(());
            }
            for entry in read {
                // Where segments are missing others follow, but what is between is not known.
                if entry.index != next {
                    return Ok(());
                }
                handle(entry).map_err(|error| Box::new(Finding::unknown_entry(group, next, &error)))?;
                next += 1;
            }
        }
    }

    /// The shard, or the state of the cluster, by the newest whole snapshot that fits, and the entries behind that.
    fn contents(&mut self, report: &mut GroupReport, places: &[Option<Position>]) -> Option<Shard> {
        let group = report.group;
        let mut loaded = match (self.snapshot(report, places)?, report.shard) {
            (Some(loaded), _) => loaded,
            (None, Some(id)) => Loaded::Shard(Shard::new(id).into()),
            (None, None) => Loaded::Meta(Meta::new().into()),
        };
        report.applied = report.snapshots.iter().find(|it| it.is_used).map_or(0, |it| it.index);
        let mut applied = report.applied;
        let read = self.each_entry(group, applied + 1, |entry| {
            if let Payload::Command(bytes) = Payload::decode(entry.payload).map_err(|error| error.to_string())? {
                apply(&mut loaded, entry.index, &bytes)?;
            }
            applied = entry.index;
            Ok(())
        });
        report.applied = applied;
        if let Err(finding) = read
            && !self.findings.contains(&finding)
        {
            self.findings.push(*finding);
        }
        match loaded {
            Loaded::Shard(shard) => Some(*shard),
            Loaded::Meta(meta) => {
                report.cluster = Some(meta);
                None
            }
        }
    }

    /// What the newest whole snapshot that fits holds, if there is one. None: there should be.
    fn snapshot(&mut self, report: &mut GroupReport, places: &[Option<Position>]) -> Option<Option<Loaded>> {
        let group = report.group;
        let is_log_damaged = self.is_log_damaged();
        let mut broken = Vec::new();
        let mut found = "there is none".to_owned();
        for (file, place) in report.snapshots.iter_mut().zip(places) {
            // Beyond a log that ends too early there may be one that is whole all the same.
            if file.index < report.start || (place.is_none() && !is_log_damaged) {
                continue;
            }
            let mut keeping = Bringing::new(&self.disk, &self.folder, group);
            match snapshot::load(&self.disk, &file.path, Named { group, index: file.index }, &mut keeping) {
                Ok((at, _)) if place.is_some_and(|place| place != at.position) => {
                    found = format!("snapshot {} is of term {}", file.index, at.position.term);
                }
                Ok((_, Loaded::Shard(shard))) if Some(shard.id()) != report.shard => {
                    found = format!("snapshot {} is of shard {}", file.index, shard.id().0);
                }
                Ok((_, loaded)) => {
                    file.is_used = true;
                    self.findings.extend(broken);
                    return Some(Some(loaded));
                }
                Err(what) => found = what,
            }
            broken.push(Finding::snapshot(group, file.path.clone(), found.clone()));
        }
        if report.start == 0 {
            self.findings.extend(broken);
            return Some(None);
        }
        self.findings.push(Finding::no_snapshot(group, report.start, found));
        None
    }
}

/// Where an entry stands in the log; nowhere if that does not reach so far.
fn place(index: u64, start: &Snapshot, entries: &[Entry]) -> Option<Position> {
    let of_entries = entries.iter().find(|entry| entry.index == index).map(Entry::position);
    of_entries.or(Some(start.position).filter(|position| position.index == index))
}

fn apply(loaded: &mut Loaded, index: u64, bytes: &[u8]) -> Result<(), String> {
    match loaded {
        Loaded::Shard(shard) => {
            let entry = ShardEntry::decode(bytes).map_err(|error| error.to_string())?;
            shard.apply(index, &entry);
        }
        Loaded::Meta(meta) => {
            let entry = MetaEntry::decode(bytes).map_err(|error| error.to_string())?;
            meta.apply(index, &entry);
        }
    }
    Ok(())
}
