//! The retained message of each topic.

use std::sync::Arc;

use super::Shard;
use crate::ledger::{Due, MessageId};
use crate::names::Version;
use crate::settings::{Bound, Use, cost};

/// The retained message of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retained {
    pub(crate) body: MessageId,
    pub(crate) version: Version,
}

impl Shard {
    /// Makes a message the retained one of its topic, or leaves the topic without one if there is no payload (MQTT 5.0,
    /// 3.3.1.3) or nobody wants it any more. The version tells later messages of the topic from earlier ones either
    /// way.
    pub(super) fn retain(&mut self, topic: &str, body: MessageId) -> Result<Version, Bound> {
        let version = Version { index: self.applied, position: self.position };
        let kept = self.ledger.body(body);
        let clears = kept.message.payload().is_empty() || kept.is_expired(self.time);
        if !clears && !self.retained.contains_key(topic) {
            if self.retained.len() >= self.settings.retained_max as usize {
                return Err(Bound::Retained);
            }
            self.ledger.has_room(retained_bytes(topic), self.settings.shard_bytes_for(Use::Keeping))?;
        } else if !clears {
            // The old one makes room, but perhaps not enough.
            self.ledger.has_room(0, self.settings.shard_bytes_for(Use::Keeping))?;
        }
        self.remove_retained(topic);
        if !clears {
            self.insert_retained(topic.into(), Retained { body, version });
        }
        Ok(version)
    }

    pub(crate) fn insert_retained(&mut self, topic: Arc<str>, retained: Retained) {
        self.ledger.take(retained_bytes(&topic));
        self.ledger.hold(retained.body);
        if let Some(expires) = self.ledger.body(retained.body).expires {
            self.ledger.add_due(expires, Due::Retained(topic.clone()));
        }
        self.retained.insert(topic, retained);
    }

    pub(super) fn remove_retained(&mut self, topic: &str) {
        let Some((topic, retained)) = self.retained.remove_entry(topic) else { return };
        if let Some(expires) = self.ledger.body(retained.body).expires {
            self.ledger.remove_due(expires, Due::Retained(topic.clone()));
        }
        self.ledger.give_back(retained_bytes(&topic));
        self.ledger.let_go(retained.body);
    }
}

pub(crate) fn retained_bytes(topic: &str) -> u64 {
    cost::RETAINED + topic.len() as u64
}
