//! What was published, and what of it the server has said that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fulmar_codec::QoS;

use crate::history::{Event, History, MessageId};

/// A message that was published. Places are those of records in the history.
#[derive(Debug, Clone)]
pub(super) struct Publish {
    pub(super) topic: Arc<str>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) is_empty: bool,
    /// Where it was sent first.
    pub(super) first_sent: usize,
    /// How often it was.
    pub(super) sent: u32,
    /// On which connections of its publisher.
    pub(super) connections: BTreeSet<u32>,
    /// Where the server said that it has it; none: it did not, or refused it.
    pub(super) accepted: Option<usize>,
}

impl Publish {
    /// Whether it was acknowledged before the other one was sent at all.
    pub(super) fn is_surely_before(&self, other: &Publish) -> bool {
        self.accepted.is_some_and(|at| at < other.first_sent)
    }
}

/// All of them, by name.
#[derive(Debug)]
pub(super) struct Published(pub(super) BTreeMap<MessageId, Publish>);

impl Published {
    pub(super) fn of(history: &History) -> Published {
        let mut all: BTreeMap<MessageId, Publish> = BTreeMap::new();
        for (at, record) in history.records().iter().enumerate() {
            match &record.event {
                Event::PublishSent { message, topic, qos, retain, is_empty, dup: _ } => {
                    let publish = all.entry(*message).or_insert_with(|| Publish {
                        topic: topic.clone(),
                        qos: *qos,
                        retain: *retain,
                        is_empty: *is_empty,
                        first_sent: at,
                        sent: 0,
                        connections: BTreeSet::new(),
                        accepted: None,
                    });
                    publish.sent += 1;
                    publish.connections.insert(record.connection);
                }
                Event::Accepted { message, reason } if !reason.is_error() => {
                    if let Some(publish) = all.get_mut(message) {
                        publish.accepted = publish.accepted.or(Some(at));
                    }
                }
                _ => {}
            }
        }
        Published(all)
    }

    /// Those that the server has, with where it said so.
    pub(super) fn accepted(&self) -> impl Iterator<Item = (MessageId, &Publish, usize)> {
        self.0.iter().filter_map(|(message, publish)| Some((*message, publish, publish.accepted?)))
    }
}
