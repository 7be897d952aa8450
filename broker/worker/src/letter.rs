//! What data threads of one node tell each other: owned values in bounded batches.

use crate::ids::Thread;
use fulmar_cluster::Version;
use fulmar_cluster::claims::{Claim, Takeover};
use fulmar_router::Options;
use fulmar_session::{Message, Outgoing};
use std::num::NonZeroU32;
use std::time::Instant;

/// A message up to this many bytes is copied into the batch; a larger one is shared.
const COPIED_BYTES_MAX: usize = 1024;
/// A batch with more room than this is not kept for another turn.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// Everything one thread has for another at the end of its turn.
///
/// Small messages lie one after the other in one buffer, which the receiving thread uses again for its own: memory that
/// one thread asks for and another gives back, message by message, costs more than copying a kibibyte.
#[derive(Debug, Default)]
pub struct Batch {
    publishes: Vec<Parcel>,
    /// Subscribers on the receiving thread, in the order of the publishes.
    targets: Vec<Target>,
    bytes: Vec<u8>,
    /// Of the messages that are not in `bytes`.
    shared_bytes: usize,
    /// Everything rarer.
    pub notes: Vec<Note>,
}

/// One publish, for the next so many targets.
#[derive(Debug)]
struct Parcel {
    body: Body,
    targets: u32,
}

#[derive(Debug)]
enum Body {
    /// The next so many bytes of the batch.
    Copied {
        length: u32,
        expires: Option<Instant>,
    },
    Shared(Message),
}

impl Batch {
    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.notes.is_empty()
    }

    /// Publishes, targets and notes.
    pub fn len(&self) -> usize {
        self.publishes.len() + self.targets.len() + self.notes.len()
    }

    /// Bytes of all messages.
    pub fn message_bytes(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }

    /// Adds a publish for these subscribers.
    pub fn publish(
        &mut self,
        outgoing: &Outgoing<'_>,
        targets: impl IntoIterator<Item = Target>,
        shared: impl FnOnce() -> Message,
    ) {
        let length = outgoing.bytes();
        let body = if length <= COPIED_BYTES_MAX {
            outgoing.write_to(&mut self.bytes);
            Body::Copied { length: length as u32, expires: outgoing.expires }
        } else {
            self.shared_bytes += length;
            Body::Shared(shared())
        };
        let before = self.targets.len();
        self.targets.extend(targets);
        self.publishes.push(Parcel { body, targets: (self.targets.len() - before) as u32 });
    }

    /// The publishes in the order in which they were added. A message that is shared comes with itself.
    pub(crate) fn publishes(&self) -> impl Iterator<Item = (Outgoing<'_>, Option<&Message>, &[Target])> {
        let (mut bytes, mut targets) = (self.bytes.as_slice(), self.targets.as_slice());
        self.publishes.iter().map(move |Parcel { body, targets: count }| {
            let (mine, rest) = targets.split_at(*count as usize);
            targets = rest;
            match body {
                Body::Copied { length, expires } => {
                    let (copied, rest) = bytes.split_at(*length as usize);
                    bytes = rest;
                    (Outgoing::read(copied, *expires), None, mine)
                }
                Body::Shared(message) => (message.view(), Some(message), mine),
            }
        })
    }

    fn clear(&mut self) {
        let Batch { publishes, targets, bytes, shared_bytes, notes } = self;
        publishes.clear();
        targets.clear();
        bytes.clear();
        *shared_bytes = 0;
        notes.clear();
    }

    fn has_room(&self) -> bool {
        self.publishes.capacity() > 0
    }

    fn room_bytes(&self) -> usize {
        let Batch { publishes, targets, bytes, shared_bytes: _, notes } = self;
        bytes.capacity()
            + publishes.capacity() * size_of::<Parcel>()
            + targets.capacity() * size_of::<Target>()
            + notes.capacity() * size_of::<Note>()
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
    /// The shared subscription that it is delivered for, by its number.
    pub share: Option<NonZeroU32>,
}

/// Rare news for another thread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// Another node holds a session; the thread that owns the client id ends one that is in its way.
    Claim(Box<ForeignClaim>),
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
    /// Close every client and take no more (the node stops).
    ShutDown,
}

/// Another node's [`Claim`], on its way between threads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForeignClaim {
    client_id: Box<str>,
    version: Version,
    since: Version,
    user: Option<Box<str>>,
    takeover: Takeover,
}

impl ForeignClaim {
    pub(crate) fn new(client_id: &str, claim: &Claim<'_>) -> ForeignClaim {
        let Claim { version, since, user, takeover } = *claim;
        ForeignClaim { client_id: client_id.into(), version, since, user: user.map(Into::into), takeover }
    }

    /// The client id, and the claim to it.
    pub(crate) fn view(&self) -> (&str, Claim<'_>) {
        let ForeignClaim { client_id, version, since, user, takeover } = self;
        (client_id, Claim { version: *version, since: *since, user: user.as_deref(), takeover: *takeover })
    }
}

/// One outgoing batch per other thread.
#[derive(Debug)]
pub(crate) struct Outboxes {
    batches: Vec<Batch>,
    /// Empty ones with room, that came from other threads.
    spare: Vec<Batch>,
}

impl Outboxes {
    pub(crate) fn new(threads: Thread) -> Outboxes {
        Outboxes { batches: (0..threads).map(|_| Batch::default()).collect(), spare: Vec::new() }
    }

    pub(crate) fn of(&mut self, thread: Thread) -> &mut Batch {
        &mut self.batches[usize::from(thread)]
    }

    /// The batch for another thread, with room for publishes where there is some.
    pub(crate) fn with_room(&mut self, thread: Thread) -> &mut Batch {
        let Outboxes { batches, spare } = self;
        let batch = &mut batches[usize::from(thread)];
        if !batch.has_room()
            && batch.is_empty()
            && let Some(room) = spare.pop()
        {
            *batch = room;
        }
        batch
    }

    /// Keeps the room of a batch that another thread has sent.
    pub(crate) fn keep_room(&mut self, mut batch: Batch) {
        if self.spare.len() < self.batches.len() && batch.has_room() && batch.room_bytes() <= SPARE_BYTES_MAX {
            batch.clear();
            self.spare.push(batch);
        }
    }

    pub(crate) fn note_all_but(&mut self, own: Thread, note: &Note) {
        for (thread, batch) in self.batches.iter_mut().enumerate() {
            if thread != usize::from(own) {
                batch.notes.push(note.clone());
            }
        }
    }
}
