//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0, 3.4 to 3.7): one shape, four meanings.

use crate::forward::UserProperties;
use crate::packet::PacketType;
use crate::property::{Property, PropertyReader};
use crate::reader::Reader;
use crate::write::{PropertyList, put_header};
use crate::{DecodeError, PacketId, ReasonCode, Version};

/// Which of the four it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// The answer to a PUBLISH of QoS 1.
    PubAck,
    /// The answer to a PUBLISH of QoS 2.
    PubRec,
    /// The answer to PUBREC.
    PubRel,
    /// The answer to PUBREL.
    PubComp,
}

impl AckKind {
    /// The packet type.
    #[inline]
    pub const fn packet_type(self) -> PacketType {
        match self {
            AckKind::PubAck => PacketType::PubAck,
            AckKind::PubRec => PacketType::PubRec,
            AckKind::PubRel => PacketType::PubRel,
            AckKind::PubComp => PacketType::PubComp,
        }
    }

    /// Whether the packet may say this (MQTT 5.0, tables 3-4 to 3-7).
    const fn allows(self, reason: ReasonCode) -> bool {
        match self {
            AckKind::PubAck | AckKind::PubRec => {
                matches!(reason.value(), 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            AckKind::PubRel | AckKind::PubComp => matches!(reason.value(), 0x00 | 0x92),
        }
    }
}

/// An acknowledgement of one packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// What is acknowledged.
    pub packet_id: PacketId,
    /// How it went. MQTT 3.1.1 knows success only.
    pub reason: ReasonCode,
    /// The properties; none in MQTT 3.1.1.
    pub properties: AckProperties<'a>,
}

/// The properties of packets that only answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckProperties<'a> {
    /// Words for a person who looks for the cause.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> AckProperties<'a> {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user.is_empty()
    }

    pub(crate) fn decode(reader: &mut Reader<'a>, packet: PacketType) -> Result<Self, DecodeError> {
        let mut properties = PropertyReader::new(reader, packet.name())?;
        let mut decoded = Self::default();
        while let Some(property) = properties.next()? {
            match property {
                Property::ReasonString(text) => decoded.reason_string = Some(text),
                Property::User(..) => decoded.user = UserProperties::of_block(properties.block()),
                other => return Err(properties.refuse(&other)),
            }
        }
        Ok(decoded)
    }

    pub(crate) fn list(&self) -> PropertyList<'a, 1> {
        PropertyList::new([self.reason_string.map(Property::ReasonString)], self.user)
    }
}

impl<'a> Ack<'a> {
    /// Without properties.
    #[inline]
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        let properties = AckProperties { reason_string: None, user: UserProperties::EMPTY };
        Self { packet_id, reason, properties }
    }

    #[inline]
    pub(crate) fn decode(version: Version, kind: AckKind, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut ack = Self::new(reader.packet_id(kind.packet_type())?, ReasonCode::SUCCESS);
        // Two bytes are all of MQTT 3.1.1, and a success without properties in MQTT 5.0 (3.4.2.1).
        if version == Version::V5 && !reader.is_empty() {
            ack.decode_reason(kind, &mut reader)?;
        }
        reader.finish(kind.packet_type())?;
        Ok(ack)
    }

    fn decode_reason(&mut self, kind: AckKind, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let packet = kind.packet_type();
        self.reason = ReasonCode::new(reader.byte("reason code")?);
        if !kind.allows(self.reason) {
            return Err(DecodeError::ReasonCodeNotAllowed { packet, found: self.reason.value() });
        }
        // Without a property length there are no properties (MQTT 5.0, 3.4.2.2.1).
        if !reader.is_empty() {
            self.properties = AckProperties::decode(reader, packet)?;
        }
        Ok(())
    }
}

/// Appends an acknowledgement, in its shortest form. MQTT 3.1.1 writes the packet identifier only.
#[inline]
pub fn encode_ack(out: &mut Vec<u8>, version: Version, kind: AckKind, ack: &Ack<'_>) {
    let [high, low] = ack.packet_id.get().to_be_bytes();
    let first = kind.packet_type().first_byte();
    if version == Version::V311 || (ack.reason == ReasonCode::SUCCESS && ack.properties.is_empty()) {
        out.extend_from_slice(&[first, 2, high, low]);
        return;
    }
    let properties = ack.properties.list();
    if properties.is_empty() {
        out.extend_from_slice(&[first, 3, high, low, ack.reason.value()]);
        return;
    }
    put_header(out, first, 3 + properties.length());
    out.extend_from_slice(&[high, low, ack.reason.value()]);
    properties.write_to(out);
}
