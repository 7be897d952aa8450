//! What the records of a segment make of the groups.

use crate::Refusal;
use crate::batch::{self, Groups, offset_of};
use crate::error::Defect;
use crate::format::{Carry, RECORD_HEAD, Record, decode_record};
use crate::index::{Group, Place};

/// The groups as they are after what was read so far.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) groups: Groups,
    /// Whether a segment was read that said what the groups are.
    begun: bool,
}

impl Replay {
    /// The first batch of a segment: of the first one it is believed, of others it must be what is known already.
    pub(crate) fn carried(&mut self, mut records: &[u8]) -> Result<(), Defect> {
        let mut carried = Vec::new();
        while !records.is_empty() {
            let (record, used) = decode_record(records)?;
            let Record::Carry(carry) = record else {
                return Err(Defect { what: "records before those that carry", found: 1, wanted: 0 });
            };
            if carry.next <= carry.purged {
                return Err(Defect { what: "next index of a group", found: carry.next, wanted: carry.purged });
            }
            carried.push(carry);
            records = &records[used..];
        }
        if !self.begun {
            self.begun = true;
            let group = |it: Carry<'_>| (it.group, Group::carried(it.purged, it.next, it.state));
            self.groups = carried.into_iter().map(group).collect();
            return Ok(());
        }
        let known = self.groups.iter().map(|(&id, group)| group.carry(id));
        let same = known.zip(&carried).filter(|(known, carry)| known == *carry).count();
        if same == carried.len() && same == self.groups.len() {
            return Ok(());
        }
        Err(Defect {
            what: "number of groups carried as they were",
            found: same as u64,
            wanted: self.groups.len() as u64,
        })
    }

    /// Any other batch, whose records begin at `offset` of `segment`.
    pub(crate) fn written(&mut self, segment: u64, mut offset: u32, mut records: &[u8]) -> Result<(), Defect> {
        while !records.is_empty() {
            let (record, used) = decode_record(records)?;
            let Record::Write(write) = record else {
                return Err(Defect { what: "records that carry in the middle", found: 1, wanted: 0 });
            };
            let span = self.groups.get(&write.group()).map(Group::span).unwrap_or_default();
            span.after(&write).map_err(nonsense)?;
            let place = Place { offset, length: offset_of(used - RECORD_HEAD) };
            batch::apply(&mut self.groups, &write, segment, place);
            offset += offset_of(used);
            records = &records[used..];
        }
        Ok(())
    }
}

/// What was refused when it was to be written can't have been written.
fn nonsense(refusal: Refusal) -> Defect {
    match refusal {
        Refusal::OutOfOrder { found, wanted, .. } => Defect { what: "index of an entry", found, wanted },
        Refusal::TruncateOfPurged { found, purged, .. } => {
            Defect { what: "index of a truncation", found, wanted: purged + 1 }
        }
        Refusal::PurgeOfAll { found, max, .. } => Defect { what: "index of a purge", found, wanted: max },
        Refusal::StateTooLarge { found, max, .. } | Refusal::BatchTooLarge { found, max } => {
            Defect { what: "length of a state", found: found as u64, wanted: max as u64 }
        }
        Refusal::TooManyGroups { max, .. } => Defect { what: "number of groups", found: 0, wanted: max as u64 },
    }
}
