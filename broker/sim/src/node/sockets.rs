//! The sockets of a data thread: what a worker asks for happens here at once, as in `broker/src/reactor/world.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fulmar_auth::hooks::Ticket;
use fulmar_auth::identity::CertificateNames;
use fulmar_cluster::NodeId;
use fulmar_cluster::peers::LostLane;
use fulmar_meta::Moment;
use fulmar_worker::{ConnId, Event, LaneEnd, Node, Origin, Out, Question, Thread};

use crate::Time;
use crate::network::{Chunk, WireId};

/// However slow the store is, a socket is closed after so long.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Client,
    Lane,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) wire: WireId,
    pub(crate) side: usize,
    pub(crate) kind: Kind,
    /// Arrived, and not read.
    pub(crate) arrived: VecDeque<u8>,
    /// Read, and not consumed.
    pub(crate) carry: Vec<u8>,
    pub(crate) is_ended: bool,
    pub(crate) is_reset: bool,
    pub(crate) is_paused: bool,
    /// The carry must be offered before the socket is read.
    pub(crate) is_resumed: bool,
    pub(crate) is_ready: bool,
}

impl Socket {
    pub(crate) fn new(wire: WireId, side: usize, kind: Kind) -> Socket {
        Socket {
            wire,
            side,
            kind,
            arrived: VecDeque::new(),
            carry: Vec::new(),
            is_ended: false,
            is_reset: false,
            is_paused: false,
            is_resumed: false,
            is_ready: false,
        }
    }

    pub(crate) fn has_news(&self) -> bool {
        self.is_reset || !self.is_paused && (self.is_resumed || self.is_ended || !self.arrived.is_empty())
    }
}

/// A connection on its way to another thread.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) conn: ConnId,
    pub(crate) thread: Thread,
    pub(crate) origin: Origin,
}

/// What a turn wants of the network, in its order.
#[derive(Debug)]
pub(crate) enum Wanted {
    Send(WireId, usize, Chunk),
    Close(WireId, usize),
    /// What arrives waits for whoever takes the connection next, after this.
    Hold(WireId, usize, Option<Chunk>),
}

/// A lane that ended, for the control side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneNews {
    pub(crate) lost: LostLane,
    pub(crate) why: LaneEnd,
}

/// Everything of a data thread but its worker.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) node: Arc<Node>,
    pub(crate) now: Time,
    /// What the clock of leases shows now.
    pub(crate) moment: Moment,
    sockets: BTreeMap<(u32, u32), Socket>,
    /// Connections to read.
    pub(crate) ready: VecDeque<ConnId>,
    pub(crate) wanted: Vec<Wanted>,
    /// Closed at the end of the turn.
    pub(crate) closing: Vec<(WireId, usize)>,
    /// Closed when the store has what their clients said last, or after a while.
    farewells: BTreeMap<(u32, u32), (Time, WireId, usize)>,
    pub(crate) leaving: Option<Leaving>,
    /// The number that the control side gave to the connection of each lane, by peer and lane.
    pub(crate) lane_connections: BTreeMap<(u64, u16), u64>,
    pub(crate) lane_news: Vec<LaneNews>,
    /// Lines for the trace.
    pub(crate) events: Vec<String>,
    pub(crate) is_traced: bool,
}

fn key(conn: ConnId) -> (u32, u32) {
    (conn.slot, conn.generation)
}

impl Sockets {
    pub(crate) fn new(node: Arc<Node>, is_traced: bool) -> Sockets {
        Sockets {
            node,
            now: Time::default(),
            moment: Moment::default(),
            sockets: BTreeMap::new(),
            ready: VecDeque::new(),
            wanted: Vec::new(),
            closing: Vec::new(),
            farewells: BTreeMap::new(),
            leaving: None,
            lane_connections: BTreeMap::new(),
            lane_news: Vec::new(),
            events: Vec::new(),
            is_traced,
        }
    }

    pub(crate) fn insert(&mut self, conn: ConnId, socket: Socket) {
        self.sockets.insert(key(conn), socket);
        self.make_ready(conn);
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.sockets.get_mut(&key(conn))
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Socket> {
        self.sockets.remove(&key(conn))
    }

    /// Something arrives at a connection.
    pub(crate) fn arrive(&mut self, conn: ConnId, chunk: Chunk) {
        let Some(socket) = self.sockets.get_mut(&key(conn)) else { return };
        match chunk {
            Chunk::Bytes(bytes) => socket.arrived.extend(bytes),
            Chunk::End => socket.is_ended = true,
            // What was not read is lost with it.
            Chunk::Reset => socket.is_reset = true,
            other => unreachable!("a data thread is sent bytes, found {other:?}"),
        }
        self.make_ready(conn);
    }

    /// Puts a connection on the list of those to read, once.
    pub(crate) fn make_ready(&mut self, conn: ConnId) {
        if let Some(socket) = self.sockets.get_mut(&key(conn))
            && !socket.is_ready
            && socket.has_news()
        {
            socket.is_ready = true;
            self.ready.push_back(conn);
        }
    }

    pub(crate) fn may_acknowledge_now(&self) -> bool {
        self.node.may_acknowledge(self.moment)
    }

    pub(crate) fn expire_farewells(&mut self) {
        let now = self.now;
        let over = self.farewells.extract_if(.., |_, (deadline, ..)| *deadline <= now);
        self.closing.extend(over.map(|(_, (_, wire, side))| (wire, side)));
    }

    pub(crate) fn farewell_deadline(&self) -> Option<Time> {
        self.farewells.values().map(|(deadline, ..)| *deadline).min()
    }

    pub(crate) fn tell_lane_ended(&mut self, lost: LostLane, why: LaneEnd) {
        self.lane_news.push(LaneNews { lost, why });
    }
}

impl Out for Sockets {
    fn pause_reading(&mut self, conn: ConnId, paused: bool) {
        if let Some(socket) = self.sockets.get_mut(&key(conn)) {
            socket.is_paused = paused;
            socket.is_resumed = !paused && !socket.carry.is_empty();
        }
        self.make_ready(conn);
    }

    fn close(&mut self, conn: ConnId, last_bytes: Vec<u8>) {
        let Some(socket) = self.sockets.remove(&key(conn)) else { return };
        if last_bytes.is_empty() {
            self.closing.push((socket.wire, socket.side));
        } else {
            self.wanted.push(Wanted::Send(socket.wire, socket.side, Chunk::Bytes(last_bytes)));
            self.wanted.push(Wanted::Close(socket.wire, socket.side));
        }
    }

    fn close_when_told(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.remove(&key(conn)) else { return };
        self.farewells.insert(key(conn), (self.now + FAREWELL, socket.wire, socket.side));
    }

    fn let_go(&mut self, conn: ConnId) {
        let farewell = self.farewells.remove(&key(conn));
        self.closing.extend(farewell.map(|(_, wire, side)| (wire, side)));
    }

    fn hand_over(&mut self, conn: ConnId, thread: Thread, origin: Origin, _: Option<Arc<CertificateNames>>) {
        self.leaving = Some(Leaving { conn, thread, origin });
    }

    fn verify(&mut self, _: Question) -> bool {
        // Nobody has a password here.
        false
    }

    fn abandon(&mut self, _: Ticket) {}

    fn lane_closed(&mut self, peer: u64, lane: u16, epoch: u64, why: LaneEnd) {
        let key = (peer, lane);
        let connection = match why {
            LaneEnd::Gone => self.lane_connections.remove(&key),
            LaneEnd::Lost | LaneEnd::Replaced => self.lane_connections.get(&key).copied(),
        };
        let lost = LostLane { node: NodeId(peer), epoch, lane, connection: connection.unwrap_or_default() };
        self.tell_lane_ended(lost, why);
    }

    fn may_acknowledge(&mut self) -> bool {
        self.may_acknowledge_now()
    }

    fn event(&mut self, event: Event<'_>) {
        if self.is_traced {
            self.events.push(format!("{event:?}"));
        }
    }
}
