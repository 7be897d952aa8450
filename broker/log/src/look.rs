//! Looking at a log without changing anything: how far its segments are intact, what is wrong behind that, and the
//! entries that can be read all the same.
//!
//! It tells torn from damaged by the rules of `recover`, and goes on where that gives up: what stands before damage was
//! written once, and is there for whoever must decide what to do.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::format::{SEGMENT_HEAD, SegmentHead};
use crate::log::{Cut, recovered_group};
use crate::recover::{continues, last_run, open_segment, read_segment};
use crate::replay::Replay;
use crate::scan::{Chain, Scanned, is_head, was_synced};
use crate::segment::{self, Segment, Tail, UNFINISHED};
use crate::{Disk, Entry, File, GroupId, Index, Log, OpenError, ReadError, RecoveredGroup, Settings};

/// A log as it was found.
pub struct Look<D: Disk> {
    /// Its segments, the oldest first.
    pub segments: Vec<SegmentLook>,
    /// The format of the first of them, if its head can be read.
    pub version: Option<u32>,
    /// The groups, as far as the log can be read.
    pub groups: Vec<RecoveredGroup>,
    /// Why it can't be opened. Groups and entries are those before the place that it names.
    pub problem: Option<OpenError>,
    /// What will be cut off when it is opened, as it was never synced.
    pub torn: Option<Cut>,
    /// Files that will be removed when it is opened: nothing needs them.
    pub left_over: Vec<String>,
    log: Log<D>,
}

/// A segment as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentLook {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// How many of them are intact batches; 0 if it was not read, because of what is before it or its head.
    pub intact: u64,
}

/// What was read of the segments that follow each other.
struct Reading<F> {
    replay: Replay,
    segments: VecDeque<Segment<F>>,
    looks: Vec<SegmentLook>,
    end: Option<Scanned>,
    /// Of the last segment: up to there, what follows the last batch may be old.
    recycled: u64,
}

/// Looks at the log in a folder.
///
/// # Errors
/// Only if the folder can't be listed. All else that is wrong is in what is returned.
pub fn look<D: Disk>(disk: D, folder: &Path) -> Result<Look<D>, OpenError> {
    let names = disk.list(folder).map_err(OpenError::disk("list", folder))?;
    let (old, run) = last_run(names.iter().filter_map(|name| segment::number(name)).collect());
    let unfinished = names.iter().filter(|name| name.ends_with(UNFINISHED)).cloned();
    let left_over = old.into_iter().map(segment::name).chain(unfinished).collect();

    let mut reading = Reading {
        replay: Replay::default(),
        segments: VecDeque::new(),
        looks: run.iter().map(|number| found(&disk, folder, *number)).collect(),
        end: None,
        recycled: 0,
    };
    let head = run.first().and_then(|number| head_of(&disk, folder, *number));
    // The first segment says whose log it is; all others must be of the same node.
    let settings = Settings::new(head.map_or(0, |head| head.node), 0);
    let mut torn = None;
    let read = run.iter().enumerate().try_for_each(|(at, number)| {
        let segment = reading.segment(&disk, folder, &settings, *number);
        reading.looks[at].intact = reading.segments.back().filter(|it| it.number == *number).map_or(0, |it| it.length);
        segment
    });
    let problem = read.and_then(|()| reading.tail()).and_then(|found| {
        torn = found;
        reading.missing(&run)
    });

    let Reading { replay, segments, looks, end, .. } = reading;
    let groups = replay.groups.iter().map(recovered_group).collect();
    let length = end.map_or(0, |end| end.length);
    let tail = Tail { length, synced: length, proven: length, sequence: 0, previous: 0 };
    let log = Log::looked_at(disk, folder, settings, replay.groups, segments, tail);
    let version = head.map(|head| head.version);
    Ok(Look { segments: looks, version, groups, problem: problem.err(), torn, left_over, log })
}

impl<D: Disk> fmt::Debug for Look<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, version, groups, problem, torn, left_over, log: _ } = self;
        let mut shown = f.debug_struct("Look");
        shown.field("segments", segments).field("version", version).field("groups", groups).field("problem", problem);
        shown.field("torn", torn).field("left_over", left_over).finish_non_exhaustive()
    }
}

impl<D: Disk> Look<D> {
    /// Reads the entries of a group from an index on: as many as take at most `bytes_max` together, but at least one.
    ///
    /// # Errors
    /// If the bytes have changed, or can't be read.
    pub fn read(&mut self, group: GroupId, from: Index, bytes_max: usize) -> Result<Vec<Entry<'_>>, ReadError> {
        self.log.read(group, from, bytes_max)
    }
}

/// A file that can't be opened says why when its turn has come.
fn found<D: Disk>(disk: &D, folder: &Path, number: u64) -> SegmentLook {
    let path = folder.join(segment::name(number));
    let bytes = disk.open(&path).and_then(|file| file.length()).unwrap_or(0);
    SegmentLook { path, bytes, intact: 0 }
}

/// What keeps it from being read is said when the segment is.
fn head_of<D: Disk>(disk: &D, folder: &Path, number: u64) -> Option<SegmentHead> {
    let file = disk.open(&folder.join(segment::name(number))).ok()?;
    let mut bytes = [0; SEGMENT_HEAD];
    file.read_at(0, &mut bytes).ok()?;
    SegmentHead::decode(&bytes).ok().map(|(head, _)| head)
}

impl<F: File> Reading<F> {
    /// Reads the next segment.
    fn segment<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        folder: &Path,
        settings: &Settings,
        number: u64,
    ) -> Result<(), OpenError> {
        let (segment, head) = open_segment(disk, folder, settings, number)?;
        let chain = Chain { sequence: head.sequence, previous: head.previous };
        if let (Some(before), Some(end)) = (self.segments.back(), self.end) {
            continues(&segment, chain, before, end)?;
        }
        self.recycled = u64::from(head.recycled);
        let scanned = read_segment(&segment, chain, settings, &mut self.replay);
        // Entries of a segment whose batches make no sense from some place on can be read before that.
        let length = match &scanned {
            Ok(scanned) => scanned.length,
            Err(OpenError::Damage(damage)) => damage.offset,
            Err(_) => 0,
        };
        self.segments.push_back(Segment { length, ..segment });
        self.end = Some(scanned?);
        Ok(())
    }

    /// What is behind the last batch: torn, or damaged.
    fn tail(&self) -> Result<Option<Cut>, OpenError> {
        let (Some(last), Some(end)) = (self.segments.back(), self.end) else { return Ok(None) };
        let Some(defect) = end.defect else { return Ok(None) };
        let failed = || OpenError::disk("read", &last.path);
        if was_synced(&last.file, last.seed, &end).map_err(failed())? {
            return Err(defect.in_file(&last.path, end.length).into());
        }
        let is_old = end.length < self.recycled && !is_head(&last.file, last.seed, end.length).map_err(failed())?;
        let bytes = last.file.length().map_err(failed())? - end.length;
        let cut = Cut { file: last.path.clone(), offset: end.length, bytes, defect };
        Ok(Some(cut).filter(|_| !is_old))
    }

    fn missing(&self, run: &[u64]) -> Result<(), OpenError> {
        let missing = self.replay.groups.iter().find_map(|(group, it)| Some((*group, it.missing()?)));
        match missing {
            Some((group, (from, until))) => Err(OpenError::Missing { group, from, until, segment: run[0] }),
            None => Ok(()),
        }
    }
}
