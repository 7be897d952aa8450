//! Every byte of a segment.
//!
//! ```text
//! segment = head (64 bytes) batch+
//! head    =  0 magic "fulmrlog"           24 number of the segment, from 1
//!            8 version (32 bits)          32 salt
//!           12 checksum (32 bits)         40 sequence of its first batch
//!           16 node that writes it        48 checksum of the head of the batch before that, 0 if there is none (32 bits)
//!                                         52 bytes of the file it was made of, 0 if new (32 bits); zeros
//! batch   = head (32 bytes) record* zeros, up to a multiple of 32 bytes
//! head    =  0 magic "FBAT" (32 bits)     16 length of the records (32 bits)
//!            4 checksum (32 bits)         20 checksum of records and zeros (32 bits)
//!            8 sequence, from 1           24 how many bytes of this segment were synced before (32 bits)
//!                                         28 checksum of the head of the batch before (32 bits)
//! record  =  0 checksum (32 bits)          9 group (32 bits)
//!            4 length of what follows (32) 13 index
//!            8 kind (8 bits)              21 term             29 the bytes
//! ```
//! The head of a segment looks like this in every version. Integers are little-endian and have 64 bits where nothing else is said. Checksums are CRC-32C.
//!
//! - That of a segment's head is over the head, zeros in its place. All others in the segment begin with it, and those
//!   of batches and records take in their offset: what was written elsewhere, in another life of the blocks, or by a
//!   client who imitates a batch in a message does not pass.
//! - A head of a batch never straddles a sector, so it is there or not. Each names the one before by sequence and
//!   checksum: of two batches that ever stood at the same place, only one continues what stands before it.
//! - A record has a checksum of its own for being read alone; that of a batch makes it whole or nothing.
//!
//! | kind | | index | term | the bytes |
//! |---|---|---|---|---|
//! | 1 | state | 0 | 0 | the state |
//! | 2 | append | of the entry | of the entry | the payload |
//! | 3 | truncate | the first to go | 0 | |
//! | 4 | purge | the last to go | 0 | |
//! | 5 | forget | 0 | 0 | |
//! | 6 | carry | the last purged | the next index | the state |
//!
//! The first batch of a segment holds one *carry* for each group, in rising order, and nothing else: all that older
//! segments said, but for the entries themselves.

use crate::error::Defect;
use crate::{GroupId, Index, Write};

/// The head of a segment.
pub(crate) const SEGMENT_HEAD: usize = 64;
/// The head of a batch; batches begin at multiples of it.
pub(crate) const BATCH_HEAD: usize = 32;
/// What stands before the bytes of a record.
pub(crate) const RECORD_HEAD: usize = 29;
/// The format that we write and read.
pub(crate) const VERSION: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"fulmrlog";
const BATCH_MAGIC: &[u8; 4] = b"FBAT";

const STATE: u8 = 1;
const APPEND: u8 = 2;
const TRUNCATE: u8 = 3;
const PURGE: u8 = 4;
const FORGET: u8 = 5;
const CARRY: u8 = 6;

/// Where the next batch begins, given where the records of this one end.
pub(crate) const fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(BATCH_HEAD as u64)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}

fn checksum(seed: u32, offset: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &offset.to_le_bytes()), bytes)
}

fn expect(what: &'static str, found: impl Into<u64>, wanted: impl Into<u64>) -> Result<(), Defect> {
    let (found, wanted) = (found.into(), wanted.into());
    if found == wanted { Ok(()) } else { Err(Defect { what, found, wanted }) }
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) version: u32,
    pub(crate) node: u64,
    pub(crate) number: u64,
    pub(crate) salt: u64,
    /// Of its first batch.
    pub(crate) sequence: u64,
    /// The checksum of the head of the last batch of the segment before.
    pub(crate) previous: u32,
    /// The length of the old segment that it was made of: up to there, what follows the last batch may be old.
    pub(crate) recycled: u32,
}

impl SegmentHead {
    /// The bytes, and the checksum with which all others of the segment begin.
    pub(crate) fn encode(&self) -> ([u8; SEGMENT_HEAD], u32) {
        let mut bytes = [0; SEGMENT_HEAD];
        bytes[0..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.node.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.previous.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.recycled.to_le_bytes());
        let seed = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&seed.to_le_bytes());
        (bytes, seed)
    }

    /// The head with its checksum. Whether version, node and number are the right ones is for the caller to say.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEAD]) -> Result<(Self, u32), Defect> {
        expect("magic of the segment", u64_at(bytes, 0), u64::from_le_bytes(*SEGMENT_MAGIC))?;
        let seed = u32_at(bytes, 12);
        let mut unsigned = *bytes;
        unsigned[12..16].fill(0);
        expect("checksum of the segment's head", seed, crc32c::crc32c(&unsigned))?;
        let head = Self {
            version: u32_at(bytes, 8),
            node: u64_at(bytes, 16),
            number: u64_at(bytes, 24),
            salt: u64_at(bytes, 32),
            sequence: u64_at(bytes, 40),
            previous: u32_at(bytes, 48),
            recycled: u32_at(bytes, 52),
        };
        Ok((head, seed))
    }
}

/// What stands before the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) sequence: u64,
    /// Of the records.
    pub(crate) length: u32,
    /// Of the records and the zeros behind.
    pub(crate) checksum: u32,
    /// Everything before this offset was synced when the batch was written.
    pub(crate) synced: u32,
    pub(crate) previous: u32,
}

impl BatchHead {
    /// The bytes for this offset, and their checksum.
    pub(crate) fn encode(&self, seed: u32, offset: u32) -> ([u8; BATCH_HEAD], u32) {
        let mut bytes = [0; BATCH_HEAD];
        bytes[0..4].copy_from_slice(BATCH_MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.synced.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.previous.to_le_bytes());
        let checksum = checksum(seed, offset, &bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// The head with its checksum.
    pub(crate) fn decode(bytes: &[u8], seed: u32, offset: u32) -> Result<(Self, u32), Defect> {
        expect("magic of the batch", u32_at(bytes, 0), u32::from_le_bytes(*BATCH_MAGIC))?;
        let found = u32_at(bytes, 4);
        expect("checksum of the batch's head", found, checksum(seed, offset, &bytes[8..BATCH_HEAD]))?;
        let head = Self {
            sequence: u64_at(bytes, 8),
            length: u32_at(bytes, 16),
            checksum: u32_at(bytes, 20),
            synced: u32_at(bytes, 24),
            previous: u32_at(bytes, 28),
        };
        Ok((head, found))
    }
}

/// The checksum of the records of the batch at this offset, with the zeros behind them.
pub(crate) fn records_checksum(seed: u32, offset: u32, records: &[u8]) -> u32 {
    checksum(seed, offset, records)
}

/// A record as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// Something that was written.
    Write(Write<'a>),
    /// What a segment begins with.
    Carry(Carry<'a>),
}

/// All of a group but its entries, as it was when a segment was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carry<'a> {
    pub(crate) group: GroupId,
    pub(crate) purged: Index,
    pub(crate) next: Index,
    pub(crate) state: &'a [u8],
}

/// Appends a record to a segment that is `offset` bytes long before it.
pub(crate) fn encode_record(out: &mut Vec<u8>, seed: u32, offset: u32, record: Record<'_>) {
    let (kind, group, index, term, bytes): (_, _, _, _, &[u8]) = match record {
        Record::Write(Write::State { group, bytes }) => (STATE, group, 0, 0, bytes),
        Record::Write(Write::Append { group, index, term, payload }) => (APPEND, group, index, term, payload),
        Record::Write(Write::Truncate { group, from }) => (TRUNCATE, group, from, 0, &[]),
        Record::Write(Write::Purge { group, until }) => (PURGE, group, until, 0, &[]),
        Record::Write(Write::Forget { group }) => (FORGET, group, 0, 0, &[]),
        Record::Carry(Carry { group, purged, next, state }) => (CARRY, group, purged, next, state),
    };
    let length = u32::try_from(bytes.len()).expect("a batch is bounded far below 4 GiB");
    let mut head = [0; RECORD_HEAD];
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8] = kind;
    head[9..13].copy_from_slice(&group.to_le_bytes());
    head[13..21].copy_from_slice(&index.to_le_bytes());
    head[21..29].copy_from_slice(&term.to_le_bytes());
    let checksum = crc32c::crc32c_append(checksum(seed, offset, &head[4..]), bytes);
    head[0..4].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(bytes);
}

/// Reads the record at the front of `bytes`, and says how many it took. Its checksum is not looked at.
pub(crate) fn decode_record(bytes: &[u8]) -> Result<(Record<'_>, usize), Defect> {
    let short = |wanted: usize| Defect { what: "length of a record", found: bytes.len() as u64, wanted: wanted as u64 };
    let head = bytes.get(..RECORD_HEAD).ok_or_else(|| short(RECORD_HEAD))?;
    let used = RECORD_HEAD + u32_at(head, 4) as usize;
    let body = bytes.get(RECORD_HEAD..used).ok_or_else(|| short(used))?;
    let (group, index, term) = (u32_at(head, 9), u64_at(head, 13), u64_at(head, 21));
    let write = match head[8] {
        STATE => Write::State { group, bytes: body },
        APPEND => Write::Append { group, index, term, payload: body },
        TRUNCATE => Write::Truncate { group, from: index },
        PURGE => Write::Purge { group, until: index },
        FORGET => Write::Forget { group },
        CARRY => return Ok((Record::Carry(Carry { group, purged: index, next: term, state: body }), used)),
        found => return Err(Defect { what: "kind of a record", found: u64::from(found), wanted: u64::from(CARRY) }),
    };
    Ok((Record::Write(write), used))
}

/// Compares a record, all of it, with its checksum.
pub(crate) fn check_record(bytes: &[u8], seed: u32, offset: u32) -> Result<(), Defect> {
    expect("checksum of a record", u32_at(bytes, 0), checksum(seed, offset, &bytes[4..]))
}
