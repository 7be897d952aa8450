//! What a data thread is given by others: batches of its siblings, sockets of the control side, orders.
//!
//! The queue is bounded by weight. A sender whose batch does not fit keeps it and is woken when there is room. The
//! thread itself is woken by a system call only when it sleeps.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fulmar_auth::identity::CertificateNames;
use fulmar_session::Message;
use fulmar_store::Told;
use fulmar_worker::{Answer, Batch, LaneSocket, Origin, Rules, Thread};
use mio::Waker;
use mio::net::TcpStream;
use tokio::sync::mpsc;

/// Messages, targets and notes that may wait for one thread; so many bytes of a message count as one more. So messages
/// take 4 MiB, besides one batch, which is a turn's work.
const WEIGHT_MAX: usize = 64 << 10;
const BYTES_PER_WEIGHT: usize = 64;

/// Something for a data thread.
#[derive(Debug)]
pub(crate) enum Letter {
    /// What a sibling's turn brought for sessions of this thread.
    Batch(Batch),
    /// A client from the control side, or from the sibling that accepted it.
    Client(Box<Client>),
    /// A connection to another node, after its Hello.
    Lane(Box<Lane>),
    /// Lives of the link to a node up to this epoch are over.
    PeerGone { node: u64, epoch: u64 },
    /// Whether a password is right.
    Answer(Answer),
    /// What the store has for this thread.
    Told(Vec<Told>),
    /// What the files of users and access rules say from now on.
    Rules(Arc<Rules>),
    /// What the broker tells of itself.
    Tell(Arc<[Message]>),
    /// Tell every client to leave and accept no more.
    ShutDown,
    /// Tell peers that this node stops, and drop the sender when they have read it.
    CloseLanes(mpsc::Sender<Infallible>),
    /// End the thread.
    Exit,
}

/// A client's socket on its way to the thread that serves it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<rustls::Connection>>,
    /// What its certificate says, where the listener takes the client's name from it.
    pub(crate) certificate: Option<Arc<CertificateNames>>,
    /// Received and not consumed.
    pub(crate) bytes: Vec<u8>,
    pub(crate) origin: Origin,
    /// Bounds the clients on their way from the control side; free again when the client has arrived.
    pub(crate) permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// A lane's socket on its way to the thread that owns it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<rustls::Connection>>,
    /// Received after the Hello.
    pub(crate) bytes: Vec<u8>,
    pub(crate) socket: LaneSocket,
    /// Names the connection when it is lost.
    pub(crate) connection: u64,
}

/// The queue in front of one data thread.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    is_asleep: AtomicBool,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Queue {
    letters: Vec<Letter>,
    weight: usize,
    /// Siblings whose batch did not fit.
    waiting: Vec<Thread>,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Inbox {
        Inbox { queue: Mutex::default(), is_asleep: AtomicBool::new(false), waker }
    }

    /// Passes on a sibling's batch, or keeps it there if there is no room. `false`: `from` is woken when there is.
    pub(crate) fn push_batch(&self, from: Thread, batch: &mut Batch) -> bool {
        let weight = weight_of(batch);
        let mut queue = self.lock();
        // A batch that alone is heavier than allowed must pass too: it was one turn's work.
        if queue.weight > 0 && queue.weight + weight > WEIGHT_MAX {
            if !queue.waiting.contains(&from) {
                queue.waiting.push(from);
            }
            return false;
        }
        queue.weight += weight;
        queue.letters.push(Letter::Batch(std::mem::take(batch)));
        drop(queue);
        self.wake_if_asleep();
        true
    }

    /// Passes on anything else: its sender bounds how many there are.
    pub(crate) fn push(&self, letter: Letter) {
        self.lock().letters.push(letter);
        self.wake_if_asleep();
    }

    /// Moves all letters into `letters` and tells which siblings wait for the room.
    pub(crate) fn take(&self, letters: &mut Vec<Letter>) -> Vec<Thread> {
        let mut queue = self.lock();
        queue.weight = 0;
        letters.append(&mut queue.letters);
        std::mem::take(&mut queue.waiting)
    }

    /// The thread is about to sleep: whoever pushes from now on wakes it. `false`: there are letters already.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        self.lock().letters.is_empty()
    }

    /// The thread runs: nobody needs to wake it.
    pub(crate) fn awake(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    /// Wakes the thread for something that is not in the queue.
    pub(crate) fn wake_if_asleep(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            wake(&self.waker);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while a letter is queued")
    }
}

fn weight_of(batch: &Batch) -> usize {
    batch.len() + batch.message_bytes() / BYTES_PER_WEIGHT
}

/// Waking fails only when the kernel has no memory for it; the thread then sees its letters at its next beat.
fn wake(waker: &Waker) {
    let _: io::Result<()> = waker.wake();
}

#[cfg(test)]
mod tests {
    use fulmar_codec::{ForwardProperties, QoS};
    use fulmar_session::{Message, Outgoing};

    use super::*;

    /// Messages that share one payload, as they would if each had its own.
    fn batch(messages: usize, payload: &[u8]) -> Batch {
        let (qos, forward) = (QoS::AtLeastOnce, ForwardProperties::EMPTY);
        let outgoing = Outgoing { topic: "a", qos, retain: false, forward, payload, expires: None };
        let message = Message::new(&outgoing, &mut Vec::new());
        let mut batch = Batch::default();
        (0..messages).for_each(|_| batch.publish(&outgoing, [], || message.clone()));
        batch
    }

    #[test]
    fn few_large_messages_fill_a_queue_as_many_small_ones_do() {
        let poll = mio::Poll::new().unwrap();
        let inbox = Inbox::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        assert!(inbox.push_batch(1, &mut batch(3, &[0; 1 << 20])));
        let mut more = batch(10, &[0; 1 << 20]);
        assert!(!inbox.push_batch(2, &mut more));
        assert_eq!(more.len(), 10);
        assert!(inbox.push_batch(3, &mut batch(3000, b"small")));
        // Whoever was turned away is told when there is room.
        assert_eq!(inbox.take(&mut Vec::new()), [2]);
        assert!(inbox.push_batch(2, &mut more) && more.is_empty());
    }
}
