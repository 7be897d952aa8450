//! Where the entries of one group are: eight bytes for each, in one part for each segment.
//!
//! What is purged goes part by part, so a group keeps at most one segment's worth of places that nobody needs.

use std::collections::VecDeque;

use crate::{GroupId, Index, Refusal, STATE_BYTES_MAX, Term, Write};

/// A record in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u32,
    /// Of the payload.
    pub(crate) length: u32,
}

/// Consecutive entries in one segment.
#[derive(Debug)]
struct Part {
    segment: u64,
    first: Index,
    places: Vec<Place>,
}

/// Entries from here on have this term, up to the next run.
#[derive(Debug)]
struct TermRun {
    first: Index,
    term: Term,
}

/// What decides whether a write makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The last index that was given up; 0 if none was.
    pub(crate) purged: Index,
    /// That of the next entry.
    pub(crate) next: Index,
}

impl Default for Span {
    fn default() -> Self {
        Self { purged: 0, next: 1 }
    }
}

impl Span {
    /// The span after a write, or why it may not be written.
    pub(crate) fn after(self, write: &Write<'_>) -> Result<Self, Refusal> {
        match *write {
            Write::State { group, bytes } if bytes.len() > STATE_BYTES_MAX => {
                Err(Refusal::StateTooLarge { group, found: bytes.len(), max: STATE_BYTES_MAX })
            }
            Write::State { .. } => Ok(self),
            Write::Append { group, index, .. } if index != self.next || index == Index::MAX => {
                Err(Refusal::OutOfOrder { group, found: index, wanted: self.next })
            }
            Write::Append { .. } => Ok(Self { next: self.next + 1, ..self }),
            Write::Truncate { group, from } if from <= self.purged => {
                Err(Refusal::TruncateOfPurged { group, found: from, purged: self.purged })
            }
            Write::Truncate { from, .. } => Ok(Self { next: self.next.min(from), ..self }),
            Write::Purge { group, until: Index::MAX } => {
                Err(Refusal::PurgeOfAll { group, found: Index::MAX, max: Index::MAX - 1 })
            }
            Write::Purge { until, .. } => {
                Ok(Self { purged: self.purged.max(until), next: self.next.max(until.saturating_add(1)) })
            }
            Write::Forget { .. } => Ok(Self::default()),
        }
    }
}

/// One group in memory.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) state: Vec<u8>,
    span: Span,
    parts: VecDeque<Part>,
    terms: VecDeque<TermRun>,
    /// Entries below this one are in segments that were not read; 0 if all are known.
    unknown_below: Index,
}

impl Group {
    /// A group as a segment found it, whose entries up to then are elsewhere.
    pub(crate) fn carried(purged: Index, next: Index, state: &[u8]) -> Self {
        Self { state: state.to_vec(), span: Span { purged, next }, unknown_below: next, ..Self::default() }
    }

    pub(crate) const fn span(&self) -> Span {
        self.span
    }

    /// Does what was written, with `place` for an entry. The write was checked before ([`Span::after`]).
    pub(crate) fn apply(&mut self, write: &Write<'_>, segment: u64, place: Place) {
        self.span = self.span.after(write).unwrap_or(self.span);
        match *write {
            Write::State { bytes, .. } => {
                self.state.clear();
                self.state.extend_from_slice(bytes);
            }
            Write::Append { index, term, .. } => self.append(index, term, segment, place),
            Write::Truncate { from, .. } => self.truncate(from),
            Write::Purge { .. } => self.purge(),
            Write::Forget { .. } => *self = Self::default(),
        }
    }

    fn append(&mut self, index: Index, term: Term, segment: u64, place: Place) {
        match self.parts.back_mut() {
            Some(part) if part.segment == segment => part.places.push(place),
            _ => self.parts.push_back(Part { segment, first: index, places: vec![place] }),
        }
        if self.terms.back().is_none_or(|run| run.term != term) {
            self.terms.push_back(TermRun { first: index, term });
        }
    }

    fn truncate(&mut self, from: Index) {
        self.unknown_below = self.unknown_below.min(from);
        while self.parts.pop_back_if(|part| part.first >= from).is_some() {}
        if let Some(part) = self.parts.back_mut() {
            part.places.truncate(usize::try_from(from - part.first).unwrap_or(usize::MAX));
        }
        while self.terms.pop_back_if(|run| run.first >= from).is_some() {}
    }

    fn purge(&mut self) {
        let purged = self.span.purged;
        while self.parts.pop_front_if(|part| part.first + part.places.len() as u64 <= purged + 1).is_some() {}
        if self.parts.is_empty() {
            self.terms.clear();
        }
        while self.terms.get(1).is_some_and(|run| run.first <= purged + 1) {
            self.terms.pop_front();
        }
    }

    /// The first and last entry, if there is one.
    pub(crate) fn entries(&self) -> Option<(Index, Index)> {
        let Span { purged, next } = self.span;
        (purged + 1 < next).then(|| (purged + 1, next - 1))
    }

    /// The entries that should be in a segment that was not read.
    pub(crate) fn missing(&self) -> Option<(Index, Index)> {
        (self.span.purged + 1 < self.unknown_below).then(|| (self.span.purged + 1, self.unknown_below - 1))
    }

    /// The term of an entry that was not purged.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        self.entries().filter(|&(first, last)| (first..=last).contains(&index))?;
        let run = self.terms.partition_point(|run| run.first <= index).checked_sub(1)?;
        Some(self.terms[run].term)
    }

    /// The segment of the oldest entry.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.parts.front().map(|part| part.segment)
    }

    /// Where the entries from an index on are; those that were purged are left out.
    pub(crate) fn places(&self, from: Index) -> impl Iterator<Item = (Index, u64, Place)> + '_ {
        let from = from.max(self.span.purged + 1);
        let begin = self.parts.partition_point(|part| part.first + part.places.len() as u64 <= from);
        self.parts.range(begin..).flat_map(move |part| {
            let skipped = usize::try_from(from.saturating_sub(part.first)).unwrap_or(usize::MAX);
            let places = part.places.iter().enumerate().skip(skipped);
            places.map(|(at, place)| (part.first + at as u64, part.segment, *place))
        })
    }

    /// What a new segment says of the group.
    pub(crate) fn carry(&self, group: GroupId) -> crate::format::Carry<'_> {
        crate::format::Carry { group, purged: self.span.purged, next: self.span.next, state: &self.state }
    }

    /// How many entries there are, and the bytes that remember where.
    pub(crate) fn size(&self) -> (u64, usize) {
        let entries = self.entries().map_or(0, |(first, last)| last - first + 1);
        let places: usize = self.parts.iter().map(|part| part.places.capacity() * size_of::<Place>()).sum();
        (entries, places)
    }
}
