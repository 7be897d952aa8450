//! Which subscribers get a message: the subscription trie, shared groups and retained messages.
//!
//! Both structures are plain values with synchronous calls: no I/O, no clock, no lock, no randomness. Time comes in as
//! milliseconds of a clock of the caller's choice, the seed of the hash tables comes in when they are made (a seed that
//! clients cannot guess keeps them from building collisions), and whoever shares them between threads brings the lock.
//!
//! - [`Trie`] answers "who subscribed to a filter that matches this topic", for sessions of this node, for other nodes
//!   and for shared groups.
//! - [`Retained`] keeps the last message of each topic and finds those that a new subscription matches.
//!
//! Filters and topics were checked by `fulmar_codec` before they come here, the number of their levels included. Input
//! that was not checked gives wrong matches at worst, never a panic.

mod hash;
mod indexed;
mod retained;
mod subscriber;
mod trie;

pub use retained::{Cursor, Limit, Retained, RetainedCounts, RetainedLimits, Scan, Set, Stored, Version, Weigh};
pub use subscriber::{Member, NodeIndex, Options, SubscriberId};
pub use trie::{Counts, Matches, SharedRef, Subscribed, Trie, Unsubscribed};
