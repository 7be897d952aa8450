//! A message as the shard keeps it: one allocation of its own size, shared by all queues, and what counts for its
//! expiry beside it.

use std::fmt;
use std::sync::Arc;

use fulmar_codec::QoS;

use crate::names::Time;

/// A message that a client published, or left as its will. A clone shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The quality of service of its publisher.
    pub qos: QoS,
    /// The retain flag of its publisher.
    pub retain: bool,
    /// How many seconds it is of use, from when this is committed (MQTT 5.0, 3.3.2.3.3). None: for ever.
    pub lifetime_seconds: Option<u32>,
    topic_length: u16,
    properties_length: u32,
    /// Topic, forwarded properties, payload.
    bytes: Arc<[u8]>,
}

impl Message {
    /// Copies the parts into one allocation. The properties are those that all receivers get unchanged, as
    /// [`ForwardProperties::write_to`](fulmar_codec::ForwardProperties::write_to) writes them. A topic has at most
    /// 65,535 bytes, and a packet at most 256 MB (MQTT 5.0, 1.5.4 and 1.5.5).
    pub fn new(topic: &str, qos: QoS, properties: &[u8], payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(topic.len() + properties.len() + payload.len());
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(properties);
        bytes.extend_from_slice(payload);
        Self {
            qos,
            retain: false,
            lifetime_seconds: None,
            topic_length: u16::try_from(topic.len()).expect("a topic of MQTT has at most 65,535 bytes"),
            properties_length: u32::try_from(properties.len()).expect("a packet of MQTT has at most 256 MB"),
            bytes: bytes.into(),
        }
    }

    /// The same with the retain flag set or not.
    #[must_use]
    pub fn with_retain(self, retain: bool) -> Self {
        Self { retain, ..self }
    }

    /// The same, of use for so long.
    #[must_use]
    pub fn with_lifetime(self, lifetime_seconds: Option<u32>) -> Self {
        Self { lifetime_seconds, ..self }
    }

    /// Where it was published.
    pub fn topic(&self) -> &str {
        str::from_utf8(&self.bytes[..self.topic_length.into()]).expect("the topic was text when the message was made")
    }

    /// What every receiver gets unchanged, encoded.
    pub fn properties(&self) -> &[u8] {
        &self.bytes[self.topic_length.into()..self.payload_start()]
    }

    /// The application's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_start()..]
    }

    /// Topic, properties and payload together.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn payload_start(&self) -> usize {
        usize::from(self.topic_length) + self.properties_length as usize
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { qos, retain, lifetime_seconds, .. } = self;
        write!(f, "Message({:?} {}", self.topic(), self.payload().escape_ascii())?;
        write!(f, ", QoS {qos}, retain {retain}, lifetime {lifetime_seconds:?})")
    }
}

/// When something ends that lasts so many seconds from `start`.
pub(crate) fn after_seconds(start: Time, seconds: u32) -> Time {
    start.saturating_add(u64::from(seconds) * 1000)
}

/// The whole seconds until `end`, rounded up; 0 once it is over.
pub(crate) fn seconds_until(end: Time, now: Time) -> u32 {
    u32::try_from(end.saturating_sub(now).div_ceil(1000)).unwrap_or(u32::MAX)
}
