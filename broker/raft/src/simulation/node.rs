//! A node: its group, the disk below it, which forgets what was not synced, and the state machine above it.

use std::collections::VecDeque;
use std::time::Instant;

use fulmar_random::Random;

use crate::group::Group;
use crate::membership::Membership;
use crate::outputs::{Fetch, Write};
use crate::recovered::Recovered;
use crate::settings::Settings;
use crate::types::{Entry, HardState, Index, NodeId, Payload, Snapshot, Ticket};

/// A state machine whose state tells everything that was ever applied, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Machine {
    pub(super) applied: Index,
    pub(super) digest: u64,
}

impl Machine {
    pub(super) fn apply(&mut self, entry: &Entry) {
        self.applied = entry.index;
        let mut random = Random::new(self.digest ^ digest(entry));
        self.digest = random.next();
    }
}

/// A number for what an entry says and its term.
pub(super) fn digest(entry: &Entry) -> u64 {
    let mut sum = Random::new(entry.term).next();
    let mut take = |value: u64| sum = Random::new(sum ^ value).next();
    match &entry.payload {
        Payload::Empty => take(1),
        Payload::Command(command) => command.iter().for_each(|byte| take(2 + u64::from(*byte))),
        Payload::Membership(membership) => membership.members().for_each(|node| take(1000 + node)),
    }
    sum
}

/// What survives a crash.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) start: Snapshot,
    pub(super) entries: Vec<Entry>,
    pub(super) machine: Machine,
    /// A received snapshot that is not in place yet.
    pub(super) staged: Option<(Snapshot, Machine)>,
}

impl Disk {
    fn new(membership: Membership) -> Self {
        Disk {
            hard_state: HardState::default(),
            start: Snapshot::initial(membership),
            entries: Vec::new(),
            machine: Machine::default(),
            staged: None,
        }
    }

    pub(super) fn last(&self) -> Index {
        self.start.position.index + self.entries.len() as Index
    }

    /// Whether it has the entry, or had it before it went into a snapshot.
    pub(super) fn has(&self, index: Index, term: u64) -> bool {
        index <= self.start.position.index || self.entry(index).is_some_and(|entry| entry.term == term)
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        index.checked_sub(self.start.position.index + 1).and_then(|at| self.entries.get(usize::try_from(at).unwrap()))
    }

    /// Does the first `parts` parts of a write.
    fn write(&mut self, write: &Write, mut parts: usize) {
        let Write { ticket: _, hard_state, reset, truncate_from, append } = write;
        let mut comes = || {
            let comes = parts > 0;
            parts = parts.saturating_sub(1);
            comes
        };
        if let Some(hard_state) = hard_state
            && comes()
        {
            self.hard_state = *hard_state;
        }
        if let Some(snapshot) = reset
            && comes()
        {
            self.start = snapshot.clone();
            self.entries.clear();
        }
        if let Some(from) = truncate_from
            && comes()
        {
            self.entries.truncate(usize::try_from(from - self.start.position.index - 1).unwrap());
        }
        for entry in append.iter().take_while(|_| comes()) {
            assert_eq!(entry.index, self.last() + 1, "writes leave no gaps");
            self.entries.push(entry.clone());
        }
        self.put_snapshot_in_place();
    }

    /// The log starts from the received snapshot: so does the state machine.
    fn put_snapshot_in_place(&mut self) {
        if let Some((_, machine)) = self.staged.take_if(|(snapshot, _)| *snapshot == self.start)
            && machine.applied > self.machine.applied
        {
            self.machine = machine;
        }
    }

    pub(super) fn read(&self, fetch: &Fetch) -> Vec<Entry> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for index in fetch.from..=fetch.until {
            let Some(entry) = self.entry(index) else { break };
            bytes += entry.bytes();
            if bytes > fetch.bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        found
    }
}

pub(super) struct Node {
    pub(super) disk: Disk,
    /// Counts starts, so that events of an earlier life are recognised.
    pub(super) life: u64,
    pub(super) running: Option<Running>,
    pub(super) disk_micros: u64,
    /// Until when it does nothing.
    pub(super) paused_until: Instant,
}

pub(super) struct Running {
    pub(super) group: Group,
    pub(super) machine: Machine,
    /// What is not synced.
    pub(super) writes: VecDeque<Write>,
    pub(super) tick_at: Option<Instant>,
}

impl Node {
    pub(super) fn new(membership: Membership, disk_micros: u64, now: Instant) -> Self {
        Node { disk: Disk::new(membership), life: 0, running: None, disk_micros, paused_until: now }
    }

    pub(super) fn start(&mut self, me: NodeId, settings: Settings, now: Instant, seed: u64) {
        self.life += 1;
        self.disk.put_snapshot_in_place();
        self.disk.staged = None;
        let Disk { hard_state, start, entries, machine, .. } = &self.disk;
        let recovered = Recovered::from_log(*hard_state, start.clone(), machine.applied, entries.iter().cloned())
            .unwrap_or_else(|error| panic!("node {me}: {error}"));
        let group = Group::new(settings, me, recovered, now, seed);
        self.running = Some(Running { group, machine: *machine, writes: VecDeque::new(), tick_at: None });
    }

    /// Loses what was not synced, or as much of its end as the dice say.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let Some(running) = self.running.take() else { return };
        for write in running.writes {
            let parts = usize::try_from(random.below(4)).unwrap();
            self.disk.write(&write, if parts == 3 { usize::MAX } else { parts });
            if parts != 3 {
                break;
            }
        }
    }

    /// The oldest write is synced.
    pub(super) fn sync(&mut self) -> Option<Ticket> {
        let running = self.running.as_mut()?;
        let write = running.writes.pop_front()?;
        self.disk.write(&write, usize::MAX);
        if write.reset.is_some() {
            running.machine = self.disk.machine;
        }
        Some(write.ticket)
    }
}
