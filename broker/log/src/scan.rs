//! Reading one segment from its beginning to the first batch that is not intact, and looking for proof behind it.

use std::io;

use crate::batch::offset_of;
use crate::error::Defect;
use crate::format::{BATCH_HEAD, BatchHead, SEGMENT_HEAD, aligned, records_checksum};
use crate::settings::sabotaged;
use crate::{File, Settings};

/// How much is read at once.
const WINDOW_BYTES: usize = 1024 * 1024;

/// What a batch must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) sequence: u64,
    pub(crate) previous: u32,
}

/// How far a segment is intact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanned {
    /// The end of the last intact batch.
    pub(crate) length: u64,
    /// How much of that was synced, as far as its batches say.
    pub(crate) proven: u64,
    /// What the next batch must continue.
    pub(crate) chain: Chain,
    /// What is wrong with the bytes behind, if there are any.
    pub(crate) defect: Option<Defect>,
}

/// Why a scan ended early.
pub(crate) enum ScanError {
    /// The disk refused.
    Disk(io::Error),
    /// An intact batch whose records make no sense.
    Records(u64, Defect),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Gives each intact batch to `handle`, with the offset of its records.
pub(crate) fn scan<F: File>(
    file: &F,
    seed: u32,
    mut chain: Chain,
    settings: &Settings,
    mut handle: impl FnMut(u32, &[u8]) -> Result<(), Defect>,
) -> Result<Scanned, ScanError> {
    let mut window = Window::new(file)?;
    let mut offset = SEGMENT_HEAD as u64;
    let mut proven = 0;
    let defect = loop {
        if offset == window.length {
            break None;
        }
        match batch_at(&mut window, seed, offset, chain, settings)? {
            Err(defect) => break Some(defect),
            Ok((head, checksum, records)) => {
                let at = batch_offset(offset) + BATCH_HEAD as u32;
                handle(at, records).map_err(|defect| ScanError::Records(offset, defect))?;
                proven = proven.max(u64::from(head.synced));
                chain = Chain { sequence: chain.sequence + 1, previous: checksum };
                offset = end_of(offset, &head);
            }
        }
    };
    Ok(Scanned { length: offset, proven, chain, defect })
}

/// Whether a batch behind the intact ones says that more than those was synced. Then what stands next was on the disk
/// once, and what is wrong with it is damage.
///
/// In a segment made of an old one stand thousands of old heads, of which a checksum alone might let one pass some day.
/// Their sequence does not: it is lower than that of any batch here.
pub(crate) fn was_synced<F: File>(file: &F, seed: u32, intact: &Scanned) -> io::Result<bool> {
    let Scanned { length: offset, chain: Chain { sequence, .. }, .. } = *intact;
    let mut window = Window::new(file)?;
    let mut at = offset;
    while let Some(bytes) = window.get(at, BATCH_HEAD)? {
        if let Ok((head, _)) = BatchHead::decode(bytes, seed, batch_offset(at))
            && u64::from(head.synced) > offset
            && (sequence..=sequence + (at - offset) / BATCH_HEAD as u64).contains(&head.sequence)
        {
            return Ok(true);
        }
        at += BATCH_HEAD as u64;
    }
    Ok(false)
}

/// Whether a batch of this segment was begun at `offset`.
pub(crate) fn is_head<F: File>(file: &F, seed: u32, offset: u64) -> io::Result<bool> {
    let mut window = Window::new(file)?;
    let bytes = window.get(offset, BATCH_HEAD)?;
    Ok(bytes.is_some_and(|bytes| BatchHead::decode(bytes, seed, batch_offset(offset)).is_ok()))
}

type Batch<'w> = (BatchHead, u32, &'w [u8]);

fn batch_at<'w, F: File>(
    window: &'w mut Window<'_, F>,
    seed: u32,
    offset: u64,
    chain: Chain,
    settings: &Settings,
) -> io::Result<Result<Batch<'w>, Defect>> {
    let left = window.length - offset;
    let Some(bytes) = window.get(offset, BATCH_HEAD)? else {
        return Ok(Err(Defect { what: "length of a batch's head", found: left, wanted: BATCH_HEAD as u64 }));
    };
    let (head, checksum) = match BatchHead::decode(bytes, seed, batch_offset(offset)) {
        Ok(decoded) => decoded,
        Err(defect) => return Ok(Err(defect)),
    };
    let links = [
        ("sequence of a batch", head.sequence, chain.sequence),
        ("checksum of the batch before", u64::from(head.previous), u64::from(chain.previous)),
    ];
    if let Some((what, found, wanted)) = links.into_iter().find(|(_, found, wanted)| found != wanted) {
        return Ok(Err(Defect { what, found, wanted }));
    }
    let wanted = end_of(offset, &head) - offset;
    let begin = offset + BATCH_HEAD as u64;
    let length = usize::try_from(wanted).expect("a batch fits in memory") - BATCH_HEAD;
    let Some(records) = window.get(begin, length)? else {
        return Ok(Err(Defect { what: "length of a batch", found: left, wanted }));
    };
    let found = records_checksum(seed, batch_offset(offset), records);
    if found != head.checksum && !sabotaged!(settings, ChecksumNotChecked) {
        return Ok(Err(Defect { what: "checksum of a batch", found: u64::from(found), wanted: head.checksum.into() }));
    }
    Ok(Ok((head, checksum, &records[..head.length as usize])))
}

fn end_of(offset: u64, head: &BatchHead) -> u64 {
    aligned(offset + BATCH_HEAD as u64 + u64::from(head.length))
}

fn batch_offset(offset: u64) -> u32 {
    // No segment that we wrote is longer; of a longer file only a part can be intact.
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// A file, read in large pieces from front to back.
struct Window<'f, F> {
    file: &'f F,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'f, F: File> Window<'f, F> {
    fn new(file: &'f F) -> io::Result<Self> {
        Ok(Self { file, length: file.length()?, start: 0, bytes: Vec::new() })
    }

    /// Bytes of the file, or nothing if it has not as many.
    fn get(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if offset + count as u64 > self.length {
            return Ok(None);
        }
        let held = self.start..self.start + self.bytes.len() as u64;
        if !held.contains(&offset) || offset + count as u64 > held.end {
            let left = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
            self.bytes.resize(left.min(count.max(WINDOW_BYTES)), 0);
            self.file.read_at(offset, &mut self.bytes)?;
            self.start = offset;
        }
        let at = usize::try_from(offset - self.start).expect("an offset in a buffer");
        Ok(Some(&self.bytes[at..at + count]))
    }
}

/// Writes a range of a file over with what can be read there.
pub(crate) fn rewrite<F: File>(file: &F, mut from: u64, until: u64) -> io::Result<()> {
    let mut bytes = Vec::new();
    while from < until {
        let count = usize::try_from(until - from).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        bytes.resize(count, 0);
        file.read_at(from, &mut bytes)?;
        file.write_at(from, &bytes)?;
        from += u64::from(offset_of(count));
    }
    Ok(())
}
