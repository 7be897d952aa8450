//! Topic aliases that a client set on its connection (MQTT 5.0, 3.3.2.3.4).

use std::num::NonZeroU16;

use crate::limit::Limit;
use crate::quota::Held;

/// Topics by alias. Grows to the highest alias in use, which the caller holds below our Topic Alias Maximum.
#[derive(Debug)]
pub(crate) struct Aliases {
    topics: Vec<Option<Box<str>>>,
    topic_bytes: usize,
    /// What all of it takes of the memory for sessions.
    memory: Held,
}

/// What the topics of a client's aliases may come to, on average for each that it may set: aliases are for topics that
/// are sent again and again, and those are not as long as topics may be.
const BYTES_PER_ALIAS_MAX: usize = 1024;

/// What an alias takes beside its topic: its place, of which a list that grew has twice as many, and the allocator's share.
const PLACE_BYTES: usize = 2 * size_of::<Option<Box<str>>>() + 16;

impl Aliases {
    /// None yet. `memory` grows with them.
    pub(crate) fn new(memory: Held) -> Self {
        Self { topics: Vec::new(), topic_bytes: 0, memory }
    }

    /// An error: the topics would be too long together, or the node has no memory for this one.
    pub(crate) fn set(&mut self, alias: NonZeroU16, topic: &str, aliases_max: u16) -> Result<(), Limit> {
        let index = usize::from(alias.get()) - 1;
        let old = self.get(alias);
        // Many clients send topic and alias every time.
        if old == Some(topic) {
            return Ok(());
        }
        let topic_bytes = self.topic_bytes - old.map_or(0, str::len) + topic.len();
        if topic_bytes > usize::from(aliases_max) * BYTES_PER_ALIAS_MAX {
            return Err(Limit::TopicAliases);
        }
        let places = self.topics.len().max(index + 1);
        if !self.memory.resize(places * PLACE_BYTES + topic_bytes) {
            return Err(Limit::SessionBytesTotal);
        }
        self.topic_bytes = topic_bytes;
        self.topics.resize(places, None);
        self.topics[index] = Some(topic.into());
        Ok(())
    }

    pub(crate) fn get(&self, alias: NonZeroU16) -> Option<&str> {
        self.topics.get(usize::from(alias.get()) - 1)?.as_deref()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.memory.bytes()
    }
}
