//! One Raft group on one node, as pure values: `(event, now) -> outputs`.
//!
//! A [`Group`] decides who leads, what is in the log and what of it is committed (Ongaro and Ousterhout, In Search of
//! an Understandable Consensus Algorithm, 2014; Ongaro's dissertation for what is cited as such). It reads no clock,
//! draws no random number but from its seed, and does no I/O. The shell around it
//!
//! - writes what [`Outputs::write`] says and reports it by [`Group::stored`]; one sync for many groups;
//! - carries [`Outputs::messages`] and hands those of others to [`Group::receive`];
//! - applies [`Outputs::committed`] and reports it by [`Group::applied`];
//! - calls [`Group::tick`] at [`Outputs::next_deadline`];
//! - moves the bytes of snapshots when [`Outputs::snapshots`] says so.
//!
//! What must never happen: that a promise leaves before it is on disk. So the group holds such messages back itself
//! until [`Group::stored`], and the shell may send whatever it gets.
//!
//! ```
//! use std::time::Instant;
//! use fulmar_raft::{Group, Membership, Payload, Recovered, Settings, Snapshot};
//!
//! let (me, now) = (7, Instant::now());
//! let alone = Membership::new([me], []).expect("one voter");
//! let mut group = Group::new(Settings::default(), me, Recovered::new(Snapshot::initial(alone)), now, 1);
//! group.tick(now);
//! let mut applied = Vec::new();
//! loop {
//!     let outputs = group.take_outputs();
//!     if outputs.role.is_some_and(|role| role.leader == Some(me)) {
//!         group.propose(vec![b"hello".as_slice().into()], now).expect("it leads");
//!     }
//!     if let Some(write) = &outputs.write {
//!         // Here the log is written and synced.
//!         group.stored(write.ticket, now);
//!     }
//!     if let Some(last) = outputs.committed.last() {
//!         applied.extend(outputs.committed.iter().map(|entry| entry.payload.clone()));
//!         group.applied(last.index);
//!     }
//!     if applied.len() == 2 {
//!         break;
//!     }
//! }
//! assert_eq!(applied, [Payload::Empty, Payload::Command(b"hello".as_slice().into())]);
//! ```

mod change;
mod election;
mod errors;
mod follower;
mod group;
mod leader;
mod log;
mod membership;
mod message;
mod outputs;
mod progress;
mod reads;
mod recovered;
mod replication;
mod sabotage;
mod settings;
mod snapshots;
mod status;
mod transfer;
mod types;
mod wire;
mod writes;

#[cfg(test)]
mod simulation;

pub use errors::{ChangeError, ProposeError, ReadError, TransferError};
pub use group::Group;
pub use membership::{Change, LEARNERS_MAX, Membership, MembershipError, VOTERS_MAX};
pub use message::{Body, Message};
pub use outputs::{Contradiction, Fetch, Outputs, ReadId, ReadOutcome, RoleChange, SnapshotOrder, Write};
pub use recovered::{RecoverError, Recovered};
#[cfg(any(test, feature = "sabotage"))]
pub use sabotage::Sabotage;
pub use settings::Settings;
pub use status::Follower;
pub use types::{Entry, HardState, Index, NodeId, Payload, Position, Snapshot, Term, Ticket};
pub use wire::{NUMBER_MAX, State, WireError};
