//! What was said in the log about peers that can't be linked. Dialling goes on for as long as nobody mends the reason, and
//! lanes and letters fail each in their own words: each is written once for a peer, until something has succeeded.

use std::collections::{BTreeMap, BTreeSet};

/// Reasons of one peer that are told apart. More than that is noise.
const REASONS_MAX: usize = 8;
/// Peers that are told apart. When there are more, all may be complained of again.
const PEERS_MAX: usize = 1024;

/// See the [module](self). Peers are told apart by `K`.
#[derive(Debug)]
pub(super) struct Complaints<K>(BTreeMap<K, BTreeSet<String>>);

impl<K> Default for Complaints<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Complaints<K> {
    /// Whether this is to be written.
    pub(super) fn is_news(&mut self, peer: K, reason: &str) -> bool {
        if self.0.len() >= PEERS_MAX && !self.0.contains_key(&peer) {
            self.0.clear();
        }
        let said = self.0.entry(peer).or_default();
        said.len() < REASONS_MAX && said.insert(reason.to_owned())
    }

    /// It has succeeded: what goes wrong from now on is news.
    pub(super) fn forget(&mut self, peer: &K) {
        self.0.remove(peer);
    }

    /// These peers are all that there are.
    pub(super) fn forget_but(&mut self, is_there: impl Fn(&K) -> bool) {
        self.0.retain(|peer, _| is_there(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_for_a_peer_until_it_succeeds() {
        let mut complaints = Complaints::default();
        let mut tell = |peer: u32, reason: &str| complaints.is_news(peer, reason);
        // Attempts for lanes and for letters take turns.
        let lanes_and_letters = ["closed", "reset", "closed", "reset", "closed"].map(|reason| tell(1, reason));
        assert_eq!(lanes_and_letters, [true, true, false, false, false]);
        assert!(tell(2, "closed"), "of another peer");
        complaints.forget(&1);
        assert!(complaints.is_news(1, "closed"));
        complaints.forget_but(|peer| *peer == 1);
        assert_eq!([1, 2].map(|peer| complaints.is_news(peer, "closed")), [false, true]);
    }

    #[test]
    fn neither_reasons_nor_peers_that_somebody_makes_up_are_kept_without_end() {
        let mut complaints = Complaints::default();
        let told = (0..100).filter(|reason| complaints.is_news(0, &format!("{reason}"))).count();
        assert_eq!(told, REASONS_MAX);
        for peer in 0..3 * PEERS_MAX {
            complaints.is_news(peer, "refused");
            assert!(complaints.0.len() <= PEERS_MAX);
        }
    }
}
