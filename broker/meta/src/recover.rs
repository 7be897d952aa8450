//! What the state is when a human gives up all nodes of a cluster but one, whose folder is all that is left.
//!
//! Nothing that was counted may be counted again: entries, terms and views go on far beyond anything that lost nodes may
//! have seen, so whoever meets one of them follows the recovered node and not it. The folder gets another id, and all
//! ids that there were are retired, that of the folder itself too: whatever comes back of them begins anew.

use std::collections::BTreeMap;

use crate::meta::{Cluster, Leader, Life, Meta, Node, Replicas};
use crate::names::{Index, Member, NodeId, Term};
use crate::view::View;

/// Entries, terms and views go on so far behind the last one that is known. Lost nodes may have been further, but not by
/// that much, and so many recoveries as would reach the end of the numbers are none that anybody makes.
pub const RECOVERY_GAP: u64 = 1 << 32;

/// The node that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survivor {
    /// Its id in the folder.
    pub was: NodeId,
    /// The one that it has from now on, which nobody ever had.
    pub id: NodeId,
    /// The entry at which the state stands from now on.
    pub index: Index,
    /// The term from which on it leads.
    pub term: Term,
}

impl Meta {
    /// The state of the same cluster with this node and no others, which keeps all shards alone, which has not lived
    /// yet. None if the cluster has not begun here, or does not know the node.
    pub fn recovered(&self, survivor: Survivor) -> Option<Meta> {
        let Survivor { was, id, index, term } = survivor;
        let before = self.cluster.as_ref()?;
        let old = before.nodes.get(&was)?;
        let node =
            Node { member: Member { id, incarnation: 0 }, nonce: 0, life: Life::Down, drain: None, ..old.clone() };
        let mut cluster = Cluster {
            id: before.id,
            first: before.first,
            level: before.level,
            leader: Leader { node: id, term },
            view: View::new(before.view.number + RECOVERY_GAP, []),
            nodes: before.nodes.clone(),
            tombstones: before.tombstones.clone(),
            retired_names: before.retired_names.clone(),
            // Of those that came after what is known here nobody knows the names.
            forgotten: index,
            shards: before.shards.iter().map(|_| Replicas::alone(id)).collect(),
        };
        for lost in before.nodes.keys() {
            cluster.retire(*lost, index, (*lost == was).then_some(id));
        }
        cluster.nodes = BTreeMap::from([(id, node)]);
        Some(Meta {
            applied: index,
            time: self.time,
            cluster: Some(cluster),
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        })
    }
}
