//! What a node finds of a group when it starts.

use thiserror::Error;

use crate::membership::Membership;
use crate::types::{Entry, HardState, Index, Payload, Position, Snapshot, Term};

/// What is on disk, in the little that a group needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub(crate) hard_state: HardState,
    pub(crate) start: Snapshot,
    pub(crate) terms: Vec<Position>,
    pub(crate) memberships: Vec<(Index, Membership)>,
    pub(crate) last: Index,
    pub(crate) applied: Index,
}

/// Why what is on disk makes no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecoverError {
    /// The log has a gap.
    #[error("log has entry {found} where entry {wanted} should be")]
    Gap {
        /// What is there.
        found: Index,
        /// What should be.
        wanted: Index,
    },
    /// Terms never go back in a log.
    #[error("entry {index} has term {found}, and the one before it {before}")]
    TermGoesBack {
        /// Which entry.
        index: Index,
        /// Its term.
        found: Term,
        /// The term before.
        before: Term,
    },
    /// The state machine is ahead of the log, so the log lost entries that were stored.
    #[error("state machine has applied entry {applied}, but the log ends at {last}")]
    AppliedBeyondLog {
        /// Where the state machine is.
        applied: Index,
        /// Where the log ends.
        last: Index,
    },
    /// The state machine lacks entries that the log has no more.
    #[error("state machine has applied entry {applied}, but the log starts after {start}")]
    AppliedBeforeLog {
        /// Where the state machine is.
        applied: Index,
        /// Where the log starts.
        start: Index,
    },
}

impl Recovered {
    /// A group that is new on this node.
    pub fn new(start: Snapshot) -> Self {
        let index = start.position.index;
        Recovered {
            hard_state: HardState { term: start.position.term, vote: None },
            start,
            terms: Vec::new(),
            memberships: Vec::new(),
            last: index,
            applied: index,
        }
    }

    /// Goes through what is in the log after `start`, which was kept with the group's state when the log was
    /// compacted or replaced. `applied` is where the state machine is. All of it must be synced before the group sees
    /// it: what a stopped process wrote may still be on its way to the disk.
    ///
    /// If a received snapshot stands aside, the log decides: when it starts from that snapshot, the state machine is
    /// replaced by it now, as the crash came in between; otherwise it is thrown away.
    pub fn from_log(
        hard_state: HardState,
        start: Snapshot,
        applied: Index,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Self, RecoverError> {
        let mut last = start.position;
        let (mut terms, mut memberships) = (Vec::new(), Vec::new());
        for Entry { term, index, payload } in entries {
            if index != last.index + 1 {
                return Err(RecoverError::Gap { found: index, wanted: last.index + 1 });
            }
            if term < last.term {
                return Err(RecoverError::TermGoesBack { index, found: term, before: last.term });
            }
            if term != last.term {
                terms.push(Position { term, index });
            }
            if let Payload::Membership(membership) = payload {
                memberships.push((index, membership));
            }
            last = Position { term, index };
        }
        if applied > last.index {
            return Err(RecoverError::AppliedBeyondLog { applied, last: last.index });
        }
        if applied < start.position.index {
            return Err(RecoverError::AppliedBeforeLog { applied, start: start.position.index });
        }
        // The hard state of an entry's term was written before the entry; a torn write may have kept neither.
        let term = hard_state.term.max(last.term);
        let vote = hard_state.vote.filter(|_| term == hard_state.term);
        Ok(Recovered { hard_state: HardState { term, vote }, start, terms, memberships, last: last.index, applied })
    }
}
