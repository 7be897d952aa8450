//! A node's part in the cluster, as one value: [`Membership`] finds the cluster, begins or joins it, holds this node's
//! lease, and on the leader of group 0 gives others theirs. It does what the page of `fulmar-meta` tells a shell to do.
//!
//! It owns [`Lease`](fulmar_meta::Lease) and [`Leases`](fulmar_meta::Leases), and what is known of who leads, of links
//! and of discovery. The state of the cluster, [`Meta`](fulmar_meta::Meta), is the engine's, and is lent to each call;
//! so is the time. Nothing here reads a clock, draws a random number or does I/O, and every list that somebody else can
//! grow is bounded.
//!
//! # How a shell drives it
//!
//! **Calls.** Each event is one call, with the engine's `Meta` as it is then and a clock that is read for the call. What
//! is to be done is appended as [`Output`]s, to be carried out in that order and in the same turn. After each call ask
//! [`Membership::next_deadline`], and call [`Membership::tick`] then.
//!
//! **A start.** The engine opens the data folder and raises the boot counter; the shell draws a nonce, reads the
//! [`Folder`] file that lies beside the engine's ([`Folder::new`] if there is none), and makes a [`Membership`].
//!
//! **Group 0.** What the engine says of it goes to [`Membership::role`], [`Membership::applied`] (a snapshot, too),
//! [`Membership::confirmed`] and [`Membership::read_failed`].
//!
//! **Other nodes.** [`Membership::links`] takes all links whenever one changes, [`Membership::received`] each letter,
//! [`Membership::discovered`] what discovery found each time it answers, at least once a second while there is no
//! cluster.
//!
//! **Joining.** A new life acknowledges when all others have confirmed it, its data threads follow the view
//! ([`Membership::followed`]) and the leaders of all shards have told it their filters: while
//! [`Membership::awaits_feeds`] names a view, ask the engine, and say so by [`Membership::fed`].
//!
//! **A stop.** [`Membership::stop`]; when all clients are closed, [`Membership::farewell`].
//!
//! ```
//! use std::time::Duration;
//! use fulmar_member::*;
//! use fulmar_meta::{ClusterId, Entry, LEVEL, Member, Meta, Moment};
//!
//! // A node that may begin a cluster and finds nobody else. Its group commits and confirms whatever it asks.
//! let member = Member { id: 0x7ee7, incarnation: 1 };
//! let me = Me {
//!     member,
//!     nonce: 99,
//!     name: "broker-0".into(),
//!     addresses: vec!["broker-0.fulmar:7800".into()],
//!     zone: "east".into(),
//!     level: LEVEL,
//!     cluster_id: None,
//!     begins: Some(Begins { cluster: ClusterId(1), shards: 12 }),
//!     alone: None,
//!     has_data: false,
//! };
//! let (mut meta, mut out) = (Meta::new(), Vec::new());
//! let mut now = Moment(Duration::from_secs(60));
//! let mut node = Membership::new(Settings::default(), me, Folder::new(member.id), &meta, now, &mut out);
//! let found = [Found { address: "10.0.0.1:7800".into(), node: Some(member) }];
//! node.discovered(&found, true, &meta, now, &mut out);
//! while !node.serves() {
//!     for output in std::mem::take(&mut out) {
//!         match output {
//!             Output::Save(_folder) => {} // Written and synced.
//!             Output::BeginCluster => node.role(1, Some(member.id), true, &meta, now, &mut out),
//!             Output::Propose { term: 1, command } => {
//!                 let entry = Entry { time: 0, commands: vec![command.clone()] };
//!                 let reply = meta.apply(meta.applied() + 1, &entry).replies.remove(0);
//!                 node.applied(&[(command, reply)], &meta, now, &mut out);
//!             }
//!             Output::Read(read) => node.confirmed(read, meta.applied(), &meta, now, &mut out),
//!             Output::View(view) => node.followed(view.number, &meta, now, &mut out),
//!             Output::Acknowledge(_) | Output::Serve => {} // The data threads are told.
//!             other => unreachable!("{other:?}: there is nobody else"),
//!         }
//!     }
//!     if let Some(view) = node.awaits_feeds() {
//!         node.fed(view, &meta, now, &mut out);
//!     }
//!     now = node.next_deadline(&meta, now).expect("something is always awaited");
//!     node.tick(&meta, now, &mut out);
//! }
//! assert_eq!(node.missing(&meta, now), []);
//! assert_eq!(node.folder().bond, Bond::Belongs(ClusterId(1)));
//! ```

#![deny(unsafe_code)]

mod asks;
mod folder;
mod links;
mod membership;
mod message;
mod output;
mod proposals;
mod sabotage;
mod seek;
mod settings;
#[cfg(test)]
mod simulation;
mod status;
#[cfg(test)]
mod tests;

pub use folder::{Bond, FOLDER_BYTES_MAX, Folder, FolderError};
pub use links::Link;
pub use membership::{Alone, Begins, Me, Membership, TooManyAsks};
pub use message::{MESSAGE_BYTES_MAX, MemberMessage, NodeState, Request};
pub use output::Output;
#[cfg(any(test, feature = "sabotage"))]
pub use sabotage::Sabotage;
pub use seek::Found;
pub use settings::Settings;
pub use status::{Counts, MemberStatus, Missing, Names, Obstacle, Status, list, named};
