//! How sockets come to a data thread, and leave it for another: accepted here, or handed over by the control side or a
//! sibling.

use std::time::Instant;

use fulmar_cluster::NodeId;
use fulmar_cluster::peers::LostLane;
use fulmar_worker::{Closed, ConnId, LaneEnd, Origin};
use mio::{Interest, Token};
use tracing::debug;

use super::{Core, Reactor};
use crate::reactor::inbox::{Client, Lane, Letter};
use crate::reactor::socket::Socket;
use crate::reactor::sockets::{Entry, Kind};
use crate::reactor::world::Leaving;
use crate::trace::Trace;

impl<C: Core> Reactor<C> {
    pub(super) fn accept(&mut self, now: Instant) {
        // Accepting needs all of `self` but the listeners.
        let mut listeners = std::mem::take(&mut self.listeners);
        let (shortage, traces) = (self.settings.shortage.clone(), self.settings.traces.clone());
        for listener in &mut listeners {
            if listener.is_due(now) {
                let index = listener.index;
                listener.accept(now, &shortage, |stream, address| {
                    let _ = stream.set_nodelay(true);
                    let origin = Origin { listener: index, address, trace: traces.next() };
                    let (tls, certificate, bytes, permit) = (None, None, Vec::new(), None);
                    self.adopt_client(Client { stream, tls, certificate, bytes, origin, permit }, now);
                });
            }
        }
        self.listeners = listeners;
    }

    pub(super) fn adopt_client(&mut self, client: Client, now: Instant) {
        let Client { stream, tls, certificate, bytes, origin, permit } = client;
        match self.core.accepted(origin, now) {
            Ok(conn) => {
                if let Some(certificate) = certificate {
                    self.core.certified(conn, certificate);
                }
                self.adopt(conn, Kind::Client, Socket::new(stream, tls), bytes, now);
            }
            Err(refused) => {
                debug!(address = %origin.address, trace = %Trace(origin.trace), %refused, "client not accepted");
            }
        }
        drop(permit);
    }

    pub(super) fn adopt_lane(&mut self, lane: Lane, now: Instant) {
        let Lane { stream, tls, bytes, socket, connection } = lane;
        let (node, lane) = (socket.peer.node_id, socket.lane);
        match self.core.lane_up(&socket, now, &mut self.world) {
            Ok(conn) => {
                self.world.lane_connections.insert((node, lane), connection);
                self.adopt(conn, Kind::Lane, Socket::new(stream, tls), bytes, now);
            }
            Err(refused) => {
                debug!(peer = socket.peer.name, lane, %refused, "lane not accepted");
                let lost = LostLane { node: NodeId(node), epoch: socket.epoch, lane, connection };
                self.world.tell_lane_ended(lost, LaneEnd::Lost);
            }
        }
    }

    fn adopt(&mut self, conn: ConnId, kind: Kind, mut socket: Socket, bytes: Vec<u8>, now: Instant) {
        let token = Token(conn.slot as usize);
        let interests = Interest::READABLE | Interest::WRITABLE;
        if self.world.registry.register(socket.stream(), token, interests).is_err() {
            self.core.closed(conn, Closed::Error, now, &mut self.world);
            return;
        }
        let has_tls = socket.has_tls();
        let mut entry = Entry::new(conn, kind, socket);
        entry.is_resumed = !bytes.is_empty();
        // What rustls has decrypted or wants to send already brings no event.
        entry.is_readable = has_tls;
        let is_ready = entry.is_resumed || has_tls;
        self.world.sockets.insert(conn, entry);
        self.world.sockets.put_carry(conn, bytes, None);
        if is_ready {
            self.world.make_ready(conn);
        }
        if has_tls {
            self.writable.push(conn);
        }
    }

    /// Gives a client to the thread that serves it, with what it has sent so far.
    pub(super) fn hand_over(&mut self, leaving: Leaving, bytes: Vec<u8>) {
        let Leaving { conn, thread, origin, certificate } = leaving;
        let Some(entry) = self.world.sockets.remove(conn) else { return };
        let (mut stream, tls) = entry.socket.into_parts();
        if self.world.registry.deregister(&mut stream).is_ok() {
            let client = Client { stream, tls, certificate, bytes, origin, permit: None };
            self.inboxes[usize::from(thread)].push(Letter::Client(Box::new(client)));
        }
    }
}
