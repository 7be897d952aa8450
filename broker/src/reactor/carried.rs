//! The received bytes that a data thread holds, and whose they are: packets that are not whole yet, and what came
//! before a client was held back.
//!
//! Either kind has a bound for all connections of the thread together. Above it, whoever has held such bytes for
//! longest is to be closed: packets of well-behaved clients are whole after a moment, so they are hardly ever the
//! oldest. No one's reading waits for anyone else, so nothing can come to a standstill. Which connections are closed
//! is said here, closing is the reactor's. A share per thread needs no agreement with others, and clients are spread
//! over the threads by a hash.

use std::collections::VecDeque;

use fulmar_worker::ConnId;

/// Why bytes are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Their packet is not whole.
    Partial,
    /// The worker wants no more of this client for now.
    HeldBack,
    /// They are a peer's: there are few lanes, and each holds one message at most.
    OfLane,
}

/// Received bytes that were not consumed.
#[derive(Debug)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
    why: Why,
    /// Grows with time, over all connections of the thread.
    since: u64,
}

/// All that is held on one data thread.
#[derive(Debug)]
pub(crate) struct Carried {
    /// For each kind.
    bytes_max: usize,
    partial: Line,
    held_back: Line,
    lanes: Line,
    next: u64,
}

/// Who holds bytes of one kind, in the order in which they began to.
#[derive(Debug, Default)]
struct Line {
    bytes: usize,
    holders: usize,
    /// Some have gone or began anew since they were put here.
    order: VecDeque<(ConnId, u64)>,
}

/// So many in the order may be gone beyond those that are there.
const GONE_MAX: usize = 64;

impl Carry {
    /// The bytes, and since when a packet that is not whole has been held.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<u64>) {
        let since = (self.why == Why::Partial).then_some(self.since);
        (self.bytes, since)
    }

    fn is(&self, why: Why, since: u64) -> bool {
        self.why == why && self.since == since
    }
}

impl Carried {
    pub(crate) fn new(bytes_max: usize) -> Carried {
        Carried { bytes_max, partial: Line::default(), held_back: Line::default(), lanes: Line::default(), next: 0 }
    }

    /// Bytes of a connection are held from now on, or as the same packet since an earlier time. `find` gives what a
    /// connection holds now.
    pub(crate) fn hold<'a>(
        &mut self,
        conn: ConnId,
        bytes: Vec<u8>,
        why: Why,
        earlier: Option<u64>,
        find: impl Fn(ConnId) -> Option<&'a Carry>,
    ) -> Carry {
        let since = earlier.filter(|_| why == Why::Partial).unwrap_or_else(|| {
            self.next += 1;
            let since = self.next;
            self.line(why).join(conn, since, |conn, since| find(conn).is_some_and(|carry| carry.is(why, since)));
            since
        });
        let line = self.line(why);
        // What was allocated counts, not what is used of it.
        line.bytes += bytes.capacity();
        line.holders += 1;
        Carry { bytes, why, since }
    }

    /// Whether clients should be read in small portions, because whoever is held back keeps what was read.
    #[inline]
    pub(crate) fn is_tight(&self) -> bool {
        self.held_back.bytes > self.bytes_max / 2
    }

    /// What a connection held was taken from it, or is gone with it.
    pub(crate) fn release(&mut self, carry: &Carry) {
        let line = self.line(carry.why);
        line.bytes -= carry.bytes.capacity();
        line.holders -= 1;
    }

    /// The connection that must go because the thread holds too much.
    pub(crate) fn surplus<'a>(&mut self, find: impl Fn(ConnId) -> Option<&'a Carry>) -> Option<ConnId> {
        [Why::Partial, Why::HeldBack].into_iter().find_map(|why| {
            let bytes_max = self.bytes_max;
            let line = self.line(why);
            if line.bytes <= bytes_max {
                return None;
            }
            let is_there = |(conn, since): &(ConnId, u64)| find(*conn).is_some_and(|carry| carry.is(why, *since));
            std::iter::from_fn(|| line.order.pop_front()).find(is_there).map(|(conn, _)| conn)
        })
    }

    fn line(&mut self, why: Why) -> &mut Line {
        match why {
            Why::Partial => &mut self.partial,
            Why::HeldBack => &mut self.held_back,
            Why::OfLane => &mut self.lanes,
        }
    }
}

impl Line {
    fn join(&mut self, conn: ConnId, since: u64, is_there: impl Fn(ConnId, u64) -> bool) {
        if self.order.len() > 2 * self.holders + GONE_MAX {
            self.order.retain(|(conn, since)| is_there(*conn, *since));
        }
        self.order.push_back((conn, since));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Connections by slot, with what each holds.
    struct Thread {
        carried: Carried,
        carries: HashMap<u32, Carry>,
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 0 }
    }

    impl Thread {
        fn new(bytes_max: usize) -> Thread {
            Thread { carried: Carried::new(bytes_max), carries: HashMap::new() }
        }

        fn take(&mut self, slot: u32) -> Option<u64> {
            let carry = self.carries.remove(&slot)?;
            self.carried.release(&carry);
            carry.into_parts().1
        }

        fn hold(&mut self, slot: u32, bytes: usize, why: Why, earlier: Option<u64>) {
            let Thread { carried, carries } = self;
            let find = |conn: ConnId| carries.get(&conn.slot);
            let carry = carried.hold(conn(slot), vec![0; bytes], why, earlier, find);
            carries.insert(slot, carry);
        }

        /// Who is closed.
        fn shed(&mut self) -> Vec<u32> {
            let mut closed = Vec::new();
            loop {
                let Thread { carried, carries } = self;
                let Some(surplus) = carried.surplus(|conn| carries.get(&conn.slot)) else { return closed };
                self.take(surplus.slot);
                closed.push(surplus.slot);
            }
        }
    }

    #[test]
    fn the_oldest_packets_that_are_not_whole_go_until_the_rest_fits() {
        let mut thread = Thread::new(1000);
        (0..5).for_each(|slot| thread.hold(slot, 200, Why::Partial, None));
        assert!(thread.shed().is_empty());
        // One becomes whole and another begins; one grows and stays as old as it is.
        thread.take(0);
        thread.hold(0, 200, Why::Partial, None);
        let since = thread.take(1);
        thread.hold(1, 700, Why::Partial, since);
        assert_eq!(thread.shed(), [1]);
        thread.hold(5, 500, Why::Partial, None);
        assert_eq!(thread.shed(), [2, 3]);
        assert_eq!(thread.carried.partial.bytes, 900);
    }

    #[test]
    fn who_is_held_back_does_not_cost_others_their_packets() {
        let mut thread = Thread::new(1000);
        thread.hold(1, 900, Why::Partial, None);
        thread.hold(2, 600, Why::HeldBack, None);
        assert!(thread.shed().is_empty());
        thread.hold(3, 600, Why::HeldBack, None);
        assert_eq!(thread.shed(), [2]);
    }

    #[test]
    fn the_order_does_not_grow_with_packets_that_were_whole_long_ago() {
        let mut thread = Thread::new(1000);
        thread.hold(0, 10, Why::Partial, None);
        for _ in 0..10_000 {
            thread.hold(1, 10, Why::Partial, None);
            thread.take(1);
        }
        assert!(thread.carried.partial.order.len() <= 2 + GONE_MAX + 2);
        thread.hold(2, 1000, Why::Partial, None);
        assert_eq!(thread.shed(), [0]);
    }
}
