//! Who leads: pre-votes, votes, and terms that end.
//!
//! A node that hears no leader first asks whether it would win (dissertation, 9.6), so that one that was cut off does
//! not end the term of a healthy leader when it comes back. Pre-votes carry the term the asking node is in. Who gives
//! an answer takes over a higher term, and who asks learns of one by the answer: otherwise a node with the longest log
//! in a low term and one with a short log in a high term could refuse each other for ever.

use std::collections::BTreeSet;

use crate::group::{Group, Role};
use crate::message::Body;
use crate::sabotage::Sabotage;
use crate::types::{HardState, NodeId, Position, Term};

impl Group {
    /// Whether a message would help to replace a leader that lives (dissertation, 4.2.3). The leader's own wish to be
    /// replaced counts more. A leader that has lost its majority gives up by itself.
    pub(crate) fn protects_leader_from(&self, body: &Body) -> bool {
        let hears_leader = || self.heard.is_some_and(|heard| self.now < heard + self.settings.election_timeout);
        matches!(body, Body::AskPreVote { .. } | Body::AskVote { transfer: false, .. })
            && (self.is_leader() || (self.leader.is_some() && hears_leader()))
    }

    /// Enters a later term.
    pub(crate) fn follow_term(&mut self, term: Term) {
        self.enter(HardState { term, vote: None });
        self.stop_leading();
        self.role = Role::Follower;
    }

    fn enter(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
        self.writes.hard_state(hard_state);
        self.writes.forget_questions();
        self.leader = None;
        // Any leader of this term has what was committed before it.
        self.accepted = self.commit;
        self.owed = None;
    }

    /// Goes back to wait for a leader in the same term.
    pub(crate) fn give_up(&mut self) {
        self.stop_leading();
        self.role = Role::Follower;
        self.leader = None;
        self.heard = None;
        self.await_leader();
    }

    /// Whether this node may ask for votes: as a voter, or as one that was by any membership that may still count
    /// somewhere. Perhaps nobody else has the entry that took its vote, and without this node, whose log is the
    /// longest, nobody can be elected (dissertation, 4.2.2).
    fn may_campaign(&self) -> bool {
        self.memberships.since(self.commit).any(|membership| membership.is_voter(self.me))
    }

    /// No leader was heard for long enough.
    pub(crate) fn campaign(&mut self) {
        self.await_leader();
        // A slow disk makes an election longer; another one would only wait for the disk again.
        let waits = matches!(self.role, Role::Candidate { ticket, .. } if !self.writes.is_stored(ticket));
        if waits || !self.may_campaign() {
            return;
        }
        self.leader = None;
        self.role = Role::PreCandidate { votes: BTreeSet::from([self.me]) };
        let last = self.log.last();
        self.ask_voters(&Body::AskPreVote { last });
        self.count_pre_votes();
    }

    fn ask_voters(&mut self, question: &Body) {
        self.writes.forget_questions();
        let voters = self.memberships.current().clone();
        let me = self.me;
        for voter in voters.voters().iter().copied().filter(|voter| *voter != me) {
            self.send(voter, question.clone());
        }
    }

    /// Whether a candidate's log has all that could have been committed: it is at least as up to date as ours.
    fn is_up_to_date(&self, last: Position) -> bool {
        last >= self.log.last() || self.settings.sabotages(Sabotage::VoteForAnyLog)
    }

    pub(crate) fn handle_ask_pre_vote(&mut self, from: NodeId, last: Position) {
        // Granting promises nothing, so it does not put off an election of our own either.
        let granted = self.is_up_to_date(last);
        self.send(from, Body::PreVote { granted });
    }

    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, granted: bool) {
        if let Role::PreCandidate { votes } = &mut self.role
            && granted
        {
            votes.insert(from);
            self.count_pre_votes();
        }
    }

    fn count_pre_votes(&mut self) {
        if let Role::PreCandidate { votes } = &self.role
            && self.memberships.current().has_majority(|voter| votes.contains(&voter))
        {
            self.ask_for_votes(false);
        }
    }

    /// Becomes a candidate in the next term.
    pub(crate) fn ask_for_votes(&mut self, transfer: bool) {
        self.enter(HardState { term: self.hard_state.term + 1, vote: Some(self.me) });
        self.await_leader();
        self.role = Role::Candidate { votes: BTreeSet::new(), ticket: self.writes.latest() };
        let last = self.log.last();
        self.ask_voters(&Body::AskVote { last, transfer });
    }

    pub(crate) fn handle_ask_vote(&mut self, from: NodeId, last: Position) {
        let free = self.hard_state.vote.is_none_or(|vote| vote == from);
        let granted = (free || self.settings.sabotages(Sabotage::VoteTwice)) && self.is_up_to_date(last);
        if granted && self.hard_state.vote.is_none() {
            self.hard_state.vote = Some(from);
            self.writes.hard_state(self.hard_state);
        }
        if granted {
            self.await_leader();
        }
        self.send(from, Body::Vote { granted });
    }

    pub(crate) fn handle_vote(&mut self, from: NodeId, granted: bool) {
        if let Role::Candidate { votes, .. } = &mut self.role
            && granted
        {
            votes.insert(from);
            self.count_votes();
        }
    }

    /// A candidate's vote for itself counts when it is on disk.
    pub(crate) fn count_own_vote(&mut self) {
        if let Role::Candidate { votes, ticket } = &mut self.role
            && self.writes.is_stored(*ticket)
            && votes.insert(self.me)
        {
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        if let Role::Candidate { votes, .. } = &self.role
            && self.memberships.current().has_majority(|voter| votes.contains(&voter))
        {
            self.lead();
        }
    }
}
