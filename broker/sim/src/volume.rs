//! What a node keeps in its data folder: the disk, and the id that was made with it.

use fulmar_log::disk::SimulatedDisk;

use crate::random::Random;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) disk: SimulatedDisk,
    /// The node's id, in a file beside the store's.
    pub(crate) node_id: u64,
}

impl Volume {
    /// An empty folder, and an id that was never used.
    pub(crate) fn new(slot: usize, random: &mut Random) -> Volume {
        // The slot is in it so that traces can be read.
        let node_id = ((slot as u64 + 1) << 32) | (random.next() & 0xffff_ffff);
        Volume { disk: SimulatedDisk::new(random.next()), node_id }
    }

    /// As a backup of the volume has it.
    pub(crate) fn copy(&self, random: &mut Random) -> Volume {
        Volume { disk: self.disk.copy(random.next()), node_id: self.node_id }
    }
}
