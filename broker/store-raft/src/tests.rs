//! What an engine does, by topic, on a simulated disk.

mod cluster;
mod deliver;
pub(crate) mod fixture;
mod full;
mod matching;
mod open;
mod order;
mod outbox;
mod peers;
mod publish;
mod random;
mod snapshot;
mod tell;
mod wills;
