//! Which filters the sessions of the shard have, each counted once, and which began and ended lately.
//!
//! The leader of a shard tells all nodes which filters it has, as deltas with the index of the last entry that they
//! hold. A new leader goes on from there, as long as its replica remembers that far back, instead of telling all of
//! them again. All of this follows from entries; none of it is in a snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::names::Index;

/// So many changes are remembered, or as many as there are filters: while all of them are told to somebody, those that
/// change must not be forgotten. At 100 bytes each it is less than half a mebibyte.
const RECENT_MAX: usize = 4096;

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Interest {
    /// How many sessions have each filter.
    filters: BTreeMap<Arc<str>, u32>,
    /// The subscriptions of all sessions.
    subscriptions: u64,
    /// Filters that began (true) or ended, and in which entry; the latest last.
    recent: VecDeque<(Index, Arc<str>, bool)>,
    /// All changes behind this index are in `recent`.
    remembered_from: Index,
}

impl Interest {
    /// After a snapshot was loaded: nothing is known of what led to it.
    pub(crate) fn forget_changes(&mut self, applied: Index) {
        self.recent.clear();
        self.remembered_from = applied;
    }

    /// One session more has the filter. Tells how many have it now.
    pub(crate) fn add(&mut self, filter: &Arc<str>, index: Index) -> u32 {
        self.subscriptions += 1;
        let sessions = self.filters.entry(filter.clone()).or_insert(0);
        *sessions += 1;
        let sessions = *sessions;
        if sessions == 1 {
            self.remember(index, filter, true);
        }
        sessions
    }

    /// One session that had the filter does not have it any more. Tells how many have it now.
    pub(crate) fn remove(&mut self, filter: &Arc<str>, index: Index) -> u32 {
        self.subscriptions -= 1;
        let sessions = self.filters.get_mut(filter).expect("a filter that a session had is counted");
        *sessions -= 1;
        let sessions = *sessions;
        if sessions == 0 {
            self.filters.remove(filter);
            self.remember(index, filter, false);
        }
        sessions
    }

    fn remember(&mut self, index: Index, filter: &Arc<str>, began: bool) {
        self.recent.push_back((index, filter.clone(), began));
        if self.recent.len() > RECENT_MAX.max(self.filters.len())
            && let Some((forgotten, ..)) = self.recent.pop_front()
        {
            self.remembered_from = forgotten;
        }
    }

    pub(crate) fn sessions(&self, filter: &str) -> u32 {
        self.filters.get(filter).copied().unwrap_or(0)
    }

    pub(crate) fn filters(&self) -> &BTreeMap<Arc<str>, u32> {
        &self.filters
    }

    pub(crate) fn subscriptions(&self) -> u64 {
        self.subscriptions
    }

    /// The last entry with a change that is remembered.
    pub(crate) fn changed_at(&self) -> Index {
        self.recent.back().map_or(self.remembered_from, |(at, ..)| *at)
    }

    /// What changed in entries behind `index`, if that is remembered.
    pub(crate) fn changes_since(&self, index: Index) -> Option<impl Iterator<Item = (Index, &Arc<str>, bool)>> {
        let start = self.recent.partition_point(|(at, ..)| *at <= index);
        let changes = self.recent.range(start..).map(|(at, filter, began)| (*at, filter, *began));
        (index >= self.remembered_from).then_some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(interest: &Interest, index: Index) -> Option<Vec<(String, bool)>> {
        let changes = interest.changes_since(index)?;
        Some(changes.map(|(_, filter, began)| (filter.to_string(), began)).collect())
    }

    fn shown(changes: &[(&str, bool)]) -> Option<Vec<(String, bool)>> {
        Some(changes.iter().map(|(filter, began)| ((*filter).to_owned(), *began)).collect())
    }

    #[test]
    fn filters_begin_with_the_first_session_and_end_with_the_last() {
        let mut interest = Interest::default();
        let [a, b] = ["a", "b"].map(Arc::from);
        assert_eq!([interest.add(&a, 1), interest.add(&a, 2), interest.add(&b, 2)], [1, 2, 1]);
        assert_eq!([interest.remove(&a, 3), interest.remove(&a, 4)], [1, 0]);
        assert_eq!(changes(&interest, 0), shown(&[("a", true), ("b", true), ("a", false)]));
        assert_eq!(changes(&interest, 1), shown(&[("b", true), ("a", false)]));
        assert_eq!((changes(&interest, 3), changes(&interest, 4)), (shown(&[("a", false)]), shown(&[])));
        assert_eq!((interest.subscriptions(), interest.sessions("a"), interest.sessions("b")), (1, 0, 1));
    }

    #[test]
    fn who_asks_for_more_than_is_remembered_is_told_nothing() {
        let mut interest = Interest::default();
        for index in (1..=RECENT_MAX as u64).step_by(2) {
            let filter = index.to_string().into();
            interest.add(&filter, index);
            interest.remove(&filter, index + 1);
        }
        assert_eq!(changes(&interest, 0).map(|it| it.len()), Some(RECENT_MAX));
        interest.add(&"x".into(), RECENT_MAX as u64 + 1);
        assert_eq!(interest.changed_at(), RECENT_MAX as u64 + 1);
        assert_eq!(changes(&interest, 0), None);
        assert_eq!(changes(&interest, 1).map(|it| it.len()), Some(RECENT_MAX));
        interest.forget_changes(9000);
        assert_eq!((changes(&interest, 8999), changes(&interest, 9000)), (None, shown(&[])));
    }

    #[test]
    fn as_many_changes_are_remembered_as_there_are_filters() {
        let mut interest = Interest::default();
        for index in 1..=2 * RECENT_MAX as u64 {
            interest.add(&index.to_string().into(), index);
        }
        assert_eq!(changes(&interest, 0).map(|it| it.len()), Some(2 * RECENT_MAX));
        interest.remove(&"1".into(), 2 * RECENT_MAX as u64 + 1);
        assert_eq!((changes(&interest, 0), changes(&interest, 2).map(|it| it.len())), (None, Some(2 * RECENT_MAX - 1)));
    }
}
