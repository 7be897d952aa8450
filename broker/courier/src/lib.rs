//! The asks of a node's data threads on their way to the leaders of shards, wherever these are, and answers and
//! deliveries back.
//!
//! A [`Courier`] keeps what data threads ask until it is answered, in order for each shard, and sends it to whom it
//! takes for the leader, again and elsewhere where that is necessary. A [`Desk`] is the other end: it makes what an
//! engine takes of letters that come, and letters of what the engine tells. Both are values: no clocks, no sockets, no
//! threads. Whoever drives them carries letters, and a node's own letters to itself go from its courier to its desk and
//! back like all others, without becoming bytes.
//!
//! # Nothing twice, nothing lost, nothing out of order
//!
//! Publishes have numbers in the stream of this life of the node to a shard, which takes only the next. They keep them
//! however often they are sent, so each is stored once.
//!
//! What is not answered goes again, all of it and in order, when somebody else leads, when letters may have been lost,
//! and when nobody was there to decide. Each time is a new *run*. The ticket of an ask says of which run it is, so a
//! refusal of an earlier one is not mistaken for one of this. An answer that says what became of an ask is taken
//! whichever run it is of.
//!
//! A run begins with a letter that asks nothing, to which the leader's desk answers with its term, and what is asked is
//! for that term alone. So nothing that was long on its way is done when it has been done elsewhere, and more after it.
//!
//! A session that a data thread serves is known by a handle and by an attachment, which counts how often a leader was
//! told of it. Deliveries are taken of the last attachment alone, and begin where those of the one before ended.
//!
//! # What it relies on
//!
//! Letters from one node to another come in order and once, or whoever is concerned is told that some may not have come:
//! [`Courier::connected`], [`Courier::reset`]. An engine answers every ask that it was given, for as long as letters
//! from it come. An engine that stops leading a shard refuses what was asked of it and is not proposed, so that nothing
//! of an old run is done after a later one.

#![deny(unsafe_code)]

mod counts;
mod courier;
mod desk;
mod letter;
mod line;
mod settings;
#[cfg(test)]
mod tests;
mod weight;

pub use counts::{Counts, DeskCounts};
pub use courier::{Courier, Output};
pub use desk::{Desk, Leadership};
pub use letter::{AnswerLetter, AskLetter, Asking, Written};
#[cfg(any(test, feature = "sabotage"))]
pub use settings::Sabotage;
pub use settings::{DeskSettings, Settings};
