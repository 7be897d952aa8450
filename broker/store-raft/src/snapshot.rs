//! Snapshots as files, and when they are made so that the log can go.
//!
//! `snapshot-GROUP-INDEX` holds what the group's entries up to `INDEX` have made of its shard, or of the cluster's state:
//!
//! ```text
//! file  = magic (8 bytes) version (32 bits) chunk*
//! chunk = length (32 bits) crc32c (32 bits) bytes
//! ```
//! Integers are little-endian. The first chunk is where the snapshot stands in the group's log, as
//! [`fulmar_raft::State`] is written; the others are those of [`fulmar_store::Shard::snapshot`], or one for
//! [`fulmar_meta::Meta::snapshot`]. Version 2 may refer to files of bodies (`bodies.rs`), which are synced before; version 1
//! has all of its shard, and is what other nodes are sent (`whole.rs`). The file is made under another name, and has its own when all of it is synced. Only
//! then may the log go, and only then older snapshots.
//!
//! Where others take part the end of the log stays behind the snapshot: who lags a little is fed from it. `transfer.rs`
//! sends the file to those who lag more.

use std::path::{Path, PathBuf};
use std::time::Instant;

use fulmar_log::{Disk, File};
use fulmar_meta::Meta;
use fulmar_raft::{HardState, Snapshot, State};
use fulmar_store::{Loader, Shard};

use crate::bodies::Keeping;
use crate::engine::Engine;
use crate::errors::{Failed, OpenError, Written, is_full, written};
use crate::hosted::Hosted;
use crate::meta_group::META;
use crate::settings::sabotaged;
use crate::write::Batch;

pub(crate) const MAGIC: &[u8; 8] = b"FULMSNAP";
/// Of a snapshot that needs no other files.
pub(crate) const VERSION: u32 = 1;
/// Of one that may.
pub(crate) const VERSION_WITH_PLACES: u32 = 2;
pub(crate) const HEAD_BYTES: usize = MAGIC.len() + 4;
pub(crate) const CHUNK_HEAD_BYTES: usize = 8;
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// What a name ends with that is not whole yet: one of our own, and one that another node sends.
const UNFINISHED: &str = ".new";
const RECEIVED: &str = ".received";

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

    /// That of a group is not needed any more; where it is to be removed.
    pub(crate) fn give_up(&mut self, group: u16) -> Option<PathBuf> {
        self.writing.take_if(|writing| writing.named.group == group).map(|writing| writing.path)
    }
}

struct Writing<F> {
    named: Named,
    version: u32,
    keeps_tail: bool,
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

    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }

    /// What it is called until it is whole.
    fn unfinished(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}{UNFINISHED}", self.name()))
    }

    /// What one that another node sends is called until it is whole.
    pub(crate) fn received(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}{RECEIVED}", self.name()))
    }

    pub(crate) fn name(self) -> String {
        format!("snapshot-{}-{}", self.group, self.index)
    }
}

/// What a snapshot holds.
pub(crate) enum Loaded {
    Shard(Box<Shard>),
    Meta(Box<Meta>),
}

/// Whether it is the name of a snapshot that is not whole yet.
pub(crate) fn is_unfinished(name: &str) -> bool {
    let named = name.strip_suffix(UNFINISHED).or_else(|| name.strip_suffix(RECEIVED));
    named.is_some_and(|named| Named::parse(named).is_some())
}

/// Removes what is left of snapshots that were not finished, and tells which there are; the newest first.
pub(crate) fn list(disk: &impl Disk, folder: &Path) -> Result<Vec<Named>, OpenError> {
    let names = disk.list(folder).map_err(OpenError::disk("list", folder))?;
    for path in names.iter().filter(|name| is_unfinished(name)).map(|name| folder.join(name)) {
        disk.remove(&path).map_err(OpenError::disk("remove", &path))?;
    }
    let mut found: Vec<Named> = names.iter().filter_map(|name| Named::parse(name)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Reads a snapshot: where it stands, and what it holds. The error says what is wrong with the file.
pub(crate) fn load(
    disk: &impl Disk,
    path: &Path,
    named: Named,
    keeping: &mut impl Keeping,
) -> Result<(Snapshot, Loaded), String> {
    let shown = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = disk.open(path).map_err(shown)?;
    let end = file.length().map_err(shown)?;
    let mut head = [0; HEAD_BYTES];
    file.read_at(0, &mut head).map_err(shown)?;
    let (magic, version) = head.split_at(MAGIC.len());
    let version = u32::from_le_bytes(version.try_into().expect("four of twelve bytes"));
    let newest = if keeping.may_have_places() { VERSION_WITH_PLACES } else { VERSION };
    if magic != MAGIC || !(VERSION..=newest).contains(&version) {
        return Err(format!("{} begins with {head:02x?}, wanted version {newest} or before", path.display()));
    }
    let mut offset = HEAD_BYTES as u64;
    let mut start = None;
    let mut loading = match named.group {
        META => Loading::Meta(None),
        _ if version == VERSION => Loading::Shard(Loader::new().into()),
        _ => Loading::Shard(Loader::with_places().into()),
    };
    while offset < end {
        let damaged = |what: String| format!("{} is damaged at offset {offset}: {what}", path.display());
        let chunk = read_chunk(&file, offset, end).map_err(damaged)?;
        if start.is_none() {
            start = Some(State::decode(&chunk).map_err(|error| damaged(error.to_string()))?.start);
        } else {
            loading.chunk(&chunk, keeping).map_err(damaged)?;
        }
        offset += (CHUNK_HEAD_BYTES + chunk.len()) as u64;
    }
    let loaded = loading.finish(keeping).map_err(|error| format!("{}: {error}", path.display()))?;
    let start = start.filter(|start| start.position.index == named.index);
    start.map(|start| (start, loaded)).ok_or_else(|| format!("{} is of another index", path.display()))
}

enum Loading {
    Shard(Box<Loader>),
    Meta(Option<Box<Meta>>),
}

impl Loading {
    fn chunk(&mut self, bytes: &[u8], keeping: &mut impl Keeping) -> Result<(), String> {
        match self {
            Self::Shard(loader) => {
                loader.chunk_with(bytes, keeping).map_err(|error| error.to_string())?;
                let shard = loader.shard_mut();
                shard.map_or(Ok(()), |shard| keeping.keep(shard)).map_err(|error| error.to_string())
            }
            Self::Meta(Some(_)) => Err("another piece follows the state of the cluster".to_owned()),
            Self::Meta(meta) => {
                *meta = Some(Box::new(Meta::load(bytes).map_err(|error| error.to_string())?));
                Ok(())
            }
        }
    }

    fn finish(self, keeping: &mut impl Keeping) -> Result<Loaded, String> {
        match self {
            Self::Shard(loader) => {
                let mut shard = loader.finish().map_err(|error| error.to_string())?;
                keeping.finish(&mut shard).map_err(|error| error.to_string())?;
                Ok(Loaded::Shard(shard.into()))
            }
            Self::Meta(meta) => meta.map(Loaded::Meta).ok_or_else(|| "the state of the cluster is missing".to_owned()),
        }
    }
}

/// The version of a snapshot file, if it is one.
pub(crate) fn version(disk: &impl Disk, path: &Path) -> Option<u32> {
    let mut head = [0; HEAD_BYTES];
    disk.open(path).and_then(|file| file.read_at(0, &mut head)).ok()?;
    let (magic, version) = head.split_at(MAGIC.len());
    (magic == MAGIC).then(|| u32::from_le_bytes(version.try_into().expect("four of twelve bytes")))
}

pub(crate) fn read_chunk(file: &impl File, offset: u64, end: u64) -> Result<Vec<u8>, String> {
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

pub(crate) fn put_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
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
                Some((group, keeps_tail)) => self.begin_snapshot(group, keeps_tail, now),
                None => Ok(()),
            };
        };
        match self.write_portion(&mut writing) {
            Ok(false) => {
                self.snapshots.writing = Some(writing);
                Ok(())
            }
            Ok(true) => self.finish_snapshot(writing, now),
            Err(error) => self.stop_writing(writing.named.group, &writing.path, "write", error, now),
        }
    }

    /// The group whose log has grown most beyond the limit, and keeps its end for others; if the whole log is too long,
    /// the one that keeps its oldest part, which keeps nothing then; or one whose last snapshot keeps bodies that nobody
    /// wants.
    fn next_to_write(&self) -> Option<(u16, bool)> {
        /// The cluster's own state is small, and who joins should not have to read all that ever happened.
        const META_LOG_BYTES: u64 = 1 << 20;
        let settings = &self.settings;
        let is_pending = |group: u16| {
            self.transfers.is_installing(group)
                || (group == META && self.cluster.as_ref().is_some_and(|cluster| cluster.begins_shards))
        };
        let has_grown = |group: &&Hosted| {
            let most = if group.number == META { META_LOG_BYTES } else { u64::MAX };
            group.log_bytes >= settings.snapshot_log_bytes.min(most) && group.can_be_compacted()
        };
        let ready = || self.groups().filter(|group| !is_pending(group.number));
        let longest = ready().filter(has_grown).max_by_key(|group| group.log_bytes);
        let wasteful = || {
            let group = ready().find(|group| group.applied > group.snapshot && self.wastes_bodies(group.number))?;
            Some((group.number, true))
        };
        let pinning = || {
            let pinned = self.log.pinned().filter(|_| self.log.usage().bytes > settings.log_bytes_max)?;
            let group = ready().find(|group| u32::from(group.number) == pinned)?;
            group.can_be_compacted().then_some((group.number, false))
        };
        longest.map(|group| (group.number, true)).or_else(pinning).or_else(wasteful)
    }

    fn begin_snapshot(&mut self, group: u16, keeps_tail: bool, now: Instant) -> Result<(), Failed> {
        let Some(hosted) = self.hosted(group) else { return Ok(()) };
        let index = hosted.applied;
        // The one that is there may only have left too much of the log.
        if hosted.snapshot == index {
            return self.compact(group, index, keeps_tail);
        }
        let Some(start) = hosted.snapshot_at(index) else { return Ok(()) };
        let named = Named { group, index };
        let path = named.unfinished(&self.settings.folder);
        let mut first = Vec::new();
        State { hard_state: HardState::default(), start }.append_to(&mut first);
        let mut version = VERSION;
        let rest: Box<dyn Iterator<Item = Vec<u8>> + Send> = match (self.place_of_group(group), &self.cluster) {
            (Some(at), _) => {
                let bodies = self.bodies.of(group);
                bodies.begin_snapshot();
                if bodies.has_any() {
                    version = VERSION_WITH_PLACES;
                }
                Box::new(self.replicas[at].shard.snapshot(CHUNK_BYTES))
            }
            (None, Some(cluster)) => {
                let mut bytes = Vec::new();
                cluster.meta.snapshot(&mut bytes);
                Box::new(std::iter::once(bytes))
            }
            (None, None) => return Ok(()),
        };
        let file = match self.disk.create(&path) {
            Ok(file) => file,
            Err(error) => return self.stop_writing(group, &path, "create", error, now),
        };
        let chunks: Box<dyn Iterator<Item = Vec<u8>> + Send> = Box::new(std::iter::once(first).chain(rest));
        let chunks = chunks.peekable();
        self.snapshots.writing = Some(Writing { named, version, keeps_tail, file, path, chunks, offset: 0 });
        Ok(())
    }

    /// Whether all of it is written, and synced.
    fn write_portion(&self, writing: &mut Writing<D::File>) -> std::io::Result<bool> {
        let mut bytes = Vec::new();
        if writing.offset == 0 {
            bytes.extend_from_slice(MAGIC);
            bytes.extend(writing.version.to_le_bytes());
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
        group: u16,
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
        self.bodies.of(group).give_up_snapshot();
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failed::disk("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// The snapshot is on the disk: it gets its name, and the log goes.
    fn finish_snapshot(&mut self, writing: Writing<D::File>, now: Instant) -> Result<(), Failed> {
        let Writing { named, keeps_tail, path, .. } = writing;
        let folder = self.settings.folder.clone();
        // What it refers to is there before it is.
        if !sabotaged!(self.settings, BodiesNotSynced) {
            self.bodies.of(named.group).sync_with_names(&self.disk)?;
        }
        if let Err(error) = self.disk.rename(&path, &named.path(&folder)) {
            return self.stop_writing(named.group, &path, "rename", error, now);
        }
        if !sabotaged!(self.settings, SnapshotNotSynced) {
            self.disk.sync_folder(&folder).map_err(Failed::disk("sync", &folder))?;
        }
        self.counted.snapshots += 1;
        if let Some(hosted) = self.hosted_mut(named.group) {
            hosted.snapshot = named.index;
        }
        self.compact(named.group, named.index, keeps_tail)?;
        self.remove_snapshots(named.group, named.index)?;
        self.bodies.of(named.group).finish_snapshot();
        self.remove_bodies(named.group)
    }

    fn compact(&mut self, group: u16, index: u64, keeps_tail: bool) -> Result<(), Failed> {
        let tail_bytes = self.settings.log_tail_bytes;
        let Some(hosted) = self.hosted_mut(group) else { return Ok(()) };
        let tail = if keeps_tail && !hosted.is_alone() { hosted.entries_of(tail_bytes) } else { 0 };
        let until = index.saturating_sub(tail);
        // Too little to be worth it.
        if until <= hosted.kept.start.position.index {
            hosted.log_bytes = 0;
            return Ok(());
        }
        let Some(start) = hosted.compact(until) else { return Ok(()) };
        hosted.kept.start = start;
        let mut batch = Batch::default();
        batch.state(group, &hosted.kept);
        batch.purge(group, until);
        // Without room for it the entries stay until the next snapshot; when they are found with a later start they
        // are passed over.
        if matches!(written(self.log.write(&batch.writes()))?, Written::Whole) {
            if let Some(hosted) = self.hosted_mut(group) {
                hosted.log_bytes = 0;
            }
            self.log.sync()?;
            self.counted.syncs += 1;
            self.log.reclaim()?;
        }
        Ok(())
    }

    /// Removes the snapshots of a group before this one.
    pub(crate) fn remove_snapshots(&self, group: u16, before: u64) -> Result<(), Failed> {
        let folder = &self.settings.folder;
        let names = self.disk.list(folder).map_err(Failed::disk("list", folder))?;
        let older = names.iter().filter_map(|name| Named::parse(name));
        for named in older.filter(|named| named.group == group && named.index < before) {
            let path = named.path(folder);
            self.disk.remove(&path).map_err(Failed::disk("remove", &path))?;
        }
        Ok(())
    }
}
