//! Publishes that were sent to a client and are not acknowledged yet, by packet identifier.
//!
//! Identifiers are given out in a circle, so that those in use lie in a row: an acknowledgement finds its slot by
//! the distance from the oldest one. After a reconnect the same row says what to send again and in which order.

use std::collections::VecDeque;

use fulmar_codec::PacketId;

use crate::kept::Delivery;

/// How many packet identifiers there are.
const IDS: u16 = u16::MAX;

/// An empty row with room for more than this gives its room back.
const IDLE_CAPACITY_MAX: usize = 64;

/// What a slot waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// Nothing: it is done, but an older one is not.
    Nothing,
    PubAck,
    PubRec,
    PubComp,
}

/// A packet identifier in use.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) awaits: Awaits,
    /// What to send again. A session that cannot be resumed has no use for it.
    pub(crate) delivery: Option<Delivery>,
}

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    slots: VecDeque<Slot>,
    /// The identifier of the first slot, less 1.
    base: u16,
    /// How many slots at the end were not sent again on this connection yet.
    unsent: u16,
    /// How many of the others await something: what counts against the client's Receive Maximum.
    open: u16,
    /// The oldest was there at the last look, and nothing became of it since.
    is_oldest_seen: bool,
    /// How many looks in a row it was there before.
    looks: u8,
    /// The bytes of all deliveries that are held.
    bytes: usize,
}

impl InFlight {
    /// Slots in use, those done behind an older one included.
    #[inline]
    pub(crate) fn span(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(crate) fn open(&self) -> u16 {
        self.open
    }

    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.slots.iter().filter_map(|slot| slot.delivery.as_ref())
    }

    /// The identifier of the next slot. There is one as long as the span is below 65,535.
    #[inline]
    pub(crate) fn next_id(&self) -> PacketId {
        self.id_at(self.slots.len())
    }

    /// Uses the next identifier, for a packet that has just been sent.
    #[inline]
    pub(crate) fn push(&mut self, awaits: Awaits, delivery: Option<Delivery>) {
        debug_assert!(self.slots.len() < usize::from(IDS) && self.unsent == 0);
        self.bytes += delivery.as_ref().map_or(0, Delivery::bytes);
        self.slots.push_back(Slot { awaits, delivery });
        self.open += 1;
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut Slot> {
        let index = self.index(id);
        self.slots.get_mut(index).filter(|slot| slot.awaits != Awaits::Nothing)
    }

    /// The client has the message of a slot that [`get_mut`](Self::get_mut) found: now only its PUBCOMP is awaited.
    #[inline]
    pub(crate) fn release(&mut self, id: PacketId) {
        let index = self.index(id);
        let slot = &mut self.slots[index];
        slot.awaits = Awaits::PubComp;
        self.is_oldest_seen &= index != 0;
        self.bytes -= slot.delivery.take().map_or(0, |delivery| delivery.bytes());
    }

    /// Frees the identifier of a slot that [`get_mut`](Self::get_mut) found.
    #[inline]
    pub(crate) fn finish(&mut self, id: PacketId) {
        let index = self.index(id);
        let slot = &mut self.slots[index];
        slot.awaits = Awaits::Nothing;
        self.bytes -= slot.delivery.take().map_or(0, |delivery| delivery.bytes());
        if index < self.slots.len() - usize::from(self.unsent) {
            self.open -= 1;
        }
        while self.slots.front().is_some_and(|slot| slot.awaits == Awaits::Nothing) {
            self.slots.pop_front();
            self.base = (self.base + 1) % IDS;
            self.is_oldest_seen = false;
        }
        self.unsent = self.unsent.min(self.slots.len() as u16);
        if self.slots.is_empty() && self.slots.capacity() > IDLE_CAPACITY_MAX {
            self.slots = VecDeque::new();
        }
    }

    /// The connection is gone: all that is open has to be sent again on the next one.
    pub(crate) fn connection_lost(&mut self) {
        self.unsent = self.slots.len() as u16;
        self.open = 0;
        self.is_oldest_seen = false;
    }

    /// Looks at the oldest that the client could have acknowledged. Tells at how many looks before it was there already,
    /// with nothing done about it since.
    pub(crate) fn look_at_oldest(&mut self, is_excused: bool) -> u8 {
        if self.open == 0 || is_excused {
            self.is_oldest_seen = false;
        }
        self.looks = if self.is_oldest_seen { self.looks.saturating_add(1) } else { 0 };
        self.is_oldest_seen = self.open > 0 && !is_excused;
        self.looks
    }

    /// The oldest slot that has to be sent again.
    pub(crate) fn next_unsent(&mut self) -> Option<(PacketId, &mut Slot)> {
        while self.unsent > 0 {
            let index = self.slots.len() - usize::from(self.unsent);
            if self.slots[index].awaits != Awaits::Nothing {
                return Some((self.id_at(index), &mut self.slots[index]));
            }
            self.unsent -= 1;
        }
        None
    }

    /// The slot of [`next_unsent`](Self::next_unsent) was sent again.
    pub(crate) fn mark_sent(&mut self) {
        self.unsent -= 1;
        self.open += 1;
    }

    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    /// Where the identifier's slot is, if it is in use.
    #[inline]
    fn index(&self, id: PacketId) -> usize {
        let position = id.get() - 1;
        let distance = if position >= self.base { position - self.base } else { position + (IDS - self.base) };
        distance.into()
    }

    #[inline]
    fn id_at(&self, index: usize) -> PacketId {
        let position = (usize::from(self.base) + index) % usize::from(IDS);
        PacketId::new(position as u16 + 1).expect("a position below 65,535 plus 1 is not 0")
    }
}
