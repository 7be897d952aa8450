//! PUBLISH (MQTT 5.0, 3.3): the packet that everything else is there for, and the one that must be fast.
//!
//! Without properties, which is the usual case, reading takes a handful of branches and writing one reservation.

use std::num::{NonZeroU16, NonZeroU32};

use crate::forward::{ForwardProperties, ForwardSpan, SubscriptionIds};
use crate::packet::{PacketType, Sender};
use crate::property::{Property, PropertyReader};
use crate::reader::{Reader, variable_integer};
use crate::text::check_topic_text;
use crate::write::{put_variable_integer, two_byte_length, variable_integer_length};
use crate::{DecodeError, PacketId, QoS, Version};

const RETAIN: u8 = 0b0001;
const DUP: u8 = 0b1000;

/// A message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The sender may have sent this before.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// To a server: keep the message for later subscribers. To a client: it was kept.
    pub retain: bool,
    /// A topic name: text without wildcards. Empty only beside a topic alias.
    pub topic: &'a str,
    /// There if and only if the quality of service is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// The properties; none in MQTT 3.1.1.
    pub properties: PublishProperties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishProperties<'a> {
    /// Stands for the topic on this connection.
    pub topic_alias: Option<NonZeroU16>,
    /// Seconds for which the message is of use.
    pub message_expiry: Option<u32>,
    /// The sender says that the payload is UTF-8.
    pub payload_is_utf8: bool,
    /// What every receiver gets unchanged.
    pub forward: ForwardProperties<'a>,
    /// The subscriptions that a message from a server matched.
    pub subscription_ids: SubscriptionIds<'a>,
}

/// What of a PUBLISH differs from receiver to receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishHead<'a> {
    /// The packet may have been sent before.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// The retain flag.
    pub retain: bool,
    /// There if and only if the quality of service is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// What is left of the message expiry, in seconds.
    pub message_expiry: Option<u32>,
    /// Stands for the topic, which may be empty then.
    pub topic_alias: Option<NonZeroU16>,
    /// The subscriptions that matched; each is 1 to 268,435,455. A 0 stands for none and is left out.
    pub subscription_ids: &'a [u32],
}

impl PublishHead<'_> {
    #[inline]
    fn subscription_ids(&self) -> impl Iterator<Item = NonZeroU32> {
        self.subscription_ids.iter().copied().filter_map(NonZeroU32::new)
    }
}

/// Reads a PUBLISH that a server received: what [`decode`](crate::decode) does, for those who know what comes.
#[inline]
pub fn decode_publish<'a>(version: Version, first: u8, body: &'a [u8]) -> Result<Publish<'a>, DecodeError> {
    Publish::decode(version, first, body, Sender::Client)
}

impl<'a> Publish<'a> {
    #[inline]
    pub(crate) fn decode(version: Version, first: u8, body: &'a [u8], sender: Sender) -> Result<Self, DecodeError> {
        let qos = QoS::new(first >> 1 & 3).ok_or(DecodeError::Qos3 { what: "PUBLISH" })?;
        let dup = first & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::DupAtQos0);
        }
        let mut reader = Reader::new(body);
        let topic = check_topic_text(reader.binary("topic")?, "topic")?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id(PacketType::Publish)?),
        };
        let mut properties = PublishProperties::default();
        if version == Version::V5 {
            match reader.rest().split_first() {
                Some((0, _)) => {
                    reader.byte("property length")?;
                }
                _ => properties = PublishProperties::decode(&mut reader, sender)?,
            }
        }
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(no_topic(version));
        }
        Ok(Self { dup, qos, retain: first & RETAIN != 0, topic, packet_id, properties, payload: reader.rest() })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let subscription_ids: Vec<u32> = self.properties.subscription_ids.iter().map(Into::into).collect();
        let head = PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            message_expiry: self.properties.message_expiry,
            topic_alias: self.properties.topic_alias,
            subscription_ids: &subscription_ids,
        };
        encode_publish(out, version, &head, self.topic, &self.properties.forward, self.payload);
    }
}

#[cold]
const fn no_topic(version: Version) -> DecodeError {
    match version {
        Version::V311 => DecodeError::EmptyTopic { what: "topic" },
        Version::V5 => DecodeError::NoTopic,
    }
}

impl<'a> PublishProperties<'a> {
    #[inline(never)]
    fn decode(reader: &mut Reader<'a>, sender: Sender) -> Result<Self, DecodeError> {
        let mut properties = PropertyReader::new(reader, "PUBLISH")?.in_publish();
        let mut decoded = Self::default();
        let mut forward = ForwardSpan::default();
        loop {
            let start = properties.position();
            let Some(property) = properties.next()? else { break };
            match property {
                Property::TopicAlias(alias) => decoded.topic_alias = Some(alias),
                Property::MessageExpiry(seconds) => decoded.message_expiry = Some(seconds),
                Property::SubscriptionId(_) => match sender {
                    Sender::Client => return Err(DecodeError::SubscriptionIdFromClient),
                    Sender::Server => decoded.subscription_ids = SubscriptionIds::of_block(properties.block()),
                },
                Property::PayloadFormat(utf8) => {
                    decoded.payload_is_utf8 = utf8;
                    forward.add(start, properties.position());
                }
                Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::User(..) => forward.add(start, properties.position()),
                other => return Err(properties.refuse(&other)),
            }
        }
        decoded.forward = forward.of(properties.block());
        Ok(decoded)
    }
}

/// The lengths of a PUBLISH that is about to be written: of its properties, and of all after the fixed header.
#[inline]
fn lengths(
    version: Version,
    head: &PublishHead<'_>,
    topic: &str,
    forward: &ForwardProperties<'_>,
    payload: &[u8],
) -> (usize, usize) {
    let plain = 2 + topic.len() + if head.packet_id.is_some() { 2 } else { 0 } + payload.len();
    match version {
        Version::V311 => (0, plain),
        Version::V5 => {
            let ids = head.subscription_ids().map(|id| Property::SubscriptionId(id).length()).sum::<usize>();
            let properties = forward.len()
                + if head.message_expiry.is_some() { 5 } else { 0 }
                + if head.topic_alias.is_some() { 3 } else { 0 }
                + ids;
            (properties, plain + variable_integer_length(properties) + properties)
        }
    }
}

/// The exact number of bytes that [`encode_publish`] appends: what counts against a receiver's maximum packet size.
#[inline]
pub fn publish_length(
    version: Version,
    head: &PublishHead<'_>,
    topic: &str,
    forward: &ForwardProperties<'_>,
    payload: &[u8],
) -> usize {
    let (_, body) = lengths(version, head, topic, forward, payload);
    1 + variable_integer_length(body) + body
}

/// Appends a PUBLISH. MQTT 3.1.1 has no properties; they are left out.
///
/// # Panics
///
/// If [`publish_length`] is beyond [`PACKET_BYTES_MAX`](crate::PACKET_BYTES_MAX), or the topic longer than 65,535
/// bytes. Neither is possible for what was decoded and is sent on within the receiver's maximum packet size.
#[inline]
pub fn encode_publish(
    out: &mut Vec<u8>,
    version: Version,
    head: &PublishHead<'_>,
    topic: &str,
    forward: &ForwardProperties<'_>,
    payload: &[u8],
) {
    debug_assert_eq!(head.packet_id.is_some(), head.qos > QoS::AtMostOnce, "a packet id goes with QoS 1 and 2");
    let (properties, body) = lengths(version, head, topic, forward, payload);
    let flags = if head.dup { DUP } else { 0 } | head.qos.level() << 1 | if head.retain { RETAIN } else { 0 };
    let first = (PacketType::Publish as u8) << 4 | flags;
    let [high, low] = two_byte_length(topic.as_bytes());
    out.reserve(5 + body);
    if body < 0x80 {
        out.extend_from_slice(&[first, body as u8, high, low]);
    } else {
        out.push(first);
        put_variable_integer(out, body);
        out.extend_from_slice(&[high, low]);
    }
    out.extend_from_slice(topic.as_bytes());
    if let Some(packet_id) = head.packet_id {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
    }
    if version == Version::V5 {
        if properties == 0 {
            out.push(0);
        } else {
            put_properties(out, properties, head, forward);
        }
    }
    out.extend_from_slice(payload);
}

fn put_properties(out: &mut Vec<u8>, length: usize, head: &PublishHead<'_>, forward: &ForwardProperties<'_>) {
    put_variable_integer(out, length);
    if let Some(seconds) = head.message_expiry {
        Property::MessageExpiry(seconds).write_to(out);
    }
    if let Some(alias) = head.topic_alias {
        Property::TopicAlias(alias).write_to(out);
    }
    forward.write_to(out);
    for id in head.subscription_ids() {
        Property::SubscriptionId(id).write_to(out);
    }
}

/// Puts another packet identifier into a PUBLISH that [`encode_publish`] wrote with one: receivers that differ in
/// nothing else share one encoding. `packet` begins with the PUBLISH.
///
/// # Panics
///
/// If `packet` does not begin with a PUBLISH of QoS 1 or 2.
#[inline]
pub fn set_publish_packet_id(packet: &mut [u8], id: PacketId) {
    let at = packet_id_at(packet).expect("the packet begins with a PUBLISH of QoS 1 or 2");
    packet[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
}

#[inline]
fn packet_id_at(packet: &[u8]) -> Option<usize> {
    let (&first, rest) = packet.split_first()?;
    let is_publish = first >> 4 == PacketType::Publish as u8 && first >> 1 & 3 > 0;
    let (_, length_bytes) = variable_integer(rest, "remaining length").ok()??;
    let topic_length = u16::from_be_bytes(*rest.get(length_bytes..)?.first_chunk()?);
    is_publish.then_some(1 + length_bytes + 2 + usize::from(topic_length))
}

/// Marks a PUBLISH that [`encode_publish`] wrote as sent before.
#[inline]
pub fn set_publish_dup(packet: &mut [u8]) {
    packet[0] |= DUP;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framed, PACKET_BYTES_MAX, split_frame};

    #[test]
    fn a_publish_of_every_length_of_length_reads_back() {
        let head = PublishHead { qos: QoS::AtLeastOnce, packet_id: PacketId::new(0x0102), ..PublishHead::default() };
        for body in [0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000] {
            let payload = vec![b'x'; body - 5];
            let mut out = Vec::new();
            encode_publish(&mut out, Version::V311, &head, "t", &ForwardProperties::EMPTY, &payload);
            set_publish_packet_id(&mut out, PacketId::MIN);
            assert_eq!(out.len(), publish_length(Version::V311, &head, "t", &ForwardProperties::EMPTY, &payload));
            let Ok(Framed::Whole { first, body, .. }) = split_frame(&out, PACKET_BYTES_MAX) else { panic!("whole") };
            let publish = decode_publish(Version::V311, first, body).unwrap();
            assert_eq!((publish.topic, publish.packet_id, publish.payload), ("t", Some(PacketId::MIN), &payload[..]));
        }
    }

    #[test]
    #[should_panic(expected = "a PUBLISH of QoS 1 or 2")]
    fn a_publish_of_qos_0_has_no_place_for_a_packet_identifier() {
        set_publish_packet_id(&mut b"\x30\x05\0\x01tab".to_vec(), PacketId::MIN);
    }
}
