//! What this node knows of others without asking anybody: who is found, who has greeted, who is linked since when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use fulmar_cluster::letters::Channel;
use fulmar_cluster::peers::{Found, Known};
use fulmar_store::Node;

use super::Links;

/// How things stand, for whoever decides about membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbours {
    /// The addresses that discovery found, and who lives there.
    pub(crate) found: Vec<Found>,
    /// Whether these are all that there are, as far as can be told.
    pub(crate) is_settled: bool,
    /// Nodes that have greeted, and are found or connected.
    pub(crate) known: Vec<Neighbour>,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    /// Its latest life that greeted.
    pub(crate) node: Node,
    pub(crate) name: String,
    /// Where it is found, if it is.
    pub(crate) address: Option<SocketAddr>,
    /// The channels on which letters go to it now.
    pub(crate) letters: Vec<Channel>,
    pub(crate) lanes: LanesState,
}

/// The link for live traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LanesState {
    /// All lanes are up, and interest is known both ways.
    Synchronised { since: Instant },
    /// Something of that is not so; the first time, or again.
    Lost { since: Instant },
}

/// Since when each node is as it is.
#[derive(Debug, Default)]
pub(super) struct Turns(BTreeMap<u64, (Node, LanesState)>);

impl Turns {
    /// These are all nodes that there are, and whether they are synchronised. A new life is lost at first.
    fn note(&mut self, nodes: impl Iterator<Item = (Node, bool)>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for (node, is_synchronised) in nodes {
            let before = before.remove(&node.id).filter(|(known, _)| *known == node).map(|(_, state)| state);
            let state = match (before, is_synchronised) {
                (Some(state @ LanesState::Synchronised { .. }), true) => state,
                (Some(state @ LanesState::Lost { .. }), false) => state,
                (_, true) => LanesState::Synchronised { since: now },
                (_, false) => LanesState::Lost { since: now },
            };
            self.0.insert(node.id, (node, state));
        }
    }
}

impl Links {
    /// How things stand now.
    pub(crate) fn neighbours(&self) -> Neighbours {
        let known = self.note_turns(Instant::now());
        // A statement of its own: the lock is free again before it is taken for the next question.
        let found = self.peers().found();
        Neighbours { found, is_settled: self.is_settled(), known }
    }

    /// Looks who is linked, and since when.
    pub(super) fn note_turns(&self, now: Instant) -> Vec<Neighbour> {
        let known = self.peers().known();
        let linked: BTreeMap<u64, (u64, bool)> = self
            .node
            .peers()
            .into_iter()
            .map(|status| (status.identity.node_id, (status.identity.incarnation, status.linked)))
            .collect();
        let node = |known: &Known| Node { id: known.node.0, incarnation: known.incarnation };
        let is_synchronised =
            |known: &Known| known.is_linked && linked.get(&known.node.0) == Some(&(known.incarnation, true));
        let mut turns = self.turns.lock().expect("nothing panics while turns are noted");
        turns.note(known.iter().map(|known| (node(known), is_synchronised(known))), now);
        let neighbours = known.into_iter().filter_map(|known| {
            let (node, lanes) = turns.0.get(&known.node.0).copied()?;
            let Known { node: _, incarnation: _, name, address, letters, is_linked: _ } = known;
            Some(Neighbour { node, name, address, letters, lanes })
        });
        neighbours.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_state_lasts_until_it_changes_or_another_life_begins() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let mut at = |second, incarnation, is_synchronised| {
            let node = Node { id: 1, incarnation };
            turns.note([(node, is_synchronised)].into_iter(), start + Duration::from_secs(second));
            turns.0[&1].1
        };
        let since = |second| start + Duration::from_secs(second);
        assert_eq!(at(0, 1, false), LanesState::Lost { since: since(0) });
        assert_eq!(at(1, 1, false), LanesState::Lost { since: since(0) });
        assert_eq!(at(2, 1, true), LanesState::Synchronised { since: since(2) });
        assert_eq!(at(3, 1, true), LanesState::Synchronised { since: since(2) });
        assert_eq!(at(4, 2, false), LanesState::Lost { since: since(4) });
        assert_eq!(at(5, 3, false), LanesState::Lost { since: since(5) });
        turns.note([].into_iter(), since(6));
        assert!(turns.0.is_empty());
    }
}
