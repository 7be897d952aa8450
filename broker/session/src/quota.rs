//! The memory that something kept for clients may take on a whole node: messages that wait or were not acknowledged, or
//! sessions with their subscriptions and aliases.
//!
//! The node has one number for it, and each data thread leases from that in chunks: keeping more touches only what belongs
//! to the thread, and no thread is refused while another one has memory that it does not use. What is leased is never
//! more than the node's bound, and what is used never more than what is leased.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a thread leases at a time, and keeps to spare: a node has at most twice as much per thread leased and unused.
const CHUNK_BYTES: usize = 64 << 10;

/// This part of the node's memory is for messages that are being sent: clients that are there go on being served when
/// the queues of those that are not have taken the rest.
const SENDING_PART: usize = 4;

/// The bound of a node. See the [module](self).
#[derive(Debug)]
pub struct Quota {
    bytes_max: usize,
    leased: AtomicUsize,
}

/// What one data thread has of its node's [`Quota`].
///
/// It may be shared between threads, but is made for one: then it costs no more than plain numbers.
#[derive(Debug)]
pub struct QuotaShare {
    quota: Arc<Quota>,
    leased: AtomicUsize,
    used: AtomicUsize,
    /// Nothing is taken that its owner can do without.
    is_tight: AtomicBool,
}

/// What a message is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It waits for an absent or slow client.
    Waiting,
    /// It is sent now and held until it is acknowledged.
    Sending,
}

/// So many bytes more would have to be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short(pub(crate) usize);

impl Quota {
    /// A node that keeps messages of `bytes_max` bytes, three quarters of them for those that wait.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, leased: AtomicUsize::new(0) })
    }

    /// The bytes that its threads have leased: what is used, and a little to spare for each thread.
    pub fn leased(&self) -> usize {
        self.leased.load(Ordering::Relaxed)
    }

    fn bytes_max(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Waiting => self.bytes_max - self.bytes_max / SENDING_PART,
            Purpose::Sending => self.bytes_max,
        }
    }

    /// Leases the bytes that are wanted, as many as are needed at least.
    fn lease(&self, needed: usize, wanted: usize, purpose: Purpose) -> Result<usize, Short> {
        let bytes_max = self.bytes_max(purpose);
        let mut granted = 0;
        let lease = |leased: usize| {
            let room = bytes_max.saturating_sub(leased);
            granted = wanted.min(room);
            (granted >= needed).then_some(leased + granted)
        };
        match self.leased.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lease) {
            Ok(_) => Ok(granted),
            Err(_) => Err(Short(needed - granted)),
        }
    }
}

impl QuotaShare {
    /// A share that has leased nothing yet.
    pub fn new(quota: Arc<Quota>) -> Arc<Self> {
        Arc::new(Self {
            quota,
            leased: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            is_tight: AtomicBool::new(false),
        })
    }

    /// The bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes that are held as long as the answer lives; nothing if they are not free.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        self.reserve(bytes, Purpose::Sending).ok()?;
        Some(Held { share: Arc::clone(self), bytes })
    }

    /// Takes nothing yet.
    pub fn hold_nothing(self: &Arc<Self>) -> Held {
        Held { share: Arc::clone(self), bytes: 0 }
    }

    /// Memory is short, whatever of the quota is free, or is not any more: see [`Held::grow_spare`].
    pub fn set_tight(&self, is_tight: bool) {
        self.is_tight.store(is_tight, Ordering::Relaxed);
    }

    /// Takes bytes for a message, or says how many more would have to be free.
    #[inline]
    pub(crate) fn reserve(&self, bytes: usize, purpose: Purpose) -> Result<(), Short> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let leased = self.leased.load(Ordering::Relaxed);
        if used <= leased { Ok(()) } else { self.lease(bytes, used - leased, purpose) }
    }

    #[cold]
    fn lease(&self, bytes: usize, missing: usize, purpose: Purpose) -> Result<(), Short> {
        match self.quota.lease(missing, missing.saturating_add(CHUNK_BYTES), purpose) {
            Ok(granted) => {
                self.leased.fetch_add(granted, Ordering::Relaxed);
                Ok(())
            }
            Err(short) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(short)
            }
        }
    }

    /// Gives bytes back that were reserved.
    #[inline]
    pub(crate) fn release(&self, bytes: usize) {
        let used = self.used.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        if self.leased.load(Ordering::Relaxed) > used + 2 * CHUNK_BYTES {
            self.give_back(used + CHUNK_BYTES);
        }
    }

    #[cold]
    fn give_back(&self, kept: usize) {
        let shrink = |leased: usize| (leased > kept).then_some(kept);
        if let Ok(leased) = self.leased.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shrink) {
            self.quota.leased.fetch_sub(leased - kept, Ordering::Relaxed);
        }
    }
}

/// Bytes of a share that are given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    share: Arc<QuotaShare>,
    bytes: usize,
}

impl Held {
    /// Takes more; false if they are not free.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let is_free = self.share.reserve(bytes, Purpose::Sending).is_ok();
        if is_free {
            self.bytes += bytes;
        }
        is_free
    }

    /// Takes more for what its owner can do without; false while memory is short, or where only that part of the quota
    /// is left which waiting messages leave too: there is nobody to refuse for it.
    pub fn grow_spare(&mut self, bytes: usize) -> bool {
        let is_spare =
            !self.share.is_tight.load(Ordering::Relaxed) && self.share.reserve(bytes, Purpose::Waiting).is_ok();
        if is_spare {
            self.bytes += bytes;
        }
        is_spare
    }

    /// Takes more or gives some back until it is so much; false if that is not free.
    pub fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.shrink(self.bytes - bytes);
        true
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives some back.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.share.release(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.release(self.bytes);
    }
}

impl Drop for QuotaShare {
    fn drop(&mut self) {
        self.quota.leased.fetch_sub(*self.leased.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16 * CHUNK_BYTES;

    #[test]
    fn a_thread_may_use_what_the_others_do_not() {
        let quota = Quota::new(MAX);
        let (one, other) = (QuotaShare::new(Arc::clone(&quota)), QuotaShare::new(Arc::clone(&quota)));
        assert_eq!(one.reserve(MAX, Purpose::Sending), Ok(()));
        assert_eq!(other.reserve(1, Purpose::Sending), Err(Short(1)));
        assert_eq!((other.used(), quota.leased()), (0, MAX));
        one.release(MAX);
        assert_eq!(quota.leased(), CHUNK_BYTES);
        assert_eq!(other.reserve(MAX - CHUNK_BYTES, Purpose::Sending), Ok(()));
    }

    #[test]
    fn what_waits_leaves_room_for_what_is_sent() {
        let quota = Quota::new(MAX);
        let share = QuotaShare::new(Arc::clone(&quota));
        assert_eq!(share.reserve(MAX, Purpose::Waiting), Err(Short(MAX / 4)));
        assert_eq!(share.reserve(MAX / 4 * 3, Purpose::Waiting), Ok(()));
        assert_eq!(share.reserve(MAX / 4, Purpose::Sending), Ok(()));
        assert_eq!(share.reserve(1, Purpose::Sending), Err(Short(1)));
    }

    #[test]
    fn a_share_that_ends_gives_its_lease_back() {
        let quota = Quota::new(MAX);
        let share = QuotaShare::new(Arc::clone(&quota));
        assert_eq!(share.reserve(10, Purpose::Waiting), Ok(()));
        share.release(10);
        drop(share);
        assert_eq!(quota.leased(), 0);
    }

    #[test]
    fn what_is_held_is_free_again_when_it_is_dropped() {
        let share = QuotaShare::new(Quota::new(1000));
        let mut held = share.hold(600).unwrap();
        assert!(share.hold(401).is_none() && held.grow(400) && !held.grow(1));
        held.shrink(300);
        assert_eq!(share.used(), 700);
        drop(held);
        assert_eq!(share.used(), 0);
    }

    #[test]
    fn what_one_can_do_without_leaves_room_and_is_not_taken_while_memory_is_short() {
        let share = QuotaShare::new(Quota::new(1000));
        let mut held = share.hold_nothing();
        assert!(held.grow_spare(750) && !held.grow_spare(1) && held.resize(1000) && !held.resize(1001));
        assert!(held.resize(100) && share.used() == 100);
        share.set_tight(true);
        assert!(!held.grow_spare(1) && held.grow(1));
        share.set_tight(false);
        assert!(held.grow_spare(1) && share.used() == 102);
    }

    #[test]
    fn small_reservations_do_not_touch_what_threads_share() {
        let quota = Quota::new(MAX);
        let share = QuotaShare::new(Arc::clone(&quota));
        assert_eq!(share.reserve(1, Purpose::Waiting), Ok(()));
        let leased = quota.leased();
        for _ in 0..100 {
            assert_eq!(share.reserve(CHUNK_BYTES / 2, Purpose::Waiting), Ok(()));
            share.release(CHUNK_BYTES / 2);
        }
        assert_eq!(quota.leased(), leased);
    }
}
