//! The worker of one data thread: what happens when bytes, letters and time arrive.
//!
//! This file is the table of contents: each event goes to the module that knows what to do. Nothing here reads a clock,
//! a socket or randomness; a run with the same events and the same seed gives the same outputs.

use crate::alarm::BOUNDS;
use crate::authenticate::Asked;
use crate::connections::{Connections, Role};
use crate::counters::{Counters, Gauges, LinkCounters};
use crate::effort::{Effort, cost};
use crate::extended::Exchanges;
use crate::fanout::Fanout;
use crate::ids::{ConnId, SessionId, Thread};
use crate::lanes::Lanes;
use crate::letter::{Batch, Note, Outboxes};
use crate::node::Node;
use crate::out::{Departure, Event, Origin, Out};
use crate::overdue::Overdue;
use crate::pending::Pending;
use crate::pressure::{Pressure, Restraint};
use crate::random::Random;
use crate::route::Scratch;
use crate::rules::Rules;
use crate::sessions::Sessions;
use crate::subscribe::Waiting;
use crate::throttle::Debts;
use crate::timer::{Timer, Timers};
use crate::withdraw::Withdrawal;
use fulmar_auth::identity::CertificateNames;
use fulmar_codec::ReasonCode;
use fulmar_session::QuotaShare;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
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
    /// The listener serves as many as it may.
    #[error("{connections} connections of this listener are open, at most {max} are allowed")]
    TooManyOfListener {
        /// Open now.
        connections: usize,
        /// The limit.
        max: usize,
    },
    /// The address has as many as it may.
    #[error("{connections} connections from this address are open, at most {max} are allowed")]
    TooManyOfAddress {
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
    pub(crate) overdue: Overdue,
    pub(crate) debts: Debts,
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
    /// What this turn has done.
    pub(crate) effort: Effort,
    /// Messages that some of their receivers have not got, in the order in which they came.
    pub(crate) fanouts: VecDeque<Fanout>,
    /// Shared subscriptions of the message under way whose member has ended since it was picked: see `inherit.rs`.
    pub(crate) missed: Vec<NonZeroU32>,
    /// Receivers of the message in the last packet.
    pub(crate) last_receivers: usize,
    /// Sessions that have ended and still have subscriptions.
    pub(crate) leaving: VecDeque<SessionId>,
    /// Sessions whose retained messages go on in the next turn.
    pub(crate) reading_on: VecDeque<SessionId>,
    /// How much memory the process uses.
    pub(crate) pressure: Pressure,
    pub(crate) restraint: Restraint,
    /// Who was not read on because the turn had done enough.
    pub(crate) put_off: Vec<ConnId>,
    /// Who was not read on because it has sent more to many than they have got.
    pub(crate) ahead: Vec<ConnId>,
    /// Connections that got messages for many and may be written in this turn.
    bulk_left: usize,
    /// Reminders that are due. Where they are many, they last for several turns.
    due: VecDeque<Timer>,
    next_housekeeping: Instant,
}

/// How often lanes, waits and the retained store are looked after.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// A write is a system call, so that those who got a message for many are written in portions.
const BULK_PER_TURN: usize = 256;
/// Clients that a turn closes, reminders that it looks at, and sessions for which it reads on, however much else it has
/// done.
const LEAST_PER_TURN: usize = 16;

impl Worker {
    /// A worker without connections. `seed` feeds what must not be guessed (assigned client ids) and nothing else.
    pub fn new(node: Arc<Node>, thread: Thread, start: Instant, seed: u64) -> Worker {
        let (threads, turn_effort) = (node.settings.threads, node.settings.limits.turn_effort);
        Worker {
            sessions: Sessions::new(seed),
            share: QuotaShare::new(Arc::clone(&node.quota)),
            session_share: QuotaShare::new(Arc::clone(&node.session_quota)),
            told: [0; BOUNDS.len()],
            rules: Arc::clone(&node.settings.auth.rules),
            withdrawal: None,
            overdue: Overdue::new(start),
            debts: Debts::new(seed),
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
            effort: Effort::new(turn_effort),
            fanouts: VecDeque::new(),
            missed: Vec::new(),
            last_receivers: 0,
            leaving: VecDeque::new(),
            reading_on: VecDeque::new(),
            pressure: Pressure::default(),
            restraint: Restraint::default(),
            put_off: Vec::new(),
            ahead: Vec::new(),
            bulk_left: BULK_PER_TURN,
            due: VecDeque::new(),
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
        if let Err(refused) = self.node.admission.enter(&origin) {
            self.counters.refused(refused);
            return Err(refused);
        }
        self.counters.connections_accepted += 1;
        self.effort.add(1, cost::ACCEPT);
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
        self.effort.add(1, cost::READ);
        self.effort.add(bytes.len() / 1024, cost::KIBIBYTE);
        match connection.role {
            Role::AwaitConnect { answer, .. } => self.await_connect(conn, answer, bytes, now, out),
            Role::AwaitAnswer { ticket, .. } => self.exchange_bytes(conn, ticket, bytes, now, out),
            Role::Client(session) => {
                let taken = self.client_bytes(conn, session, bytes, now, out);
                self.restrain(conn, taken, now, out)
            }
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
            Role::AwaitConnect { .. } => {
                // Nobody can be blamed: load balancers look this way whether a broker is there.
                out.event(Event::ClosedBeforeConnect { origin: connection.origin });
                self.forget_connection(conn, out);
            }
            Role::AwaitAnswer { .. } => drop(self.forget_connection(conn, out)),
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
        self.counters.limit_hits_input_buffer_bytes_total += 1;
    }

    /// Whether this turn has done as much as it may, or brought as much output: nobody should be read before the next.
    #[inline]
    pub fn is_sated(&self) -> bool {
        self.effort.is_spent() || self.is_full()
    }

    /// The rest of what this connection sent waits for the next turn.
    pub(crate) fn put_off(&mut self, conn: ConnId, out: &mut impl Out) {
        self.put_off.push(conn);
        self.pause(conn, out);
    }

    /// The turn ends, and its output is about to be sent: in the next one everybody is read on.
    fn resume_put_off(&mut self, now: Instant, out: &mut impl Out) {
        if !self.has_backlog() {
            self.put_off.append(&mut self.ahead);
        }
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
        self.counters.limit_hits_output_buffer_bytes_total += 1;
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

    /// What another data thread of this node has for this one, if it [takes letters](Worker::takes_letters).
    pub fn letters(&mut self, mut batch: Batch, now: Instant, out: &mut impl Out) {
        let effort = self.effort.spent();
        self.deliver_batch(&batch, now);
        // Batches are bounded where they are queued. Clients of this thread are read however many come.
        self.effort.go_back(effort);
        for note in std::mem::take(&mut batch.notes) {
            match note {
                Note::Claim(claim) => {
                    let (client_id, claim) = claim.view();
                    self.claimed_elsewhere(client_id, &claim, now, out);
                }
                Note::InterestChanged => self.announce_interest(),
                Note::InterestConfirmed => self.interest_confirmed(now, out),
                Note::LaneUp { node } => self.confirm_interest_to(node),
                Note::NodeGone { node, epoch } => self.node_gone_here(node, epoch, now, out),
                Note::ShutDown => self.shut_down_here(now, out),
            }
        }
        self.outboxes.keep_room(batch);
    }

    /// Does what is due and tells when to come again at the latest.
    pub fn tick(&mut self, now: Instant, out: &mut impl Out) -> Option<Instant> {
        self.pressure = self.node.pressure();
        self.resume_put_off(now, out);
        let output_bytes_max = self.node.settings.limits.output_bytes_per_thread;
        // Until all who have to go are gone nobody is read, so that no more comes than goes.
        let mut least = LEAST_PER_TURN;
        while (least > 0 || !self.effort.is_overspent())
            && let Some(conn) = self.connections.surplus(output_bytes_max)
        {
            least = least.saturating_sub(1);
            self.shed_output(conn, now, out);
        }
        self.fan_out_on(now);
        self.remind_some(now, out);
        self.read_on(now);
        self.leave_some();
        self.withdraw_some(now, out);
        let overdue = self.close_overdue(now, out);
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING;
            self.lanes_due(now, out);
            self.waits_due(now, out);
            self.look_for_slow(now, out);
            self.release_rested(now, out);
            self.close_largest(now, out);
            self.report_limits(now, out);
            if self.thread == 0 {
                self.node.sweep_retained(now);
            }
        }
        let is_pressed = self.pressure != Pressure::Normal || !self.restraint.is_idle();
        let has_house = is_pressed || !self.lanes.is_empty() || !self.waiting.is_empty();
        let housekeeping = has_house.then_some(self.next_housekeeping);
        let is_behind =
            !self.fanouts.is_empty() || !self.ahead.is_empty() || !self.due.is_empty() || !self.reading_on.is_empty();
        let has_surplus = self.connections.unsent_bytes() > output_bytes_max;
        let has_more = is_behind || has_surplus || !self.leaving.is_empty() || self.withdrawal.is_some();
        [self.timers.next_due(), housekeeping, overdue, has_more.then_some(now)].into_iter().flatten().min()
    }

    /// Looks at the reminders that are due, as many as fit into this turn.
    fn remind_some(&mut self, now: Instant, out: &mut impl Out) {
        if self.due.is_empty() {
            let mut due = Vec::from(std::mem::take(&mut self.due));
            self.timers.take_due(now, &mut due);
            self.due = due.into();
        }
        let mut least = LEAST_PER_TURN;
        while (least > 0 || !self.effort.is_spent())
            && let Some(timer) = self.due.pop_front()
        {
            least = least.saturating_sub(1);
            match timer {
                Timer::Connection { slot, generation } => {
                    self.connection_due(ConnId { slot, generation }, now, out);
                }
                Timer::Session { slot, generation } => self.session_due(SessionId { slot, generation }, now),
            }
        }
    }

    /// Goes on with retained messages where a turn had done enough, in the order in which they were put off.
    fn read_on(&mut self, now: Instant) {
        for count in 0..self.reading_on.len() {
            if count >= LEAST_PER_TURN && self.effort.is_spent() {
                return;
            }
            let Some(id) = self.reading_on.pop_front() else { return };
            if let Some(entry) = self.sessions.get_mut(id) {
                entry.is_reading_on = false;
                self.pump_some(id, 1, now);
            }
        }
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

    /// The node stops: every client is told (MQTT 5: 0x8B). Wills that are due go out, those with a delay end with their
    /// sessions and with the process.
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
        self.hand_on_all(now);
    }

    /// The turn's work is done: connections whose output buffer grew in it. Write each once, tell [`Worker::written`],
    /// and take it from the list.
    pub fn dirty(&mut self) -> &mut Vec<ConnId> {
        self.flush_lanes();
        self.bulk_left -= self.connections.take_from_bulk(self.bulk_left);
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
        self.effort.end_turn();
        self.bulk_left = BULK_PER_TURN;
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
            slow_consumers: self.connections.slow() as u64,
        }
    }

    /// This thread's lanes.
    pub fn link_counters(&self) -> Vec<LinkCounters> {
        self.lanes.counters()
    }
}
