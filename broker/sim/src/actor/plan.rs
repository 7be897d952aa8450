//! What an actor is to do, as a value.

use std::ops::RangeInclusive;
use std::sync::Arc;

use fulmar_codec::QoS;

/// A time in milliseconds that is drawn each time.
pub(crate) type Millis = RangeInclusive<u64>;

/// What an actor does beside keeping to the protocol.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) publishes: Option<Publishes>,
    /// What it is subscribed to while it is there.
    pub(crate) subscribes: Vec<(Arc<str>, QoS)>,
    /// It subscribes and unsubscribes in turn; none: it subscribes once.
    pub(crate) resubscribes: Option<Millis>,
    /// How many messages wait for their acknowledgements at most, and for how long; none: each is acknowledged at once.
    pub(crate) holds: Option<(usize, Millis)>,
    pub(crate) roams: Option<Roams>,
    pub(crate) will: Option<Leaves>,
    /// So many of 100 connections begin with a clean start.
    pub(crate) clean_percent: u64,
    /// It has its client identifier with another actor, from which it takes the session over.
    pub(crate) takes_over: bool,
    /// When all has healed it connects once more, to see what is retained.
    pub(crate) reads_last: bool,
}

/// What is published.
#[derive(Debug, Clone)]
pub(crate) struct Publishes {
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) qos: Vec<QoS>,
    pub(crate) pause: Millis,
    /// As many are under way at most.
    pub(crate) window: usize,
    pub(crate) retain: bool,
    /// So many of 100 retained publishes delete what is retained.
    pub(crate) delete_percent: u64,
    /// So many of 100 have several kilobytes.
    pub(crate) large_percent: u64,
}

/// Goes and comes back.
#[derive(Debug, Clone)]
pub(crate) struct Roams {
    pub(crate) stays: Millis,
    pub(crate) is_away: Millis,
    /// So many of 100 times it says goodbye.
    pub(crate) goodbye_percent: u64,
}

/// Leaves a will.
#[derive(Debug, Clone)]
pub(crate) struct Leaves {
    pub(crate) topic: Arc<str>,
    pub(crate) qos: QoS,
    pub(crate) delay_seconds: u32,
}
