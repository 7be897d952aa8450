//! The names and numbers that everything else here is addressed by.

use std::fmt;
use std::num::NonZeroU16;
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

impl ShardId {
    /// The shard of a client identifier or a topic among so many. The same for ever: what is stored is found by it.
    pub fn of(name: &str, shards: NonZeroU16) -> Self {
        // FNV-1a spreads short names over its low bits only after they are mixed (the last step of MurmurHash3).
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        let mixed = mixed ^ (mixed >> 33);
        Self(u16::try_from(mixed % u64::from(shards.get())).expect("a remainder is less than its divisor"))
    }
}

/// One end of a numbered stream of messages: whom a shard gets them from, or whom its outbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// One life of a node. Its stream ends with that life.
    Node(Node),
    /// Another shard. Its stream never ends.
    Shard(ShardId),
}

/// Which of two retained messages of a topic is the later one: the one with the higher clock, or with the higher node
/// where clocks are equal. The node that published it gave the version, so it is the same wherever a copy of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The Lamport clock of the node where it was published.
    pub clock: u64,
    /// The id of that node.
    pub node: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_the_same_shard_for_ever() {
        let twelve = NonZeroU16::new(12).unwrap();
        let shards = ["", "a", "meter-000001", "meter-000002", "plant/ü"].map(|name| ShardId::of(name, twelve).0);
        assert_eq!(shards, [2, 11, 0, 3, 2]);
    }

    #[test]
    fn names_that_differ_little_are_spread_evenly() {
        let twelve = NonZeroU16::new(12).unwrap();
        let mut counts = [0; 12];
        for number in 0..12_000 {
            counts[usize::from(ShardId::of(&format!("meter-{number:06}"), twelve).0)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
