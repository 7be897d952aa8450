//! Times and bounds of a node's part in the cluster.

use std::time::Duration;

/// Times and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long leases are. All nodes of a cluster have the same.
    pub leases: fulmar_meta::Settings,
    /// How long this node waits before it asks the leader again for what has not been committed.
    pub ask_interval: Duration,
    /// How long before it asks others again what they are, while it looks for its cluster. Before a cluster is begun,
    /// all that discovery finds must say twice that they have none, so long apart.
    pub look_interval: Duration,
    /// For so long links wait: a member that could not be reached meanwhile is reported to the leader.
    pub link_wait: Duration,
    /// A node that has the only vote of group 0 waits for so long to hear from all others that there are whether its folder
    /// is an old copy. Those that are silent for longer are not there.
    pub alone_wait: Duration,
    /// A node that was drained in order to leave, and is down for so long, has left.
    pub gone_after: Duration,
    /// How many commands this program may have asked for ([`Membership::ask`](crate::Membership::ask)) at a time.
    pub asks_max: usize,
    /// How many commands of all nodes the leader may have proposed that are not applied.
    pub proposals_max: usize,
    /// A deliberate mistake, to see that the simulation finds it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<crate::sabotage::Sabotage>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            leases: fulmar_meta::Settings::default(),
            ask_interval: Duration::from_millis(300),
            look_interval: Duration::from_secs(1),
            link_wait: Duration::from_secs(2),
            alone_wait: Duration::from_secs(30),
            gone_after: Duration::from_secs(10),
            asks_max: 128,
            proposals_max: 1024,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

impl Settings {
    /// What another node said of itself is old after this.
    pub(crate) fn look_counts(&self) -> Duration {
        self.look_interval * 3
    }
}
