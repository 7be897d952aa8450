//! What all threads of a node know of its store: which sessions it keeps, and what they have subscribed to.

use crate::desk::{expiry, outgoing};
use crate::node::{Node, unpoisoned};
use crate::to_store::index_of;
use foldhash::quality::FixedState;
use fulmar_cluster::{NodeId, Version};
use fulmar_router::SubscriberId;
use fulmar_store::{ClientId, Message, ShardId};
use hashbrown::HashMap;
use std::hash::BuildHasher;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bits that say which names may have a session in the store: 128 KiB.
const BITS: usize = 1 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct StoredSessions {
    /// A bit for each name that had one, at the place of its hash. Other names share it: they ask in vain.
    names: Box<[AtomicU64]>,
    hasher: FixedState,
    /// Those whose clients are connected here: the threads that match messages know them by these numbers.
    connected: RwLock<HashMap<SubscriberId, ClientId>>,
}

impl StoredSessions {
    /// Of a node with a store or without.
    pub(crate) fn new(is_open: bool, seed: u64) -> StoredSessions {
        let words = if is_open { BITS / 64 } else { 0 };
        StoredSessions {
            names: (0..words).map(|_| AtomicU64::new(0)).collect(),
            hasher: FixedState::with_seed(seed),
            connected: RwLock::default(),
        }
    }

    /// Whether the store may have a session under this name. It knows for sure.
    pub(crate) fn may_have(&self, client_id: &str) -> bool {
        let (word, bit) = self.place(client_id);
        self.names.get(word).is_some_and(|bits| bits.load(Ordering::Relaxed) & bit != 0)
    }

    /// The store has, or gets, a session under this name.
    pub(crate) fn note(&self, client_id: &str) {
        let (word, bit) = self.place(client_id);
        if let Some(bits) = self.names.get(word) {
            bits.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn place(&self, client_id: &str) -> (usize, u64) {
        let at = self.hasher.hash_one(client_id) as usize % BITS;
        (at / 64, 1 << (at % 64))
    }

    /// The client of a session is connected to this node.
    pub(crate) fn came(&self, id: SubscriberId, client: ClientId) {
        unpoisoned(self.connected.write()).insert(id, client);
    }

    /// It has gone.
    pub(crate) fn left(&self, id: SubscriberId) {
        unpoisoned(self.connected.write()).remove(&id);
    }

    /// Whose session this is, if the store keeps it.
    pub(crate) fn client(&self, id: SubscriberId) -> Option<ClientId> {
        unpoisoned(self.connected.read()).get(&id).cloned()
    }
}

impl Node {
    /// The first session of a shard has subscribed to this filter, or the last one has given it up. `share`: as members of
    /// this group.
    pub fn set_shard_interest(&self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool) {
        let index = index_of(shard);
        let (mut trie, _) = self.trie_mut();
        match (share, begins) {
            (None, true) => trie.remote_add(filter, index),
            (None, false) => trie.remote_remove(filter, index),
            (Some(group), true) => trie.remote_shared_add(group, filter, index),
            (Some(group), false) => trie.remote_shared_remove(group, filter, index),
        };
    }

    /// The store has a session under this name.
    pub fn note_stored_session(&self, client_id: &str) {
        self.stored.note(client_id);
    }

    /// The store has a retained message, or has lost it if there is none. What is known here may be newer.
    pub fn set_stored_retained(
        &self,
        topic: &str,
        message: Option<&Message>,
        version: fulmar_store::Version,
        now: Instant,
    ) {
        let version = Version { clock: version.clock, node: NodeId(version.node) };
        self.clock.observe(version.clock);
        let kept = message
            .map(|message| fulmar_session::Message::new(&outgoing(message, expiry(message, now)), &mut Vec::new()));
        // What there is no room for was refused to its publisher.
        if self.retain(topic, kept.clone(), version, now) == Ok(true) && self.views.is_some() {
            unpoisoned(self.learned.lock()).add(topic, kept, version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_had_a_session_is_asked_about_and_few_others_are() {
        let stored = StoredSessions::new(true, 7);
        (0..1000).for_each(|number| stored.note(&format!("meter-{number}")));
        assert!((0..1000).all(|number| stored.may_have(&format!("meter-{number}"))));
        let others = (0..10_000).filter(|number| stored.may_have(&format!("car-{number}"))).count();
        assert!(others < 50, "{others} of 10,000 are taken for others");
        assert!(!StoredSessions::new(false, 7).may_have("meter-1"));
    }
}
