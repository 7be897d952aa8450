//! The other nodes as all threads of this node know them.

use fulmar_router::NodeIndex;

/// Who a peer is, as it said in its greeting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerIdentity {
    /// Its node id.
    pub node_id: u64,
    /// Random for each start of its process.
    pub incarnation: u64,
    /// Its name.
    pub name: String,
    /// How many data threads it has.
    pub threads: u16,
}

/// How things stand with a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerStatus {
    /// Who it is.
    pub identity: PeerIdentity,
    /// Lanes connected now.
    pub lanes_up: u16,
    /// Lanes that there are between the two nodes.
    pub lanes: u16,
    /// It takes part: its interest is installed, ours is announced to it.
    pub linked: bool,
    /// It has sent us all its retained messages.
    pub retained_copied: bool,
}

/// Every peer that was ever linked, under a small dense number.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    list: Vec<PeerStatus>,
}

impl Peers {
    /// The number of a peer, a new one if it was never here. `None`: there are more nodes than numbers.
    pub(crate) fn index_of(&mut self, identity: &PeerIdentity, own_threads: u16) -> Option<NodeIndex> {
        let lanes = own_threads.max(identity.threads);
        if let Some(index) = self.list.iter().position(|peer| peer.identity.node_id == identity.node_id) {
            let peer = &mut self.list[index];
            if peer.identity != *identity {
                *peer = PeerStatus { identity: identity.clone(), lanes_up: peer.lanes_up, lanes, ..*peer };
            }
            return Some(NodeIndex(index as u16));
        }
        let index = u16::try_from(self.list.len()).ok()?;
        self.list.push(PeerStatus {
            identity: identity.clone(),
            lanes_up: 0,
            lanes,
            linked: false,
            retained_copied: false,
        });
        Some(NodeIndex(index))
    }

    pub(crate) fn get(&self, index: NodeIndex) -> Option<&PeerStatus> {
        self.list.get(usize::from(index.0))
    }

    pub(crate) fn get_mut(&mut self, index: NodeIndex) -> Option<&mut PeerStatus> {
        self.list.get_mut(usize::from(index.0))
    }

    pub(crate) fn find(&self, node_id: u64) -> Option<NodeIndex> {
        self.list.iter().position(|peer| peer.identity.node_id == node_id).map(|index| NodeIndex(index as u16))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &PeerStatus)> {
        self.list.iter().enumerate().map(|(index, peer)| (NodeIndex(index as u16), peer))
    }
}
