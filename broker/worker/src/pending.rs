//! Publishes that wait for other nodes and for the store before their sender is acknowledged.

use crate::ids::SessionId;
use crate::slab::Slab;
use fulmar_codec::{PacketId, ReasonCode};
use fulmar_session::AckToken;
use fulmar_store::Ask;
use std::collections::{BTreeMap, VecDeque};

/// One publish under way to other nodes and to the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The session that published: tokens outlive connections.
    pub(crate) session: SessionId,
    pub(crate) token: AckToken,
    /// What the client is told.
    pub(crate) reason: ReasonCode,
    /// Nodes and shards that have not answered.
    parties: u32,
    /// The store keeps this packet identifier of the client with the message: if the client is told that the message is
    /// refused, it may use the identifier for another one.
    pub(crate) received: Option<PacketId>,
}

impl Wait {
    /// The store does not keep the packet identifier any more.
    pub(crate) fn without_received(self) -> Wait {
        Wait { received: None, ..self }
    }
}

/// Slot and generation of a [`Wait`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WaitId {
    slot: u32,
    generation: u32,
}

/// All of a thread's waits. Bounded by receive maximum times connections: a connection with that many open tokens is
/// not read.
#[derive(Debug)]
pub(crate) struct Pending {
    waits: Slab<Wait>,
    /// What the store is asked when all others have the message, of each session in the order of its publishes.
    last: BTreeMap<SessionId, VecDeque<(WaitId, Ask)>>,
}

impl Pending {
    pub(crate) fn new() -> Pending {
        Pending { waits: Slab::new(), last: BTreeMap::new() }
    }

    pub(crate) fn insert(
        &mut self,
        session: SessionId,
        token: AckToken,
        parties: u32,
        reason: ReasonCode,
        received: Option<PacketId>,
    ) -> WaitId {
        let (slot, generation) = self.waits.insert(Wait { session, token, reason, parties, received });
        WaitId { slot, generation }
    }

    /// Nobody knows what became of a publish: nothing more is waited for.
    pub(crate) fn remove(&mut self, id: WaitId) -> Option<Wait> {
        let wait = self.waits.remove(id.slot, id.generation);
        self.waits.end_turn();
        if let Some(Wait { session, .. }) = wait
            && let Some(queue) = self.last.get_mut(&session)
        {
            queue.retain(|(put_off, _)| *put_off != id);
            if queue.is_empty() {
                self.last.remove(&session);
            }
        }
        wait
    }

    /// Nobody waits any more for what a session has put off.
    pub(crate) fn forget_put_off(&mut self, session: SessionId) {
        for (id, _) in self.last.remove(&session).into_iter().flatten() {
            self.waits.remove(id.slot, id.generation);
        }
        self.waits.end_turn();
    }

    /// Nobody waits any more for what any session has put off.
    pub(crate) fn forget_all_put_off(&mut self) {
        while let Some((session, _)) = self.last.first_key_value() {
            self.forget_put_off(*session);
        }
    }

    /// The store is asked when it is the last party, and what the session has put off before was asked.
    pub(crate) fn put_off(&mut self, session: SessionId, id: WaitId, ask: Ask) {
        self.last.entry(session).or_default().push_back((id, ask));
    }

    /// All that a session has put off, whoever is yet to answer.
    pub(crate) fn take_all_put_off(&mut self, session: SessionId) -> VecDeque<(WaitId, Ask)> {
        self.last.remove(&session).unwrap_or_default()
    }

    /// Whether a session has put something off.
    pub(crate) fn has_put_off(&self, session: SessionId) -> bool {
        self.last.contains_key(&session)
    }

    /// The next thing that a session has put off, if only that is left of its publish.
    pub(crate) fn take_put_off(&mut self, session: SessionId) -> Option<(WaitId, Ask)> {
        let queue = self.last.get_mut(&session)?;
        let is_due = |(id, _): &(WaitId, Ask)| self.waits.get(id.slot, id.generation).is_some_and(|it| it.parties == 1);
        let due = queue.front().is_some_and(is_due).then(|| queue.pop_front()).flatten();
        if queue.is_empty() {
            self.last.remove(&session);
        }
        due
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.waits.len()
    }

    /// Whose publish this is, if it waits yet.
    pub(crate) fn session_of(&self, id: WaitId) -> Option<SessionId> {
        self.waits.get(id.slot, id.generation).map(|wait| wait.session)
    }

    /// Not all get the message that it is for: the client is told so.
    pub(crate) fn refuse(&mut self, id: WaitId, reason: ReasonCode) {
        if let Some(wait) = self.waits.get_mut(id.slot, id.generation) {
            wait.reason = reason;
        }
    }

    /// One node has the message, or is gone. Tells the wait when it was the last.
    pub(crate) fn answered(&mut self, id: WaitId) -> Option<Wait> {
        let wait = self.waits.get_mut(id.slot, id.generation)?;
        wait.parties -= 1;
        if wait.parties > 0 {
            return None;
        }
        let done = self.waits.remove(id.slot, id.generation);
        // No event refers to a wait, so its slot can be used again at once.
        self.waits.end_turn();
        done
    }
}
