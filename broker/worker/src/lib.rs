//! The pure core of one data thread: connections, sessions, routing and links as `(event, now) -> outputs`.
//!
//! A [`Worker`] owns everything that its thread's clients need; [`Node`] is what the workers of one node share. Bytes
//! and time come in through its methods, bytes go out through buffers that the reactor writes once a turn, and
//! everything else it wants goes through [`Out`]. There is no I/O here, no clock and no source of randomness, so a test
//! can run several nodes of several threads in one process from one seed.
//!
//! One publish's way: [`Worker::received`] → `client.rs` (packets) → `publish.rs` → `route.rs` (match) → `receivers.rs`
//! (sessions of this thread), `letter.rs` (other threads) and `lanes.rs` (other nodes) → the acknowledgement, at once or
//! when `pending.rs` says that every party has it. What is too much for one turn goes on in later ones: `turn.rs`.

mod admission;
mod alarm;
mod authenticate;
mod buffers;
mod claiming;
mod claims;
mod client;
mod confirmations;
mod connect;
mod connections;
mod counters;
mod desk;
mod effort;
mod ending;
mod extended;
mod fanout;
mod following;
mod from_peer;
mod ids;
mod inherit;
mod interest;
mod lanes;
mod learned;
mod leaving;
mod letter;
mod limits;
mod line;
mod link;

mod node;
mod out;
mod overdue;
mod peers;
mod pending;
mod places;
mod pressure;
mod publish;
mod question;
mod rate;
mod reauthenticate;
mod receivers;
mod retained;
mod retained_copy;
mod rights;
mod route;
mod rules;
mod sabotage;
mod sessions;
mod slab;
mod slow;
mod store_side;
mod stored;
mod subscribe;
mod sys;
mod throttle;
mod timer;
mod to_store;
mod told;
mod turn;
mod views;
mod waiting;
mod window;
mod withdraw;
mod worker;

pub use admission::Refused;
pub use counters::{Counters, Gauges, LinkCounters};
pub use ids::{ConnId, Thread};
pub use lanes::LaneSocket;
pub use letter::{Batch, ForeignClaim, Note, Target};
pub use limits::Limits;
pub use node::{AuthCounts, Node, NodeSettings};
pub use out::{Departure, Event, LaneEnd, Origin, Out};
pub use peers::{PeerIdentity, PeerStatus};
pub use pressure::Pressure;
pub use question::{Answer, Question};
pub use rate::Bucket;
pub use rules::{AuthSettings, Rules};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use worker::{Closed, Consumed, Worker};
