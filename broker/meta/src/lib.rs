//! Who belongs to the cluster, which of them live, and which node keeps which shard, as pure values.

#![deny(unsafe_code)]

mod bytes;
mod command;
mod limits;
mod meta;
mod names;
pub mod placement;
mod reply;
mod sabotage;
#[cfg(test)]
mod tests;
mod view;

pub use bytes::{BytesError, LEVEL, SnapshotError};
pub use command::{Command, Entry, Purpose, Start, Step};
pub use limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, Bound, NAME_BYTES_MAX, NODES_MAX, SHARDS_MAX, TOMBSTONES_MAX, ZONE_BYTES_MAX,
};
pub use meta::{Leader, Life, Meta, Move, Node, Replicas, Stage, State, Tombstone, VOTERS_MAX};
pub use names::{ClusterId, Incarnation, Index, Level, Member, Moment, NodeId, ShardId, Term, Time};
pub use reply::{Applied, Refusal, Reply};
pub use view::View;
