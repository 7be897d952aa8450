//! One Raft group on this node, with what the node keeps of it beside the log: the same for shards and for group 0.
//!
//! A group that left this node and comes back has forgotten what it had acknowledged. If it voted by what it has then,
//! it could help a candidate into office that lacks what this node once helped to commit. So the node remembers where
//! the log had ended, its *floor*: until the new log is as far, it leads nothing and votes for nobody who is behind that.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use fulmar_raft::{Body, Group, HardState, Index, Membership, Message, NodeId, Outputs, Position, Snapshot, State};

use crate::errors::OpenError;

/// See the [module](self). Whoever changes the group has its outputs taken next.
pub(crate) struct Hosted {
    /// 0 is that of the cluster, others have shards.
    pub(crate) number: u16,
    raft: Group,
    /// The last entry that was applied.
    pub(crate) applied: Index,
    /// What is kept beside the log, as it was written last.
    pub(crate) kept: Kept,
    /// Bytes of the log since the last snapshot.
    pub(crate) log_bytes: u64,
    /// The newest snapshot that is on the disk; 0 if there is none.
    pub(crate) snapshot: Index,
    is_touched: bool,
    /// It neither leads nor hears of others: see [`Engine::release`](crate::Engine::release).
    is_held: bool,
    deadline: Option<Instant>,
    /// Up to where the leader said last that entries are committed, and when.
    pub(crate) goal: Option<Goal>,
}

/// How far the leader was, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) index: Index,
    pub(crate) told: Instant,
    /// What it said before was reached when it said this.
    pub(crate) was_reached: bool,
}

/// What a node keeps of a group beside its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) hard_state: HardState,
    /// Where the log starts.
    pub(crate) start: Snapshot,
    /// Where the log ended when the group left this node, until it is as far again.
    pub(crate) floor: Option<Position>,
}

/// What comes before the state of a group that has a floor; states begin with another byte.
const FLOOR: u8 = 0xf1;

impl Kept {
    /// Of a group that begins with these members.
    pub(crate) fn new(membership: Membership) -> Self {
        Self { hard_state: HardState::default(), start: Snapshot::initial(membership), floor: None }
    }

    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let Self { hard_state, start, floor } = self;
        if let Some(Position { term, index }) = floor {
            out.push(FLOOR);
            out.extend(term.to_le_bytes());
            out.extend(index.to_le_bytes());
        }
        State { hard_state: *hard_state, start: start.clone() }.append_to(out);
    }

    pub(crate) fn decode(group: u16, bytes: &[u8]) -> Result<Self, OpenError> {
        let with_floor = |rest: &[u8]| {
            let (term, rest) = rest.split_first_chunk()?;
            let (index, rest) = rest.split_first_chunk()?;
            let floor = Position { term: u64::from_le_bytes(*term), index: u64::from_le_bytes(*index) };
            Some((floor, rest.to_vec()))
        };
        let (floor, state) = match bytes.split_first() {
            Some((&FLOOR, rest)) => {
                let (floor, state) = with_floor(rest).ok_or(OpenError::Floor { group, found: bytes.len() })?;
                (Some(floor), state)
            }
            _ => (None, bytes.to_vec()),
        };
        let State { hard_state, start } = State::decode(&state).map_err(|source| OpenError::State { group, source })?;
        Ok(Self { hard_state, start, floor })
    }
}

impl Hosted {
    pub(crate) fn new(number: u16, raft: Group, applied: Index, kept: Kept) -> Self {
        Self {
            number,
            raft,
            applied,
            kept,
            log_bytes: 0,
            snapshot: 0,
            is_touched: true,
            is_held: false,
            deadline: None,
            goal: None,
        }
    }

    /// Whether nobody else takes part, so that nothing has to be confirmed by others.
    pub(crate) fn is_alone(&self) -> bool {
        let membership = self.membership();
        membership.voters() == [self.id()] && membership.learners().is_empty()
    }

    /// Whether nobody else has a vote.
    pub(crate) fn decides_alone(&self) -> bool {
        self.membership().voters() == [self.id()]
    }

    /// Lets the group wait, or go on.
    pub(crate) fn hold(&mut self, is_held: bool) {
        self.is_touched |= self.is_held != is_held;
        self.is_held = is_held;
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether there are entries that a snapshot would make superfluous.
    pub(crate) fn can_be_compacted(&self) -> bool {
        self.applied > self.kept.start.position.index
    }

    /// How many of the last applied entries have so many bytes, as entries of this log have on average.
    pub(crate) fn entries_of(&self, bytes: u64) -> u64 {
        let entries = self.applied.saturating_sub(self.kept.start.position.index).max(1);
        let average = (self.log_bytes / entries).max(1);
        bytes / average
    }

    /// Whether its outputs are to be taken.
    pub(crate) fn is_touched(&self) -> bool {
        self.is_touched
    }

    /// When the group wants to be ticked. A leader that is alone has nothing to wait for.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let is_idle = self.is_alone() && self.is_leader();
        self.deadline.filter(|_| !is_idle && self.kept.floor.is_none() && !self.is_held)
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        let is_first = self.deadline.is_none();
        if self.is_held {
            return;
        }
        if self.kept.floor.is_none() && (is_first || self.next_tick().is_some_and(|deadline| deadline <= now)) {
            DerefMut::deref_mut(self).tick(now);
        }
    }

    /// Another node says something.
    pub(crate) fn receive(&mut self, from: NodeId, message: Message, now: Instant) {
        if self.is_held {
            return;
        }
        if let (Some(floor), Body::AskVote { last, .. } | Body::AskPreVote { last }) = (self.kept.floor, &message.body)
            && *last < floor
        {
            return;
        }
        DerefMut::deref_mut(self).receive(from, message, now);
    }

    /// What the group wants done, if anything may have changed.
    pub(crate) fn take_outputs(&mut self) -> Option<Outputs> {
        if !std::mem::take(&mut self.is_touched) {
            return None;
        }
        let outputs = self.raft.take_outputs();
        self.deadline = outputs.next_deadline.or(self.deadline);
        let last = self.raft.last();
        self.kept.floor.take_if(|floor| last >= *floor);
        Some(outputs)
    }

    /// What is kept when the group leaves this node.
    pub(crate) fn left(&self) -> Kept {
        let last = self.last();
        let floor = self.kept.floor.map_or(last, |floor| floor.max(last));
        Kept { hard_state: self.kept.hard_state, floor: Some(floor), ..Kept::new(Membership::default()) }
    }

    /// The leader says how far it is.
    pub(crate) fn set_goal(&mut self, index: Index, now: Instant) {
        let was_reached = self.goal.is_some_and(|goal| goal.index <= self.applied);
        self.goal = Some(Goal { index, told: now, was_reached });
    }
}

impl Deref for Hosted {
    type Target = Group;

    fn deref(&self) -> &Group {
        &self.raft
    }
}

impl DerefMut for Hosted {
    fn deref_mut(&mut self) -> &mut Group {
        self.is_touched = true;
        &mut self.raft
    }
}

#[cfg(test)]
mod tests {
    use fulmar_raft::{Entry, Payload, Recovered, Settings};

    use super::*;

    #[test]
    fn what_is_kept_is_read_as_it_was_written() {
        let start = Snapshot {
            position: Position { term: 3, index: 9 },
            membership: Membership::new([1, 2], [3]).expect("three nodes"),
        };
        let hard_state = HardState { term: 4, vote: Some(2) };
        for floor in [None, Some(Position { term: 3, index: 12 })] {
            let kept = Kept { hard_state, start: start.clone(), floor };
            let mut bytes = Vec::new();
            kept.append_to(&mut bytes);
            assert_eq!(Kept::decode(1, &bytes).expect("it is whole"), kept);
            for length in 0..bytes.len() {
                assert!(Kept::decode(1, &bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
            }
        }
    }

    /// A group that has come back without entries.
    fn came_back(floor: Position, now: Instant) -> Hosted {
        let hard_state = HardState { term: 5, vote: None };
        let kept = Kept { hard_state, floor: Some(floor), ..Kept::new(Membership::default()) };
        let recovered = Recovered::from_log(hard_state, kept.start.clone(), 0, []).expect("there are no entries");
        Hosted::new(1, Group::new(Settings::default(), 7, recovered, now, 1), 0, kept)
    }

    /// Whom it votes for, of two candidates that ask in their terms.
    fn votes(hosted: &mut Hosted, from: NodeId, term: u64, last: Position, now: Instant) -> bool {
        hosted.receive(from, Message { term, body: Body::AskVote { last, transfer: false } }, now);
        let outputs = hosted.take_outputs();
        if let Some(write) = outputs.and_then(|outputs| outputs.write) {
            hosted.stored(write.ticket, now);
        }
        let messages = hosted.take_outputs().map_or(Vec::new(), |outputs| outputs.messages);
        messages.iter().any(|(to, message)| *to == from && message.body == Body::Vote { granted: true })
    }

    #[test]
    fn a_group_that_has_come_back_votes_as_if_it_had_what_it_had_and_never_campaigns() {
        let (now, floor) = (Instant::now(), Position { term: 4, index: 20 });
        let mut hosted = came_back(floor, now);
        assert!(!votes(&mut hosted, 2, 6, Position { term: 4, index: 19 }, now), "it lacks an entry");
        assert!(!votes(&mut hosted, 3, 7, Position { term: 3, index: 90 }, now), "it lacks a term");
        assert!(votes(&mut hosted, 4, 8, Position { term: 4, index: 20 }, now));
        hosted.tick(now + std::time::Duration::from_secs(60));
        assert!(hosted.take_outputs().is_none(), "nothing has changed");
        assert_eq!((hosted.next_tick(), hosted.left().floor), (None, Some(floor)));
    }

    #[test]
    fn a_floor_is_left_when_the_log_is_as_far() {
        let (now, floor) = (Instant::now(), Position { term: 4, index: 2 });
        let mut hosted = came_back(floor, now);
        let append = |hosted: &mut Hosted, previous, entry: Entry| {
            let body = Body::Append { previous, entries: vec![entry], committed: 0 };
            hosted.receive(2, Message { term: 5, body }, now);
            hosted.take_outputs();
        };
        let entry = |term, index| Entry { term, index, payload: Payload::Empty };
        append(&mut hosted, Position::ZERO, entry(3, 1));
        assert_eq!(hosted.kept.floor, Some(floor));
        append(&mut hosted, Position { term: 3, index: 1 }, entry(5, 2));
        assert_eq!((hosted.kept.floor, hosted.next_tick().is_some()), (None, true));
    }

    #[test]
    fn a_group_that_is_held_neither_leads_nor_hears_of_others() {
        let now = Instant::now();
        let kept = Kept::new(Membership::new([7], [8]).expect("one voter and a learner"));
        let recovered = Recovered::from_log(kept.hard_state, kept.start.clone(), 0, []).expect("there are no entries");
        let group = Group::new(Settings::default(), 7, recovered, now, 1);
        let mut hosted = Hosted::new(0, group, 0, kept);
        hosted.hold(true);
        hosted.tick(now + std::time::Duration::from_secs(60));
        hosted.receive(8, Message { term: 9, body: Body::TermOver }, now);
        assert_eq!((hosted.is_leader(), hosted.term(), hosted.next_tick()), (false, 0, None));
        hosted.hold(false);
        hosted.tick(now + std::time::Duration::from_secs(61));
        if let Some(write) = hosted.take_outputs().and_then(|outputs| outputs.write) {
            hosted.stored(write.ticket, now);
        }
        assert_eq!((hosted.is_leader(), hosted.term()), (true, 1));
    }

    #[test]
    fn without_a_floor_the_bytes_are_those_of_the_state() {
        let kept = Kept::new(Membership::new([7], []).expect("one voter"));
        let (mut bytes, mut state) = (Vec::new(), Vec::new());
        kept.append_to(&mut bytes);
        State { hard_state: kept.hard_state, start: kept.start }.append_to(&mut state);
        assert_eq!(bytes, state);
    }
}
