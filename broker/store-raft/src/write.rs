//! What groups want done with entries: written to the log and synced once for all of them, read again, applied.
//!
//! The order is what everything rests on: written, synced, told to the group, committed, applied, answered.

use std::time::Instant;

use fulmar_log::{Disk, GroupId, Write as LogWrite};
use fulmar_raft::{Entry, Fetch, Payload, State, Write};
use fulmar_store::Time;

use crate::apply::Applying;
use crate::engine::{Engine, IDLE};
use crate::errors::{Failed, Written, written};
use crate::letter::Letter;
use crate::out::Out;
use crate::replica::Replica;
use crate::settings::{Durability, sabotaged};

/// What is written at once is split beyond this, which is far below what the log takes.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What the log needs for an entry beside its payload.
const ENTRY_HEAD_BYTES: usize = 29;

/// What one group wants written.
pub(crate) struct Unwritten {
    /// The shard.
    pub(crate) replica: usize,
    pub(crate) write: Write,
}

/// A record of a batch; its bytes lie in a buffer that all share.
enum Record {
    State(std::ops::Range<usize>),
    Purge(u64),
    Truncate(u64),
    Append { index: u64, term: u64, payload: std::ops::Range<usize> },
}

/// Records on their way to the log.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: Vec<(GroupId, Record)>,
}

impl Batch {
    pub(crate) fn state(&mut self, group: GroupId, state: &State) {
        let from = self.bytes.len();
        state.append_to(&mut self.bytes);
        self.records.push((group, Record::State(from..self.bytes.len())));
    }

    pub(crate) fn purge(&mut self, group: GroupId, until: u64) {
        self.records.push((group, Record::Purge(until)));
    }

    fn append(&mut self, group: GroupId, entry: &Entry) -> usize {
        let from = self.bytes.len();
        entry.payload.append_to(&mut self.bytes);
        let payload = from..self.bytes.len();
        let length = payload.len() + ENTRY_HEAD_BYTES;
        self.records.push((group, Record::Append { index: entry.index, term: entry.term, payload }));
        length
    }

    /// Everything that a group wants, in the order in which it has to be there.
    fn add(&mut self, replica: &mut Replica, write: &Write) {
        let group = GroupId::from(replica.group_number());
        let Write { ticket: _, hard_state, reset, truncate_from, append } = write;
        replica.hard_state = hard_state.unwrap_or(replica.hard_state);
        if let Some(snapshot) = reset {
            replica.start = snapshot.clone();
        }
        if hard_state.is_some() || reset.is_some() {
            self.state(group, &State { hard_state: replica.hard_state, start: replica.start.clone() });
        }
        if let Some(snapshot) = reset {
            self.purge(group, snapshot.position.index);
            replica.log_bytes = 0;
        }
        if let Some(from) = truncate_from {
            self.records.push((group, Record::Truncate(*from)));
        }
        for entry in append {
            replica.log_bytes += self.append(group, entry) as u64;
        }
    }

    pub(crate) fn writes(&self) -> Vec<LogWrite<'_>> {
        let write = |(group, record): &(GroupId, Record)| {
            let group = *group;
            match record {
                Record::State(bytes) => LogWrite::State { group, bytes: &self.bytes[bytes.clone()] },
                Record::Purge(until) => LogWrite::Purge { group, until: *until },
                Record::Truncate(from) => LogWrite::Truncate { group, from: *from },
                Record::Append { index, term, payload } => {
                    LogWrite::Append { group, index: *index, term: *term, payload: &self.bytes[payload.clone()] }
                }
            }
        };
        self.records.iter().map(write).collect()
    }
}

impl<D: Disk + Clone> Engine<D> {
    /// Takes what the groups want done. Whether anything was applied.
    pub(crate) fn take_outputs(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<bool, Failed> {
        let mut has_applied = false;
        for at in 0..self.replicas.len() {
            if !std::mem::take(&mut self.replicas[at].is_touched) {
                continue;
            }
            let replica = &mut self.replicas[at];
            let outputs = replica.group.take_outputs();
            replica.deadline = outputs.next_deadline.or(replica.deadline);
            if let Some(role) = outputs.role {
                replica.role_changed(role, self.settings.is_alone(), out);
            }
            let group = replica.group_number();
            outputs.messages.into_iter().for_each(|(to, message)| out.send(to, Letter::Raft { group, message }));
            self.counted.answers_lost += outputs.answers_lost;
            self.counted.contradictions += outputs.contradictions.len() as u64;
            for order in outputs.snapshots {
                // Nothing carries snapshots yet; the group asks again.
                if let fulmar_raft::SnapshotOrder::Send { to, term: _ } = order {
                    replica.group.snapshot_failed(to, now);
                }
            }
            if let Some(write) = outputs.write {
                self.unwritten.push(Unwritten { replica: at, write });
            }
            if !outputs.committed.is_empty() {
                self.apply(at, &outputs.committed, time, out)?;
                has_applied = true;
            }
            for fetch in outputs.fetches {
                self.fetch(at, fetch, now)?;
                has_applied = true;
            }
            self.start_leading(at);
        }
        Ok(has_applied)
    }

    fn apply(&mut self, at: usize, entries: &[Entry], time: Time, out: &mut impl Out) -> Result<(), Failed> {
        let with = Applying { settings: &self.settings, me: self.me, time };
        let replica = &mut self.replicas[at];
        for entry in entries {
            if let Some(own) = replica.apply(entry, with, out)? {
                self.counted.commits += 1;
                self.counted.commit_time += (self.settings.clock)().saturating_duration_since(own.since);
            }
            self.counted.applied += u64::from(matches!(entry.payload, Payload::Command(_)));
        }
        if let Some(last) = entries.last() {
            replica.applied = last.index;
            replica.group.applied(last.index);
        }
        replica.is_touched = true;
        self.are_outboxes_changed = true;
        Ok(())
    }

    /// Reads entries that a group has no longer in memory.
    fn fetch(&mut self, at: usize, fetch: Fetch, now: Instant) -> Result<(), Failed> {
        let replica = &mut self.replicas[at];
        let group = replica.group_number();
        let Fetch { id, from, until, bytes_max } = fetch;
        let failed = |reason: String| Failed::Read { group, index: from, reason };
        let read = match self.log.read(group.into(), from, bytes_max) {
            // A slower node's, which gets a snapshot instead.
            Err(fulmar_log::ReadError::Purged { .. }) => Vec::new(),
            other => other.map_err(|error| failed(error.to_string()))?,
        };
        let entries = read.into_iter().take_while(|entry| entry.index <= until).map(|entry| {
            let payload = Payload::decode(entry.payload).map_err(|error| failed(error.to_string()))?;
            Ok(Entry { term: entry.term, index: entry.index, payload })
        });
        let entries: Vec<Entry> = entries.collect::<Result<_, Failed>>()?;
        replica.group.fetched(id, entries, now);
        replica.is_touched = true;
        Ok(())
    }

    /// Writes what the groups want written, syncs it once, and tells them. Whether anything was written.
    pub(crate) fn write(&mut self, now: Instant) -> Result<bool, Failed> {
        let mut unwritten = std::mem::take(&mut self.unwritten).into_iter().peekable();
        let mut is_sync_needed = self.settings.durability == Durability::Fsync;
        let mut stored = Vec::new();
        self.full = None;
        while unwritten.peek().is_some() {
            let mut batch = Batch::default();
            let mut in_batch = Vec::new();
            while batch.bytes.len() < BATCH_BYTES_MAX
                && let Some(next) = unwritten.next()
            {
                batch.add(&mut self.replicas[next.replica], &next.write);
                in_batch.push(next);
            }
            match written(self.log.write(&batch.writes()))? {
                Written::Whole => {
                    is_sync_needed |=
                        in_batch.iter().any(|it| it.write.hard_state.is_some() || it.write.reset.is_some());
                    stored.extend(in_batch.iter().map(|it| (it.replica, it.write.ticket)));
                }
                Written::Full(wanted) => {
                    self.full = Some(wanted);
                    self.unwritten = in_batch.into_iter().chain(unwritten).collect();
                    break;
                }
            }
        }
        if stored.is_empty() {
            return Ok(false);
        }
        self.settle_at = Some(now + IDLE);
        if is_sync_needed && !sabotaged!(self.settings, AnswerBeforeSync) {
            self.log.sync()?;
            self.counted.syncs += 1;
        }
        for (at, ticket) in stored {
            self.replicas[at].group.stored(ticket, now);
            self.replicas[at].is_touched = true;
        }
        Ok(true)
    }
}
