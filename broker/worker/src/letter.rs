//! What data threads of one node tell each other: owned values in bounded batches.

use crate::ids::Thread;
use fulmar_cluster::Version;
use fulmar_router::Options;
use fulmar_session::Message;

/// Everything one thread has for another at the end of its turn.
#[derive(Debug, Default)]
pub struct Batch {
    /// Publishes; each takes the next `targets` entries of [`Batch::targets`].
    pub publishes: Vec<(Message, u32)>,
    /// Subscribers on the receiving thread.
    pub targets: Vec<Target>,
    /// Everything rarer.
    pub notes: Vec<Note>,
}

impl Batch {
    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.notes.is_empty()
    }
}

/// A subscriber on another thread that a publish goes to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Slot and generation of its session.
    pub slot: u32,
    /// See `slot`.
    pub generation: u16,
    /// As subscribed.
    pub options: Options,
    /// Delivered for a shared subscription.
    pub shared: bool,
}

/// Rare news for another thread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// A client connected at another node; the thread that owns the client id closes an older session.
    Claim {
        /// The client id.
        client_id: Box<str>,
        /// Its CONNECT's place in time.
        version: Version,
    },
    /// To thread 0: this node's interest has deltas to announce.
    InterestChanged,
    /// From thread 0: peers have confirmed more of this node's interest, or are gone.
    InterestConfirmed,
    /// To thread 0: a lane of another thread is connected.
    LaneUp {
        /// The node at its other end.
        node: u64,
    },
    /// A node is gone: drop lanes to it and what waits for it.
    NodeGone {
        /// The node's id.
        node: u64,
        /// The last life of the link that has ended.
        epoch: u64,
    },
    /// Close every client with this reason and take no more (the node stops).
    ShutDown,
}

/// One outgoing batch per other thread.
#[derive(Debug)]
pub(crate) struct Outboxes {
    batches: Vec<Batch>,
}

impl Outboxes {
    pub(crate) fn new(threads: Thread) -> Outboxes {
        Outboxes { batches: (0..threads).map(|_| Batch::default()).collect() }
    }

    pub(crate) fn of(&mut self, thread: Thread) -> &mut Batch {
        &mut self.batches[usize::from(thread)]
    }

    pub(crate) fn note_all_but(&mut self, own: Thread, note: &Note) {
        for (thread, batch) in self.batches.iter_mut().enumerate() {
            if thread != usize::from(own) {
                batch.notes.push(note.clone());
            }
        }
    }
}
