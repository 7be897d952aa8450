//! The next life of the node in the same process: the cluster has given up the one before.

use fulmar_log::Disk;
use fulmar_store::Node;

use crate::engine::Engine;
use crate::errors::Failed;
use crate::identity::Identity;

impl<D: Disk + Clone> Engine<D> {
    /// Raises the boot counter, synced. What the life before has claimed is served by nobody, and whatever it asked and
    /// has no answer to may or may not happen.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin_life(&mut self) -> Result<Node, Failed> {
        let over = self.me;
        let incarnation = over.incarnation + 1;
        let (shards, mode) = (self.settings.shards, self.settings.mode);
        let identity = Identity { node: over.id, shards, incarnation, mode };
        identity.write(&self.disk, &self.settings.folder, true)?;
        self.me = Node { id: over.id, incarnation };
        // What that life claimed and asked is forgotten with it by whoever asked; the cluster says that it is gone.
        for replica in &mut self.replicas {
            replica.owned.retain(|_, owned| owned.to != over);
        }
        Ok(self.me)
    }
}
