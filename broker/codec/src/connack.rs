//! CONNACK (MQTT 5.0, 3.2): the server's answer to CONNECT, and the limits that it sets.

use std::num::{NonZeroU16, NonZeroU32};

use crate::forward::UserProperties;
use crate::packet::PacketType;
use crate::property::{Property, PropertyReader};
use crate::reader::Reader;
use crate::write::{PropertyList, packet_length, put_header};
use crate::{DecodeError, QoS, ReasonCode, Version};

/// The answer to CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The session of an earlier connection goes on. Never beside an error.
    pub session_present: bool,
    /// Success, or why not.
    pub reason: ReasonCode,
    /// The properties; none in MQTT 3.1.1.
    pub properties: ConnAckProperties<'a>,
}

/// The properties of CONNACK. Where one is absent, the field holds what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAckProperties<'a> {
    /// Seconds for which the session outlives its connection, if not those that the client asked for.
    pub session_expiry: Option<u32>,
    /// How many publishes of QoS 1 and 2 the server takes before it acknowledges one.
    pub receive_maximum: NonZeroU16,
    /// The highest quality of service that the server takes.
    pub qos_max: QoS,
    /// The server keeps retained messages.
    pub retain_available: bool,
    /// The longest packet that the server takes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// The name that the server made up for a client without one.
    pub assigned_client_id: Option<&'a str>,
    /// How many topic aliases the server keeps.
    pub topic_alias_max: u16,
    /// Words for a person who looks for the cause.
    pub reason_string: Option<&'a str>,
    /// Filters may hold wildcards.
    pub wildcard_subscription_available: bool,
    /// Subscriptions may have identifiers.
    pub subscription_ids_available: bool,
    /// Subscriptions may be shared.
    pub shared_subscription_available: bool,
    /// The keep alive that holds instead of the client's.
    pub server_keep_alive: Option<u16>,
    /// What the client may build response topics from.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// The extended authentication that took place.
    pub authentication_method: Option<&'a str>,
    /// Its last data.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties.
    pub user: UserProperties<'a>,
}

impl ConnAckProperties<'_> {
    /// What a CONNACK without properties says.
    pub const NONE: Self = Self {
        session_expiry: None,
        receive_maximum: NonZeroU16::MAX,
        qos_max: QoS::ExactlyOnce,
        retain_available: true,
        packet_bytes_max: None,
        assigned_client_id: None,
        topic_alias_max: 0,
        reason_string: None,
        wildcard_subscription_available: true,
        subscription_ids_available: true,
        shared_subscription_available: true,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
        user: UserProperties::EMPTY,
    };
}

impl Default for ConnAckProperties<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<'a> ConnAckProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let packet = PacketType::ConnAck;
        let mut properties = PropertyReader::new(reader, packet.name())?;
        let mut decoded = Self::NONE;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiry(seconds) => decoded.session_expiry = Some(seconds),
                Property::ReceiveMaximum(maximum) => decoded.receive_maximum = maximum,
                Property::MaximumQoS(qos) => decoded.qos_max = qos,
                Property::RetainAvailable(available) => decoded.retain_available = available,
                Property::MaximumPacketSize(bytes) => decoded.packet_bytes_max = Some(bytes),
                Property::AssignedClientId(id) => decoded.assigned_client_id = Some(id),
                Property::TopicAliasMaximum(maximum) => decoded.topic_alias_max = maximum,
                Property::ReasonString(text) => decoded.reason_string = Some(text),
                Property::WildcardSubscriptionAvailable(is) => decoded.wildcard_subscription_available = is,
                Property::SubscriptionIdsAvailable(available) => decoded.subscription_ids_available = available,
                Property::SharedSubscriptionAvailable(available) => decoded.shared_subscription_available = available,
                Property::ServerKeepAlive(seconds) => decoded.server_keep_alive = Some(seconds),
                Property::ResponseInformation(text) => decoded.response_information = Some(text),
                Property::ServerReference(server) => decoded.server_reference = Some(server),
                Property::AuthenticationMethod(method) => decoded.authentication_method = Some(method),
                Property::AuthenticationData(data) => decoded.authentication_data = Some(data),
                Property::User(..) => decoded.user = UserProperties::of_block(properties.block()),
                other => return Err(properties.refuse(&other)),
            }
        }
        match (decoded.authentication_method, decoded.authentication_data) {
            (None, Some(_)) => Err(DecodeError::NoAuthenticationMethod { packet }),
            _ => Ok(decoded),
        }
    }

    /// The properties, without those that say what their absence says.
    fn list(&self) -> PropertyList<'a, 16> {
        let known = [
            self.session_expiry.map(Property::SessionExpiry),
            (self.receive_maximum != NonZeroU16::MAX).then_some(Property::ReceiveMaximum(self.receive_maximum)),
            (self.qos_max != QoS::ExactlyOnce).then_some(Property::MaximumQoS(self.qos_max)),
            (!self.retain_available).then_some(Property::RetainAvailable(false)),
            self.packet_bytes_max.map(Property::MaximumPacketSize),
            self.assigned_client_id.map(Property::AssignedClientId),
            (self.topic_alias_max != 0).then_some(Property::TopicAliasMaximum(self.topic_alias_max)),
            self.reason_string.map(Property::ReasonString),
            (!self.wildcard_subscription_available).then_some(Property::WildcardSubscriptionAvailable(false)),
            (!self.subscription_ids_available).then_some(Property::SubscriptionIdsAvailable(false)),
            (!self.shared_subscription_available).then_some(Property::SharedSubscriptionAvailable(false)),
            self.server_keep_alive.map(Property::ServerKeepAlive),
            self.response_information.map(Property::ResponseInformation),
            self.server_reference.map(Property::ServerReference),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        PropertyList::new(known, self.user)
    }
}

impl<'a> ConnAck<'a> {
    /// Without properties.
    pub const fn new(session_present: bool, reason: ReasonCode) -> Self {
        Self { session_present, reason, properties: ConnAckProperties::NONE }
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let packet = PacketType::ConnAck;
        let mut reader = Reader::new(body);
        let session_present = match reader.byte("acknowledge flags")? {
            0 => false,
            1 => true,
            found => return Err(DecodeError::ConnAckFlags { found }),
        };
        let found = reader.byte("reason code")?;
        let reason = match version {
            Version::V311 => ReasonCode::from_connack_v311(found),
            Version::V5 => Some(ReasonCode::new(found)).filter(|&reason| is_of_connack(reason)),
        };
        let reason = reason.ok_or(DecodeError::ReasonCodeNotAllowed { packet, found })?;
        if session_present && reason.is_error() {
            return Err(DecodeError::SessionPresentWithError { found });
        }
        let properties = match version {
            Version::V311 => ConnAckProperties::NONE,
            Version::V5 => ConnAckProperties::decode(&mut reader)?,
        };
        reader.finish(packet)?;
        Ok(Self { session_present, reason, properties })
    }
}

/// MQTT 5.0, table 3-1.
const fn is_of_connack(reason: ReasonCode) -> bool {
    matches!(reason.value(), 0x00 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f)
}

/// The exact number of bytes that [`encode_connack`] appends for MQTT 5.0: what counts against a client's maximum packet
/// size.
pub fn connack_length(connack: &ConnAck<'_>) -> usize {
    packet_length(2 + connack.properties.list().length())
}

/// Appends a CONNACK. In MQTT 3.1.1 the reason becomes a return code; one for which there is none
/// ([`ReasonCode::to_connack_v311`]) writes nothing, because then the server just closes the connection.
pub fn encode_connack(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>) {
    let first = PacketType::ConnAck.first_byte();
    let session_present = (connack.session_present && !connack.reason.is_error()).into();
    match version {
        Version::V311 => {
            if let Some(code) = connack.reason.to_connack_v311() {
                out.extend_from_slice(&[first, 2, session_present, code]);
            }
        }
        Version::V5 => {
            let properties = connack.properties.list();
            put_header(out, first, 2 + properties.length());
            out.extend_from_slice(&[session_present, connack.reason.value()]);
            properties.write_to(out);
        }
    }
}
