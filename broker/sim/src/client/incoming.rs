//! What a client receives, until it has dealt with it.

use std::sync::Arc;

use fulmar_codec::{AckKind, PacketId, Publish, QoS, ReasonCode, Version};

use super::{Client, Held, Log};
use crate::history::{Event, MessageId};

impl Client {
    pub(super) fn publish_received(&mut self, publish: &Publish<'_>, log: &mut Log<'_>) {
        let Publish { dup, qos, retain, topic, packet_id, payload, .. } = *publish;
        let topic: Arc<str> = topic.into();
        let message = MessageId::parse(payload);
        if message.is_none() && !payload.is_empty() {
            self.wrong(log, format!("a payload on {topic} that nobody published: {payload:?}"));
        }
        let is_fresh = match packet_id {
            None => true,
            Some(packet_id) => self.note_open(packet_id, (qos, dup), message, log),
        };
        let id = packet_id.map(PacketId::get);
        self.record(log, Event::Received { message, topic: topic.clone(), qos, retain, dup, packet_id: id, is_fresh });
        match packet_id {
            None => self.record(log, Event::Took { message, topic, qos, packet_id: None }),
            Some(packet_id) => self.held.push_back(Held { packet_id, qos, message, topic }),
        }
    }

    /// A message of QoS 1 or 2. Whether it was not sent before, by what this client remembers.
    fn note_open(
        &mut self,
        packet_id: PacketId,
        (qos, dup): (QoS, bool),
        message: Option<MessageId>,
        log: &mut Log<'_>,
    ) -> bool {
        let id = packet_id.get();
        // Nothing is sent twice on one connection (MQTT 5.0, 4.4).
        if self.open.insert(id, qos).is_some() {
            self.wrong(log, format!("identifier {id} is used for {message:?} while it is in use"));
        }
        let max = self.identity.receive_maximum;
        if self.identity.version == Version::V5 && self.open.len() > usize::from(max) {
            let found = self.open.len();
            self.wrong(log, format!("{found} messages are not acknowledged, at most {max} are taken"));
        }
        let before = self.memory(|memory| match qos {
            QoS::ExactlyOnce => {
                let before = memory.received.get(&id).copied();
                memory.received.entry(id).or_insert(message);
                before
            }
            _ => memory.unacknowledged.insert(id, message),
        });
        let Some(before) = before else { return true };
        if qos == QoS::ExactlyOnce && before != message {
            self.wrong(log, format!("identifier {id} is {message:?} and was {before:?}, which is not released"));
        }
        // MQTT 5.0, 3.3.1.1: what is sent again says so.
        if before == message && !dup {
            self.wrong(log, format!("{message:?} comes again as {id} without being marked as a duplicate"));
        }
        qos != QoS::ExactlyOnce
    }

    /// Acknowledges so many of the messages that were received, the oldest first.
    pub(crate) fn acknowledge(&mut self, count: usize, log: &mut Log<'_>) {
        let is_superseded = self.look_at_session(log);
        for _ in 0..count {
            let Some(Held { packet_id, qos, message, topic }) = self.held.pop_front() else { return };
            let id = packet_id.get();
            // Who has lost the session has not dealt with anything, whatever it says.
            if !is_superseded {
                self.record(log, Event::Took { message, topic, qos, packet_id: Some(id) });
                if qos == QoS::AtLeastOnce {
                    self.memory(|memory| memory.unacknowledged.remove(&id));
                }
            }
            if qos == QoS::AtLeastOnce {
                self.open.remove(&id);
            }
            let kind = if qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
            self.acknowledge_with(kind, packet_id, ReasonCode::SUCCESS);
        }
    }

    /// How many messages wait to be acknowledged.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// PUBREL: the identifier is free.
    pub(super) fn released(&mut self, packet_id: PacketId, log: &mut Log<'_>) {
        let id = packet_id.get();
        self.open.remove(&id);
        let was_known = self.memory(|memory| memory.received.remove(&id)).is_some();
        self.record(log, Event::Released { packet_id: id });
        let reason = if was_known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
        self.acknowledge_with(AckKind::PubComp, packet_id, reason);
    }
}
