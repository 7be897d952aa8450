//! Publishes that wait for other nodes before their sender is acknowledged.

use crate::ids::SessionId;
use crate::slab::Slab;
use fulmar_codec::ReasonCode;
use fulmar_session::AckToken;

/// One publish under way to other nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The session that published: tokens outlive connections.
    pub(crate) session: SessionId,
    pub(crate) token: AckToken,
    /// What the client is told.
    pub(crate) reason: ReasonCode,
    /// Nodes that have not answered.
    parties: u32,
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
}

impl Pending {
    pub(crate) fn new() -> Pending {
        Pending { waits: Slab::new() }
    }

    pub(crate) fn insert(&mut self, session: SessionId, token: AckToken, parties: u32, reason: ReasonCode) -> WaitId {
        let (slot, generation) = self.waits.insert(Wait { session, token, reason, parties });
        WaitId { slot, generation }
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
