//! Messages to the client: what is sent at once, what waits, what is dropped, and what is sent again after a reconnect.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Instant;

use fulmar_codec::{Ack, AckKind, PacketId, PublishHead, QoS, ReasonCode, Version, encode_ack, encode_publish};

use super::naming::{Aliases, fits, name_topic, note_written};
use super::{AckAction, Session};
use crate::in_flight::{Awaits, InFlight};
use crate::kept::{Delivery, SharedMessage};
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::message::{Message, Outgoing};
use crate::outbound_aliases::OutboundAliases;
use crate::quota::{Purpose, QuotaShare, Short};

/// How this client gets a message: what its subscriptions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// The highest quality of service of the subscriptions; that of the message may be lower.
    pub qos: QoS,
    /// The retain flag for this client.
    pub retain: bool,
    /// The identifiers of the subscriptions that matched.
    pub subscription_ids: &'a [u32],
    /// The shared subscription that the client gets it for, by a number of the caller's. The message is held until it is
    /// acknowledged, even if the session ends with its connection: see [`Session::owed`].
    pub share: Option<NonZeroU32>,
}

/// What became of a message for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It is in the output buffer.
    Sent,
    /// It waits.
    Queued {
        /// How many older messages gave way because the mailbox was full.
        evicted: usize,
        /// How many older messages gave way because the node has no more memory for messages.
        evicted_by_node: usize,
    },
    /// The client does not get it.
    Dropped(DropReason),
}

/// Why a client does not get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Its time is over.
    Expired,
    /// The client does not take packets of that size (MQTT 5.0, 3.1.2.11.4).
    PacketTooLarge,
    /// QoS 0, and the client is slow: too many bytes are unsent.
    OutputFull,
    /// The mailbox has no room for a message of that size.
    QueueFull,
    /// The node has no more memory for messages that are kept.
    NodeFull,
    /// The client is absent, and the message is of QoS 0 or the session does not last.
    NotConnected,
}

/// What [`Session::drain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Messages of QoS 1 and 2 put into the output buffer, those sent again included.
    pub sent: usize,
    /// The bytes of their payloads.
    pub payload_bytes: usize,
    /// Messages dropped because their time was over.
    pub expired: usize,
    /// Messages dropped because the client does not take packets of that size.
    pub too_large: usize,
}

/// The messages of QoS 1 and 2 on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    in_flight: InFlight,
    mailbox: Option<Box<Mailbox>>,
    pub(super) aliases: Aliases,
}

/// How far acknowledgements may come out of order: identifiers in use, in multiples of those that may be open.
const SPAN_PER_WINDOW: usize = 16;

/// The most identifiers that there are.
const SPAN_MAX: usize = 65_535;

impl Session {
    /// A message for the client. What is sent at once is copied into the output buffer and nowhere else, unless the
    /// session can be resumed and may have to send it again.
    #[inline]
    pub fn deliver(
        &mut self,
        out: &mut Vec<u8>,
        outgoing: &Outgoing<'_>,
        how: Deliver<'_>,
        now: Instant,
        shared: &mut SharedMessage<'_>,
    ) -> Delivered {
        let Deliver { qos, retain, subscription_ids, share } = how;
        let qos = qos.min(outgoing.qos);
        if outgoing.is_expired(now) {
            return Delivered::Dropped(DropReason::Expired);
        }
        let Some(connection) = self.connection else {
            if qos == QoS::AtMostOnce || !self.outlives_connection() {
                return Delivered::Dropped(DropReason::NotConnected);
            }
            return self.outbound.queue(outgoing, qos, how, shared, &self.limits);
        };
        let message_expiry = outgoing.expiry_seconds_left(now);
        let mut head = PublishHead { qos, retain, message_expiry, subscription_ids, ..PublishHead::default() };
        let output_full = out.len() >= self.limits.output_bytes_max;
        if qos == QoS::AtMostOnce {
            if output_full {
                return Delivered::Dropped(DropReason::OutputFull);
            }
        } else {
            head.packet_id = Some(self.outbound.in_flight.next_id());
        }
        let (topic, alias) = name_topic(&mut self.outbound.aliases, outgoing.topic);
        head.topic_alias = alias;
        if !fits(connection.packet_bytes_max, self.version, &mut head, topic, outgoing) {
            return Delivered::Dropped(DropReason::PacketTooLarge);
        }
        if qos != QoS::AtMostOnce {
            if output_full || !self.outbound.may_send_new(connection.window, &self.limits) {
                return self.outbound.queue(outgoing, qos, how, shared, &self.limits);
            }
            let is_lasting = self.outlives_connection();
            let held = share.is_some() || is_lasting;
            let delivery = match held.then(|| build_delivery(outgoing, qos, how, shared, Purpose::Sending)).transpose()
            {
                Ok(delivery) => delivery,
                Err(_) if is_lasting => return Delivered::Dropped(DropReason::NodeFull),
                // It is sent; only nobody else gets it should this client fail.
                Err(_) => None,
            };
            self.outbound.in_flight.push(awaits_first(qos), delivery);
        }
        encode_publish(out, self.version, &head, topic, &outgoing.forward, outgoing.payload);
        note_written(&mut self.outbound.aliases, topic, head.topic_alias);
        Delivered::Sent
    }

    /// Sends what was open when the last connection was lost, then what waits, as far as the client's Receive Maximum
    /// and the output buffer allow. To be called when either has room again.
    #[inline]
    pub fn drain(&mut self, now: Instant, out: &mut Vec<u8>) -> Drained {
        if !self.outbound.in_flight.has_unsent()
            && self.outbound.mailbox.as_ref().is_none_or(|mailbox| mailbox.len() == 0)
        {
            return Drained::default();
        }
        self.drain_waiting(now, out)
    }

    fn drain_waiting(&mut self, now: Instant, out: &mut Vec<u8>) -> Drained {
        let mut drained = Drained::default();
        if self.connection.is_some() {
            self.send_again(now, out, &mut drained);
            self.send_queued(now, out, &mut drained);
        }
        drained
    }

    /// How many messages wait for the client.
    pub fn queued_messages(&self) -> usize {
        self.outbound.mailbox.as_ref().map_or(0, |mailbox| mailbox.len())
    }

    /// The bytes of the messages that wait for the client.
    pub fn queued_bytes(&self) -> usize {
        self.outbound.mailbox.as_ref().map_or(0, |mailbox| mailbox.bytes())
    }

    /// How many publishes are open with the client.
    pub fn in_flight(&self) -> usize {
        self.outbound.in_flight.open().into()
    }

    /// Looks at the oldest delivery that is open with the client, and tells at how many looks before it was there already.
    /// `is_excused`: the client may have acknowledged it where nobody listened, and all begins anew.
    pub fn look_at_oldest_delivery(&mut self, is_excused: bool) -> u8 {
        self.outbound.in_flight.look_at_oldest(is_excused)
    }

    /// What another member of a shared subscription should get now that this session ends, the oldest first: messages
    /// that wait, and those of QoS 1 that were not acknowledged. One of QoS 2 that was sent goes to nobody else
    /// (MQTT 5.0, 4.8.2).
    pub fn owed(&self) -> impl Iterator<Item = (NonZeroU32, &Message)> {
        let Outbound { in_flight, mailbox, aliases: _ } = &self.outbound;
        let sent = in_flight.deliveries().filter(|delivery| delivery.qos == QoS::AtLeastOnce);
        let queued = mailbox.iter().flat_map(|mailbox| mailbox.iter());
        sent.chain(queued).filter_map(|delivery| Some((delivery.share?, delivery.message())))
    }

    /// In the original order, with the original identifiers (MQTT 5.0, 4.4 and 4.6).
    fn send_again(&mut self, now: Instant, out: &mut Vec<u8>, drained: &mut Drained) {
        let Some(connection) = self.connection else { return };
        let Outbound { in_flight, mailbox: _, aliases } = &mut self.outbound;
        // Room first: looking for the next one passes by those that are done.
        while in_flight.open() < connection.window && out.len() < self.limits.output_bytes_max {
            let Some((packet_id, slot)) = in_flight.next_unsent() else { return };
            let delivery = if slot.awaits == Awaits::PubComp { None } else { slot.delivery.as_ref() };
            if let Some(delivery) = delivery {
                let outgoing = delivery.message().view();
                // It is sent even if its time is over: the client may be in the middle of QoS 2.
                let Outgoing { forward, payload, .. } = outgoing;
                let (topic, topic_alias) = name_topic(aliases, outgoing.topic);
                let mut head =
                    PublishHead { packet_id: Some(packet_id), topic_alias, dup: true, ..delivery.head(&outgoing, now) };
                if fits(connection.packet_bytes_max, self.version, &mut head, topic, &outgoing) {
                    encode_publish(out, self.version, &head, topic, &forward, payload);
                    note_written(aliases, topic, head.topic_alias);
                    drained.sent += 1;
                    drained.payload_bytes += payload.len();
                    in_flight.mark_sent();
                    continue;
                }
                // Too large for this connection: we behave as if it had been sent (MQTT 5.0, 3.1.2.11.4).
                drained.too_large += 1;
                if slot.awaits == Awaits::PubAck {
                    in_flight.finish(packet_id);
                    continue;
                }
                in_flight.release(packet_id);
            }
            encode_ack(out, self.version, AckKind::PubRel, &Ack::new(packet_id, ReasonCode::SUCCESS));
            in_flight.mark_sent();
        }
    }

    fn send_queued(&mut self, now: Instant, out: &mut Vec<u8>, drained: &mut Drained) {
        let Some(connection) = self.connection else { return };
        let keep_all = self.outlives_connection();
        let Outbound { in_flight, mailbox, aliases } = &mut self.outbound;
        let Some(mailbox) = mailbox else { return };
        while out.len() < self.limits.output_bytes_max && has_room(in_flight, connection.window, &self.limits) {
            let Some(delivery) = mailbox.pop_front() else { return };
            let outgoing = delivery.message().view();
            if outgoing.is_expired(now) {
                drained.expired += 1;
                continue;
            }
            let Outgoing { forward, payload, .. } = outgoing;
            let (topic, topic_alias) = name_topic(aliases, outgoing.topic);
            let packet_id = Some(in_flight.next_id());
            let mut head = PublishHead { packet_id, topic_alias, ..delivery.head(&outgoing, now) };
            if !fits(connection.packet_bytes_max, self.version, &mut head, topic, &outgoing) {
                drained.too_large += 1;
                continue;
            }
            encode_publish(out, self.version, &head, topic, &forward, payload);
            note_written(aliases, topic, head.topic_alias);
            drained.sent += 1;
            drained.payload_bytes += payload.len();
            let awaits = awaits_first(delivery.qos);
            let held = keep_all || delivery.share.is_some();
            in_flight.push(awaits, held.then_some(delivery));
        }
    }

    /// PUBACK, PUBREC or PUBCOMP.
    #[inline]
    pub(super) fn handle_receipt(&mut self, kind: AckKind, ack: &Ack<'_>, out: &mut Vec<u8>) -> AckAction {
        let Ack { packet_id, reason, .. } = *ack;
        let in_flight = &mut self.outbound.in_flight;
        let Some(slot) = in_flight.get_mut(packet_id) else {
            return answer_unknown(kind, packet_id, self.version, out);
        };
        match (slot.awaits, kind) {
            (Awaits::PubAck, AckKind::PubAck) | (Awaits::PubComp, AckKind::PubComp) => in_flight.finish(packet_id),
            // The client refuses the message: that is the end of it (MQTT 5.0, 4.3.3).
            (Awaits::PubRec | Awaits::PubComp, AckKind::PubRec) if reason.is_error() => in_flight.finish(packet_id),
            // The second time after a reconnect, if our PUBREL was lost.
            (Awaits::PubRec | Awaits::PubComp, AckKind::PubRec) => {
                in_flight.release(packet_id);
                encode_ack(out, self.version, AckKind::PubRel, &Ack::new(packet_id, ReasonCode::SUCCESS));
                return AckAction::Nothing;
            }
            // An acknowledgement of another quality of service than that of the message.
            _ => return AckAction::Close(ReasonCode::PROTOCOL_ERROR),
        }
        AckAction::Completed
    }
}

impl Outbound {
    /// `aliases_max`: how many topic aliases the client keeps and we use, as far as there is memory for them.
    pub(super) fn connected(&mut self, aliases_max: u16, memory: &Arc<QuotaShare>) {
        let aliases = |max| Box::new(OutboundAliases::new(max, memory.hold_nothing()));
        self.aliases = NonZeroU16::new(aliases_max).map(aliases);
    }

    /// What the aliases take that we have set.
    pub(super) fn alias_bytes(&self) -> usize {
        self.aliases.as_ref().map_or(0, |aliases| aliases.bytes())
    }

    pub(super) fn connection_lost(&mut self) {
        // They end with the connection (MQTT 5.0, 3.3.2.3.4).
        self.aliases = None;
        self.in_flight.connection_lost();
        if self.mailbox.as_ref().is_some_and(|mailbox| mailbox.len() == 0) {
            self.mailbox = None;
        }
    }

    /// Whether a message may be sent that did not wait: nothing is before it.
    #[inline]
    fn may_send_new(&self, window: u16, limits: &Limits) -> bool {
        self.mailbox.as_ref().is_none_or(|mailbox| mailbox.len() == 0) && has_room(&self.in_flight, window, limits)
    }

    #[cold]
    fn queue(
        &mut self,
        outgoing: &Outgoing<'_>,
        qos: QoS,
        how: Deliver<'_>,
        shared: &mut SharedMessage<'_>,
        limits: &Limits,
    ) -> Delivered {
        if !Mailbox::can_hold(Delivery::bytes_of(outgoing, how.subscription_ids), limits) {
            return Delivered::Dropped(DropReason::QueueFull);
        }
        let mailbox = self.mailbox.get_or_insert_default();
        let mut evicted_by_node = 0;
        let delivery = match build_delivery(outgoing, qos, how, shared, Purpose::Waiting) {
            Ok(delivery) => delivery,
            Err(short) => {
                evicted_by_node = mailbox.give_way(short);
                let again = (evicted_by_node > 0).then(|| build_delivery(outgoing, qos, how, shared, Purpose::Waiting));
                // What was given back may have gone to another thread meanwhile.
                let Some(Ok(delivery)) = again else { return Delivered::Dropped(DropReason::NodeFull) };
                delivery
            }
        };
        let evicted = mailbox.push(delivery, limits);
        Delivered::Queued { evicted, evicted_by_node }
    }
}

#[inline]
fn has_room(in_flight: &InFlight, window: u16, limits: &Limits) -> bool {
    let span_max = SPAN_MAX.min(usize::from(limits.outbound_inflight_max.get()) * SPAN_PER_WINDOW);
    // What is held for a client until it acknowledges counts like what waits for it.
    let is_small = in_flight.bytes() < limits.queued_bytes_max;
    !in_flight.has_unsent() && in_flight.open() < window && in_flight.span() < span_max && is_small
}

fn build_delivery(
    outgoing: &Outgoing<'_>,
    qos: QoS,
    how: Deliver<'_>,
    shared: &mut SharedMessage<'_>,
    purpose: Purpose,
) -> Result<Delivery, Short> {
    let Deliver { qos: _, retain, subscription_ids, share } = how;
    Delivery::new(outgoing, (qos, retain, share), subscription_ids, shared, purpose)
}

#[inline]
fn awaits_first(qos: QoS) -> Awaits {
    match qos {
        QoS::ExactlyOnce => Awaits::PubRec,
        QoS::AtLeastOnce | QoS::AtMostOnce => Awaits::PubAck,
    }
}

/// The identifier is not in use: after a reconnect that is no fault (MQTT 5.0, 4.3.3).
#[cold]
fn answer_unknown(kind: AckKind, packet_id: PacketId, version: Version, out: &mut Vec<u8>) -> AckAction {
    if kind == AckKind::PubRec {
        let ack = Ack::new(packet_id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
        encode_ack(out, version, AckKind::PubRel, &ack);
    }
    AckAction::Nothing
}

#[cfg(test)]
mod tests {
    use fulmar_codec::{Connect, ForwardProperties};

    use super::*;
    use crate::{Identity, Policy, Quota, admit};

    #[test]
    fn the_topics_of_aliases_take_memory_while_there_is_a_connection_that_has_them() {
        let (limits, now) = (Arc::new(Limits::default()), Instant::now());
        let share = QuotaShare::new(Quota::new(usize::MAX));
        let mut session = Session::new("meter".into(), Identity::Anonymous, Arc::clone(&limits));
        let (topic, forward) = ("fleet/meter/power", ForwardProperties::EMPTY);
        let outgoing =
            Outgoing { topic, qos: QoS::AtMostOnce, retain: false, forward, payload: b"21.5", expires: None };
        for topic_alias_max in [9, 0] {
            let connect = Connect { topic_alias_max, session_expiry: 60, ..Connect::new(Version::V5, "meter") };
            let policy = Policy { allow_anonymous: true, limits: &limits, authentication: None };
            let admitted = admit(&connect, policy, Identity::Anonymous, || "assigned".into()).unwrap();
            let mut out = Vec::new();
            session.attach(admitted, false, &share, now, &mut out);
            let how = Deliver { qos: QoS::AtMostOnce, retain: false, subscription_ids: &[], share: None };
            session.deliver(&mut out, &outgoing, how, now, &mut SharedMessage::new(&share, &mut Vec::new()));
            assert_eq!(session.outbound.aliases.is_some(), topic_alias_max > 0);
            assert_eq!(
                (session.alias_bytes() > topic.len(), share.used()),
                (topic_alias_max > 0, session.alias_bytes())
            );
            session.connection_lost(now);
            assert!(session.outbound.aliases.is_none() && share.used() == 0);
        }
    }
}
