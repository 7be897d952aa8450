//! The names and numbers that everything else here is addressed by.

use std::fmt;
use std::sync::Arc;

/// A client identifier (MQTT 5.0, 3.1.3.1). A clone shares the text.
pub type ClientId = Arc<str>;

/// The position of an entry in the shard's log.
pub type Index = u64;

/// Milliseconds of the leaders' clocks, as the entries carry them. Never goes back.
pub type Time = u64;

/// Which claim of a client identifier: each claim of the shard gets a higher one than all before it, so an epoch is
/// never that of another session with the same name.
pub type Epoch = u64;

/// Which life of a session: the epoch of the claim that began it. What was matched for an earlier life is not for it.
pub type Generation = u64;

/// The place of a message in its session's queue: 0, 1, 2 and so on within a generation.
pub type Sequence = u64;

/// The number of a message in the stream of one source, or to one destination. The first is 1.
pub type Number = u64;

/// A will that is to be published.
pub type WillId = u64;

/// One life of a node, from start to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// The node: random, made with its data folder, never reused.
    pub id: u64,
    /// Its boot counter: higher at each start.
    pub incarnation: u64,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}#{}", self.id, self.incarnation)
    }
}

/// A shard of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// One end of a numbered stream of messages: whom a shard gets them from, or whom its outbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// One life of a node. Its stream ends with that life.
    Node(Node),
    /// Another shard. Its stream never ends.
    Shard(ShardId),
}

/// Which of two retained messages of a topic is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The entry that stored it.
    pub index: Index,
    /// Which of the entry's messages it was.
    pub position: u32,
}
