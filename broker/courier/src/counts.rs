//! What there is and what happened, for metrics.

/// Of a courier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Asks that are not answered.
    pub asks: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Sessions that data threads of this node serve, or claim.
    pub sessions: usize,
    /// Shards of which something is asked that nobody can be sent to now.
    pub held_shards: usize,
    /// Asks that did not fit.
    pub refused: u64,
    /// Asks that were sent, however often.
    pub sent: u64,
    /// The same, of those that had been sent before.
    pub sent_again: u64,
    /// Data threads that waited too long.
    pub given_up: u64,
    /// How often all that a shard was asked began to go again.
    pub runs: u64,
    /// Sessions that were attached to a leader anew, however often.
    pub attached: u64,
    /// Deliveries and refusals that came too late to count.
    pub late: u64,
    /// Things told that make no sense: a node of a newer build, or one that errs.
    pub senseless: u64,
}

/// Of a desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeskCounts {
    /// Asks that were handed on.
    pub asks: u64,
    /// Asks of runs that were over.
    pub late: u64,
    /// Letters that make no sense.
    pub senseless: u64,
    /// Nodes that were forgotten to make room for others.
    pub origins_forgotten: u64,
    /// Letters that were made.
    pub letters: u64,
}
