//! SUBACKs that wait until the other nodes know the filters, so that whoever has SUBACK gets what is published on any of
//! them from then on. They go out in the order in which they came, after the longest wait in any case.

use crate::client::Flow;
use crate::ids::{ConnId, SessionId};
use crate::out::Out;
use crate::retained::RetainedRead;
use crate::worker::Worker;
use fulmar_codec::ReasonCode;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// A client with so many of them is not read on.
pub(crate) const SUBACKS_PER_CLIENT_MAX: usize = 64;
/// While they take as much on this thread, no client with one is.
const SUBACK_BYTES_MAX: usize = 4 << 20;

/// Those that wait on a thread.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// By number, which is the order of their version and of their deadline too.
    subacks: BTreeMap<u64, SubAck>,
    next_number: u64,
    /// The numbers of each client's, so that no others are looked at when it goes.
    numbers: HashMap<ConnId, VecDeque<u64>>,
    /// What they take.
    bytes: usize,
}

/// One that waits, and what its client gets with it.
#[derive(Debug)]
pub(crate) struct SubAck {
    pub(crate) conn: ConnId,
    pub(crate) id: SessionId,
    /// Of this node's interest: the nodes have to know it.
    pub(crate) version: u64,
    pub(crate) until: Instant,
    pub(crate) packet: Vec<u8>,
    pub(crate) reads: Vec<RetainedRead>,
}

impl SubAck {
    fn bytes(&self) -> usize {
        let reads: usize = self.reads.iter().map(RetainedRead::bytes).sum();
        size_of::<SubAck>() + self.packet.capacity() + reads
    }
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.subacks.is_empty()
    }

    /// Nothing more is written to this connection.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        for number in self.numbers.remove(&conn).into_iter().flatten() {
            self.bytes -= self.subacks.remove(&number).map_or(0, |suback| suback.bytes());
        }
    }

    /// Gives how many of its client wait now.
    fn push(&mut self, suback: SubAck) -> usize {
        let numbers = self.numbers.entry(suback.conn).or_default();
        numbers.push_back(self.next_number);
        self.bytes += suback.bytes();
        self.subacks.insert(self.next_number, suback);
        self.next_number += 1;
        numbers.len()
    }

    /// The next one, if it need not wait any longer.
    fn pop_if(&mut self, is_over: impl FnOnce(&SubAck) -> bool) -> Option<SubAck> {
        let first = self.subacks.first_entry().filter(|first| is_over(first.get()))?;
        let suback = first.remove();
        self.bytes -= suback.bytes();
        // Each client's are in order too.
        if let Entry::Occupied(mut numbers) = self.numbers.entry(suback.conn) {
            numbers.get_mut().pop_front();
            if numbers.get().is_empty() {
                numbers.remove();
            }
        }
        Some(suback)
    }

    pub(crate) fn has(&self, conn: ConnId) -> bool {
        self.numbers.contains_key(&conn)
    }
}

impl Worker {
    /// A SUBACK waits for other nodes. A client with many of them, or with any while they take much memory, is not read
    /// on until it has them all.
    pub(crate) fn wait_for_nodes(&mut self, suback: SubAck, out: &mut impl Out) -> Flow {
        let conn = suback.conn;
        let waiting = self.waiting.push(suback);
        if waiting < SUBACKS_PER_CLIENT_MAX && self.waiting.bytes < SUBACK_BYTES_MAX {
            return Flow::Go;
        }
        let Some(connection) = self.connections.get_mut(conn) else { return Flow::Closed };
        connection.awaits_subacks = true;
        self.counters.subscribe_barrier_holds += 1;
        self.pause(conn, out)
    }

    /// A SUBACK has waited for other nodes, and need not any longer.
    fn waited(&mut self, suback: SubAck, now: Instant, out: &mut impl Out) {
        let SubAck { conn, id, packet, reads, .. } = suback;
        self.subscribed(conn, id, &packet, reads, now);
        let is_in_store = self.stored_mut(id).is_some_and(|stored| stored.subscribing > 0);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if !is_in_store && !self.waiting.has(conn) && std::mem::take(&mut connection.awaits_subacks) {
            self.resume(conn, id, now, out);
        }
    }

    /// Other nodes know more of our interest, or are gone: SUBACKs that waited for no more than that go out.
    pub(crate) fn interest_confirmed(&mut self, now: Instant, out: &mut impl Out) {
        let node = Arc::clone(&self.node);
        let confirmed = |suback: &SubAck| node.interest().is_confirmed(suback.version);
        while let Some(suback) = self.waiting.pop_if(confirmed) {
            self.waited(suback, now, out);
        }
    }

    /// SUBACKs that have waited long enough go out all the same; but in a durable cluster, where SUBACK promises that
    /// nothing is missed, the client goes.
    pub(crate) fn waits_due(&mut self, now: Instant, out: &mut impl Out) {
        while let Some(suback) = self.waiting.pop_if(|suback| suback.until <= now) {
            self.counters.subscribe_barrier_timeouts += 1;
            if self.following.is_some() {
                let SubAck { conn, id, .. } = suback;
                self.close_client(conn, id, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, now, out);
            } else {
                self.waited(suback, now, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_goes_takes_its_own_along_and_the_others_stay_in_order() {
        let now = Instant::now();
        let conn = |slot| ConnId { slot, generation: 0 };
        let suback = |slot, version| {
            let id = SessionId { slot, generation: 0 };
            SubAck { conn: conn(slot), id, version, until: now, packet: vec![0; 10], reads: Vec::new() }
        };
        let mut waiting = Waiting::default();
        let pushed =
            [(1, 1), (2, 2), (1, 3), (3, 4), (2, 5)].map(|(slot, version)| waiting.push(suback(slot, version)));
        assert_eq!(pushed, [1, 1, 2, 1, 2]);
        let each = waiting.bytes / 5;
        waiting.forget(conn(1));
        assert_eq!((waiting.bytes, waiting.has(conn(1)), waiting.has(conn(2))), (3 * each, false, true));
        // Going again means nothing, and neither does who has none.
        [1, 4].into_iter().for_each(|slot| waiting.forget(conn(slot)));
        assert!(waiting.pop_if(|suback| suback.version > 2).is_none(), "the oldest is asked about, and only that");
        let popped: Vec<u64> = std::iter::from_fn(|| waiting.pop_if(|_| true)).map(|suback| suback.version).collect();
        assert_eq!(popped, [2, 4, 5]);
        assert!(waiting.is_empty() && waiting.numbers.is_empty() && waiting.bytes == 0);
    }
}
