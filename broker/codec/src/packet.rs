//! All packets as one type, and the dispatch by packet type: which packet may come from which side, and with which
//! flags in its first byte.

use std::fmt;

use crate::ack::{Ack, AckKind, encode_ack};
use crate::auth::{Auth, encode_auth};
use crate::connack::{ConnAck, encode_connack};
use crate::connect::{Connect, encode_connect};
use crate::disconnect::{Disconnect, encode_disconnect};
use crate::forward::UserProperties;
use crate::publish::Publish;
use crate::suback::{SubAck, UnsubAck};
use crate::subscribe::Subscribe;
use crate::unsubscribe::Unsubscribe;
use crate::{DecodeError, Version};

/// A packet of either version. Borrows the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "CONNECT is large, and the only one that no decoder of a stream makes")]
pub enum Packet<'a> {
    /// A client asks for a connection. Read by [`decode_connect`](crate::decode_connect).
    Connect(Connect<'a>),
    /// The server answers CONNECT.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// Acknowledges a PUBLISH of QoS 1.
    PubAck(Ack<'a>),
    /// Acknowledges a PUBLISH of QoS 2.
    PubRec(Ack<'a>),
    /// Acknowledges PUBREC: the message is released.
    PubRel(Ack<'a>),
    /// Acknowledges PUBREL: the message is done.
    PubComp(Ack<'a>),
    /// A client subscribes.
    Subscribe(Subscribe<'a>),
    /// The server answers SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// A client unsubscribes.
    Unsubscribe(Unsubscribe<'a>),
    /// The server answers UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// A client shows that it lives.
    PingReq,
    /// The server answers PINGREQ.
    PingResp,
    /// One side says why it closes.
    Disconnect(Disconnect<'a>),
    /// A step of an extended authentication.
    Auth(Auth<'a>),
}

/// The types of packets, numbered as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "Packet describes them")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl<'a> Packet<'a> {
    /// The user properties of the packet, whichever it is; of a CONNECT those of the connection.
    pub fn user_properties(&self) -> UserProperties<'a> {
        match self {
            Packet::Connect(connect) => connect.user,
            Packet::ConnAck(connack) => connack.properties.user,
            Packet::Publish(publish) => publish.properties.forward.user_properties(),
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                ack.properties.user
            }
            Packet::Subscribe(subscribe) => subscribe.user,
            Packet::SubAck(suback) => suback.properties.user,
            Packet::Unsubscribe(unsubscribe) => unsubscribe.user,
            Packet::UnsubAck(unsuback) => unsuback.properties.user,
            Packet::PingReq | Packet::PingResp => UserProperties::EMPTY,
            Packet::Disconnect(disconnect) => disconnect.user,
            Packet::Auth(auth) => auth.user,
        }
    }
}

impl PacketType {
    /// The type in the high half of a packet's first byte; nothing for 0, which is reserved.
    pub const fn of(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The first byte of a packet of this type whose flags are fixed (MQTT 5.0, 2.1.3).
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// Refuses flags other than the fixed ones.
    #[inline]
    pub(crate) const fn check_flags(self, first: u8) -> Result<(), DecodeError> {
        let wanted = self.first_byte();
        if first == wanted {
            return Ok(());
        }
        Err(DecodeError::FixedHeaderFlags { packet: self, found: first & 0x0f, wanted: wanted & 0x0f })
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The side that a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// Reads a packet that a server received from a client after its CONNECT.
///
/// `first` and `body` are those of [`Framed::Whole`](crate::Framed::Whole).
#[inline]
pub fn decode<'a>(version: Version, first: u8, body: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
    match first >> 4 {
        3 => Publish::decode(version, first, body, Sender::Client).map(Packet::Publish),
        _ => decode_rare(version, first, body, Sender::Client),
    }
}

/// Reads a packet that a client received from a server.
pub fn decode_from_server<'a>(version: Version, first: u8, body: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
    decode_rare(version, first, body, Sender::Server)
}

fn decode_rare<'a>(version: Version, first: u8, body: &'a [u8], sender: Sender) -> Result<Packet<'a>, DecodeError> {
    use PacketType as Type;
    let reserved = DecodeError::ReservedPacketType { found: first >> 4, version };
    let packet = match (PacketType::of(first), version) {
        (None, _) | (Some(Type::Auth), Version::V311) => return Err(reserved),
        (Some(packet), _) => packet,
    };
    if packet != Type::Publish {
        packet.check_flags(first)?;
    }
    match (packet, sender) {
        (Type::Publish, _) => Publish::decode(version, first, body, sender).map(Packet::Publish),
        (Type::PubAck, _) => Ack::decode(version, AckKind::PubAck, body).map(Packet::PubAck),
        (Type::PubRec, _) => Ack::decode(version, AckKind::PubRec, body).map(Packet::PubRec),
        (Type::PubRel, _) => Ack::decode(version, AckKind::PubRel, body).map(Packet::PubRel),
        (Type::PubComp, _) => Ack::decode(version, AckKind::PubComp, body).map(Packet::PubComp),
        (Type::Subscribe, Sender::Client) => Subscribe::decode(version, body).map(Packet::Subscribe),
        (Type::Unsubscribe, Sender::Client) => Unsubscribe::decode(version, body).map(Packet::Unsubscribe),
        (Type::PingReq, Sender::Client) => without_body(packet, body).map(|()| Packet::PingReq),
        (Type::Disconnect, Sender::Client) => Disconnect::decode(version, body, sender).map(Packet::Disconnect),
        (Type::ConnAck, Sender::Server) => ConnAck::decode(version, body).map(Packet::ConnAck),
        (Type::SubAck, Sender::Server) => SubAck::decode(version, body).map(Packet::SubAck),
        (Type::UnsubAck, Sender::Server) => UnsubAck::decode(version, body).map(Packet::UnsubAck),
        (Type::PingResp, Sender::Server) => without_body(packet, body).map(|()| Packet::PingResp),
        // A 3.1.1 server closes the connection without a DISCONNECT (MQTT 3.1.1, 3.14).
        (Type::Disconnect, Sender::Server) if version == Version::V5 => {
            Disconnect::decode(version, body, sender).map(Packet::Disconnect)
        }
        (Type::Auth, _) => Auth::decode(body, sender).map(Packet::Auth),
        // CONNECT comes once, before all others (MQTT 5.0, 3.1).
        (_, Sender::Client) => Err(DecodeError::UnexpectedPacket { packet, wanted: "what a connected client sends" }),
        (_, Sender::Server) => Err(DecodeError::UnexpectedPacket { packet, wanted: "what a server sends" }),
    }
}

fn without_body(packet: PacketType, body: &[u8]) -> Result<(), DecodeError> {
    match body.len() {
        0 => Ok(()),
        extra => Err(DecodeError::TrailingBytes { packet, extra }),
    }
}

/// Appends any packet, as the given version writes it; a CONNECT in its own. What the version has no room for is left
/// out: in MQTT 3.1.1 properties, most reasons, and AUTH altogether.
///
/// # Panics
///
/// If the packet, or a text in it, is longer than the protocol can say.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    match packet {
        Packet::Connect(connect) => encode_connect(out, connect),
        Packet::ConnAck(connack) => encode_connack(out, version, connack),
        Packet::Publish(publish) => publish.encode(version, out),
        Packet::PubAck(ack) => encode_ack(out, version, AckKind::PubAck, ack),
        Packet::PubRec(ack) => encode_ack(out, version, AckKind::PubRec, ack),
        Packet::PubRel(ack) => encode_ack(out, version, AckKind::PubRel, ack),
        Packet::PubComp(ack) => encode_ack(out, version, AckKind::PubComp, ack),
        Packet::Subscribe(subscribe) => subscribe.encode(version, out),
        Packet::SubAck(suback) => suback.encode(version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
        Packet::UnsubAck(unsuback) => unsuback.encode(version, out),
        Packet::PingReq => encode_pingreq(out),
        Packet::PingResp => encode_pingresp(out),
        Packet::Disconnect(disconnect) => encode_disconnect(out, version, disconnect),
        Packet::Auth(auth) => match version {
            Version::V311 => {}
            Version::V5 => encode_auth(out, auth),
        },
    }
}

/// Appends a PINGREQ.
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingReq.first_byte(), 0]);
}

/// Appends a PINGRESP.
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingResp.first_byte(), 0]);
}
