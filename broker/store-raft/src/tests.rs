//! What an engine does, by topic, on a simulated disk.

mod cluster;
mod deliver;
mod establish;
pub(crate) mod fixture;
mod full;
mod inspect;
mod matching;
mod open;
mod order;
mod outbox;
mod peers;
mod publish;
mod random;
mod snapshot;
mod tails;
mod tell;
mod wills;
