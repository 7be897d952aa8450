//! Evens out loads by chains of moves.
//!
//! Something can often not move from a full node to an empty one directly, but by way of others: from the full one to
//! a second, and something else from there to the empty one. Such a chain changes only the loads of its ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::names::NodeId;

/// How much each node has.
pub(super) type Loads = BTreeMap<NodeId, usize>;

/// Moves along shortest chains from a node to one that has at least two less, until there is none.
///
/// `find` names something that can move from one node to another; `take` moves it. A chain is taken from its far end,
/// and move by move looked up anew, since one move may stand in the way of another; then what was moved so far stays,
/// and the next look finds out.
pub(super) fn even_out<T, State>(
    state: &mut State,
    loads: impl Fn(&State) -> Loads,
    find: impl Fn(&State, NodeId, NodeId) -> Option<T>,
    mut take: impl FnMut(&mut State, T, NodeId, NodeId),
) {
    // Each round lowers the sum of squares, but for chains that broke; so many of them never do.
    let nodes = loads(state).len();
    let total: usize = loads(state).values().sum();
    for _ in 0..(total + 1) * (nodes + 1) {
        let Some(chain) = find_chain(&loads(state), |from, to| find(state, from, to).is_some()) else { return };
        for pair in chain.windows(2).rev() {
            let Some(what) = find(state, pair[0], pair[1]) else { break };
            take(state, what, pair[0], pair[1]);
        }
    }
}

/// The shortest chain from the fullest node that has one.
fn find_chain(loads: &Loads, can_move: impl Fn(NodeId, NodeId) -> bool) -> Option<Vec<NodeId>> {
    let mut fullest: Vec<(NodeId, usize)> = loads.iter().map(|(node, load)| (*node, *load)).collect();
    fullest.sort_by_key(|(node, load)| (std::cmp::Reverse(*load), *node));
    let lowest = fullest.last().map_or(0, |(_, load)| *load);
    for (start, load) in fullest.iter().take_while(|(_, load)| *load >= lowest + 2) {
        let mut came_from: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut seen = BTreeSet::from([*start]);
        let mut next = VecDeque::from([*start]);
        while let Some(from) = next.pop_front() {
            // Emptier ones first: of equally short chains the one that evens out most.
            for (to, to_load) in fullest.iter().rev() {
                if seen.contains(to) || !can_move(from, *to) {
                    continue;
                }
                seen.insert(*to);
                came_from.insert(*to, from);
                next.push_back(*to);
                if to_load + 2 <= *load {
                    let mut chain = vec![*to];
                    while let Some(before) = chain.last().and_then(|last| came_from.get(last)) {
                        chain.push(*before);
                    }
                    chain.reverse();
                    return Some(chain);
                }
            }
        }
    }
    None
}
