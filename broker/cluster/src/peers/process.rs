//! Which process is taken for a node. Two may say that they are the same one: the second has a copy of the first one's
//! data folder, or is the first one's next start before its end was noticed.
//!
//! Processes differ by the nonce that each draws at its start. What the cluster has committed decides: whoever is
//! recorded as the node's last life is the node, and whoever does not come with a higher boot counter has a copy, for a
//! start raises the counter in the folder before anything is said. A process whose counter is higher may be the next start,
//! and waits until no connection of the process before stands: nobody is ever connected with two of them.

use std::collections::BTreeMap;

use super::{Action, Me, Peers};
use crate::clock::NodeId;
use crate::hello::{Hello, RefusalReason};

/// The last life of a node that the cluster has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its boot counter.
    pub incarnation: u64,
    /// Of its process.
    pub nonce: u64,
}

impl Peers {
    /// The last lives of all nodes, as far as this node knows what was committed. This node's own counts, too.
    pub fn set_lives(&mut self, lives: BTreeMap<NodeId, Life>) {
        self.lives = lives;
    }

    /// Whether this node takes whoever greets at all.
    pub(super) fn check(&self, hello: &Hello) -> Result<(), RefusalReason> {
        let Me { node, nonce, name, cluster, .. } = &self.me;
        if self.stopping {
            return Err(RefusalReason::ShuttingDown);
        }
        if hello.node == *node {
            return Err(match self.lives.get(node) {
                _ if hello.nonce == *nonce => RefusalReason::Itself,
                Some(life) if life.nonce == *nonce => copied(hello, *life),
                _ => RefusalReason::SameNodeId { name: name.clone() },
            });
        }
        if hello.cluster != *cluster {
            return Err(RefusalReason::WrongCluster { wanted: cluster.clone() });
        }
        self.check_process(hello)
    }

    fn check_process(&self, hello: &Hello) -> Result<(), RefusalReason> {
        if let Some(life) = self.lives.get(&hello.node) {
            if life.nonce == hello.nonce {
                return Ok(());
            }
            if hello.incarnation <= life.incarnation {
                return Err(copied(hello, *life));
            }
        }
        let another = self.nodes.get(&hello.node).filter(|known| known.nonce != hello.nonce);
        match another {
            Some(known) if known.lanes_up() > 0 || self.letters.has(hello.node) => {
                Err(RefusalReason::AnotherProcess { incarnation: known.incarnation })
            }
            _ => Ok(()),
        }
    }

    /// Somebody refuses this node for good, unless it is in another life by now.
    pub(super) fn hear_refusal(&mut self, reason: &RefusalReason) {
        if let RefusalReason::Copied { found, .. } = reason
            && *found == self.me.incarnation
        {
            self.actions.push_back(Action::Refused { reason: reason.clone() });
        }
    }
}

fn copied(hello: &Hello, recorded: Life) -> RefusalReason {
    RefusalReason::Copied { found: hello.incarnation, recorded: recorded.incarnation }
}

#[cfg(test)]
mod tests;
