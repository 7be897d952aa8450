//! A network that loses, delays, overtakes and doubles, and that can be cut, in one direction too.

use std::collections::BTreeSet;

use fulmar_random::Random;

use super::acts::Storm;
use crate::types::NodeId;

/// How bad a network is.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) lost_percent: u64,
    pub(super) doubled_percent: u64,
    pub(super) delay_micros: u64,
    /// One in a hundred takes this long.
    pub(super) late_micros: u64,
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    pub(super) fn draw(storm: Storm, random: &mut Random) -> Self {
        // Elections that never end show little.
        let (lost_max, delay_max) = if storm == Storm::Leaders { (5, 4_000) } else { (20, 15_000) };
        Network {
            lost_percent: random.below(2) * random.below(lost_max),
            doubled_percent: random.below(10),
            delay_micros: 200 + random.below(3) * random.below(delay_max),
            late_micros: 1000 + random.below(400_000),
            cut: BTreeSet::new(),
        }
    }

    /// Cuts one direction.
    pub(super) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Nothing is lost or late from now on.
    pub(super) fn become_good(&mut self) {
        *self = Network {
            lost_percent: 0,
            doubled_percent: 0,
            delay_micros: 1000,
            late_micros: 1000,
            cut: BTreeSet::new(),
        };
    }

    /// When the copies of a message arrive: none, one or two.
    pub(super) fn carry(&self, from: NodeId, to: NodeId, random: &mut Random) -> Vec<u64> {
        if self.cut.contains(&(from, to)) || random.below(100) < self.lost_percent {
            return Vec::new();
        }
        let copies = if random.below(100) < self.doubled_percent { 2 } else { 1 };
        (0..copies)
            .map(
                |_| {
                    if random.below(100) == 0 {
                        random.below(self.late_micros)
                    } else {
                        random.below(self.delay_micros)
                    }
                },
            )
            .collect()
    }
}
