//! Snapshots of shards as files, and when they are made so that the log can go.
//!
//! `snapshot-GROUP-INDEX` holds what the group's entries up to `INDEX` have made of the shard:
//!
//! ```text
//! file  = magic (8 bytes) version (32 bits) chunk*
//! chunk = length (32 bits) crc32c (32 bits) bytes
//! ```
//! Integers are little-endian. The first chunk is where the snapshot stands in the group's log, as
//! [`fulmar_raft::State`] is written; the others are those of [`fulmar_store::Shard::snapshot`]. The file is made under
//! another name, and has its own when all of it is synced. Only then may the log go, and only then older snapshots.

use std::path::{Path, PathBuf};
use std::time::Instant;

use fulmar_log::{Disk, File, GroupId};
use fulmar_raft::{HardState, Snapshot, State};
use fulmar_store::{Loader, Shard};

use crate::engine::Engine;
use crate::errors::{Failed, OpenError, Written, is_full, written};
use crate::settings::sabotaged;
use crate::write::Batch;

const MAGIC: &[u8; 8] = b"FULMSNAP";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 4;
const CHUNK_HEAD_BYTES: usize = 8;
const CHUNK_BYTES: usize = 64 * 1024;
/// What a name ends with that is not whole yet.
const UNFINISHED: &str = ".new";

/// The snapshot that is being written, if one is.
pub(crate) struct Snapshots<F> {
    writing: Option<Writing<F>>,
    /// After the disk was full, not before then.
    not_before: Option<Instant>,
}

impl<F> Default for Snapshots<F> {
    fn default() -> Self {
        Self { writing: None, not_before: None }
    }
}

impl<F> Snapshots<F> {
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }
}

struct Writing<F> {
    replica: usize,
    index: u64,
    file: F,
    /// Its name until it is whole.
    path: PathBuf,
    /// What is to be written, made as it is needed; the next one first.
    chunks: std::iter::Peekable<Box<dyn Iterator<Item = Vec<u8>> + Send>>,
    offset: u64,
}

/// A snapshot file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) group: u16,
    pub(crate) index: u64,
}

impl Named {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (group, index) = name.strip_prefix("snapshot-")?.split_once('-')?;
        let named = Self { group: group.parse().ok()?, index: index.parse().ok()? };
        (named.name() == name).then_some(named)
    }

    fn name(self) -> String {
        format!("snapshot-{}-{}", self.group, self.index)
    }
}

/// Removes what is left of snapshots that were not finished, and tells which there are; the newest first.
pub(crate) fn list(disk: &impl Disk, folder: &Path) -> Result<Vec<Named>, OpenError> {
    let names = disk.list(folder).map_err(OpenError::disk("list", folder))?;
    for name in names.iter().filter_map(|name| name.strip_suffix(UNFINISHED)).filter(|it| Named::parse(it).is_some()) {
        let path = folder.join(format!("{name}{UNFINISHED}"));
        disk.remove(&path).map_err(OpenError::disk("remove", &path))?;
    }
    let mut found: Vec<Named> = names.iter().filter_map(|name| Named::parse(name)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Reads a snapshot: where it stands, and the shard. The error says what is wrong with the file.
pub(crate) fn load(disk: &impl Disk, folder: &Path, named: Named) -> Result<(Snapshot, Shard), String> {
    let path = folder.join(named.name());
    let shown = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = disk.open(&path).map_err(shown)?;
    let end = file.length().map_err(shown)?;
    let mut head = [0; HEAD_BYTES];
    file.read_at(0, &mut head).map_err(shown)?;
    let (magic, version) = head.split_at(MAGIC.len());
    if magic != MAGIC || version != VERSION.to_le_bytes() {
        return Err(format!("{} begins with {head:02x?}, wanted version {VERSION}", path.display()));
    }
    let mut offset = HEAD_BYTES as u64;
    let mut start = None;
    let mut loader = Loader::new();
    while offset < end {
        let damaged = |what: String| format!("{} is damaged at offset {offset}: {what}", path.display());
        let chunk = read_chunk(&file, offset, end).map_err(damaged)?;
        if start.is_none() {
            start = Some(State::decode(&chunk).map_err(|error| damaged(error.to_string()))?.start);
        } else {
            loader.chunk(&chunk).map_err(|error| damaged(error.to_string()))?;
        }
        offset += (CHUNK_HEAD_BYTES + chunk.len()) as u64;
    }
    let shard = loader.finish().map_err(|error| format!("{}: {error}", path.display()))?;
    let start = start.filter(|start| start.position.index == named.index);
    start.map(|start| (start, shard)).ok_or_else(|| format!("{} is of another index", path.display()))
}

fn read_chunk(file: &impl File, offset: u64, end: u64) -> Result<Vec<u8>, String> {
    let mut head = [0; CHUNK_HEAD_BYTES];
    file.read_at(offset, &mut head).map_err(|error| error.to_string())?;
    let (length, wanted) = head.split_at(4);
    let [length, wanted] = [length, wanted].map(|it| u32::from_le_bytes(it.try_into().expect("four of eight bytes")));
    let left = end - offset - CHUNK_HEAD_BYTES as u64;
    if u64::from(length) > left {
        return Err(format!("a chunk of {length} bytes, but {left} are left"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_at(offset + CHUNK_HEAD_BYTES as u64, &mut bytes).map_err(|error| error.to_string())?;
    let found = crc32c::crc32c(&bytes);
    if found == wanted { Ok(bytes) } else { Err(format!("checksum {found:08x}, wanted {wanted:08x}")) }
}

fn put_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    out.extend(u32::try_from(chunk.len()).expect("a chunk is far smaller than 4 GB").to_le_bytes());
    out.extend(crc32c::crc32c(chunk).to_le_bytes());
    out.extend_from_slice(chunk);
}

impl<D: Disk + Clone> Engine<D> {
    /// Begins a snapshot, or writes another portion of it.
    pub(crate) fn write_snapshots(&mut self, now: Instant) -> Result<(), Failed> {
        if self.full.is_some() || self.snapshots.not_before.is_some_and(|at| now < at) {
            return Ok(());
        }
        let Some(mut writing) = self.snapshots.writing.take() else {
            return match self.next_to_write() {
                Some(replica) => self.begin_snapshot(replica, now),
                None => Ok(()),
            };
        };
        match self.write_portion(&mut writing) {
            Ok(false) => {
                self.snapshots.writing = Some(writing);
                Ok(())
            }
            Ok(true) => self.finish_snapshot(writing, now),
            Err(error) => self.stop_writing(&writing.path, "write", error, now),
        }
    }

    /// The group whose log has grown most beyond the limit; if the whole log is too long, the one that keeps its oldest
    /// part.
    fn next_to_write(&self) -> Option<usize> {
        let settings = &self.settings;
        let grown = |at: &usize| {
            let replica = &self.replicas[*at];
            replica.log_bytes >= settings.snapshot_log_bytes && replica.can_be_compacted()
        };
        let longest = (0..self.replicas.len()).filter(grown).max_by_key(|at| self.replicas[*at].log_bytes);
        longest.or_else(|| {
            let pinned = self.log.pinned().filter(|_| self.log.usage().bytes > settings.log_bytes_max)?;
            let at = usize::try_from(pinned).ok()?.checked_sub(1)?;
            self.replicas.get(at).filter(|replica| replica.can_be_compacted()).map(|_| at)
        })
    }

    fn begin_snapshot(&mut self, at: usize, now: Instant) -> Result<(), Failed> {
        let replica = &self.replicas[at];
        let index = replica.applied;
        let Some(start) = replica.group.snapshot_at(index) else { return Ok(()) };
        let named = Named { group: replica.group_number(), index };
        let path = self.settings.folder.join(format!("{}{UNFINISHED}", named.name()));
        let mut first = Vec::new();
        State { hard_state: HardState::default(), start }.append_to(&mut first);
        let chunks = std::iter::once(first).chain(replica.shard.snapshot(CHUNK_BYTES));
        let chunks: Box<dyn Iterator<Item = Vec<u8>> + Send> = Box::new(chunks);
        let file = match self.disk.create(&path) {
            Ok(file) => file,
            Err(error) => return self.stop_writing(&path, "create", error, now),
        };
        let chunks = chunks.peekable();
        self.snapshots.writing = Some(Writing { replica: at, index, file, path, chunks, offset: 0 });
        Ok(())
    }

    /// Whether all of it is written, and synced.
    fn write_portion(&self, writing: &mut Writing<D::File>) -> std::io::Result<bool> {
        let mut bytes = Vec::new();
        if writing.offset == 0 {
            bytes.extend_from_slice(MAGIC);
            bytes.extend(VERSION.to_le_bytes());
        }
        while bytes.len() < self.settings.snapshot_portion_bytes
            && let Some(chunk) = writing.chunks.next()
        {
            put_chunk(&mut bytes, &chunk);
        }
        writing.file.write_at(writing.offset, &bytes)?;
        writing.offset += bytes.len() as u64;
        // Portion by portion, so that no sync keeps everybody waiting.
        if !sabotaged!(self.settings, SnapshotNotSynced) {
            writing.file.sync()?;
        }
        Ok(writing.chunks.peek().is_none())
    }

    /// Without room it is tried again later. Any other error leaves nobody to know what is on the disk.
    fn stop_writing(
        &mut self,
        path: &Path,
        step: &'static str,
        error: std::io::Error,
        now: Instant,
    ) -> Result<(), Failed> {
        const RETRY: std::time::Duration = std::time::Duration::from_secs(10);
        if !is_full(&error) {
            return Err(Failed::disk(step, path)(error));
        }
        self.snapshots.not_before = Some(now + RETRY);
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failed::disk("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// The snapshot is on the disk: it gets its name, and the log goes.
    fn finish_snapshot(&mut self, writing: Writing<D::File>, now: Instant) -> Result<(), Failed> {
        let Writing { replica: at, index, path, .. } = writing;
        let folder = self.settings.folder.clone();
        let named = Named { group: self.replicas[at].group_number(), index };
        let whole = folder.join(named.name());
        if let Err(error) = self.disk.rename(&path, &whole) {
            return self.stop_writing(&path, "rename", error, now);
        }
        if !sabotaged!(self.settings, SnapshotNotSynced) {
            self.disk.sync_folder(&folder).map_err(Failed::disk("sync", &folder))?;
        }
        self.counted.snapshots += 1;
        self.compact(at, index)?;
        self.remove_older(named)
    }

    fn compact(&mut self, at: usize, index: u64) -> Result<(), Failed> {
        let replica = &mut self.replicas[at];
        let Some(start) = replica.group.compact(index) else { return Ok(()) };
        let group = GroupId::from(replica.group_number());
        replica.start = start;
        replica.is_touched = true;
        let mut batch = Batch::default();
        batch.state(group, &State { hard_state: replica.hard_state, start: replica.start.clone() });
        batch.purge(group, index);
        // Without room for it the entries stay until the next snapshot; when they are found with a later start they
        // are passed over.
        if matches!(written(self.log.write(&batch.writes()))?, Written::Whole) {
            self.replicas[at].log_bytes = 0;
            self.log.sync()?;
            self.counted.syncs += 1;
            self.log.reclaim()?;
        }
        Ok(())
    }

    fn remove_older(&self, newest: Named) -> Result<(), Failed> {
        let folder = &self.settings.folder;
        let names = self.disk.list(folder).map_err(Failed::disk("list", folder))?;
        let older = names.iter().filter_map(|name| Named::parse(name));
        for named in older.filter(|named| named.group == newest.group && named.index < newest.index) {
            let path = folder.join(named.name());
            self.disk.remove(&path).map_err(Failed::disk("remove", &path))?;
        }
        Ok(())
    }
}
