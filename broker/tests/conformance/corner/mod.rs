//! Corners in which servers go wrong, beyond what a single statement says.

pub mod aliases;
pub mod choices;
pub mod five;
pub mod sessions;
pub mod windows;
