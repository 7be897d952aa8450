//! What has arrived for the store's thread, bounded for each peer and channel.
//!
//! A reader whose letters do not fit waits until the thread has taken some, and its peer with it: nothing is dropped
//! here. Control letters are taken first and have room of their own, so that bulk never holds them up.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fulmar_cluster::letters::Channel;
use fulmar_store::Node;
use tokio::sync::Notify;

/// Bytes of letters of one peer that may wait; a letter that is larger passes alone.
const CONTROL_BYTES_MAX: usize = 8 << 20;
const BULK_BYTES_MAX: usize = 24 << 20;
/// What each letter takes besides its bytes.
const EACH_BYTES: usize = size_of::<Item>();
/// New connections of one peer that may wait to be told of. One more takes the place of all that waits of that peer.
const RESETS_MAX: usize = 16;

/// Something for the store's thread. What is said of one channel of one node comes in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A new outgoing connection stands: whatever was sent before may or may not have come.
    Connected { to: Node, channel: Channel },
    /// It does not stand any more: what is sent now is lost, until the next one does.
    Lost { to: Node, channel: Channel },
    /// A new incoming connection: letters may have been lost before.
    Reset { from: Node, channel: Channel },
    /// It is closed: no letters come until the next `Reset`.
    Ended { from: Node, channel: Channel },
    /// A letter.
    Letter { from: Node, channel: Channel, bytes: Vec<u8> },
}

/// See the [module](self).
pub(crate) struct ArrivalQueue {
    queues: Mutex<Queues>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Queues {
    /// By channel.
    items: [VecDeque<Item>; Channel::ALL.len()],
    sources: BTreeMap<(u64, Channel), Source>,
    next: u64,
}

#[derive(Debug)]
struct Item {
    arrival: Arrival,
    /// Counted against its source.
    weight: usize,
}

/// Where letters of one channel of one node come from.
#[derive(Debug, Default)]
struct Source {
    /// The connection that is; none other may say anything. Its reader waits for room here.
    connection: Option<(u64, Arc<Notify>)>,
    /// Of all its letters that wait.
    bytes: usize,
    /// Of all connections that wait to be told of.
    resets: usize,
}

/// The right of one connection to bring letters, until the next one comes. To be dropped when it is closed.
#[derive(Debug)]
pub(super) struct Delivery {
    queue: Arc<ArrivalQueue>,
    from: Node,
    channel: Channel,
    connection: u64,
    room: Arc<Notify>,
}

/// A newer connection of the same node for the same channel has come.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a newer connection took its place")]
pub(super) struct Replaced;

impl ArrivalQueue {
    /// `wake` is called whenever there is something after there was nothing, by any thread, without a lock held.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> ArrivalQueue {
        ArrivalQueue { queues: Mutex::default(), wake: Box::new(wake) }
    }

    /// Moves all that is there of control to `arrivals`, then bulk up to about so many bytes, one letter at least.
    /// Whether more is left; nobody is woken for that.
    pub(crate) fn take(&self, bulk_bytes_max: usize, arrivals: &mut Vec<Arrival>) -> bool {
        let mut queues = self.lock();
        for (channel, bytes_max) in [(Channel::Control, usize::MAX), (Channel::Bulk, bulk_bytes_max.max(1))] {
            let mut bytes = 0;
            while bytes < bytes_max
                && let Some(Item { arrival, weight }) = queues.items[channel.index()].pop_front()
            {
                bytes += weight;
                queues.give_room(&arrival, weight);
                arrivals.push(arrival);
            }
        }
        !queues.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().sources.values().map(|source| source.bytes).sum()
    }

    /// The outgoing connection to a node changed: the old one is lost, the new one stands.
    pub(super) fn change_outgoing(&self, channel: Channel, lost: Option<Node>, connected: Option<Node>) {
        let lost = lost.map(|to| Arrival::Lost { to, channel });
        let connected = connected.map(|to| Arrival::Connected { to, channel });
        // There are no more of them than the back-off of our own dialling allows.
        self.change(|queues| {
            queues.items[channel.index()].extend(lost.into_iter().chain(connected).map(Item::light));
        });
    }

    /// A new connection will bring letters: what an older one still has is not taken from now on.
    pub(super) fn begin(self: &Arc<Self>, from: Node, channel: Channel) -> Delivery {
        let room = Arc::new(Notify::new());
        let connection = self.change(|queues| queues.begin(from, channel, room.clone()));
        Delivery { queue: self.clone(), from, channel, connection, room }
    }

    /// Whoever waits for something is woken if this brings the first.
    fn change<T>(&self, change: impl FnOnce(&mut Queues) -> T) -> T {
        let mut queues = self.lock();
        let was_empty = queues.is_empty();
        let result = change(&mut queues);
        let is_news = was_empty && !queues.is_empty();
        drop(queues);
        if is_news {
            (self.wake)();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // What it guards is whole after every change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ArrivalQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrivalQueue").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.items.iter().all(VecDeque::is_empty)
    }

    fn begin(&mut self, from: Node, channel: Channel, room: Arc<Notify>) -> u64 {
        self.next += 1;
        let source = self.sources.entry((from.id, channel)).or_default();
        if let Some((_, room)) = source.connection.replace((self.next, room)) {
            // Its reader is to learn that it waits in vain.
            room.notify_one();
        }
        let items = &mut self.items[channel.index()];
        if source.resets >= RESETS_MAX {
            // Letters may have been lost before a connection: now these are.
            items.retain(|item| item.arrival.source() != Some((from.id, channel)));
            (source.bytes, source.resets) = (0, 0);
        }
        source.bytes += EACH_BYTES;
        source.resets += 1;
        items.push_back(Item { arrival: Arrival::Reset { from, channel }, weight: EACH_BYTES });
        self.next
    }

    /// Takes letters from the front as far as there is room.
    fn push(&mut self, delivery: &Delivery, letters: &mut VecDeque<Vec<u8>>) -> Result<(), Replaced> {
        let Delivery { from, channel, connection, .. } = *delivery;
        let source = self.sources.get_mut(&(from.id, channel)).ok_or(Replaced)?;
        if source.connection.as_ref().is_none_or(|(current, _)| *current != connection) {
            return Err(Replaced);
        }
        let bytes_max = bytes_max(channel);
        while let Some(letter) = letters.front() {
            let weight = letter.len() + EACH_BYTES;
            // What alone is too much must pass, too.
            if source.bytes + weight > bytes_max && source.bytes > 0 {
                return Ok(());
            }
            source.bytes += weight;
            let arrival = letters.pop_front().map(|bytes| Arrival::Letter { from, channel, bytes });
            self.items[channel.index()].extend(arrival.map(|arrival| Item { arrival, weight }));
        }
        Ok(())
    }

    fn end(&mut self, delivery: &Delivery) {
        let Delivery { from, channel, connection, .. } = *delivery;
        let Some(source) = self.sources.get_mut(&(from.id, channel)) else { return };
        if source.connection.take_if(|(current, _)| *current == connection).is_some() {
            self.items[channel.index()].push_back(Item::light(Arrival::Ended { from, channel }));
        }
    }

    /// Something was taken. A source of which nothing is left is forgotten.
    fn give_room(&mut self, arrival: &Arrival, weight: usize) {
        let Some(key) = arrival.source() else { return };
        let Some(source) = self.sources.get_mut(&key) else { return };
        source.bytes -= weight;
        source.resets -= usize::from(matches!(arrival, Arrival::Reset { .. }));
        match &source.connection {
            Some((_, room)) => room.notify_one(),
            None if source.bytes == 0 => {
                self.sources.remove(&key);
            }
            None => {}
        }
    }
}

impl Item {
    /// There is at most one for each that has weight, or for each connection of our own.
    fn light(arrival: Arrival) -> Item {
        Item { arrival, weight: 0 }
    }
}

impl Arrival {
    /// Whose room it takes.
    fn source(&self) -> Option<(u64, Channel)> {
        match self {
            Arrival::Reset { from, channel } | Arrival::Ended { from, channel } => Some((from.id, *channel)),
            Arrival::Letter { from, channel, .. } => Some((from.id, *channel)),
            Arrival::Connected { .. } | Arrival::Lost { .. } => None,
        }
    }
}

impl Delivery {
    /// Brings all of them in order, and waits for room.
    pub(super) async fn bring(&self, letters: &mut VecDeque<Vec<u8>>) -> Result<(), Replaced> {
        loop {
            self.queue.change(|queues| queues.push(self, letters))?;
            if letters.is_empty() {
                return Ok(());
            }
            self.room.notified().await;
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.queue.change(|queues| queues.end(self));
    }
}

const fn bytes_max(channel: Channel) -> usize {
    match channel {
        Channel::Control => CONTROL_BYTES_MAX,
        Channel::Bulk => BULK_BYTES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const A: Node = Node { id: 1, incarnation: 1 };
    const B: Node = Node { id: 2, incarnation: 1 };

    fn queue() -> (Arc<ArrivalQueue>, Arc<AtomicUsize>) {
        let wakes = Arc::<AtomicUsize>::default();
        let counted = wakes.clone();
        let wake = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Arc::new(ArrivalQueue::new(wake)), wakes)
    }

    fn letter(from: Node, channel: Channel, bytes: &[u8]) -> Arrival {
        Arrival::Letter { from, channel, bytes: bytes.to_vec() }
    }

    fn taken(queue: &ArrivalQueue, bulk_bytes_max: usize) -> (Vec<Arrival>, bool) {
        let mut arrivals = Vec::new();
        let is_more = queue.take(bulk_bytes_max, &mut arrivals);
        (arrivals, is_more)
    }

    /// Brings letters; whether they all fit at once.
    fn brings(delivery: &Delivery, letters: &mut VecDeque<Vec<u8>>) -> bool {
        let waker = std::task::Waker::noop();
        let bring = std::pin::pin!(delivery.bring(letters));
        bring.poll(&mut std::task::Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn letters_come_in_order_and_control_before_bulk() {
        let (queue, wakes) = queue();
        let bulk = queue.begin(A, Channel::Bulk);
        assert!(brings(&bulk, &mut [b"b1".to_vec(), b"b2".to_vec()].into()));
        let control = queue.begin(A, Channel::Control);
        assert!(brings(&control, &mut [b"c1".to_vec()].into()));
        assert_eq!(wakes.load(Ordering::Relaxed), 1, "nobody is woken twice");
        let (first, is_more) = taken(&queue, 1);
        let reset = |channel| Arrival::Reset { from: A, channel };
        assert_eq!(first, [reset(Channel::Control), letter(A, Channel::Control, b"c1"), reset(Channel::Bulk)]);
        assert!(is_more);
        let rest = (vec![letter(A, Channel::Bulk, b"b1"), letter(A, Channel::Bulk, b"b2")], false);
        assert_eq!((taken(&queue, usize::MAX), queue.bytes()), (rest, 0));
        drop(bulk);
        assert_eq!(taken(&queue, 1).0, [Arrival::Ended { from: A, channel: Channel::Bulk }]);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn whoever_brings_too_much_waits_for_room_and_holds_up_nobody_else() {
        let (queue, _) = queue();
        let (bulk, control) = (queue.begin(A, Channel::Bulk), queue.begin(A, Channel::Control));
        let other = queue.begin(B, Channel::Bulk);
        taken(&queue, usize::MAX);
        // What alone is too much passes.
        let mut letters: VecDeque<_> = [vec![0; BULK_BYTES_MAX + 1], b"x".to_vec()].into();
        assert!(!brings(&bulk, &mut letters) && letters.len() == 1);
        assert!(!brings(&bulk, &mut letters) && letters.len() == 1);
        assert!(brings(&control, &mut [b"c".to_vec()].into()) && brings(&other, &mut [b"o".to_vec()].into()));
        assert_eq!(taken(&queue, 1).0.len(), 2);
        assert!(brings(&bulk, &mut letters) && letters.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_waits_goes_on_when_something_is_taken_and_ends_when_it_is_replaced() {
        let (queue, _) = queue();
        let old = queue.begin(A, Channel::Control);
        let full = || VecDeque::from([vec![0; CONTROL_BYTES_MAX], b"x".to_vec()]);
        let mut letters = full();
        taken(&queue, 1);
        let (brought, ()) = tokio::join!(old.bring(&mut letters), async { drop(taken(&queue, 1)) });
        assert_eq!(brought, Ok(()));
        taken(&queue, 1);
        let mut letters = full();
        let (brought, new) = tokio::join!(old.bring(&mut letters), async { queue.begin(A, Channel::Control) });
        assert_eq!(brought, Err(Replaced));
        // The end of the old one is not the end of letters.
        drop(old);
        assert!(brings(&new, &mut VecDeque::new()));
        let (arrivals, _) = taken(&queue, 1);
        assert_eq!(arrivals.len(), 2, "the letter that passed, and the reset");
        assert_eq!(arrivals[1], Arrival::Reset { from: A, channel: Channel::Control });
    }

    #[test]
    fn whoever_begins_anew_too_often_loses_what_waits() {
        let (queue, _) = queue();
        let other = queue.begin(B, Channel::Bulk);
        for number in 0..10 * RESETS_MAX {
            assert!(brings(&queue.begin(A, Channel::Bulk), &mut [vec![number as u8]].into()));
        }
        assert!(queue.bytes() <= (2 * RESETS_MAX + 1) * (EACH_BYTES + 1));
        let (arrivals, _) = taken(&queue, usize::MAX);
        assert!(arrivals.len() <= 3 * RESETS_MAX + 1);
        assert!(arrivals.contains(&Arrival::Reset { from: B, channel: Channel::Bulk }));
        let last = u8::try_from(10 * RESETS_MAX - 1).unwrap();
        assert!(arrivals.contains(&letter(A, Channel::Bulk, &[last])));
        drop(other);
        assert_eq!((taken(&queue, 1).0.len(), queue.lock().sources.len()), (1, 0));
    }

    #[test]
    fn a_new_outgoing_connection_is_told_of_after_the_end_of_the_old_one() {
        let (queue, wakes) = queue();
        let again = Node { incarnation: 2, ..A };
        queue.change_outgoing(Channel::Bulk, Some(A), Some(again));
        let channel = Channel::Bulk;
        let wanted = vec![Arrival::Lost { to: A, channel }, Arrival::Connected { to: again, channel }];
        assert_eq!((taken(&queue, 1), wakes.load(Ordering::Relaxed)), ((wanted, false), 1));
    }
}
