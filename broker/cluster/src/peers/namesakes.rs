//! Nodes that have the same name. They work, because their ids tell them apart, but people and metrics cannot.

use std::collections::{BTreeMap, BTreeSet};

use super::PeerView;
use crate::clock::NodeId;

/// The names that more than one linked node has, this one included, with the peers that have them. A peer that is not
/// linked does not count: it may have come back under another id.
pub fn namesakes(own_name: &str, peers: &[PeerView]) -> BTreeMap<String, BTreeSet<NodeId>> {
    let mut names: BTreeMap<String, BTreeSet<NodeId>> = BTreeMap::new();
    for view in peers.iter().filter(|view| view.lanes_up > 0) {
        if let Some(node) = view.node {
            names.entry(view.name.clone()).or_default().insert(node);
        }
    }
    names.retain(|name, nodes| nodes.len() + usize::from(name == own_name) > 1);
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::peers::LinkState;

    fn peer(name: &str, node: u64, lanes_up: u16) -> PeerView {
        PeerView {
            name: name.to_owned(),
            node: Some(NodeId(node)),
            state: LinkState::Up,
            lanes_up,
            lanes: 1,
            synchronised: true,
            silent_for: Duration::ZERO,
            failures: 0,
            refusal: None,
        }
    }

    #[test]
    fn names_that_several_linked_nodes_have_are_found() {
        let peers = [peer("a", 1, 1), peer("b", 2, 1), peer("b", 3, 1), peer("c", 4, 1)];
        let found = namesakes("a", &peers);
        let wanted = [("a", vec![1]), ("b", vec![2, 3])];
        let wanted = wanted.map(|(name, nodes)| (name.to_owned(), nodes.into_iter().map(NodeId).collect()));
        assert_eq!(found, BTreeMap::from(wanted));
    }

    #[test]
    fn a_node_that_came_back_under_another_id_is_no_namesake_of_itself() {
        assert!(namesakes("a", &[peer("b", 2, 0), peer("b", 3, 1)]).is_empty());
    }
}
