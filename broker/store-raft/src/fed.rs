//! Which filters the sessions of a shard have, as its leaders tell this node, which may have no copy of the shard.
//!
//! What was told is of some entry of the shard's log, and all leaders have the same log: so it does not matter which of
//! them told it, letters may come late and twice, and after a change of leader nothing is told again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use fulmar_raft::{NodeId, Term};
use fulmar_store::{Index, ShardId};

use crate::feed_letter::{Known, News};
use crate::matcher::split_share;
use crate::out::Out;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Fed {
    /// Who told something last, as the leader of which term.
    leader: Option<(Term, NodeId)>,
    known: Known,
    /// The last question for all filters that was answered: see [`Engine::ask_for_feeds`](crate::Engine::ask_for_feeds).
    round: u64,
    filters: BTreeSet<Arc<str>>,
}

impl Fed {
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// The leader of the highest term that was heard of.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.map(|(_, leader)| leader)
    }

    pub(crate) fn has(&self, filter: &str) -> bool {
        self.filters.contains(filter)
    }

    pub(crate) fn note_leader(&mut self, term: Term, leader: NodeId) {
        self.leader = self.leader.max(Some((term, leader)));
    }

    /// A leader has told all that there was when it was asked.
    pub(crate) fn note_round(&mut self, round: u64) {
        self.round = self.round.max(round);
    }

    /// Takes what a leader tells, and tells what of it is new here. Whether it is known now up to where that was so.
    pub(crate) fn take(&mut self, shard: ShardId, news: News, out: &mut impl Out) -> bool {
        match news {
            News::Changes { since, until, changes } => self.take_changes(shard, since, until, changes, out),
            News::All { at, after, filters, is_last } => self.take_all(shard, at, after, filters, is_last, out),
        }
    }

    fn take_changes(
        &mut self,
        shard: ShardId,
        since: Index,
        until: Index,
        changes: Vec<(Arc<str>, bool)>,
        out: &mut impl Out,
    ) -> bool {
        match self.known {
            Known::Until(known) if (since..until).contains(&known) => {}
            Known::Until(known) => return known >= until,
            Known::Nothing | Known::Part { .. } => return false,
        }
        // Some of it may be known, and must not be undone for a moment.
        let changes: BTreeMap<Arc<str>, bool> = changes.into_iter().collect();
        for (filter, begins) in changes {
            self.set(shard, filter, begins, out);
        }
        self.known = Known::Until(until);
        true
    }

    /// All filters behind `after`, up to the last of these.
    fn take_all(
        &mut self,
        shard: ShardId,
        at: Index,
        after: Option<Arc<str>>,
        filters: Vec<Arc<str>>,
        is_last: bool,
        out: &mut impl Out,
    ) -> bool {
        let goes_on = match (&self.known, &after) {
            (Known::Until(known), _) if *known >= at => return true,
            (_, None) => true,
            (Known::Part { at: same, until }, Some(after)) => *same == at && until == after,
            _ => false,
        };
        let last = filters.last().cloned();
        if !goes_on || (last.is_none() && !is_last) {
            return false;
        }
        let from = after.as_deref().map_or(Unbounded, Excluded);
        let to = last.as_deref().filter(|_| !is_last).map_or(Unbounded, std::ops::Bound::Included);
        let told: BTreeSet<Arc<str>> = filters.into_iter().collect();
        let over = self.filters.range::<str, _>((from, to)).filter(|filter| !told.contains(*filter));
        let over: Vec<Arc<str>> = over.cloned().collect();
        for filter in over {
            self.set(shard, filter, false, out);
        }
        for filter in told {
            self.set(shard, filter, true, out);
        }
        self.known = match last {
            Some(until) if !is_last => Known::Part { at, until },
            _ => Known::Until(at),
        };
        is_last
    }

    fn set(&mut self, shard: ShardId, filter: Arc<str>, begins: bool, out: &mut impl Out) {
        let is_news = if begins { self.filters.insert(filter.clone()) } else { self.filters.remove(&filter) };
        if is_news {
            let (share, filter) = split_share(&filter);
            out.interest(shard, share, filter, begins);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Heard, Said};

    const SHARD: ShardId = ShardId(3);

    fn changes(since: Index, until: Index, changes: &[(&str, bool)]) -> News {
        let changes = changes.iter().map(|(filter, begins)| ((*filter).into(), *begins)).collect();
        News::Changes { since, until, changes }
    }

    fn all(at: Index, after: Option<&str>, filters: &[&str], is_last: bool) -> News {
        let filters = filters.iter().map(|filter| (*filter).into()).collect();
        News::All { at, after: after.map(Into::into), filters, is_last }
    }

    /// Whether all is known, and what was told.
    fn take(fed: &mut Fed, news: News) -> (bool, Vec<String>) {
        let mut heard = Heard::default();
        let knows = fed.take(SHARD, news, &mut heard);
        let shown = heard.0.into_iter().map(|said| match said {
            Said::Interest(SHARD, share, filter, begins) => {
                format!("{}{}{filter}", if begins { '+' } else { '-' }, share.map_or(String::new(), |it| it + ":"))
            }
            other => panic!("{other:?} is no interest"),
        });
        (knows, shown.collect())
    }

    fn told(filters: &[&str]) -> Vec<String> {
        filters.iter().map(|filter| (*filter).to_owned()).collect()
    }

    #[test]
    fn who_knows_nothing_is_told_all_in_portions_and_then_what_changes() {
        let mut fed = Fed::default();
        assert_eq!(take(&mut fed, changes(5, 5, &[])), (false, vec![]));
        assert_eq!(take(&mut fed, all(5, None, &["$share/g/t", "a"], false)), (false, told(&["+g:t", "+a"])));
        assert_eq!(*fed.known(), Known::Part { at: 5, until: "a".into() });
        assert_eq!(take(&mut fed, all(5, None, &["$share/g/t", "a"], false)), (false, vec![]), "it came twice");
        assert_eq!(take(&mut fed, all(5, Some("b"), &["c"], true)), (false, vec![]), "b is missing");
        assert_eq!(take(&mut fed, all(5, Some("a"), &["b"], true)), (true, told(&["+b"])));
        assert_eq!(take(&mut fed, changes(5, 9, &[("b", false), ("c", true)])), (true, told(&["-b", "+c"])));
        assert_eq!(*fed.known(), Known::Until(9));
        assert!(fed.has("$share/g/t") && fed.has("c") && !fed.has("b"));
    }

    #[test]
    fn what_is_known_already_is_not_undone_by_what_comes_late() {
        let mut fed = Fed::default();
        take(&mut fed, all(5, None, &["a"], true));
        take(&mut fed, changes(5, 9, &[("a", false), ("a", true), ("b", true)]));
        // Told by another leader, from further back.
        assert_eq!(take(&mut fed, changes(5, 8, &[("a", false)])), (true, vec![]));
        assert_eq!(take(&mut fed, changes(4, 11, &[("a", false), ("a", true), ("c", true)])), (true, told(&["+c"])));
        assert_eq!(take(&mut fed, all(7, None, &[], true)), (true, vec![]));
        assert_eq!(take(&mut fed, changes(12, 13, &[("d", true)])), (false, vec![]), "something is missing before");
        assert_eq!(*fed.known(), Known::Until(11));
    }

    #[test]
    fn all_that_is_told_anew_replaces_what_was_known() {
        let mut fed = Fed::default();
        take(&mut fed, all(5, None, &["a", "b", "d"], true));
        assert_eq!(take(&mut fed, all(9, None, &["b"], false)), (false, told(&["-a"])));
        assert_eq!(take(&mut fed, all(9, Some("b"), &["c"], true)), (true, told(&["-d", "+c"])));
        assert_eq!(*fed.known(), Known::Until(9));
    }

    #[test]
    fn the_leader_of_the_highest_term_is_who_leads() {
        let mut fed = Fed::default();
        assert_eq!(fed.leader(), None);
        fed.note_leader(3, 7);
        fed.note_leader(2, 8);
        assert_eq!(fed.leader(), Some(7));
    }
}
