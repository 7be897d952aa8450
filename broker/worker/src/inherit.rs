//! What a member of a shared subscription was owed when its session ended goes to another member.
//!
//! MQTT 5.0, 4.8.2, leaves it to the server; to lose what a worker had not finished because it crashed would make shared
//! subscriptions useless for work. While the session waits for its client, so does what it is owed: sending it to another
//! member too would have two of them do the same work.
//!
//! The same goes for what was on its way to the member: in a batch between threads, or behind other receivers.

use crate::route::{Asking, share_number};
use crate::sessions::Entry;
use crate::subscribe::split_share;
use crate::worker::Worker;
use fulmar_router::{Matches, NodeIndex, Options, SharedRef, SubscriberId};
use fulmar_session::{Message, Outgoing};
use std::num::NonZeroU32;
use std::time::Instant;

/// Shared subscriptions that a client has left and that its session remembers.
const LEFT_SHARES_MAX: usize = 16;

/// Messages that a session was to get as a member, and its shared subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    shares: Vec<(NonZeroU32, Box<str>)>,
    messages: Vec<(NonZeroU32, Message)>,
}

impl Entry {
    /// What others have to get if the session ends now.
    pub(crate) fn owed(&self) -> Owed {
        let Entry { session, left_shares, .. } = self;
        let messages: Vec<_> = session.owed().map(|(share, message)| (share, message.clone())).collect();
        if messages.is_empty() {
            return Owed::default();
        }
        let subscribed = session.subscriptions().map(|subscription| subscription.filter);
        let names = subscribed.chain(left_shares.iter().map(|filter| &**filter));
        let shares = names.filter_map(|name| {
            let (group, filter) = split_share(name);
            group.map(|group| (share_number(group, filter), name.into()))
        });
        Owed { shares: shares.collect(), messages }
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

/// Gathers the shared subscriptions with these numbers.
struct Missed<'a> {
    numbers: &'a [NonZeroU32],
    names: Vec<(String, String)>,
}

impl Matches for Missed<'_> {
    fn local(&mut self, _: SubscriberId, _: Options) {}

    fn remote(&mut self, _: NodeIndex) {}

    fn shared(&mut self, group: SharedRef<'_>) {
        if self.numbers.contains(&share_number(group.group, group.filter)) {
            self.names.push((group.group.to_owned(), group.filter.to_owned()));
        }
    }
}

impl Worker {
    /// Brings a message to other members of shared subscriptions whose member has ended before it got there.
    #[inline]
    pub(crate) fn hand_on_missed(&mut self, outgoing: &Outgoing<'_>, message: Option<&Message>, now: Instant) {
        if !self.missed.is_empty() {
            self.hand_on_all_missed(outgoing, message, now);
        }
    }

    #[cold]
    fn hand_on_all_missed(&mut self, outgoing: &Outgoing<'_>, message: Option<&Message>, now: Instant) {
        let numbers = std::mem::take(&mut self.missed);
        let mut missed = Missed { numbers: &numbers, names: Vec::new() };
        self.node.trie().matches(outgoing.topic, &mut missed);
        // Of some groups nobody is left, here or elsewhere.
        self.counters.dropped_no_member += numbers.len().saturating_sub(missed.names.len()) as u64;
        self.scratch.found.clear();
        for (group, filter) in &missed.names {
            self.pick_again(group, filter);
        }
        self.deliver_found(outgoing, message, now);
        self.pass_on(outgoing, 0, now);
    }

    /// A node that stops takes its sessions along, those too that wait for their clients: members of other nodes get what
    /// they are owed, and what comes from now on.
    pub(crate) fn hand_on_all(&mut self, now: Instant) {
        let sessions = self.sessions.iter_from(0).filter(|(_, entry)| !entry.is_leaving);
        let all: Vec<_> = sessions.map(|(id, entry)| (id, entry.owed())).collect();
        for (id, owed) in all {
            // What other threads have for it already is for other members too.
            self.forget_name(id);
            self.leave_groups(id);
            self.hand_on(&owed, now);
        }
    }

    /// Brings to other members what a session was owed that has ended. It may still be leaving its groups, which pass it over.
    pub(crate) fn hand_on(&mut self, owed: &Owed, now: Instant) {
        for (share, message) in &owed.messages {
            // Of subscriptions that were left, not all are remembered.
            let Some((_, name)) = owed.shares.iter().find(|(number, _)| number == share) else { continue };
            let (Some(group), filter) = split_share(name) else { continue };
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

    /// Brings a message to one member of a shared subscription that is here or at another node.
    pub(crate) fn hand_to_group(&mut self, group: &str, filter: &str, outgoing: &Outgoing<'_>, now: Instant) {
        self.scratch.found.clear();
        self.pick_again(group, filter);
        self.ask_for_groups(outgoing, now);
        self.deliver_found(outgoing, None, now);
        self.pass_on(outgoing, 0, now);
    }

    /// One member of a shared group, by the rules of a publish. A node that stops asks other nodes only: its own members
    /// are about to go as well.
    fn pick_again(&mut self, group: &str, filter: &str) {
        let Worker { node, sessions, scratch, thread, turn, counters, shutting_down, lanes, .. } = self;
        let trie = node.trie();
        let is_found = trie.shared_group(group, filter).is_some_and(|shared| {
            if *shutting_down {
                let next = shared.nodes_in_turn().next();
                next.inspect(|node| scratch.found.add_pick(*node, group, filter)).is_some()
            } else {
                scratch.found.pick(&shared, Asking { thread: *thread, sessions, lanes, window: turn.window })
            }
        });
        if !is_found {
            counters.dropped_no_member += 1;
        }
    }
}
