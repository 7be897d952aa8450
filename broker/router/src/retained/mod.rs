//! Retained messages: the last one of each topic, found again by filters with wildcards.
//!
//! The topics lie in one ordered map, in an order in which everything below a level is neighbours (see [`key`]). A
//! filter jumps from one branch that may match to the next and never reads those in between, and a place in the order
//! stays valid whatever changes around it, so that a large answer can be read in pieces without holding a lock.
//!
//! Every change has a [`Version`]; the highest wins, in whatever order changes arrive. A deletion, and the end of a
//! message's expiry, leave a tombstone for a while, so that a late older message does not come back.

mod deadlines;
mod key;
mod ledger;
mod scan;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use self::deadlines::Deadline;
use self::ledger::Ledger;
pub use self::ledger::{Limit, RetainedCounts, RetainedLimits};
pub use self::scan::{Cursor, Scan};

/// Orders the changes of a topic across the cluster: by Lamport clock, then by node.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Version {
    /// The Lamport clock of the node where the message was published.
    pub clock: u64,
    /// The id of that node.
    pub node: u64,
}

/// Tells how much of the limit on bytes a message takes.
pub trait Weigh {
    /// Payload, properties and whatever else grows with the message, always the same; the store counts the topic itself.
    fn bytes(&self) -> usize;
}

impl<T: Weigh + ?Sized> Weigh for Arc<T> {
    fn bytes(&self) -> usize {
        T::bytes(self)
    }
}

/// What became of a change.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[must_use]
pub enum Set {
    /// It is the topic's state now.
    Applied,
    /// The topic's state is as new or newer, and stays.
    Older,
    /// The message is not retained; the topic's state stays.
    Refused(Limit),
}

/// A topic's state: `T` is `&M`, or `Option<&M>` where tombstones are given too.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Stored<'a, T> {
    /// The topic.
    pub topic: &'a str,
    /// Its message; none is a tombstone.
    pub message: T,
    /// The version of the change that made it so.
    pub version: Version,
    /// When the message expires, in milliseconds of the caller's clock.
    pub expires_at: Option<u64>,
}

/// The retained messages of a node. `M` is what the caller keeps of a message, preferably an `Arc`.
pub struct Retained<M> {
    topics: BTreeMap<Arc<str>, Entry<M>>,
    ledger: Ledger,
    /// A buffer for keys to look up.
    key: String,
}

/// The state of one topic.
struct Entry<M> {
    /// None is a tombstone.
    message: Option<M>,
    version: Version,
    /// When the message expires or the tombstone goes.
    deadline: Option<Deadline>,
}

impl<M> Entry<M> {
    fn live(&self, now: u64) -> Option<&M> {
        self.message.as_ref().filter(|_| self.deadline.is_none_or(|deadline| deadline.at > now))
    }

    fn expires_at(&self) -> Option<u64> {
        self.deadline.filter(|_| self.message.is_some()).map(|deadline| deadline.at)
    }
}

impl<M: Weigh> Retained<M> {
    /// An empty store.
    #[must_use]
    pub fn new(limits: RetainedLimits) -> Self {
        Self { topics: BTreeMap::new(), ledger: Ledger::new(limits), key: String::new() }
    }

    /// Retains a message, or deletes the topic's if there is none, provided that the version is higher than the topic's
    /// last. A message that has expired already counts as a deletion.
    pub fn set(&mut self, topic: &str, message: Option<M>, version: Version, expires_at: Option<u64>, now: u64) -> Set {
        let message = message.filter(|_| expires_at.is_none_or(|at| at > now));
        let mut key = std::mem::take(&mut self.key);
        key::from_topic(topic, &mut key);
        let set = self.set_key(&key, message, version, expires_at, now);
        self.key = key;
        set
    }

    fn set_key(&mut self, key: &str, message: Option<M>, version: Version, expires_at: Option<u64>, now: u64) -> Set {
        let mut old = self.topics.range_mut::<str, _>((Bound::Included(key), Bound::Included(key))).next();
        if old.as_ref().is_some_and(|(_, old)| version <= old.version) {
            return Set::Older;
        }
        let Some(message) = message else {
            let key = self.take_out(key);
            self.bury(key, version, now);
            return Set::Applied;
        };
        let replaced = old.as_ref().and_then(|(_, old)| old.message.as_ref());
        if let Err(limit) = self.ledger.check_room(key, &message, replaced) {
            return Set::Refused(limit);
        }
        // A topic that has a state already, the common case, is changed in place.
        let key = match &mut old {
            Some((key, old)) => {
                self.ledger.strike(key, old.message.as_ref(), old.deadline);
                key.clone()
            }
            None => key.into(),
        };
        let deadline = self.ledger.enter(&key, &message, expires_at);
        let entry = Entry { message: Some(message), version, deadline };
        match old {
            Some((_, old)) => *old = entry,
            None => {
                self.topics.insert(key, entry);
            }
        }
        Set::Applied
    }

    /// The topic's message.
    #[must_use]
    pub fn get<'a>(&'a self, topic: &'a str, now: u64) -> Option<Stored<'a, &'a M>> {
        let mut key = String::new();
        key::from_topic(topic, &mut key);
        let entry = self.topics.get(key.as_str())?;
        let message = entry.live(now)?;
        Some(Stored { topic, message, version: entry.version, expires_at: entry.expires_at() })
    }

    /// Removes up to `at_most` messages and tombstones whose time is over and gives how many there were: as many mean
    /// that there may be more. Expired messages are not given out in any case; this frees their memory and their share
    /// of the limits.
    pub fn expire(&mut self, now: u64, at_most: usize) -> usize {
        let mut done = 0;
        while done < at_most {
            if let Some(key) = self.ledger.pop_expired(now) {
                let version = self.topics.get(&key).expect("a deadline goes with its topic").version;
                let key = self.take_out(&key);
                self.bury(key, version, now);
            } else if let Some(key) = self.ledger.pop_tombstone(now) {
                self.take_out(&key);
            } else {
                break;
            }
            done += 1;
        }
        done
    }

    /// When [`expire`](Self::expire) has something to do next.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.ledger.next_deadline()
    }

    /// How much is in here, and what was turned away.
    #[must_use]
    pub fn counts(&self) -> RetainedCounts {
        self.ledger.counts
    }

    /// Removes what a topic has and gives its key back for use again, or a new one.
    fn take_out(&mut self, key: &str) -> Arc<str> {
        let Some((key, entry)) = self.topics.remove_entry(key) else { return key.into() };
        self.ledger.strike(&key, entry.message.as_ref(), entry.deadline);
        key
    }

    /// Leaves a tombstone where there is nothing, and drops the oldest ones if there are too many.
    fn bury(&mut self, key: Arc<str>, version: Version, now: u64) {
        let Some(deadline) = self.ledger.enter_tombstone(&key, now) else { return };
        self.topics.insert(key, Entry { message: None, version, deadline: Some(deadline) });
        while let Some(oldest) = self.ledger.pop_excess_tombstone() {
            self.take_out(&oldest);
        }
    }

    fn starting_at(&self, key: &str) -> impl Iterator<Item = (&Arc<str>, &Entry<M>)> + use<'_, M> {
        self.topics.range::<str, _>((Bound::Included(key), Bound::Unbounded))
    }
}
