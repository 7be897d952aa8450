//! Which filters are live on which node, so that a publish goes once to each node that wants it and to no other.
//!
//! Each node announces every distinct live filter to each peer: [`LocalInterest`] numbers the changes and lists
//! everything to a new peer, [`PeerInterest`] checks what arrives, and the [`Barrier`] holds a SUBACK until all linked
//! peers have confirmed its filters. Who subscribes and how topics match is the trie's affair.
//!
//! Should the two ends ever disagree (a gap in the numbers, a peer that falls too far behind), the life of the link
//! ends as out of step, and the next one begins with everything: that is the only resynchronisation, and the same as
//! after any other loss of a peer.

mod barrier;
mod local;
mod peer;

pub use barrier::{Barrier, Released, Why};
pub use local::{Fed, FellBehind, InterestFeed, InterestLimits, LocalInterest};
pub use peer::{InterestError, PeerInterest};

#[cfg(test)]
mod tests;
