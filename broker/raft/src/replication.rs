//! How a leader brings the others' logs in line with its own: appends that follow each other within a window, a search
//! for the place where logs part, and snapshots where entries are gone.

use crate::group::{Group, Role};
use crate::message::Body;
use crate::outputs::{Contradiction, SnapshotOrder};
use crate::progress::{Progress, State};
use crate::types::{Entry, Index, NodeId, Position};

/// What can be done for a node now.
enum Step {
    Send(Position, Vec<Entry>),
    Fetch(Index),
    Snapshot,
    Wait,
}

impl Group {
    /// Sends every member what it may get now.
    pub(crate) fn replicate(&mut self) {
        let Role::Leader(leading) = &self.role else { return };
        for node in leading.peers.keys().copied().collect::<Vec<_>>() {
            self.replicate_to(node);
        }
    }

    fn replicate_to(&mut self, node: NodeId) {
        while let Role::Leader(leading) = &self.role
            && let Some(progress) = leading.peers.get(&node)
        {
            match self.next_step(progress) {
                Step::Send(previous, entries) => self.send_append(node, previous, entries),
                Step::Fetch(from) => {
                    let (until, bytes_max) = (self.log.stored(), self.settings.append_bytes_max);
                    let id = self.fetch(from, until, bytes_max);
                    self.with_progress(node, |progress| progress.fetch = Some(id));
                }
                Step::Snapshot => self.order_snapshot(node),
                Step::Wait => return,
            }
        }
    }

    fn next_step(&self, progress: &Progress) -> Step {
        let is_probe = match &progress.state {
            State::Probe { sent: None } => true,
            State::Stream(window)
                if window.has_room(self.settings.window_appends_max, self.settings.window_bytes_max)
                    && progress.next <= self.log.last().index =>
            {
                false
            }
            State::Probe { .. } | State::Stream(_) | State::Snapshot { .. } => return Step::Wait,
        };
        if progress.fetch.is_some() {
            return Step::Wait;
        }
        let Some(previous) = self.log.position_at(progress.next - 1) else {
            // A snapshot is for somebody who takes it.
            let hears = self.now < progress.heard + self.settings.election_timeout;
            return if hears { Step::Snapshot } else { Step::Wait };
        };
        let (entries_max, bytes_max) = (self.settings.append_entries_max, self.settings.append_bytes_max);
        match self.log.cached(progress.next, self.log.last().index, entries_max, bytes_max) {
            Some(entries) => Step::Send(previous, entries),
            // Where logs part is found without reading the disk.
            None if is_probe => Step::Send(previous, Vec::new()),
            None => Step::Fetch(progress.next),
        }
    }

    fn send_append(&mut self, node: NodeId, previous: Position, entries: Vec<Entry>) {
        let (last, bytes) = (previous.index + entries.len() as Index, entries.iter().map(Entry::bytes).sum());
        let now = self.now;
        self.with_progress(node, |progress| match &mut progress.state {
            State::Probe { sent } => *sent = Some(now),
            State::Stream(window) => {
                window.sent(last, bytes, now);
                progress.next = last + 1;
            }
            State::Snapshot { .. } => {}
        });
        let committed = self.commit;
        self.send(node, Body::Append { previous, entries, committed });
    }

    /// Entries came from the log for a node that lags; none if they are gone meanwhile.
    pub(crate) fn send_fetched(&mut self, id: u64, mut entries: Vec<Entry>) {
        let Role::Leader(leading) = &mut self.role else { return };
        let Some((node, progress)) = leading.peers.iter_mut().find(|(_, it)| it.fetch == Some(id)) else { return };
        progress.fetch = None;
        let node = *node;
        entries.truncate(self.settings.append_entries_max);
        let previous = self.log.position_at(progress.next - 1);
        match previous {
            Some(previous) if entries.first().is_some_and(|entry| entry.index == progress.next) => {
                self.send_append(node, previous, entries);
            }
            // Tries again with the next heartbeat.
            _ => progress.state = State::Probe { sent: Some(self.now) },
        }
    }

    pub(crate) fn with_progress(&mut self, node: NodeId, act: impl FnOnce(&mut Progress)) {
        if let Role::Leader(leading) = &mut self.role
            && let Some(progress) = leading.peers.get_mut(&node)
        {
            act(progress);
        }
    }

    /// The node's progress, if it may say that it stored `matched`; it lives, at any rate.
    fn answered(&mut self, node: NodeId, matched: Index) -> Option<&mut Progress> {
        let (now, last) = (self.now, self.log.last().index);
        if matched > last {
            self.contradiction(Contradiction::StoredTooMuch { node, found: matched, last });
            return None;
        }
        let Role::Leader(leading) = &mut self.role else { return None };
        let progress = leading.peers.get_mut(&node)?;
        progress.heard = now;
        Some(progress)
    }

    pub(crate) fn handle_stored(&mut self, from: NodeId, matched: Index) {
        if self.is_leader() {
            self.count_stored(from, matched, true);
        }
    }

    fn count_stored(&mut self, from: NodeId, matched: Index, asked: bool) {
        let (start, now) = (self.log.base().index, self.now);
        let Some(progress) = self.answered(from, matched) else { return };
        if progress.stored(matched, asked, start, now) {
            self.outputs.snapshots.push(SnapshotOrder::Stop { to: from });
        }
        self.advance_commit();
    }

    pub(crate) fn handle_beat(&mut self, from: NodeId, round: u64, received: Index, matched: Index) {
        if self.is_leader() {
            self.count_stored(from, matched, false);
        }
        let Role::Leader(leading) = &self.role else { return };
        let round = round.min(leading.round);
        // What is on its way for two heartbeats is lost.
        let (now, last) = (self.now, self.log.last().index);
        let lost = now.checked_sub(2 * self.settings.heartbeat_interval);
        self.with_progress(from, |progress| {
            progress.round = progress.round.max(round);
            if let Some(lost) = lost {
                progress.received(received.min(last), lost, now);
            }
        });
    }

    pub(crate) fn handle_refused(&mut self, from: NodeId, previous: Index, shareable: Position) {
        let (start, next) = (self.log.base(), self.log.last_shareable(shareable).index + 1);
        let Some(progress) = self.answered(from, 0) else { return };
        let is_current = match &progress.state {
            State::Probe { .. } => previous + 1 == progress.next,
            State::Stream(_) => previous < progress.next,
            State::Snapshot { .. } => false,
        };
        // What the node once stored it still has, so a refusal of that is an old one.
        if !is_current || previous <= progress.matched || shareable.index < progress.matched {
            return;
        }
        // What the logs share ends before the entries that are left.
        if shareable.index < start.index || shareable.term < start.term {
            self.order_snapshot(from);
        } else {
            progress.probe(next);
        }
    }
}
