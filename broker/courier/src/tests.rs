//! The courier and the desk together, and what they write to each other.

mod letters;
mod random;
mod simulation;
