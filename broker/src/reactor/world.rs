//! The world around a worker: what it asks for happens here at once, on the sockets and lists of its data thread.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use fulmar_auth::hooks::Ticket;
use fulmar_auth::identity::CertificateNames;
use fulmar_cluster::NodeId;
use fulmar_cluster::peers::LostLane;
use fulmar_worker::{ConnId, Event, LaneEnd, Origin, Out, Question, Thread};
use mio::Registry;
use tokio::sync::mpsc::UnboundedSender;

use crate::auth::Pool;
use crate::reactor::client_log::ClientLog;
use crate::reactor::farewells::Farewells;
use crate::reactor::lease::Lease;
use crate::reactor::lingering::Lingering;
use crate::reactor::socket::Socket;
use crate::reactor::sockets::Sockets;

/// A lane that ended, for the control side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneNews {
    pub(crate) lost: LostLane,
    pub(crate) why: LaneEnd,
}

/// A connection on its way to another thread.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) conn: ConnId,
    pub(crate) thread: Thread,
    pub(crate) origin: Origin,
    pub(crate) certificate: Option<Arc<CertificateNames>>,
}

/// Everything of a data thread but its worker and its working space.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) sockets: Sockets,
    /// Connections to read in the next round.
    pub(crate) ready: VecDeque<ConnId>,
    pub(crate) lingering: Lingering,
    /// Sockets that are closed at the end of the turn, when the store was told what their clients said last: whoever
    /// sees the end of a connection finds what came before it done.
    pub(crate) closing: Vec<Socket>,
    /// Those that wait until the store has it.
    pub(crate) farewells: Farewells<Socket>,
    /// The connection being read, if it belongs to another thread: it leaves when the worker is done with it.
    pub(crate) leaving: Option<Leaving>,
    /// When this turn's events were taken.
    pub(crate) now: Instant,
    pub(crate) client_log: ClientLog,
    /// The number that the control side gave to the connection of each lane, by peer and lane.
    pub(crate) lane_connections: BTreeMap<(u64, u16), u64>,
    /// One message per lane that ends, and there are few: the queue needs no bound.
    pub(crate) lane_news: UnboundedSender<LaneNews>,
    /// Verifies passwords; none: there are no passwords.
    pub(crate) pool: Option<Arc<Pool>>,
    /// Of a node of a durable cluster.
    pub(crate) lease: Option<Lease>,
}

impl World {
    /// Puts a connection on the list of those to read, once.
    pub(crate) fn make_ready(&mut self, conn: ConnId) {
        if let Some(entry) = self.sockets.get_mut(conn)
            && !entry.is_ready
        {
            entry.is_ready = true;
            self.ready.push_back(conn);
        }
    }

    pub(crate) fn tell_lane_ended(&self, lost: LostLane, why: LaneEnd) {
        // The control side is gone only when the process ends.
        let _ = self.lane_news.send(LaneNews { lost, why });
    }
}

impl Out for World {
    fn pause_reading(&mut self, conn: ConnId, paused: bool) {
        self.sockets.set_paused(conn, paused);
        if !paused && let Some(entry) = self.sockets.get_mut(conn) {
            entry.is_resumed = entry.has_carry();
            self.make_ready(conn);
        }
    }

    fn close(&mut self, conn: ConnId, last_bytes: Vec<u8>) {
        let Some(entry) = self.sockets.remove(conn) else { return };
        // With nothing to say there is nothing that a reset could take away.
        if last_bytes.is_empty() {
            self.closing.push(entry.socket);
        } else {
            self.lingering.add(entry.socket, last_bytes, self.now, &self.registry);
        }
    }

    fn close_when_told(&mut self, conn: ConnId) {
        let Some(mut entry) = self.sockets.remove(conn) else { return };
        // The place of the connection is given to others, with the token of its events.
        match self.registry.deregister(entry.socket.stream()) {
            Ok(()) => self.farewells.add(conn, entry.socket, self.now),
            Err(_) => self.closing.push(entry.socket),
        }
    }

    fn let_go(&mut self, conn: ConnId) {
        self.closing.extend(self.farewells.take(conn));
    }

    fn hand_over(&mut self, conn: ConnId, thread: Thread, origin: Origin, certificate: Option<Arc<CertificateNames>>) {
        self.leaving = Some(Leaving { conn, thread, origin, certificate });
    }

    fn verify(&mut self, question: Question) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.ask(question))
    }

    fn abandon(&mut self, ticket: Ticket) {
        if let Some(pool) = &self.pool {
            pool.abandon(ticket);
        }
    }

    fn lane_closed(&mut self, peer: u64, lane: u16, epoch: u64, why: LaneEnd) {
        let key = (peer, lane);
        let connection = match why {
            LaneEnd::Gone => self.lane_connections.remove(&key),
            LaneEnd::Lost | LaneEnd::Replaced => self.lane_connections.get(&key).copied(),
        };
        // A peer that is gone may have no connection left, and none is asked for.
        let connection = connection.unwrap_or_default();
        self.tell_lane_ended(LostLane { node: NodeId(peer), epoch, lane, connection }, why);
    }

    fn may_acknowledge(&mut self) -> bool {
        self.lease.as_ref().is_none_or(Lease::holds)
    }

    fn event(&mut self, event: Event<'_>) {
        self.client_log.write(&event, self.now);
    }
}
