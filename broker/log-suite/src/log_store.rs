//! One group of a node's log, as openraft asks for it.
//!
//! Our indexes begin with 1 and openraft's with 0, so each is one more. What a group keeps beside its entries (its state)
//! holds the vote, what is said to be committed, and what was purged last.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fulmar_log::{Disk, Log, Settings, Write};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, Entry, ErrorSubject, ErrorVerb, LogId, LogState, OptionalSend, RaftLogId, RaftLogReader, StorageError,
    StorageIOError, Vote,
};
use serde::{Deserialize, Serialize};

use crate::Types;

const GROUP: u32 = 7;
const NODE: u64 = 0xab;
/// Small segments, so that there are several of them.
const SEGMENT_BYTES: u64 = 1024;
const READ_BYTES: usize = 4096;

/// A log store. Clones are the same one.
pub(crate) struct LogStore<D: Disk>(Arc<Mutex<Stored<D>>>);

impl<D: Disk> Clone for LogStore<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Stored<D: Disk> {
    disk: D,
    folder: PathBuf,
    /// What happens to the disk before everything that is read; the log is opened anew then. None: it stays open.
    before_reads: Option<fn(&D)>,
    /// What a mistake leaves out.
    syncs: bool,
    opened: u64,
    log: Option<Log<D>>,
    kept: Kept,
    /// What is purged of the group.
    purged: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    vote: Option<Vote<u64>>,
    committed: Option<LogId<u64>>,
    purged: Option<LogId<u64>>,
}

type Result<T> = std::result::Result<T, StorageError<u64>>;

fn failed(error: &(impl std::error::Error + 'static)) -> StorageError<u64> {
    StorageIOError::new(ErrorSubject::Store, ErrorVerb::Write, AnyError::new(error)).into()
}

impl<D: Disk + Clone> LogStore<D> {
    pub(crate) fn open(disk: D, folder: &Path, before_reads: Option<fn(&D)>, syncs: bool) -> Self {
        let (folder, kept) = (folder.to_owned(), Kept::default());
        let mut stored = Stored { disk, folder, before_reads, syncs, opened: 0, log: None, kept, purged: 0 };
        stored.open().unwrap();
        Self(Arc::new(Mutex::new(stored)))
    }

    fn read<T>(&self, read: impl FnOnce(&mut Stored<D>) -> Result<T>) -> Result<T> {
        let mut stored = self.0.lock().unwrap();
        if let Some(happens) = stored.before_reads {
            stored.log = None;
            happens(&stored.disk);
            stored.open()?;
        }
        read(&mut stored)
    }

    fn write(&self, write: impl FnOnce(&mut Stored<D>) -> Result<()>) -> Result<()> {
        write(&mut self.0.lock().unwrap())
    }
}

impl<D: Disk + Clone> Stored<D> {
    fn open(&mut self) -> Result<()> {
        self.opened += 1;
        let settings = Settings { segment_bytes: SEGMENT_BYTES, ..Settings::new(NODE, self.opened) };
        let (log, recovered) = Log::open(self.disk.clone(), &self.folder, settings).map_err(|error| failed(&error))?;
        let group = recovered.groups.iter().find(|group| group.group == GROUP && !group.state.is_empty());
        self.purged = group.map_or(0, |group| group.purged);
        self.kept = group.map_or_else(Kept::default, |group| serde_json::from_slice(&group.state).unwrap());
        self.log = Some(log);
        Ok(())
    }

    fn log(&mut self) -> &mut Log<D> {
        self.log.as_mut().unwrap()
    }

    /// Writes, synced when this returns.
    fn store(&mut self, writes: &[Write<'_>]) -> Result<()> {
        self.log().write(writes).map_err(|error| failed(&error))?;
        if self.syncs {
            self.log().sync().map_err(|error| failed(&error))?;
        }
        self.log().reclaim().map_err(|error| failed(&error))?;
        for write in writes {
            match write {
                Write::Purge { until, .. } => self.purged = self.purged.max(*until),
                Write::Forget { .. } => self.purged = 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn store_kept(&mut self, and: &[Write<'_>]) -> Result<()> {
        let bytes = serde_json::to_vec(&self.kept).unwrap();
        let state = Write::State { group: GROUP, bytes: &bytes };
        self.store(&[&[state], and].concat())
    }

    fn append(&mut self, entries: &[Entry<Types>]) -> Result<()> {
        let payloads: Vec<Vec<u8>> = entries.iter().map(|entry| serde_json::to_vec(entry).unwrap()).collect();
        let place = |entry: &Entry<Types>| (entry.get_log_id().index + 1, entry.get_log_id().leader_id.term);
        let kept = serde_json::to_vec(&self.kept).unwrap();
        let mut writes = Vec::new();
        if let Some((first, _)) = entries.first().map(place)
            && self.next() != first
        {
            // The suite begins its logs where it likes, also before what was purged and behind a gap. Ours takes neither:
            // it is made anew, as when a snapshot takes its place.
            writes.push(Write::Forget { group: GROUP });
            writes.push(Write::State { group: GROUP, bytes: &kept });
            if first > 1 {
                writes.push(Write::Purge { group: GROUP, until: first - 1 });
            }
        }
        writes.extend(entries.iter().map(place).zip(&payloads).map(|((index, term), payload)| Write::Append {
            group: GROUP,
            index,
            term,
            payload,
        }));
        self.store(&writes)
    }

    /// The index of the next entry.
    fn next(&mut self) -> u64 {
        match self.log().entries(GROUP) {
            Some([_, (last, _)]) => last + 1,
            None => self.purged + 1,
        }
    }

    /// The entries from one of our indexes to another.
    fn entries(&mut self, mut from: u64, until: u64) -> Result<Vec<Entry<Types>>> {
        let mut all = Vec::new();
        let Some([(first, _), _]) = self.log().entries(GROUP) else { return Ok(all) };
        from = from.max(first);
        while from <= until {
            let read = self.log().read(GROUP, from, READ_BYTES).map_err(|error| failed(&error))?;
            if read.is_empty() {
                break;
            }
            for entry in read.into_iter().filter(|entry| entry.index <= until) {
                let found: Entry<Types> = serde_json::from_slice(entry.payload).unwrap();
                let id = found.get_log_id();
                assert_eq!((id.index + 1, id.leader_id.term), (entry.index, entry.term));
                all.push(found);
            }
            from = all.last().map_or(until, |last| last.get_log_id().index + 1) + 1;
        }
        Ok(all)
    }
}

impl<D: Disk + Clone + Send + Sync + 'static> RaftLogReader<Types> for LogStore<D>
where
    D::File: Send + Sync,
{
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>> {
        let from = match range.start_bound() {
            Bound::Included(start) => start + 1,
            Bound::Excluded(start) => start + 2,
            Bound::Unbounded => 1,
        };
        let until = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(|stored| stored.entries(from, until))
    }
}

impl<D: Disk + Clone + Send + Sync + 'static> RaftLogStorage<Types> for LogStore<D>
where
    D::File: Send + Sync,
{
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>> {
        self.read(|stored| {
            let last_purged_log_id = stored.kept.purged;
            let last = match stored.log().entries(GROUP) {
                Some([_, (last, _)]) => stored.entries(last, last)?.first().map(|entry| *entry.get_log_id()),
                None => None,
            };
            Ok(LogState { last_purged_log_id, last_log_id: last.or(last_purged_log_id) })
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<()> {
        self.write(|stored| {
            stored.kept.vote = Some(*vote);
            stored.store_kept(&[])
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        self.read(|stored| Ok(stored.kept.vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Result<()> {
        self.write(|stored| {
            stored.kept.committed = committed;
            stored.store_kept(&[])
        })
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<u64>>> {
        self.read(|stored| Ok(stored.kept.committed))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<()>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let appended = self.write(|stored| stored.append(&entries));
        let told = match &appended {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        callback.log_io_completed(told);
        appended
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Result<()> {
        self.write(|stored| stored.store(&[Write::Truncate { group: GROUP, from: log_id.index + 1 }]))
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Result<()> {
        self.write(|stored| {
            stored.kept.purged = Some(log_id);
            stored.store_kept(&[Write::Purge { group: GROUP, until: log_id.index + 1 }])
        })
    }
}
