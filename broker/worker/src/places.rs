//! Where the filters of other nodes stand in the trie, on thread 0.
//!
//! The trie knows each node by two numbers, its two places. Where nodes follow no view only the first is used: when a
//! link's life ends the filters go. In a durable cluster those of a member stay as long as it is in the view, because a
//! publish that it wants must not be acknowledged without it; and when it is linked again its list is taken into the other
//! place and replaces the old one once it is whole.

use fulmar_meta::{Member, View};
use fulmar_router::NodeIndex;

/// Distinguishes the second place of a node.
const SECOND: u16 = 1 << 14;

/// As many nodes have numbers.
pub(crate) const PEERS_MAX: usize = SECOND as usize;

/// The node, whichever of its places it is. Shards, which are above, stay what they are.
#[inline]
pub(crate) fn node_of(place: NodeIndex) -> NodeIndex {
    NodeIndex(place.0 & !SECOND)
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// By the node's number.
    nodes: Vec<[Option<Place>; 2]>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    member: Member,
    /// Its list was whole; changes have come since.
    is_whole: bool,
}

impl Places {
    fn node(&mut self, node: NodeIndex) -> &mut [Option<Place>; 2] {
        let at = usize::from(node.0);
        if self.nodes.len() <= at {
            self.nodes.resize(at + 1, [None; 2]);
        }
        &mut self.nodes[at]
    }

    /// A node begins to list its filters. Gives the place that they go to, which is to be cleared, and whose it was.
    pub(crate) fn begin(&mut self, node: NodeIndex, member: Member, view: &View) -> (NodeIndex, Option<Member>) {
        let places = self.node(node);
        let must_stay = |place: &Option<Place>| place.is_some_and(|it| it.is_whole && view.contains(it.member));
        let at = usize::from(must_stay(&places[0]));
        let before = places[at].replace(Place { member, is_whole: false });
        (number(node, at), before.map(|it| it.member))
    }

    /// Whether all filters of a life of a node are known.
    pub(crate) fn has_all_of(&self, node: NodeIndex, member: Member) -> bool {
        let places = self.nodes.get(usize::from(node.0));
        places.into_iter().flatten().flatten().any(|it| it.is_whole && it.member == member)
    }

    /// The list is whole. Gives the place that is to be cleared, because the new one replaces it.
    pub(crate) fn complete(&mut self, place: NodeIndex, view: &View) -> Option<NodeIndex> {
        let (node, at) = (node_of(place), usize::from(place.0 & SECOND != 0));
        let places = self.node(node);
        let member = places[at].as_mut().map(|it| {
            it.is_whole = true;
            it.member
        })?;
        // That of another life stays while the view has that one.
        let other = places[1 - at].filter(|it| it.member == member || !view.contains(it.member))?;
        places[1 - at].take_if(|it| *it == other).map(|_| number(node, 1 - at))
    }

    /// What is not of use any more: of lives that are not in the view, but for the one that is linked, and lists that will
    /// never be whole because nobody goes on with them.
    pub(crate) fn forget(&mut self, node: NodeIndex, linked: Option<Member>, view: &View) -> Vec<(NodeIndex, Member)> {
        let mut forgotten = Vec::new();
        for (at, place) in self.node(node).iter_mut().enumerate() {
            let is_over = |it: &mut Place| linked != Some(it.member) && !(it.is_whole && view.contains(it.member));
            forgotten.extend(place.take_if(is_over).map(|it| (number(node, at), it.member)));
        }
        forgotten
    }

    /// Everything, as its places.
    pub(crate) fn take_all(&mut self) -> Vec<NodeIndex> {
        let nodes = (0..).zip(std::mem::take(&mut self.nodes));
        let of = |(node, places): (u16, [Option<Place>; 2])| {
            (0..2).filter(move |at| places[*at].is_some()).map(move |at| number(NodeIndex(node), at))
        };
        nodes.flat_map(of).collect()
    }

    /// As many nodes may have filters here.
    pub(crate) fn nodes(&self) -> u16 {
        self.nodes.len() as u16
    }
}

fn number(node: NodeIndex, at: usize) -> NodeIndex {
    NodeIndex(if at == 0 { node.0 } else { node.0 | SECOND })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeIndex = NodeIndex(3);
    const FIRST: NodeIndex = NodeIndex(3);
    const OTHER: NodeIndex = NodeIndex(3 | SECOND);

    const fn life(incarnation: u64) -> Member {
        Member { id: 9, incarnation }
    }

    #[test]
    fn a_member_that_lists_its_filters_again_keeps_the_old_ones_until_the_list_is_whole() {
        let view = View::new(1, [life(1)]);
        let mut places = Places::default();
        assert_eq!(places.begin(NODE, life(1), &view), (FIRST, None));
        assert!(!places.has_all_of(NODE, life(1)));
        assert_eq!(places.complete(FIRST, &view), None);
        assert!(places.has_all_of(NODE, life(1)));
        assert_eq!(places.begin(NODE, life(1), &view), (OTHER, None));
        // The link is lost before it is whole, and comes once more.
        assert_eq!(places.forget(NODE, None, &view), [(OTHER, life(1))]);
        assert_eq!(places.begin(NODE, life(1), &view), (OTHER, None));
        assert_eq!(places.complete(OTHER, &view), Some(FIRST));
        assert_eq!(places.begin(NODE, life(1), &view), (FIRST, None));
        assert_eq!(places.complete(FIRST, &view), Some(OTHER));
        assert_eq!(places.take_all(), [FIRST]);
    }

    #[test]
    fn another_life_replaces_filters_only_when_the_view_has_dropped_theirs() {
        let view = View::new(1, [life(1)]);
        let mut places = Places::default();
        let (first, _) = places.begin(NODE, life(1), &view);
        places.complete(first, &view);
        assert_eq!(places.begin(NODE, life(2), &view), (OTHER, None));
        assert_eq!(places.complete(OTHER, &view), None, "the first may still have clients");
        let view = View::new(2, [life(2)]);
        assert_eq!(places.forget(NODE, Some(life(2)), &view), [(FIRST, life(1))]);
        assert_eq!(places.forget(NODE, None, &view), []);
        assert_eq!(places.forget(NODE, None, &View::new(3, [])), [(OTHER, life(2))]);
    }

    #[test]
    fn a_node_is_the_same_by_both_its_places_and_a_shard_is_none() {
        assert_eq!([FIRST, OTHER, NodeIndex(1 << 15 | 7)].map(node_of), [NODE, NODE, NodeIndex(1 << 15 | 7)]);
    }
}
