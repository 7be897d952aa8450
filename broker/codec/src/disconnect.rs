//! DISCONNECT (MQTT 5.0, 3.14): the last word of either side. In MQTT 3.1.1 only clients have one, and it is empty.

use crate::forward::UserProperties;
use crate::packet::{PacketType, Sender};
use crate::property::{Property, PropertyReader};
use crate::reader::Reader;
use crate::write::{PropertyList, put_header};
use crate::{DecodeError, ReasonCode, Version};

/// Why the connection is about to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// The reason.
    pub reason: ReasonCode,
    /// From a client: seconds for which its session lasts, instead of those of CONNECT.
    pub session_expiry: Option<u32>,
    /// Words for a person who looks for the cause.
    pub reason_string: Option<&'a str>,
    /// From a server: another one to use.
    pub server_reference: Option<&'a str>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Without properties.
    pub const fn new(reason: ReasonCode) -> Self {
        let user = UserProperties::EMPTY;
        Self { reason, session_expiry: None, reason_string: None, server_reference: None, user }
    }

    pub(crate) fn decode(version: Version, body: &'a [u8], sender: Sender) -> Result<Self, DecodeError> {
        let packet = PacketType::Disconnect;
        let mut reader = Reader::new(body);
        let mut disconnect = Self::new(ReasonCode::NORMAL_DISCONNECTION);
        if version == Version::V5 && !reader.is_empty() {
            disconnect.reason = ReasonCode::new(reader.byte("reason code")?);
            if !may_say(sender, disconnect.reason) {
                return Err(DecodeError::ReasonCodeNotAllowed { packet, found: disconnect.reason.value() });
            }
            // Without a property length there are no properties (MQTT 5.0, 3.14.2.2.1).
            if !reader.is_empty() {
                disconnect.decode_properties(PropertyReader::new(&mut reader, packet.name())?, sender)?;
            }
        }
        reader.finish(packet)?;
        Ok(disconnect)
    }

    fn decode_properties(&mut self, mut properties: PropertyReader<'a>, sender: Sender) -> Result<(), DecodeError> {
        while let Some(property) = properties.next()? {
            match (property, sender) {
                (Property::SessionExpiry(seconds), Sender::Client) => self.session_expiry = Some(seconds),
                (Property::SessionExpiry(_), Sender::Server) => {
                    return Err(DecodeError::DisconnectProperty {
                        property: "session expiry interval",
                        sender: "server",
                    });
                }
                (Property::ServerReference(server), Sender::Server) => self.server_reference = Some(server),
                (Property::ServerReference(_), Sender::Client) => {
                    return Err(DecodeError::DisconnectProperty { property: "server reference", sender: "client" });
                }
                (Property::ReasonString(text), _) => self.reason_string = Some(text),
                (Property::User(..), _) => self.user = UserProperties::of_block(properties.block()),
                (other, _) => return Err(properties.refuse(&other)),
            }
        }
        Ok(())
    }
}

/// Whether the reason is one of that side (MQTT 5.0, table 3-10).
const fn may_say(sender: Sender, reason: ReasonCode) -> bool {
    match reason.value() {
        0x00 | 0x80..=0x83 | 0x90 | 0x93..=0x99 => true,
        0x04 => matches!(sender, Sender::Client),
        0x87 | 0x89 | 0x8b..=0x8f | 0x9a..=0xa2 => matches!(sender, Sender::Server),
        _ => false,
    }
}

/// Appends a DISCONNECT, in its shortest form. In MQTT 3.1.1 it has no content, and a server sends none at all.
pub fn encode_disconnect(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>) {
    let Disconnect { reason, session_expiry, reason_string, server_reference, user } = *disconnect;
    let first = PacketType::Disconnect.first_byte();
    let properties = PropertyList::new(
        [
            session_expiry.map(Property::SessionExpiry),
            reason_string.map(Property::ReasonString),
            server_reference.map(Property::ServerReference),
        ],
        user,
    );
    match (version, properties.is_empty()) {
        (Version::V311, _) => out.extend_from_slice(&[first, 0]),
        (Version::V5, true) if reason == ReasonCode::NORMAL_DISCONNECTION => out.extend_from_slice(&[first, 0]),
        (Version::V5, true) => out.extend_from_slice(&[first, 1, reason.value()]),
        (Version::V5, false) => {
            put_header(out, first, 1 + properties.length());
            out.push(reason.value());
            properties.write_to(out);
        }
    }
}
