//! What a leader holds and does by itself: it takes proposals, shows that it lives, notices when it has lost its
//! majority, and commits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::errors::ProposeError;
use crate::group::{Group, Role};
use crate::membership::Membership;
use crate::message::Body;
use crate::outputs::SnapshotOrder;
use crate::progress::{Progress, State};
use crate::reads::PendingRead;
use crate::sabotage::Sabotage;
use crate::transfer::Transfer;
use crate::types::{Entry, Index, NodeId, Payload};

#[derive(Debug)]
pub(crate) struct Leading {
    /// The first entry of its own term. What was there before is committed with it (Raft, 5.4.2).
    pub(crate) first: Index,
    /// The other members.
    pub(crate) peers: BTreeMap<NodeId, Progress>,
    pub(crate) heartbeat_at: Instant,
    /// The last round of heartbeats.
    pub(crate) round: u64,
    pub(crate) reads: VecDeque<PendingRead>,
    pub(crate) transfer: Option<Transfer>,
    /// The bytes of own entries that are not committed.
    uncommitted: VecDeque<(Index, usize)>,
    uncommitted_bytes: usize,
}

impl Group {
    /// The election is won.
    pub(crate) fn lead(&mut self) {
        let first = self.log.last().index + 1;
        self.leader = Some(self.me);
        self.role = Role::Leader(Box::new(Leading {
            first,
            peers: BTreeMap::new(),
            heartbeat_at: self.now + self.settings.heartbeat_interval,
            round: 0,
            reads: VecDeque::new(),
            transfer: None,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
        }));
        self.meet_members(first);
        self.append_own(Payload::Empty);
    }

    /// Brings the peers in line with the membership; entries are tried from `next` on with new ones.
    pub(crate) fn meet_members(&mut self, next: Index) {
        let Role::Leader(leading) = &mut self.role else { return };
        let membership = self.memberships.current();
        for (node, gone) in leading.peers.extract_if(.., |node, _| !is_member(membership, *node)) {
            stop_snapshot(&mut self.outputs.snapshots, node, &gone);
        }
        for node in membership.members().filter(|node| *node != self.me) {
            leading.peers.entry(node).or_insert_with(|| Progress::new(next, self.now));
        }
    }

    /// Leads no more, if it did.
    pub(crate) fn stop_leading(&mut self) {
        let Role::Leader(leading) = std::mem::replace(&mut self.role, Role::Follower) else { return };
        for (node, progress) in &leading.peers {
            stop_snapshot(&mut self.outputs.snapshots, *node, progress);
        }
        self.refuse_reads(leading.reads);
        self.await_leader();
    }

    /// Takes commands; they get consecutive indexes from the returned one on, in the current [`Group::term`]. They
    /// are committed when entries of that term and index are; another entry there means that they are lost.
    pub fn propose(&mut self, commands: Vec<Arc<[u8]>>, now: Instant) -> Result<Index, ProposeError> {
        self.now = self.now.max(now);
        let bytes = commands.iter().map(|command| command.len()).sum();
        self.may_propose(commands.len(), bytes)?;
        let first = self.log.last().index + 1;
        for command in commands {
            self.append_own(Payload::Command(command));
        }
        Ok(first)
    }

    pub(crate) fn may_propose(&self, entries: usize, bytes: usize) -> Result<(), ProposeError> {
        let Role::Leader(leading) = &self.role else { return Err(ProposeError::NotLeader { leader: self.leader }) };
        if let Some(Transfer { to, .. }) = leading.transfer {
            return Err(ProposeError::Transferring { to });
        }
        let (entries_max, bytes_max) = (self.settings.uncommitted_entries_max, self.settings.uncommitted_bytes_max);
        let (entries, bytes) = (entries + leading.uncommitted.len(), bytes + leading.uncommitted_bytes);
        // Alone, a large command may pass: nobody could ever split it.
        if entries > entries_max || (entries > 1 && bytes > bytes_max) {
            return Err(ProposeError::Full { entries, bytes, entries_max, bytes_max });
        }
        Ok(())
    }

    pub(crate) fn append_own(&mut self, payload: Payload) -> Index {
        let entry = Entry { term: self.hard_state.term, index: self.log.last().index + 1, payload };
        let index = entry.index;
        if let Role::Leader(leading) = &mut self.role {
            leading.uncommitted.push_back((index, entry.bytes()));
            leading.uncommitted_bytes += entry.bytes();
        }
        self.append(entry);
        index
    }

    pub(crate) fn tick_leader(&mut self) {
        let Role::Leader(leading) = &self.role else { return };
        let is_stuck = self.disk_ends().is_some_and(|ends| self.now >= ends);
        if is_stuck || self.now >= self.quorum_ends(leading) {
            return self.give_up();
        }
        if self.now >= leading.heartbeat_at {
            self.send_heartbeats();
        }
        self.tick_transfer();
        self.tick_snapshots();
    }

    /// Until when a majority is counted on.
    fn quorum_ends(&self, leading: &Leading) -> Instant {
        let heard = |node| if node == self.me { Some(self.now) } else { leading.peers.get(&node).map(|it| it.heard) };
        self.memberships.current().majority(heard).unwrap_or(self.now) + self.settings.election_timeout
    }

    /// Until when the disk may still take for the oldest write. Nothing is applied meanwhile, so somebody else should
    /// lead; this node can't be elected before its disk is back, as asking for votes waits for it too.
    fn disk_ends(&self) -> Option<Instant> {
        if self.is_alone() {
            return None;
        }
        self.writes.oldest().map(|since| since + self.settings.disk_timeout)
    }

    pub(crate) fn leader_deadline(&self, leading: &Leading) -> Instant {
        let own = leading.heartbeat_at.min(self.quorum_ends(leading));
        let transfer = leading.transfer.as_ref().map(|transfer| transfer.until);
        transfer.into_iter().chain(self.disk_ends()).chain(self.snapshot_deadline(leading)).fold(own, Instant::min)
    }

    pub(crate) fn send_heartbeats(&mut self) {
        let Role::Leader(leading) = &mut self.role else { return };
        leading.heartbeat_at = self.now + self.settings.heartbeat_interval;
        let round = leading.round;
        let beats: Vec<(NodeId, Index)> = leading.peers.iter().map(|(node, it)| (*node, it.matched)).collect();
        for (node, matched) in beats {
            self.send(node, Body::Heartbeat { committed: self.commit.min(matched), round });
        }
    }

    /// Commits what a majority has stored, if it is of this leader's own term: older entries could still be replaced,
    /// however many have them (Raft, figure 8).
    pub(crate) fn advance_commit(&mut self) {
        let Role::Leader(leading) = &mut self.role else { return };
        let stored = self.log.stored();
        let matched = |node| if node == self.me { stored } else { leading.peers.get(&node).map_or(0, |it| it.matched) };
        let index = self.memberships.current().majority(matched);
        let own = self.log.term_at(index) == Some(self.hard_state.term);
        if index > self.commit && (own || self.settings.sabotages(Sabotage::CommitOldTerms)) {
            self.commit = index;
            while let Some((_, bytes)) = leading.uncommitted.pop_front_if(|(entry, _)| *entry <= index) {
                leading.uncommitted_bytes -= bytes;
            }
        }
    }
}

fn is_member(membership: &Membership, node: NodeId) -> bool {
    membership.is_voter(node) || membership.is_learner(node)
}

fn stop_snapshot(orders: &mut Vec<SnapshotOrder>, to: NodeId, progress: &Progress) {
    if matches!(progress.state, State::Snapshot { .. }) {
        orders.push(SnapshotOrder::Stop { to });
    }
}
