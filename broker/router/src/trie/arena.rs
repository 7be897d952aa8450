//! The nodes of the trie: in chunks that never move, found by number, used again after they were freed.
//!
//! Chunks, because one growing `Vec` would copy all nodes while every data thread waits for the lock.

use super::interest::Interest;
use super::name::Name;
use super::path::End;

/// The number of a node. Stays the same as long as the node lives.
pub(super) type NodeId = u32;

/// Parent of the filters without wildcards, whose name is the whole filter.
pub(super) const EXACT: NodeId = 0;
/// Where filters with wildcards start, level by level.
pub(super) const WILD: NodeId = 1;
/// In [`Node::plus`]: there is none. A root is nobody's child.
pub(super) const NONE: NodeId = EXACT;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// A level of one or more filters. What matching reads first stands first.
#[repr(C)]
pub(super) struct Node {
    pub(super) parent: NodeId,
    /// The child for `+`, or [`NONE`].
    pub(super) plus: NodeId,
    /// How many other children there are; the table of the trie finds them.
    pub(super) children: u32,
    pub(super) name: Name,
    /// Interest in the filter that ends here.
    pub(super) here: Interest,
    /// Interest in the filter that goes on with `/#`: this level and all below it.
    pub(super) below: Interest,
}

impl Node {
    fn new(parent: NodeId, name: Name) -> Self {
        Self { parent, plus: NONE, children: 0, name, here: Interest::None, below: Interest::None }
    }

    pub(super) fn interest(&self, end: End) -> &Interest {
        match end {
            End::Here => &self.here,
            End::Below => &self.below,
        }
    }

    pub(super) fn interest_mut(&mut self, end: End) -> &mut Interest {
        match end {
            End::Here => &mut self.here,
            End::Below => &mut self.below,
        }
    }

    /// Nothing depends on this node.
    pub(super) fn is_bare(&self) -> bool {
        self.children == 0 && self.plus == NONE && self.here.is_none() && self.below.is_none()
    }
}

/// All nodes of one trie.
pub(super) struct Arena {
    chunks: Vec<Vec<Node>>,
    free: Vec<NodeId>,
    used: usize,
    names_bytes: usize,
}

impl Arena {
    /// An arena with nothing but its two roots.
    pub(super) fn new() -> Self {
        let mut arena = Self { chunks: Vec::new(), free: Vec::new(), used: 0, names_bytes: 0 };
        for root in [EXACT, WILD] {
            assert_eq!(arena.add(NONE, Name::EMPTY), root);
        }
        arena
    }

    #[inline]
    pub(super) fn get(&self, id: NodeId) -> &Node {
        &self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }

    pub(super) fn add(&mut self, parent: NodeId, name: Name) -> NodeId {
        self.names_bytes += name.heap_bytes();
        self.used += 1;
        let node = Node::new(parent, name);
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = node;
            return id;
        }
        let id = NodeId::try_from(self.len()).expect("2^32 nodes do not fit the memory of a broker");
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("one with room was made").push(node);
        id
    }

    /// Frees a node that nothing points to any more.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.used -= 1;
        let node = std::mem::replace(self.get_mut(id), Node::new(NONE, Name::EMPTY));
        self.names_bytes -= node.name.heap_bytes();
        self.free.push(id);
        if self.used == 2 {
            // Only the roots are left: the memory of a burst of subscriptions goes back.
            self.chunks.truncate(1);
            self.chunks[0].truncate(2);
            self.free = Vec::new();
        }
    }

    /// Every node number is below this one, free ones included.
    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Nodes in use, the two roots included.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Node>() + self.free.capacity() * size_of::<NodeId>() + self.names_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_72_bytes() {
        assert_eq!(size_of::<Node>(), 72);
    }

    #[test]
    fn freed_nodes_are_used_again_and_an_empty_arena_gives_its_memory_back() {
        let mut arena = Arena::new();
        let at_rest = arena.bytes();
        let ids: Vec<_> = (0..3000).map(|_| arena.add(WILD, Name::new("a name that lives on the heap"))).collect();
        assert_eq!((arena.used(), arena.len()), (3002, 3002));
        arena.remove(ids[7]);
        assert_eq!(arena.add(WILD, Name::new("b")), ids[7]);
        for id in ids {
            arena.remove(id);
        }
        assert_eq!((arena.used(), arena.len(), arena.bytes()), (2, 2, at_rest));
    }
}
