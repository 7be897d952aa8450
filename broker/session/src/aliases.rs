//! Topic aliases that a client set on its connection (MQTT 5.0, 3.3.2.3.4).

use std::num::NonZeroU16;

/// Topics by alias. Grows to the highest alias in use, which the caller holds below our Topic Alias Maximum.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    topics: Vec<Option<Box<str>>>,
}

impl Aliases {
    pub(crate) fn set(&mut self, alias: NonZeroU16, topic: &str) {
        let index = usize::from(alias.get()) - 1;
        if index >= self.topics.len() {
            self.topics.resize(index + 1, None);
        }
        let held = &mut self.topics[index];
        // Many clients send topic and alias every time.
        if held.as_deref() != Some(topic) {
            *held = Some(topic.into());
        }
    }

    pub(crate) fn get(&self, alias: NonZeroU16) -> Option<&str> {
        self.topics.get(usize::from(alias.get()) - 1)?.as_deref()
    }
}
