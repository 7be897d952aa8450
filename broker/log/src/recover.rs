//! Opening a folder: what the segments say, what is cut, what is refused.
//!
//! **Torn or damaged.** A crash may leave anything behind the last sync, in any order of sectors: a batch that is not
//! intact there was never promised to anyone and is cut off, with all behind it. The same bytes before the last sync
//! are acknowledged data that the disk lost, and a node that cut them would break its word (a vote, a commit). So the
//! question is where the last sync was, and the log itself must answer it:
//!
//! 1. Every segment but the last was synced to its end before the next one got its name, and that one names the last
//!    batch before it. Nothing up to there can be torn; bytes behind it (left by a batch that found the disk full)
//!    were never data and are passed over.
//! 2. The first batch of a segment was synced before the segment got its name. It can't be torn either.
//! 3. Every batch says how much of its segment was synced before it. If any batch whose head is intact, at the broken
//!    place or anywhere behind it, says more than up to there, the broken place was synced: damage. If none does, it
//!    is torn, also when intact batches follow: several may have been written since the last sync, and sectors reach
//!    a disk in any order. (That a valid batch follows is therefore no sign of damage by itself.)
//! 4. What a log wrote last before it was idle has no batch behind it; [`settle`](crate::Log::settle) puts one there.
//!    What remains undecided is damage to the very last synced batch of a log that was neither settled nor written to
//!    afterwards: it is taken for torn, cut, and reported.
//!
//! **What a sync lost.** After a failed sync the kernel may call pages clean that never reached the disk: a later
//! sync succeeds, and they can be read until they are evicted. The log itself never goes on after a failure, but the
//! process that is started next would read, and trust, such pages. Hence all that no batch proves to be synced is
//! written over with itself and synced, before anyone is told of it.
//!
//! **What may be missing.** Segments are reclaimed from the front. Those that follow each other up to the last are
//! read; older ones before a gap came back after a crash and are removed, if all entries are found without them.

use std::collections::VecDeque;
use std::path::Path;

use crate::batch::Groups;
use crate::error::Defect;
use crate::format::{BATCH_HEAD, SEGMENT_HEAD, SegmentHead, VERSION, aligned};
use crate::log::Cut;
use crate::replay::Replay;
use crate::scan::{Chain, ScanError, Scanned, is_head, rewrite, scan, was_synced};
use crate::segment::{self, Segment, Tail, UNFINISHED};
use crate::settings::sabotaged;
use crate::{Damage, Disk, File, OpenError, Settings, WriteError};

/// What a log is made of when it was opened.
pub(crate) struct Found<F> {
    pub(crate) groups: Groups,
    pub(crate) segments: VecDeque<Segment<F>>,
    pub(crate) tail: Tail,
    pub(crate) cut: Option<Cut>,
}

/// Reads the folder, and makes a log of it that can be written to.
pub(crate) fn recover<D: Disk>(disk: &D, folder: &Path, settings: &Settings) -> Result<Found<D::File>, OpenError> {
    disk.create_folder(folder).map_err(OpenError::disk("create", folder))?;
    let names = disk.list(folder).map_err(OpenError::disk("list", folder))?;
    let (left_over, run) = last_run(names.iter().filter_map(|name| segment::number(name)).collect());

    let mut replay = Replay::default();
    let mut segments = VecDeque::new();
    let mut end: Option<Scanned> = None;
    let mut recycled = 0;
    for &number in &run {
        let (segment, head) = open_segment(disk, folder, settings, number)?;
        let chain = Chain { sequence: head.sequence, previous: head.previous };
        if let (Some(before), Some(end)) = (segments.back(), end) {
            continues(&segment, chain, before, end)?;
        }
        recycled = u64::from(head.recycled);
        let scanned = read_segment(&segment, chain, settings, &mut replay)?;
        end = Some(scanned);
        segments.push_back(Segment { length: scanned.length, ..segment });
    }
    if let (Some(last), Some(end)) = (segments.back(), end)
        && let Some(defect) = end.defect
        && was_synced(&last.file, last.seed, &end).map_err(OpenError::disk("read", &last.path))?
    {
        return Err(defect.in_file(&last.path, end.length).into());
    }
    if let Some(missing) = replay.groups.iter().find_map(|(&group, it)| Some((group, it.missing()?))) {
        let (group, (from, until)) = missing;
        return Err(OpenError::Missing { group, from, until, segment: run[0] });
    }

    // From here on the folder is changed.
    let unfinished = names.iter().filter(|name| name.ends_with(UNFINISHED)).cloned();
    for name in left_over.into_iter().map(segment::name).chain(unfinished) {
        let path = folder.join(name);
        disk.remove(&path).map_err(OpenError::disk("remove", &path))?;
    }
    let (tail, cut) = match (segments.back(), end) {
        (Some(segment), Some(end)) => settle_tail(segment, end, recycled, settings)?,
        _ => {
            let nothing = Tail { length: 0, synced: 0, proven: 0, sequence: 1, previous: 0 };
            let made = segment::create(disk, folder, settings, 1, &Groups::new(), nothing, None);
            let (segment, tail) = made.map_err(|error| not_created(folder, error))?;
            segments.push_back(segment);
            (tail, None)
        }
    };
    disk.sync_folder(folder).map_err(OpenError::disk("sync", folder))?;
    Ok(Found { groups: replay.groups, segments, tail, cut })
}

/// Divides numbers into those before the last gap, and those that follow each other up to the last.
pub(crate) fn last_run(mut numbers: Vec<u64>) -> (Vec<u64>, Vec<u64>) {
    numbers.sort_unstable();
    let begin = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]).map_or(0, |gap| gap + 1);
    let run = numbers.split_off(begin);
    (numbers, run)
}

pub(crate) fn open_segment<D: Disk>(
    disk: &D,
    folder: &Path,
    settings: &Settings,
    number: u64,
) -> Result<(Segment<D::File>, SegmentHead), OpenError> {
    let path = folder.join(segment::name(number));
    let file = disk.open(&path).map_err(OpenError::disk("open", &path))?;
    let (head, seed) = read_head(&file, &path, settings, number)?;
    Ok((Segment { number, path, file, seed, length: 0 }, head))
}

/// Whether a segment begins where the one before it ends.
pub(crate) fn continues<F>(
    segment: &Segment<F>,
    chain: Chain,
    before: &Segment<F>,
    end: Scanned,
) -> Result<(), Damage> {
    if chain == end.chain {
        return Ok(());
    }
    if let Some(defect) = end.defect {
        return Err(defect.in_file(&before.path, end.length));
    }
    let defect = if chain.sequence == end.chain.sequence {
        let (found, wanted) = (u64::from(chain.previous), u64::from(end.chain.previous));
        Defect { what: "checksum of the last batch of the segment before", found, wanted }
    } else {
        Defect { what: "sequence of a segment", found: chain.sequence, wanted: end.chain.sequence }
    };
    Err(defect.in_file(&segment.path, 0))
}

/// Replays the intact batches of a segment, of which the first one must be there.
pub(crate) fn read_segment<F: File>(
    segment: &Segment<F>,
    chain: Chain,
    settings: &Settings,
    replay: &mut Replay,
) -> Result<Scanned, OpenError> {
    let Segment { number, path, file, seed, .. } = segment;
    let mut is_first = true;
    let scanned = scan(file, *seed, chain, settings, |offset, records| {
        if std::mem::take(&mut is_first) { replay.carried(records) } else { replay.written(*number, offset, records) }
    });
    let scanned = scanned.map_err(|error| match error {
        ScanError::Disk(source) => OpenError::disk("read", path)(source),
        ScanError::Records(offset, defect) => defect.in_file(path, offset).into(),
    })?;
    if is_first {
        let nothing = Defect { what: "length of a batch's head", found: 0, wanted: BATCH_HEAD as u64 };
        return Err(scanned.defect.unwrap_or(nothing).in_file(path, scanned.length).into());
    }
    Ok(scanned)
}

fn read_head<F: File>(
    file: &F,
    path: &Path,
    settings: &Settings,
    number: u64,
) -> Result<(SegmentHead, u32), OpenError> {
    let length = file.length().map_err(OpenError::disk("read", path))?;
    let mut bytes = [0; SEGMENT_HEAD];
    if length < SEGMENT_HEAD as u64 {
        let defect = Defect { what: "length of the segment's head", found: length, wanted: SEGMENT_HEAD as u64 };
        return Err(defect.in_file(path, 0).into());
    }
    file.read_at(0, &mut bytes).map_err(OpenError::disk("read", path))?;
    let (head, seed) = SegmentHead::decode(&bytes).map_err(|defect| defect.in_file(path, 0))?;
    if head.version != VERSION {
        return Err(OpenError::Version { file: path.to_owned(), found: head.version, wanted: VERSION });
    }
    if head.node != settings.node {
        return Err(OpenError::OtherNode { file: path.to_owned(), found: head.node, wanted: settings.node });
    }
    if head.number != number {
        let defect = Defect { what: "number of the segment", found: head.number, wanted: number };
        return Err(defect.in_file(path, 0).into());
    }
    Ok((head, seed))
}

/// Cuts what is torn, and makes sure that the rest is on the disk.
fn settle_tail<F: File>(
    segment: &Segment<F>,
    end: Scanned,
    recycled: u64,
    settings: &Settings,
) -> Result<(Tail, Option<Cut>), OpenError> {
    let Scanned { length, proven, chain: Chain { sequence, previous }, defect } = end;
    let Segment { file, path, seed, .. } = segment;
    let on_disk = file.length().map_err(OpenError::disk("read", path))?;
    let cut = defect.map(|defect| Cut { file: path.clone(), offset: length, bytes: on_disk - length, defect });
    if sabotaged!(settings, TailNotCut) {
        let length = aligned(on_disk);
        return Ok((Tail { length, synced: length, proven, sequence, previous }, cut));
    }
    let is_old = length < recycled && !is_head(file, *seed, length).map_err(OpenError::disk("read", path))?;
    if cut.is_some() {
        file.set_length(length).map_err(OpenError::disk("cut", path))?;
    }
    if !sabotaged!(settings, TailNotRewritten) {
        rewrite(file, proven, length).map_err(OpenError::disk("write", path))?;
    }
    file.sync().map_err(OpenError::disk("sync", path))?;
    // What an old segment left there is no loss that anyone should hear of.
    Ok((Tail { length, synced: length, proven, sequence, previous }, cut.filter(|_| !is_old)))
}

fn not_created(folder: &Path, error: WriteError) -> OpenError {
    let source = match error {
        WriteError::Full { .. } => std::io::ErrorKind::StorageFull.into(),
        other => std::io::Error::other(other),
    };
    OpenError::disk("begin a log in", folder)(source)
}
