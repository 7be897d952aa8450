//! Groups in which nobody else decides, on a node that comes back.
//!
//! Such a group needs nobody to lead it. If the folder was restored from a copy of a time when that was so, and others
//! have votes by now, it would lead a second time beside the one that does, and what learners of old hear from it would
//! take the office of that one away. So it does nothing until it is known that the folder is what the node had last:
//! for group 0 that is asked of others by whoever drives this, for shards it is so when the cluster has taken in the life.
//! A folder in its first life is no old copy.

use fulmar_log::Disk;
use fulmar_raft::{Index, Term};

use crate::engine::Engine;
use crate::hosted::Hosted;
use crate::meta_group::META;

/// How far group 0 is on a node that decides alone in it, if the folder says the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alone {
    /// The last entry.
    pub last: Index,
    /// The latest term.
    pub term: Term,
}

impl<D: Disk + Clone> Engine<D> {
    pub(crate) fn hold_alone(&mut self) {
        if self.settings.holds_alone && self.me.incarnation > 1 {
            self.each_group(|group| group.hold(group.decides_alone()));
        }
    }

    /// How far group 0 is, if it waits to be [released](Self::release).
    pub fn alone(&self) -> Option<Alone> {
        let group = self.hosted(META).filter(|group| group.is_held())?;
        Some(Alone { last: group.last().index, term: group.term() })
    }

    /// Group 0 may go on alone: nobody has more of it.
    pub fn release(&mut self) {
        if let Some(group) = self.hosted_mut(META) {
            group.hold(false);
        }
    }

    /// Shards may go on alone: the cluster has taken in this life.
    pub fn release_shards(&mut self) {
        self.each_group(|group| {
            if group.number != META {
                group.hold(false);
            }
        });
    }

    fn each_group(&mut self, act: impl FnMut(&mut Hosted)) {
        let of_shards = self.replicas.iter_mut().map(|replica| &mut replica.group);
        self.cluster.iter_mut().map(|cluster| &mut cluster.group).chain(of_shards).for_each(act);
    }
}
