//! The retained message of each topic, or that it was deleted.

use std::sync::Arc;

use super::Shard;
use crate::ledger::{Due, MessageId, sabotaged};
use crate::message::after_seconds;
use crate::names::{Time, Version};
use crate::reply::RetainReply;
use crate::settings::{Bound, Use, cost};
use crate::tombstones::tombstone_bytes;

/// The retained message of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retained {
    pub(crate) body: MessageId,
    pub(crate) version: Version,
}

impl Shard {
    /// Makes a message the retained one of its topic, or leaves the topic without one if there is no payload (MQTT 5.0,
    /// 3.3.1.3) or nobody wants it any more. The highest version counts, in whatever order they come.
    pub(super) fn retain(&mut self, topic: &str, body: MessageId, version: Version) -> RetainReply {
        let is_older = self.retained_version(topic).is_some_and(|current| version <= current);
        if is_older && !sabotaged!(self.ledger, OlderVersionRetained) {
            return RetainReply::Older;
        }
        let kept = self.ledger.body(body);
        // What is stored just now has not left memory.
        let is_empty = kept.message().is_some_and(|message| message.payload().is_empty());
        if is_empty || kept.is_expired(self.time) {
            self.bury(topic, version);
            return RetainReply::Applied;
        }
        if let Err(bound) = self.room_to_retain(topic) {
            return RetainReply::Refused(bound);
        }
        self.remove_retained(topic);
        self.remove_tombstone(topic);
        self.insert_retained(topic.into(), Retained { body, version });
        RetainReply::Applied
    }

    /// That of the topic's message, or of its deletion.
    fn retained_version(&self, topic: &str) -> Option<Version> {
        let deleted = || self.tombstones.get(topic).map(|tombstone| tombstone.version);
        self.retained.get(topic).map(|retained| retained.version).or_else(deleted)
    }

    /// An old message makes room, but perhaps not enough: it goes only when the new one is there.
    fn room_to_retain(&self, topic: &str) -> Result<(), Bound> {
        let takes = match self.retained.contains_key(topic) {
            true => 0,
            false if self.retained.len() >= self.settings.retained_max as usize => return Err(Bound::Retained),
            false => retained_bytes(topic),
        };
        let freed = self.tombstones.get(topic).map_or(0, |_| tombstone_bytes(topic));
        self.ledger.has_room(takes.saturating_sub(freed), self.settings.shard_bytes_for(Use::Keeping))
    }

    /// The topic has no message any more, which is remembered for a while. The memory of it takes no more than the
    /// message did; where there was none, there may be no room for it.
    pub(super) fn bury(&mut self, topic: &str, version: Version) {
        let had = self.remove_retained(topic) | self.remove_tombstone(topic);
        let room = self.ledger.has_room(tombstone_bytes(topic), self.settings.shard_bytes_for(Use::Keeping));
        if sabotaged!(self.ledger, TombstoneForgotten) {
            return;
        }
        if !had && room.is_err() {
            self.ledger.totals.forgotten += 1;
            return;
        }
        self.insert_tombstone(topic.into(), version, after_seconds(self.time, self.settings.tombstone_seconds));
        while let Some(oldest) = self.tombstones.excess(&self.settings) {
            self.remove_tombstone(&oldest);
            self.ledger.totals.forgotten += 1;
        }
    }

    pub(crate) fn insert_tombstone(&mut self, topic: Arc<str>, version: Version, ends: Time) {
        self.ledger.take(tombstone_bytes(&topic));
        self.ledger.add_due(ends, Due::Tombstone(topic.clone()));
        self.tombstones.insert(topic, version, ends);
    }

    /// Whether there was one.
    pub(crate) fn remove_tombstone(&mut self, topic: &str) -> bool {
        let Some((topic, tombstone)) = self.tombstones.remove(topic) else { return false };
        self.ledger.give_back(tombstone_bytes(&topic));
        self.ledger.remove_due(tombstone.ends, Due::Tombstone(topic));
        true
    }

    pub(crate) fn insert_retained(&mut self, topic: Arc<str>, retained: Retained) {
        self.ledger.take(retained_bytes(&topic));
        self.ledger.hold(retained.body);
        self.ledger.set_retained(retained.body, true);
        if let Some(expires) = self.ledger.body(retained.body).expires {
            self.ledger.add_due(expires, Due::Retained(topic.clone()));
        }
        self.retained.insert(topic, retained);
    }

    /// Whether there was one.
    fn remove_retained(&mut self, topic: &str) -> bool {
        let Some((topic, retained)) = self.retained.remove_entry(topic) else { return false };
        if let Some(expires) = self.ledger.body(retained.body).expires {
            self.ledger.remove_due(expires, Due::Retained(topic.clone()));
        }
        self.ledger.give_back(retained_bytes(&topic));
        self.ledger.set_retained(retained.body, false);
        self.ledger.let_go(retained.body);
        true
    }

    /// The time of a topic's message is over. What is older than it must not come back either.
    pub(super) fn expire_retained(&mut self, topic: &str) {
        let version = self.retained[topic].version;
        self.bury(topic, version);
    }
}

pub(crate) fn retained_bytes(topic: &str) -> u64 {
    cost::RETAINED + topic.len() as u64
}
