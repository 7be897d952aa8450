//! The replicated store of one node as one value that a thread drives: Raft groups, their log, and the shards that
//! their entries make.
//!
//! Data threads ask ([`fulmar_store::Ask`]) and are told ([`fulmar_store::Told`]). In a [turn](Engine::turn) everything
//! asked so far is matched with the subscriptions that there are, becomes one entry for each shard, is written and
//! synced once for all shards, is committed, applied and answered. Then sessions that are owned here are sent what they
//! may have.
//!
//! - `engine`: the turn. `propose`: asks become entries. `write`: entries reach the disk. `apply`: what they did is told.
//! - `replica`: one shard on this node. `matcher`: who gets a message. `deliver`: what a session was sent.
//! - `inspect`: a folder that nobody has open, read as far as it can be. `establish`, `settle`: shards move elsewhere.
//! - `upkeep`: what leaders do by themselves. `snapshot`: when the log may go. `open`, `identity`: how a life begins.
//!
//! Nothing here has threads or sockets. Clocks and randomness come from outside, and so does the disk, whose simulated
//! twin crashes on demand. Links between nodes and who becomes a member are above this crate.
//!
//! A node is *alone* with all shards, or a *member* of a cluster ([`Mode`]). A member has group 0, whose state machine is
//! [`fulmar_meta::Meta`], in the same log and the same sync, and those shards that the map in it says.
//!
//! - `hosted`: a group and what is kept of it, of either kind. `meta_group`: group 0.
//! - `placing`: replicas come, groups get the members and leaders that the map wants. `leaving`: replicas go.
//! - `transfer`: snapshots for nodes that lag far. `status`: how it all is.

mod apply;
mod asked;
mod bytes;
mod counts;
mod deliver;
mod draft;
mod engine;
mod errors;
mod establish;
mod fed;
mod feed;
mod feed_letter;
mod hosted;
mod identity;
mod inspect;
mod leaving;
mod letter;
mod life;
mod matcher;
mod meta_group;
mod open;
mod out;
mod peers;
mod placing;
mod propose;
mod random;
mod replica;
mod settings;
mod settle;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod transfer;
mod upkeep;
mod view;
mod write;

pub use bytes::Wrong;
pub use counts::{Counts, State};
pub use engine::Engine;
pub use errors::{Failed, OpenError};
pub use establish::establish;
pub use feed_letter::{Confirm, Feed, Known, News};
pub use identity::Identity;
pub use inspect::{Finding, GroupReport, Inspector, Kind, LogReport, SnapshotReport, Wanted};
pub use letter::{Letter, LetterError, Transfer};
pub use meta_group::{MetaEvent, MetaRefused};
pub use out::Out;
pub use settings::{Durability, Mode, Settings};
pub use settle::{is_settled, settle};
pub use status::GroupStatus;
