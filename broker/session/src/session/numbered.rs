//! Messages whose places in the client's queue are kept elsewhere: they come with their packet identifiers, and what
//! becomes of them is remembered there. Here they are only written, as every message to this client is.

use std::time::Instant;

use fulmar_codec::{Ack, AckKind, PacketId, PublishHead, QoS, ReasonCode, encode_ack, encode_publish};

use super::naming::{fits, name_topic, note_written};
use super::{Deliver, Session};
use crate::message::Outgoing;

/// What became of a message that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is in the output buffer.
    Sent,
    /// The client does not take packets of that size: to it the message is as if it had been sent (MQTT 5.0, 3.1.2.11.4).
    TooLarge,
    /// There is no connection.
    NotConnected,
}

impl Session {
    /// Writes a message of QoS 1 or 2. The caller sees to the client's Receive Maximum and to the room in the buffer.
    pub fn write_numbered(
        &mut self,
        out: &mut Vec<u8>,
        outgoing: &Outgoing<'_>,
        how: Deliver<'_>,
        (packet_id, dup): (PacketId, bool),
        now: Instant,
    ) -> Written {
        let Deliver { qos, retain, subscription_ids, share: _ } = how;
        debug_assert_ne!(qos, QoS::AtMostOnce, "QoS 0 has no packet identifier");
        let Some(connection) = self.connection else { return Written::NotConnected };
        let (topic, topic_alias) = name_topic(&mut self.outbound.aliases, outgoing.topic);
        let mut head = PublishHead {
            qos,
            retain,
            dup,
            packet_id: Some(packet_id),
            topic_alias,
            message_expiry: outgoing.expiry_seconds_left(now),
            subscription_ids,
        };
        if !fits(connection.packet_bytes_max, self.version, &mut head, topic, outgoing) {
            return Written::TooLarge;
        }
        encode_publish(out, self.version, &head, topic, &outgoing.forward, outgoing.payload);
        note_written(&mut self.outbound.aliases, topic, head.topic_alias);
        Written::Sent
    }

    /// Releases a message of QoS 2 that the client has received.
    pub fn write_pubrel(&self, packet_id: PacketId, reason: ReasonCode, out: &mut Vec<u8>) {
        encode_ack(out, self.version, AckKind::PubRel, &Ack::new(packet_id, reason));
    }

    /// Publishes of QoS 2 that the client has not released, from an earlier connection elsewhere: a PUBLISH with one of
    /// these packet identifiers is a retry (MQTT 5.0, 4.3.3).
    pub fn restore_received(&mut self, packet_ids: impl IntoIterator<Item = PacketId>) {
        self.inbound.restore_received(packet_ids);
    }

    /// Whether a publish of QoS 2 with this packet identifier was received and is not released.
    pub fn has_received(&self, packet_id: PacketId) -> bool {
        self.inbound.has_received(packet_id)
    }

    /// How many publishes of the client may be sent and not acknowledged at once: its Receive Maximum and our own limit.
    pub fn window(&self) -> u16 {
        self.connection.map_or(0, |connection| connection.window)
    }
}
