//! A batch on its way to the disk: checked as a whole first, then made into bytes.

use std::collections::BTreeMap;

use crate::format::{BATCH_HEAD, BatchHead, RECORD_HEAD, Record, aligned, encode_record, records_checksum};
use crate::index::{Group, Place, Span};
use crate::{BATCH_BYTES_MAX, GroupId, Refusal, Settings, Write};

/// All groups, in the order in which segments begin with them.
pub(crate) type Groups = BTreeMap<GroupId, Group>;

/// Says whether the writes make sense, one after the other, given what the groups have.
pub(crate) fn check(groups: &Groups, writes: &[Write<'_>], settings: &Settings) -> Result<(), Refusal> {
    let mut bytes = BATCH_HEAD;
    let mut changed: BTreeMap<GroupId, Option<Span>> = BTreeMap::new();
    let mut count = groups.len();
    for write in writes {
        let group = write.group();
        let known = changed.entry(group).or_insert_with(|| groups.get(&group).map(Group::span));
        let after = known.unwrap_or_default().after(write)?;
        match (&known, write) {
            (Some(_), Write::Forget { .. }) => {
                count -= 1;
                *known = None;
            }
            (None, Write::Forget { .. }) => {}
            (Some(_), _) => *known = Some(after),
            (None, _) if count >= settings.groups_max => {
                return Err(Refusal::TooManyGroups { group, max: settings.groups_max });
            }
            (None, _) => {
                count += 1;
                *known = Some(after);
            }
        }
        bytes = bytes.saturating_add(RECORD_HEAD + payload(write).len());
    }
    if bytes > BATCH_BYTES_MAX {
        return Err(Refusal::BatchTooLarge { found: bytes, max: BATCH_BYTES_MAX });
    }
    Ok(())
}

/// Does to the groups what a write says that now stands in a segment.
pub(crate) fn apply(groups: &mut Groups, write: &Write<'_>, segment: u64, place: Place) {
    match *write {
        Write::Forget { group } => {
            groups.remove(&group);
        }
        _ => groups.entry(write.group()).or_default().apply(write, segment, place),
    }
}

/// The bytes that a write brings with it.
pub(crate) fn payload<'a>(write: &Write<'a>) -> &'a [u8] {
    match *write {
        Write::State { bytes, .. } => bytes,
        Write::Append { payload, .. } => payload,
        Write::Truncate { .. } | Write::Purge { .. } | Write::Forget { .. } => &[],
    }
}

/// Where a batch will stand, and what it continues.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) seed: u32,
    pub(crate) offset: u32,
    pub(crate) sequence: u64,
    pub(crate) previous: u32,
    pub(crate) synced: u32,
}

/// Makes `out` the bytes of a batch, and gives the checksum of its head.
pub(crate) fn encode<'a>(out: &mut Vec<u8>, position: Position, records: impl Iterator<Item = Record<'a>>) -> u32 {
    let Position { seed, offset, sequence, previous, synced } = position;
    out.clear();
    out.resize(BATCH_HEAD, 0);
    for record in records {
        let at = offset + offset_of(out.len());
        encode_record(out, seed, at, record);
    }
    let length = offset_of(out.len() - BATCH_HEAD);
    out.resize(usize::try_from(aligned(out.len() as u64)).expect("a batch fits in memory"), 0);
    let checksum = records_checksum(seed, offset, &out[BATCH_HEAD..]);
    let (head, checksum) = BatchHead { sequence, length, checksum, synced, previous }.encode(seed, offset);
    out[..BATCH_HEAD].copy_from_slice(&head);
    checksum
}

/// An offset or length within a segment.
pub(crate) fn offset_of(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("segments and batches are bounded below 4 GiB")
}
