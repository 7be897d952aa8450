//! The worker of one data thread: what happens when bytes, letters and time arrive.
//!
//! This file is the table of contents: each event goes to the module that knows what to do. Nothing here reads a clock,
//! a socket or randomness; a run with the same events and the same seed gives the same outputs.

use crate::admission::Refused;
use crate::alarm::Told;
use crate::authenticate::Asked;
use crate::connections::{Connections, Role};
use crate::counters::{Counters, Gauges, LinkCounters};
use crate::desk::Desk;
use crate::effort::cost;
use crate::extended::Exchanges;
use crate::following::Following;
use crate::ids::{ConnId, Thread};
use crate::lanes::Lanes;
use crate::letter::{Batch, Note, Outboxes};
use crate::node::Node;
use crate::out::{Departure, Event, Origin, Out};
use crate::overdue::Overdue;
use crate::pending::Pending;
use crate::places::Places;
use crate::pressure::{Pressure, Restraint};
use crate::route::Scratch;
use crate::rules::Rules;
use crate::sessions::Sessions;
use crate::throttle::Debts;
use crate::timer::Timers;
use crate::turn::{PutOff, Turn};
use crate::waiting::Waiting;
use fulmar_auth::identity::CertificateNames;
use fulmar_random::Random;
use fulmar_session::QuotaShare;
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
    /// What is asked of the store.
    pub(crate) desk: Desk,
    pub(crate) waiting: Waiting,
    /// Clients whose password is being verified.
    pub(crate) asked: Asked,
    /// Clients whom a hook has asked back, or will answer later.
    pub(crate) exchanges: Exchanges,
    /// Who may connect and who may do what, by the files as this thread knows them.
    pub(crate) rules: Arc<Rules>,
    pub(crate) overdue: Overdue,
    pub(crate) debts: Debts,
    pub(crate) lanes: Lanes,
    /// Thread 0 of a node of a durable cluster: where the filters of peers stand.
    pub(crate) places: Places,
    /// What this thread follows, in a durable cluster.
    pub(crate) following: Option<Box<Following>>,
    /// No publish of QoS 1 or 2 is taken for now.
    pub(crate) holds_publishes: bool,
    pub(crate) outboxes: Outboxes,
    pub(crate) timers: Timers,
    pub(crate) scratch: Scratch,
    pub(crate) random: Random,
    pub(crate) counters: Counters,
    /// What this thread's sessions may keep.
    pub(crate) share: Arc<QuotaShare>,
    /// What all sessions of this thread may take.
    pub(crate) session_share: Arc<QuotaShare>,
    pub(crate) told: Told,
    /// Connections whose CONNECT was not answered yet.
    pub(crate) connections_pending: u64,
    pub(crate) shutting_down: bool,
    pub(crate) turn: Turn,
    pub(crate) put_off: PutOff,
    /// Shared subscriptions of the message under way whose member has ended since it was picked: see `inherit.rs`.
    pub(crate) missed: Vec<NonZeroU32>,
    /// How much memory the process uses, as this thread knows it.
    pub(crate) pressure: Pressure,
    pub(crate) restraint: Restraint,
    next_housekeeping: Instant,
}

/// How often lanes, waits and the retained store are looked after.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

impl Worker {
    /// A worker without connections. `seed` feeds what must not be guessed (assigned client ids) and nothing else.
    pub fn new(node: Arc<Node>, thread: Thread, start: Instant, seed: u64) -> Worker {
        let (threads, turn_effort) = (node.settings.threads, node.settings.limits.turn_effort);
        let store_shards = node.settings.store_shards;
        let is_following = node.views.is_some();
        let following = is_following.then(|| Box::new(Following::new(node.settings.incarnation)));
        Worker {
            sessions: Sessions::new(seed),
            share: QuotaShare::new(Arc::clone(&node.quota)),
            session_share: QuotaShare::new(Arc::clone(&node.session_quota)),
            told: Told::default(),
            rules: Arc::clone(&node.settings.auth.rules),
            overdue: Overdue::new(start),
            debts: Debts::new(seed),
            asked: Asked::default(),
            exchanges: Exchanges::default(),
            node,
            thread,
            connections: Connections::new(),
            pending: Pending::new(),
            desk: Desk::new(thread, store_shards),
            waiting: Waiting::default(),
            lanes: Lanes::new(is_following),
            places: Places::default(),
            following,
            holds_publishes: false,
            outboxes: Outboxes::new(threads),
            timers: Timers::new(start),
            scratch: Scratch::new(store_shards.is_some()),
            random: Random::new(seed),
            counters: Counters::default(),
            connections_pending: 0,
            shutting_down: false,
            turn: Turn::new(turn_effort),
            put_off: PutOff::default(),
            missed: Vec::new(),
            pressure: Pressure::default(),
            restraint: Restraint::default(),
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
        self.turn.effort.add(1, cost::ACCEPT);
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
        self.turn.effort.add(1, cost::READ);
        self.turn.effort.add(bytes.len() / 1024, cost::KIBIBYTE);
        self.turn.begin_read(now.saturating_duration_since(self.node.settings.start));
        let (role, has_taken_much) = (connection.role, connection.reads_in_line > 0);
        match role {
            Role::AwaitConnect { answer, .. } => self.await_connect(conn, answer, bytes, now, out),
            Role::AwaitAnswer { ticket, .. } => self.exchange_bytes(conn, ticket, bytes, now, out),
            Role::Client(_) if has_taken_much && self.must_stand_in_line(conn, out) => {
                Consumed { bytes: 0, paused: true }
            }
            Role::Client(session) => {
                let mut taken = self.client_bytes(conn, session, bytes, now, out);
                if self.turn.is_much() {
                    self.has_taken_much(conn, out);
                    taken.paused = true;
                }
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
        let is_closed = self.close_for_room(conn, now, out);
        self.counters.limit_hits_input_buffer_bytes_total += u64::from(is_closed);
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
        let effort = self.turn.effort.spent();
        self.deliver_batch(&batch, now);
        // Batches are bounded where they are queued. Clients of this thread are read however many come.
        self.turn.effort.go_back(effort);
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
        self.keep_up(now, out);
        self.pressure = self.node.pressure();
        self.session_share.set_tight(self.pressure != Pressure::Normal);
        self.read_on(now, out);
        self.shed_surplus(now, out);
        self.fan_out_on(now);
        self.remind_some(now, out);
        self.pump_put_off(now);
        self.leave_some();
        self.withdraw_some(now, out);
        self.dismiss_some(now, out);
        let overdue = self.close_overdue(now, out);
        let housekeeping = self.keep_house(now, out);
        let is_behind = !self.put_off.is_empty() || self.has_surplus();
        [self.timers.next_due(), housekeeping, overdue, is_behind.then_some(now)].into_iter().flatten().min()
    }

    /// What is looked after now and then. Tells when to come again at the latest.
    fn keep_house(&mut self, now: Instant, out: &mut impl Out) -> Option<Instant> {
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING;
            self.lanes_due(now, out);
            self.waits_due(now, out);
            self.desk.retry();
            self.look_for_slow(now, out);
            self.release_rested(now, out);
            self.send_away_some(now, out);
            self.close_largest(now, out);
            self.tell_limits(now, out);
            if self.thread == 0 {
                self.node.sweep_retained(now);
                self.tell_learned(now);
            }
        }
        let is_pressed = self.pressure != Pressure::Normal || !self.restraint.is_idle();
        let has_house = is_pressed
            || self.following.is_some()
            || !self.lanes.is_empty()
            || !self.waiting.is_empty()
            || self.desk.has_more();
        has_house.then_some(self.next_housekeeping)
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

    /// The turn's work is done: connections whose output buffer grew in it. Write each once, tell [`Worker::written`],
    /// and take it from the list.
    pub fn dirty(&mut self) -> &mut Vec<ConnId> {
        self.flush_lanes();
        self.turn.write_bulk(&mut self.connections);
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
        self.turn.end();
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
            store_questions: self.desk.waiting() as u64,
            publishes_waiting: self.pending.len() as u64,
        }
    }

    /// This thread's lanes.
    pub fn link_counters(&self) -> Vec<LinkCounters> {
        self.lanes.counters()
    }
}
