//! Leads from (parent, name) to a node: one hash table for the children of all nodes, in shards.
//!
//! A table that grows moves all that it holds while every data thread waits for the lock. Shards grow one by one, so
//! that a subscription waits for a small part of that.

use hashbrown::HashTable;

use super::arena::NodeId;
use crate::hash::widen;

const SHARDS: usize = 64;
/// Tables place by the low bits of a hash and tag by its upper seven: these are between, as long as a shard has less
/// than 2^19 nodes.
const SHARD_SHIFT: u32 = 19;
/// Tables up to this size keep their memory.
const KEPT_MAX: usize = 64;

/// All children but those for `+`. Nodes are told apart by their hashes here and by their names in the arena.
pub(super) struct Children {
    shards: Box<[HashTable<Child>; SHARDS]>,
}

/// The hash lies beside the node's number, so that a table grows without visiting the nodes.
#[derive(Copy, Clone)]
struct Child {
    hash: u32,
    node: NodeId,
}

impl Children {
    pub(super) fn new() -> Self {
        Self { shards: Box::new([const { HashTable::new() }; SHARDS]) }
    }

    /// The node with this hash that `is` the one.
    #[inline]
    pub(super) fn find(&self, hash: u32, is: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let shard = &self.shards[shard_of(hash)];
        shard.find(widen(hash), |child| child.hash == hash && is(child.node)).map(|child| child.node)
    }

    pub(super) fn insert(&mut self, hash: u32, node: NodeId) {
        let shard = &mut self.shards[shard_of(hash)];
        shard.insert_unique(widen(hash), Child { hash, node }, |child| widen(child.hash));
    }

    pub(super) fn remove(&mut self, hash: u32, node: NodeId) {
        let shard = &mut self.shards[shard_of(hash)];
        if let Ok(entry) = shard.find_entry(widen(hash), |child| child.node == node) {
            entry.remove();
        }
        // The wide margin keeps a table that grows and shrinks a little from being moved over and over.
        if shard.capacity() > KEPT_MAX && shard.len() < shard.capacity() / 8 {
            shard.shrink_to(shard.capacity() / 4, |child| widen(child.hash));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.shards) + self.shards.iter().map(HashTable::allocation_size).sum::<usize>()
    }
}

#[inline]
fn shard_of(hash: u32) -> usize {
    (hash >> SHARD_SHIFT) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hashes;

    #[test]
    fn children_are_found_until_they_are_removed_and_their_memory_goes_back() {
        let hashes = Hashes::new(1);
        let hash = |node: NodeId| hashes.within(node, 7);
        let mut children = Children::new();
        (0..100_000).for_each(|node| children.insert(hash(node), node));
        let full = children.bytes();
        let shares = children.shards.iter().map(HashTable::len);
        assert!(shares.clone().min() > Some(1200) && shares.max() < Some(1900), "shards fill up evenly");
        for node in 0..100_000 {
            assert_eq!(children.find(hash(node), |found| found == node), Some(node));
            children.remove(hash(node), node);
            assert_eq!(children.find(hash(node), |found| found == node), None);
        }
        assert!(children.bytes() * 10 < full, "{} of {full} bytes are kept", children.bytes());
    }
}
