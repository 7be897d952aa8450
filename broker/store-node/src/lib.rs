//! The store of a node that belongs to a cluster, as one value that a thread drives: [`StoreNode`].
//!
//! | part | crate | does |
//! |---|---|---|
//! | engine | `fulmar-store-raft` | keeps the copies of shards that this node has, and leads some |
//! | courier and desk | `fulmar-courier` | bring what data threads ask to the leaders of shards, and answers back |
//! | membership | `fulmar-member` | finds the cluster, joins it, holds this node's lease |
//!
//! What one of them says is for another, for a data thread, or for the same part of another node: then it is a
//! [letter](Envelope). Nothing here has threads, sockets or clocks; the disk is the engine's, and may be simulated.
//!
//! # How a thread drives it
//!
//! Whatever comes is handed over as it comes: questions ([`StoreNode::ask`]), letters and news of the connections that
//! carry them, links and discovery, a view that all data threads follow. Then [`StoreNode::turn`] does what follows from
//! all of it, says by [`Out`] what is to be done outside, and when to come again.

#![deny(unsafe_code)]

mod clock;
mod envelope;
mod folder;
mod node;
mod orders;
mod out;
mod part;
mod said;
mod settings;
mod steady;
#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use envelope::{Channel, Envelope, EnvelopeError};
pub use folder::{FolderFileError, write as write_membership};
pub use node::{Stopped, StoreNode};
pub use out::Out;
pub use settings::Settings;
pub use steady::SteadyClock;
