//! Topic aliases that a client set on its connection (MQTT 5.0, 3.3.2.3.4).

use std::num::NonZeroU16;

/// Topics by alias. Grows to the highest alias in use, which the caller holds below our Topic Alias Maximum.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    topics: Vec<Option<Box<str>>>,
    bytes: usize,
}

/// What the topics of a client's aliases may come to, on average for each that it may set: aliases are for topics that
/// are sent again and again, and those are not as long as topics may be.
const BYTES_PER_ALIAS_MAX: usize = 1024;

impl Aliases {
    /// False: the topics would be too long together.
    #[must_use]
    pub(crate) fn set(&mut self, alias: NonZeroU16, topic: &str, aliases_max: u16) -> bool {
        let index = usize::from(alias.get()) - 1;
        if index >= self.topics.len() {
            self.topics.resize(index + 1, None);
        }
        let held = &mut self.topics[index];
        // Many clients send topic and alias every time.
        if held.as_deref() != Some(topic) {
            let bytes = self.bytes - held.as_ref().map_or(0, |old| old.len()) + topic.len();
            if bytes > usize::from(aliases_max) * BYTES_PER_ALIAS_MAX {
                return false;
            }
            self.bytes = bytes;
            *held = Some(topic.into());
        }
        true
    }

    pub(crate) fn get(&self, alias: NonZeroU16) -> Option<&str> {
        self.topics.get(usize::from(alias.get()) - 1)?.as_deref()
    }
}
