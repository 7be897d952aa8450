//! What an engine does, by topic, on a simulated disk.

mod fixture;
mod publish;
