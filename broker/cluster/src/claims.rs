//! Which of two connections of one client identifier stays, when they are on different nodes.
//!
//! Every CONNECT takes a [`Version`] and is announced to all peers; the highest wins everywhere, in whatever order
//! the announcements arrive, so that all nodes agree without asking. Who holds the connection is the worker's affair.

use crate::clock::Version;

/// What to do with our own connection or session of a client identifier that a peer claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// We hold nothing of this client: nothing to do.
    NotOurs,
    /// The peer's CONNECT is the newer one: close ours with 0x8E (session taken over) and end its session.
    Yield,
    /// Ours is newer: keep it, and tell the peer again, which may have missed our claim.
    Keep,
}

/// Decides between our claim of a client identifier, if there is one, and a peer's.
pub fn decide(ours: Option<Version>, theirs: Version) -> Verdict {
    match ours {
        None => Verdict::NotOurs,
        Some(ours) if theirs > ours => Verdict::Yield,
        Some(_) => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::NodeId;

    fn version(clock: u64, node: u64) -> Version {
        Version { clock, node: NodeId(node) }
    }

    #[test]
    fn the_newer_connect_wins_and_ties_go_to_the_higher_node() {
        assert_eq!(decide(None, version(1, 1)), Verdict::NotOurs);
        assert_eq!(decide(Some(version(4, 1)), version(5, 2)), Verdict::Yield);
        assert_eq!(decide(Some(version(5, 1)), version(4, 2)), Verdict::Keep);
        assert_eq!(decide(Some(version(5, 1)), version(5, 2)), Verdict::Yield);
        assert_eq!(decide(Some(version(5, 3)), version(5, 2)), Verdict::Keep);
    }

    proptest! {
        /// Each node hears of the other's claim: exactly one of the two connections stays.
        #[test]
        fn of_two_claims_exactly_one_stays(a in 0u64..4, b in 0u64..4) {
            let (here, there) = (version(a, 1), version(b, 2));
            let kept = [decide(Some(here), there), decide(Some(there), here)];
            prop_assert!(kept == [Verdict::Keep, Verdict::Yield] || kept == [Verdict::Yield, Verdict::Keep]);
        }
    }
}
