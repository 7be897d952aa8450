//! CONNECT (MQTT 5.0, 3.1): the first packet of a client, which fixes the version of all that follow.

use std::num::{NonZeroU16, NonZeroU32};

use crate::forward::{ForwardProperties, ForwardSpan, UserProperties};
use crate::packet::PacketType;
use crate::property::{Property, PropertyReader};
use crate::reader::{Reader, variable_integer};
use crate::text::check_topic_text;
use crate::write::{PropertyList, put_binary, put_header, put_variable_integer, variable_integer_length};
use crate::{ConnectError, DecodeError, Framed, QoS, Version, split_frame};

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USERNAME: u8 = 0b1000_0000;

/// Set in the protocol level by a 3.1.1 client that is a bridge: a convention of several brokers.
const BRIDGE: u8 = 0x80;

/// What a client asks for when it connects. Where a property is absent, the field holds what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version of this packet and of all that follow on the connection.
    pub version: Version,
    /// The client is a bridge to another broker; MQTT 3.1.1 only.
    pub bridge: bool,
    /// Begin a new session, also where there is one to resume.
    pub clean_start: bool,
    /// Seconds in which the client sends at least one packet; 0: it need not.
    pub keep_alive: u16,
    /// The name of the client; may be empty: then the server makes one up.
    pub client_id: &'a str,
    /// What to publish when the client is gone.
    pub will: Option<Will<'a>>,
    /// Who connects.
    pub username: Option<&'a str>,
    /// The proof of that.
    pub password: Option<&'a [u8]>,
    /// Seconds for which the session outlives its connection; `u32::MAX`: for ever.
    /// In MQTT 3.1.1 that is what clean session 0 asks for.
    pub session_expiry: u32,
    /// How many publishes of QoS 1 and 2 the client takes before it acknowledges one.
    pub receive_maximum: NonZeroU16,
    /// The longest packet that the client takes.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// How many topic aliases the client keeps.
    pub topic_alias_max: u16,
    /// The client would like response information in CONNACK.
    pub request_response_information: bool,
    /// The client takes reason strings and user properties with failures of all kinds.
    pub request_problem_information: bool,
    /// The extended authentication that the client wants.
    pub authentication_method: Option<&'a str>,
    /// Its first data.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties of the connection.
    pub user: UserProperties<'a>,
}

/// What the server publishes for a client that went away without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// The quality of service.
    pub qos: QoS,
    /// Publish it as retained.
    pub retain: bool,
    /// A topic name: text without wildcards, not empty.
    pub topic: &'a str,
    /// The message itself.
    pub payload: &'a [u8],
    /// Seconds between the end of the connection and the will.
    pub delay: u32,
    /// Seconds for which the message is of use, once published.
    pub message_expiry: Option<u32>,
    /// The client says that the payload is UTF-8.
    pub payload_is_utf8: bool,
    /// What every receiver gets unchanged.
    pub forward: ForwardProperties<'a>,
}

impl<'a> Connect<'a> {
    /// A CONNECT with a clean start, without credentials, will and properties.
    pub const fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            session_expiry: 0,
            receive_maximum: NonZeroU16::MAX,
            packet_bytes_max: None,
            topic_alias_max: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user: UserProperties::EMPTY,
        }
    }

    /// Reads what follows the protocol level.
    fn decode(mut reader: Reader<'a>, version: Version, bridge: bool) -> Result<Self, DecodeError> {
        let packet = PacketType::Connect;
        let flags = reader.byte("connect flags")?;
        check_connect_flags(flags, version)?;
        let mut connect = Self::new(version, "");
        connect.bridge = bridge;
        connect.clean_start = flags & CLEAN_START != 0;
        connect.keep_alive = reader.two_bytes("keep alive")?;
        if version == Version::V5 {
            connect.decode_properties(&mut reader)?;
        }
        connect.client_id = reader.text("client identifier")?;
        if flags & WILL != 0 {
            connect.will = Some(Will::decode(&mut reader, flags, version)?);
        }
        if flags & USERNAME != 0 {
            connect.username = Some(reader.text("user name")?);
        }
        if flags & PASSWORD != 0 {
            connect.password = Some(reader.binary("password")?);
        }
        reader.finish(packet)?;
        if version == Version::V311 && !connect.clean_start {
            connect.session_expiry = u32::MAX;
            if connect.client_id.is_empty() {
                return Err(DecodeError::NoClientId);
            }
        }
        Ok(connect)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let packet = PacketType::Connect;
        let mut properties = PropertyReader::new(reader, packet.name())?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiry(seconds) => self.session_expiry = seconds,
                Property::ReceiveMaximum(maximum) => self.receive_maximum = maximum,
                Property::MaximumPacketSize(bytes) => self.packet_bytes_max = Some(bytes),
                Property::TopicAliasMaximum(maximum) => self.topic_alias_max = maximum,
                Property::RequestResponseInformation(wanted) => self.request_response_information = wanted,
                Property::RequestProblemInformation(wanted) => self.request_problem_information = wanted,
                Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                Property::User(..) => self.user = UserProperties::of_block(properties.block()),
                other => return Err(properties.refuse(&other)),
            }
        }
        match (self.authentication_method, self.authentication_data) {
            (None, Some(_)) => Err(DecodeError::NoAuthenticationMethod { packet }),
            _ => Ok(()),
        }
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let will =
            self.will.map_or(0, |will| WILL | will.qos.level() << WILL_QOS_SHIFT | flag(will.retain, WILL_RETAIN));
        will | flag(self.clean_start, CLEAN_START)
            | flag(self.username.is_some(), USERNAME)
            | flag(self.password.is_some(), PASSWORD)
    }

    /// The properties, without those that say what their absence says.
    fn properties(&self) -> PropertyList<'a, 8> {
        let known = [
            (self.session_expiry != 0).then_some(Property::SessionExpiry(self.session_expiry)),
            (self.receive_maximum != NonZeroU16::MAX).then_some(Property::ReceiveMaximum(self.receive_maximum)),
            self.packet_bytes_max.map(Property::MaximumPacketSize),
            (self.topic_alias_max != 0).then_some(Property::TopicAliasMaximum(self.topic_alias_max)),
            self.request_response_information.then_some(Property::RequestResponseInformation(true)),
            (!self.request_problem_information).then_some(Property::RequestProblemInformation(false)),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        PropertyList::new(known, self.user)
    }
}

/// The flags may contradict neither the specification nor each other (MQTT 5.0, 3.1.2.3 to 3.1.2.9).
fn check_connect_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    let refuse = |wanted| Err(DecodeError::ConnectFlags { found: flags, wanted });
    if flags & 1 != 0 {
        return refuse("the reserved bit must be 0");
    }
    if flags & WILL == 0 && flags & (WILL_RETAIN | 3 << WILL_QOS_SHIFT) != 0 {
        return refuse("will QoS and will retain must be 0 without a will");
    }
    // MQTT 5.0 dropped this rule, for tokens sent as passwords (MQTT 3.1.1, 3.1.2.9).
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USERNAME == 0 {
        return refuse("a password needs a user name in MQTT 3.1.1");
    }
    Ok(())
}

impl<'a> Will<'a> {
    /// A will of QoS 0, without delay and properties.
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            payload,
            delay: 0,
            message_expiry: None,
            payload_is_utf8: false,
            forward: ForwardProperties::EMPTY,
        }
    }

    fn decode(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Self, DecodeError> {
        let mut will = Self::new("", &[]);
        will.qos = QoS::new(flags >> WILL_QOS_SHIFT & 3).ok_or(DecodeError::Qos3 { what: "will" })?;
        will.retain = flags & WILL_RETAIN != 0;
        if version == Version::V5 {
            will.decode_properties(PropertyReader::new(reader, "the will")?)?;
        }
        will.topic = check_topic_text(reader.binary("will topic")?, "will topic")?;
        if will.topic.is_empty() {
            return Err(DecodeError::EmptyTopic { what: "will topic" });
        }
        will.payload = reader.binary("will payload")?;
        Ok(will)
    }

    fn decode_properties(&mut self, mut properties: PropertyReader<'a>) -> Result<(), DecodeError> {
        let mut forward = ForwardSpan::default();
        loop {
            let start = properties.position();
            let Some(property) = properties.next()? else { break };
            match property {
                Property::WillDelay(seconds) => self.delay = seconds,
                Property::MessageExpiry(seconds) => self.message_expiry = Some(seconds),
                Property::PayloadFormat(utf8) => {
                    self.payload_is_utf8 = utf8;
                    forward.add(start, properties.position());
                }
                Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::User(..) => forward.add(start, properties.position()),
                other => return Err(properties.refuse(&other)),
            }
        }
        self.forward = forward.of(properties.block());
        Ok(())
    }

    fn properties_length(&self) -> usize {
        self.properties().iter().flatten().map(Property::length).sum::<usize>() + self.forward.len()
    }

    fn properties(&self) -> [Option<Property<'a>>; 2] {
        let delay = (self.delay != 0).then_some(Property::WillDelay(self.delay));
        [delay, self.message_expiry.map(Property::MessageExpiry)]
    }

    fn length(&self, version: Version) -> usize {
        let properties = match version {
            Version::V311 => 0,
            Version::V5 => variable_integer_length(self.properties_length()) + self.properties_length(),
        };
        properties + 2 + self.topic.len() + 2 + self.payload.len()
    }

    fn write_to(&self, version: Version, out: &mut Vec<u8>) {
        if version == Version::V5 {
            put_variable_integer(out, self.properties_length());
            self.properties().iter().flatten().for_each(|property| property.write_to(out));
            self.forward.write_to(out);
        }
        put_binary(out, self.topic.as_bytes());
        put_binary(out, self.payload);
    }
}

/// Finds the first packet of a connection. One that is too long is refused as soon as its length is known, in the
/// version that it asks for if it has come so far; otherwise closing must do (MQTT 5.0, 3.1.4).
pub fn split_connect(bytes: &[u8], packet_bytes_max: usize) -> Result<Framed<'_>, ConnectError> {
    split_frame(bytes, packet_bytes_max).map_err(|error| ConnectError { error, answer_in: announced_version(bytes) })
}

/// The version of a CONNECT that is not whole.
fn announced_version(bytes: &[u8]) -> Option<Version> {
    let (&first, rest) = bytes.split_first()?;
    let (_, length_bytes) = variable_integer(rest, "remaining length").ok()??;
    let (version, _) = decode_protocol(first, &mut Reader::new(&rest[length_bytes..])).ok()?;
    Some(version)
}

/// Reads the first packet of a connection, which must be a CONNECT.
///
/// `first` and `body` are those of [`Framed::Whole`](crate::Framed::Whole).
pub fn decode_connect(first: u8, body: &[u8]) -> Result<Connect<'_>, ConnectError> {
    let mut reader = Reader::new(body);
    let (version, bridge) = decode_protocol(first, &mut reader)?;
    Connect::decode(reader, version, bridge).map_err(|error| ConnectError { error, answer_in: Some(version) })
}

/// Reads protocol name and level: up to there nobody knows in which version to answer.
fn decode_protocol(first: u8, reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectError> {
    let silently = |error| ConnectError { error, answer_in: None };
    match PacketType::of(first) {
        Some(PacketType::Connect) => {}
        Some(packet) => {
            return Err(silently(DecodeError::UnexpectedPacket { packet, wanted: "CONNECT as the first packet" }));
        }
        None => return Err(silently(DecodeError::ReservedPacketType { found: 0, version: Version::V5 })),
    }
    let name = reader.binary("protocol name").map_err(silently)?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(silently(DecodeError::ProtocolName));
    }
    let level = reader.byte("protocol level").map_err(silently)?;
    let (version, bridge) = match (name, level) {
        (b"MQTT", 5) => (Version::V5, false),
        (b"MQTT", 4) => (Version::V311, false),
        (b"MQTT", level) if level == Version::V311.level() | BRIDGE => (Version::V311, true),
        // Clients of older versions (3.1 calls itself MQIsdp) know return code 1, of newer ones reason code 0x84.
        (b"MQTT", 6..=0x7f) => {
            return Err(ConnectError { error: DecodeError::ProtocolLevel { level }, answer_in: Some(Version::V5) });
        }
        _ => return Err(ConnectError { error: DecodeError::ProtocolLevel { level }, answer_in: Some(Version::V311) }),
    };
    let answer_in = Some(version);
    PacketType::Connect.check_flags(first).map_err(|error| ConnectError { error, answer_in })?;
    Ok((version, bridge))
}

/// Appends a CONNECT of the version that it holds.
///
/// # Panics
///
/// If a text or binary field is longer than 65,535 bytes.
pub fn encode_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let Connect { version, bridge, keep_alive, client_id, will, username, password, .. } = *connect;
    let properties = connect.properties();
    let length = 10
        + if version == Version::V5 { properties.length() } else { 0 }
        + 2
        + client_id.len()
        + will.map_or(0, |will| will.length(version))
        + username.map_or(0, |username| 2 + username.len())
        + password.map_or(0, |password| 2 + password.len());
    put_header(out, PacketType::Connect.first_byte(), length);
    put_binary(out, b"MQTT");
    out.push(version.level() | if bridge { BRIDGE } else { 0 });
    out.push(connect.flags());
    out.extend_from_slice(&keep_alive.to_be_bytes());
    if version == Version::V5 {
        properties.write_to(out);
    }
    put_binary(out, client_id.as_bytes());
    if let Some(will) = will {
        will.write_to(version, out);
    }
    if let Some(username) = username {
        put_binary(out, username.as_bytes());
    }
    if let Some(password) = password {
        put_binary(out, password);
    }
}
