//! Messages of a stored session between the store and its client: what came, what was written, what the client has said.
//!
//! The store keeps the queue, gives out what may be in flight, and says under which packet identifier. Here is only what
//! this connection has done about it, and it goes with the connection: whoever serves the client next is given the same
//! messages again under the same identifiers.

use crate::desk::expiry;
use fulmar_codec::{AckKind, PacketId, QoS};
use fulmar_store::{Ack, Delivery, Sequence};
use std::collections::VecDeque;
use std::time::Instant;

/// Packet identifiers that there are.
const IDS: u64 = 65_535;

/// What the store has given out and the client has not done with, in order.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: VecDeque<Slot>,
    /// So many of them, from the front, were written.
    written: usize,
    /// Of these, so many the client has not done with.
    open: usize,
    /// Looks at which the oldest that was written was there already.
    looks: u8,
    looked_at: Option<Sequence>,
}

#[derive(Debug)]
struct Slot {
    sequence: Sequence,
    packet_id: PacketId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It waits for room in the output.
    Waits(Box<Waiting>),
    AwaitsPubAck,
    AwaitsPubRec,
    /// PUBREC came, and is being committed. PUBREL follows.
    Receiving,
    AwaitsPubComp,
    /// The client has done with it.
    Done,
}

/// A message that was not written yet.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) delivery: Delivery,
    /// When nobody wants it any more.
    pub(crate) expires: Option<Instant>,
}

/// What is to be done about an acknowledgement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Receipt {
    /// The store is to be told.
    Tell(Sequence, Ack),
    /// PUBREL is to be written again: the client did not get the last one.
    Release(PacketId),
    /// It is being dealt with, or was.
    Nothing,
    /// The identifier is not in use.
    Unknown,
    /// It is of another quality of service than the message.
    Wrong,
}

impl Window {
    /// The store gives out more.
    pub(crate) fn push(&mut self, delivery: Delivery, now: Instant) {
        debug_assert!(self.slots.back().is_none_or(|last| last.sequence < delivery.sequence), "{delivery:?}");
        let Delivery { sequence, packet_id, .. } = delivery;
        let expires = delivery.message.as_ref().and_then(|message| expiry(message, now));
        let state = State::Waits(Box::new(Waiting { delivery, expires }));
        self.slots.push_back(Slot { sequence, packet_id, state });
    }

    /// The next that was not written.
    pub(crate) fn next(&self) -> Option<&Waiting> {
        match &self.slots.get(self.written)?.state {
            State::Waits(waiting) => Some(waiting),
            _ => None,
        }
    }

    /// The next one was written.
    pub(crate) fn wrote(&mut self) {
        let Some(slot) = self.slots.get_mut(self.written) else { return };
        if let State::Waits(waiting) = &slot.state {
            slot.state = match (&waiting.delivery.message, waiting.delivery.qos) {
                (None, _) => State::AwaitsPubComp,
                (Some(_), QoS::ExactlyOnce) => State::AwaitsPubRec,
                (Some(_), _) => State::AwaitsPubAck,
            };
            self.written += 1;
            self.open += 1;
        }
    }

    /// The next one is never written. Gives what the store is to be told.
    pub(crate) fn discard(&mut self) -> Option<(Sequence, Ack)> {
        let slot = self.slots.get_mut(self.written)?;
        slot.state = State::Done;
        let sequence = slot.sequence;
        self.written += 1;
        self.forget_done();
        Some((sequence, Ack::Discard))
    }

    /// PUBACK, PUBREC or PUBCOMP of the client.
    pub(crate) fn handle_receipt(&mut self, kind: AckKind, packet_id: PacketId, is_error: bool) -> Receipt {
        let Some(slot) = self.slot_mut(packet_id) else { return Receipt::Unknown };
        let sequence = slot.sequence;
        let (ack, next) = match (&slot.state, kind) {
            // What was not written on this connection may have been sent on the last one, and is not acknowledged but
            // there (MQTT 5.0, 4.4).
            (State::Waits(_) | State::Done, _) => return Receipt::Unknown,
            (State::AwaitsPubAck, AckKind::PubAck) if is_error => (Ack::Discard, State::Done),
            (State::AwaitsPubAck, AckKind::PubAck) => (Ack::Ack, State::Done),
            (State::AwaitsPubRec, AckKind::PubRec) if is_error => (Ack::Discard, State::Done),
            (State::AwaitsPubRec, AckKind::PubRec) => (Ack::Received, State::Receiving),
            (State::Receiving, AckKind::PubRec) => return Receipt::Nothing,
            // The client does not know the message any more, or refuses it after all: that is the end of it.
            (State::AwaitsPubComp, AckKind::PubRec) if is_error => (Ack::Discard, State::Done),
            (State::AwaitsPubComp, AckKind::PubRec) => return Receipt::Release(packet_id),
            (State::AwaitsPubComp, AckKind::PubComp) => (Ack::Complete, State::Done),
            _ => return Receipt::Wrong,
        };
        let is_done = matches!(next, State::Done);
        slot.state = next;
        self.open -= usize::from(is_done);
        self.forget_done();
        Receipt::Tell(sequence, ack)
    }

    /// That the client has received a message of QoS 2 is committed: PUBREL is to be written, with this identifier.
    pub(crate) fn received(&mut self, sequence: Sequence) -> Option<PacketId> {
        let at = self.slots.binary_search_by_key(&sequence, |slot| slot.sequence).ok()?;
        let slot = &mut self.slots[at];
        if !matches!(slot.state, State::Receiving) {
            return None;
        }
        slot.state = State::AwaitsPubComp;
        Some(slot.packet_id)
    }

    /// How many were written and are not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.open
    }

    /// How many there are that the client has not done with.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Looks at the oldest that was written, and tells at how many looks before it was there already. `is_excused`: the
    /// client may have acknowledged it where nobody listened, and all begins anew.
    pub(crate) fn look_at_oldest(&mut self, is_excused: bool) -> u8 {
        let oldest = self.slots.front().filter(|_| self.open > 0).map(|slot| slot.sequence);
        if oldest.is_none() || oldest != self.looked_at || is_excused {
            (self.looked_at, self.looks) = (oldest, 0);
            return 0;
        }
        self.looks = self.looks.saturating_add(1);
        self.looks
    }

    fn forget_done(&mut self) {
        while self.slots.front().is_some_and(|slot| matches!(slot.state, State::Done)) {
            self.slots.pop_front();
            self.written -= 1;
        }
        if self.slots.is_empty() && self.slots.capacity() > IDLE_CAPACITY_MAX {
            self.slots = VecDeque::new();
        }
    }

    /// A window never spans all identifiers, so that each stands for one message of it.
    fn slot_mut(&mut self, packet_id: PacketId) -> Option<&mut Slot> {
        let first = self.slots.front()?.sequence;
        let distance = (u64::from(packet_id.get() - 1) + IDS - first % IDS) % IDS;
        let at = self.slots.binary_search_by_key(&(first + distance), |slot| slot.sequence).ok()?;
        self.slots.get_mut(at)
    }
}

/// An empty window with room for more than this gives its room back.
const IDLE_CAPACITY_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_store::Message;

    fn delivery(sequence: Sequence, qos: QoS) -> Delivery {
        let packet_id = PacketId::new((1 + sequence % IDS) as u16).unwrap();
        let message = Some(Message::new("t", qos, &[], b"x"));
        Delivery { sequence, packet_id, qos, retain: false, subscription_ids: Box::new([]), message }
    }

    fn window(first: Sequence, qos: &[QoS]) -> Window {
        let mut window = Window::default();
        (first..).zip(qos).for_each(|(sequence, qos)| window.push(delivery(sequence, *qos), Instant::now()));
        window
    }

    fn id(packet_id: u16) -> PacketId {
        PacketId::new(packet_id).unwrap()
    }

    #[test]
    fn each_quality_of_service_has_its_acknowledgements_and_the_store_hears_of_each_once() {
        use AckKind::{PubAck, PubComp, PubRec};
        let mut window = window(0, &[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]);
        assert_eq!(window.handle_receipt(PubAck, id(1), false), Receipt::Unknown, "it was not written");
        (0..3).for_each(|_| window.wrote());
        assert_eq!((window.next(), window.in_flight(), window.len()), (None, 3, 3));
        let cases = [
            (PubRec, 1, false, Receipt::Wrong),
            (PubAck, 1, false, Receipt::Tell(0, Ack::Ack)),
            (PubAck, 1, false, Receipt::Unknown),
            (PubAck, 2, false, Receipt::Wrong),
            (PubRec, 2, false, Receipt::Tell(1, Ack::Received)),
            (PubRec, 2, false, Receipt::Nothing),
            (PubComp, 2, false, Receipt::Wrong),
            (PubRec, 3, true, Receipt::Tell(2, Ack::Discard)),
            (PubRec, 3, false, Receipt::Unknown),
        ];
        for (kind, packet_id, is_error, wanted) in cases {
            let found = window.handle_receipt(kind, id(packet_id), is_error);
            assert_eq!(found, wanted, "{kind:?} {packet_id} {is_error}");
        }
        assert_eq!([window.received(1), window.received(1), window.received(9)], [Some(id(2)), None, None]);
        assert_eq!(window.handle_receipt(PubRec, id(2), false), Receipt::Release(id(2)));
        assert_eq!(window.handle_receipt(PubComp, id(2), false), Receipt::Tell(1, Ack::Complete));
        assert_eq!((window.in_flight(), window.open, window.len()), (0, 0, 0));
    }

    #[test]
    fn identifiers_come_round() {
        let mut window = window(65_533, &[QoS::AtLeastOnce; 4]);
        (0..4).for_each(|_| window.wrote());
        let told: Vec<_> =
            [2, 65_535, 1, 65_534].map(|it| window.handle_receipt(AckKind::PubAck, id(it), false)).into();
        let wanted = [65_536, 65_534, 65_535, 65_533].map(|sequence| Receipt::Tell(sequence, Ack::Ack));
        assert_eq!(told, wanted);
        assert_eq!(window.handle_receipt(AckKind::PubAck, id(3), false), Receipt::Unknown);
    }

    #[test]
    fn a_message_that_the_client_has_is_only_released() {
        let mut window = Window::default();
        window.push(Delivery { message: None, ..delivery(7, QoS::ExactlyOnce) }, Instant::now());
        window.wrote();
        assert_eq!(window.handle_receipt(AckKind::PubComp, id(8), false), Receipt::Tell(7, Ack::Complete));
    }

    #[test]
    fn the_oldest_is_overdue_when_it_stays_and_nothing_else_is() {
        let mut window = window(0, &[QoS::AtLeastOnce; 2]);
        assert_eq!(window.look_at_oldest(false), 0, "nothing was written");
        (0..2).for_each(|_| window.wrote());
        assert_eq!([false, false, true, false, false].map(|it| window.look_at_oldest(it)), [0, 1, 0, 1, 2]);
        window.handle_receipt(AckKind::PubAck, id(1), false);
        assert_eq!([false, false].map(|it| window.look_at_oldest(it)), [0, 1]);
    }
}
