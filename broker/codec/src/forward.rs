//! Property bytes that were validated once and are read or handed on later, without being copied.
//!
//! [`ForwardProperties`] are what every receiver of a message gets unchanged; [`UserProperties`] and
//! [`SubscriptionIds`] are what one wants to look at by itself; [`PropertiesBuilder`] makes such bytes.

use std::fmt;
use std::num::NonZeroU32;

use crate::DecodeError;
use crate::property::{Property, PropertyReader};

/// The properties of a message that its publisher chose for its receivers: payload format, content type, response
/// topic, correlation data and user properties, in their order (MQTT 5.0, 3.3.2.3).
///
/// Borrows the input. Topic alias, message expiry and subscription identifiers may lie between them there: they are
/// left out whenever these properties are read, compared or written.
#[derive(Clone, Copy, Default)]
pub struct ForwardProperties<'a> {
    /// From the first byte that is forwarded to the last.
    span: &'a [u8],
    /// How many bytes of the span are forwarded. Usually all.
    length: usize,
}

impl<'a> ForwardProperties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self { span: &[], length: 0 };

    /// Checks bytes from elsewhere: properties as in a PUBLISH, but only those that are forwarded.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut properties = PropertyReader::of_block(bytes, "forwarded properties");
        while let Some(property) = properties.next()? {
            if !is_forwarded(&property) {
                return Err(properties.refuse(&property));
            }
        }
        Ok(Self::from_validated(bytes))
    }

    /// Takes bytes that [`write_to`](Self::write_to) wrote, without checking them again.
    #[inline]
    pub const fn from_validated(bytes: &'a [u8]) -> Self {
        Self { span: bytes, length: bytes.len() }
    }

    /// How many bytes [`write_to`](Self::write_to) writes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends the properties, without a length before them.
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if self.length == self.span.len() {
            out.extend_from_slice(self.span);
        } else {
            self.segments().for_each(|segment| out.extend_from_slice(segment));
        }
    }

    /// Whether the payload is said to be UTF-8 (MQTT 5.0, 3.3.2.3.2).
    pub fn payload_is_utf8(&self) -> bool {
        self.find(|property| if let Property::PayloadFormat(utf8) = property { Some(utf8) } else { None }) == Some(true)
    }

    /// What the payload is, in words that sender and receiver agree on.
    pub fn content_type(&self) -> Option<&'a str> {
        self.find(|property| if let Property::ContentType(text) = property { Some(text) } else { None })
    }

    /// Where an answer is awaited.
    pub fn response_topic(&self) -> Option<&'a str> {
        self.find(|property| if let Property::ResponseTopic(topic) = property { Some(topic) } else { None })
    }

    /// What the answer is to carry, so that it is recognised.
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.find(|property| if let Property::CorrelationData(bytes) = property { Some(bytes) } else { None })
    }

    /// The user properties among them.
    #[inline]
    pub const fn user_properties(&self) -> UserProperties<'a> {
        UserProperties { block: self.span }
    }

    fn find<T>(&self, mut wanted: impl FnMut(Property<'a>) -> Option<T>) -> Option<T> {
        properties(self.span).find_map(|(property, _)| wanted(property))
    }

    /// The bytes of each property that is forwarded.
    fn segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        properties(self.span).filter(|(property, _)| is_forwarded(property)).map(|(_, bytes)| bytes)
    }
}

const fn is_forwarded(property: &Property<'_>) -> bool {
    matches!(
        property,
        Property::PayloadFormat(_)
            | Property::ContentType(_)
            | Property::ResponseTopic(_)
            | Property::CorrelationData(_)
            | Property::User(..)
    )
}

/// The properties of a validated block, each with its bytes.
fn properties<'a>(block: &'a [u8]) -> impl Iterator<Item = (Property<'a>, &'a [u8])> + use<'a> {
    let mut reader = PropertyReader::of_block(block, "validated properties").in_publish();
    std::iter::from_fn(move || {
        let start = reader.position();
        let property = reader.next().ok().flatten()?;
        Some((property, &block[start..reader.position()]))
    })
}

impl PartialEq for ForwardProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.segments().eq(other.segments())
    }
}

impl Eq for ForwardProperties<'_> {}

impl fmt::Debug for ForwardProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forwarded = properties(self.span).map(|(property, _)| property).filter(is_forwarded);
        f.debug_list().entries(forwarded).finish()
    }
}

/// Collects what is forwarded while the properties of a PUBLISH or a will are read.
#[derive(Default)]
pub(crate) struct ForwardSpan {
    start: usize,
    end: usize,
    length: usize,
}

impl ForwardSpan {
    /// The property between these positions is forwarded.
    pub(crate) const fn add(&mut self, start: usize, end: usize) {
        if self.length == 0 {
            self.start = start;
        }
        self.end = end;
        self.length += end - start;
    }

    pub(crate) fn of(self, block: &[u8]) -> ForwardProperties<'_> {
        ForwardProperties { span: &block[self.start..self.end], length: self.length }
    }
}

/// A user property without name and value: its identifier and two lengths.
const USER_PROPERTY_BYTES_MIN: usize = 5;

/// The user properties of a packet: pairs of text, in order, of which a name may come more than once.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// A block of validated properties; others are skipped.
    block: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// No user properties.
    pub const EMPTY: Self = Self { block: &[] };

    pub(crate) const fn of_block(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.block.is_empty() || self.iter().next().is_none()
    }

    /// Names and values, in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        properties(self.block).filter_map(|(property, _)| match property {
            Property::User(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Whether there are more than `max`. They are counted only if so many could be there.
    #[inline]
    pub fn exceed(&self, max: usize) -> bool {
        self.block.len() / USER_PROPERTY_BYTES_MIN > max && self.iter().nth(max).is_some()
    }

    pub(crate) fn length(&self) -> usize {
        self.iter().map(|(name, value)| Property::User(name, value).length()).sum()
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|(name, value)| Property::User(name, value).write_to(out));
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The subscription identifiers of a PUBLISH from a server: those of the subscriptions that it matched.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIds<'a> {
    /// A block of validated properties; others are skipped. Empty if it holds no subscription identifier.
    block: &'a [u8],
}

impl<'a> SubscriptionIds<'a> {
    pub(crate) const fn of_block(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// The identifiers in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = NonZeroU32> + use<'a> {
        properties(self.block).filter_map(|(property, _)| match property {
            Property::SubscriptionId(id) => Some(id),
            _ => None,
        })
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Makes properties to put into a packet of ours.
///
/// Names, values and topics must be text of MQTT: without U+0000 and at most 65,535 bytes long; longer ones panic.
#[derive(Debug, Clone, Default)]
pub struct PropertiesBuilder {
    bytes: Vec<u8>,
}

impl PropertiesBuilder {
    /// No properties yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Adds a user property.
    pub fn user(self, name: &str, value: &str) -> Self {
        self.with(&Property::User(name, value))
    }

    /// Says that the payload is UTF-8 or not.
    pub fn payload_is_utf8(self, utf8: bool) -> Self {
        self.with(&Property::PayloadFormat(utf8))
    }

    /// Says what the payload is.
    pub fn content_type(self, text: &str) -> Self {
        self.with(&Property::ContentType(text))
    }

    /// Says where an answer is awaited: a topic name.
    pub fn response_topic(self, topic: &str) -> Self {
        self.with(&Property::ResponseTopic(topic))
    }

    /// Says what the answer is to carry.
    pub fn correlation_data(self, bytes: &[u8]) -> Self {
        self.with(&Property::CorrelationData(bytes))
    }

    /// The properties for a PUBLISH or a will.
    pub fn forward(&self) -> ForwardProperties<'_> {
        ForwardProperties::from_validated(&self.bytes)
    }

    /// The user properties for any packet.
    pub fn user_properties(&self) -> UserProperties<'_> {
        UserProperties::of_block(&self.bytes)
    }

    fn with(mut self, property: &Property<'_>) -> Self {
        property.write_to(&mut self.bytes);
        self
    }
}
