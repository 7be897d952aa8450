//! The courier and the desk together, and what they write to each other.

mod courier;
mod desk;
mod letters;
mod simulation;
