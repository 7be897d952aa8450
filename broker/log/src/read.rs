//! Reading entries back: each is compared with its checksum, neighbours are fetched with one call.

use std::path::Path;

use crate::error::Defect;
use crate::format::{RECORD_HEAD, Record, check_record, decode_record};
use crate::index::Place;
use crate::log::BUFFER_KEPT_BYTES;
use crate::{Damage, Disk, File, GroupId, Index, Log, ReadError, Term, Write};

/// Records of other groups between two that are wanted are read with them, up to this many bytes.
const GAP_BYTES: u32 = 16 * 1024;

/// What is read with the wanted records is at most so many times as much as they may be.
const GAPS_TIMES_MAX: usize = 16;

/// An entry that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its index.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// What it says.
    pub payload: &'a [u8],
}

/// Where a wanted record stands in its segment and will stand in the buffer.
struct Wanted {
    index: Index,
    segment: u64,
    place: Place,
    at: usize,
}

impl Wanted {
    fn end(&self) -> u32 {
        self.place.offset + RECORD_HEAD as u32 + self.place.length
    }

    fn length(&self) -> usize {
        RECORD_HEAD + self.place.length as usize
    }

    /// What stands between this record and a later one, if it is so little that both are read at once.
    fn gap(&self, next: &Wanted) -> Option<u32> {
        let gap = next.place.offset.checked_sub(self.end()).filter(|gap| *gap <= GAP_BYTES);
        gap.filter(|_| self.segment == next.segment)
    }
}

impl<D: Disk> Log<D> {
    /// Reads the entries of a group from an index on: as many as take at most `bytes_max` together, each with 29
    /// bytes around its payload, but at least one. There are none from the next index on, and none of a group that is
    /// not known.
    pub fn read(&mut self, group: GroupId, from: Index, bytes_max: usize) -> Result<Vec<Entry<'_>>, ReadError> {
        self.usable()?;
        let Some(known) = self.groups.get(&group) else {
            return Ok(Vec::new());
        };
        let purged = known.span().purged;
        if from <= purged {
            return Err(ReadError::Purged { group, found: from, first: purged + 1 });
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        let (mut total, mut gaps) = (0, 0);
        for (index, segment, place) in known.places(from) {
            let next = Wanted { index, segment, place, at: 0 };
            total += next.length();
            gaps += wanted.last().and_then(|last| last.gap(&next)).unwrap_or(0) as usize;
            if !wanted.is_empty() && (total > bytes_max || gaps > bytes_max.saturating_mul(GAPS_TIMES_MAX)) {
                break;
            }
            wanted.push(next);
        }
        self.read_buffer.clear();
        self.read_buffer.shrink_to(BUFFER_KEPT_BYTES);
        self.fetch(&mut wanted)?;
        wanted.iter().map(|wanted| self.entry(group, wanted)).collect()
    }

    /// Fills the buffer, with one call for records that stand close to each other.
    fn fetch(&mut self, wanted: &mut [Wanted]) -> Result<(), ReadError> {
        for neighbours in wanted.chunk_by_mut(|a, b| a.gap(b).is_some()) {
            let [first, ..] = neighbours else { continue };
            let (segment, begin, at) = (first.segment, first.place.offset, self.read_buffer.len());
            let end = neighbours.last().map_or(begin, Wanted::end);
            for wanted in neighbours {
                wanted.at = at + (wanted.place.offset - begin) as usize;
            }
            self.read_buffer.resize(at + (end - begin) as usize, 0);
            let segment = &self.segments[self.position(segment)];
            let read = segment.file.read_at(u64::from(begin), &mut self.read_buffer[at..]);
            read.map_err(|source| ReadError::Disk { path: segment.path.clone(), source })?;
        }
        Ok(())
    }

    fn entry(&self, group: GroupId, wanted: &Wanted) -> Result<Entry<'_>, ReadError> {
        let segment = &self.segments[self.position(wanted.segment)];
        let bytes = &self.read_buffer[wanted.at..wanted.at + wanted.length()];
        let damaged = |defect: Defect| -> Damage { in_segment(defect, &segment.path, wanted.place) };
        check_record(bytes, segment.seed, wanted.place.offset).map_err(damaged)?;
        let (record, _) = decode_record(bytes).map_err(damaged)?;
        match record {
            Record::Write(Write::Append { group: found, index, term, payload })
                if (found, index) == (group, wanted.index) =>
            {
                Ok(Entry { index, term, payload })
            }
            // The place was noted when the record was written or read, so it is the record that changed.
            _ => Err(damaged(Defect { what: "entry in a record", found: 0, wanted: wanted.index }).into()),
        }
    }

    fn position(&self, segment: u64) -> usize {
        let first = self.segments.front().map_or(0, |segment| segment.number);
        usize::try_from(segment - first).expect("open segments are counted in memory")
    }
}

fn in_segment(defect: Defect, path: &Path, place: Place) -> Damage {
    defect.in_file(path, u64::from(place.offset))
}
