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
//! - `tails`: messages that wait leave memory for files, and are read again when they are sent. `bodies`: those files.
//! - `peers`: what comes from other nodes and what is known of them. `view`: who is live. `feed`: a leader tells the
//!   others which filters its sessions have, and SUBSCRIBE is answered when they know. `fed`: what this node was told.
//!   `outboxes`: what shards have for shards elsewhere.
//!
//! # Several nodes
//!
//! Whoever asks is told at its own node ([`Out::tell`]); couriers above this crate carry both. A node numbers what it
//! publishes to a shard, without gaps, so what is asked again is stored once. A leader that stops answers what it has
//! proposed with `Unavailable` and what it has not with `NotLeader`, and forgets whom it delivered to: owners attach to
//! the next one.
//!
//! Subscriptions are known everywhere before SUBACK, under two conditions that are up to the caller. Whoever joins is
//! followed by all members before it serves ([`Engine::follow`]), asks for all filters then and waits until it has them
//! ([`Engine::ask_for_feeds`]). And a leader knows until when it is surely a member ([`Engine::acknowledge_until`]): one
//! that is not may not know who joined, so it answers no SUBSCRIBE and takes no strange life for one that is over.
//!
//! Nothing here has threads or sockets. Clocks and randomness come from outside, and so does the disk, whose simulated
//! twin crashes on demand. Links between nodes and who becomes a member are above this crate.
//!
//! A node is *alone* with all shards, or a *member* of a cluster ([`Mode`]). A member has group 0, whose state machine is
//! [`fulmar_meta::Meta`], in the same log and the same sync, and those shards that the map in it says.
//!
//! - `hosted`: a group and what is kept of it, of either kind. `meta_group`: group 0.
//! - `placing`: replicas come, groups get the members and leaders that the map wants. `leaving`: replicas go.
//! - `transfer`: snapshots for nodes that lag far, `whole` with all that is in files. `status`: how it all is.

mod apply;
mod asked;
mod bodies;
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
mod held;
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
mod outboxes;
mod peers;
mod placing;
mod propose;
mod recover;
mod replica;
mod reserve;
mod settings;
mod settle;
mod snapshot;
mod status;
mod tails;
#[cfg(test)]
mod tests;
mod transfer;
mod upkeep;
mod view;
mod whole;
mod write;

pub use counts::{Counts, State};
pub use engine::Engine;
pub use errors::{Failed, OpenError};
pub use establish::establish;
pub use feed_letter::{Confirm, Feed, Known, News};
pub use held::Alone;
pub use identity::Identity;
pub use inspect::{Finding, GroupReport, Inspector, Kind, LogReport, SnapshotReport, Wanted};
pub use letter::{Letter, LetterError, Transfer};
pub use meta_group::{MetaEvent, MetaRefused};
pub use out::Out;
pub use recover::{Cluster, recover};
#[cfg(any(test, feature = "sabotage"))]
pub use settings::Sabotage;
pub use settings::{Durability, Mode, Settings};
pub use settle::{is_settled, settle};
pub use status::GroupStatus;
