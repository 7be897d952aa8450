//! What can be wrong with bytes from a peer, and the reason code that tells the peer so.
//!
//! A packet is *malformed* when it cannot be parsed, and a *protocol error* when it can but says what the protocol
//! does not allow (MQTT 5.0, 1.2 and 4.13). Where a clause names the code, that code is used.

use crate::{PacketType, ReasonCode, Version};

/// Why bytes are not the packet they claim to be. Each says what was found beside what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    // Malformed packets: 0x81.
    /// The packet ends before a field does.
    #[error("packet ends in the {what}: {wanted} bytes wanted, {found} left")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Its length.
        wanted: usize,
        /// The bytes left for it.
        found: usize,
    },
    /// The packet goes on after its last field.
    #[error("{extra} bytes after the end of {packet}")]
    TrailingBytes {
        /// The packet.
        packet: PacketType,
        /// The bytes that are too many.
        extra: usize,
    },
    /// The packet type means nothing in this version.
    #[error("packet type {found} is reserved in MQTT {version}")]
    ReservedPacketType {
        /// The type.
        found: u8,
        /// The version of the connection.
        version: Version,
    },
    /// The low four bits of the first byte are fixed for this packet (MQTT 5.0, 2.1.3).
    #[error("flags of {packet} are 0b{found:04b}, must be 0b{wanted:04b}")]
    FixedHeaderFlags {
        /// The packet.
        packet: PacketType,
        /// Its flags.
        found: u8,
        /// The only flags that it may have.
        wanted: u8,
    },
    /// Both bits of the quality of service are set (MQTT 5.0, 3.3.1.2 and 3.1.2.6).
    #[error("QoS of the {what} is 3, at most 2 is allowed")]
    Qos3 {
        /// What it is the quality of service of.
        what: &'static str,
    },
    /// DUP must be 0 where nothing is ever sent again (MQTT 5.0, 3.3.1.1).
    #[error("DUP is set on a PUBLISH of QoS 0, must be 0")]
    DupAtQos0,
    /// A variable byte integer goes on after its fourth byte (MQTT 5.0, 1.5.5).
    #[error("variable byte integer of the {what} has more than 4 bytes")]
    VariableIntegerTooLong {
        /// The field.
        what: &'static str,
    },
    /// A variable byte integer ends in a byte that adds nothing (MQTT 5.0, 1.5.5).
    #[error("variable byte integer of the {what} is not in its shortest form")]
    VariableIntegerNotShortest {
        /// The field.
        what: &'static str,
    },
    /// Text is not UTF-8; surrogates are not (MQTT 5.0, 1.5.4).
    #[error("{what} is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The field.
        what: &'static str,
        /// The first byte that does not belong.
        at: usize,
    },
    /// Text holds U+0000 (MQTT 5.0, 1.5.4).
    #[error("{what} holds U+0000 at byte {at}")]
    NullCharacter {
        /// The field.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// No property has this identifier.
    #[error("property identifier 0x{id:02x} is unknown")]
    UnknownProperty {
        /// The identifier.
        id: u32,
    },
    /// The property does not belong into this packet (MQTT 5.0, 2.2.2.2).
    #[error("{property} is not allowed in {packet}")]
    PropertyNotAllowed {
        /// The property.
        property: &'static str,
        /// The packet.
        packet: &'static str,
    },
    /// The connect flags contradict the specification or each other (MQTT 5.0, 3.1.2.3 to 3.1.2.9).
    #[error("connect flags are 0b{found:08b}: {wanted}")]
    ConnectFlags {
        /// The flags.
        found: u8,
        /// The rule that they break.
        wanted: &'static str,
    },
    /// Reserved bits of the acknowledge flags of CONNACK are set (MQTT 5.0, 3.2.2.1).
    #[error("acknowledge flags of CONNACK are 0x{found:02x}, want 0x00 or 0x01")]
    ConnAckFlags {
        /// The flags.
        found: u8,
    },
    /// Reserved bits of the subscription options are set (MQTT 5.0, 3.8.3.1).
    #[error("subscription options are 0b{found:08b}, reserved bits must be 0")]
    SubscriptionOptions {
        /// The options.
        found: u8,
    },

    // Protocol errors: 0x82.
    /// A property that may be there once is there twice.
    #[error("{property} is twice in {packet}, allowed once")]
    DuplicateProperty {
        /// The property.
        property: &'static str,
        /// The packet.
        packet: &'static str,
    },
    /// A property has a value that the specification rules out.
    #[error("{property} is {found}, must be {wanted}")]
    PropertyValue {
        /// The property.
        property: &'static str,
        /// Its value.
        found: u32,
        /// The values allowed.
        wanted: &'static str,
    },
    /// The packet needs an identifier that is not 0 (MQTT 5.0, 2.2.1).
    #[error("packet identifier of {packet} is 0, must be 1 to 65535")]
    PacketIdZero {
        /// The packet.
        packet: PacketType,
    },
    /// A PUBLISH with an empty topic needs a topic alias (MQTT 5.0, 3.3.2.1).
    #[error("PUBLISH has neither a topic nor a topic alias")]
    NoTopic,
    /// The response topic is not a topic name (MQTT 5.0, 3.3.2.3.5).
    #[error("response topic is empty or holds a wildcard, must be a topic name")]
    ResponseTopic,
    /// Only servers put subscription identifiers into a PUBLISH (MQTT 5.0, 3.3.4).
    #[error("subscription identifier in a PUBLISH from a client")]
    SubscriptionIdFromClient,
    /// The property goes only in the other direction (MQTT 5.0, 3.14.2.2).
    #[error("{property} in DISCONNECT from the {sender}, allowed from its peer only")]
    DisconnectProperty {
        /// The property.
        property: &'static str,
        /// Who sent it.
        sender: &'static str,
    },
    /// A SUBSCRIBE asks for QoS 3 (MQTT 5.0, 3.8.3.1).
    #[error("maximum QoS of a subscription is 3, at most 2 is allowed")]
    SubscriptionQos3,
    /// A SUBSCRIBE has the retain handling that does not exist (MQTT 5.0, 3.8.3.1).
    #[error("retain handling of a subscription is 3, at most 2 is allowed")]
    RetainHandling3,
    /// Who shares a subscription cannot leave out its own messages (MQTT 5.0, 3.8.3.1).
    #[error("no local is set on a shared subscription, must be 0")]
    NoLocalShared,
    /// SUBSCRIBE and UNSUBSCRIBE need a topic filter (MQTT 5.0, 3.8.3 and 3.10.3).
    #[error("{packet} has no topic filter, at least one is wanted")]
    NoTopicFilter {
        /// The packet.
        packet: PacketType,
    },
    /// SUBACK, and UNSUBACK of MQTT 5.0, answer at least one filter (MQTT 5.0, 3.9.3 and 3.11.3).
    #[error("{packet} has no reason code, at least one is wanted")]
    NoReasonCode {
        /// The packet.
        packet: PacketType,
    },
    /// The reason code means nothing in this packet, or not from this side.
    #[error("reason code 0x{found:02x} is not one of {packet}")]
    ReasonCodeNotAllowed {
        /// The packet.
        packet: PacketType,
        /// The code.
        found: u8,
    },
    /// Session present is 1 beside an error (MQTT 5.0, 3.2.2.1.1).
    #[error("session present is set beside reason code 0x{found:02x}, must be 0")]
    SessionPresentWithError {
        /// The code.
        found: u8,
    },
    /// Authentication data need their method, AUTH always (MQTT 5.0, 3.1.2.11.10 and 3.15.2.2.2).
    #[error("{packet} has no authentication method beside what needs one")]
    NoAuthenticationMethod {
        /// The packet.
        packet: PacketType,
    },
    /// The packet does not come from this side, or not now (MQTT 5.0, 3.1).
    #[error("{packet} is not expected here, want {wanted}")]
    UnexpectedPacket {
        /// The packet.
        packet: PacketType,
        /// What would be in order.
        wanted: &'static str,
    },

    // Errors with a reason code of their own.
    /// The packet is larger than we said we would take: 0x95.
    #[error("packet of {found} bytes, at most {max} are taken")]
    PacketTooLarge {
        /// The length of the whole packet.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A topic name must not hold `+` or `#` (MQTT 5.0, 3.3.2.1): 0x90.
    #[error("{what} holds the wildcard {found:?} at byte {at}, a topic name has none")]
    WildcardInTopic {
        /// The field.
        what: &'static str,
        /// The wildcard.
        found: char,
        /// Where.
        at: usize,
    },
    /// A topic name has at least one character (MQTT 5.0, 4.7.3): 0x90.
    #[error("{what} is empty, at least one character is wanted")]
    EmptyTopic {
        /// The field.
        what: &'static str,
    },
    /// Topic alias 0 does not exist (MQTT 5.0, 3.3.2.3.4): 0x94.
    #[error("topic alias is 0, must be 1 to 65535")]
    TopicAliasZero,
    /// The protocol is not MQTT: 0x84.
    #[error("protocol name is not \"MQTT\"")]
    ProtocolName,
    /// The version is none of ours: 0x84.
    #[error("protocol level is {level}, 4 (3.1.1) and 5 (5.0) are spoken")]
    ProtocolLevel {
        /// The level.
        level: u8,
    },
    /// A 3.1.1 client that wants a lasting session must name itself (MQTT 3.1.1, 3.1.3.1): 0x85.
    #[error("client identifier is empty and clean session 0, one of both must differ")]
    NoClientId,
}

impl DecodeError {
    /// The code for the DISCONNECT or CONNACK that answers such bytes.
    pub const fn reason(&self) -> ReasonCode {
        use DecodeError::*;
        match self {
            Truncated { .. }
            | TrailingBytes { .. }
            | ReservedPacketType { .. }
            | FixedHeaderFlags { .. }
            | Qos3 { .. }
            | DupAtQos0
            | VariableIntegerTooLong { .. }
            | VariableIntegerNotShortest { .. }
            | NotUtf8 { .. }
            | NullCharacter { .. }
            | UnknownProperty { .. }
            | PropertyNotAllowed { .. }
            | ConnectFlags { .. }
            | ConnAckFlags { .. }
            | SubscriptionOptions { .. } => ReasonCode::MALFORMED_PACKET,
            DuplicateProperty { .. }
            | PropertyValue { .. }
            | PacketIdZero { .. }
            | NoTopic
            | ResponseTopic
            | SubscriptionIdFromClient
            | DisconnectProperty { .. }
            | SubscriptionQos3
            | RetainHandling3
            | NoLocalShared
            | NoTopicFilter { .. }
            | NoReasonCode { .. }
            | ReasonCodeNotAllowed { .. }
            | SessionPresentWithError { .. }
            | NoAuthenticationMethod { .. }
            | UnexpectedPacket { .. } => ReasonCode::PROTOCOL_ERROR,
            PacketTooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            WildcardInTopic { .. } | EmptyTopic { .. } => ReasonCode::TOPIC_NAME_INVALID,
            TopicAliasZero => ReasonCode::TOPIC_ALIAS_INVALID,
            ProtocolName | ProtocolLevel { .. } => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            NoClientId => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        }
    }
}

/// Why a first packet is not a CONNECT that we understand, and how to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ConnectError {
    /// What is wrong.
    pub error: DecodeError,
    /// The version in which the peer would understand a CONNACK; nothing if it does not seem to speak MQTT at all.
    pub answer_in: Option<Version>,
}

impl ConnectError {
    /// The version and reason of the CONNACK to send before closing; nothing if closing says it all.
    pub fn answer(&self) -> Option<(Version, ReasonCode)> {
        let reason = self.error.reason();
        match self.answer_in? {
            Version::V311 if reason.to_connack_v311().is_none() => None,
            version => Some((version, reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_errors_has_its_reason_code() {
        for (error, reason) in [
            (DecodeError::DupAtQos0, ReasonCode::MALFORMED_PACKET),
            (DecodeError::NoTopic, ReasonCode::PROTOCOL_ERROR),
            (DecodeError::PacketTooLarge { found: 6, max: 5 }, ReasonCode::PACKET_TOO_LARGE),
            (DecodeError::EmptyTopic { what: "topic" }, ReasonCode::TOPIC_NAME_INVALID),
            (DecodeError::TopicAliasZero, ReasonCode::TOPIC_ALIAS_INVALID),
            (DecodeError::ProtocolLevel { level: 3 }, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION),
            (DecodeError::NoClientId, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
        ] {
            assert_eq!(error.reason(), reason, "{error}");
        }
    }
}
