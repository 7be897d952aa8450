//! Whether copies of shards that are behind keep clients away from this node.
//!
//! They do before a node has once caught up in its life: whoever restarts nodes one by one waits for that. Later they
//! don't. A copy is behind for a moment whenever a shard changes its leader, and for as long as it takes when the node
//! gets a new copy; its clients are served by the leaders all the same, and if such nodes turned them away one change of
//! leaders would leave nobody to serve them. What is behind at any time is told by `fulmar_store_caught_up`.

/// The last life in which everything was caught up.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    life: Option<u64>,
}

impl CaughtUp {
    /// Whether clients are to stay away, in this life.
    pub(super) fn is_waited_for(&mut self, life: u64, is_caught_up: bool) -> bool {
        if is_caught_up {
            self.life = Some(life);
        }
        self.life != Some(life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_waited_for_once_in_a_life() {
        let mut caught_up = CaughtUp::default();
        let told = [(1, false), (1, true), (1, false), (2, false), (2, true), (2, false)];
        let waited = told.map(|(life, is_caught_up)| caught_up.is_waited_for(life, is_caught_up));
        assert_eq!(waited, [true, false, false, true, false, false]);
    }
}
