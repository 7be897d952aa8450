//! The log: one writer for all groups of a node.
//!
//! A turn of its owner is `write`, `sync`, telling the groups, and when there is time `settle` and `reclaim`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::batch::{self, Groups, Position, offset_of};
use crate::error::{Defect, Failed};
use crate::format::Record;
use crate::index::Place;
use crate::recover;
use crate::segment::{self, Segment, Spare, Tail};
use crate::settings::sabotaged;
use crate::{Disk, File, GroupId, Index, OpenError, Settings, Term, Write, WriteError};

/// A buffer that grew beyond this for one large batch is given back.
pub(crate) const BUFFER_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// The write-ahead log of all groups of a node.
#[derive(Debug)]
pub struct Log<D: Disk> {
    pub(crate) disk: D,
    folder: PathBuf,
    settings: Settings,
    pub(crate) groups: Groups,
    /// With consecutive numbers; never empty.
    pub(crate) segments: VecDeque<Segment<D::File>>,
    tail: Tail,
    spare: Option<Spare<D::File>>,
    /// Older segments may go: nothing that is synced needs them.
    needed_from: u64,
    pub(crate) failed: Option<Failed>,
    buffer: Vec<u8>,
    pub(crate) read_buffer: Vec<u8>,
}

/// What a log had to say when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Every group, in rising order.
    pub groups: Vec<RecoveredGroup>,
    /// What was cut off, if the last batches were torn. None of it had been synced.
    pub cut: Option<Cut>,
}

/// One group, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// Which.
    pub group: GroupId,
    /// As it was written last; empty if it never was.
    pub state: Vec<u8>,
    /// The last index that was given up; 0 if none was.
    pub purged: Index,
    /// Index and term of the first and the last entry.
    pub entries: Option<[(Index, Term); 2]>,
}

/// The end of a segment that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Its length now.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// What was wrong with the first of them.
    pub defect: Defect,
}

/// How much a log takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Files.
    pub segments: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// Entries that may be read.
    pub entries: u64,
    /// Bytes of memory that remember where they are.
    pub index_bytes: usize,
}

impl<D: Disk> Log<D> {
    /// Opens the log in this folder, or begins one. What is recovered is on the disk when this returns.
    pub fn open(disk: D, folder: &Path, settings: Settings) -> Result<(Self, Recovered), OpenError> {
        settings.check()?;
        let found = recover::recover(&disk, folder, &settings)?;
        let recovered = Recovered { groups: found.groups.iter().map(recovered_group).collect(), cut: found.cut };
        let mut log = Self {
            disk,
            folder: folder.to_owned(),
            settings,
            groups: found.groups,
            segments: found.segments,
            tail: found.tail,
            spare: None,
            needed_from: 0,
            failed: None,
            buffer: Vec::new(),
            read_buffer: Vec::new(),
        };
        log.needed_from = log.oldest_needed();
        Ok((log, recovered))
    }

    /// One that is only read from, by [`crate::look`].
    pub(crate) fn looked_at(
        disk: D,
        folder: &Path,
        settings: Settings,
        groups: Groups,
        segments: VecDeque<Segment<D::File>>,
        tail: Tail,
    ) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            settings,
            groups,
            segments,
            tail,
            spare: None,
            needed_from: 0,
            failed: None,
            buffer: Vec::new(),
            read_buffer: Vec::new(),
        }
    }

    /// Writes one batch, whole or not at all; it can be read at once, and is on the disk after the next [`Self::sync`].
    pub fn write(&mut self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        self.usable()?;
        batch::check(&self.groups, writes, &self.settings)?;
        if writes.is_empty() {
            return Ok(());
        }
        let offset = match self.write_where_it_fits(writes) {
            Err(WriteError::Full { .. }) if self.give_up_spare()? => self.write_where_it_fits(writes)?,
            other => other?,
        };
        let mut at = offset + crate::format::BATCH_HEAD as u64;
        let segment = self.last_segment().number;
        for write in writes {
            let length = batch::payload(write).len();
            let place =
                Place { offset: offset_of(usize::try_from(at).unwrap_or(usize::MAX)), length: offset_of(length) };
            batch::apply(&mut self.groups, write, segment, place);
            at += (crate::format::RECORD_HEAD + length) as u64;
        }
        Ok(())
    }

    /// Makes all that was written durable. After an error the log takes nothing more: [`Failed`].
    pub fn sync(&mut self) -> Result<(), Failed> {
        self.usable()?;
        if self.tail.synced < self.tail.length && !sabotaged!(self.settings, NoSync) {
            let Segment { file, path, .. } = self.last_segment();
            if let Err(error) = file.sync() {
                return Err(self.fail(Failed::new("sync segment", &path.clone(), &error)));
            }
        }
        self.tail.synced = self.tail.length;
        self.needed_from = self.oldest_needed();
        Ok(())
    }

    /// Writes down, without syncing it, that all before was synced, if that is so and nothing says it yet.
    ///
    /// Every batch says how much was synced before it. With the last ones synced and nothing after them, damage to them
    /// could not be told from a torn write; a batch without records behind them makes that known as well. Worth doing
    /// when a log becomes idle.
    pub fn settle(&mut self) -> Result<(), WriteError> {
        self.usable()?;
        if self.tail.synced == self.tail.length && self.tail.proven < self.tail.length {
            self.write_batch(&[])?;
            // Damage to this batch itself would be no loss.
            self.tail.proven = self.tail.length;
        }
        Ok(())
    }

    /// Syncs and settles what was written. A log that is dropped instead is as one whose process was killed.
    pub fn close(mut self) -> Result<(), WriteError> {
        self.sync()?;
        self.settle()?;
        Ok(self.sync()?)
    }

    /// Removes the segments that nothing needs since the last sync, and says how many. The file of one is kept for the
    /// next segment.
    pub fn reclaim(&mut self) -> Result<usize, Failed> {
        self.usable()?;
        let needed_from =
            if sabotaged!(self.settings, ReclaimBeforeSync) { self.oldest_needed() } else { self.needed_from };
        let mut removed = 0;
        while let Some(segment) = self.segments.pop_front_if(|segment| segment.number < needed_from) {
            removed += 1;
            if self.spare.is_none() {
                self.keep_as_spare(segment)?;
            } else if let Err(error) = self.disk.remove(&segment.path) {
                return Err(self.fail(Failed::new("remove segment", &segment.path, &error)));
            }
            // After a removal the folder is not synced: a segment that comes back is one that nothing needs, and goes
            // when the log is opened.
        }
        Ok(removed)
    }

    /// The group whose entries keep the oldest segment: who must be purged before anything can be reclaimed.
    #[must_use]
    pub fn pinned(&self) -> Option<GroupId> {
        let oldest = self.segments.front().filter(|_| self.segments.len() > 1)?.number;
        self.groups.iter().find(|(_, group)| group.oldest_segment() == Some(oldest)).map(|(&id, _)| id)
    }

    /// Index and term of the first and the last entry of a group.
    #[must_use]
    pub fn entries(&self, group: GroupId) -> Option<[(Index, Term); 2]> {
        first_and_last(self.groups.get(&group)?)
    }

    /// The term of an entry, if there is one at this index.
    #[must_use]
    pub fn term(&self, group: GroupId, index: Index) -> Option<Term> {
        self.groups.get(&group)?.term(index)
    }

    /// What the log takes up now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let sealed = self.segments.iter().take(self.segments.len() - 1);
        let sizes = self.groups.values().map(crate::index::Group::size);
        let (entries, index_bytes) = sizes.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        let bytes = sealed.map(|segment| segment.length).sum::<u64>() + self.tail.length;
        Usage { segments: self.segments.len(), bytes, entries, index_bytes }
    }

    pub(crate) fn usable(&self) -> Result<(), Failed> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, failed: Failed) -> Failed {
        self.failed = Some(failed.clone());
        failed
    }

    fn last_segment(&self) -> &Segment<D::File> {
        self.segments.back().expect("a log has a segment from the beginning")
    }

    fn oldest_needed(&self) -> u64 {
        let last = self.last_segment().number;
        self.groups.values().filter_map(crate::index::Group::oldest_segment).min().unwrap_or(last)
    }

    fn keep_as_spare(&mut self, segment: Segment<D::File>) -> Result<(), Failed> {
        let sync_folder = !sabotaged!(self.settings, SpareNotSynced);
        let spare = segment::set_aside(&self.disk, &self.folder, segment, sync_folder);
        self.spare = Some(spare.map_err(|failed| self.fail(failed))?);
        Ok(())
    }

    /// Makes room on a full disk, if there is a spare.
    fn give_up_spare(&mut self) -> Result<bool, Failed> {
        let Some(Spare { path, .. }) = self.spare.take() else {
            return Ok(false);
        };
        match self.disk.remove(&path) {
            Ok(()) => Ok(true),
            Err(error) => Err(self.fail(Failed::new("remove segment", &path, &error))),
        }
    }

    /// Appends a batch to the last segment, or begins the next if that is full.
    fn write_where_it_fits(&mut self, writes: &[Write<'_>]) -> Result<u64, WriteError> {
        if self.tail.length >= self.settings.segment_bytes {
            self.begin_segment()?;
        }
        self.write_batch(writes)
    }

    /// Appends the bytes of a batch, and says where it begins.
    fn write_batch(&mut self, writes: &[Write<'_>]) -> Result<u64, WriteError> {
        let Tail { length: offset, synced, sequence, previous, .. } = self.tail;
        let mut buffer = std::mem::take(&mut self.buffer);
        let segment = self.last_segment();
        let position =
            Position { seed: segment.seed, offset: to_u32(offset), sequence, previous, synced: to_u32(synced) };
        let previous = batch::encode(&mut buffer, position, writes.iter().copied().map(Record::Write));
        let written = segment.file.write_at(offset, &buffer).map_err(|error| {
            // A crash may bring back what is cut here; it continues nothing then, and is cut again or passed over.
            let cut = segment.file.set_length(offset);
            match cut {
                Ok(()) if segment::is_full(&error) => WriteError::Full { wanted: buffer.len() },
                Ok(()) => Failed::new("write segment", &segment.path, &error).into(),
                Err(error) => Failed::new("cut segment back", &segment.path, &error).into(),
            }
        });
        let length = offset + buffer.len() as u64;
        buffer.clear();
        buffer.shrink_to(BUFFER_KEPT_BYTES);
        self.buffer = buffer;
        if let Err(error) = written {
            return Err(self.note(error));
        }
        self.tail = Tail { length, synced, proven: synced, sequence: sequence + 1, previous };
        Ok(offset)
    }

    /// Seals the last segment and begins the next.
    fn begin_segment(&mut self) -> Result<(), WriteError> {
        self.sync()?;
        let number = self.last_segment().number + 1;
        let spare = self.spare.take();
        let made = segment::create(&self.disk, &self.folder, &self.settings, number, &self.groups, self.tail, spare);
        let (segment, tail) = made.map_err(|error| self.note(error))?;
        let sealed = self.tail.length;
        self.segments.back_mut().expect("a log has a segment from the beginning").length = sealed;
        self.segments.push_back(segment);
        self.tail = tail;
        self.needed_from = self.oldest_needed();
        Ok(())
    }

    /// Remembers an error that is for ever.
    fn note(&mut self, error: WriteError) -> WriteError {
        if let WriteError::Failed(failed) = &error {
            self.failed = Some(failed.clone());
        }
        error
    }
}

fn to_u32(offset: u64) -> u32 {
    u32::try_from(offset).expect("a full segment and the largest batch stay below 4 GiB")
}

fn first_and_last(group: &crate::index::Group) -> Option<[(Index, Term); 2]> {
    let (first, last) = group.entries()?;
    Some([(first, group.term(first)?), (last, group.term(last)?)])
}

pub(crate) fn recovered_group((&id, group): (&GroupId, &crate::index::Group)) -> RecoveredGroup {
    RecoveredGroup {
        group: id,
        state: group.state.clone(),
        purged: group.span().purged,
        entries: first_and_last(group),
    }
}
