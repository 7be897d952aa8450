//! The properties of MQTT 5.0 (2.2.2): reading them one by one, and writing them.
//!
//! A packet takes the properties it knows in a `match` and hands the rest to [`PropertyReader::refuse`], so each match
//! is the list of what its packet may carry. That a property comes once is checked here for all of them.

use std::num::{NonZeroU16, NonZeroU32};

use crate::reader::Reader;
use crate::write::{put_binary, put_variable_integer, variable_integer_length};
use crate::{DecodeError, QoS};

/// One property with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Property<'a> {
    PayloadFormat(bool),
    MessageExpiry(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionId(NonZeroU32),
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelay(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    TopicAlias(NonZeroU16),
    MaximumQoS(QoS),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    MaximumPacketSize(NonZeroU32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdsAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

impl<'a> Property<'a> {
    /// Identifiers whose property may be there more than once: user properties.
    const REPEATABLE: u64 = 1 << 0x26;
    /// As above, in a PUBLISH from a server, which has one subscription identifier for each that matched.
    pub(crate) const REPEATABLE_IN_PUBLISH: u64 = Self::REPEATABLE | 1 << 0x0b;

    /// The identifier on the wire (MQTT 5.0, table 2-4).
    const fn id(&self) -> u8 {
        match self {
            Property::PayloadFormat(_) => 0x01,
            Property::MessageExpiry(_) => 0x02,
            Property::ContentType(_) => 0x03,
            Property::ResponseTopic(_) => 0x08,
            Property::CorrelationData(_) => 0x09,
            Property::SubscriptionId(_) => 0x0b,
            Property::SessionExpiry(_) => 0x11,
            Property::AssignedClientId(_) => 0x12,
            Property::ServerKeepAlive(_) => 0x13,
            Property::AuthenticationMethod(_) => 0x15,
            Property::AuthenticationData(_) => 0x16,
            Property::RequestProblemInformation(_) => 0x17,
            Property::WillDelay(_) => 0x18,
            Property::RequestResponseInformation(_) => 0x19,
            Property::ResponseInformation(_) => 0x1a,
            Property::ServerReference(_) => 0x1c,
            Property::ReasonString(_) => 0x1f,
            Property::ReceiveMaximum(_) => 0x21,
            Property::TopicAliasMaximum(_) => 0x22,
            Property::TopicAlias(_) => 0x23,
            Property::MaximumQoS(_) => 0x24,
            Property::RetainAvailable(_) => 0x25,
            Property::User(..) => 0x26,
            Property::MaximumPacketSize(_) => 0x27,
            Property::WildcardSubscriptionAvailable(_) => 0x28,
            Property::SubscriptionIdsAvailable(_) => 0x29,
            Property::SharedSubscriptionAvailable(_) => 0x2a,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Property::PayloadFormat(_) => "payload format indicator",
            Property::MessageExpiry(_) => "message expiry interval",
            Property::ContentType(_) => "content type",
            Property::ResponseTopic(_) => "response topic",
            Property::CorrelationData(_) => "correlation data",
            Property::SubscriptionId(_) => "subscription identifier",
            Property::SessionExpiry(_) => "session expiry interval",
            Property::AssignedClientId(_) => "assigned client identifier",
            Property::ServerKeepAlive(_) => "server keep alive",
            Property::AuthenticationMethod(_) => "authentication method",
            Property::AuthenticationData(_) => "authentication data",
            Property::RequestProblemInformation(_) => "request problem information",
            Property::WillDelay(_) => "will delay interval",
            Property::RequestResponseInformation(_) => "request response information",
            Property::ResponseInformation(_) => "response information",
            Property::ServerReference(_) => "server reference",
            Property::ReasonString(_) => "reason string",
            Property::ReceiveMaximum(_) => "receive maximum",
            Property::TopicAliasMaximum(_) => "topic alias maximum",
            Property::TopicAlias(_) => "topic alias",
            Property::MaximumQoS(_) => "maximum QoS",
            Property::RetainAvailable(_) => "retain available",
            Property::User(..) => "user property",
            Property::MaximumPacketSize(_) => "maximum packet size",
            Property::WildcardSubscriptionAvailable(_) => "wildcard subscription available",
            Property::SubscriptionIdsAvailable(_) => "subscription identifiers available",
            Property::SharedSubscriptionAvailable(_) => "shared subscription available",
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.variable_integer("property identifier")? {
            0x01 => Self::PayloadFormat(flag(reader, "payload format indicator")?),
            0x02 => Self::MessageExpiry(reader.four_bytes("message expiry interval")?),
            0x03 => Self::ContentType(reader.text("content type")?),
            0x08 => Self::ResponseTopic(response_topic(reader)?),
            0x09 => Self::CorrelationData(reader.binary("correlation data")?),
            0x0b => {
                let what = "subscription identifier";
                Self::SubscriptionId(NonZeroU32::new(reader.variable_integer(what)?).ok_or_else(|| zero(what))?)
            }
            0x11 => Self::SessionExpiry(reader.four_bytes("session expiry interval")?),
            0x12 => Self::AssignedClientId(reader.text("assigned client identifier")?),
            0x13 => Self::ServerKeepAlive(reader.two_bytes("server keep alive")?),
            0x15 => Self::AuthenticationMethod(reader.text("authentication method")?),
            0x16 => Self::AuthenticationData(reader.binary("authentication data")?),
            0x17 => Self::RequestProblemInformation(flag(reader, "request problem information")?),
            0x18 => Self::WillDelay(reader.four_bytes("will delay interval")?),
            0x19 => Self::RequestResponseInformation(flag(reader, "request response information")?),
            0x1a => Self::ResponseInformation(reader.text("response information")?),
            0x1c => Self::ServerReference(reader.text("server reference")?),
            0x1f => Self::ReasonString(reader.text("reason string")?),
            0x21 => {
                let what = "receive maximum";
                Self::ReceiveMaximum(NonZeroU16::new(reader.two_bytes(what)?).ok_or_else(|| zero(what))?)
            }
            0x22 => Self::TopicAliasMaximum(reader.two_bytes("topic alias maximum")?),
            0x23 => {
                let alias = NonZeroU16::new(reader.two_bytes("topic alias")?);
                Self::TopicAlias(alias.ok_or(DecodeError::TopicAliasZero)?)
            }
            0x24 => Self::MaximumQoS(match flag(reader, "maximum QoS")? {
                false => QoS::AtMostOnce,
                true => QoS::AtLeastOnce,
            }),
            0x25 => Self::RetainAvailable(flag(reader, "retain available")?),
            0x26 => Self::User(reader.text("user property name")?, reader.text("user property value")?),
            0x27 => {
                let what = "maximum packet size";
                Self::MaximumPacketSize(NonZeroU32::new(reader.four_bytes(what)?).ok_or_else(|| zero(what))?)
            }
            0x28 => Self::WildcardSubscriptionAvailable(flag(reader, "wildcard subscription available")?),
            0x29 => Self::SubscriptionIdsAvailable(flag(reader, "subscription identifiers available")?),
            0x2a => Self::SharedSubscriptionAvailable(flag(reader, "shared subscription available")?),
            id => return Err(DecodeError::UnknownProperty { id }),
        })
    }

    /// The bytes that the property takes, its identifier among them.
    pub(crate) fn length(&self) -> usize {
        1 + match self {
            Property::PayloadFormat(_)
            | Property::RequestProblemInformation(_)
            | Property::RequestResponseInformation(_)
            | Property::MaximumQoS(_)
            | Property::RetainAvailable(_)
            | Property::WildcardSubscriptionAvailable(_)
            | Property::SubscriptionIdsAvailable(_)
            | Property::SharedSubscriptionAvailable(_) => 1,
            Property::ServerKeepAlive(_)
            | Property::ReceiveMaximum(_)
            | Property::TopicAliasMaximum(_)
            | Property::TopicAlias(_) => 2,
            Property::MessageExpiry(_)
            | Property::SessionExpiry(_)
            | Property::WillDelay(_)
            | Property::MaximumPacketSize(_) => 4,
            Property::SubscriptionId(id) => variable_integer_length(id.get() as usize),
            Property::CorrelationData(bytes) | Property::AuthenticationData(bytes) => 2 + bytes.len(),
            Property::ContentType(text)
            | Property::ResponseTopic(text)
            | Property::AssignedClientId(text)
            | Property::AuthenticationMethod(text)
            | Property::ResponseInformation(text)
            | Property::ServerReference(text)
            | Property::ReasonString(text) => 2 + text.len(),
            Property::User(name, value) => 4 + name.len() + value.len(),
        }
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.push(self.id());
        match *self {
            Property::PayloadFormat(flag)
            | Property::RequestProblemInformation(flag)
            | Property::RequestResponseInformation(flag)
            | Property::RetainAvailable(flag)
            | Property::WildcardSubscriptionAvailable(flag)
            | Property::SubscriptionIdsAvailable(flag)
            | Property::SharedSubscriptionAvailable(flag) => out.push(flag.into()),
            Property::MaximumQoS(qos) => out.push(qos.level()),
            Property::ServerKeepAlive(number) | Property::TopicAliasMaximum(number) => {
                out.extend_from_slice(&number.to_be_bytes());
            }
            Property::ReceiveMaximum(number) | Property::TopicAlias(number) => {
                out.extend_from_slice(&number.get().to_be_bytes());
            }
            Property::MessageExpiry(number) | Property::SessionExpiry(number) | Property::WillDelay(number) => {
                out.extend_from_slice(&number.to_be_bytes());
            }
            Property::MaximumPacketSize(number) => out.extend_from_slice(&number.get().to_be_bytes()),
            Property::SubscriptionId(id) => put_variable_integer(out, id.get() as usize),
            Property::CorrelationData(bytes) | Property::AuthenticationData(bytes) => put_binary(out, bytes),
            Property::ContentType(text)
            | Property::ResponseTopic(text)
            | Property::AssignedClientId(text)
            | Property::AuthenticationMethod(text)
            | Property::ResponseInformation(text)
            | Property::ServerReference(text)
            | Property::ReasonString(text) => put_binary(out, text.as_bytes()),
            Property::User(name, value) => {
                put_binary(out, name.as_bytes());
                put_binary(out, value.as_bytes());
            }
        }
    }
}

fn zero(property: &'static str) -> DecodeError {
    DecodeError::PropertyValue { property, found: 0, wanted: "at least 1" }
}

fn flag(reader: &mut Reader<'_>, property: &'static str) -> Result<bool, DecodeError> {
    match reader.byte(property)? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(DecodeError::PropertyValue { property, found: found.into(), wanted: "0 or 1" }),
    }
}

fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let topic = reader.text("response topic")?;
    match topic.is_empty() || topic.contains(['+', '#']) {
        true => Err(DecodeError::ResponseTopic),
        false => Ok(topic),
    }
}

/// The properties of one packet, in order.
pub(crate) struct PropertyReader<'a> {
    block: &'a [u8],
    rest: Reader<'a>,
    seen: u64,
    repeatable: u64,
    packet: &'static str,
}

impl<'a> PropertyReader<'a> {
    /// Takes the length and that many bytes off the packet.
    pub(crate) fn new(reader: &mut Reader<'a>, packet: &'static str) -> Result<Self, DecodeError> {
        let length = reader.variable_integer("property length")?;
        Ok(Self::of_block(reader.bytes(length as usize, "properties")?, packet))
    }

    /// Reads properties whose length is known already.
    pub(crate) const fn of_block(block: &'a [u8], packet: &'static str) -> Self {
        Self { block, rest: Reader::new(block), seen: 0, repeatable: Property::REPEATABLE, packet }
    }

    /// Lets those repeat that may in a PUBLISH.
    pub(crate) const fn in_publish(self) -> Self {
        Self { repeatable: Property::REPEATABLE_IN_PUBLISH, ..self }
    }

    /// All property bytes, those already read among them.
    pub(crate) const fn block(&self) -> &'a [u8] {
        self.block
    }

    /// How much of the block has been read.
    pub(crate) const fn position(&self) -> usize {
        self.block.len() - self.rest.rest().len()
    }

    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let property = Property::read(&mut self.rest)?;
        let bit = 1 << property.id();
        if self.seen & bit & !self.repeatable != 0 {
            return Err(DecodeError::DuplicateProperty { property: property.name(), packet: self.packet });
        }
        self.seen |= bit;
        Ok(Some(property))
    }

    /// The error for a property that this packet does not have.
    pub(crate) const fn refuse(&self, property: &Property<'_>) -> DecodeError {
        DecodeError::PropertyNotAllowed { property: property.name(), packet: self.packet }
    }
}
