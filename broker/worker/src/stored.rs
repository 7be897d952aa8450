//! A session that the store keeps, on the data thread that serves its client: messages from the store go to the client,
//! and what the client says about them goes back to the store.

use crate::client::Flow;
use crate::connections::Role;
use crate::counters::Counters;
use crate::desk::{Subscribing, Waits, outgoing};
use crate::effort::cost;
use crate::ids::{ConnId, SessionId};
use crate::node::Node;
use crate::out::Out;
use crate::rights::{may_deliver, may_read};
use crate::rules::Rules;
use crate::sabotage::sabotaged;
use crate::sessions::{Entry, subscriber, subscription_bytes};
use crate::subscribe::router_options;
use crate::turn::Turn;
use crate::waiting::SUBACKS_PER_CLIENT_MAX;
use crate::window::{Receipt, Waiting, Window};
use crate::worker::Worker;
use fulmar_codec::{Ack as AckPacket, AckKind, PacketId, ReasonCode, SubscribeFilter, TopicLimits, parse_filter};
use fulmar_session::{AckAction, Deliver, Delivered, DropReason, Session, SubscribeAction, Written};
use fulmar_store::{
    Ack, Ask, Claimed, ClientId, Delivery, Epoch, Generation, OwnedSession, Sequence, Subscription, WillFate,
};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// What a session of the store has on the thread of its client, while that is connected.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) client: ClientId,
    /// For which this thread speaks.
    pub(crate) epoch: Epoch,
    pub(crate) generation: Generation,
    /// Messages of QoS 1 and 2 wait for the client in the store. If not, the store has its will only: the session ends with
    /// the connection, and messages come as they come to everybody.
    keeps_queue: bool,
    /// Messages before this may have been sent on an earlier connection.
    sent_until: Sequence,
    window: Window,
    /// What the client has acknowledged and the store was not told yet.
    acks: Vec<(Sequence, Ack)>,
    /// Retained messages on their way into the client's queue.
    pub(crate) retained_asked: usize,
    /// Rights were lost while the client was away: what waits is judged.
    is_judged: bool,
    /// SUBSCRIBEs that wait for the store.
    pub(crate) subscribing: usize,
    /// Somebody else owns the session: what is left here ends without a word to the store.
    pub(crate) is_taken_over: bool,
}

impl Stored {
    pub(crate) fn new(client: ClientId, claimed: &Claimed, outlives_connection: bool) -> Stored {
        Stored {
            client,
            epoch: claimed.epoch,
            generation: claimed.generation,
            keeps_queue: outlives_connection || claimed.present,
            sent_until: claimed.sent_until,
            window: Window::default(),
            acks: Vec::new(),
            retained_asked: 0,
            is_judged: false,
            subscribing: 0,
            is_taken_over: false,
        }
    }

    /// Whether the client's queue is so short that one more retained message may go into it: what is retained waits in its
    /// own store, and not in the queue, where it would take the place of other messages.
    pub(crate) fn takes_retained(&self, session: &Session) -> bool {
        let under_way = self.window.len() + self.retained_asked;
        under_way == 0 || under_way < usize::from(session.window()) / 2
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    pub(crate) fn look_at_oldest(&mut self, is_excused: bool) -> u8 {
        self.window.look_at_oldest(is_excused)
    }

    /// The same, if messages come to the client by the store.
    #[inline]
    pub(crate) fn if_queue(&mut self) -> Option<&mut Stored> {
        if self.keeps_queue { Some(self) } else { None }
    }

    fn take_acks(&mut self) -> Option<(Ask, Vec<(Sequence, Ack)>)> {
        let acks = std::mem::take(&mut self.acks);
        let ask = Ask::Acknowledge { client: self.client.clone(), epoch: self.epoch, acks: acks.clone() };
        (!acks.is_empty()).then_some((ask, acks))
    }

    /// Writes what waits, as far as there is room for it. Whether the store is to be told something.
    #[expect(clippy::too_many_arguments, reason = "the parts of a worker, borrowed one by one")]
    pub(crate) fn drain(
        &mut self,
        (node, rules): (&Node, &Rules),
        session: &mut Session,
        address: IpAddr,
        buffer: &mut Vec<u8>,
        now: Instant,
        turn: &mut Turn,
        counters: &mut Counters,
    ) -> bool {
        let before = self.acks.len();
        // The client may take less at a time than it did on the connection before.
        while !session.is_output_full(buffer)
            && self.window.in_flight() < usize::from(session.window())
            && let Some(waiting) = self.window.next()
        {
            turn.effort.add(1, cost::DELIVERY);
            let start = buffer.len();
            let Waiting { delivery, expires } = waiting;
            let Delivery { sequence, packet_id, qos, retain, subscription_ids, message } = delivery;
            let Some(message) = message else {
                session.write_pubrel(*packet_id, ReasonCode::SUCCESS, buffer);
                counters.wrote(&buffer[start..]);
                self.window.wrote();
                continue;
            };
            let outgoing = outgoing(message, *expires);
            let dup = *sequence < self.sent_until;
            // One that was sent already is sent again even if its time is over: the client may be in the middle of QoS 2.
            let fate = if !dup && outgoing.is_expired(now) {
                Err(DropReason::Expired)
            } else if !dup
                && (!may_deliver(&node.hooks, session, address, &outgoing)
                    || (self.is_judged && !may_read(rules, session, outgoing.topic)))
            {
                counters.dropped_withheld += 1;
                self.acks.extend(self.window.discard());
                continue;
            } else {
                let ids: Vec<u32> = subscription_ids.iter().copied().map(NonZeroU32::get).collect();
                let how = Deliver { qos: *qos, retain: *retain, subscription_ids: &ids, share: None };
                match session.write_numbered(buffer, &outgoing, how, (*packet_id, dup), now) {
                    Written::Sent => Ok(outgoing.payload.len()),
                    Written::TooLarge => Err(DropReason::PacketTooLarge),
                    Written::NotConnected => break,
                }
            };
            match fate {
                Ok(payload_bytes) => {
                    counters.delivery(Delivered::Sent, *qos, payload_bytes);
                    self.window.wrote();
                }
                Err(reason) => {
                    counters.delivery(Delivered::Dropped(reason), *qos, 0);
                    self.acks.extend(self.window.discard());
                }
            }
        }
        self.acks.len() > before
    }
}

impl Worker {
    /// The store gives out messages for a client.
    pub(crate) fn deliver_stored(&mut self, conn: ConnId, epoch: Epoch, deliveries: Vec<Delivery>, now: Instant) {
        let Some(id) = self.client_session(conn) else { return };
        let Some(stored) = self.stored_mut(id).filter(|stored| stored.epoch == epoch) else { return };
        deliveries.into_iter().for_each(|delivery| stored.window.push(delivery, now));
        self.pump(id, now);
    }

    /// An acknowledgement of a client whose session the store keeps. `None`: the session itself deals with it.
    pub(crate) fn acknowledged_stored(
        &mut self,
        conn: ConnId,
        id: SessionId,
        kind: AckKind,
        ack: &AckPacket<'_>,
    ) -> Option<AckAction> {
        let packet_id = ack.packet_id;
        let entry = self.sessions.get_mut(id)?;
        let stored = entry.stored.as_deref_mut().filter(|stored| stored.keeps_queue)?;
        if kind == AckKind::PubRel {
            // One that is not in use is answered at once.
            if !entry.session.has_received(packet_id) {
                return None;
            }
            let (client, epoch) = (stored.client.clone(), stored.epoch);
            self.desk.ask(Ask::Release { client, epoch, packet_id }, Waits::Release { conn, packet_id });
            return Some(AckAction::Nothing);
        }
        let buffer = self.connections.output(conn)?;
        let before = buffer.len();
        let action = match stored.window.handle_receipt(kind, packet_id, ack.reason.is_error()) {
            Receipt::Tell(sequence, ack) => {
                if stored.acks.is_empty() {
                    self.desk.acknowledging.push(id);
                }
                stored.acks.push((sequence, ack));
                if ack == Ack::Received
                    && sabotaged!(self.node, PubrelBeforeCommitted)
                    && let Some(packet_id) = stored.window.received(sequence)
                {
                    entry.session.write_pubrel(packet_id, ReasonCode::SUCCESS, buffer);
                }
                AckAction::Completed
            }
            Receipt::Release(packet_id) => {
                entry.session.write_pubrel(packet_id, ReasonCode::SUCCESS, buffer);
                AckAction::Nothing
            }
            Receipt::Unknown if kind == AckKind::PubRec => {
                entry.session.write_pubrel(packet_id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND, buffer);
                AckAction::Nothing
            }
            Receipt::Nothing | Receipt::Unknown => AckAction::Nothing,
            Receipt::Wrong => AckAction::Close(ReasonCode::PROTOCOL_ERROR),
        };
        self.counters.wrote(&buffer[before..]);
        Some(action)
    }

    /// Tells the store what clients have acknowledged in this turn.
    pub(crate) fn tell_acknowledgements(&mut self) {
        for id in std::mem::take(&mut self.desk.acknowledging) {
            if let Some(conn) = self.sessions.get(id).and_then(|entry| entry.connection) {
                self.tell_acknowledgements_of(id, conn);
            }
        }
    }

    fn tell_acknowledgements_of(&mut self, id: SessionId, conn: ConnId) {
        let Some(stored) = self.stored_mut(id) else { return };
        if let Some((ask, acks)) = stored.take_acks() {
            let (client, epoch) = (stored.client.clone(), stored.epoch);
            self.desk.ask(ask, Waits::Acknowledge { conn, client, epoch, acks });
        }
    }

    /// It is committed that a client has received these messages of QoS 2: they are released.
    pub(crate) fn release_stored(&mut self, conn: ConnId, epoch: Epoch, sequences: impl IntoIterator<Item = Sequence>) {
        let Some(id) = self.client_session(conn) else { return };
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let Some(stored) = entry.stored.as_deref_mut().filter(|stored| stored.epoch == epoch) else { return };
        let Some(buffer) = self.connections.output(conn) else { return };
        let before = buffer.len();
        for packet_id in sequences.into_iter().filter_map(|sequence| stored.window.received(sequence)) {
            entry.session.write_pubrel(packet_id, ReasonCode::SUCCESS, buffer);
        }
        self.counters.wrote(&buffer[before..]);
    }

    /// It is committed that a client has released its own publish: PUBCOMP.
    pub(crate) fn released_stored(&mut self, conn: ConnId, packet_id: PacketId) {
        let Some(id) = self.client_session(conn) else { return };
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let Some(buffer) = self.connections.output(conn) else { return };
        let before = buffer.len();
        entry.session.handle_ack(AckKind::PubRel, &AckPacket::new(packet_id, ReasonCode::SUCCESS), buffer);
        self.counters.wrote(&buffer[before..]);
    }

    /// What the store has told of a session is made use of: live messages come by its subscriptions. `false`: there is no
    /// memory for them.
    pub(crate) fn take_up(&mut self, id: SessionId, stored: Stored, owned: &OwnedSession) -> bool {
        let Some(entry) = self.sessions.get_mut(id) else { return false };
        if !sabotaged!(self.node, RetryMatchedAgain) {
            entry.session.restore_received(owned.received.iter().copied());
        }
        let bytes = owned.subscriptions.iter().map(|(filter, _)| subscription_bytes(filter)).sum();
        if !entry.memory.grow(bytes) {
            self.counters.limit_hits_session_bytes_total += 1;
            return false;
        }
        if stored.keeps_queue {
            self.node.stored.came(subscriber(self.thread, id), stored.client.clone());
        }
        entry.stored = Some(Box::new(stored));
        let (mut joined, mut lost) = (Vec::new(), Vec::new());
        for (filter, subscription) in &owned.subscriptions {
            let Ok(parsed) = parse_filter(filter, TopicLimits::NONE) else { continue };
            let options = subscription.options;
            let requested = SubscribeFilter { filter, options };
            // Rules and limits may have changed while the client was away.
            let is_allowed = self.may_subscribe(id, filter, &parsed);
            let Some(entry) = self.sessions.get_mut(id) else { return false };
            let is_taken = is_allowed
                && matches!(
                    entry.session.handle_subscribe_filter(&requested, &parsed, subscription.id),
                    SubscribeAction::Subscribe { .. }
                );
            if is_taken {
                joined.push((parsed.share, parsed.filter, router_options(options, subscription.id)));
            } else {
                entry.memory.shrink(subscription_bytes(filter));
                lost.push(filter.to_string());
            }
        }
        if !lost.is_empty() {
            self.counters.rights_withdrawn += 1;
            if let Some(stored) = self.stored_mut(id) {
                stored.is_judged = true;
            }
            self.forget_in_store(id, &lost);
        }
        self.sessions.subscriptions += self.sessions.get(id).map_or(0, |entry| entry.session.subscription_count());
        self.turn.effort.add(joined.len(), cost::FILTER);
        if self.join(id, &joined) {
            self.interest_changed();
        }
        true
    }

    /// A SUBSCRIBE goes through the store. A client that has many under way is not read on until it has the answers.
    pub(crate) fn subscribe_in_store(
        &mut self,
        id: SessionId,
        subscribing: Subscribing,
        subscriptions: Vec<(Arc<str>, Subscription)>,
        out: &mut impl Out,
    ) -> Flow {
        let conn = subscribing.conn;
        let Some(stored) = self.stored_mut(id) else { return Flow::Closed };
        stored.subscribing += 1;
        let is_much = stored.subscribing >= SUBACKS_PER_CLIENT_MAX;
        let (client, epoch) = (stored.client.clone(), stored.epoch);
        let ask = Ask::Subscribe { client, epoch, subscriptions };
        self.desk.ask(ask, Waits::Subscribe(Box::new(subscribing)));
        if !is_much {
            return Flow::Go;
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.awaits_subacks = true;
        }
        self.pause(conn, out)
    }

    /// A SUBSCRIBE has come back from the store.
    pub(crate) fn heard_of_subscribe(&mut self, conn: ConnId, id: SessionId, now: Instant, out: &mut impl Out) {
        let is_all = self.stored_mut(id).is_some_and(|stored| stored.subscribing == 0);
        if is_all && !self.waiting.has(conn) {
            let connection = self.connections.get_mut(conn);
            if connection.is_some_and(|connection| std::mem::take(&mut connection.awaits_subacks)) {
                self.resume(conn, id, now, out);
            }
        }
    }

    pub(crate) fn unsubscribe_in_store(
        &mut self,
        conn: ConnId,
        id: SessionId,
        filters: Vec<Arc<str>>,
        packet: Vec<u8>,
    ) {
        let Some(stored) = self.stored_mut(id) else { return };
        let (client, epoch) = (stored.client.clone(), stored.epoch);
        self.desk.ask(Ask::Unsubscribe { client, epoch, filters }, Waits::Unsubscribe { conn, packet });
    }

    /// A session ends for good, wherever it is kept.
    pub(crate) fn end_in_store(&mut self, id: SessionId) {
        let Some(stored) = self.stored_mut(id) else { return };
        let ask = Ask::End { client: stored.client.clone(), generation: stored.generation };
        self.do_in_store(ask);
    }

    /// A session has lost subscriptions.
    pub(crate) fn forget_in_store(&mut self, id: SessionId, filters: &[String]) {
        let Some(stored) = self.stored_mut(id) else { return };
        let filters = filters.iter().map(|filter| filter.as_str().into()).collect();
        let ask = Ask::Unsubscribe { client: stored.client.clone(), epoch: stored.epoch, filters };
        self.do_in_store(ask);
    }

    /// The client of a session that the store keeps has gone: the store is told, and here nothing is left.
    /// `says_goodbye`: its connection ends when the store has that.
    pub(crate) fn leave_stored(&mut self, id: SessionId, conn: ConnId, will: WillFate, says_goodbye: bool) {
        self.tell_acknowledgements_of(id, conn);
        self.ask_all_put_off(id);
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let Some(stored) = entry.stored.as_deref() else { return };
        let (client, epoch) = (stored.client.clone(), stored.epoch);
        let expiry_seconds = Some(entry.session.expiry_seconds());
        if !stored.is_taken_over {
            let ask = Ask::Disconnect { client, epoch, expiry_seconds, will };
            let waits = if says_goodbye { Waits::Left { conn, ask: ask.clone() } } else { Waits::Done(ask.clone()) };
            self.desk.ask(ask, waits);
        }
        self.node.stored.left(subscriber(self.thread, id));
    }

    pub(crate) fn client_session(&self, conn: ConnId) -> Option<SessionId> {
        match self.connections.get(conn)?.role {
            Role::Client(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn stored_mut(&mut self, id: SessionId) -> Option<&mut Stored> {
        self.sessions.get_mut(id)?.stored.as_deref_mut()
    }
}

impl Entry {
    /// What there is of the session here, if messages of QoS 1 and 2 come to it by the store.
    #[inline]
    pub(crate) fn queue(&self) -> Option<&Stored> {
        self.stored.as_deref().filter(|stored| stored.keeps_queue)
    }

    /// Whether messages of QoS 1 and 2 come to the session by the store.
    #[inline]
    pub(crate) fn is_stored(&self) -> bool {
        self.queue().is_some()
    }
}
