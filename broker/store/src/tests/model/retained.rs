//! Retained messages and what is remembered of deleted ones, in the model.

use super::{Kept, Model};
use crate::*;

impl Model {
    pub(super) fn retain(&mut self, kept: &Kept, version: Version) -> RetainReply {
        let topic = kept.message.topic().to_owned();
        let deleted = self.tombstones.iter().find(|(it, ..)| *it == topic).map(|(_, version, _)| *version);
        let is_older = |current: Option<Version>| current.is_some_and(|current| version <= current);
        if is_older(deleted) || is_older(self.retained.get(&topic).map(|(_, version)| *version)) {
            return RetainReply::Older;
        }
        if kept.message.payload().is_empty() || kept.is_expired(self.time) {
            self.bury(&topic, version, self.bytes_with(kept, None));
            return RetainReply::Applied;
        }
        let is_new = !self.retained.contains_key(&topic);
        if is_new && self.retained.len() >= self.settings.retained_max as usize {
            return RetainReply::Refused(Bound::Retained);
        }
        let takes = if is_new { cost::RETAINED + topic.len() as u64 } else { 0 };
        let freed = if deleted.is_some() { cost::TOMBSTONE + topic.len() as u64 } else { 0 };
        if self.bytes_with(kept, None) + takes.saturating_sub(freed) > self.keeping_bytes_max() {
            return RetainReply::Refused(Bound::ShardBytes);
        }
        self.tombstones.retain(|(it, ..)| *it != topic);
        self.retained.insert(topic, (kept.clone(), version));
        RetainReply::Applied
    }

    fn keeping_bytes_max(&self) -> u64 {
        self.settings.shard_bytes_max - self.settings.shard_bytes_max / 4
    }

    /// `bytes` is what there is, with the message that is being dealt with.
    pub(super) fn bury(&mut self, topic: &str, version: Version, bytes: u64) {
        let had = self.retained.contains_key(topic) || self.tombstones.iter().any(|(it, ..)| it == topic);
        self.retained.remove(topic);
        self.tombstones.retain(|(it, ..)| it != topic);
        if !had && bytes + cost::TOMBSTONE + topic.len() as u64 > self.keeping_bytes_max() {
            self.totals.forgotten += 1;
            return;
        }
        let ends = self.time + u64::from(self.settings.tombstone_seconds) * 1000;
        self.tombstones.push((topic.to_owned(), version, ends));
        let Settings { tombstones_max, tombstone_bytes_max, .. } = self.settings;
        while self.tombstones.len() > tombstones_max as usize || self.tombstone_bytes() > tombstone_bytes_max {
            self.tombstones.remove(0);
            self.totals.forgotten += 1;
        }
    }
}
