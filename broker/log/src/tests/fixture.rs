//! Short ways to say what a test is about.

use std::path::{Path, PathBuf};

use crate::disk::SimulatedDisk;
use crate::{Disk, GroupId, Index, Log, OpenError, Recovered, Settings, Term, Write};

pub(crate) const NODE: u64 = 0x0123_4567_89ab_cdef;

pub(crate) fn folder() -> &'static Path {
    Path::new("/log")
}

/// Segments that are full soon.
pub(crate) fn settings() -> Settings {
    Settings { segment_bytes: 4096, ..Settings::new(NODE, 7) }
}

pub(crate) fn open(disk: &SimulatedDisk) -> Result<(Log<SimulatedDisk>, Recovered), OpenError> {
    Log::open(disk.clone(), folder(), settings())
}

pub(crate) fn append(group: GroupId, index: Index, term: Term, payload: &[u8]) -> Write<'_> {
    Write::Append { group, index, term, payload }
}

/// A log with one entry of 100 bytes in each batch, all synced.
pub(crate) fn filled(disk: &SimulatedDisk, entries: Index) -> Log<SimulatedDisk> {
    let (mut log, _) = open(disk).expect("an empty disk");
    for index in 1..=entries {
        log.write(&[append(1, index, 1, &[index as u8; 100])]).expect("a disk with room");
        log.sync().expect("a disk that works");
    }
    log
}

/// The path of a segment.
pub(crate) fn segment(number: u64) -> PathBuf {
    folder().join(crate::segment::name(number))
}

/// Everything that can be read of a group.
pub(crate) fn all<D: Disk>(log: &mut Log<D>, group: GroupId) -> Vec<(Index, Term, Vec<u8>)> {
    let Some([(first, _), _]) = log.entries(group) else {
        return Vec::new();
    };
    let entries = log.read(group, first, usize::MAX).expect("what was written can be read");
    entries.iter().map(|entry| (entry.index, entry.term, entry.payload.to_vec())).collect()
}
