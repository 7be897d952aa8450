//! Retained messages that a node learned from its store before anybody else told it: peers may lack them, too.
//!
//! A peer that has no copy of a shard knows what is retained by the publishes that came to it and by what others had when
//! it was linked with them. What they learn later, because their store had to catch up, is told here.

use fulmar_cluster::Version;
use fulmar_session::Message;

/// So many are remembered; when there are more, everything is told.
const TOPICS_MAX: usize = 1024;
/// The same in bytes of topics and messages.
const BYTES_MAX: usize = 1 << 20;

/// What a topic has been since; without a message it was deleted.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) topic: Box<str>,
    pub(crate) message: Option<Message>,
    pub(crate) version: Version,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Learned {
    changes: Vec<Change>,
    bytes: usize,
    has_overflowed: bool,
}

/// What is to be told.
#[derive(Debug)]
pub(crate) enum News {
    /// These.
    Changes(Vec<Change>),
    /// They were too many to be remembered: all that is retained.
    Everything,
}

impl Learned {
    pub(crate) fn add(&mut self, topic: &str, message: Option<Message>, version: Version) {
        if self.has_overflowed {
            return;
        }
        self.bytes += size_of::<Change>() + topic.len() + message.as_ref().map_or(0, Message::bytes);
        if self.changes.len() == TOPICS_MAX || self.bytes > BYTES_MAX {
            *self = Learned { has_overflowed: true, ..Learned::default() };
            return;
        }
        self.changes.push(Change { topic: topic.into(), message, version });
    }

    pub(crate) fn take(&mut self) -> News {
        let Learned { changes, has_overflowed, .. } = std::mem::take(self);
        if has_overflowed { News::Everything } else { News::Changes(changes) }
    }
}
