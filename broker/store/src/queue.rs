//! The messages of one session, in order, and which of them may be on their way to the client.
//!
//! The shard does not know what a node has sent. It knows what a node may have sent: the *window*, as many of the
//! oldest messages as the client takes unacknowledged. [`Shard::deliverable`](crate::Shard::deliverable) gives out
//! nothing else, and the window moves with committed entries only, so every replica knows it. What is in it is never
//! dropped or expired: the client may hold its packet identifier, and another message with that identifier would be
//! taken for a duplicate.
//!
//! The packet identifier is 1 + sequence modulo 65,535, and a window never spans more, so that every owner sends the
//! same ones.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};

use fulmar_codec::{PacketId, QoS};

use crate::command::Ack;
use crate::ledger::{Due, Ledger, MessageId, sabotaged};
use crate::names::{ClientId, Sequence};
use crate::reply::AckReply;
use crate::settings::{Bound, QueuePolicy, Settings, Use, cost};
use crate::shares::ShareId;

/// As many identifiers as there are.
pub(crate) const IDS: u64 = 65_535;

/// The packet identifier of a message.
pub(crate) fn packet_id(sequence: Sequence) -> PacketId {
    let number = u16::try_from(sequence % IDS + 1).expect("a remainder by 65,535 plus 1 is at most 65,535");
    PacketId::new(number).expect("a remainder plus 1 is not 0")
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// None: the client has it (PUBREC is committed), and its PUBCOMP is awaited.
    pub(crate) body: Option<MessageId>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Box<[NonZeroU32]>,
    /// The shared subscription as whose member the session got it, while another member may still get it instead.
    pub(crate) share: Option<ShareId>,
}

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    places: BTreeMap<Sequence, Place>,
    /// That of the next message.
    next: Sequence,
    /// Messages before this are in the window.
    window_end: Sequence,
    /// How many those are, and their bytes.
    in_flight: u32,
    in_flight_bytes: u64,
    bytes: u64,
}

impl Queue {
    /// From a snapshot, before its places come.
    pub(crate) fn restored(next: Sequence, window_end: Sequence) -> Self {
        Self { next, window_end, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    pub(crate) fn window_end(&self) -> Sequence {
        self.window_end
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) fn places(&self) -> &BTreeMap<Sequence, Place> {
        &self.places
    }

    pub(crate) fn into_places(self) -> BTreeMap<Sequence, Place> {
        self.places
    }

    /// Appends a message whose body is in the ledger. One that the window has room for goes there, if there is an owner
    /// to send it: `window` is how many it may hold then. Others wait if there is room or the policy makes some. Tells
    /// how many older ones it took.
    pub(crate) fn push(
        &mut self,
        client: &ClientId,
        place: Place,
        window: Option<NonZeroU16>,
        ledger: &mut Ledger,
        settings: &Settings,
    ) -> Result<u32, Bound> {
        let bytes = place.body.map_or(0, |body| ledger.body(body).bytes());
        let goes_out = window.is_some_and(|window| self.has_nothing_waiting() && self.window_takes(self.next, window));
        ledger.has_room(cost::PLACE, settings.shard_bytes_for(if goes_out { Use::Sending } else { Use::Keeping }))?;
        let dropped = if goes_out { 0 } else { self.make_room(client, bytes, ledger, settings)? };
        self.insert(client, self.next, place, ledger);
        self.next += 1;
        if let Some(window) = window {
            self.advance(client, window, ledger);
        }
        Ok(dropped)
    }

    fn has_nothing_waiting(&self) -> bool {
        self.places.len() == self.in_flight as usize
    }

    /// Whether one more fits into the window: there is room, and its identifier is not that of another one in it.
    fn window_takes(&self, sequence: Sequence, window: NonZeroU16) -> bool {
        let oldest = self.places.first_key_value().map_or(sequence, |(oldest, _)| *oldest);
        self.in_flight < u32::from(window.get()) && sequence - oldest < IDS
    }

    /// Puts a message at its place, as it is.
    pub(crate) fn insert(&mut self, client: &ClientId, sequence: Sequence, place: Place, ledger: &mut Ledger) {
        let bytes = place.body.map_or(0, |body| ledger.body(body).bytes());
        self.bytes += bytes;
        ledger.take(cost::PLACE);
        ledger.queued += 1;
        if let Some(body) = place.body {
            ledger.hold(body);
        }
        if let Some(share) = place.share {
            ledger.hold_share(share);
        }
        if sequence < self.window_end {
            self.in_flight += 1;
            self.in_flight_bytes += bytes;
        } else if let Some(expires) = place.body.and_then(|body| ledger.body(body).expires) {
            ledger.add_due(expires, Due::Queued(client.clone(), sequence));
        }
        self.places.insert(sequence, place);
    }

    /// Drops as many of those that wait as must go for one more to wait, or none if that would not do.
    fn make_room(
        &mut self,
        client: &ClientId,
        bytes: u64,
        ledger: &mut Ledger,
        settings: &Settings,
    ) -> Result<u32, Bound> {
        let (messages_max, bytes_max) = (settings.queue_messages_max as usize, settings.queue_bytes_max);
        let (kept, kept_bytes) = match settings.queue_policy {
            QueuePolicy::DropOldest => (0, 0),
            QueuePolicy::Refuse => self.waiting(),
        };
        if kept >= messages_max {
            return Err(Bound::QueueMessages);
        }
        if kept_bytes.saturating_add(bytes) > bytes_max {
            return Err(Bound::QueueBytes);
        }
        let mut dropped = 0;
        while let (waiting, waiting_bytes) = self.waiting()
            && (waiting >= messages_max || waiting_bytes.saturating_add(bytes) > bytes_max)
        {
            let droppable = if sabotaged!(ledger, InFlightDropped) { 0 } else { self.window_end };
            let (&oldest, _) = self.places.range(droppable..).next().expect("without those that wait there is room");
            self.remove(client, oldest, ledger);
            dropped += 1;
        }
        ledger.totals.dropped += u64::from(dropped);
        Ok(dropped)
    }

    /// How many messages are behind the window, and their bytes.
    fn waiting(&self) -> (usize, u64) {
        (self.places.len() - self.in_flight as usize, self.bytes - self.in_flight_bytes)
    }

    /// Takes a message out, wherever it is.
    pub(crate) fn remove(&mut self, client: &ClientId, sequence: Sequence, ledger: &mut Ledger) -> bool {
        let Some(place) = self.places.remove(&sequence) else { return false };
        self.forget(client, sequence, &place, ledger);
        true
    }

    /// Takes all out.
    pub(crate) fn clear(&mut self, client: &ClientId, ledger: &mut Ledger) {
        for (sequence, place) in std::mem::take(&mut self.places) {
            self.forget(client, sequence, &place, ledger);
        }
    }

    fn forget(&mut self, client: &ClientId, sequence: Sequence, place: &Place, ledger: &mut Ledger) {
        let is_in_flight = sequence < self.window_end;
        if !is_in_flight && let Some(expires) = place.body.and_then(|body| ledger.body(body).expires) {
            ledger.remove_due(expires, Due::Queued(client.clone(), sequence));
        }
        self.in_flight -= u32::from(is_in_flight);
        self.let_go(place.body, is_in_flight, ledger);
        if let Some(share) = place.share {
            ledger.let_go_of_share(share);
        }
        ledger.give_back(cost::PLACE);
        ledger.queued -= 1;
    }

    fn let_go(&mut self, body: Option<MessageId>, is_in_flight: bool, ledger: &mut Ledger) {
        let Some(body) = body else { return };
        let bytes = ledger.body(body).bytes();
        self.bytes -= bytes;
        self.in_flight_bytes -= if is_in_flight { bytes } else { 0 };
        ledger.let_go(body);
    }

    /// Lets the window reach as far as the client takes messages.
    pub(crate) fn advance(&mut self, client: &ClientId, window: NonZeroU16, ledger: &mut Ledger) {
        while let Some((&sequence, place)) = self.places.range(self.window_end..).next()
            && self.window_takes(sequence, window)
        {
            let body = ledger.body(place.body.expect("what waits has its body"));
            let bytes = body.bytes();
            if let Some(expires) = body.expires {
                ledger.remove_due(expires, Due::Queued(client.clone(), sequence));
            }
            self.in_flight += 1;
            self.in_flight_bytes += bytes;
            self.window_end = sequence + 1;
        }
    }

    /// What a client acknowledged.
    pub(crate) fn acknowledge(
        &mut self,
        client: &ClientId,
        sequence: Sequence,
        ack: Ack,
        ledger: &mut Ledger,
    ) -> AckReply {
        if sequence >= self.window_end {
            return AckReply::NotSent;
        }
        let Some(place) = self.places.get_mut(&sequence) else { return AckReply::DoneBefore };
        match (ack, place.qos, place.body) {
            (Ack::Received, QoS::ExactlyOnce, Some(body)) => {
                place.body = None;
                if let Some(share) = place.share.take() {
                    ledger.let_go_of_share(share);
                }
                self.let_go(Some(body), true, ledger);
                AckReply::Done
            }
            (Ack::Received, QoS::ExactlyOnce, None) => AckReply::DoneBefore,
            (Ack::Ack, QoS::AtLeastOnce, _) | (Ack::Complete, QoS::ExactlyOnce, None) | (Ack::Discard, ..) => {
                self.remove(client, sequence, ledger);
                AckReply::Done
            }
            _ => AckReply::Unexpected,
        }
    }
}
