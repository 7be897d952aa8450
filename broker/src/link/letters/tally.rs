//! What went to and came from each node, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fulmar_cluster::letters::Channel;

use crate::metrics::Count;

/// Nodes and channels that are counted. Of more, those that are not connected are forgotten.
const TALLIES_MAX: usize = 1024;

/// Of one node and channel.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: Count,
    sent_bytes: Count,
    received: Count,
    received_bytes: Count,
    connections: Count,
    overflows: Count,
    /// Signs of life of the reader of outgoing letters.
    beats: Count,
}

/// The numbers of one node and channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TallyView {
    pub(crate) node: u64,
    /// The name that it greeted with last.
    pub(crate) name: String,
    pub(crate) channel: Channel,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    /// Bytes that wait to be written, or are being written.
    pub(crate) waiting_bytes: u64,
    /// Outgoing connections that stood.
    pub(crate) connections: u64,
    /// Of these, ended because too many letters waited.
    pub(crate) overflows: u64,
}

/// Of all nodes.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<ByNode>);

/// With the name that the node greeted with last.
type ByNode = BTreeMap<(u64, Channel), (String, Arc<Tally>)>;

impl Tally {
    pub(super) fn sent(&self, letters: &[Vec<u8>]) {
        self.sent.add(letters.len() as u64);
        self.sent_bytes.add(bytes(letters));
    }

    pub(super) fn received(&self, letters: &[Vec<u8>]) {
        self.received.add(letters.len() as u64);
        self.received_bytes.add(bytes(letters));
    }

    pub(super) fn connected(&self) {
        self.connections.add(1);
    }

    pub(super) fn heard(&self, beats: usize) {
        self.beats.add(beats as u64);
    }

    #[cfg(test)]
    pub(super) fn beats(&self) -> u64 {
        self.beats.get()
    }

    pub(super) fn overflowed(&self) {
        self.overflows.add(1);
    }
}

impl Tallies {
    /// Of a node that has just greeted.
    pub(super) fn of(&self, node: u64, name: &str, channel: Channel) -> Arc<Tally> {
        let mut tallies = self.lock();
        if tallies.len() >= TALLIES_MAX {
            tallies.retain(|_, (_, tally)| Arc::strong_count(tally) > 1);
        }
        let (known_as, tally) = tallies.entry((node, channel)).or_default();
        name.clone_into(known_as);
        tally.clone()
    }

    /// The bytes that wait are told by `waiting`.
    pub(super) fn view(&self, waiting: impl Fn(u64, Channel) -> usize) -> Vec<TallyView> {
        let tallies = self.lock();
        let view = tallies.iter().map(|(&(node, channel), (name, tally))| {
            let Tally { sent, sent_bytes, received, received_bytes, connections, overflows, beats: _ } = &**tally;
            TallyView {
                node,
                name: name.clone(),
                channel,
                sent: sent.get(),
                sent_bytes: sent_bytes.get(),
                received: received.get(),
                received_bytes: received_bytes.get(),
                waiting_bytes: waiting(node, channel) as u64,
                connections: connections.get(),
                overflows: overflows.get(),
            }
        });
        view.collect()
    }

    fn lock(&self) -> MutexGuard<'_, ByNode> {
        // What it guards is whole after every change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(letters: &[Vec<u8>]) -> u64 {
    letters.iter().map(|letter| letter.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_gone_are_forgotten_when_there_are_too_many() {
        let tallies = Tallies::default();
        let kept = tallies.of(0, "a", Channel::Bulk);
        kept.connected();
        for node in 1..2 * TALLIES_MAX as u64 {
            tallies.of(node, "b", Channel::Bulk).sent(&[vec![0; 3]]);
            assert!(tallies.view(|_, _| 0).len() <= TALLIES_MAX);
        }
        tallies.of(0, "c", Channel::Bulk).overflowed();
        let first = &tallies.view(|_, _| 0)[0];
        assert_eq!((first.name.as_str(), first.connections, first.overflows), ("c", 1, 1));
    }
}
