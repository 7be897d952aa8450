//! What groups want done with entries: written to the log and synced once for all of them, read again, applied.
//!
//! The order is what everything rests on: written, synced, told to the group, committed, applied, answered.

use std::time::Instant;

use fulmar_log::{Disk, GroupId, Write as LogWrite};
use fulmar_raft::{Entry, Fetch, Outputs, Payload, SnapshotOrder, Write};
use fulmar_store::Time;

use crate::apply::Applying;
use crate::engine::{Engine, IDLE};
use crate::errors::{Failed, Written, written};
use crate::hosted::{Hosted, Kept};
use crate::letter::Letter;
use crate::meta_group::META;
use crate::out::Out;
use crate::settings::{Durability, sabotaged};

/// What is written at once is split beyond this, which is far below what the log takes.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What the log needs for an entry beside its payload.
const ENTRY_HEAD_BYTES: usize = 29;

/// What one group wants written.
pub(crate) struct Unwritten {
    pub(crate) group: u16,
    pub(crate) write: Write,
}

/// A record of a batch; its bytes lie in a buffer that all share.
enum Record {
    State(std::ops::Range<usize>),
    Purge(u64),
    Truncate(u64),
    Forget,
    Append { index: u64, term: u64, payload: std::ops::Range<usize> },
}

/// Records on their way to the log.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: Vec<(GroupId, Record)>,
}

impl Batch {
    pub(crate) fn state(&mut self, group: u16, kept: &Kept) {
        let from = self.bytes.len();
        kept.append_to(&mut self.bytes);
        self.records.push((group.into(), Record::State(from..self.bytes.len())));
    }

    pub(crate) fn purge(&mut self, group: u16, until: u64) {
        self.records.push((group.into(), Record::Purge(until)));
    }

    /// Nothing is left of the group's log.
    pub(crate) fn forget(&mut self, group: u16) {
        self.records.push((group.into(), Record::Forget));
    }

    fn append(&mut self, group: u16, entry: &Entry) -> usize {
        let from = self.bytes.len();
        entry.payload.append_to(&mut self.bytes);
        let payload = from..self.bytes.len();
        let length = payload.len() + ENTRY_HEAD_BYTES;
        self.records.push((group.into(), Record::Append { index: entry.index, term: entry.term, payload }));
        length
    }

    /// Everything that a group wants, in the order in which it has to be there.
    fn add(&mut self, hosted: &mut Hosted, write: &Write) {
        let group = hosted.number;
        let Write { ticket: _, hard_state, reset, truncate_from, append } = write;
        hosted.kept.hard_state = hard_state.unwrap_or(hosted.kept.hard_state);
        if let Some(snapshot) = reset {
            hosted.kept.start = snapshot.clone();
            // Whatever the log has contradicts the snapshot or is in it.
            self.forget(group);
        }
        if hard_state.is_some() || reset.is_some() {
            self.state(group, &hosted.kept);
        }
        if let Some(snapshot) = reset {
            self.purge(group, snapshot.position.index);
            hosted.log_bytes = 0;
        }
        if let Some(from) = truncate_from {
            self.records.push((group.into(), Record::Truncate(*from)));
        }
        for entry in append {
            hosted.log_bytes += self.append(group, entry) as u64;
        }
    }

    pub(crate) fn writes(&self) -> Vec<LogWrite<'_>> {
        let write = |(group, record): &(GroupId, Record)| {
            let group = *group;
            match record {
                Record::State(bytes) => LogWrite::State { group, bytes: &self.bytes[bytes.clone()] },
                Record::Purge(until) => LogWrite::Purge { group, until: *until },
                Record::Forget => LogWrite::Forget { group },
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
    /// The disk has no room. Where others have copies, they lead from now on and answer for what was proposed.
    fn note_full(&mut self, out: &mut impl Out) {
        if let Some(cluster) = &mut self.cluster {
            cluster.placing.is_due = true;
        }
        let alone = self.replicas.iter_mut().filter(|replica| replica.is_alone());
        alone.for_each(|replica| replica.give_up_proposed(out));
    }

    /// Takes what the groups want done, group 0 first: what the others do may depend on it. Whether anything was
    /// applied.
    pub(crate) fn take_outputs(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<bool, Failed> {
        let mut has_applied = false;
        let touched: Vec<u16> = self.groups().filter(|group| group.is_touched()).map(|group| group.number).collect();
        for group in touched {
            // It may have left meanwhile.
            let Some(outputs) = self.hosted_mut(group).and_then(Hosted::take_outputs) else { continue };
            has_applied |= self.take_outputs_of(group, outputs, now, time, out)?;
        }
        Ok(has_applied)
    }

    fn take_outputs_of(
        &mut self,
        group: u16,
        outputs: Outputs,
        now: Instant,
        time: Time,
        out: &mut impl Out,
    ) -> Result<bool, Failed> {
        let Outputs { write, messages, committed, fetches, reads, snapshots, role, .. } = outputs;
        let has_applied = !committed.is_empty() || !fetches.is_empty();
        self.counted.answers_lost += outputs.answers_lost;
        self.counted.contradictions += outputs.contradictions.len() as u64;
        if group == META {
            self.tell_meta(role, reads, out);
        } else if let (Some(role), Some(at)) = (role, self.place_of_group(group)) {
            self.replicas[at].role_changed(role, self.settings.is_alone(), out);
        }
        if let (Some(cluster), Some(_)) = (&mut self.cluster, role) {
            cluster.placing.is_due = true;
        }
        messages.into_iter().for_each(|(to, message)| out.send(to, Letter::Raft { group, message }));
        for order in snapshots {
            match order {
                SnapshotOrder::Send { to, term } => self.begin_to_send(group, to, term, now)?,
                SnapshotOrder::Stop { to } => self.stop_sending(group, to),
            }
        }
        if let Some(write) = write {
            self.unwritten.push(Unwritten { group, write });
        }
        if !committed.is_empty() {
            match self.place_of_group(group) {
                Some(at) => self.apply(at, &committed, time, out)?,
                None => self.apply_meta(&committed, now, out)?,
            }
        }
        for fetch in fetches {
            self.fetch(group, fetch, now)?;
        }
        if let Some(at) = self.place_of_group(group) {
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
            replica.group.applied = last.index;
            replica.group.applied(last.index);
        }
        self.are_outboxes_changed = true;
        self.spill(at)
    }

    /// Reads entries that a group has no longer in memory.
    fn fetch(&mut self, group: u16, fetch: Fetch, now: Instant) -> Result<(), Failed> {
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
        if let Some(hosted) = self.hosted_mut(group) {
            hosted.fetched(id, entries, now);
        }
        Ok(())
    }

    /// Writes what the groups want written, syncs it once, and tells them. Whether anything was written.
    pub(crate) fn write(&mut self, now: Instant, time: Time, out: &mut impl Out) -> Result<bool, Failed> {
        let mut unwritten = std::mem::take(&mut self.unwritten).into_iter().peekable();
        let mut is_sync_needed = self.settings.durability == Durability::Fsync;
        let mut stored = Vec::new();
        // What could not leave memory must not become more.
        self.full = self.spill_again()?;
        if self.full.is_some() {
            self.unwritten = unwritten.collect();
            self.note_full(out);
            return Ok(false);
        }
        while unwritten.peek().is_some() {
            let mut batch = Batch::default();
            let mut in_batch = Vec::new();
            while batch.bytes.len() < BATCH_BYTES_MAX
                && let Some(next) = unwritten.next()
            {
                if let Some(hosted) = self.hosted_mut(next.group) {
                    batch.add(hosted, &next.write);
                    in_batch.push(next);
                }
            }
            match written(self.log.write(&batch.writes()))? {
                Written::Whole => {
                    is_sync_needed |=
                        in_batch.iter().any(|it| it.write.hard_state.is_some() || it.write.reset.is_some());
                    stored.extend(in_batch);
                }
                Written::Full(wanted) => {
                    self.full = Some(wanted);
                    self.unwritten = in_batch.into_iter().chain(unwritten).collect();
                    break;
                }
            }
        }
        if self.full.is_some() {
            self.note_full(out);
        }
        if stored.is_empty() {
            return Ok(false);
        }
        self.settle_at = Some(now + IDLE);
        if is_sync_needed && !sabotaged!(self.settings, AnswerBeforeSync) {
            self.log.sync()?;
            self.counted.syncs += 1;
        }
        for Unwritten { group, write } in stored {
            // The group hands out what comes behind a snapshot once it is told, and by then the snapshot must be there.
            if let Some(snapshot) = &write.reset {
                self.replace(group, snapshot, now, time, out)?;
            }
            if let Some(hosted) = self.hosted_mut(group) {
                hosted.stored(write.ticket, now);
            }
        }
        Ok(true)
    }
}
