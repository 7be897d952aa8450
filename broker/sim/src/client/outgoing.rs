//! What a client publishes, until the server has it.

use std::sync::Arc;

use fulmar_codec::{Ack, AckKind, PublishHead, QoS, ReasonCode, encode_publish};

use super::memory::Pending;
use super::{Client, Log, NO_PROPERTIES};
use crate::history::{Event, MessageId};

/// A message that is to be published.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) message: MessageId,
    pub(crate) topic: Arc<str>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) is_empty: bool,
    pub(crate) padding: usize,
}

impl Client {
    /// Publishes, with QoS 1 or 2.
    pub(crate) fn publish(&mut self, outgoing: Outgoing, log: &mut Log<'_>) {
        let Outgoing { message, topic, qos, retain, is_empty, padding } = outgoing;
        let packet_id = self.free_id();
        let (is_repeated, is_received) = (false, false);
        let pending = Pending { packet_id, message, topic, qos, retain, is_empty, padding, is_repeated, is_received };
        self.send(&pending, log);
        self.memory(|memory| memory.pending.push_back(Pending { is_repeated: true, ..pending }));
    }

    /// Whether one more may be under way, of at most so many (MQTT 5.0, 4.9).
    pub(crate) fn may_publish(&self, window: usize) -> bool {
        self.memory(|memory| memory.pending.len()) < window.min(usize::from(self.server_maximum))
    }

    fn send(&mut self, pending: &Pending, log: &mut Log<'_>) {
        let Pending { packet_id, message, topic, qos, retain, is_empty, padding, is_repeated, is_received: _ } =
            pending;
        let head = PublishHead {
            dup: *is_repeated,
            qos: *qos,
            retain: *retain,
            packet_id: Some(*packet_id),
            ..PublishHead::default()
        };
        let mut payload = if *is_empty { String::new() } else { format!("{message} ") };
        if !is_empty {
            payload.extend(std::iter::repeat_n('.', *padding));
        }
        encode_publish(&mut self.out, self.identity.version, &head, topic, &NO_PROPERTIES, payload.as_bytes());
        self.record(
            log,
            Event::PublishSent {
                message: *message,
                topic: topic.clone(),
                qos: *qos,
                retain: *retain,
                is_empty: *is_empty,
                dup: *is_repeated,
            },
        );
    }

    /// A connection begins: what was not acknowledged goes again, in the order in which it went (MQTT 5.0, 4.4, 4.6).
    pub(super) fn resend(&mut self, log: &mut Log<'_>) {
        let all: Vec<Pending> = self.memory(|memory| memory.pending.iter().cloned().collect());
        for pending in &all {
            if pending.is_received {
                self.acknowledge_with(AckKind::PubRel, pending.packet_id, ReasonCode::SUCCESS);
            } else {
                self.send(pending, log);
            }
        }
        self.memory(|memory| memory.pending.iter_mut().for_each(|pending| pending.is_repeated = true));
    }

    /// PUBACK or PUBREC. Both come in the order of the messages (MQTT 5.0, 4.6).
    pub(super) fn acknowledged(&mut self, qos: QoS, ack: &Ack<'_>, log: &mut Log<'_>) {
        let packet_id = ack.packet_id;
        let is_it = |pending: &Pending| pending.qos == qos && !pending.is_received;
        let (found, first) = self.memory(|memory| {
            let first = memory.pending.iter().find(|pending| is_it(pending)).map(|pending| pending.packet_id);
            let at = memory.pending.iter().position(|pending| pending.packet_id == packet_id && is_it(pending));
            let found = at.map(|at| {
                let message = memory.pending[at].message;
                if qos == QoS::ExactlyOnce && !ack.reason.is_error() {
                    memory.pending[at].is_received = true;
                } else {
                    memory.pending.remove(at);
                }
                message
            });
            (found, first)
        });
        let Some(message) = found else {
            return self.wrong(log, format!("an acknowledgement of {packet_id}, which awaits none of {qos:?}"));
        };
        if first != Some(packet_id) {
            self.wrong(log, format!("{message} is acknowledged before an earlier message of {qos:?}"));
        }
        self.record(log, Event::Accepted { message, reason: ack.reason });
        if qos == QoS::ExactlyOnce && !ack.reason.is_error() {
            self.acknowledge_with(AckKind::PubRel, packet_id, ReasonCode::SUCCESS);
        }
    }

    /// PUBCOMP. A server that does not know the identifier says so, and that is the end of it as well.
    pub(super) fn completed(&mut self, ack: &Ack<'_>, log: &mut Log<'_>) {
        let packet_id = ack.packet_id;
        let is_it = |pending: &Pending| pending.packet_id == packet_id && pending.is_received;
        let found = self.memory(|memory| {
            let at = memory.pending.iter().position(is_it)?;
            memory.pending.remove(at).map(|pending| pending.message)
        });
        match found {
            Some(message) => self.record(log, Event::Completed { message }),
            None => self.wrong(log, format!("PUBCOMP {packet_id} completes nothing")),
        }
    }
}
