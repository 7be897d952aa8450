//! Whole brokers of a cluster in one process, on virtual time, from one seed.
//!
//! A node here is what the program is made of: data threads ([`fulmar_worker::Worker`]), the store of a member of a cluster
//! ([`fulmar_store_node::StoreNode`]), links and letters by the states of `fulmar-cluster`. Only clock, network, disk and
//! randomness are this crate's. Clients with known histories ([`Actor`]) use them while faults happen; when all has healed
//! and come to rest, checkers look at what clients saw.
//!
//! Everything that happens follows from the seed: a run with the same seed is the same run.

#![deny(unsafe_code)]

mod actor;
mod agenda;
#[cfg(feature = "sabotage")]
mod bug;
pub mod checks;
mod client;
mod clock;
mod config;
mod converge;
mod faults;
pub mod history;
mod known;
mod link;
mod network;
mod node;
mod outside;
mod random;
mod run;
mod seats;
mod time;
mod volume;
mod world;

pub use actor::crew;
#[cfg(feature = "sabotage")]
pub use bug::Bug;
pub use history::History;
pub use link::{Actor, Phase, Wants, Where};
pub use run::{Options, Report, play, run};
pub use time::Time;
