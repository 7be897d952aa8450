//! Two claims of one client identifier, and many of them in any order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::NodeId;

fn version(clock: u64, node: u64) -> Version {
    Version { clock, node: NodeId(node) }
}

/// Who connected at `node` at that time, and has held the client identifier since then.
fn claim(user: Option<&str>, clock: u64, node: u64) -> Claim<'_> {
    let version = version(clock, node);
    Claim { version, since: version, user, takeover: Takeover::SameUser }
}

fn keep(since: Version) -> Verdict {
    Verdict::Keep { since }
}

#[test]
fn of_one_user_the_newer_connect_wins_and_ties_go_to_the_higher_node() {
    let decide = |ours: (u64, u64), theirs: (u64, u64)| {
        decide(Some(&claim(Some("anna"), ours.0, ours.1)), &claim(Some("anna"), theirs.0, theirs.1))
    };
    assert_eq!(super::decide(None, &claim(None, 1, 1)), Verdict::NotOurs);
    assert_eq!(decide((4, 1), (5, 2)), Verdict::Yield { last_word: true });
    assert_eq!(decide((5, 1), (4, 2)), keep(version(4, 2)));
    assert_eq!(decide((5, 1), (5, 2)), Verdict::Yield { last_word: true });
    assert_eq!(decide((5, 3), (5, 2)), keep(version(5, 2)));
}

#[test]
fn of_two_users_the_one_stays_who_has_been_there_for_longer() {
    let users = [(Some("anna"), Some("otto")), (Some("anna"), None), (None, Some("anna")), (Some(""), None)];
    for (older, newer) in users {
        let (older, newer) = (claim(older, 4, 2), claim(newer, 5, 1));
        assert_eq!(decide(Some(&older), &newer), keep(version(4, 2)));
        assert_eq!(decide(Some(&newer), &older), Verdict::Refuse);
    }
}

#[test]
fn a_user_who_connects_again_keeps_the_place() {
    let anna = Claim { version: version(9, 1), ..claim(Some("anna"), 1, 1) };
    let otto = claim(Some("otto"), 5, 2);
    assert_eq!(decide(Some(&anna), &otto), keep(version(1, 1)));
    assert_eq!(decide(Some(&otto), &anna), Verdict::Refuse);
}

#[test]
fn whoever_moves_takes_the_place_along() {
    let (older, newer) = (claim(Some("anna"), 1, 1), claim(Some("anna"), 9, 3));
    assert_eq!(decide(Some(&older), &newer), Verdict::Yield { last_word: true });
    assert_eq!(decide(Some(&newer), &older), keep(version(1, 1)));
    // Who knows already is not told.
    let moved = Claim { since: version(1, 1), ..newer };
    assert_eq!(decide(Some(&older), &moved), Verdict::Yield { last_word: false });
}

#[test]
fn where_anybody_may_the_newer_connect_wins_and_gets_nothing_of_the_older() {
    let open = |claim: Claim<'static>| Claim { takeover: Takeover::AnyUser, ..claim };
    let (older, newer) = (claim(Some("anna"), 1, 1), claim(Some("otto"), 9, 2));
    assert_eq!(decide(Some(&open(older)), &open(newer)), Verdict::Yield { last_word: false });
    assert_eq!(decide(Some(&open(newer)), &open(older)), keep(version(9, 2)));
    // One node that does not allow it is enough.
    for (older, newer) in [(older, open(newer)), (open(older), newer)] {
        assert_eq!(decide(Some(&older), &newer), keep(version(1, 1)));
        assert_eq!(decide(Some(&newer), &older), Verdict::Refuse);
    }
}

const USERS: [Option<&str>; 3] = [None, Some("anna"), Some("otto")];

fn any_claim(node: u64) -> impl Strategy<Value = Claim<'static>> {
    (0u64..4, 0u64..4, 0..USERS.len(), any::<bool>()).prop_map(move |(since, later, user, is_open)| Claim {
        version: version(since + later, node),
        since: version(since, if later == 0 { node } else { 0 }),
        user: USERS[user],
        takeover: if is_open { Takeover::AnyUser } else { Takeover::SameUser },
    })
}

/// Nodes with at most one session each, and announcements on their way.
struct Nodes {
    held: Vec<Option<Claim<'static>>>,
    /// To which node, and what.
    on_their_way: Vec<(usize, Claim<'static>)>,
}

impl Nodes {
    fn announce(&mut self, from: usize) {
        let Some(claim) = self.held[from] else { return };
        self.on_their_way.extend((0..self.held.len()).filter(|node| *node != from).map(|node| (node, claim)));
    }

    fn deliver(&mut self, which: usize) {
        let (node, theirs) = self.on_their_way.swap_remove(which);
        match decide(self.held[node].as_ref(), &theirs) {
            Verdict::NotOurs => {}
            Verdict::Keep { since } => {
                self.held[node] = self.held[node].map(|ours| Claim { since, ..ours });
                self.announce(node);
            }
            Verdict::Yield { last_word } => {
                if last_word {
                    self.announce(node);
                }
                self.held[node] = None;
            }
            Verdict::Refuse => self.held[node] = None,
        }
    }
}

proptest! {
    /// Each node hears of the other's claim: exactly one of the two stays, whatever both are set to.
    #[test]
    fn of_two_claims_exactly_one_stays(here in any_claim(1), there in any_claim(2)) {
        let verdicts = [decide(Some(&here), &there), decide(Some(&there), &here)];
        let kept = verdicts.map(|verdict| matches!(verdict, Verdict::Keep { .. }));
        prop_assert!(kept[0] != kept[1], "{verdicts:?}");
        let may = here.user == there.user || [here.takeover, there.takeover] == [Takeover::AnyUser; 2];
        let stays = if kept[0] { here } else { there };
        let goes = if kept[0] { there } else { here };
        if may {
            prop_assert!(stays.version > goes.version);
        } else {
            prop_assert!(stays.since <= goes.since);
            prop_assert!(verdicts.contains(&Verdict::Refuse));
        }
    }

    /// One client connects after the other, each at a node of its own, while announcements arrive in any order: it comes
    /// to rest with one of them at most.
    #[test]
    fn many_claims_in_any_order_come_to_rest_and_the_first_user_keeps_the_place(
        users in vec(0..USERS.len(), 2..6),
        order in vec((any::<bool>(), any::<prop::sample::Index>()), 0..60),
    ) {
        let mut nodes = Nodes { held: vec![None; users.len()], on_their_way: Vec::new() };
        let mut connected = 0;
        let mut order = order.into_iter();
        for steps in 0.. {
            prop_assert!(steps < 2000, "the nodes answer each other for ever");
            let (connect, which) = order.next().map_or((true, 0), |(connect, which)| {
                (connect, which.index(nodes.on_their_way.len().max(1)))
            });
            if connected < users.len() && (connect || nodes.on_their_way.is_empty()) {
                nodes.held[connected] = Some(claim(USERS[users[connected]], connected as u64, connected as u64));
                nodes.announce(connected);
                connected += 1;
            } else if !nodes.on_their_way.is_empty() {
                nodes.deliver(which);
            } else {
                break;
            }
        }
        let left: Vec<_> = nodes.held.iter().flatten().collect();
        prop_assert!(left.len() <= 1, "{left:?}");
        // The first user loses the place to nobody else. (While it moves, two others can drive its client and each other
        // out, so that a third one is left; but then nothing of it is there any more.)
        let others = users.iter().filter(|user| **user != users[0]).count();
        if others <= 1 {
            prop_assert!(left.iter().all(|claim| claim.user == USERS[users[0]]), "{left:?}");
        }
        // If it does not move, or is alone, it stays whatever the others do.
        if others == 0 || others == users.len() - 1 {
            prop_assert_eq!(left.len(), 1);
            prop_assert_eq!(left[0].user, USERS[users[0]]);
        }
    }
}
