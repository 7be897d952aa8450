//! `$SYS`: the topics under which a node tells of itself.
//!
//! Their messages are retained ones for whoever subscribes, but lie in a store of their own: they count against no limit
//! of clients and never cross a link, and no client can write there. What they say is the program's to find out; here
//! is how it reaches subscribers. While nobody subscribes, no data thread is told of a new figure at all.

use crate::node::{Kept, Node, unpoisoned};
use crate::worker::Worker;
use fulmar_codec::{ForwardProperties, QoS};
use fulmar_router::{Retained, RetainedLimits, Set};
use fulmar_session::{Message, Outgoing};
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What a node tells of itself.
pub(crate) struct Sys {
    pub(crate) retained: RwLock<Retained<Kept>>,
    /// Filters with subscribers here.
    filters: AtomicUsize,
}

impl Sys {
    pub(crate) fn new() -> Sys {
        // The node alone writes here, a fixed list of topics.
        let limits = RetainedLimits {
            messages_max: usize::MAX,
            bytes_max: usize::MAX,
            tombstone_milliseconds: 0,
            tombstones_max: 0,
            tombstone_bytes_max: 0,
        };
        Sys { retained: RwLock::new(Retained::new(limits)), filters: AtomicUsize::new(0) }
    }

    /// A filter has its first subscriber on this node.
    pub(crate) fn joined(&self) {
        self.filters.fetch_add(1, Ordering::Relaxed);
    }

    /// A filter has no subscriber on this node any more.
    pub(crate) fn left(&self) {
        self.filters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a topic is the node's own, or all that match a filter are. A wildcard in the first level matches none of
/// them (MQTT 5.0, 4.7.2-1).
#[inline]
pub(crate) fn is_sys(topic: &str) -> bool {
    topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Node {
    /// Keeps what the node tells of itself for those who subscribe later. The answer is what subscribers that are there
    /// have to be told, by [`Worker::tell`] of one data thread; nothing if there are none.
    pub fn set_sys<'a>(&self, values: impl IntoIterator<Item = (&'a str, &'a str)>, now: Instant) -> Vec<Message> {
        let mut changed = Vec::new();
        let mut scratch = Vec::new();
        let mut retained = unpoisoned(self.sys.retained.write());
        for (topic, value) in values {
            let payload = value.as_bytes();
            let is_same = |kept: &Kept| kept.message().view().payload == payload;
            if retained.get(topic, 0).is_some_and(|stored| is_same(stored.message)) {
                continue;
            }
            let message = Message::new(&outgoing(topic, payload), &mut scratch);
            let version = self.tick(now);
            let version = fulmar_router::Version { clock: version.clock, node: version.node.0 };
            if retained.set(topic, Some(Kept::new(message.clone())), version, None, 0) == Set::Applied {
                changed.push(message);
            }
        }
        // Whoever joins from here on reads the store, which lets go of its lock only now.
        let is_heard = self.sys.filters.load(Ordering::Relaxed) > 0;
        if is_heard { changed } else { Vec::new() }
    }
}

/// QoS 0: a figure that is out of date has no place in the queue of an absent client.
fn outgoing<'a>(topic: &'a str, payload: &'a [u8]) -> Outgoing<'a> {
    let (qos, forward) = (QoS::AtMostOnce, ForwardProperties::EMPTY);
    Outgoing { topic, qos, retain: true, forward, payload, expires: None }
}

impl Worker {
    /// Brings what the node tells of itself to those of its clients that subscribed to it, and to nobody else.
    pub fn tell(&mut self, messages: &[Message], now: Instant) {
        for message in messages {
            let outgoing = message.view();
            self.find(outgoing.topic, None, false);
            self.deliver_found(&outgoing, Some(message), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_topics_have_sys_as_their_first_level() {
        let own = ["$SYS", "$SYS/", "$SYS/broker/uptime", "$SYS/#", "$SYS/+/x"];
        assert!(own.into_iter().all(is_sys));
        let others = ["", "$SYSTEM", "$sys/x", "#", "+/broker", "a/$SYS/b", "$share/g/$SYS/#", "$"];
        assert!(!others.into_iter().any(is_sys));
    }
}
