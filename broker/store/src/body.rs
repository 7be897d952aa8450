//! The body of a message that is kept: in memory, or in a file that whoever drives the shard has written.
//!
//! Which of the two is no part of the state: replicas differ in it, and nothing that an entry does depends on it. So what
//! applying needs of a body is here in any case, and the rest is read by those who send it.

use fulmar_codec::QoS;

use crate::message::Message;
use crate::names::Time;
use crate::settings::cost;

/// Where a body stands that is not in memory. The shard remembers it and makes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyPlace {
    /// In which file.
    pub file: u32,
    /// Where it begins there.
    pub offset: u32,
    /// How many bytes the message has as [`Message::encode`] writes it.
    pub length: u32,
}

/// Reads the bodies that are not in memory.
pub trait Bodies {
    /// Why one can't be read.
    type Error;

    /// The body with this number, at this place.
    ///
    /// # Errors
    /// If it is not there as it was written.
    fn read(&mut self, body: u64, place: BodyPlace) -> Result<Message, Self::Error>;
}

/// A message that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) content: Content,
    pub(crate) expires: Option<Time>,
    /// How many places hold it. Not part of a snapshot: counted again when it is loaded.
    pub(crate) references: u32,
    /// It is a topic's retained message, which stays in memory. Derived, too.
    pub(crate) is_retained: bool,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Memory(Message),
    Disk(OnDisk),
}

/// A body elsewhere, and what must be known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OnDisk {
    pub(crate) place: BodyPlace,
    /// Topic, properties and payload together.
    pub(crate) bytes: u32,
    pub(crate) qos: QoS,
}

/// What bodies count against the bounds of a shard, by where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BodyBytes {
    /// Those that may leave memory.
    pub(crate) in_memory: u64,
    /// Those that have left.
    pub(crate) on_disk: u64,
}

impl Body {
    pub(crate) fn new(content: Content, expires: Option<Time>, references: u32) -> Self {
        Self { content, expires, references, is_retained: false }
    }

    /// Topic, properties and payload together.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.content {
            Content::Memory(message) => message.bytes(),
            Content::Disk(OnDisk { bytes, .. }) => (*bytes).into(),
        }
    }

    /// What it counts, wherever it is.
    pub(crate) fn cost(&self) -> u64 {
        cost::BODY + self.bytes()
    }

    /// The same by where it is.
    pub(crate) fn counts(&self) -> BodyBytes {
        let cost = self.cost();
        match self.content {
            Content::Memory(_) if self.is_retained => BodyBytes::default(),
            Content::Memory(_) => BodyBytes { in_memory: cost, on_disk: 0 },
            Content::Disk(_) => BodyBytes { in_memory: 0, on_disk: cost },
        }
    }

    pub(crate) fn qos(&self) -> QoS {
        match &self.content {
            Content::Memory(message) => message.qos,
            Content::Disk(OnDisk { qos, .. }) => *qos,
        }
    }

    pub(crate) fn message(&self) -> Option<&Message> {
        match &self.content {
            Content::Memory(message) => Some(message),
            Content::Disk(_) => None,
        }
    }

    pub(crate) fn place(&self) -> Option<BodyPlace> {
        match &self.content {
            Content::Memory(_) => None,
            Content::Disk(OnDisk { place, .. }) => Some(*place),
        }
    }

    /// Whether its bytes are in memory and need not be.
    pub(crate) fn may_leave(&self) -> bool {
        !self.is_retained && matches!(self.content, Content::Memory(_))
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Of a shard that has all bodies in memory.
pub(crate) struct Nowhere;

impl Bodies for Nowhere {
    type Error = String;

    fn read(&mut self, body: u64, place: BodyPlace) -> Result<Message, String> {
        Err(format!("body {body} is at {place:?}, wanted in memory"))
    }
}
