//! The sockets of a data thread as the worker sees them: an output buffer each, and what they are used for.

use crate::buffers::Buffers;
use crate::ids::{ConnId, SessionId};
use crate::out::Origin;
use crate::slab::Slab;
use crate::slow::History;
use crate::throttle::Meter;
use fulmar_auth::hooks::Ticket;
use fulmar_auth::identity::CertificateNames;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What the socket has not taken yet.
    pub(crate) out: Vec<u8>,
    pub(crate) origin: Origin,
    /// What the client's certificate says, if its listener asks who that is.
    pub(crate) certificate: Option<Arc<CertificateNames>>,
    pub(crate) role: Role,
    dirty: bool,
    /// Bytes of messages that it was given and for which its socket was not tried yet.
    pub(crate) given: usize,
    /// Memory of a client's output that its socket does not take, and since when it does not.
    unsent: Unsent,
    /// The reactor offers no bytes until told to.
    pub(crate) paused: bool,
    /// It is not read because a link is full, for which the client cannot be blamed.
    pub(crate) held: bool,
    /// It is not read because it has sent much while memory is short.
    pub(crate) is_resting: bool,
    /// It is not read until the turn comes that is for it: see `line.rs`.
    pub(crate) stands_in_line: bool,
    /// It has taken much of a turn, and stands in line for so many reads yet.
    pub(crate) reads_in_line: u8,
    /// It is not read until it has the SUBACKs that wait for other nodes.
    pub(crate) awaits_subacks: bool,
    /// What it may publish, once it has; none where that is not bounded.
    pub(crate) meter: Option<Box<Meter>>,
    /// The earliest reminder that is set, so that deadlines that move do not fill the wheel.
    pub(crate) reminder: Option<Instant>,
}

/// See [`Connection::unsent`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Unsent {
    bytes: usize,
    /// Grows with time, and starts over after 2^32: it tells one time from another.
    since: u32,
    /// It has been so for long enough to be told.
    is_slow: bool,
}

/// What a connection is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// `answer` tells whether the password of its CONNECT, which is there already, is right.
    AwaitConnect {
        until: Instant,
        answer: Option<bool>,
    },
    /// Its CONNECT is there, and its password is being verified elsewhere.
    AwaitAnswer {
        until: Instant,
        ticket: Ticket,
    },
    Client(SessionId),
    /// Index of the lane.
    Lane(u32),
}

/// All connections of a thread, and those to write at the end of the turn.
#[derive(Debug)]
pub(crate) struct Connections {
    slab: Slab<Connection>,
    /// To be written at the end of the turn.
    pub(crate) dirty: Vec<ConnId>,
    /// To be written some at a time: they got a message for many.
    bulk: VecDeque<ConnId>,
    buffers: Buffers,
    /// Of either kind the sum over all clients.
    pub(crate) given_bytes: usize,
    unsent_bytes: usize,
    /// Clients whose socket does not take everything, those for longest first. Some have gone, or took it since.
    blocked: VecDeque<(ConnId, u32)>,
    blocked_now: usize,
    next_blocked: u32,
    history: History,
    /// Who fell behind until then is slow, if it still is behind.
    slow_until: u32,
    slow_now: usize,
    /// Clients that were slow and are not behind any more.
    caught_up: Vec<ConnId>,
}

/// So many in the order of blocked clients may be out of date beyond those that are not.
const STALE_MAX: usize = 64;

impl Connections {
    pub(crate) fn new() -> Connections {
        Connections {
            slab: Slab::new(),
            dirty: Vec::new(),
            bulk: VecDeque::new(),
            buffers: Buffers::default(),
            given_bytes: 0,
            unsent_bytes: 0,
            blocked: VecDeque::new(),
            blocked_now: 0,
            next_blocked: 0,
            history: History::default(),
            slow_until: 0,
            slow_now: 0,
            caught_up: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, origin: Origin, role: Role) -> ConnId {
        let (slot, generation) = self.slab.insert(Connection {
            out: Vec::new(),
            origin,
            certificate: None,
            role,
            dirty: false,
            given: 0,
            unsent: Unsent::default(),
            paused: false,
            held: false,
            is_resting: false,
            stands_in_line: false,
            reads_in_line: 0,
            awaits_subacks: false,
            meter: None,
            reminder: None,
        });
        ConnId { slot, generation }
    }

    #[inline]
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.slab.get(conn.slot, conn.generation)
    }

    /// For changes that write nothing.
    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slab.get_mut(conn.slot, conn.generation)
    }

    /// The output buffer, to append to: the connection is written at the end of this turn.
    #[inline]
    pub(crate) fn output(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.receiver(conn, false).map(|connection| &mut connection.out)
    }

    /// The same with all of the connection; for a message that goes to many if `is_bulk`: then it is written when it is
    /// its turn among them.
    #[inline]
    pub(crate) fn receiver(&mut self, conn: ConnId, is_bulk: bool) -> Option<&mut Connection> {
        let connection = self.slab.get_mut(conn.slot, conn.generation)?;
        if !connection.dirty {
            connection.dirty = true;
            if is_bulk {
                self.bulk.push_back(conn);
            } else {
                self.dirty.push(conn);
            }
            if connection.out.capacity() == 0 {
                connection.out = self.buffers.take();
            }
        }
        Some(connection)
    }

    /// Forgets the connection and tells what it had left to say.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        self.count_unsent(conn, 0);
        self.take_given(conn);
        self.slab.remove(conn.slot, conn.generation)
    }

    /// Moves so many of those that wait for their turn to those that are written in this one.
    pub(crate) fn take_from_bulk(&mut self, at_most: usize) -> usize {
        let portion = self.bulk.len().min(at_most);
        self.dirty.extend(self.bulk.drain(..portion));
        portion
    }

    /// After the write of a dirty connection: its buffer goes back to the pool once it is empty. Whether it is a client's.
    pub(crate) fn written(&mut self, conn: ConnId) -> bool {
        self.take_given(conn);
        let Some(connection) = self.slab.get_mut(conn.slot, conn.generation) else { return false };
        connection.dirty = false;
        if connection.out.is_empty() && connection.out.capacity() > 0 {
            self.buffers.give_back(std::mem::take(&mut connection.out));
        }
        // What was allocated counts, not what is used of it. Lanes have a bound of their own.
        let is_client = !matches!(connection.role, Role::Lane(_));
        let bytes = if is_client { connection.out.capacity() } else { 0 };
        self.count_unsent(conn, bytes);
        is_client
    }

    #[inline]
    fn count_unsent(&mut self, conn: ConnId, bytes: usize) {
        let Some(connection) = self.slab.get_mut(conn.slot, conn.generation) else { return };
        if connection.unsent.bytes == bytes {
            return;
        }
        let before = std::mem::replace(&mut connection.unsent.bytes, bytes);
        self.unsent_bytes = self.unsent_bytes - before + bytes;
        if before == 0 {
            self.next_blocked = self.next_blocked.wrapping_add(1);
            connection.unsent.since = self.next_blocked;
            self.blocked_now += 1;
            self.blocked.push_back((conn, self.next_blocked));
        } else if bytes == 0 {
            self.blocked_now -= 1;
            if std::mem::take(&mut connection.unsent.is_slow) {
                self.slow_now -= 1;
                self.caught_up.push(conn);
            }
        }
        if self.blocked.len() > 2 * self.blocked_now + STALE_MAX {
            let Connections { slab, blocked, .. } = self;
            blocked.retain(|(conn, since)| is_blocked(slab, *conn, *since));
        }
    }

    fn take_given(&mut self, conn: ConnId) {
        if let Some(connection) = self.slab.get_mut(conn.slot, conn.generation) {
            self.given_bytes -= std::mem::take(&mut connection.given);
        }
    }

    /// Clients that have become slow since the last call: see `slow.rs`.
    pub(crate) fn take_slow(&mut self, now: Instant) -> Vec<ConnId> {
        let Some(until) = self.history.mark(now, self.next_blocked) else { return Vec::new() };
        let Connections { slab, blocked, slow_until, slow_now, .. } = self;
        // They are in order, and numbers that start over are told apart by what lies between them.
        let is_after = |since: u32, last: u32| since.wrapping_sub(last) as i32 > 0;
        let first = blocked.partition_point(|(_, since)| !is_after(*since, *slow_until));
        let mut slow = Vec::new();
        for (conn, since) in blocked.range(first..).take_while(|(_, since)| !is_after(*since, until)) {
            let connection = slab.get_mut(conn.slot, conn.generation);
            if let Some(connection) = connection.filter(|connection| connection.is_behind_since(*since)) {
                connection.unsent.is_slow = true;
                *slow_now += 1;
                slow.push(*conn);
            }
        }
        *slow_until = until;
        slow
    }

    /// Clients that were slow and have taken everything since the last call. Some are gone.
    pub(crate) fn take_caught_up(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.caught_up)
    }

    /// Clients that are slow now.
    pub(crate) fn slow(&self) -> usize {
        self.slow_now
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether a client's socket does not take everything.
    pub(crate) fn is_behind(&self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|connection| connection.unsent.bytes > 0)
    }

    /// The memory of all output that sockets do not take.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// The client whose socket has not taken everything for longest, if all of them together hold too much.
    #[inline]
    pub(crate) fn surplus(&mut self, bytes_max: usize) -> Option<ConnId> {
        if self.unsent_bytes <= bytes_max {
            return None;
        }
        let Connections { slab, blocked, .. } = self;
        std::iter::from_fn(|| blocked.pop_front())
            .find(|(conn, since)| is_blocked(slab, *conn, *since))
            .map(|(conn, _)| conn)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.slab.iter().map(|(slot, generation, connection)| (ConnId { slot, generation }, connection))
    }

    pub(crate) fn end_turn(&mut self) {
        self.slab.end_turn();
    }
}

fn is_blocked(slab: &Slab<Connection>, conn: ConnId, since: u32) -> bool {
    let connection = slab.get(conn.slot, conn.generation);
    connection.is_some_and(|connection| connection.is_behind_since(since))
}

impl Connection {
    /// Whether it is not read for a reason for which its client cannot be blamed.
    pub(crate) fn is_unheard(&self) -> bool {
        let is_throttled = self.meter.as_ref().is_some_and(|meter| meter.until().is_some());
        self.held || self.is_resting || self.stands_in_line || is_throttled
    }

    /// Memory of output that the socket does not take.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.bytes
    }

    fn is_behind_since(&self, since: u32) -> bool {
        self.unsent.bytes > 0 && self.unsent.since == since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    fn client(connections: &mut Connections) -> ConnId {
        let origin = Origin { listener: 0, address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9), trace: 0 };
        connections.insert(origin, Role::AwaitConnect { until: Instant::now(), answer: None })
    }

    /// The socket leaves so many bytes.
    fn leave(connections: &mut Connections, conn: ConnId, bytes: usize) {
        *connections.output(conn).expect("it is there") = vec![0; bytes];
        connections.written(conn);
    }

    #[test]
    fn whose_socket_has_not_taken_everything_for_longest_is_the_first_surplus() {
        let mut connections = Connections::new();
        let [one, two, three] = [(); 3].map(|()| client(&mut connections));
        for conn in [one, two, three] {
            leave(&mut connections, conn, 400);
        }
        // The first takes all it has, and falls behind again later; the second gets more, and is as old as it was.
        leave(&mut connections, one, 0);
        leave(&mut connections, one, 400);
        leave(&mut connections, two, 500);
        assert_eq!((connections.unsent_bytes(), connections.surplus(1300)), (1300, None));
        assert_eq!(connections.surplus(1000), Some(two));
        connections.remove(two);
        assert_eq!(connections.surplus(700), Some(three));
        connections.remove(three);
        assert_eq!((connections.unsent_bytes(), connections.surplus(399)), (400, Some(one)));
    }

    #[test]
    fn what_was_given_counts_until_its_socket_was_tried_whatever_else_is_sent() {
        let mut connections = Connections::new();
        let [one, two] = [(); 2].map(|()| client(&mut connections));
        let give = |connections: &mut Connections, conn, bytes| {
            connections.receiver(conn, true).expect("it is there").given += bytes;
            connections.given_bytes += bytes;
        };
        give(&mut connections, one, 400);
        give(&mut connections, two, 300);
        // Answers, and messages that were read from a store or a queue, were not given.
        connections.output(one).expect("it is there").extend([0; 1000]);
        assert_eq!((connections.take_from_bulk(1), connections.dirty.len()), (1, 1));
        connections.written(one);
        assert_eq!(connections.given_bytes, 300);
        connections.written(one);
        connections.remove(two);
        assert_eq!(connections.given_bytes, 0);
    }

    #[test]
    fn who_stays_behind_is_slow_until_it_has_taken_everything() {
        let mut connections = Connections::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [one, two, three] = [(); 3].map(|()| client(&mut connections));
        [one, two].into_iter().for_each(|conn| leave(&mut connections, conn, 400));
        assert_eq!(connections.take_slow(at(0)), []);
        // One takes everything for a moment, which makes it as quick as the third, which falls behind now.
        leave(&mut connections, one, 0);
        [one, three].into_iter().for_each(|conn| leave(&mut connections, conn, 400));
        assert_eq!(connections.take_slow(at(1)), []);
        assert_eq!((connections.take_slow(at(5)), connections.slow()), (vec![two], 1));
        assert_eq!((connections.take_slow(at(6)), connections.slow()), (vec![one, three], 3));
        assert_eq!(connections.take_slow(at(20)), [], "each is told once");
        leave(&mut connections, two, 500);
        assert_eq!(connections.take_caught_up(), []);
        leave(&mut connections, two, 0);
        connections.remove(three);
        assert_eq!((connections.take_caught_up(), connections.slow()), (vec![two, three], 1));
    }

    #[test]
    fn the_order_does_not_grow_with_clients_that_took_everything_long_ago() {
        let mut connections = Connections::new();
        let [stuck, busy] = [(); 2].map(|()| client(&mut connections));
        leave(&mut connections, stuck, 1);
        for _ in 0..10_000 {
            leave(&mut connections, busy, 1);
            leave(&mut connections, busy, 0);
        }
        assert!(connections.blocked.len() <= STALE_MAX + 4);
        assert_eq!(connections.surplus(0), Some(stuck));
    }
}
