//! Snapshots, as far as the group decides: when the log may go, who needs a snapshot instead of entries, and what
//! becomes of the log when one was received. The bytes are moved by the shell.

use std::time::Instant;

use crate::group::{Group, Role};
use crate::leader::Leading;
use crate::membership::Memberships;
use crate::outputs::SnapshotOrder;
use crate::progress::{Progress, State};
use crate::types::{Index, NodeId, Snapshot, Term};

impl Group {
    /// What a snapshot of the state machine after the entry at `index` stands for; kept and sent with its bytes.
    /// `None` if the entry is not applied or was compacted before, and while a snapshot is being put in place.
    pub fn snapshot_at(&self, index: Index) -> Option<Snapshot> {
        if !self.writes.is_stored(self.installing) {
            return None;
        }
        let position = self.log.position_at(index).filter(|_| index <= self.applied)?;
        Some(Snapshot { position, membership: self.memberships.at(index).clone() })
    }

    /// Entries up to `index` are not needed any more: what they did is on disk with the state machine. Returns what
    /// the log starts from then; it must be on disk with the group's state before the entries go. `None`, and nothing
    /// changes, if the entry is not applied or was compacted before.
    pub fn compact(&mut self, index: Index) -> Option<Snapshot> {
        let start = self.snapshot_at(index)?;
        self.log.compact(index);
        self.memberships.compact(index);
        Some(start)
    }

    /// The shell has received a whole snapshot from the leader of `term`, and stored it aside, synced. Whether the group
    /// takes it: then the next [`Outputs::write`](crate::Outputs::write) has it as `reset`; when that is synced the
    /// state machine is replaced by it, and then reported as stored. If not, it is of no use.
    pub fn install(&mut self, from: NodeId, term: Term, snapshot: Snapshot, now: Instant) -> bool {
        self.now = self.now.max(now);
        // Two that are put in place at once would leave it to a crash which one the log starts from.
        if term < self.hard_state.term || !self.writes.is_stored(self.installing) {
            return false;
        }
        if term > self.hard_state.term {
            self.follow_term(term);
        }
        if !self.hear_leader(from) {
            return false;
        }
        let position = snapshot.position;
        // Whether it has it already or takes it now: up to there the logs are equal.
        let is_old = position.index <= self.commit;
        if !is_old && !self.log.holds(position) {
            self.replace_log(snapshot);
            self.accepted = position.index;
            self.owed.get_or_insert_default();
            return true;
        }
        self.commit = self.commit.max(position.index);
        self.accepted = self.accepted.max(position.index);
        self.owed.get_or_insert_default();
        false
    }

    /// Whatever came after the snapshot contradicts it or hangs in the air, memberships too: an uncommitted one that
    /// stayed would count majorities among the wrong nodes.
    fn replace_log(&mut self, snapshot: Snapshot) {
        let index = snapshot.position.index;
        self.log.reset(snapshot.position);
        self.memberships = Memberships::new(snapshot.membership.clone(), Vec::new());
        self.commit = index;
        self.delivered = index;
        self.applied = index;
        self.forget_commit_fetch();
        self.outputs.committed.clear();
        self.installing = self.writes.reset(snapshot);
    }

    /// Some of a snapshot has reached the node: it is still of use to go on.
    pub fn snapshot_moved(&mut self, to: NodeId, now: Instant) {
        self.now = self.now.max(now);
        self.with_progress(to, |progress| {
            if let State::Snapshot { moved } = &mut progress.state {
                *moved = now;
            }
        });
    }

    /// A snapshot could not be sent, or the node did not take it. It is asked again with a later heartbeat.
    pub fn snapshot_failed(&mut self, to: NodeId, now: Instant) {
        self.now = self.now.max(now);
        self.probe_later(to);
    }

    fn probe_later(&mut self, node: NodeId) {
        let (now, next) = (self.now, self.log.last().index + 1);
        self.with_progress(node, |progress| {
            if matches!(progress.state, State::Snapshot { .. }) {
                progress.probe(next);
                progress.state = State::Probe { sent: Some(now) };
            }
        });
    }

    pub(crate) fn order_snapshot(&mut self, to: NodeId) {
        let moved = self.now;
        self.with_progress(to, |progress| {
            progress.state = State::Snapshot { moved };
            progress.fetch = None;
        });
        self.outputs.snapshots.push(SnapshotOrder::Send { to, term: self.hard_state.term });
    }

    fn snapshot_ends<'a>(&self, leading: &'a Leading) -> impl Iterator<Item = (NodeId, Instant)> + use<'a> {
        let timeout = self.settings.snapshot_timeout;
        leading.peers.iter().filter_map(move |(node, Progress { state, .. })| match state {
            State::Snapshot { moved } => Some((*node, *moved + timeout)),
            State::Probe { .. } | State::Stream(_) => None,
        })
    }

    pub(crate) fn snapshot_deadline(&self, leading: &Leading) -> Option<Instant> {
        self.snapshot_ends(leading).map(|(_, ends)| ends).min()
    }

    /// Gives up snapshots that do not get on.
    pub(crate) fn tick_snapshots(&mut self) {
        let Role::Leader(leading) = &self.role else { return };
        let late: Vec<NodeId> =
            self.snapshot_ends(leading).filter(|(_, ends)| self.now >= *ends).map(|(node, _)| node).collect();
        for node in late {
            self.outputs.snapshots.push(SnapshotOrder::Stop { to: node });
            self.probe_later(node);
        }
    }
}
