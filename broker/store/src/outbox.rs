//! Messages that wait until a destination has them, numbered without gaps.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ledger::{Ledger, MessageId};
use crate::names::{ClientId, Number, Version};
use crate::settings::cost;
use crate::shares::ShareId;

/// What waits for one destination. Its numbers start at 1 and never start again while the destination lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox {
    /// The number of the last message that was put in.
    last: Number,
    /// The latest last: the one at the front has number `last + 1 - len`.
    waiting: VecDeque<Waiting>,
}

/// A message in an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) body: MessageId,
    pub(crate) to: Addressee<ShareId>,
}

/// Who gets a message of the outbox at its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressee<Group = Arc<str>> {
    /// All who have subscribed to its topic, but not by shared subscriptions.
    Subscribers {
        /// Who published it: not for its own subscriptions that say no local (MQTT 5.0, 3.8.3.1).
        publisher: ClientId,
    },
    /// One member of a shared subscription, which is named with its whole `$share/GROUP/FILTER`.
    Group(Group),
    /// Whoever subscribes later: it is the retained message of its topic, as this version of it.
    Retained(Version),
}

impl Outbox {
    /// From a snapshot, before its messages come.
    pub(crate) fn restored(last_done: Number) -> Self {
        Self { last: last_done, waiting: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn last(&self) -> Number {
        self.last
    }

    /// The number before that of the oldest message that waits.
    pub(crate) fn last_done(&self) -> Number {
        self.last - self.waiting.len() as u64
    }

    pub(crate) fn oldest(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Those from a number on, with their numbers.
    pub(crate) fn from(&self, number: Number) -> impl Iterator<Item = (Number, &Waiting)> {
        let skipped = number.saturating_sub(self.last_done() + 1);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        (self.last_done() + 1..).zip(&self.waiting).skip(skipped)
    }

    pub(crate) fn push(&mut self, waiting: Waiting, ledger: &mut Ledger) {
        ledger.hold(waiting.body);
        if let Addressee::Group(share) = waiting.to {
            ledger.hold_share(share);
        }
        ledger.take(waiting_bytes(&waiting.to));
        self.waiting.push_back(waiting);
        self.last += 1;
    }

    /// The destination has all up to a number.
    pub(crate) fn done(&mut self, until: Number, ledger: &mut Ledger) {
        while self.last_done() < until
            && let Some(waiting) = self.waiting.pop_front()
        {
            ledger.give_back(waiting_bytes(&waiting.to));
            ledger.let_go(waiting.body);
            if let Addressee::Group(share) = waiting.to {
                ledger.let_go_of_share(share);
            }
        }
    }
}

fn waiting_bytes(to: &Addressee<ShareId>) -> u64 {
    match to {
        Addressee::Subscribers { publisher } => cost::OUTBOX + publisher.len() as u64,
        Addressee::Group(_) | Addressee::Retained(_) => cost::OUTBOX,
    }
}
