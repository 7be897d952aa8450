//! The group: what it holds, how what comes in is handed to the part it concerns, and how its outputs are taken.
//!
//! The parts are `election.rs` (who leads), `follower.rs` (what a leader sends), `leader.rs` and `replication.rs`
//! (what a leader does), `change.rs`, `transfer.rs`, `reads.rs` and `snapshots.rs`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fulmar_random::Random;

use crate::leader::Leading;
use crate::log::Log;
use crate::membership::{Membership, Memberships};
use crate::message::{Body, Message};
use crate::outputs::{Contradiction, Fetch, Outputs, RoleChange};
use crate::recovered::Recovered;
use crate::sabotage::Sabotage;
use crate::settings::Settings;
use crate::types::{Entry, HardState, Index, NodeId, Payload, Position, Term, Ticket};
use crate::writes::Writes;

/// One Raft group on one node. See the crate's page for how a shell drives it.
#[derive(Debug)]
pub struct Group {
    pub(crate) settings: Settings,
    pub(crate) me: NodeId,
    pub(crate) random: Random,
    /// The latest time that was passed in.
    pub(crate) now: Instant,
    pub(crate) hard_state: HardState,
    pub(crate) log: Log,
    pub(crate) memberships: Memberships,
    pub(crate) commit: Index,
    /// Committed entries up to here were handed out.
    pub(crate) delivered: Index,
    pub(crate) applied: Index,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    /// When a leader was heard last.
    pub(crate) heard: Option<Instant>,
    pub(crate) election_at: Instant,
    /// The log equals that of this term's leader up to here, in memory.
    pub(crate) accepted: Index,
    /// The leader waits to hear what is stored; up to where it was told so far.
    pub(crate) owed: Option<Index>,
    pub(crate) writes: Writes,
    /// The write of the last snapshot that replaced the log.
    pub(crate) installing: Ticket,
    pub(crate) outputs: Outputs,
    pub(crate) last_fetch: u64,
    /// The fetch of committed entries to hand out.
    commit_fetch: Option<u64>,
    /// What the shell was told last.
    announced: RoleChange,
}

#[derive(Debug)]
pub(crate) enum Role {
    Follower,
    /// Asks who would vote for it.
    PreCandidate {
        votes: BTreeSet<NodeId>,
    },
    /// Asks for votes.
    Candidate {
        votes: BTreeSet<NodeId>,
        /// Its vote for itself counts once this is stored.
        ticket: Ticket,
    },
    Leader(Box<Leading>),
}

impl Group {
    /// The group as it was found on disk. `seed` differs from node to node, or their elections collide.
    pub fn new(settings: Settings, me: NodeId, recovered: Recovered, now: Instant, seed: u64) -> Self {
        let Recovered { hard_state, start, terms, memberships, last, applied } = recovered;
        let mut group = Group {
            settings,
            me,
            random: Random::new(seed),
            now,
            hard_state,
            log: Log::new(start.position, &terms, last),
            memberships: Memberships::new(start.membership, memberships),
            commit: applied,
            delivered: applied,
            applied,
            role: Role::Follower,
            leader: None,
            heard: None,
            election_at: now,
            accepted: applied,
            owed: None,
            writes: Writes::new(last),
            installing: 0,
            outputs: Outputs::default(),
            last_fetch: 0,
            commit_fetch: None,
            announced: RoleChange { term: hard_state.term, leader: None, serves_after: None },
        };
        // Who is alone need not wait for others.
        if !group.is_alone() {
            group.await_leader();
        }
        group
    }

    /// The node itself.
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// The latest term it has seen.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Who leads in this term, if known.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether this node leads and has applied the first entry of its own term, so that its state machine has
    /// everything that was ever committed. Somebody else may lead already: see [`Group::read`].
    pub fn is_serving(&self) -> bool {
        matches!(&self.role, Role::Leader(leading) if leading.first <= self.applied)
    }

    /// Who belongs to the group, by the last entry that says so.
    pub fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    /// The last entry of the log.
    pub fn last(&self) -> Position {
        self.log.last()
    }

    /// The last entry known to be committed.
    pub fn committed(&self) -> Index {
        self.commit
    }

    /// What is stored is committed, as far as nobody else ever had a say in it: to be told of a group that has begun with
    /// this node as its only voter and that nobody else can join. Without it the same comes to be known with the first
    /// vote, for which a disk must have room.
    pub fn has_decided_alone(&mut self) {
        if self.is_alone() {
            self.commit = self.commit.max(self.log.stored());
            self.deliver_committed();
        }
    }

    /// Whether there is nobody else to decide.
    pub(crate) fn is_alone(&self) -> bool {
        self.memberships.current().voters() == [self.me]
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.is_leader() {
            self.tick_leader();
        } else if self.now >= self.election_at {
            self.campaign();
        }
    }

    /// A message of another node came.
    pub fn receive(&mut self, from: NodeId, message: Message, now: Instant) {
        self.now = self.now.max(now);
        let Message { term, body } = message;
        if term < self.hard_state.term {
            return self.answer_old_term(from, &body);
        }
        if self.protects_leader_from(&body) {
            if matches!(body, Body::AskPreVote { .. }) {
                self.send(from, Body::PreVote { granted: false });
            }
            return;
        }
        if term > self.hard_state.term {
            self.follow_term(term);
        }
        match body {
            Body::AskPreVote { last } => self.handle_ask_pre_vote(from, last),
            Body::PreVote { granted } => self.handle_pre_vote(from, granted),
            Body::AskVote { last, .. } => self.handle_ask_vote(from, last),
            Body::Vote { granted } => self.handle_vote(from, granted),
            Body::Append { previous, entries, committed } => self.handle_append(from, previous, entries, committed),
            Body::Heartbeat { committed, round } => self.handle_heartbeat(from, committed, round),
            Body::Stored { matched } => self.handle_stored(from, matched),
            Body::Refused { previous, shareable } => self.handle_refused(from, previous, shareable),
            Body::Beat { round, received, matched } => self.handle_beat(from, round, received, matched),
            Body::TermOver => {}
            Body::TakeOver => self.handle_take_over(from),
        }
    }

    /// Whoever is in an old term learns of ours, if it waits for an answer.
    fn answer_old_term(&mut self, from: NodeId, body: &Body) {
        match body {
            Body::AskPreVote { .. } => self.send(from, Body::PreVote { granted: false }),
            Body::AskVote { .. } | Body::Append { .. } | Body::Heartbeat { .. } => self.send(from, Body::TermOver),
            Body::PreVote { .. }
            | Body::Vote { .. }
            | Body::Stored { .. }
            | Body::Refused { .. }
            | Body::Beat { .. }
            | Body::TermOver
            | Body::TakeOver => {}
        }
    }

    /// All writes up to `ticket` are on disk, synced.
    pub fn stored(&mut self, ticket: Ticket, now: Instant) {
        self.now = self.now.max(now);
        if let Some(last) = self.writes.stored(ticket) {
            self.log.set_stored(last);
        }
        self.count_own_vote();
        self.advance_commit();
    }

    /// The state machine has applied everything up to `index`.
    pub fn applied(&mut self, index: Index) {
        self.applied = self.applied.max(index.min(self.delivered));
    }

    /// The answer to [`Outputs::fetches`]: entries from the asked one on, at least one; none if they are gone.
    pub fn fetched(&mut self, id: u64, entries: Vec<Entry>, now: Instant) {
        self.now = self.now.max(now);
        let holds = |(wanted, entry): (Index, &Entry)| entry.index == wanted && self.log.holds(entry.position());
        if self.commit_fetch == Some(id) {
            self.commit_fetch = None;
            let index = self.delivered + 1;
            if !entries.is_empty() && (index..=self.commit).zip(&entries).all(holds) {
                self.deliver(entries);
            } else {
                self.contradiction(Contradiction::EntryMissing { index });
            }
        } else {
            let first = entries.first().map_or(0, |entry| entry.index);
            let entries = if (first..).zip(&entries).all(holds) { entries } else { Vec::new() };
            self.send_fetched(id, entries);
        }
    }

    /// What there is to do now. To be called after each call or batch of calls.
    pub fn take_outputs(&mut self) -> Outputs {
        if self.is_leader() {
            self.start_read_round();
            self.replicate();
            self.hand_over();
        } else {
            self.acknowledge();
        }
        self.answer_reads();
        self.deliver_committed();
        self.log.evict(&self.settings);
        self.outputs.write = self.writes.take(self.log.last().index, self.now);
        self.writes.release(&mut self.outputs.messages);
        self.announce();
        self.outputs.next_deadline = Some(self.deadline());
        std::mem::take(&mut self.outputs)
    }

    fn announce(&mut self) {
        let serves_after = match &self.role {
            Role::Leader(leading) => Some(leading.first),
            Role::Follower | Role::PreCandidate { .. } | Role::Candidate { .. } => None,
        };
        let role = RoleChange { term: self.hard_state.term, leader: self.leader, serves_after };
        if role != self.announced {
            self.announced = role;
            self.outputs.role = Some(role);
        }
    }

    fn deadline(&self) -> Instant {
        match &self.role {
            Role::Leader(leading) => self.leader_deadline(leading),
            Role::Follower | Role::PreCandidate { .. } | Role::Candidate { .. } => self.election_at,
        }
    }

    /// Hands out committed entries, the next ones when the last ones are applied. They are on disk here: what the
    /// state machine has applied, this node's log has too, whatever crashes.
    fn deliver_committed(&mut self) {
        let until = self.commit.min(self.log.stored());
        if self.applied < self.delivered || self.delivered >= until || self.commit_fetch.is_some() {
            return;
        }
        let from = self.delivered + 1;
        match self.log.cached(from, until, usize::MAX, self.settings.committed_bytes_max) {
            Some(entries) => self.deliver(entries),
            None => {
                let bytes_max = self.settings.committed_bytes_max;
                self.commit_fetch = Some(self.fetch(from, until, bytes_max));
            }
        }
    }

    fn deliver(&mut self, mut entries: Vec<Entry>) {
        entries.retain(|entry| entry.index <= self.commit);
        self.delivered = entries.last().map_or(self.delivered, |entry| entry.index);
        self.outputs.committed.extend(entries);
    }

    pub(crate) fn forget_commit_fetch(&mut self) {
        self.commit_fetch = None;
    }

    pub(crate) fn fetch(&mut self, from: Index, until: Index, bytes_max: usize) -> u64 {
        self.last_fetch += 1;
        self.outputs.fetches.push(Fetch { id: self.last_fetch, from, until, bytes_max });
        self.last_fetch
    }

    /// Sends a message as soon as what it relies on is on disk (`writes.rs`).
    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let until = match &body {
            // A leader's own hard state was stored before it was elected.
            Body::Append { .. } | Body::Heartbeat { .. } | Body::TakeOver => 0,
            Body::Vote { .. } if self.settings.sabotages(Sabotage::VoteBeforeStored) => 0,
            Body::Stored { .. } | Body::Refused { .. } | Body::Beat { .. } | Body::TermOver => {
                self.writes.hard_state_ticket()
            }
            Body::AskPreVote { .. } | Body::PreVote { .. } | Body::AskVote { .. } | Body::Vote { .. } => {
                self.writes.latest()
            }
        };
        let message = Message { term: self.hard_state.term, body };
        if self.writes.is_stored(until) {
            self.outputs.messages.push((to, message));
        } else if self.writes.hold(until, to, message, self.settings.held_answers_max) {
            self.outputs.answers_lost += 1;
        }
    }

    pub(crate) fn contradiction(&mut self, contradiction: Contradiction) {
        self.outputs.contradictions.push(contradiction);
    }

    /// Appends an entry to the log, in memory and to be written.
    pub(crate) fn append(&mut self, entry: Entry) {
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push(entry.index, membership.clone());
        }
        self.log.append(entry.clone());
        self.writes.append(entry);
    }

    /// Another while without a leader before this node tries to become one.
    pub(crate) fn await_leader(&mut self) {
        let Settings { election_timeout, election_timeout_max, .. } = self.settings;
        let spread = election_timeout_max.saturating_sub(election_timeout);
        let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        self.election_at = self.now + election_timeout + Duration::from_micros(self.random.below(micros.max(1)));
    }
}
