//! What the simulations of several crates share. A run follows from its seed alone: events in the order of virtual time
//! ([`Agenda`]), pods whose processes end, stand still and come back ([`Pod`]) with clocks that are wrong ([`Clock`]), a
//! network that is slow, loses and is cut ([`Network`]), a group whose leaders come and go ([`Leadership`]), what breaks
//! ([`draw`]), what is found ([`Violation`]) and in which seed ([`seeds`]).
//!
//! It is for tests only. It knows none of our crates but the one with the numbers, because tests inside a crate see their
//! own types in place of those that another crate would bring along: what events are, what a process does with them and
//! what must hold stays with each simulation.

mod agenda;
mod clock;
mod leadership;
mod network;
mod pod;
pub mod seeds;
mod violation;

use fulmar_random::Random;

pub use agenda::Agenda;
pub use clock::Clock;
pub use leadership::Leadership;
pub use network::{Network, Weather};
pub use pod::Pod;
pub use violation::Violation;

/// One of these, as often as its weight says.
///
/// # Panics
/// If nothing has a weight.
pub fn draw<T: Copy>(weights: &[(u64, T)], random: &mut Random) -> T {
    let mut dice = random.below(weights.iter().map(|(weight, _)| weight).sum());
    for (weight, what) in weights {
        if dice < *weight {
            return *what;
        }
        dice -= weight;
    }
    panic!("nothing of {} has a weight", weights.len());
}

#[cfg(test)]
mod tests;
