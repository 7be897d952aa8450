//! Finding the filters that match a topic.
//!
//! The trie is walked one level at a time with a list of the nodes reached so far, not by recursion: a topic may have
//! 65,535 levels, each level is hashed once for all nodes, and the lookups of one level do not wait for each other.
//!
//! **Bound.** A node is visited only if its levels match the topic's, and at most once. A topic of L levels therefore
//! visits at most as many nodes as all filters have within their first L levels, and at most 2^L at level L (each node
//! has one child of that name and one `+`). Filters like `+/+/+/x` can make that many visits end in no delivery, so the
//! work a client can cause is its number of subscriptions times the levels of each: limit both, levels by the codec's
//! topic limits. [`Trie::matches`] gives the number of visits back for those who want to charge for them.

use super::Trie;
use super::arena::{EXACT, NONE, NodeId, WILD};
use super::path::split_level;
use super::shared::SharedRef;
use crate::subscriber::{NodeIndex, Options, SubscriberId};

/// Takes the subscribers that [`Trie::matches`] finds. One that has several matching filters is given once for each
/// (MQTT 5.0, 3.3.4); whoever wants it once sorts that out here.
pub trait Matches {
    /// A session of this node.
    fn local(&mut self, subscriber: SubscriberId, options: Options);
    /// Another node that has subscribers outside shared groups.
    fn remote(&mut self, node: NodeIndex);
    /// A shared group, which gets the message once.
    fn shared(&mut self, group: SharedRef<'_>);
}

impl Trie {
    /// Gives everyone who subscribed to a filter that matches this topic to `out`, in no particular order. Filters that
    /// start with a wildcard do not match topics that start with `$` (MQTT 5.0, 4.7.2).
    ///
    /// Returns the number of nodes visited.
    pub fn matches(&self, topic: &str, out: &mut impl Matches) -> usize {
        let mut visited = 0;
        if self.arena.get(EXACT).children > 0
            && let Some(id) = self.child(EXACT, topic, self.hashes.name(topic))
        {
            visited += 1;
            self.arena.get(id).here.tell(out);
        }
        let root = self.arena.get(WILD);
        if root.is_bare() {
            return visited;
        }
        let plain = !topic.starts_with('$');
        if plain {
            root.below.tell(out);
        }
        visited + self.matches_by_level(topic, plain, out)
    }

    fn matches_by_level(&self, topic: &str, plain: bool, out: &mut impl Matches) -> usize {
        let mut visited = 0;
        let (mut reached, mut next) = (Reached::new(), Reached::new());
        reached.push(WILD);
        let mut rest = Some(topic);
        while let Some(levels) = rest
            && !reached.is_empty()
        {
            let (level, after) = split_level(levels);
            rest = after;
            let hash = self.hashes.name(level);
            for id in reached.iter() {
                let node = self.arena.get(id);
                if node.children > 0
                    && let Some(child) = self.child(id, level, hash)
                {
                    next.push(child);
                }
                if node.plus != NONE && (plain || id != WILD) {
                    next.push(node.plus);
                }
            }
            for id in next.iter() {
                let node = self.arena.get(id);
                // `a/#` matches `a` too (MQTT 5.0, 4.7.1.2).
                node.below.tell(out);
                if rest.is_none() {
                    node.here.tell(out);
                }
            }
            visited += next.len();
            std::mem::swap(&mut reached, &mut next);
            next.clear();
        }
        visited
    }
}

const INLINE: usize = 16;

/// A list of nodes that lies on the stack unless a topic matches unusually many branches.
struct Reached {
    count: usize,
    inline: [NodeId; INLINE],
    more: Vec<NodeId>,
}

impl Reached {
    #[inline]
    fn new() -> Self {
        Self { count: 0, inline: [NONE; INLINE], more: Vec::new() }
    }

    #[inline]
    fn push(&mut self, id: NodeId) {
        match self.inline.get_mut(self.count) {
            Some(place) => *place = id,
            None => self.more.push(id),
        }
        self.count += 1;
    }

    #[inline]
    fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.inline[..self.count.min(INLINE)].iter().chain(&self.more).copied()
    }

    fn len(&self) -> usize {
        self.count
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn clear(&mut self) {
        self.count = 0;
        self.more.clear();
    }
}
