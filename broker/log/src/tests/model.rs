//! The log as anyone would write it down: maps, and no disk.

use std::collections::BTreeMap;

use fulmar_random::Random;

use crate::disk::SimulatedDisk;
use crate::{GroupId, Index, Log, ReadError, Recovered, RecoveredGroup, Term, Write};

/// So many bytes, or fewer.
fn bytes(random: &mut Random, limit: u64) -> Vec<u8> {
    let byte = random.next().to_le_bytes()[0];
    (0..random.below(limit)).map(|at| byte.wrapping_add(at as u8)).collect()
}

/// What a log should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    groups: BTreeMap<GroupId, ModelGroup>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ModelGroup {
    state: Vec<u8>,
    purged: Index,
    entries: BTreeMap<Index, (Term, Vec<u8>)>,
}

/// A write that owns its bytes.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    State(GroupId, Vec<u8>),
    Append(GroupId, Index, Term, Vec<u8>),
    Truncate(GroupId, Index),
    Purge(GroupId, Index),
    Forget(GroupId),
}

impl Step {
    pub(crate) fn write(&self) -> Write<'_> {
        match self {
            Step::State(group, bytes) => Write::State { group: *group, bytes },
            Step::Append(group, index, term, payload) => {
                Write::Append { group: *group, index: *index, term: *term, payload }
            }
            Step::Truncate(group, from) => Write::Truncate { group: *group, from: *from },
            Step::Purge(group, until) => Write::Purge { group: *group, until: *until },
            Step::Forget(group) => Write::Forget { group: *group },
        }
    }
}

impl ModelGroup {
    fn next(&self) -> Index {
        self.entries.last_key_value().map_or(self.purged, |(last, _)| *last) + 1
    }
}

impl Model {
    pub(crate) fn apply(&mut self, step: &Step) {
        match step.clone() {
            Step::State(group, bytes) => self.groups.entry(group).or_default().state = bytes,
            Step::Append(group, index, term, payload) => {
                self.groups.entry(group).or_default().entries.insert(index, (term, payload));
            }
            Step::Truncate(group, from) => {
                self.groups.entry(group).or_default().entries.split_off(&from);
            }
            Step::Purge(group, until) => {
                let group = self.groups.entry(group).or_default();
                group.purged = group.purged.max(until);
                group.entries = group.entries.split_off(&(until + 1));
            }
            Step::Forget(group) => {
                self.groups.remove(&group);
            }
        }
    }

    /// A step that makes sense, in one of a few groups.
    pub(crate) fn step(&self, random: &mut Random) -> Step {
        let group = u32::try_from(random.below(5)).unwrap();
        let nothing = ModelGroup::default();
        let known = self.groups.get(&group).unwrap_or(&nothing);
        let (purged, next) = (known.purged, known.next());
        match random.below(24) {
            0..=1 => Step::State(group, bytes(random, 60)),
            2 => Step::Truncate(group, purged + 1 + random.below(next - purged)),
            3 => Step::Truncate(group, next + random.below(3)),
            4..=6 => Step::Purge(group, purged + random.below(next - purged)),
            7 if random.once_in(4) => Step::Purge(group, next + random.below(20)),
            8 if random.once_in(8) => Step::Forget(group),
            9 if random.once_in(4) => Step::Append(group, next, next / 7, bytes(random, 6000)),
            _ => Step::Append(group, next, next / 7, bytes(random, 400)),
        }
    }

    /// What the log should say when it is opened.
    pub(crate) fn recovered(&self) -> Vec<RecoveredGroup> {
        let groups = self.groups.iter().map(|(&group, known)| {
            let first = known.entries.first_key_value().map(|(index, (term, _))| (*index, *term));
            let last = known.entries.last_key_value().map(|(index, (term, _))| (*index, *term));
            let entries = first.zip(last).map(|(first, last)| [first, last]);
            RecoveredGroup { group, state: known.state.clone(), purged: known.purged, entries }
        });
        groups.collect()
    }

    /// Compares all that can be read, and the terms.
    pub(crate) fn compare(&self, log: &mut Log<SimulatedDisk>, random: &mut Random) -> Result<(), String> {
        for (&group, known) in &self.groups {
            let wanted: Vec<_> =
                known.entries.iter().map(|(index, (term, bytes))| (*index, *term, &bytes[..])).collect();
            let mut found = Vec::new();
            let mut from = known.purged + 1;
            loop {
                let max = usize::try_from(random.below(8000)).unwrap();
                let read = log.read(group, from, max).map_err(|error| format!("group {group} from {from}: {error}"))?;
                if read.is_empty() {
                    break;
                }
                let bytes: usize = read.iter().map(|entry| 29 + entry.payload.len()).sum();
                if read.len() > 1 && bytes > max {
                    return Err(format!("read {bytes} bytes of {} entries, wanted at most {max}", read.len()));
                }
                from += read.len() as u64;
                found.extend(read.iter().map(|entry| (entry.index, entry.term, entry.payload.to_vec())));
            }
            if !found.iter().map(|(index, term, bytes)| (*index, *term, &bytes[..])).eq(wanted.iter().copied()) {
                return Err(format!("group {group} holds {found:?}, wanted {wanted:?}"));
            }
            if wanted.iter().any(|(index, term, _)| log.term(group, *index) != Some(*term)) {
                return Err(format!("group {group} has other terms than {wanted:?}"));
            }
            let outside = [known.purged, known.next()].map(|index| log.term(group, index));
            if outside != [None, None] {
                return Err(format!("group {group} knows terms outside of its entries: {outside:?}"));
            }
            if known.purged > 0 && !matches!(log.read(group, known.purged, 1), Err(ReadError::Purged { .. })) {
                return Err(format!("group {group} was purged up to {} and can be read there", known.purged));
            }
        }
        Ok(())
    }

    /// Compares what a log said when it was opened.
    pub(crate) fn is(&self, recovered: &Recovered) -> bool {
        self.recovered() == recovered.groups
    }
}
