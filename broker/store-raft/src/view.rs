//! Which lives of nodes are live, as this node follows it, and which are over.

use std::collections::BTreeMap;
use std::time::Instant;

use fulmar_raft::NodeId;
use fulmar_store::Node;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct View {
    number: u64,
    members: Vec<Node>,
    /// Until then this node is among the members, whatever it has not heard of.
    lasts_until: Option<Instant>,
    /// The last life of each node that was in a view that this node followed.
    seen: BTreeMap<NodeId, u64>,
}

impl View {
    /// Follows a later view. Returns the lives that have left with it.
    pub(crate) fn follow(&mut self, number: u64, members: Vec<Node>) -> Vec<Node> {
        if number <= self.number {
            return Vec::new();
        }
        self.number = number;
        for Node { id, incarnation } in &members {
            let last = self.seen.entry(*id).or_default();
            *last = (*last).max(*incarnation);
        }
        let before = std::mem::replace(&mut self.members, members);
        before.into_iter().filter(|life| !self.members.contains(life)).collect()
    }

    pub(crate) fn set_lasting(&mut self, until: Instant) {
        self.lasts_until = self.lasts_until.max(Some(until));
    }

    /// That of before the cluster began is 0.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn members(&self) -> &[Node] {
        &self.members
    }

    pub(crate) fn contains(&self, life: Node) -> bool {
        self.members.contains(&life)
    }

    /// Whether this node is surely a member. Whoever joins without asking it joins later.
    pub(crate) fn is_lasting(&self, now: Instant) -> bool {
        self.lasts_until.is_some_and(|until| now < until)
    }

    /// Whether a life is over. None: it was in no view that this node followed, so it left before or joins later.
    pub(crate) fn is_over(&self, life: Node) -> Option<bool> {
        if self.contains(life) {
            return Some(false);
        }
        let last = self.seen.get(&life.id)?;
        (life.incarnation <= *last).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, incarnation: u64) -> Node {
        Node { id, incarnation }
    }

    #[test]
    fn who_was_in_an_earlier_view_and_is_not_in_this_one_is_over() {
        let mut view = View::default();
        assert_eq!(view.follow(3, vec![node(1, 5), node(2, 1)]), []);
        assert_eq!(view.follow(5, vec![node(1, 5), node(2, 2)]), [node(2, 1)]);
        assert_eq!(view.follow(4, vec![node(9, 9)]), [], "an earlier one comes late");
        let lives = [node(1, 5), node(1, 4), node(2, 1), node(2, 2), node(2, 3), node(3, 1)];
        let over = [Some(false), Some(true), Some(true), Some(false), None, None];
        assert_eq!(lives.map(|life| view.is_over(life)), over);
        assert_eq!((view.number(), view.members()), (5, &[node(1, 5), node(2, 2)][..]));
    }

    #[test]
    fn nobody_is_a_member_for_longer_than_was_granted() {
        let (mut view, now) = (View::default(), Instant::now());
        let [one, two] = [1, 2].map(std::time::Duration::from_secs);
        assert!(!view.is_lasting(now));
        view.set_lasting(now + two);
        view.set_lasting(now + one);
        assert_eq!([now, now + one, now + two].map(|at| view.is_lasting(at)), [true, true, false]);
    }
}
