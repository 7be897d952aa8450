//! The sessions that belong to this data thread, of connected and of absent clients.

use crate::ids::{ConnId, SessionId, Thread};
use crate::reauthenticate::Extended;
use crate::retained::RetainedRead;
use crate::rights::Remembered;
use crate::rules::Proof;
use crate::slab::Slab;
use crate::stored::Stored;
use foldhash::quality::FixedState;
use fulmar_cluster::Version;
use fulmar_router::SubscriberId;
use fulmar_session::{Held, Session};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::time::Instant;

/// A session and what the thread knows around it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Session,
    /// While its client is connected.
    pub(crate) connection: Option<ConnId>,
    /// The CONNECT's place in time among all nodes: of one user the newest owns the client id.
    pub(crate) claim: Version,
    /// Since when its user has held the client id: of two users the one who was first owns it.
    pub(crate) since: Version,
    /// By what its client has shown who it is, the last time.
    pub(crate) proof: Proof,
    /// The generation of rules by which it was let in then.
    pub(crate) let_in_by: u32,
    /// What it may publish, as far as that was asked.
    pub(crate) remembered: Option<Box<Remembered>>,
    /// The memory of the session and its subscriptions.
    pub(crate) memory: Held,
    /// That of the will of its last connection.
    pub(crate) will_memory: Held,
    /// While its client is absent.
    pub(crate) absence: Option<Box<Absence>>,
    /// Retained messages that its new subscriptions still have to get.
    pub(crate) reads: Option<VecDeque<RetainedRead>>,
    /// A later turn goes on with them.
    pub(crate) is_reading_on: bool,
    /// Shared subscriptions that ended while messages of them were not acknowledged: see `inherit.rs`.
    pub(crate) left_shares: Vec<Box<str>>,
    /// How a hook let its client in, while that is connected and may have to prove itself again.
    pub(crate) extended: Option<Box<Extended>>,
    /// It has ended, and its subscriptions are going.
    pub(crate) is_leaving: bool,
    /// The store keeps the session: what is here lasts as long as the connection.
    pub(crate) stored: Option<Box<Stored>>,
}

/// What is due while a client is absent.
#[derive(Debug)]
pub(crate) struct Absence {
    /// The session ends.
    pub(crate) keep_until: Instant,
    /// The will is published.
    pub(crate) will_at: Option<Instant>,
}

/// What a session takes beside its subscriptions: its place here, its timers, and its name twice.
pub(crate) fn session_bytes(client_id: &str) -> usize {
    size_of::<Entry>() + 256 + 2 * client_id.len()
}

/// What a subscription takes in the session, in the trie, which has a node for each level, and on its way to peers.
pub(crate) fn subscription_bytes(filter: &str) -> usize {
    let levels = filter.bytes().filter(|byte| *byte == b'/').count() + 1;
    256 + 128 * levels + 4 * filter.len()
}

/// Marks the sessions that the publish under way has matched already, so that overlapping subscriptions of one client
/// give one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp {
    pub(crate) publish: u32,
    pub(crate) index: u32,
}

/// All sessions of a thread.
#[derive(Debug)]
pub(crate) struct Sessions {
    slab: Slab<Entry>,
    by_client_id: HashMap<Box<str>, SessionId, FixedState>,
    pub(crate) stamps: Vec<Stamp>,
    /// Sessions whose client is connected.
    pub(crate) connected: usize,
    /// Subscriptions of all sessions.
    pub(crate) subscriptions: usize,
}

impl Sessions {
    pub(crate) fn new(seed: u64) -> Sessions {
        Sessions {
            slab: Slab::new(),
            by_client_id: HashMap::with_hasher(FixedState::with_seed(seed)),
            stamps: Vec::new(),
            connected: 0,
            subscriptions: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn insert(&mut self, client_id: &str, entry: Entry) -> SessionId {
        let (slot, generation) = self.slab.insert(entry);
        let id = SessionId { slot, generation };
        if self.stamps.len() <= slot as usize {
            self.stamps.resize(slot as usize + 1, Stamp::default());
        }
        self.by_client_id.insert(client_id.into(), id);
        id
    }

    pub(crate) fn find(&self, client_id: &str) -> Option<SessionId> {
        self.by_client_id.get(client_id).copied()
    }

    #[inline]
    pub(crate) fn get(&self, id: SessionId) -> Option<&Entry> {
        self.slab.get(id.slot, id.generation)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Entry> {
        self.slab.get_mut(id.slot, id.generation)
    }

    /// The session that the router knows by this id.
    #[inline]
    pub(crate) fn by_subscriber(&self, id: SubscriberId) -> Option<&Entry> {
        self.slab.get_low(id.slot, id.generation)
    }

    #[inline]
    pub(crate) fn by_subscriber_mut(&mut self, id: SubscriberId) -> Option<&mut Entry> {
        self.slab.get_low_mut(id.slot, id.generation)
    }

    /// One that has lost its name.
    pub(crate) fn remove(&mut self, id: SessionId) {
        self.slab.remove(id.slot, id.generation);
    }

    /// Takes its name from a session that has ended: who comes with that name is somebody new. Whether it had one.
    pub(crate) fn forget_name(&mut self, id: SessionId) -> bool {
        let Some(entry) = self.slab.get_mut(id.slot, id.generation).filter(|entry| !entry.is_leaving) else {
            return false;
        };
        entry.is_leaving = true;
        self.by_client_id.remove(entry.session.client_id());
        true
    }

    /// From a slot on, in slot order.
    pub(crate) fn iter_from(&self, first: u32) -> impl Iterator<Item = (SessionId, &Entry)> {
        self.slab.iter_from(first).map(|(slot, generation, entry)| (SessionId { slot, generation }, entry))
    }

    pub(crate) fn end_turn(&mut self) {
        self.slab.end_turn();
    }
}

/// How the router knows a session of this thread.
pub(crate) fn subscriber(thread: Thread, id: SessionId) -> SubscriberId {
    SubscriberId { thread, slot: id.slot, generation: id.generation as u16 }
}
