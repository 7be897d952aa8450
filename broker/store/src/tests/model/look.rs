//! What there is in the model, found by looking at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Kept, Model};
use crate::*;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Will(ClientId),
    Session(ClientId),
    Queued(ClientId, Sequence),
    Retained(String),
    Tombstone(String),
}

fn names_bytes(client: &ClientId, user: &Option<Arc<str>>) -> u64 {
    (client.len() + user.as_ref().map_or(0, |user| user.len())) as u64
}

pub(super) fn will_bytes(client: &ClientId, user: &Option<Arc<str>>, will: &Will) -> u64 {
    cost::WILL + names_bytes(client, user) + will.message.bytes()
}

impl Model {
    /// All that is due, what is first first.
    pub(super) fn due(&self) -> Vec<(Time, Due)> {
        let mut due = Vec::new();
        for (client, session) in &self.sessions {
            due.extend(session.will_due().map(|at| (at, Due::Will(client.clone()))));
            due.extend(session.ends().map(|at| (at, Due::Session(client.clone()))));
            for place in session.queue.iter().filter(|place| place.sequence >= session.sent_until) {
                let expires = place.kept.as_ref().unwrap().expires;
                due.extend(expires.map(|at| (at, Due::Queued(client.clone(), place.sequence))));
            }
        }
        for (topic, (kept, _)) in &self.retained {
            due.extend(kept.expires.map(|at| (at, Due::Retained(topic.clone()))));
        }
        due.extend(self.tombstones.iter().map(|(topic, _, ends)| (*ends, Due::Tombstone(topic.clone()))));
        due.sort();
        due
    }

    pub(super) fn gone_sessions(&self) -> Vec<(Node, ClientId)> {
        let owned = self.sessions.iter().filter(|(_, it)| it.left_at.is_none() && self.is_gone(it.node));
        let mut sessions: Vec<_> = owned.map(|(client, it)| (it.node, client.clone())).collect();
        sessions.sort();
        sessions
    }

    pub(in crate::tests) fn next_due(&self) -> Option<Time> {
        if !self.gone_sessions().is_empty() {
            return Some(self.time);
        }
        self.due().first().map(|(at, _)| *at)
    }

    pub(in crate::tests) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        let mut bodies: BTreeMap<u64, u64> = BTreeMap::new();
        let mut hold = |kept: &Kept| {
            bodies.insert(kept.number, cost::BODY + kept.message.bytes());
        };
        for (client, session) in &self.sessions {
            bytes += cost::SESSION + names_bytes(client, &session.user);
            bytes += session.will.as_ref().map_or(0, |will| will_bytes(client, &session.user, will));
            bytes += session.received.len() as u64 * cost::RECEIVED;
            bytes += session.subscriptions.keys().map(|it| cost::SUBSCRIPTION + it.len() as u64).sum::<u64>();
            bytes += session.queue.len() as u64 * cost::PLACE;
            session.queue.iter().filter_map(|place| place.kept.as_ref()).for_each(&mut hold);
        }
        for (topic, (kept, _)) in &self.retained {
            bytes += cost::RETAINED + topic.len() as u64;
            hold(kept);
        }
        for (_, kept, to) in self.outbox.values().flat_map(|(_, waiting)| waiting) {
            bytes += cost::OUTBOX;
            if let Addressee::Subscribers { publisher } = to {
                bytes += publisher.len() as u64;
            }
            hold(kept);
        }
        bytes += self.shares().iter().map(|name| cost::SHARE + name.len() as u64).sum::<u64>();
        bytes += self.tombstone_bytes();
        bytes += self.wills.values().map(|it| will_bytes(&it.client, &it.user, &it.will)).sum::<u64>();
        bytes + bodies.values().sum::<u64>()
    }

    pub(super) fn tombstone_bytes(&self) -> u64 {
        self.tombstones.iter().map(|(topic, ..)| cost::TOMBSTONE + topic.len() as u64).sum()
    }

    /// The shared subscriptions of which messages wait.
    pub(super) fn shares(&self) -> BTreeSet<&Arc<str>> {
        let places = self.sessions.values().flat_map(|it| &it.queue).filter_map(|place| place.share.as_ref());
        let groups = self.outbox.values().flat_map(|(_, waiting)| waiting).filter_map(|(.., to)| match to {
            Addressee::Group(share) => Some(share),
            Addressee::Subscribers { .. } | Addressee::Retained(_) => None,
        });
        places.chain(groups).collect()
    }

    /// With a message that is being dealt with, whether anybody holds it yet or not, and its shared subscription.
    pub(super) fn bytes_with(&self, kept: &Kept, share: Option<&Arc<str>>) -> u64 {
        let places = self.sessions.values().flat_map(|it| &it.queue).filter_map(|place| place.kept.as_ref());
        let retained = self.retained.values().map(|(kept, _)| kept);
        let outbox = self.outbox.values().flat_map(|(_, waiting)| waiting).map(|(_, kept, _)| kept);
        let is_held = places.chain(retained).chain(outbox).any(|it| it.number == kept.number);
        let new_share = share.filter(|share| !self.shares().contains(share));
        let share_bytes = new_share.map_or(0, |share| cost::SHARE + share.len() as u64);
        self.bytes() + share_bytes + if is_held { 0 } else { cost::BODY + kept.message.bytes() }
    }

    pub(in crate::tests) fn bodies(&self) -> usize {
        let places = self.sessions.values().flat_map(|it| &it.queue).filter_map(|place| place.kept.as_ref());
        let retained = self.retained.values().map(|(kept, _)| kept);
        let outbox = self.outbox.values().flat_map(|(_, waiting)| waiting).map(|(_, kept, _)| kept);
        places.chain(retained).chain(outbox).map(|it| it.number).collect::<BTreeSet<_>>().len()
    }
}
