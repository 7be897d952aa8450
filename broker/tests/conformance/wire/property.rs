//! The properties of MQTT 5.0 (2.2.2.2), written and read by hand so that no mistake is shared with the broker.

use super::read::Reader;

/// A property with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelay(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    User(String, String),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdsAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

use Property::*;

/// A user property.
pub fn user(name: &str, value: &str) -> Property {
    User(name.to_owned(), value.to_owned())
}

/// Text with its length before it; it need not be UTF-8.
pub fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a test's text fits its length field");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A variable byte integer in its shortest form.
pub fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

/// Properties with their length before them.
pub fn block(properties: &[Property]) -> Vec<u8> {
    let body: Vec<u8> = properties.iter().flat_map(Property::encode).collect();
    [variable(body.len()), body].concat()
}

impl Property {
    /// The identifier; all are below 128, one byte of a variable byte integer.
    pub fn id(&self) -> u8 {
        match self {
            PayloadFormat(_) => 0x01,
            MessageExpiry(_) => 0x02,
            ContentType(_) => 0x03,
            ResponseTopic(_) => 0x08,
            CorrelationData(_) => 0x09,
            SubscriptionId(_) => 0x0b,
            SessionExpiry(_) => 0x11,
            AssignedClientId(_) => 0x12,
            ServerKeepAlive(_) => 0x13,
            AuthenticationMethod(_) => 0x15,
            AuthenticationData(_) => 0x16,
            RequestProblemInformation(_) => 0x17,
            WillDelay(_) => 0x18,
            RequestResponseInformation(_) => 0x19,
            ResponseInformation(_) => 0x1a,
            ServerReference(_) => 0x1c,
            ReasonString(_) => 0x1f,
            ReceiveMaximum(_) => 0x21,
            TopicAliasMaximum(_) => 0x22,
            TopicAlias(_) => 0x23,
            MaximumQos(_) => 0x24,
            RetainAvailable(_) => 0x25,
            User(..) => 0x26,
            MaximumPacketSize(_) => 0x27,
            WildcardSubscriptionAvailable(_) => 0x28,
            SubscriptionIdsAvailable(_) => 0x29,
            SharedSubscriptionAvailable(_) => 0x2a,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let value = match self {
            PayloadFormat(value)
            | RequestProblemInformation(value)
            | RequestResponseInformation(value)
            | MaximumQos(value)
            | RetainAvailable(value)
            | WildcardSubscriptionAvailable(value)
            | SubscriptionIdsAvailable(value)
            | SharedSubscriptionAvailable(value) => vec![*value],
            ServerKeepAlive(value) | ReceiveMaximum(value) | TopicAliasMaximum(value) | TopicAlias(value) => {
                value.to_be_bytes().to_vec()
            }
            MessageExpiry(value) | SessionExpiry(value) | WillDelay(value) | MaximumPacketSize(value) => {
                value.to_be_bytes().to_vec()
            }
            SubscriptionId(value) => variable(*value as usize),
            ContentType(value)
            | ResponseTopic(value)
            | AssignedClientId(value)
            | AuthenticationMethod(value)
            | ResponseInformation(value)
            | ServerReference(value)
            | ReasonString(value) => text(value),
            CorrelationData(value) | AuthenticationData(value) => text(value),
            User(name, value) => [text(name), text(value)].concat(),
        };
        [vec![self.id()], value].concat()
    }

    /// Reads one, with its identifier.
    pub fn decode(reader: &mut Reader<'_>) -> Property {
        match reader.variable() {
            0x01 => PayloadFormat(reader.flag()),
            0x02 => MessageExpiry(reader.four()),
            0x03 => ContentType(reader.text()),
            0x08 => ResponseTopic(reader.text()),
            0x09 => CorrelationData(reader.binary()),
            0x0b => SubscriptionId(reader.variable()),
            0x11 => SessionExpiry(reader.four()),
            0x12 => AssignedClientId(reader.text()),
            0x13 => ServerKeepAlive(reader.two()),
            0x15 => AuthenticationMethod(reader.text()),
            0x16 => AuthenticationData(reader.binary()),
            0x17 => RequestProblemInformation(reader.flag()),
            0x18 => WillDelay(reader.four()),
            0x19 => RequestResponseInformation(reader.flag()),
            0x1a => ResponseInformation(reader.text()),
            0x1c => ServerReference(reader.text()),
            0x1f => ReasonString(reader.text()),
            0x21 => ReceiveMaximum(reader.two()),
            0x22 => TopicAliasMaximum(reader.two()),
            0x23 => TopicAlias(reader.two()),
            0x24 => MaximumQos(reader.flag()),
            0x25 => RetainAvailable(reader.flag()),
            0x26 => User(reader.text(), reader.text()),
            0x27 => MaximumPacketSize(reader.four()),
            0x28 => WildcardSubscriptionAvailable(reader.flag()),
            0x29 => SubscriptionIdsAvailable(reader.flag()),
            0x2a => SharedSubscriptionAvailable(reader.flag()),
            id => reader.fail(&format!("property 0x{id:02x} does not exist")),
        }
    }
}
