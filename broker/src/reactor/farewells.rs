//! Sockets of clients that have said goodbye, until the store has it: whoever sees its connection closed finds that its
//! session is left and its will is gone, at whichever node it comes back.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use fulmar_worker::ConnId;

/// However slow the store is, a socket is closed after so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of these at a time; then the first is closed early.
const FAREWELLS_MAX: usize = 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Farewells<S> {
    sockets: HashMap<ConnId, S>,
    /// In the order of their coming; some are closed already.
    deadlines: VecDeque<(Instant, ConnId)>,
}

impl<S> Default for Farewells<S> {
    fn default() -> Self {
        Farewells { sockets: HashMap::new(), deadlines: VecDeque::new() }
    }
}

impl<S> Farewells<S> {
    /// Keeps a socket, which no events come from any more.
    pub(crate) fn add(&mut self, conn: ConnId, socket: S, now: Instant) {
        self.expire(now);
        while self.sockets.len() >= FAREWELLS_MAX
            && let Some((_, first)) = self.deadlines.pop_front()
        {
            self.sockets.remove(&first);
        }
        self.sockets.insert(conn, socket);
        self.deadlines.push_back((now + PATIENCE, conn));
    }

    /// The store has it. Gives the socket, to be closed when the turn is over.
    pub(crate) fn take(&mut self, conn: ConnId) -> Option<S> {
        let socket = self.sockets.remove(&conn);
        while self.deadlines.front().is_some_and(|(_, first)| !self.sockets.contains_key(first)) {
            self.deadlines.pop_front();
        }
        socket
    }

    /// Closes those that were kept for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((_, conn)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            self.sockets.remove(&conn);
        }
    }

    /// When there is something to close.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    #[test]
    fn a_socket_is_closed_when_the_store_has_it_or_after_a_while() {
        let (now, socket) = (Instant::now(), Rc::new(()));
        let mut farewells = Farewells::default();
        [1, 2, 3].into_iter().for_each(|slot| farewells.add(conn(slot), socket.clone(), now));
        assert!(farewells.take(conn(1)).is_some() && farewells.take(conn(1)).is_none());
        farewells.add(conn(4), socket.clone(), now + PATIENCE / 2);
        farewells.expire(now + PATIENCE);
        assert_eq!((Rc::strong_count(&socket), farewells.deadline()), (2, Some(now + PATIENCE * 3 / 2)));
        farewells.expire(now + PATIENCE * 2);
        assert_eq!((Rc::strong_count(&socket), farewells.deadline()), (1, None));
    }

    #[test]
    fn of_too_many_the_first_is_closed() {
        let (now, socket) = (Instant::now(), Rc::new(()));
        let mut farewells = Farewells::default();
        for slot in 0..2 * FAREWELLS_MAX as u32 {
            farewells.add(conn(slot), socket.clone(), now);
        }
        assert_eq!(Rc::strong_count(&socket), 1 + FAREWELLS_MAX);
        assert!(farewells.take(conn(0)).is_none() && farewells.take(conn(FAREWELLS_MAX as u32)).is_some());
    }
}
