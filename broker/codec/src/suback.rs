//! SUBACK and UNSUBACK (MQTT 5.0, 3.9 and 3.11): one reason code per topic filter, in their order.

use std::fmt;

use crate::ack::AckProperties;
use crate::packet::PacketType;
use crate::reader::Reader;
use crate::write::{packet_length, put_header};
use crate::{DecodeError, PacketId, ReasonCode, Version};

/// The answer to SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties; none in MQTT 3.1.1.
    pub properties: AckProperties<'a>,
    /// What became of each filter.
    pub codes: ReasonCodes<'a>,
}

/// The answer to UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// The identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties; none in MQTT 3.1.1.
    pub properties: AckProperties<'a>,
    /// What became of each filter; none in MQTT 3.1.1.
    pub codes: ReasonCodes<'a>,
}

/// Reason codes in a row, one byte each.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ReasonCodes<'a> {
    bytes: &'a [u8],
}

impl<'a> ReasonCodes<'a> {
    /// The codes of these numbers.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The codes in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ReasonCode> + Clone + use<'a> {
        self.bytes.iter().map(|&byte| ReasonCode::new(byte))
    }
}

impl fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> SubAck<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let (packet_id, properties, codes) = decode(version, PacketType::SubAck, body, |code| match version {
            Version::V311 => matches!(code, 0..=2 | 0x80),
            // MQTT 5.0, table 3-8.
            Version::V5 => matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2),
        })?;
        Ok(Self { packet_id, properties, codes })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write_suback(out, version, self.packet_id, &self.properties, self.codes.iter());
    }
}

impl<'a> UnsubAck<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        if version == Version::V311 {
            let mut reader = Reader::new(body);
            let packet_id = reader.packet_id(PacketType::UnsubAck)?;
            reader.finish(PacketType::UnsubAck)?;
            return Ok(Self { packet_id, properties: AckProperties::default(), codes: ReasonCodes::default() });
        }
        // MQTT 5.0, table 3-9.
        let allowed = |code| matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91);
        let (packet_id, properties, codes) = decode(version, PacketType::UnsubAck, body, allowed)?;
        Ok(Self { packet_id, properties, codes })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write_unsuback(out, version, self.packet_id, &self.properties, self.codes.iter());
    }
}

fn decode(
    version: Version,
    packet: PacketType,
    body: &[u8],
    allowed: impl Fn(u8) -> bool,
) -> Result<(PacketId, AckProperties<'_>, ReasonCodes<'_>), DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id(packet)?;
    let properties = match version {
        Version::V311 => AckProperties::default(),
        Version::V5 => AckProperties::decode(&mut reader, packet)?,
    };
    let codes = reader.rest();
    if codes.is_empty() {
        return Err(DecodeError::NoReasonCode { packet });
    }
    match codes.iter().find(|&&code| !allowed(code)) {
        Some(&found) => Err(DecodeError::ReasonCodeNotAllowed { packet, found }),
        None => Ok((packet_id, properties, ReasonCodes::new(codes))),
    }
}

/// The exact number of bytes that [`encode_suback`] and [`encode_unsuback`] append for MQTT 5.0 and so many filters: what
/// counts against a client's maximum packet size.
pub const fn suback_length(filters: usize) -> usize {
    packet_length(2 + 1 + filters)
}

/// Appends a SUBACK with one code per filter. MQTT 3.1.1 says every failure as 0x80.
pub fn encode_suback(out: &mut Vec<u8>, version: Version, packet_id: PacketId, codes: &[ReasonCode]) {
    write_suback(out, version, packet_id, &AckProperties::default(), codes.iter().copied());
}

fn write_suback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    properties: &AckProperties<'_>,
    codes: impl ExactSizeIterator<Item = ReasonCode>,
) {
    let codes = codes.map(|code| match version {
        Version::V311 if code.is_error() => ReasonCode::UNSPECIFIED_ERROR,
        _ => code,
    });
    write(out, version, PacketType::SubAck, packet_id, properties, codes);
}

/// Appends an UNSUBACK with one code per filter. MQTT 3.1.1 has no codes.
pub fn encode_unsuback(out: &mut Vec<u8>, version: Version, packet_id: PacketId, codes: &[ReasonCode]) {
    write_unsuback(out, version, packet_id, &AckProperties::default(), codes.iter().copied());
}

fn write_unsuback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    properties: &AckProperties<'_>,
    codes: impl ExactSizeIterator<Item = ReasonCode>,
) {
    let count = if version == Version::V311 { 0 } else { codes.len() };
    write(out, version, PacketType::UnsubAck, packet_id, properties, codes.take(count));
}

fn write(
    out: &mut Vec<u8>,
    version: Version,
    packet: PacketType,
    packet_id: PacketId,
    properties: &AckProperties<'_>,
    codes: impl ExactSizeIterator<Item = ReasonCode>,
) {
    let properties = properties.list();
    let length = 2 + if version == Version::V5 { properties.length() } else { 0 } + codes.len();
    put_header(out, packet.first_byte(), length);
    out.extend_from_slice(&packet_id.get().to_be_bytes());
    if version == Version::V5 {
        properties.write_to(out);
    }
    out.extend(codes.map(ReasonCode::value));
}
