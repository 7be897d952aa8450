//! What a group wants done, gathered until the shell takes it.

use std::time::Instant;

use crate::message::Message;
use crate::types::{Entry, HardState, Index, NodeId, Snapshot, Term, Ticket};

/// What a group wants done. All of it may be done at once: messages that promise something come out only after what
/// they promise was reported as stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outputs {
    /// To be written to the log and synced, then reported by [`Group::stored`](crate::Group::stored).
    pub write: Option<Write>,
    /// To be sent. May be lost, doubled or overtaken, but not changed or given to another group.
    pub messages: Vec<(NodeId, Message)>,
    /// To be applied to the state machine in order, then reported by [`Group::applied`](crate::Group::applied). No
    /// more come before that. Each entry comes once in the life of a group.
    pub committed: Vec<Entry>,
    /// Entries to be read from the log, which answers by [`Group::fetched`](crate::Group::fetched).
    pub fetches: Vec<Fetch>,
    /// What became of reads.
    pub reads: Vec<(ReadId, ReadOutcome)>,
    /// Snapshots to be sent, or not to be sent any further.
    pub snapshots: Vec<SnapshotOrder>,
    /// What the node is in the group, if that changed.
    pub role: Option<RoleChange>,
    /// When [`Group::tick`](crate::Group::tick) is due.
    pub next_deadline: Option<Instant>,
    /// How many answers were lost because too many waited for the disk; to be counted.
    pub answers_lost: u64,
    /// The group saw what can't be unless a disk lost what it had reported as stored, or a peer is not one of ours.
    /// The message was ignored; a human should look.
    pub contradictions: Vec<Contradiction>,
}

/// One write of a group. Its parts are written in the order of the fields; after a crash any first part of it may be
/// there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Its number. A group's writes must reach the disk in order.
    pub ticket: Ticket,
    /// Replaces the hard state.
    pub hard_state: Option<HardState>,
    /// The log is replaced by this snapshot, which the shell has received and stored: all entries go, the next one
    /// comes after its position.
    pub reset: Option<Snapshot>,
    /// Entries from here on go.
    pub truncate_from: Option<Index>,
    /// Entries to append.
    pub append: Vec<Entry>,
}

/// Entries that a group needs and has no longer in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Comes back in the answer.
    pub id: u64,
    /// The first entry.
    pub from: Index,
    /// The last entry that is of use.
    pub until: Index,
    /// As many as fit in this, but at least one.
    pub bytes_max: usize,
}

/// The shell's name for a read.
pub type ReadId = u64;

/// What became of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// The state machine answers for the moment of the request once it has applied this entry.
    At(Index),
    /// The node is not the leader any more.
    NotLeader,
}

/// What to do about a snapshot for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotOrder {
    /// The node needs entries that are gone: send it a snapshot, at or after the start of the log, and name the term.
    Send {
        /// The node.
        to: NodeId,
        /// The leader's term, for [`Group::install`](crate::Group::install).
        term: Term,
    },
    /// Stop sending: this node leads no longer, or the other one needs it no longer or did not take it in time.
    Stop {
        /// The node.
        to: NodeId,
    },
}

/// What a node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoleChange {
    /// In which term.
    pub term: Term,
    /// Who leads, if known; this node itself if it does.
    pub leader: Option<NodeId>,
    /// The first entry of this leader's own term, if this node leads: it serves once this entry is applied.
    pub serves_after: Option<Index>,
}

/// What can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Contradiction {
    /// A leader's entry contradicts one that was committed.
    CommittedEntry {
        /// Which.
        index: Index,
        /// The term of the committed one.
        wanted: Term,
        /// The term of the other.
        found: Term,
    },
    /// Two leaders in one term.
    TwoLeaders {
        /// The term.
        term: Term,
        /// The leader known so far.
        known: NodeId,
        /// The other one.
        found: NodeId,
    },
    /// An append with gaps between entries, or with terms that go back.
    Disorder {
        /// The entry out of order.
        index: Index,
    },
    /// The log does not give a committed entry that was stored. It is asked for again.
    EntryMissing {
        /// Which.
        index: Index,
    },
    /// A node says that it stored more than this leader has.
    StoredTooMuch {
        /// The node.
        node: NodeId,
        /// What it says.
        found: Index,
        /// The last entry there is.
        last: Index,
    },
}
