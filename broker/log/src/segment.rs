//! Segments as files: how they are named, and how one comes into being.
//!
//! A segment is made under a name that does not count, synced with its first batch, and only then named. So what
//! bears the name of a segment was whole once, and a head that is not intact is damage, never a torn write.
//!
//! One segment that is not needed any more is kept to be written over. A sync of blocks that a file has already takes
//! about half as long as one that must also record that it grew (ext4: 150 against 280 us; blocks that were only
//! allocated gain nothing). What it held can't be taken for new: all checksums begin with that of the new head.

use std::io;
use std::path::{Path, PathBuf};

use crate::batch::{Groups, Position, encode, offset_of};
use crate::error::Failed;
use crate::format::{Record, SEGMENT_HEAD, SegmentHead, VERSION};
use crate::settings::sabotaged;
use crate::{Disk, File, Settings, WriteError};

const DIGITS: usize = 16;
const SUFFIX: &str = ".log";
/// The end of the name of a file that is not a segment yet.
pub(crate) const UNFINISHED: &str = ".new";

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: F,
    /// With what its checksums begin.
    pub(crate) seed: u32,
    /// Its bytes; of the last one, those of whole batches.
    pub(crate) length: u64,
}

/// The end of the log, where the next batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Of the last segment.
    pub(crate) length: u64,
    /// How much of it is known to be on the disk.
    pub(crate) synced: u64,
    /// How much of it, but for batches without records, its batches say is on the disk.
    pub(crate) proven: u64,
    /// Of the next batch.
    pub(crate) sequence: u64,
    /// The checksum of the head of the last batch.
    pub(crate) previous: u32,
}

/// An old segment to make a new one of; there is at most one. Its name was taken away durably.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) path: PathBuf,
    pub(crate) file: F,
    pub(crate) length: u32,
}

/// Makes a spare of a segment.
pub(crate) fn set_aside<D: Disk>(
    disk: &D,
    folder: &Path,
    segment: Segment<D::File>,
    sync_folder: bool,
) -> Result<Spare<D::File>, Failed> {
    let Segment { path: old, file, .. } = segment;
    let path = folder.join(format!("spare{UNFINISHED}"));
    let length = file.length().map_err(|error| Failed::new("read", &old, &error))?;
    disk.rename(&old, &path).map_err(|error| Failed::new("put segment aside", &old, &error))?;
    // Only then may it be written over: a crash must not bring its old name back with new contents.
    if sync_folder {
        disk.sync_folder(folder).map_err(|error| Failed::new("sync folder", folder, &error))?;
    }
    // No segment is longer than offsets of 32 bits can say.
    Ok(Spare { path, file, length: u32::try_from(length).unwrap_or(u32::MAX) })
}

/// The name of a segment: its number in hexadecimal digits.
pub(crate) fn name(number: u64) -> String {
    format!("{number:0DIGITS$x}{SUFFIX}")
}

/// The number in a segment's name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (self::name(number) == name).then_some(number)
}

/// Makes a segment that begins with what the groups are, and says where its first batch ends. All before it is
/// synced. A disk that is full leaves no trace of it.
pub(crate) fn create<D: Disk>(
    disk: &D,
    folder: &Path,
    settings: &Settings,
    number: u64,
    groups: &Groups,
    before: Tail,
    spare: Option<Spare<D::File>>,
) -> Result<(Segment<D::File>, Tail), WriteError> {
    let path = folder.join(name(number));
    let unfinished = path.with_extension(&UNFINISHED[1..]);
    let Settings { node, salt, .. } = *settings;
    let Tail { sequence, previous, .. } = before;
    let recycled = spare.as_ref().map_or(0, |spare| spare.length);
    let (head, seed) = SegmentHead { version: VERSION, node, number, salt, sequence, previous, recycled }.encode();

    let carried = groups.iter().filter(|_| !sabotaged!(settings, StateNotCarried));
    let carried = carried.map(|(&group, it)| Record::Carry(it.carry(group)));
    let mut bytes = Vec::new();
    let mut position = Position { seed, offset: SEGMENT_HEAD as u32, sequence, previous, synced: 0 };
    encode(&mut bytes, position, carried.clone());
    // When the segment has its name, this batch is synced: it says so itself, which makes damage to it known as such.
    position.synced = SEGMENT_HEAD as u32 + offset_of(bytes.len());
    let previous = encode(&mut bytes, position, carried);
    bytes.splice(0..0, head);

    let length = bytes.len() as u64;
    let file = match write_new(disk, &unfinished, spare, &bytes) {
        Ok(file) => file,
        Err(error) if is_full(&error) => {
            let _ = disk.remove(&unfinished);
            return Err(WriteError::Full { wanted: bytes.len() });
        }
        Err(error) => return Err(Failed::new("write new segment", &unfinished, &error).into()),
    };
    file.sync().map_err(|error| Failed::new("sync new segment", &unfinished, &error))?;
    disk.rename(&unfinished, &path).map_err(|error| Failed::new("name new segment", &path, &error))?;
    if !sabotaged!(settings, FolderNotSynced) {
        disk.sync_folder(folder).map_err(|error| Failed::new("sync folder", folder, &error))?;
    }
    let tail = Tail { length, synced: length, proven: length, sequence: sequence + 1, previous };
    Ok((Segment { number, path, file, seed, length }, tail))
}

fn write_new<D: Disk>(disk: &D, path: &Path, spare: Option<Spare<D::File>>, bytes: &[u8]) -> io::Result<D::File> {
    let file = match spare {
        Some(spare) => {
            disk.rename(&spare.path, path)?;
            spare.file
        }
        None => disk.create(path)?,
    };
    file.write_at(0, bytes)?;
    Ok(file)
}

/// Whether an error means that there is no room, rather than that the disk is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
