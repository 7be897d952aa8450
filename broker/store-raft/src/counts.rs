//! What an engine counts, for whoever shows it.

use std::time::Duration;

/// What there is, and what happened since the engine was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Groups of this node.
    pub groups: usize,
    /// Those that it leads.
    pub leaders: usize,
    /// The terms of all groups together: it grows with each election.
    pub terms: u64,
    /// Entries of shards that were applied since.
    pub applied: u64,
    /// Those of them that this node has proposed.
    pub commits: u64,
    /// How long these took from the proposal to the answer, together.
    pub commit_time: Duration,
    /// Syncs of the log.
    pub syncs: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Entries that the log holds.
    pub log_entries: u64,
    /// Snapshots that were written.
    pub snapshots: u64,
    /// Snapshots that other nodes needed.
    pub snapshots_sent: u64,
    /// Snapshots of other nodes that took the place of what this one had.
    pub snapshots_received: u64,
    /// Snapshots of other nodes that came whole and can't be read. A human should look.
    pub snapshots_refused: u64,
    /// Replicas that went to other nodes.
    pub replicas_left: u64,
    /// Sessions of all shards that this node has, like what follows.
    pub sessions: usize,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages in queues.
    pub queued: u64,
    /// Retained messages.
    pub retained: usize,
    /// Topics of which it is remembered that their retained message was deleted.
    pub tombstones: usize,
    /// Wills that are to be published.
    pub wills: usize,
    /// Bytes by the measure of [`fulmar_store::cost`].
    pub bytes: u64,
    /// Those of them that messages count whose bodies are not in memory.
    pub bytes_on_disk: u64,
    /// Bytes of the files that these are in.
    pub body_file_bytes: u64,
    /// Bytes of bodies that were read to be sent.
    pub body_bytes_read: u64,
    /// Portions of files of bodies that were looked through because less than half of a file was wanted.
    pub bodies_compacted: u64,
    /// Messages that made room for newer ones in full queues.
    pub dropped: u64,
    /// Messages that a queue had no room for.
    pub refused: u64,
    /// Messages that nobody wanted any more before they were sent.
    pub expired: u64,
    /// Deletions of retained messages that were forgotten early, for want of room.
    pub forgotten: u64,
    /// Messages of shared subscriptions for which no member was left.
    pub stranded: u64,
    /// What waits to be proposed.
    pub asks: usize,
    /// Answers to SUBSCRIBE that wait until all other nodes know.
    pub held: usize,
    /// What was asked and refused because too much waited already, or who asked was not live.
    pub asks_refused: u64,
    /// What was asked and refused because the disk was full.
    pub full_disk_refusals: u64,
    /// Raft's answers that were lost because too many waited for the disk.
    pub answers_lost: u64,
    /// What a group saw that can't be: see [`fulmar_raft::Contradiction`]. A human should look.
    pub contradictions: u64,
}

/// Whether an engine takes what must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Works,
    /// The disk had no room for so many bytes. It goes on by itself when there is.
    Full {
        /// What was to be written.
        wanted: usize,
    },
    /// It has failed and does nothing more.
    Failed,
}
