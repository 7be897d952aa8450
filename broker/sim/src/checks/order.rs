//! What one publisher sends on one topic with one QoS comes in that order to a session (MQTT 5.0, 4.6), counted where each
//! message came first: QoS 1 may come again at any time.
//!
//! Two messages are compared if the earlier one was acknowledged before the later one was sent, or if each was sent once
//! and on the same connection. What was sent again on another connection may have been routed on the way that it went
//! first, or on the second. Shared subscriptions have no order (MQTT 5.0, 4.6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fulmar_codec::QoS;

use super::published::Published;
use super::{Promise, Violation};
use crate::history::{ActorId, Event, History, MessageId};

/// What came first in a session, by publisher and topic, in the order of its coming.
type Came = BTreeMap<(ActorId, Arc<str>, QoS), Vec<MessageId>>;

pub(super) fn check(history: &History, published: &Published) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut sessions: BTreeMap<&str, Came> = BTreeMap::new();
    let mut sharing: BTreeSet<&str> = BTreeSet::new();
    for (at, record) in history.records().iter().enumerate() {
        let profile = history.profile(record.actor);
        let came = sessions.entry(&profile.client_id).or_default();
        match &record.event {
            // A refusal says nothing of the session (MQTT 5.0, 3.2.2.1.1).
            Event::ConnAck { session_present: false, reason } if !reason.is_error() => came.clear(),
            Event::SubscribeSent { filter, .. } if filter.starts_with("$share/") => {
                sharing.insert(&profile.client_id);
            }
            Event::Received { message: Some(message), topic, retain: false, .. }
                if !sharing.contains(&*profile.client_id) =>
            {
                let Some(publish) = published.0.get(message).filter(|it| it.topic == *topic) else { continue };
                let came = came.entry((message.publisher, topic.clone(), publish.qos)).or_default();
                if came.contains(message) {
                    continue;
                }
                let is_before = |later: &&MessageId| {
                    let later_publish = &published.0[*later];
                    let same = publish.connections == later_publish.connections
                        && (publish.sent, later_publish.sent) == (1, 1);
                    later.number > message.number && (same || publish.is_surely_before(later_publish))
                };
                if let Some(later) = came.iter().find(is_before) {
                    let name = &profile.name;
                    let what = format!("{message} ({topic}) came to {name} after {later}, which was sent later");
                    found.push(Violation::new(Promise::Order, at, what));
                }
                came.push(*message);
            }
            _ => {}
        }
    }
    found
}
