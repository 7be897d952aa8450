//! The letters of this node on their way out: which connections stand, and the queue of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fulmar_cluster::letters::{Channel, LetterTooLong, head};
use fulmar_store::Node;
use tracing::warn;

use super::arrivals::{ArrivalQueue, Delivery};
use super::outbox::Outbox;
use super::tally::{Tallies, Tally, TallyView};
use crate::throttle::Throttle;

/// Where a store's thread posts its letters. What arrives is in the [`ArrivalQueue`] that it was made with.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The connections that stand.
    outgoing: Mutex<BTreeMap<(u64, Channel), Outgoing>>,
    arrivals: Arc<ArrivalQueue>,
    tallies: Tallies,
    /// Log lines about peers that read too slowly.
    slow: Throttle,
}

#[derive(Debug)]
struct Outgoing {
    to: Node,
    outbox: Arc<Outbox>,
    tally: Arc<Tally>,
}

/// A letter was not taken, and nothing was done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSent {
    #[error("no connection to the node stands")]
    NotConnected,
    #[error(transparent)]
    TooLong(#[from] LetterTooLong),
    /// An empty letter is a beat, which nobody is told of.
    #[error("empty letter")]
    Empty,
}

/// An outgoing connection while it stands. To be dropped when it does not.
#[derive(Debug)]
pub(super) struct Standing {
    mail: Mail,
    to: Node,
    channel: Channel,
    pub(super) outbox: Arc<Outbox>,
    pub(super) tally: Arc<Tally>,
}

#[cfg(test)]
impl Mail {
    /// Signs of life of a node, as a reader of this one's letters.
    pub(super) fn beats(&self, node: u64, name: &str, channel: Channel) -> u64 {
        self.shared.tallies.of(node, name, channel).beats()
    }
}

impl Mail {
    /// `arrivals` is told of connections, too.
    pub(crate) fn new(arrivals: Arc<ArrivalQueue>) -> Mail {
        let outgoing = Mutex::default();
        let shared = Shared { outgoing, arrivals, tallies: Tallies::default(), slow: Throttle::default() };
        Mail { shared: Arc::new(shared) }
    }

    /// Posts a letter to whatever life of the node is connected. It comes after all that were posted to the same channel
    /// before, once or not at all: what is lost with the connection is told of by [`Arrival::Lost`](super::Arrival).
    /// Where too many wait for a slow peer, the connection is ended and begun anew.
    pub(crate) fn send(&self, to: u64, channel: Channel, letter: Vec<u8>) -> Result<(), NotSent> {
        if head(letter.len())? == head(0)? {
            return Err(NotSent::Empty);
        }
        let outgoing = self.outgoing();
        let Some(Outgoing { to, outbox, tally }) = outgoing.get(&(to, channel)) else {
            return Err(NotSent::NotConnected);
        };
        if let Err(overflow) = outbox.push(letter) {
            tally.overflowed();
            let (node_id, channel, error) = (format!("{:016x}", to.id), channel.name(), overflow.to_string());
            let withheld = self.shared.slow.admit(Instant::now());
            if let Some(withheld) = withheld {
                warn!(node_id, channel, error, withheld, "letters dropped, their connection is made anew");
            }
        }
        Ok(())
    }

    /// What went where so far.
    pub(crate) fn tallies(&self) -> Vec<TallyView> {
        let outgoing = self.outgoing();
        let bytes = |node, channel| outgoing.get(&(node, channel)).map_or(0, |outgoing| outgoing.outbox.bytes());
        self.shared.tallies.view(bytes)
    }

    /// An outgoing connection stands; the one before, if there is one, is over.
    pub(super) fn stands(&self, to: Node, name: &str, channel: Channel) -> Standing {
        let tally = self.shared.tallies.of(to.id, name, channel);
        tally.connected();
        let outbox = Arc::<Outbox>::default();
        let mut all = self.outgoing();
        let before = all.insert((to.id, channel), Outgoing { to, outbox: outbox.clone(), tally: tally.clone() });
        // Told under the lock, so that it is told in the order in which it happened.
        self.shared.arrivals.change_outgoing(channel, before.map(|before| before.to), Some(to));
        Standing { mail: self.clone(), to, channel, outbox, tally }
    }

    /// An incoming connection was accepted.
    pub(super) fn begins(&self, from: Node, name: &str, channel: Channel) -> (Delivery, Arc<Tally>) {
        (self.shared.arrivals.begin(from, channel), self.shared.tallies.of(from.id, name, channel))
    }

    fn outgoing(&self) -> MutexGuard<'_, BTreeMap<(u64, Channel), Outgoing>> {
        // What it guards is whole after every change.
        self.shared.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let Standing { mail, to, channel, outbox, tally: _ } = self;
        let mut all = mail.outgoing();
        let key = (to.id, *channel);
        if all.get(&key).is_some_and(|current| Arc::ptr_eq(&current.outbox, outbox)) {
            all.remove(&key);
            mail.shared.arrivals.change_outgoing(*channel, Some(*to), None);
        }
    }
}
