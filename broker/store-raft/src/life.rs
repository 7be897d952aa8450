//! The next life of the node in the same process: the cluster has given up the one before.

use fulmar_log::Disk;
use fulmar_store::Node;

use crate::engine::Engine;
use crate::errors::Failed;
use crate::identity::Identity;

impl<D: Disk + Clone> Engine<D> {
    /// Raises the boot counter beyond what it is and beyond `above`, synced. What the life before has claimed is served by
    /// nobody, and whatever it asked and has no answer to may or may not happen.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin_life(&mut self, above: u64) -> Result<Node, Failed> {
        let over = self.me;
        let incarnation = over.incarnation.max(above) + 1;
        let (shards, mode) = (self.settings.shards, self.settings.mode);
        let identity = Identity { node: over.id, shards, incarnation, mode };
        identity.write(&self.disk, &self.settings.folder, true)?;
        self.me = Node { id: over.id, incarnation };
        // Whoever asked and claimed in that life forgets it, and the cluster says that it is gone.
        self.replicas.iter_mut().for_each(|replica| replica.owned.retain(|_, owned| owned.to != over));
        Ok(self.me)
    }
}
