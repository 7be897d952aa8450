//! Tells when two nodes turn out to have the same name, once for each pair: with both ids and addresses, because the
//! name alone helps nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fulmar_cluster::NodeId;
use fulmar_cluster::peers::PeerView;

/// What was seen and told of so far.
#[derive(Debug, Default)]
pub(super) struct Namesakes {
    /// Where each node was met last.
    addresses: BTreeMap<NodeId, SocketAddr>,
    told: BTreeSet<(NodeId, NodeId)>,
}

/// Somebody else has the name of the node that was met.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Namesake {
    pub(super) node: NodeId,
    /// None: it is this node itself.
    pub(super) address: Option<SocketAddr>,
}

impl Namesakes {
    /// A node was linked. Returns who has the same name and was not told of together with it. `peers` are all that
    /// there are; whoever is not among them is forgotten.
    pub(super) fn met(
        &mut self,
        (node, name): (NodeId, &str),
        address: SocketAddr,
        (own_node, own_name): (NodeId, &str),
        peers: &[PeerView],
    ) -> Vec<Namesake> {
        self.addresses.insert(node, address);
        let is_known = |node: &NodeId| *node == own_node || peers.iter().any(|view| view.node == Some(*node));
        self.addresses.retain(|node, _| is_known(node));
        self.told.retain(|(one, other)| is_known(one) && is_known(other));
        let linked = peers.iter().filter(|view| view.lanes_up > 0 && view.name == name);
        let own = Some(own_node).filter(|_| own_name == name);
        let namesakes = linked.filter_map(|view| view.node).chain(own).filter(|other| *other != node);
        let news = namesakes.filter(|other| self.told.insert((node.min(*other), node.max(*other))));
        news.map(|node| Namesake { node, address: self.addresses.get(&node).copied() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fulmar_cluster::peers::LinkState;

    use super::*;

    fn peer(name: &str, node: u64) -> PeerView {
        PeerView {
            name: name.to_owned(),
            node: Some(NodeId(node)),
            state: LinkState::Up,
            lanes_up: 1,
            lanes: 1,
            synchronised: true,
            silent_for: Duration::ZERO,
            failures: 0,
            refusal: None,
        }
    }

    #[test]
    fn each_pair_is_told_of_once_with_the_address_of_the_one_met_before() {
        let (mut namesakes, me) = (Namesakes::default(), (NodeId(9), "a"));
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        assert_eq!(namesakes.met((NodeId(1), "b"), address(1), me, &[peer("b", 1)]), []);
        let both = [peer("b", 1), peer("b", 2)];
        let first = Namesake { node: NodeId(1), address: Some(address(1)) };
        assert_eq!(namesakes.met((NodeId(2), "b"), address(2), me, &both), [first]);
        assert_eq!(namesakes.met((NodeId(1), "b"), address(3), me, &both), []);
        let own = Namesake { node: NodeId(9), address: None };
        assert_eq!(namesakes.met((NodeId(3), "a"), address(4), me, &[peer("a", 3)]), [own]);
        // Nodes that are gone are forgotten, and told of again should they come back.
        assert_eq!(namesakes.met((NodeId(2), "b"), address(2), me, &both).len(), 1);
    }
}
