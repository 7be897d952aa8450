//! A data thread: the turns of `broker/src/reactor` around a real worker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use fulmar_cluster::NodeId;
use fulmar_cluster::peers::LostLane;
use fulmar_store::{Ask, Ticket, Told};
use fulmar_worker::{Batch, Closed, ConnId, Consumed, LaneEnd, LaneSocket, Node, Origin, Out as _, Thread, Worker};

use super::sockets::{Kind, LaneNews, Leaving, Socket, Sockets, Wanted};
use crate::Time;
use crate::agenda::Planned;
use crate::clock::MachineClock;
use crate::network::{Chunk, End, WireId};
use crate::outside::Outside;

/// Read at a time from one connection.
const READ_BUDGET: usize = 64 << 10;
/// Times that a connection is written in a turn while its session has more for it.
const WRITE_ROUNDS: usize = 4;
const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

/// Something for a data thread.
#[derive(Debug)]
pub(crate) enum Letter {
    Batch(Batch),
    /// A client's connection, or one from a sibling with what it has read of it.
    Client {
        wire: WireId,
        side: usize,
        origin: Option<Origin>,
        carry: Vec<u8>,
    },
    Lane {
        wire: WireId,
        side: usize,
        socket: Box<LaneSocket>,
        connection: u64,
    },
    PeerGone {
        node: u64,
        epoch: u64,
    },
    Told(Vec<Told>),
    ShutDown,
    CloseLanes,
}

/// What a turn has for other parts of the node.
#[derive(Debug, Default)]
pub(crate) struct Posts {
    pub(crate) letters: Vec<(Thread, Letter)>,
    pub(crate) asked: Vec<(Ticket, Ask)>,
    pub(crate) lane_news: Vec<LaneNews>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct DataThread {
    number: Thread,
    threads: Thread,
    pub(crate) worker: Worker,
    pub(crate) sockets: Sockets,
    pub(crate) inbox: Vec<Letter>,
    pub(crate) planned: Planned,
    /// It has read and decided, and has not written yet. Somebody wants the next turn by then.
    pub(crate) writes: bool,
    pub(crate) wanted_at: Option<Time>,
    /// When the turn under way began, on its own clock.
    now: Instant,
    next_tick: Option<Instant>,
    withheld: Vec<ConnId>,
    traces: u64,
    posts: Posts,
    /// Its listeners are closed.
    pub(crate) is_stopping: bool,
    pub(crate) is_closing_lanes: bool,
}

impl DataThread {
    pub(crate) fn new(node: &Arc<Node>, number: Thread, start: Instant, seed: u64, is_traced: bool) -> DataThread {
        DataThread {
            number,
            threads: node.settings.threads,
            worker: Worker::new(node.clone(), number, start, seed),
            sockets: Sockets::new(node.clone(), is_traced),
            inbox: Vec::new(),
            planned: Planned::default(),
            writes: false,
            wanted_at: None,
            now: start,
            next_tick: None,
            withheld: Vec::new(),
            traces: u64::from(number) << 32,
            posts: Posts::default(),
            is_stopping: false,
            is_closing_lanes: false,
        }
    }

    /// The first step: whatever came is read and decided about.
    pub(crate) fn read_all(&mut self, clock: &MachineClock, outside: &mut Outside, run: &RunOf) {
        self.now = clock.instant(outside.now);
        (self.sockets.now, self.sockets.moment) = (outside.now, clock.moment(outside.now));
        self.read_letters(outside);
        self.read_ready();
        self.next_tick = self.worker.tick(self.now, &mut self.sockets);
        self.say(outside, run);
    }

    /// The second step, some time later: the clock is read, and what was decided is written.
    pub(crate) fn write_all(&mut self, clock: &MachineClock, outside: &mut Outside, run: &RunOf) -> Posts {
        (self.sockets.now, self.sockets.moment) = (outside.now, clock.moment(outside.now));
        self.write();
        for thread in (0..self.threads).filter(|thread| *thread != self.number) {
            let batch = std::mem::take(self.worker.outbox(thread));
            if !batch.is_empty() {
                self.posts.letters.push((thread, Letter::Batch(batch)));
            }
        }
        let (asked, _) = self.worker.asked();
        self.posts.asked.append(asked);
        self.worker.posted();
        self.sockets.expire_farewells();
        let closing = std::mem::take(&mut self.sockets.closing);
        self.sockets.wanted.extend(closing.into_iter().map(|(wire, side)| Wanted::Close(wire, side)));
        self.worker.end_turn();
        self.say(outside, run);
        self.posts.lane_news.append(&mut self.sockets.lane_news);
        std::mem::take(&mut self.posts)
    }

    /// When it has something to do next, on its own clock.
    pub(crate) fn next(&mut self, clock: &MachineClock, now: Time) -> Option<Time> {
        let has_work = !self.worker.dirty().is_empty()
            || !self.sockets.ready.is_empty()
            || self.worker.has_news()
            || !self.inbox.is_empty() && self.worker.takes_letters();
        // A turn is not without end, nor is the pause between two.
        let at_once = has_work.then(|| Time(now.0 + 1));
        let withheld = (!self.withheld.is_empty()).then(|| Time(now.0 + 10_000));
        let tick = self.next_tick.map(|tick| clock.when(tick).max(Time(now.0 + 1)));
        [at_once, withheld, tick, self.sockets.farewell_deadline()].into_iter().flatten().min()
    }

    fn say(&mut self, outside: &mut Outside, run: &RunOf) {
        for wanted in std::mem::take(&mut self.sockets.wanted) {
            match wanted {
                Wanted::Send(wire, side, chunk) => outside.send(wire, side, chunk),
                Wanted::Close(wire, side) => outside.close(wire, side),
                Wanted::Hold(wire, side, end) => outside.network.hold(wire, side, end),
            }
        }
        for event in std::mem::take(&mut self.sockets.events) {
            outside.trace.line(outside.now, || format!("{run} thread {}: {event}", self.number));
        }
    }

    fn read_letters(&mut self, outside: &mut Outside) {
        if !self.worker.takes_letters() {
            return;
        }
        for letter in std::mem::take(&mut self.inbox) {
            let now = self.now;
            match letter {
                Letter::Batch(batch) => self.worker.letters(batch, now, &mut self.sockets),
                Letter::Client { wire, side, origin, carry } => self.adopt_client(wire, side, origin, carry, outside),
                Letter::Lane { wire, side, socket, connection } => {
                    self.adopt_lane(wire, side, &socket, connection, outside);
                }
                Letter::PeerGone { node, epoch } => self.worker.peer_gone(node, epoch, now, &mut self.sockets),
                Letter::Told(told) => self.worker.told(told, now, &mut self.sockets),
                Letter::ShutDown => {
                    self.is_stopping = true;
                    self.worker.shut_down(now, &mut self.sockets);
                }
                Letter::CloseLanes => {
                    self.worker.close_lanes(now, &mut self.sockets);
                    self.is_closing_lanes = true;
                }
            }
        }
    }

    fn adopt_client(
        &mut self,
        wire: WireId,
        side: usize,
        origin: Option<Origin>,
        carry: Vec<u8>,
        outside: &mut Outside,
    ) {
        let origin = origin.unwrap_or_else(|| {
            self.traces += 1;
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
            Origin { listener: 0, address, trace: self.traces }
        });
        match self.worker.accepted(origin, self.now) {
            Ok(conn) => self.adopt(conn, Kind::Client, (wire, side), carry, outside),
            Err(_) => outside.reset(wire, side),
        }
    }

    fn adopt_lane(&mut self, wire: WireId, side: usize, socket: &LaneSocket, connection: u64, outside: &mut Outside) {
        let (node, lane) = (socket.peer.node_id, socket.lane);
        match self.worker.lane_up(socket, self.now, &mut self.sockets) {
            Ok(conn) => {
                self.sockets.lane_connections.insert((node, lane), connection);
                self.adopt(conn, Kind::Lane, (wire, side), Vec::new(), outside);
            }
            Err(_) => {
                outside.reset(wire, side);
                let lost = LostLane { node: NodeId(node), epoch: socket.epoch, lane, connection };
                self.sockets.tell_lane_ended(lost, LaneEnd::Lost);
            }
        }
    }

    fn adopt(
        &mut self,
        conn: ConnId,
        kind: Kind,
        (wire, side): (WireId, usize),
        carry: Vec<u8>,
        outside: &mut Outside,
    ) {
        let mut socket = Socket::new(wire, side, kind);
        socket.is_resumed = !carry.is_empty();
        socket.carry = carry;
        self.sockets.insert(conn, socket);
        for chunk in outside.network.attach(wire, side, End::Thread(self.number, conn)) {
            self.sockets.arrive(conn, chunk);
        }
    }

    fn read_ready(&mut self) {
        for _ in 0..self.sockets.ready.len() {
            let Some(conn) = self.sockets.ready.pop_front() else { return };
            let Some(socket) = self.sockets.get_mut(conn) else { continue };
            socket.is_ready = false;
            if self.worker.is_sated() {
                self.sockets.make_ready(conn);
            } else {
                self.read(conn);
            }
        }
    }

    /// Reads one connection until there is no more, its budget is used, or the worker wants no more.
    fn read(&mut self, conn: ConnId) {
        let mut budget = READ_BUDGET;
        loop {
            let Some(socket) = self.sockets.get_mut(conn) else { return };
            if socket.is_reset {
                return self.end(conn, Closed::Error);
            }
            if !socket.has_news() {
                return;
            }
            if budget == 0 {
                return self.sockets.make_ready(conn);
            }
            let is_offered_again = std::mem::take(&mut socket.is_resumed);
            let mut bytes = std::mem::take(&mut socket.carry);
            let fresh = if is_offered_again { 0 } else { budget.min(socket.arrived.len()) };
            bytes.extend(socket.arrived.drain(..fresh));
            let is_eof = !is_offered_again && socket.is_ended && socket.arrived.is_empty();
            budget = budget.saturating_sub(fresh.max(1));
            let consumed = if fresh > 0 || is_offered_again {
                self.worker.received(conn, &bytes, self.now, &mut self.sockets)
            } else {
                Consumed { bytes: 0, paused: false }
            };
            // The worker may have closed it, or given it away.
            bytes.drain(..consumed.bytes);
            if let Some(Leaving { conn: left, thread, origin }) = self.sockets.leaving.take() {
                let Some(mut socket) = self.sockets.remove(left) else { return };
                bytes.extend(socket.arrived.drain(..));
                let letter =
                    Letter::Client { wire: socket.wire, side: socket.side, origin: Some(origin), carry: bytes };
                self.posts.letters.push((thread, letter));
                // What comes meanwhile waits for the sibling; an end that has come already, too.
                let end = if socket.is_reset { Some(Chunk::Reset) } else { socket.is_ended.then_some(Chunk::End) };
                self.sockets.wanted.push(Wanted::Hold(socket.wire, socket.side, end));
                return;
            }
            let Some(socket) = self.sockets.get_mut(conn) else { return };
            socket.is_paused |= consumed.paused;
            if is_eof && !socket.is_paused {
                return self.end(conn, Closed::Eof);
            }
            socket.carry = bytes;
        }
    }

    fn end(&mut self, conn: ConnId, how: Closed) {
        let socket = self.sockets.remove(conn);
        self.sockets.closing.extend(socket.map(|socket| (socket.wire, socket.side)));
        self.worker.closed(conn, how, self.now, &mut self.sockets);
    }

    fn write(&mut self) {
        let is_withholding = !self.sockets.may_acknowledge();
        if !is_withholding {
            for conn in std::mem::take(&mut self.withheld) {
                self.write_one(conn, false);
            }
        }
        for _ in 0..WRITE_ROUNDS {
            let dirty = std::mem::take(self.worker.dirty());
            if dirty.is_empty() {
                break;
            }
            dirty.into_iter().for_each(|conn| self.write_one(conn, is_withholding));
        }
    }

    fn write_one(&mut self, conn: ConnId, is_withholding: bool) {
        let Some(socket) = self.sockets.get_mut(conn) else { return };
        let (wire, side, kind) = (socket.wire, socket.side, socket.kind);
        if is_withholding && kind == Kind::Client {
            if !self.withheld.contains(&conn) {
                self.withheld.push(conn);
            }
            return;
        }
        let Some(bytes) = self.worker.output(conn).map(std::mem::take) else { return };
        let was_full = kind == Kind::Lane || bytes.len() >= OUTPUT_BUFFER_BYTES;
        self.worker.written(conn, bytes.len());
        if !bytes.is_empty() {
            self.sockets.wanted.push(Wanted::Send(wire, side, Chunk::Bytes(bytes)));
        }
        if was_full {
            self.worker.drained(conn, self.now, &mut self.sockets);
        }
    }

    /// Whether nobody would lose anything if the thread ended now.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let gauges = self.worker.gauges();
        let is_posted = (0..self.threads).all(|thread| self.worker.outbox(thread).is_empty());
        let is_sent = self.worker.link_counters().iter().all(|link| !link.connected || link.unacknowledged_bytes == 0);
        is_posted && is_sent && gauges.connections + gauges.connections_pending + gauges.store_questions == 0
    }
}

/// Which process of which node, in traces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunOf {
    pub(crate) slot: usize,
    pub(crate) run: u64,
}

impl std::fmt::Display for RunOf {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "node {} ({})", self.slot, self.run)
    }
}
