//! What discovery and greetings have told of other nodes, for whoever decides about membership.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::target::Progress;
use super::{Address, Peers};
use crate::clock::NodeId;
use crate::letters::Channel;

/// An address that discovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub address: Address,
    /// Who lives there, as far as is known.
    pub lodger: Lodger,
}

/// Who lives at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lodger {
    /// Nobody has answered there.
    Unknown,
    /// This node.
    Itself,
    /// Who answered there last.
    Node(NodeId),
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub node: NodeId,
    /// Its latest life that greeted.
    pub incarnation: u64,
    /// Its name.
    pub name: String,
    /// Where it is found, if it is.
    pub address: Option<SocketAddr>,
    /// The channels on which letters go to it now.
    pub letters: Vec<Channel>,
    /// All lanes of the link are up.
    pub is_linked: bool,
}

impl Peers {
    /// What discovery found, and who lives there.
    pub fn found(&self) -> Vec<Found> {
        let found = self.targets.iter().map(|(address, target)| {
            let lodger = match (target.progress, target.node) {
                (Progress::Itself, _) => Lodger::Itself,
                (_, Some(node)) => Lodger::Node(node),
                (_, None) => Lodger::Unknown,
            };
            Found { address: address.clone(), lodger }
        });
        found.collect()
    }

    /// The nodes that are found or connected.
    pub fn known(&self) -> Vec<Known> {
        let targets = self.targets.iter().filter(|(_, target)| target.progress != Progress::Itself);
        let addresses: BTreeMap<NodeId, SocketAddr> =
            targets.filter_map(|(address, target)| Some((target.node?, address.socket))).collect();
        let is_near = |id: NodeId| addresses.contains_key(&id) || self.letters.has(id);
        let near = self.nodes.iter().filter(|(id, node)| node.is_alive() || is_near(**id));
        let known = near.map(|(id, node)| Known {
            node: *id,
            incarnation: node.incarnation,
            name: node.name.clone(),
            address: addresses.get(id).copied(),
            letters: Channel::ALL.into_iter().filter(|channel| self.letters.is_connected(*id, *channel)).collect(),
            is_linked: node.is_alive() && node.lanes_up() == node.lanes(),
        });
        known.collect()
    }
}
