//! Who is interested in what, between nodes: thread 0 tells every peer of our filters, takes theirs into the trie, and
//! confirms them once every thread can send.

use crate::effort::cost;
use crate::worker::Worker;
use fulmar_cluster::frame::{InterestChange, InterestDelta, LinkMessage};
use fulmar_cluster::interest::Fed;
use fulmar_router::NodeIndex;

/// Interest messages for one peer in one turn.
const INTEREST_MESSAGES_MAX: usize = 4096;

impl Worker {
    /// Thread 0: tells every peer what it has not been told of our interest.
    pub(crate) fn announce_interest(&mut self) {
        let Worker { node, lanes, .. } = self;
        let mut touched = Vec::new();
        for (index, slot) in lanes.slots.iter_mut().enumerate() {
            let Some(speaker) = slot.speaker.as_deref_mut() else { continue };
            let lane = &mut slot.lane;
            let interest = node.interest();
            let fed = interest.local.feed(&mut speaker.feed, INTEREST_MESSAGES_MAX, |message| {
                !lane.is_full() && lane.push(message).is_ok()
            });
            touched.push(index as u32);
            match fed {
                Ok(Fed::All) => speaker.behind = false,
                Ok(Fed::More) => speaker.behind = true,
                // Ended with the next look at the lanes, from nothing: a moment ago there was more room than it needs.
                Err(error) => speaker.fell_behind = Some(error.to_string()),
            }
        }
        touched.into_iter().for_each(|index| self.lanes.touch(index));
    }

    /// A peer's filter goes into the trie, or leaves it.
    pub(crate) fn apply_interest(&mut self, index: u32, delta: &InterestDelta<'_>) {
        let Some(peer) = self.lanes.slots[index as usize].speaker.as_ref().map(|speaker| speaker.place) else { return };
        self.turn.effort.add(1, cost::FILTER);
        let mut trie = self.turn.trie_mut(&self.node);
        match (delta.change, delta.group) {
            (InterestChange::Add, None) => trie.remote_add(delta.filter, peer),
            (InterestChange::Remove, None) => trie.remote_remove(delta.filter, peer),
            (InterestChange::Add, Some(group)) => trie.remote_shared_add(group, delta.filter, peer),
            (InterestChange::Remove, Some(group)) => trie.remote_shared_remove(group, delta.filter, peer),
        };
    }

    /// Thread 0: another lane of a peer is connected.
    pub(crate) fn confirm_interest_to(&mut self, node_id: u64) {
        let peer = self.node.peers_read().find(node_id);
        if let Some(peer) = peer {
            self.confirm_interest(peer);
        }
    }

    pub(crate) fn confirm_interest(&mut self, peer: NodeIndex) {
        let lane = self.lanes.slots.iter().position(|slot| slot.peer == peer && slot.speaker.is_some());
        if let Some(index) = lane {
            self.confirm_interest_of(index as u32);
        }
    }

    /// Confirms a peer's interest once it is in the trie and every thread can send: all lanes must be connected, or a
    /// publish that matches could still miss the peer.
    pub(crate) fn confirm_interest_of(&mut self, index: u32) {
        let slot = &mut self.lanes.slots[index as usize];
        let Some(speaker) = slot.speaker.as_deref_mut() else { return };
        let all_up = self.node.peers_read().get(slot.peer).is_some_and(|peer| peer.lanes_up >= peer.lanes);
        if !all_up {
            return;
        }
        if let Some(version) = speaker.interest.take_confirmation() {
            self.lanes.push(index, &LinkMessage::InterestConfirm { version });
        }
    }
}
