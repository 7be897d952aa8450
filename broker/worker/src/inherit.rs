//! What a member of a shared subscription was owed when its session ended goes to another member.
//!
//! MQTT 5.0, 4.8.2, leaves it to the server; to lose what a worker had not finished because it crashed would make shared
//! subscriptions useless for work. While the session waits for its client, so does what it is owed: sending it to another
//! member too would have two of them do the same work.

use crate::route::share_number;
use crate::sessions::Entry;
use crate::subscribe::split_share;
use crate::worker::Worker;
use fulmar_session::Message;
use std::num::NonZeroU32;
use std::time::Instant;

/// Shared subscriptions that a client has left and that its session remembers.
const LEFT_SHARES_MAX: usize = 16;

/// A message that a member of a shared subscription was sent or was to be sent, and has not acknowledged.
pub(crate) struct Owed {
    group: Box<str>,
    filter: Box<str>,
    message: Message,
}

impl Entry {
    /// What the session is owed as a member of shared groups, those that it has left included.
    pub(crate) fn owed_shares(&self) -> Vec<Owed> {
        let Entry { session, left_shares, .. } = self;
        let owed: Vec<(NonZeroU32, Message)> =
            session.owed().map(|(share, message)| (share, message.clone())).collect();
        if owed.is_empty() {
            return Vec::new();
        }
        let subscribed = session.subscriptions().map(|subscription| subscription.filter);
        let shares: Vec<(NonZeroU32, &str, &str)> = subscribed
            .chain(left_shares.iter().map(|filter| &**filter))
            .filter_map(|filter| {
                let (group, filter) = split_share(filter);
                group.map(|group| (share_number(group, filter), group, filter))
            })
            .collect();
        // Of subscriptions that were left, not all are remembered.
        let name = |(share, message)| {
            let (_, group, filter) = shares.iter().find(|(number, ..)| *number == share)?;
            Some(Owed { group: (*group).into(), filter: (*filter).into(), message })
        };
        owed.into_iter().filter_map(name).collect()
    }

    /// The client has left a subscription. If it is owed messages of it, they still are the group's.
    pub(crate) fn leave_share(&mut self, filter: &str) {
        let (Some(group), filter_alone) = split_share(filter) else { return };
        let number = share_number(group, filter_alone);
        let is_owed = self.left_shares.len() < LEFT_SHARES_MAX && self.session.owed().any(|(share, _)| share == number);
        if is_owed && !self.left_shares.iter().any(|left| **left == *filter) {
            self.left_shares.push(filter.into());
        }
    }
}

impl Worker {
    /// The session has ended and is a member of nothing any more: what it was owed goes on.
    pub(crate) fn hand_on(&mut self, owed: &[Owed], now: Instant) {
        for Owed { group, filter, message } in owed {
            if message.is_expired(now) {
                self.counters.dropped_expired += 1;
                continue;
            }
            self.scratch.found.clear();
            self.pick_again(group, filter);
            let outgoing = message.view();
            self.deliver_found(&outgoing, Some(message), now);
            self.pass_on(&outgoing, 0, now);
        }
    }

    /// One member of a shared group, by the rules of a publish. A node that stops asks other nodes only: its own members
    /// are about to go as well.
    fn pick_again(&mut self, group: &str, filter: &str) {
        let Worker { node, sessions, scratch, thread, counters, shutting_down, .. } = self;
        let trie = node.trie();
        let Some(shared) = trie.shared_group(group, filter) else {
            counters.dropped_no_member += 1;
            return;
        };
        if *shutting_down {
            match shared.nodes_in_turn().next() {
                Some(node) => scratch.found.add_pick(node, group, filter),
                None => counters.dropped_no_member += 1,
            }
        } else {
            scratch.found.pick(&shared, *thread, sessions);
        }
    }
}
