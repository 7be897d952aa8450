//! The other nodes as all threads of this node know them.

use crate::places::PEERS_MAX;
use fulmar_meta::Member;
use fulmar_router::NodeIndex;
use std::time::Instant;

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

impl PeerIdentity {
    /// The same as a member of the view.
    pub fn member(&self) -> Member {
        Member { id: self.node_id, incarnation: self.incarnation }
    }
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
    /// Since when not all of them are connected; none: they are.
    pub down_since: Option<Instant>,
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
    pub(crate) fn index_of(&mut self, identity: &PeerIdentity, own_threads: u16, now: Instant) -> Option<NodeIndex> {
        let lanes = own_threads.max(identity.threads);
        if let Some(index) = self.list.iter().position(|peer| peer.identity.node_id == identity.node_id) {
            let peer = &mut self.list[index];
            if peer.identity != *identity {
                *peer = PeerStatus { identity: identity.clone(), lanes_up: peer.lanes_up, lanes, ..*peer };
            }
            return Some(NodeIndex(index as u16));
        }
        let index = u16::try_from(self.list.len()).ok().filter(|_| self.list.len() < PEERS_MAX)?;
        self.list.push(PeerStatus {
            identity: identity.clone(),
            lanes_up: 0,
            lanes,
            down_since: Some(now),
            linked: false,
            retained_copied: false,
        });
        Some(NodeIndex(index))
    }

    /// A lane to a peer is connected, or lost.
    pub(crate) fn set_lane_up(&mut self, index: NodeIndex, is_up: bool, now: Instant) {
        let Some(peer) = self.get_mut(index) else { return };
        peer.lanes_up = if is_up { peer.lanes_up + 1 } else { peer.lanes_up.saturating_sub(1) };
        peer.down_since = (peer.lanes_up < peer.lanes).then(|| peer.down_since.unwrap_or(now));
    }

    pub(crate) fn get(&self, index: NodeIndex) -> Option<&PeerStatus> {
        self.list.get(usize::from(index.0))
    }

    pub(crate) fn get_mut(&mut self, index: NodeIndex) -> Option<&mut PeerStatus> {
        self.list.get_mut(usize::from(index.0))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u16 {
        self.list.len() as u16
    }

    pub(crate) fn find(&self, node_id: u64) -> Option<NodeIndex> {
        self.list.iter().position(|peer| peer.identity.node_id == node_id).map(|index| NodeIndex(index as u16))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &PeerStatus)> {
        self.list.iter().enumerate().map(|(index, peer)| (NodeIndex(index as u16), peer))
    }
}
