//! What a node does with what a leader sends: takes entries, says what it has stored, and learns what is committed.

use crate::group::{Group, Role};
use crate::message::Body;
use crate::outputs::Contradiction;
use crate::sabotage::Sabotage;
use crate::types::{Entry, Index, NodeId, Position, Term};

impl Group {
    /// A leader of this term was heard. There is no other one, or the message is not to be trusted.
    pub(crate) fn hear_leader(&mut self, from: NodeId) -> bool {
        let known = if self.is_leader() { Some(self.me) } else { self.leader };
        if let Some(known) = known
            && known != from
        {
            self.contradiction(Contradiction::TwoLeaders { term: self.hard_state.term, known, found: from });
            return false;
        }
        self.role = Role::Follower;
        self.leader = Some(from);
        self.heard = Some(self.now);
        self.await_leader();
        true
    }

    pub(crate) fn handle_append(
        &mut self,
        from: NodeId,
        previous: Position,
        mut entries: Vec<Entry>,
        committed: Index,
    ) {
        if !self.hear_leader(from) {
            return;
        }
        if let Some(index) = disorder(previous, &entries, self.hard_state.term) {
            return self.contradiction(Contradiction::Disorder { index });
        }
        let mut previous = previous;
        if previous.index < self.commit && !self.settings.sabotages(Sabotage::TruncateOnStaleAppend) {
            // The leader has all that is committed, so only what comes after that can be new. What is compacted could
            // not be compared any more.
            if let Some(contradiction) = self.contradicts_committed(&entries) {
                return self.contradiction(contradiction);
            }
            entries.retain(|entry| entry.index > self.commit);
            previous = self.log.position_at(self.commit).expect("what is committed is in the log or at its base");
        }
        if !self.log.holds(previous) {
            let shareable = self.log.last_shareable(previous);
            return self.send(from, Body::Refused { previous: previous.index, shareable });
        }
        let last = previous.index + entries.len() as Index;
        if self.settings.sabotages(Sabotage::TruncateOnStaleAppend) && last < self.log.last().index {
            self.truncate(last + 1);
        }
        self.take_entries(entries);
        self.accepted = self.accepted.max(last);
        self.owed.get_or_insert_default();
        self.learn_committed(committed);
    }

    fn contradicts_committed(&self, entries: &[Entry]) -> Option<Contradiction> {
        entries.iter().filter(|entry| entry.index <= self.commit).find_map(|entry| {
            let (index, found, wanted) = (entry.index, entry.term, self.log.term_at(entry.index)?);
            (found != wanted).then_some(Contradiction::CommittedEntry { index, wanted, found })
        })
    }

    /// Appends what is new; what contradicts the leader goes.
    fn take_entries(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term => {}
                Some(_) => {
                    self.truncate(entry.index);
                    self.append(entry);
                }
                None => self.append(entry),
            }
        }
    }

    fn truncate(&mut self, from: Index) {
        self.log.truncate(from);
        self.writes.truncate(from);
        self.memberships.truncate(from);
        self.accepted = self.accepted.min(from - 1);
    }

    fn learn_committed(&mut self, committed: Index) {
        self.commit = self.commit.max(committed.min(self.accepted));
    }

    pub(crate) fn handle_heartbeat(&mut self, from: NodeId, committed: Index, round: u64) {
        if self.hear_leader(from) {
            self.learn_committed(committed);
            let matched = self.accepted.min(self.log.stored());
            self.send(from, Body::Beat { round, received: self.accepted, matched });
        }
    }

    /// Tells the leader what is on disk of what it sent, when there is news.
    pub(crate) fn acknowledge(&mut self) {
        let (Some(leader), Some(told)) = (self.leader, self.owed) else { return };
        let early = self.settings.sabotages(Sabotage::AcknowledgeBeforeStored);
        let matched = if early { self.accepted } else { self.accepted.min(self.log.stored()) };
        let is_all = matched == self.accepted;
        if is_all || matched > told {
            self.owed = (!is_all).then_some(matched);
            self.send(leader, Body::Stored { matched });
        }
    }
}

/// The first entry that does not follow the one before, or is of a later term than the leader.
fn disorder(previous: Position, entries: &[Entry], term: Term) -> Option<Index> {
    let mut before = previous;
    for entry in entries {
        if entry.index != before.index + 1 || entry.term < before.term || entry.term > term {
            return Some(entry.index);
        }
        before = entry.position();
    }
    None
}
