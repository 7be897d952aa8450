//! How long leases are.

use std::time::Duration;

/// Times of the view lease. All nodes of a cluster have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a lease holds, by the member's clock, counted from when it sent the renewal.
    pub lease: Duration,
    /// How much longer the leader waits, by its own clock, counted from its last grant. Clocks that run wrong by 5 %
    /// each way differ by 10.5 %, so this is an eighth of the lease: see `docs/decisions/0007-view-lease.md`.
    pub margin: Duration,
    /// How often a member renews. Several fit into a lease, so that it outlives lost messages and a change of leader.
    pub renewal_interval: Duration,
    /// How long a member must have reported that it can't reach another before one of them is removed.
    pub report_stands: Duration,
    /// How long a leader waits for the outcome of what it asked its group before it asks again.
    pub retry: Duration,
    /// A deliberate mistake, to see that the simulation finds it.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<crate::sabotage::Sabotage>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(2),
            margin: Duration::from_millis(250),
            renewal_interval: Duration::from_millis(250),
            report_stands: Duration::from_secs(1),
            retry: Duration::from_secs(1),
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

impl Settings {
    /// How long the leader waits after a grant until the lease is over, whatever the clocks do.
    pub fn over_after(&self) -> Duration {
        if crate::sabotage::sabotaged!(self, MarginOfATenth) {
            return self.lease + self.lease / 10;
        }
        self.lease + self.margin
    }
}
