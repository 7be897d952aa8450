//! What a log is made of: numbers, positions, entries, and what a node must never forget.

use std::sync::Arc;

use crate::membership::Membership;

/// A node: random, made with its data folder, never used again.
pub type NodeId = u64;

/// The number of an election. 0 is before the first one.
pub type Term = u64;

/// The place of an entry in the log. The first one is 1.
pub type Index = u64;

/// Which write of a group: counts up from 1, see [`Write`](crate::Write).
pub type Ticket = u64;

/// An entry's place and the term of the leader that made it. Two logs that share a position are equal up to it.
///
/// Positions are ordered by term first: of two logs, the one whose last position is greater is more up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The term in which the entry was made.
    pub term: Term,
    /// Its place.
    pub index: Index,
}

impl Position {
    /// Before the first entry of a log.
    pub const ZERO: Position = Position { term: 0, index: 0 };
}

/// One entry of the log. A clone shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place.
    pub index: Index,
    /// What it says.
    pub payload: Payload,
}

impl Entry {
    /// Where it stands.
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }

    /// What it counts against limits of bytes: its payload and what surrounds it.
    pub fn bytes(&self) -> usize {
        const HEAD_BYTES: usize = 32;
        HEAD_BYTES
            + match &self.payload {
                Payload::Empty => 0,
                Payload::Command(command) => command.len(),
                Payload::Membership(membership) => 8 * (membership.voters().len() + membership.learners().len()),
            }
    }
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: the first entry of each leader, which commits what was there before (Raft, 5.4.2).
    Empty,
    /// Something for the state machine.
    Command(Arc<[u8]>),
    /// Who belongs to the group from this entry on; counts as soon as it is in the log.
    Membership(Membership),
}

/// What a node must know after a crash, or it may help to elect two leaders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The latest term it has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
}

/// What a snapshot of the state machine stands for: everything up to a position, and who belonged to the group there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it holds.
    pub position: Position,
    /// The membership after that entry.
    pub membership: Membership,
}

impl Snapshot {
    /// The start of a group: nothing but its first members. A node that is to join gets [`Membership::default`].
    pub fn initial(membership: Membership) -> Self {
        Snapshot { position: Position::ZERO, membership }
    }
}
