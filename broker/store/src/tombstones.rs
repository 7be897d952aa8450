//! Topics whose retained message was deleted, and by which version, so that an older one that comes later does not
//! bring it back. They are remembered for a time and up to a bound, the latest longest.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::names::{Time, Version};
use crate::settings::{Settings, cost};

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstones {
    by_topic: BTreeMap<Arc<str>, Tombstone>,
    /// The oldest first. Snapshots keep the order, not the numbers.
    by_age: BTreeMap<u64, Arc<str>>,
    next: u64,
    bytes: u64,
}

/// That a topic's retained message was deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tombstone {
    /// What deleted it.
    pub(crate) version: Version,
    /// When it is forgotten.
    pub(crate) ends: Time,
    age: u64,
}

impl Tombstones {
    pub(crate) fn get(&self, topic: &str) -> Option<&Tombstone> {
        self.by_topic.get(topic)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// In the order in which they were made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Tombstone)> {
        self.by_age.values().map(|topic| (topic, &self.by_topic[topic]))
    }

    /// Of a topic that has none.
    pub(crate) fn insert(&mut self, topic: Arc<str>, version: Version, ends: Time) {
        let age = self.next;
        self.next += 1;
        self.bytes += tombstone_bytes(&topic);
        self.by_age.insert(age, topic.clone());
        self.by_topic.insert(topic, Tombstone { version, ends, age });
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<(Arc<str>, Tombstone)> {
        let (topic, tombstone) = self.by_topic.remove_entry(topic)?;
        self.by_age.remove(&tombstone.age);
        self.bytes -= tombstone_bytes(&topic);
        Some((topic, tombstone))
    }

    /// The oldest, if there are too many.
    pub(crate) fn excess(&self, settings: &Settings) -> Option<Arc<str>> {
        let is_within = self.len() <= settings.tombstones_max as usize && self.bytes <= settings.tombstone_bytes_max;
        self.by_age.first_key_value().filter(|_| !is_within).map(|(_, topic)| topic.clone())
    }
}

pub(crate) fn tombstone_bytes(topic: &str) -> u64 {
    cost::TOMBSTONE + topic.len() as u64
}
