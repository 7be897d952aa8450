//! The next life of the node in the same process: the cluster has given up the one before.

use fulmar_log::Disk;
use fulmar_store::{Command, Node};

use crate::asked::give_up;
use crate::draft::Waits;
use crate::engine::Engine;
use crate::errors::Failed;
use crate::identity::Identity;
use crate::out::Out;
use crate::replica::Replica;

impl<D: Disk + Clone> Engine<D> {
    /// Raises the boot counter beyond what it is and beyond `above`, synced. What the life before has claimed is served by
    /// nobody, and whatever it asked and has no answer to may or may not happen.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin_life(&mut self, above: u64, out: &mut impl Out) -> Result<Node, Failed> {
        let over = self.me;
        let incarnation = over.incarnation.max(above) + 1;
        let (shards, mode) = (self.settings.shards, self.settings.mode);
        let identity = Identity { node: over.id, shards, incarnation, mode };
        identity.write(&self.disk, &self.settings.folder, true)?;
        self.me = Node { id: over.id, incarnation };
        self.replicas.iter_mut().for_each(|replica| replica.begin_life(over, out));
        Ok(self.me)
    }
}

impl Replica {
    fn begin_life(&mut self, over: Node, out: &mut impl Out) {
        self.owned.clear();
        self.to_deliver.clear();
        self.refuse_asks(out);
        let pieces = self.pieces.drain(..).flat_map(|piece| piece.step.askers());
        let put_off = self.put_off.take().into_iter().flat_map(|draft| draft.waits);
        let proposed = self.in_flight.iter_mut().flat_map(|it| &mut it.waits);
        let waits = proposed.map(|waits| std::mem::replace(waits, Waits::Nobody)).chain(put_off);
        let askers: Vec<_> = waits.flat_map(|waits| waits.askers().collect::<Vec<_>>()).collect();
        give_up(pieces.chain(askers), out);
        if let Some(leading) = &mut self.leading {
            leading.upkeep.push_back(Command::NodeGone(over));
            // The stream of the new life begins when nothing of the old one is on its way.
            leading.is_out_of_step = true;
        }
    }
}
