//! Names of things on a data thread: small values that stay cheap to copy and to compare.

use std::fmt;

/// The number of a data thread of this node, from 0.
pub type Thread = u16;

/// One connection of this data thread: a client's or a lane to another node.
///
/// The slot is free for use again only after the turn in which the connection closed; the generation tells an old
/// event from a new connection in the same slot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ConnId {
    /// Index into the thread's connections, dense from 0.
    pub slot: u32,
    /// Grows each time the slot is used again.
    pub generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// One session of this data thread, with or without a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SessionId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}
