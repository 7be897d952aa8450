//! Publishes and retained messages on their way between nodes.

use fulmar_codec::{ForwardProperties, QoS};

use super::FrameError;
use super::message::{put_version, version};
use crate::clock::Version;
use crate::wire::{Reader, put_bytes32, put_text, put_u16, put_u32};

/// A publish for the receiving node: once, for all that the node does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkPublish<'a> {
    /// The publisher's quality of service.
    pub qos: QoS,
    /// The publisher's retain flag, for subscribers with Retain As Published (MQTT 5.0, 3.8.3.1).
    pub retain: bool,
    /// Deliver to the receiver's ordinary subscribers that match.
    pub live: bool,
    /// Store as the topic's retained message with this version; an empty payload deletes (MQTT 5.0, 3.3.1.3).
    pub retain_as: Option<Version>,
    /// The shared groups of which the receiver must serve one member each.
    pub shared: SharedList<'a>,
    /// How many nodes have passed the shared part on because its members had left. Nodes stop at two.
    pub hops: u8,
    /// The topic.
    pub topic: &'a str,
    /// Seconds until it expires, counted when it was sent.
    pub expiry: Option<u32>,
    /// Properties for every receiver.
    pub forward: ForwardProperties<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

const QOS_BITS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const LIVE: u8 = 1 << 3;
const RETAIN_AS: u8 = 1 << 4;
const SHARED: u8 = 1 << 5;
const EXPIRY: u8 = 1 << 6;
const FORWARD: u8 = 1 << 7;

impl<'a> LinkPublish<'a> {
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let Self { qos, retain, live, retain_as, shared, hops, topic, expiry, forward, payload } = self;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            qos.level()
                | flag(*retain, RETAIN)
                | flag(*live, LIVE)
                | flag(retain_as.is_some(), RETAIN_AS)
                | flag(!shared.is_empty(), SHARED)
                | flag(expiry.is_some(), EXPIRY)
                | flag(!forward.is_empty(), FORWARD),
        );
        if let Some(version) = retain_as {
            put_version(out, *version);
        }
        if !shared.is_empty() {
            out.push(*hops);
            put_u16(out, shared.count);
            out.extend_from_slice(shared.bytes);
        }
        put_text(out, topic);
        put_expiry(out, *expiry);
        put_forward(out, forward);
        put_bytes32(out, payload);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let flags = reader.u8("publish flags")?;
        let has = |bit: u8| flags & bit != 0;
        let retain_as = if has(RETAIN_AS) { Some(version(reader)?) } else { None };
        let (hops, shared) =
            if has(SHARED) { (reader.u8("hops")?, SharedList::decode(reader)?) } else { (0, SharedList::EMPTY) };
        Ok(Self {
            qos: qos(flags & QOS_BITS)?,
            retain: has(RETAIN),
            live: has(LIVE),
            retain_as,
            shared,
            hops,
            topic: reader.text("topic")?,
            expiry: if has(EXPIRY) { Some(reader.u32("expiry")?) } else { None },
            forward: if has(FORWARD) { forward(reader)? } else { ForwardProperties::EMPTY },
            payload: reader.bytes32("payload")?,
        })
    }

    pub(super) fn variable_length(&self) -> usize {
        self.topic.len() + self.forward.len() + self.payload.len() + self.shared.bytes.len()
    }
}

/// The shared groups of a publish, as they are on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SharedList<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> SharedList<'a> {
    /// No group.
    pub const EMPTY: Self = Self { count: 0, bytes: &[] };

    /// Whether there is no group.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many groups there are.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Each group with its filter.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        // The bytes were checked when they were decoded, or written by `SharedTargets`: the end is the only error.
        std::iter::from_fn(move || Some((reader.text("group").ok()?, reader.text("filter").ok()?)))
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let count = reader.u16("number of groups")?;
        if count == 0 {
            return Err(FrameError::Value { what: "number of groups", found: 0 });
        }
        let start = reader.rest();
        for _ in 0..count {
            reader.text("group")?;
            reader.text("filter")?;
        }
        Ok(Self { count, bytes: &start[..start.len() - reader.rest().len()] })
    }
}

impl std::fmt::Debug for SharedList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A list of groups takes no more once it has this length.
const SHARED_BYTES_MAX: usize = 64 * 1024;

/// Collects the shared groups of a publish; kept and cleared by the sender, so that it allocates once.
#[derive(Debug, Default)]
pub struct SharedTargets {
    count: u16,
    bytes: Vec<u8>,
}

impl SharedTargets {
    /// Adds a group. Answers false when the list is full; the caller then sends what there is and starts another.
    #[must_use]
    pub fn push(&mut self, group: &str, filter: &str) -> bool {
        if self.bytes.len() >= SHARED_BYTES_MAX {
            return false;
        }
        // Each takes four bytes at least, so the count stays far below its own limit.
        self.count += 1;
        put_text(&mut self.bytes, group);
        put_text(&mut self.bytes, filter);
        true
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }

    /// What was collected.
    pub fn list(&self) -> SharedList<'_> {
        SharedList { count: self.count, bytes: &self.bytes }
    }
}

/// What a node holds for a topic in its retained store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedEntry<'a> {
    /// The topic.
    pub topic: &'a str,
    /// When and where it was retained or deleted: the highest wins.
    pub version: Version,
    /// The message; nothing when it was deleted.
    pub message: Option<RetainedMessage<'a>>,
}

/// A retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedMessage<'a> {
    /// The publisher's quality of service.
    pub qos: QoS,
    /// Seconds until it expires, counted when it was sent.
    pub expiry: Option<u32>,
    /// Properties for every receiver.
    pub forward: ForwardProperties<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

const TOMBSTONE: u8 = 1 << 2;

impl<'a> RetainedEntry<'a> {
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let flags = match &self.message {
            None => TOMBSTONE,
            Some(RetainedMessage { qos, expiry, forward, .. }) => {
                let expiry = if expiry.is_some() { EXPIRY } else { 0 };
                let forward = if forward.is_empty() { 0 } else { FORWARD };
                qos.level() | expiry | forward
            }
        };
        out.push(flags);
        put_version(out, self.version);
        put_text(out, self.topic);
        if let Some(RetainedMessage { qos: _, expiry, forward, payload }) = &self.message {
            put_expiry(out, *expiry);
            put_forward(out, forward);
            put_bytes32(out, payload);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, FrameError> {
        let flags = reader.u8("retained flags")?;
        let tombstone = flags & TOMBSTONE != 0;
        let allowed = if tombstone { TOMBSTONE } else { QOS_BITS | EXPIRY | FORWARD };
        if flags & !allowed != 0 {
            return Err(FrameError::Value { what: "retained flags", found: u64::from(flags) });
        }
        let version = version(reader)?;
        let topic = reader.text("topic")?;
        if tombstone {
            return Ok(Self { topic, version, message: None });
        }
        let message = RetainedMessage {
            qos: qos(flags & QOS_BITS)?,
            expiry: if flags & EXPIRY == 0 { None } else { Some(reader.u32("expiry")?) },
            forward: if flags & FORWARD == 0 { ForwardProperties::EMPTY } else { forward(reader)? },
            payload: reader.bytes32("payload")?,
        };
        Ok(Self { topic, version, message: Some(message) })
    }

    pub(super) fn variable_length(&self) -> usize {
        self.topic.len() + self.message.map_or(0, |message| message.forward.len() + message.payload.len())
    }
}

fn qos(level: u8) -> Result<QoS, FrameError> {
    QoS::new(level).ok_or(FrameError::Value { what: "quality of service", found: u64::from(level) })
}

fn put_expiry(out: &mut Vec<u8>, expiry: Option<u32>) {
    if let Some(seconds) = expiry {
        put_u32(out, seconds);
    }
}

fn put_forward(out: &mut Vec<u8>, forward: &ForwardProperties<'_>) {
    if !forward.is_empty() {
        put_u32(out, u32::try_from(forward.len()).expect("the properties of an MQTT packet fit in 32 bits of length"));
        forward.write_to(out);
    }
}

fn forward<'a>(reader: &mut Reader<'a>) -> Result<ForwardProperties<'a>, FrameError> {
    let bytes = reader.bytes32("forwarded properties")?;
    if bytes.is_empty() {
        return Err(FrameError::Value { what: "length of forwarded properties", found: 0 });
    }
    ForwardProperties::parse(bytes).map_err(|_| FrameError::Properties)
}
