//! What a group knows of its log without reading it: where each term begins, which entries are on disk, and the most
//! recent entries themselves. The log itself is kept by the shell.

use std::collections::VecDeque;

use crate::settings::Settings;
use crate::types::{Entry, Index, Position, Term};

/// Entries from `first` up to the next run were made in one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: Index,
    term: Term,
}

#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// What comes before the first entry that can be read.
    base: Position,
    /// Where terms change after `base`: at most one run for each leader whose entries are kept, 16 bytes each. What
    /// comes before the first run has the term of the base.
    runs: Vec<Run>,
    last: Index,
    /// The last entries. What is not stored is always among them.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// The last entry that is on disk.
    stored: Index,
}

impl Log {
    /// A log of which everything is on disk and nothing in memory; `terms` is where each term begins.
    pub(crate) fn new(base: Position, terms: &[Position], last: Index) -> Self {
        let runs = terms.iter().map(|start| Run { first: start.index, term: start.term }).collect();
        Log { base, runs, last, cache: VecDeque::new(), cache_bytes: 0, stored: last }
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }

    pub(crate) fn last(&self) -> Position {
        Position { term: self.runs.last().map_or(self.base.term, |run| run.term), index: self.last }
    }

    pub(crate) fn stored(&self) -> Index {
        self.stored
    }

    pub(crate) fn set_stored(&mut self, stored: Index) {
        self.stored = stored;
    }

    /// The term of an entry, of the base too; `None` for what is not in the log.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index < self.base.index || index > self.last {
            return None;
        }
        let count = self.runs.partition_point(|run| run.first <= index);
        Some(count.checked_sub(1).map_or(self.base.term, |last| self.runs[last].term))
    }

    /// The position of an entry, if it is in the log.
    pub(crate) fn position_at(&self, index: Index) -> Option<Position> {
        self.term_at(index).map(|term| Position { term, index })
    }

    /// Whether the log holds this very entry.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The last entry up to `limit.index` whose term is not beyond `limit.term`: no later one can be shared with a log
    /// that has `limit`. The base, if there is none.
    pub(crate) fn last_shareable(&self, limit: Position) -> Position {
        let mut index = limit.index.min(self.last);
        for run in self.runs.iter().rev() {
            if run.first <= index && run.term <= limit.term {
                return Position { term: run.term, index };
            }
            index = index.min(run.first - 1);
        }
        // Entries of the base's own term may follow it.
        if self.base.term <= limit.term { Position { term: self.base.term, index } } else { self.base }
    }

    /// Appends the entry after the last one.
    pub(crate) fn append(&mut self, entry: Entry) {
        debug_assert_eq!(entry.index, self.last + 1, "entries are appended without gaps");
        if self.last().term != entry.term {
            self.runs.push(Run { first: entry.index, term: entry.term });
        }
        self.last = entry.index;
        self.cache_bytes += entry.bytes();
        self.cache.push_back(entry);
    }

    /// Forgets the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        debug_assert!(from > self.base.index, "what is compacted was committed");
        self.last = self.last.min(from - 1);
        self.runs.retain(|run| run.first < from);
        self.stored = self.stored.min(from - 1);
        while self.cache.back().is_some_and(|entry| entry.index >= from) {
            let entry = self.cache.pop_back().expect("there is a last one");
            self.cache_bytes -= entry.bytes();
        }
    }

    /// Entries up to `index` can't be read any more.
    pub(crate) fn compact(&mut self, index: Index) {
        let Some(base) = self.position_at(index) else { return };
        self.base = base;
        self.runs.retain(|run| run.first > index);
        while self.cache.front().is_some_and(|entry| entry.index <= index) {
            self.drop_oldest();
        }
    }

    /// Forgets all entries; the log starts anew after `base`, which counts as stored when the caller says so.
    pub(crate) fn reset(&mut self, base: Position) {
        *self = Log::new(base, &[], base.index);
        self.stored = 0;
    }

    /// Entries from `from` on that are in memory, as many as the limits allow but at least one. `None` if `from` has
    /// to be fetched from the log; empty if it is beyond the last entry.
    pub(crate) fn cached(&self, from: Index, until: Index, entries_max: usize, bytes_max: usize) -> Option<Vec<Entry>> {
        if from > until {
            return Some(Vec::new());
        }
        let first = self.last + 1 - self.cache.len() as u64;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let fits = |(taken, entry): (usize, &Entry)| {
            bytes += entry.bytes();
            (entry.index <= until && (taken == 0 || (taken < entries_max && bytes <= bytes_max))).then(|| entry.clone())
        };
        Some(self.cache.range(skip.min(self.cache.len())..).enumerate().map_while(fits).collect())
    }

    /// Drops the oldest stored entries from memory until the rest fits.
    pub(crate) fn evict(&mut self, settings: &Settings) {
        let Settings { cache_entries_max, cache_bytes_max, .. } = *settings;
        while (self.cache.len() > cache_entries_max || self.cache_bytes > cache_bytes_max)
            && self.cache.front().is_some_and(|entry| entry.index <= self.stored)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cache_bytes -= entry.bytes();
        }
    }

    #[cfg(test)]
    pub(crate) fn cached_entries(&self) -> usize {
        self.cache.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Payload;

    fn log(terms: &[Term]) -> Log {
        let mut log = Log::new(Position::ZERO, &[], 0);
        for (index, term) in (1..).zip(terms) {
            log.append(Entry { term: *term, index, payload: Payload::Empty });
        }
        log
    }

    fn terms(log: &Log) -> Vec<Option<Term>> {
        (0..=log.last().index + 1).map(|index| log.term_at(index)).collect()
    }

    #[test]
    fn terms_are_known_for_what_is_in_the_log_only() {
        let mut log = log(&[1, 1, 3, 3, 4]);
        assert_eq!(terms(&log), [Some(0), Some(1), Some(1), Some(3), Some(3), Some(4), None]);
        log.compact(3);
        assert_eq!(terms(&log), [None, None, None, Some(3), Some(3), Some(4), None]);
        log.truncate(5);
        assert_eq!(terms(&log), [None, None, None, Some(3), Some(3), None]);
        log.truncate(4);
        assert_eq!((log.last(), log.base()), (Position { term: 3, index: 3 }, Position { term: 3, index: 3 }));
        log.reset(Position { term: 9, index: 20 });
        assert_eq!((log.last(), log.term_at(3), log.term_at(20)), (Position { term: 9, index: 20 }, None, Some(9)));
    }

    #[test]
    fn what_logs_may_share_skips_whole_terms() {
        let log = log(&[1, 1, 3, 3, 5, 5]);
        let shareable = |term, index| log.last_shareable(Position { term, index }).index;
        assert_eq!(
            [shareable(5, 9), shareable(5, 5), shareable(4, 6), shareable(3, 3), shareable(2, 6), shareable(0, 6)],
            [6, 5, 4, 3, 2, 0]
        );
        let mut log = log;
        log.compact(3);
        let shareable = |term, index| log.last_shareable(Position { term, index }).index;
        assert_eq!([shareable(4, 6), shareable(3, 9), shareable(2, 5)], [4, 4, 3], "the base is shared with everyone");
    }

    #[test]
    fn entries_come_from_memory_within_limits_and_at_least_one() {
        let mut log = log(&[1, 1, 1, 1]);
        let indexes = |log: &Log, from, until, entries, bytes| {
            log.cached(from, until, entries, bytes)
                .map(|found| found.iter().map(|entry| entry.index).collect::<Vec<_>>())
        };
        assert_eq!(indexes(&log, 2, 4, 9, 1000), Some(vec![2, 3, 4]));
        assert_eq!(indexes(&log, 2, 3, 9, 1000), Some(vec![2, 3]));
        assert_eq!(indexes(&log, 2, 4, 2, 1000), Some(vec![2, 3]));
        assert_eq!(indexes(&log, 2, 4, 9, 0), Some(vec![2]));
        assert_eq!(indexes(&log, 5, 4, 9, 1000), Some(vec![]));
        log.set_stored(2);
        log.evict(&Settings { cache_entries_max: 1, ..Settings::default() });
        assert_eq!((log.cached_entries(), indexes(&log, 2, 4, 9, 1000)), (2, None), "what is not stored stays");
    }
}
