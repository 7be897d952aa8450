//! Connections between nodes: bytes arrive in order after a while, until somebody closes or something cuts.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Random;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Socket {
    connection: u64,
    side: usize,
}

#[derive(Default)]
pub(crate) struct Network {
    connections: BTreeMap<u64, Connection>,
    partitions: Vec<(usize, usize, Instant)>,
    next: u64,
    healed: bool,
}

struct Connection {
    nodes: [usize; 2],
    /// When the other side sees it.
    accepted_at: Option<Instant>,
    /// For each side, what is on its way to it.
    towards: [VecDeque<(Instant, Vec<u8>)>; 2],
    /// For each side, when it learns that the connection is no more.
    closed_at: [Option<Instant>; 2],
    /// Which sides have not closed it.
    open: [bool; 2],
    cut: bool,
}

pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    Closed,
    Nothing,
}

impl Network {
    /// Begins a connection; nothing if the other node can't be reached now.
    pub(crate) fn dial(&mut self, from: usize, to: usize, now: Instant, random: &mut Random) -> Option<Socket> {
        if self.is_partitioned(from, to, now) {
            return None;
        }
        self.next += 1;
        let connection = Connection {
            nodes: [from, to],
            accepted_at: Some(now + random.milliseconds(20)),
            towards: [VecDeque::new(), VecDeque::new()],
            closed_at: [None, None],
            open: [true, true],
            cut: false,
        };
        self.connections.insert(self.next, connection);
        Some(Socket { connection: self.next, side: 0 })
    }

    /// A connection that has reached this node, if there is one.
    pub(crate) fn accept(&mut self, node: usize, now: Instant) -> Option<Socket> {
        let due =
            |connection: &Connection| connection.nodes[1] == node && connection.accepted_at.is_some_and(|at| at <= now);
        let (id, connection) = self.connections.iter_mut().find(|(_, connection)| due(connection))?;
        connection.accepted_at = None;
        Some(Socket { connection: *id, side: 1 })
    }

    pub(crate) fn write(&mut self, socket: Socket, bytes: &[u8], now: Instant, random: &mut Random) {
        let Some(connection) = self.connections.get_mut(&socket.connection) else { return };
        if connection.cut || connection.closed_at[1 - socket.side].is_some() {
            return;
        }
        let queue = &mut connection.towards[1 - socket.side];
        let after = queue.back().map_or(now, |(at, _)| *at);
        queue.push_back((after.max(now + random.milliseconds(30)), bytes.to_vec()));
    }

    pub(crate) fn read(&mut self, socket: Socket, now: Instant) -> Arrival {
        let Some(connection) = self.connections.get(&socket.connection) else { return Arrival::Closed };
        let [a, b] = connection.nodes;
        if self.is_partitioned(a, b, now) {
            return Arrival::Nothing;
        }
        let Some(connection) = self.connections.get_mut(&socket.connection) else { return Arrival::Closed };
        let queue = &mut connection.towards[socket.side];
        if queue.front().is_some_and(|(at, _)| *at <= now) {
            return queue.pop_front().map_or(Arrival::Nothing, |(_, bytes)| Arrival::Bytes(bytes));
        }
        if queue.is_empty() && connection.closed_at[socket.side].is_some_and(|at| at <= now) {
            return Arrival::Closed;
        }
        Arrival::Nothing
    }

    /// This side closes: the other reads what is on its way, then learns of it.
    pub(crate) fn close(&mut self, socket: Socket, now: Instant, random: &mut Random) {
        if let Some(connection) = self.connections.get_mut(&socket.connection) {
            connection.towards[socket.side].clear();
            connection.closed_at[socket.side] = Some(now);
            connection.closed_at[1 - socket.side].get_or_insert(now + random.milliseconds(30));
            connection.open[socket.side] = false;
            // Nobody will accept what the dialler has closed before.
            if connection.accepted_at.take().is_some() || connection.open == [false, false] {
                self.connections.remove(&socket.connection);
            }
        }
    }

    /// Cuts a connection: what is on its way is lost from some point on, and each side learns of it in its own time,
    /// or so late that heartbeats tell it first.
    pub(crate) fn cut_one(&mut self, now: Instant, random: &mut Random) {
        if self.connections.is_empty() {
            return;
        }
        let index = random.below(self.connections.len() as u64) as usize;
        let Some(connection) = self.connections.values_mut().nth(index) else { return };
        connection.cut = true;
        for side in 0..2 {
            let kept = random.below(connection.towards[side].len() as u64 + 1) as usize;
            connection.towards[side].truncate(kept);
            if let Some((_, bytes)) = connection.towards[side].back_mut() {
                bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
            }
            let notice = if random.once_in(4) { Duration::from_secs(9) } else { random.milliseconds(1000) };
            connection.closed_at[side].get_or_insert(now + notice);
        }
    }

    /// A node dies: nothing it has sent and is still on its way is lost, but that was all.
    pub(crate) fn close_all(&mut self, node: usize, now: Instant, random: &mut Random) {
        let sockets: Vec<Socket> = self
            .connections
            .iter()
            .flat_map(|(id, connection)| {
                (0..2).map(move |side| (connection.nodes[side], Socket { connection: *id, side }))
            })
            .filter_map(|(owner, socket)| (owner == node).then_some(socket))
            .collect();
        sockets.into_iter().for_each(|socket| self.close(socket, now, random));
    }

    pub(crate) fn partition(&mut self, a: usize, b: usize, until: Instant) {
        self.partitions.push((a, b, until));
    }

    fn is_partitioned(&self, a: usize, b: usize, now: Instant) -> bool {
        !self.healed
            && self.partitions.iter().any(|(c, d, until)| now < *until && ((a, b) == (*c, *d) || (b, a) == (*c, *d)))
    }

    pub(crate) fn heal(&mut self) {
        self.healed = true;
    }
}
