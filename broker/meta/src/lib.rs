//! Who belongs to the cluster, which of them live, and which node keeps which shard, as pure values.
//!
//! One Raft group of its own, group 0, carries what is decided here; `fulmar-raft` decides what is in its log, and this
//! crate what that means. Nothing here reads a clock, draws a random number or does I/O, and every list that somebody
//! else can grow is bounded ([`NODES_MAX`] and its neighbours).
//!
//! | part | is on | decides |
//! |---|---|---|
//! | [`Meta`] | each node, the same everywhere | what a [`Command`] changes: nodes, the [`View`], the shard map |
//! | [`Lease`] | each node, one for each life | whether this node may acknowledge, at this moment |
//! | [`Leases`] | each node, at work on the leader of the group | whom to grant a lease, whom to remove, and when |
//! | [`Waiters`] | each data thread | when a PUBACK or SUBACK has waited for everybody |
//! | [`placement`] | the leader of the group, and of each shard | the next step of each replica |
//! | [`drain`] | a node that drains | what is left to give away |
//!
//! # What it is for
//!
//! Whoever acknowledges a message has waited for every member of the view that wants it, and whoever is not in the view
//! acknowledges nothing. So a subscription that was acknowledged misses no message that was acknowledged later, though
//! a node may die, stand still or be cut off at any moment. What that rests on:
//!
//! - A node may acknowledge while its lease holds, which it counts from when it *sent* the renewal. A grant follows a
//!   read that the group has confirmed.
//! - A member leaves the view by a commit only, and no sooner than [`Settings::over_after`] after its last grant, or
//!   after the leader that removes it began. It comes back as another life: with a higher boot counter.
//! - A joiner is in the view, so that others wait for it, but may not acknowledge until all of them have confirmed
//!   that.
//! - A wait ends when all have confirmed, or with a newer view without those that have not; never with a lost link.
//!
//! Why it is made so, and what was simulated, is in `docs/decisions/0007-view-lease.md`.
//!
//! # How a shell drives it
//!
//! **The state.** Entries of the group are [`Entry`]s in bytes, made by the leader, which puts its wall clock in. Hand
//! committed ones to [`Meta::apply`] in order. After each batch, and once at the start with what was on disk, call
//! [`Lease::applied`], [`Leases::applied`] and, if [`Applied::is_new_view`], [`Waiters::follow`] on every data thread,
//! in that order, before anything else is handled. The state is small: [`Meta::snapshot`] is one piece of bytes.
//!
//! **A start.** Add one to the boot counter in the data folder and sync it, draw a nonce, and make a [`Start`] of them,
//! a [`Lease`] and [`Leases`]. A folder without an id is new: ask a leader for its [`Meta::applied`], write that, a
//! random id and the counter 1 into the folder, and send [`Command::Join`]; otherwise [`Command::Boot`]. Send it to the
//! leader every few hundred milliseconds, but only while there are links to all members of the view (other than earlier
//! lives of this node): all others wait for a joiner, and nobody should wait for one that some can't reach. Do what
//! [`Answer::advice`] says, if the answer is to this life. The first node of all has its leader commit
//! [`Command::Bootstrap`] and [`Command::Lead`] instead.
//!
//! **On the leader** the shell proposes what comes from other nodes, in the term in which it came, and answers with
//! [`Answer::of`] the reply. What [`Meta::foresee`] refuses with [`Advice::Retry`] is answered at once. When the group
//! says that the node leads, call [`Leases::lead`] with the term, and [`Leases::follow`] when it does not any more.
//! Then carry out [`LeasesOutput`]s in the same turn: propose, read, send. A command that the group does not take is
//! dropped; it comes again.
//!
//! **Leases.** Send [`LeaseOutput::Renew`] to the leader on a connection of its own, to itself as well; hand what comes
//! to [`Leases::renewed`] and [`Lease::granted`]. Call both `tick`s at their `next_deadline`s, and
//! [`Lease::leader_changed`] when the group names another leader. Read the clock for each call.
//! [`Lease::set_unreachable`] takes the members whose links are down for as long as links wait (2 s).
//!
//! **Acknowledging.** After the bytes of a PUBLISH were read, and before its acknowledgement is written, read the clock
//! (CLOCK_BOOTTIME, not the time of the loop) and ask [`Lease::may_acknowledge`]. Data threads compare their clock with
//! [`Lease::acknowledges_until`], which the control side publishes, in an atomic for instance. On
//! [`LeaseOutput::CloseClients`] close all clients and refuse new ones until [`LeaseOutput::Serve`].
//!
//! **Joiners.** When the view has a member that is joining ([`Life::Joining`]), this node is in the view, is linked
//! with it, has its filters, and all data threads follow that view, send [`Command::Confirm`] until it is up.
//!
//! **The end of a life.** On [`LeaseOutput::BeginNextLife`] close all links, add one to the counter in the folder, and
//! go on as at a start, with [`Leases::begin_life`]. Who stops in good order sends [`Lease::stop`] as its last word.
//!
//! **Shards.** When the shard map or the nodes change, the leader of the group commits each step of
//! [`placement::plan`]; the leader of a shard brings its group there by [`placement::next_change`], commits
//! [`Step::CaughtUp`] when its learner has, and transfers its leadership to [`Replicas::leader`] if that can take it.
//! The group's own voters follow [`placement::plan_meta`]. A node that drained and stopped for good leaves with
//! [`Command::Gone`].
//!
//! ```
//! use std::time::Duration;
//! use fulmar_meta::*;
//!
//! // The only node of a cluster: its group commits and confirms whatever it asks.
//! let me = Member { id: 0x7ee7, incarnation: 1 };
//! let first = Start {
//!     member: me,
//!     nonce: 99,
//!     name: "broker-0".into(),
//!     addresses: vec!["broker-0.fulmar:7000".into()],
//!     zone: "east".into(),
//!     level: LEVEL,
//! };
//! let (mut meta, mut lease) = (Meta::new(), Lease::new(Settings::default(), me, first.nonce));
//! let mut leases = Leases::new(Settings::default(), me);
//! let now = Moment(Duration::from_secs(1));
//!
//! let (mut of_lease, mut of_leases) = (Vec::new(), Vec::new());
//! leases.lead(1, now, &mut of_leases);
//! let bootstrap = Command::Bootstrap { cluster: ClusterId(1), shards: 12, first };
//! of_leases.insert(0, LeasesOutput::Propose(bootstrap));
//! let mut serves = false;
//! while !serves {
//!     for output in std::mem::take(&mut of_leases) {
//!         match output {
//!             LeasesOutput::Propose(command) => {
//!                 let index = meta.applied() + 1;
//!                 let applied = meta.apply(index, &Entry { time: 0, commands: vec![command] });
//!                 assert_eq!(applied.replies, [Reply::Done]);
//!                 lease.applied(&meta, now, &mut of_lease);
//!                 leases.applied(&meta, now, &mut of_leases);
//!             }
//!             LeasesOutput::Read(read) => leases.confirmed(read, meta.applied(), &meta, now, &mut of_leases),
//!             LeasesOutput::Grant(grant) => lease.granted(&grant, now, &mut of_lease),
//!             LeasesOutput::StepAside(_) => unreachable!("there is nobody else"),
//!         }
//!     }
//!     for output in std::mem::take(&mut of_lease) {
//!         match output {
//!             LeaseOutput::Renew(renewal) => leases.renewed(&renewal, &meta, now, &mut of_leases),
//!             LeaseOutput::Serve => serves = true,
//!             LeaseOutput::CloseClients | LeaseOutput::BeginNextLife { .. } => unreachable!("it has just begun"),
//!         }
//!     }
//! }
//! assert!(lease.may_acknowledge(now + Duration::from_millis(1999)));
//! assert!(!lease.may_acknowledge(now + Duration::from_secs(2)));
//! ```

#![deny(unsafe_code)]

mod bytes;
mod command;
pub mod drain;
mod lease;
mod leases;
mod limits;
mod message;
mod meta;
mod names;
pub mod placement;
mod recover;
mod reply;
mod sabotage;
mod settings;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod view;
mod waiters;

pub use bytes::{BytesError, LEVEL, SnapshotError};
pub use command::{Command, Entry, Purpose, Start, Step};
pub use lease::{Lease, LeaseOutput};
pub use leases::{Leases, LeasesOutput};
pub use limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, Bound, NAME_BYTES_MAX, NODES_MAX, SHARDS_MAX, TOMBSTONES_MAX, ZONE_BYTES_MAX,
};
pub use message::{Advice, Answer, Goodbye, Grant, Renewal};
pub use meta::{Leader, Life, Meta, Move, Node, Replicas, Stage, State, Tombstone, VOTERS_MAX};
pub use names::{ClusterId, Incarnation, Index, Level, Member, Moment, NodeId, ShardId, Term, Time};
pub use recover::{RECOVERY_GAP, Survivor};
pub use reply::{Applied, Refusal, Reply};
#[cfg(any(test, feature = "sabotage"))]
pub use sabotage::Sabotage;
pub use settings::Settings;
pub use view::View;
pub use waiters::{TooManyWaits, Waiters};
