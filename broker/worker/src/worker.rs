//! The worker of one data thread: what happens when bytes, letters and time arrive.
//!
//! This file is the table of contents: each event goes to the module that knows what to do. Nothing here reads a clock,
//! a socket or randomness; a run with the same events and the same seed gives the same outputs.

use crate::alarm::BOUNDS;
use crate::authenticate::Asked;
use crate::connections::{Connections, Role};
use crate::counters::{Counters, Gauges, LinkCounters};
use crate::extended::Exchanges;
use crate::ids::{ConnId, SessionId, Thread};
use crate::lanes::Lanes;
use crate::letter::{Batch, Note, Outboxes};
use crate::node::Node;
use crate::out::{Departure, Event, Origin, Out};
use crate::pending::Pending;
use crate::random::Random;
use crate::route::Scratch;
use crate::rules::Rules;
use crate::sessions::Sessions;
use crate::subscribe::Waiting;
use crate::timer::{Timer, Timers};
use crate::withdraw::Withdrawal;
use fulmar_auth::identity::CertificateNames;
use fulmar_codec::ReasonCode;
use fulmar_session::QuotaShare;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How much of the offered bytes a worker took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Consumed {
    /// Bytes used; what follows is offered again together with what arrives next.
    pub bytes: usize,
    /// Offer nothing before `pause_reading(conn, false)`.
    pub paused: bool,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The node serves as many connections as it may.
    #[error("{connections} connections are open, at most {max} are allowed")]
    TooManyConnections {
        /// Open now.
        connections: usize,
        /// The limit.
        max: usize,
    },
    /// The node is stopping.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The lane belongs to a peer or incarnation that is not wanted.
    #[error("this lane of the peer is not expected here")]
    UnknownLane,
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closed {
    /// The other side closed it.
    Eof,
    /// It failed.
    Error,
    /// The code of its turn panicked: what it held cannot be trusted.
    Panicked,
}

/// The pure core of one data thread.
#[derive(Debug)]
pub struct Worker {
    pub(crate) node: Arc<Node>,
    pub(crate) thread: Thread,
    pub(crate) connections: Connections,
    pub(crate) sessions: Sessions,
    pub(crate) pending: Pending,
    pub(crate) waiting: Waiting,
    /// Clients whose password is being verified.
    pub(crate) asked: Asked,
    /// Clients whom a hook has asked back, or will answer later.
    pub(crate) exchanges: Exchanges,
    /// Who may connect and who may do what, by the files as this thread knows them.
    pub(crate) rules: Arc<Rules>,
    pub(crate) withdrawal: Option<Withdrawal>,
    pub(crate) lanes: Lanes,
    pub(crate) outboxes: Outboxes,
    pub(crate) timers: Timers,
    pub(crate) scratch: Scratch,
    pub(crate) random: Random,
    pub(crate) counters: Counters,
    /// What this thread's sessions may keep.
    pub(crate) share: Arc<QuotaShare>,
    /// What all sessions of this thread may take.
    pub(crate) session_share: Arc<QuotaShare>,
    /// How often each of [`BOUNDS`] was reached when this was last told.
    told: [u64; BOUNDS.len()],
    /// Connections whose CONNECT was not answered yet.
    pub(crate) connections_pending: u64,
    pub(crate) shutting_down: bool,
    /// Bytes written into the buffers of clients in this turn, about.
    pub(crate) turn_output: usize,
    /// Who was not read on because these were too many.
    pub(crate) put_off: Vec<ConnId>,
    due: Vec<Timer>,
    next_housekeeping: Instant,
}

/// How often lanes, waits and the retained store are looked after.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

impl Worker {
    /// A worker without connections. `seed` feeds what must not be guessed (assigned client ids) and nothing else.
    pub fn new(node: Arc<Node>, thread: Thread, start: Instant, seed: u64) -> Worker {
        let threads = node.settings.threads;
        Worker {
            sessions: Sessions::new(seed),
            share: QuotaShare::new(Arc::clone(&node.quota)),
            session_share: QuotaShare::new(Arc::clone(&node.session_quota)),
            told: [0; BOUNDS.len()],
            rules: Arc::clone(&node.settings.auth.rules),
            withdrawal: None,
            asked: Asked::default(),
            exchanges: Exchanges::default(),
            node,
            thread,
            connections: Connections::new(),
            pending: Pending::new(),
            waiting: Waiting::default(),
            lanes: Lanes::default(),
            outboxes: Outboxes::new(threads),
            timers: Timers::new(start),
            scratch: Scratch::default(),
            random: Random::new(seed),
            counters: Counters::default(),
            connections_pending: 0,
            shutting_down: false,
            turn_output: 0,
            put_off: Vec::new(),
            due: Vec::new(),
            next_housekeeping: start + HOUSEKEEPING,
        }
    }

    /// A client's connection arrived, from a listener or from the thread that accepted it.
    ///
    /// # Errors
    /// When the node may not serve one more; the caller closes the socket.
    pub fn accepted(&mut self, origin: Origin, now: Instant) -> Result<ConnId, Refused> {
        if self.shutting_down {
            return Err(Refused::ShuttingDown);
        }
        let max = self.node.settings.limits.connections;
        let connections = self.node.connections.fetch_add(1, Ordering::Relaxed);
        if connections >= max {
            self.node.connections.fetch_sub(1, Ordering::Relaxed);
            self.counters.connections_refused += 1;
            return Err(Refused::TooManyConnections { connections, max });
        }
        self.counters.connections_accepted += 1;
        self.connections_pending += 1;
        let until = now + self.node.settings.limits.connect_timeout;
        let conn = self.connections.insert(origin, Role::AwaitConnect { until, answer: None });
        self.remind(conn, until);
        Ok(conn)
    }

    /// The client has shown a certificate that its listener trusts and takes its name from. Said before its first byte.
    pub fn certified(&mut self, conn: ConnId, certificate: Arc<CertificateNames>) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.certificate = Some(certificate);
        }
    }

    /// Bytes arrived on a connection. Those not consumed are offered again, in front of what follows.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant, out: &mut impl Out) -> Consumed {
        let Some(connection) = self.connections.get(conn) else {
            return Consumed { bytes: bytes.len(), paused: false };
        };
        match connection.role {
            Role::AwaitConnect { answer, .. } => self.await_connect(conn, answer, bytes, now, out),
            Role::AwaitAnswer { ticket, .. } => self.exchange_bytes(conn, ticket, bytes, now, out),
            Role::Client(session) => self.client_bytes(conn, session, bytes, now, out),
            Role::Lane(lane) => self.lane_bytes(conn, lane, bytes, now, out),
        }
    }

    /// The socket of a connection ended. The connection is forgotten.
    pub fn closed(&mut self, conn: ConnId, how: Closed, now: Instant, out: &mut impl Out) {
        if how == Closed::Panicked {
            self.counters.panics += 1;
        }
        let Some(connection) = self.connections.get(conn) else { return };
        match connection.role {
            Role::AwaitConnect { .. } | Role::AwaitAnswer { .. } => drop(self.forget_connection(conn, out)),
            Role::Client(session) => {
                let why = if how == Closed::Panicked { Departure::Panicked } else { Departure::Lost };
                self.client_gone(conn, session, why, now, out);
            }
            Role::Lane(lane) => self.lane_lost(lane, conn, now, out),
        }
    }

    /// The thread holds as many received bytes as it may, and this connection has held some for longest: it is closed.
    pub fn shed(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) {
        let Some(role) = self.connections.get(conn).map(|connection| connection.role) else { return };
        match role {
            Role::AwaitConnect { .. } | Role::AwaitAnswer { .. } => self.close_unconnected(conn, out),
            Role::Client(session) => self.close_client(conn, session, ReasonCode::QUOTA_EXCEEDED, now, out),
            // Of lanes there are few, and none of them is a client's.
            Role::Lane(_) => return,
        }
        self.counters.input_full_closes += 1;
    }

    /// Whether this turn has brought as much output as it may: nobody should be read before the next.
    #[inline]
    pub fn is_sated(&self) -> bool {
        self.turn_output >= self.node.settings.limits.turn_output_bytes
    }

    /// The rest of what this connection sent waits for the next turn.
    pub(crate) fn put_off(&mut self, conn: ConnId, out: &mut impl Out) {
        self.put_off.push(conn);
        self.pause(conn, out);
    }

    /// The turn ends, and its output is about to be sent: in the next one everybody is read on.
    fn resume_put_off(&mut self, now: Instant, out: &mut impl Out) {
        while let Some(conn) = self.put_off.pop() {
            match self.connections.get(conn).map(|connection| connection.role) {
                Some(Role::Client(session)) => self.resume(conn, session, now, out),
                Some(Role::Lane(_)) => self.resume_lane(conn, out),
                Some(Role::AwaitConnect { .. } | Role::AwaitAnswer { .. }) | None => {}
            }
        }
    }

    /// Clients that read too slowly hold as much output as they may together, and this one has been slow for longest.
    fn shed_output(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) {
        match self.connections.get(conn).map(|connection| connection.role) {
            Some(Role::Client(session)) => self.close_client(conn, session, ReasonCode::QUOTA_EXCEEDED, now, out),
            Some(Role::AwaitConnect { .. } | Role::AwaitAnswer { .. }) => self.close_unconnected(conn, out),
            Some(Role::Lane(_)) | None => return,
        }
        self.counters.output_full_closes += 1;
    }

    /// The socket took everything that was waiting for it: there is room for what the session has queued.
    pub fn drained(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) {
        match self.connections.get(conn).map(|connection| connection.role) {
            Some(Role::Client(session)) => {
                self.pump(session, now);
                self.resume(conn, session, now, out);
            }
            Some(Role::Lane(lane)) => self.flush_lane(lane),
            Some(Role::AwaitConnect { .. } | Role::AwaitAnswer { .. }) | None => {}
        }
    }

    /// What another data thread of this node has for this one.
    pub fn letters(&mut self, mut batch: Batch, now: Instant, out: &mut impl Out) {
        let turn_output = self.turn_output;
        self.deliver_batch(&batch, now);
        // Batches are bounded where they are queued. Clients of this thread are read however many come.
        self.turn_output = turn_output;
        for note in std::mem::take(&mut batch.notes) {
            match note {
                Note::Claim { client_id, version } => self.claimed_elsewhere(&client_id, version, now, out),
                Note::InterestChanged => self.announce_interest(),
                Note::InterestConfirmed => self.interest_confirmed(now),
                Note::LaneUp { node } => self.confirm_interest_to(node),
                Note::NodeGone { node, epoch } => self.node_gone_here(node, epoch, now, out),
                Note::ShutDown => self.shut_down_here(now, out),
            }
        }
        self.outboxes.keep_room(batch);
    }

    /// Does what is due and tells when to come again at the latest.
    pub fn tick(&mut self, now: Instant, out: &mut impl Out) -> Option<Instant> {
        self.resume_put_off(now, out);
        let output_bytes_max = self.node.settings.limits.output_bytes_per_thread;
        while let Some(conn) = self.connections.surplus(output_bytes_max) {
            self.shed_output(conn, now, out);
        }
        let mut due = std::mem::take(&mut self.due);
        self.timers.take_due(now, &mut due);
        for timer in due.drain(..) {
            match timer {
                Timer::Connection { slot, generation } => {
                    self.connection_due(ConnId { slot, generation }, now, out);
                }
                Timer::Session { slot, generation } => self.session_due(SessionId { slot, generation }, now),
            }
        }
        self.due = due;
        self.withdraw_some(now, out);
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING;
            self.lanes_due(now, out);
            self.waits_due(now);
            self.report_limits(now, out);
            if self.thread == 0 {
                self.node.sweep_retained(now);
            }
        }
        let housekeeping = (!self.lanes.is_empty() || !self.waiting.is_empty()).then_some(self.next_housekeeping);
        let withdrawal = self.withdrawal.is_some().then_some(now);
        [self.timers.next_due(), housekeeping, withdrawal].into_iter().flatten().min()
    }

    /// Bounds of the node that were reached are told once a minute, by whichever thread comes first.
    fn report_limits(&mut self, now: Instant, out: &mut impl Out) {
        for (bound, (alarm, told)) in BOUNDS.iter().zip(self.node.alarms.iter().zip(&mut self.told)) {
            let reached = (bound.reached)(&self.counters);
            if let Some(times) = alarm.ring(reached - *told, now) {
                out.event(Event::LimitReached { limit: bound.limit, times });
            }
            *told = reached;
        }
    }

    /// The control side knows that a life of the link to a peer has ended: nobody waits for that peer any longer.
    pub fn peer_gone(&mut self, node: u64, epoch: u64, now: Instant, out: &mut impl Out) {
        self.node_gone(node, epoch, now, out);
    }

    /// The node stops: every client is told (MQTT 5: 0x8B), sessions and wills of this node end with it.
    pub fn shut_down(&mut self, now: Instant, out: &mut impl Out) {
        self.outboxes.note_all_but(self.thread, &Note::ShutDown);
        self.shut_down_here(now, out);
    }

    fn shut_down_here(&mut self, now: Instant, out: &mut impl Out) {
        self.shutting_down = true;
        let all: Vec<_> = self.connections.iter().map(|(conn, connection)| (conn, connection.role)).collect();
        for (conn, role) in all {
            match role {
                Role::AwaitConnect { .. } | Role::AwaitAnswer { .. } => self.close_unconnected(conn, out),
                Role::Client(session) => {
                    self.close_client(conn, session, ReasonCode::SERVER_SHUTTING_DOWN, now, out);
                }
                // Wills travel on the lanes; peers are told when the lanes close, which the reactor does last.
                Role::Lane(_) => {}
            }
        }
    }

    /// The turn's work is done: connections whose output buffer grew in it. Write each once, tell [`Worker::written`],
    /// clear the list.
    pub fn dirty(&mut self) -> &mut Vec<ConnId> {
        self.flush_lanes();
        &mut self.connections.dirty
    }

    /// What a connection's socket has not taken yet; remove what was written. `None`: closed meanwhile.
    pub fn output(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.connections.get_mut(conn).map(|connection| &mut connection.out)
    }

    /// After the write of a dirty connection, of which the socket took so many bytes.
    pub fn written(&mut self, conn: ConnId, bytes: usize) {
        if self.connections.written(conn) {
            self.counters.bytes_sent += bytes as u64;
        }
    }

    /// What this turn has for another thread: take it and pass it on, or leave it here while that thread's queue is
    /// full, and read no client meanwhile.
    pub fn outbox(&mut self, thread: Thread) -> &mut Batch {
        self.outboxes.of(thread)
    }

    /// The turn is over: slots of connections and sessions that ended in it may be used again.
    pub fn end_turn(&mut self) {
        self.turn_output = 0;
        self.connections.end_turn();
        self.sessions.end_turn();
    }

    /// Counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How things stand on this thread.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.sessions.connected as u64,
            connections_pending: self.connections_pending,
            sessions: self.sessions.len() as u64,
            subscriptions: self.sessions.subscriptions as u64,
            session_bytes: self.session_share.used() as u64,
            queued_bytes: self.share.used() as u64,
            unsent_bytes: self.connections.unsent_bytes() as u64,
        }
    }

    /// This thread's lanes.
    pub fn link_counters(&self) -> Vec<LinkCounters> {
        self.lanes.counters()
    }
}
