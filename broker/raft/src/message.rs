//! What the nodes of a group say to each other. Who sends and who receives is known to the shell, which carries them.
//!
//! Messages may be lost, late, doubled and overtaken. Bytes are in `wire.rs`.

use crate::types::{Entry, Index, Position, Term};

/// One message, with the sender's term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The term the sender is in; what it says counts in that term only.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Would the receiver vote for the sender in the next term? Changes no votes (dissertation, 9.6).
    AskPreVote {
        /// The sender's last entry.
        last: Position,
    },
    /// Answers [`Body::AskPreVote`] of the same term.
    PreVote {
        /// Whether it would.
        granted: bool,
    },
    /// The sender is a candidate in its term.
    AskVote {
        /// Its last entry.
        last: Position,
        /// The leader itself asked it to take over, so nobody needs to protect the leader.
        transfer: bool,
    },
    /// Answers [`Body::AskVote`].
    Vote {
        /// Whether the sender has voted for the receiver, for good.
        granted: bool,
    },
    /// Entries from the leader of the term.
    Append {
        /// What comes before them.
        previous: Position,
        /// The entries after `previous`, without gaps; none to ask whether the receiver has `previous`.
        entries: Vec<Entry>,
        /// Up to where the leader knows the log to be committed.
        committed: Index,
    },
    /// The sender's log equals the leader's up to here, on disk.
    Stored {
        /// The last such entry.
        matched: Index,
    },
    /// The sender does not have what came before an append.
    Refused {
        /// The index of the `previous` it does not have.
        previous: Index,
        /// No later entry of its log can be shared with the leader's.
        shareable: Position,
    },
    /// The leader lives.
    Heartbeat {
        /// Up to where the log is committed, as far as the receiver has it.
        committed: Index,
        /// Counts up in a term; comes back in the answer. Reads are confirmed by it.
        round: u64,
    },
    /// Answers [`Body::Heartbeat`].
    Beat {
        /// The round that is answered.
        round: u64,
        /// Up to where the sender has what this term's leader sent, on disk or not. No promise.
        received: Index,
        /// The same on disk: a promise like [`Body::Stored`].
        matched: Index,
    },
    /// Answers a leader or candidate whose term is over; the sender's term tells.
    TermOver,
    /// The leader asks the receiver, who has all its entries, to become a candidate at once.
    TakeOver,
}
