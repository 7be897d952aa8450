//! Actors: who uses the simulated cluster, and how.

mod crew;
mod plan;
pub(crate) mod player;

pub use crew::crew;
