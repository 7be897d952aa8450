//! A message on its way out: borrowed while the turn lasts ([`Outgoing`]), and in one allocation of its own size,
//! shared by all who keep it, when it outlives the turn ([`Message`]).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_codec::{ForwardProperties, Publish, QoS};

/// A message for its receivers, borrowed from the packet it came in, from a [`Message`] or from a frame of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The topic, never an alias.
    pub topic: &'a str,
    /// The quality of service of the publisher.
    pub qos: QoS,
    /// The retain flag of the publisher.
    pub retain: bool,
    /// What every receiver gets unchanged.
    pub forward: ForwardProperties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
    /// When nobody wants it any more.
    pub expires: Option<Instant>,
}

impl<'a> Outgoing<'a> {
    /// What a client published at `now`. The topic is that of the packet, or the one that its alias stands for.
    #[inline]
    pub fn of_publish(publish: &Publish<'a>, topic: &'a str, now: Instant) -> Self {
        Self {
            topic,
            qos: publish.qos,
            retain: publish.retain,
            forward: publish.properties.forward,
            payload: publish.payload,
            expires: publish.properties.message_expiry.map(|seconds| expiry(seconds, now)),
        }
    }

    /// Whether nobody wants it any more.
    #[inline]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// What is left of the message expiry, in whole seconds, rounded up; 0 once it is over.
    #[inline]
    pub fn expiry_seconds_left(&self, now: Instant) -> Option<u32> {
        self.expires.map(|expires| seconds_left(expires, now))
    }
}

impl<'a> Outgoing<'a> {
    /// The bytes that [`Self::write_to`] adds.
    pub fn bytes(&self) -> usize {
        HEAD_BYTES + self.topic.len() + self.forward.len() + self.payload.len()
    }

    /// Appends everything but the expiry to `bytes`, for [`Self::read`].
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        let Self { topic, qos, retain, forward, payload, expires: _ } = self;
        let topic_length = u16::try_from(topic.len()).expect("a topic of MQTT has at most 65,535 bytes");
        let forward_length = u32::try_from(forward.len()).expect("a packet of MQTT has at most 256 MB");
        bytes.reserve(self.bytes());
        bytes.push(qos.level() | if *retain { FLAG_RETAIN } else { 0 });
        bytes.extend_from_slice(&topic_length.to_be_bytes());
        bytes.extend_from_slice(&forward_length.to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
        forward.write_to(bytes);
        bytes.extend_from_slice(payload);
    }

    /// What [`Self::write_to`] wrote.
    pub fn read(bytes: &'a [u8], expires: Option<Instant>) -> Self {
        let (head, body) = bytes.split_at(HEAD_BYTES);
        let topic_length = u16::from_be_bytes([head[1], head[2]]);
        let forward_length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let (topic, body) = body.split_at(topic_length.into());
        let (forward, payload) = body.split_at(forward_length as usize);
        Self {
            topic: std::str::from_utf8(topic).expect("the topic was text when the message was written"),
            qos: QoS::new(head[0] & 0b11).expect("the quality of service was one when the message was written"),
            retain: head[0] & FLAG_RETAIN != 0,
            forward: ForwardProperties::from_validated(forward),
            payload,
            expires,
        }
    }
}

/// When a message expires that is of use for so many seconds.
pub(crate) fn expiry(seconds: u32, now: Instant) -> Instant {
    now + Duration::from_secs(seconds.into())
}

fn seconds_left(expires: Instant, now: Instant) -> u32 {
    let left = expires.saturating_duration_since(now);
    let rounded_up = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(rounded_up).unwrap_or(u32::MAX)
}

/// A scratch buffer that grew beyond this is given back once the message is made.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// Flags, length of the topic, length of the forwarded properties.
const HEAD_BYTES: usize = 1 + 2 + 4;
const FLAG_RETAIN: u8 = 0b100;

/// A message that outlives the turn in which it arrived. A clone shares the bytes.
#[derive(Clone)]
pub struct Message {
    /// Head, topic, forwarded properties, payload.
    bytes: Arc<[u8]>,
    expires: Option<Instant>,
}

impl Message {
    /// Copies a message into one allocation of its own size. What `scratch` held is lost.
    pub fn new(outgoing: &Outgoing<'_>, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        outgoing.write_to(scratch);
        let message = Self { bytes: Arc::from(scratch.as_slice()), expires: outgoing.expires };
        if scratch.capacity() > SCRATCH_BYTES_KEPT {
            *scratch = Vec::new();
        }
        message
    }

    /// Whether both are one allocation.
    #[cfg(test)]
    pub(crate) fn shares_bytes(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }

    /// The message as receivers take it.
    pub fn view(&self) -> Outgoing<'_> {
        Outgoing::read(&self.bytes, self.expires)
    }

    /// The bytes that the message takes, however many share it.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nobody wants it any more.
    #[inline]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.expires == other.expires
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.view()).finish()
    }
}

#[cfg(test)]
mod tests {
    use fulmar_codec::PropertiesBuilder;

    use super::*;

    #[test]
    fn a_message_is_what_it_was_made_from_and_its_clones_share_the_bytes() {
        let properties = PropertiesBuilder::new().content_type("text").user("a", "b");
        let expires = Some(Instant::now());
        let forward = properties.forward();
        let outgoing =
            Outgoing { topic: "a/ü", qos: QoS::ExactlyOnce, retain: true, forward, payload: b"21.5", expires };
        let mut scratch = b"rubbish".to_vec();
        let message = Message::new(&outgoing, &mut scratch);
        let clone = message.clone();
        assert_eq!((message.view(), clone.view()), (outgoing, outgoing));
        assert!(Arc::ptr_eq(&message.bytes, &clone.bytes));
        assert_eq!(message.bytes(), HEAD_BYTES + 4 + forward.len() + 4);

        let empty =
            Outgoing { topic: "t", qos: QoS::AtMostOnce, retain: false, payload: b"", expires: None, ..outgoing };
        assert_eq!(Message::new(&empty, &mut scratch).view(), empty);
    }

    #[test]
    fn a_large_message_does_not_leave_a_large_scratch_buffer() {
        let (forward, payload) = (ForwardProperties::EMPTY, vec![7; SCRATCH_BYTES_KEPT]);
        let outgoing =
            Outgoing { topic: "t", qos: QoS::AtLeastOnce, retain: false, forward, payload: &payload, expires: None };
        let mut scratch = Vec::new();
        assert_eq!(Message::new(&outgoing, &mut scratch).view(), outgoing);
        assert_eq!(scratch.capacity(), 0);
    }

    #[test]
    fn the_expiry_that_is_left_is_rounded_up() {
        let now = Instant::now();
        let (forward, expires) = (ForwardProperties::EMPTY, Some(now + Duration::from_secs(10)));
        let outgoing = Outgoing { topic: "t", qos: QoS::AtLeastOnce, retain: false, forward, payload: b"p", expires };
        let left = |milliseconds| {
            let later = now + Duration::from_millis(milliseconds);
            (outgoing.expiry_seconds_left(later), outgoing.is_expired(later))
        };
        assert_eq!(left(0), (Some(10), false));
        assert_eq!(left(1), (Some(10), false));
        assert_eq!(left(9001), (Some(1), false));
        assert_eq!(left(10_000), (Some(0), true));
    }
}
