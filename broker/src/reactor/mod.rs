//! The event loop of one data thread: it feeds a worker bytes and time, and writes what the worker wants to say.
//!
//! Events are edge-triggered with both interests from the start, so that no message costs a change of interests. A
//! socket is read until a short read, each connection's output is written once per turn, and a connection that still
//! has something to read after its budget waits until the others have had their turn.

mod adopt;
mod carried;
mod client_log;
mod core;
mod farewells;
mod inbox;
mod lag;
mod lease;
mod lingering;
mod listener;
mod read;
mod socket;
mod sockets;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_worker::{Closed, ConnId, Consumed, Out, Thread};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::mpsc::{self, UnboundedSender};
use tracing::debug;

use crate::auth::Pool;
use crate::metrics::{ControlMetrics, Numbers, ThreadReport};
use crate::reactor::client_log::ClientLog;
pub(crate) use crate::reactor::core::Core;
use crate::reactor::farewells::Farewells;
pub(crate) use crate::reactor::inbox::{Client, Inbox, Lane, Letter};
use crate::reactor::lag::Lag;
pub(crate) use crate::reactor::lag::{BOUNDS as LAG_BOUNDS, LagCounts};
pub(crate) use crate::reactor::lease::Lease;
use crate::reactor::lingering::Lingering;
pub(crate) use crate::reactor::listener::{Listener, bind, canonical};
use crate::reactor::read::fill;
use crate::reactor::sockets::{Kind, Sockets};
pub(crate) use crate::reactor::world::LaneNews;
use crate::reactor::world::World;
use crate::shortage::Shortage;
use crate::store;
use crate::trace::Traces;

/// Working space for reads, shared by all connections of the thread.
const BUFFER_BYTES: usize = 256 << 10;
/// Read at a time while much of what was read has to wait.
const SMALL_READ_BYTES: usize = 16 << 10;
const EVENTS_PER_TURN: usize = 1024;
/// Times that a connection is written per turn while its session has more for it.
const WRITE_ROUNDS: usize = 4;
/// Writes per turn, which are system calls: the rest has its turn next, before anything else is written.
const WRITES_PER_TURN: usize = 1024;
/// The same by what they write.
const WRITE_BYTES_PER_TURN: usize = 4 << 20;
/// A turn at least this often, so that probes see the thread live.
const BEAT: Duration = Duration::from_secs(1);
/// The clock is read this often while clients wait for what the lease does not let them be told.
const WITHHELD: Duration = Duration::from_millis(10);
/// Numbers are left for `/metrics` this often while there is work.
const REPORT: Duration = Duration::from_millis(250);

const TOKEN_INBOX: Token = Token(usize::MAX);
/// Listeners have the tokens from here on, connections their slots, lingering sockets what is between.
const TOKEN_LISTENERS: usize = usize::MAX - 1024;
const TOKEN_LINGERING: usize = 1 << 33;

/// How a reactor works; the same for all data threads.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) read_budget_bytes: usize,
    pub(crate) output_buffer_bytes: usize,
    /// Sockets whose last bytes are still read; beyond it the oldest is closed at once.
    pub(crate) lingering_max: usize,
    /// Of each kind of received bytes that wait, per thread.
    pub(crate) carried_bytes_max: usize,
    pub(crate) listener_names: Vec<String>,
    pub(crate) metrics: Arc<ControlMetrics>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) shortage: Arc<Shortage>,
    pub(crate) lane_news: UnboundedSender<LaneNews>,
    /// Verifies passwords; none: there are no passwords.
    pub(crate) pool: Option<Arc<Pool>>,
    /// Where the store is asked; none: there is no store.
    pub(crate) store: Option<Arc<store::Inbox>>,
    /// Until when clients may be told anything; none: for ever.
    pub(crate) lease: Option<Lease>,
}

/// A poll and the inbox that wakes it: made before the threads, because each thread knows the inboxes of all.
pub(crate) fn open() -> io::Result<(Poll, Arc<Inbox>)> {
    let poll = Poll::new()?;
    let inbox = Inbox::new(Waker::new(poll.registry(), TOKEN_INBOX)?);
    Ok((poll, Arc::new(inbox)))
}

/// The event loop of one data thread around `core`.
pub(crate) struct Reactor<C> {
    core: C,
    world: World,
    thread: Thread,
    poll: Poll,
    listeners: Vec<Listener>,
    /// One per data thread, this one's too.
    inboxes: Vec<Arc<Inbox>>,
    report: Arc<ThreadReport>,
    settings: Settings,
    buffer: Vec<u8>,
    cipher: Vec<u8>,
    letters: Vec<Letter>,
    reading: VecDeque<ConnId>,
    writing: Vec<ConnId>,
    writes_left: usize,
    write_bytes_left: usize,
    lag: Lag,
    /// Connections whose socket takes bytes again.
    writable: Vec<ConnId>,
    /// Clients that are not written while the lease is over, and whether their sockets were full before. Each is here
    /// because it is dirty, because its socket takes more, or for both.
    withheld: Vec<(ConnId, bool)>,
    is_withholding: bool,
    /// A sibling's queue was full: clients are not read until it has room.
    is_congested: bool,
    is_stopping: bool,
    /// Dropped when peers have read that this node stops.
    closing_lanes: Option<mpsc::Sender<Infallible>>,
    next_tick: Option<Instant>,
    next_report: Instant,
    is_unreported: bool,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    GoOn,
    Exit,
}

impl<C: Core> Reactor<C> {
    pub(crate) fn new(
        core: C,
        thread: Thread,
        poll: Poll,
        mut listeners: Vec<Listener>,
        inboxes: Vec<Arc<Inbox>>,
        report: Arc<ThreadReport>,
        settings: Settings,
    ) -> io::Result<Reactor<C>> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            let token = Token(TOKEN_LISTENERS + index);
            poll.registry().register(&mut listener.socket, token, Interest::READABLE)?;
        }
        let now = Instant::now();
        let world = World {
            registry: poll.registry().try_clone()?,
            sockets: Sockets::new(settings.carried_bytes_max),
            ready: VecDeque::new(),
            lingering: Lingering::new(TOKEN_LINGERING, settings.lingering_max, settings.output_buffer_bytes),
            closing: Vec::new(),
            farewells: Farewells::default(),
            leaving: None,
            now,
            client_log: ClientLog::new(settings.listener_names.clone(), now),
            lane_connections: BTreeMap::new(),
            lane_news: settings.lane_news.clone(),
            pool: settings.pool.clone(),
            lease: settings.lease.clone(),
        };
        Ok(Reactor {
            core,
            world,
            thread,
            poll,
            listeners,
            inboxes,
            report,
            settings,
            buffer: vec![0; BUFFER_BYTES],
            cipher: vec![0; BUFFER_BYTES],
            letters: Vec::new(),
            reading: VecDeque::new(),
            writing: Vec::new(),
            writes_left: WRITES_PER_TURN,
            write_bytes_left: WRITE_BYTES_PER_TURN,
            lag: Lag::new(now),
            writable: Vec::new(),
            withheld: Vec::new(),
            is_withholding: false,
            is_congested: false,
            is_stopping: false,
            closing_lanes: None,
            next_tick: None,
            next_report: now,
            is_unreported: true,
        })
    }

    /// Runs until it is told to exit.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while self.turn(&mut events)? == Turn::GoOn {}
        Ok(())
    }

    /// One round: wait, read, decide, write, pass on.
    pub(crate) fn turn(&mut self, events: &mut Events) -> io::Result<Turn> {
        self.wait(events)?;
        let now = Instant::now();
        self.world.now = now;
        self.lag.turn_begins(now);
        for event in events.iter() {
            self.handle_event(event);
        }
        let turn = self.read_letters(now);
        self.accept(now);
        self.read_ready(now);
        self.next_tick = self.core.tick(now, &mut self.world);
        self.write_all(now);
        self.post_batches();
        self.world.closing.clear();
        self.world.lingering.expire(now);
        self.world.farewells.expire(now);
        self.core.end_turn();
        self.world.client_log.settle(now);
        self.report(now);
        Ok(turn)
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        // Nobody can be read while what is withheld is as much as a turn may bring.
        let is_stuck = self.is_congested || (self.is_withholding && self.core.is_sated());
        let has_work = !self.core.dirty().is_empty() || (!self.world.ready.is_empty() && !is_stuck);
        let inbox = self.inboxes[usize::from(self.thread)].clone();
        // What comes after this wakes the thread.
        let is_awake = has_work || !inbox.fall_asleep() || self.core.has_news();
        let timeout = if is_awake { Duration::ZERO } else { self.idle_time() };
        let polled = self.poll.poll(events, Some(timeout));
        inbox.awake();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn idle_time(&mut self) -> Duration {
        let now = Instant::now();
        self.lag.fall_asleep(now);
        let lingering = self.world.lingering.deadline();
        let report = self.is_unreported.then_some(self.next_report);
        let listeners = self.listeners.iter().filter_map(Listener::deadline);
        let withheld = (!self.withheld.is_empty()).then(|| now + WITHHELD);
        let deadlines = listeners
            .chain(lingering)
            .chain(self.world.farewells.deadline())
            .chain(report)
            .chain(withheld)
            .chain(self.next_tick);
        let next = deadlines.fold(now + BEAT, Instant::min);
        // The kernel counts in milliseconds, and one that is cut off would make the loop spin until the deadline.
        let wait = next.saturating_duration_since(now);
        if wait.is_zero() { wait } else { wait + Duration::from_millis(1) }
    }

    fn handle_event(&mut self, event: &Event) {
        let token = event.token();
        if token == TOKEN_INBOX {
            return;
        }
        if token.0 >= TOKEN_LISTENERS {
            if let Some(listener) = self.listeners.get_mut(token.0 - TOKEN_LISTENERS) {
                listener.is_ready = true;
            }
            return;
        }
        if self.world.lingering.owns(token) {
            self.world.lingering.handle_event(event, &mut self.buffer, self.world.now);
            return;
        }
        let Ok(slot) = u32::try_from(token.0) else { return };
        // The connection may have closed while its event was on the way.
        let Some((conn, entry)) = self.world.sockets.at(slot) else { return };
        if event.is_writable() && entry.is_blocked {
            entry.is_blocked = false;
            self.writable.push(conn);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            entry.is_readable = true;
            entry.is_read_closed |= event.is_read_closed();
            self.world.make_ready(conn);
        }
    }

    fn read_letters(&mut self, now: Instant) -> Turn {
        if !self.core.takes_letters() {
            return Turn::GoOn;
        }
        let mut letters = std::mem::take(&mut self.letters);
        for waiting in self.inboxes[usize::from(self.thread)].take(&mut letters) {
            self.inboxes[usize::from(waiting)].wake_if_asleep();
        }
        let mut turn = Turn::GoOn;
        for letter in letters.drain(..) {
            self.is_unreported = true;
            match letter {
                Letter::Batch(batch) => self.core.letters(batch, now, &mut self.world),
                Letter::Client(client) => self.adopt_client(*client, now),
                Letter::Lane(lane) => self.adopt_lane(*lane, now),
                Letter::PeerGone { node, epoch } => self.core.peer_gone(node, epoch, now, &mut self.world),
                Letter::Answer(answer) => self.core.answered(answer, &mut self.world),
                Letter::Told(told) => self.core.told(told, now, &mut self.world),
                Letter::Rules(rules) => self.core.reload(rules),
                Letter::Tell(messages) => self.core.tell(&messages, now),
                Letter::ShutDown => {
                    self.listeners.clear();
                    self.is_stopping = true;
                    self.world.lingering.take_all();
                    self.core.shut_down(now, &mut self.world);
                }
                Letter::CloseLanes(closed) => {
                    self.core.close_lanes(now, &mut self.world);
                    self.closing_lanes = Some(closed);
                }
                Letter::Exit => turn = Turn::Exit,
            }
        }
        self.letters = letters;
        turn
    }

    fn read_ready(&mut self, now: Instant) {
        std::mem::swap(&mut self.world.ready, &mut self.reading);
        while let Some(conn) = self.reading.pop_front() {
            let Some(entry) = self.world.sockets.get_mut(conn) else { continue };
            entry.is_ready = false;
            if (self.is_congested && entry.kind == Kind::Client) || self.core.is_sated() {
                self.world.make_ready(conn);
            } else {
                self.read(conn, now);
            }
        }
    }

    /// Reads one connection until there is no more, its budget is used, or the worker wants no more.
    fn read(&mut self, conn: ConnId, now: Instant) {
        let mut budget = self.settings.read_budget_bytes;
        loop {
            let Some(entry) = self.world.sockets.get_mut(conn) else { return };
            if entry.is_paused || !(entry.is_resumed || entry.is_readable) {
                return;
            }
            if budget == 0 {
                self.world.make_ready(conn);
                return;
            }
            self.is_unreported = true;
            let (carry, packet) = self.world.sockets.take_carry(conn);
            let portion = if self.world.sockets.is_tight() { budget.min(SMALL_READ_BYTES) } else { budget };
            let Some(entry) = self.world.sockets.get_mut(conn) else { return };
            let read = match fill(entry, carry, &mut self.buffer, &mut self.cipher, portion) {
                Ok(read) => read,
                Err(error) => {
                    debug!(%error, "read failed");
                    self.end(conn, Closed::Error, now);
                    return;
                }
            };
            budget = budget.saturating_sub(read.fresh.max(1));
            let offered = read.bytes.as_slice(&self.buffer);
            let consumed = if read.is_news() {
                let Self { core, world, .. } = self;
                let received = catch_unwind(AssertUnwindSafe(|| core.received(conn, offered, now, world)));
                let Ok(consumed) = received else {
                    self.end(conn, Closed::Panicked, now);
                    return;
                };
                consumed
            } else {
                Consumed { bytes: 0, paused: false }
            };
            // The worker may have closed it.
            let Some(entry) = self.world.sockets.get_mut(conn) else { return };
            let rest = read.bytes.into_rest(consumed.bytes, &self.buffer);
            if let Some(leaving) = self.world.leaving.take() {
                self.hand_over(leaving, rest);
                return;
            }
            entry.is_paused |= consumed.paused;
            if read.is_eof && !entry.is_paused {
                self.end(conn, Closed::Eof, now);
                return;
            }
            self.world.sockets.put_carry(conn, rest, packet.filter(|_| consumed.bytes == 0));
            self.shed(now);
        }
    }

    /// Closes those who hold received bytes for longest, if all together hold too many.
    #[inline]
    fn shed(&mut self, now: Instant) {
        while let Some(conn) = self.world.sockets.surplus() {
            self.core.shed(conn, now, &mut self.world);
        }
    }

    /// Closes the socket and tells the worker.
    fn end(&mut self, conn: ConnId, how: Closed, now: Instant) {
        let entry = self.world.sockets.remove(conn);
        self.world.closing.extend(entry.map(|entry| entry.socket));
        self.core.closed(conn, how, now, &mut self.world);
    }

    fn write_all(&mut self, now: Instant) {
        if self.world.lease.is_some() {
            self.look_at_lease(now);
        }
        let mut writable = std::mem::take(&mut self.writable);
        for conn in writable.drain(..) {
            self.write(conn, true, now);
        }
        self.writable = writable;
        (self.writes_left, self.write_bytes_left) = (WRITES_PER_TURN, WRITE_BYTES_PER_TURN);
        for _ in 0..WRITE_ROUNDS {
            std::mem::swap(self.core.dirty(), &mut self.writing);
            if self.writing.is_empty() {
                break;
            }
            self.is_unreported = true;
            let mut writing = std::mem::take(&mut self.writing);
            let mut written = 0;
            while written < writing.len() && self.writes_left > 0 && self.write_bytes_left > 0 {
                self.write(writing[written], false, now);
                self.writes_left -= 1;
                written += 1;
            }
            if written < writing.len() {
                // Who was not written comes first in the next turn.
                let dirty = self.core.dirty();
                dirty.splice(..0, writing.drain(written..));
                writing.clear();
                self.writing = writing;
                return;
            }
            writing.clear();
            self.writing = writing;
        }
    }

    /// All that is written in this turn was decided by now.
    fn look_at_lease(&mut self, now: Instant) {
        self.is_withholding = !self.world.may_acknowledge();
        if !self.is_withholding {
            for (conn, was_blocked) in std::mem::take(&mut self.withheld) {
                self.write(conn, was_blocked, now);
            }
        }
    }

    /// Writes what a connection's buffer holds, and lets its session fill the buffer again if it was full.
    fn write(&mut self, conn: ConnId, was_blocked: bool, now: Instant) {
        let Some(entry) = self.world.sockets.get_mut(conn) else { return };
        if self.is_withholding && entry.kind == Kind::Client {
            self.withheld.push((conn, was_blocked));
            return;
        }
        let Some(out) = self.core.output(conn) else { return };
        if entry.is_blocked {
            self.core.written(conn, 0);
            return;
        }
        // A lane moves on in portions: what the socket took makes room for the next.
        let was_full = entry.kind == Kind::Lane || out.len() >= self.settings.output_buffer_bytes;
        match entry.socket.write(out) {
            Ok(writing) => {
                if writing.bytes == out.len() {
                    out.clear();
                } else {
                    out.drain(..writing.bytes);
                }
                entry.is_blocked = writing.is_blocked;
                self.write_bytes_left = self.write_bytes_left.saturating_sub(writing.bytes);
                self.core.written(conn, writing.bytes);
                if !writing.is_blocked && (was_blocked || was_full) {
                    let Self { core, world, .. } = self;
                    if catch_unwind(AssertUnwindSafe(|| core.drained(conn, now, world))).is_err() {
                        self.end(conn, Closed::Panicked, now);
                    }
                }
            }
            Err(error) => {
                debug!(%error, "write failed");
                self.end(conn, Closed::Error, now);
            }
        }
    }

    /// Passes on what this turn brought for sessions of other threads, and for the store.
    fn post_batches(&mut self) {
        self.is_congested = self.settings.store.is_some() && !self.post_questions();
        for (thread, inbox) in (0..).zip(&self.inboxes) {
            let batch = self.core.outbox(thread);
            if thread != self.thread && !batch.is_empty() && !inbox.push_batch(self.thread, batch) {
                self.is_congested = true;
            }
        }
    }

    /// Whether the store's queue had room.
    fn post_questions(&mut self) -> bool {
        let Some(store) = &self.settings.store else { return true };
        let (asked, bytes) = self.core.asked();
        if asked.is_empty() {
            return true;
        }
        let is_posted = store.push(self.thread, asked, bytes);
        if is_posted {
            self.core.posted();
        }
        is_posted
    }

    fn report(&mut self, now: Instant) {
        self.report.beat(now);
        if self.is_stopping {
            let is_quiet = self.is_quiet();
            self.report.set_quiet(is_quiet);
            if is_quiet {
                self.closing_lanes = None;
            }
        }
        // What time alone brought about, as a keep alive that passed, is reported with the next beat.
        let is_due = if self.is_unreported { now >= self.next_report } else { now >= self.next_report + BEAT };
        if is_due {
            self.is_unreported = false;
            self.next_report = now + REPORT;
            let cut = std::mem::take(&mut self.world.lingering.cut);
            self.settings.metrics.lingering_cut.add(cut);
            self.report.publish(Numbers {
                counters: self.core.counters(),
                gauges: self.core.gauges(),
                links: self.core.link_counters(),
                lag: self.lag.counts(),
            });
        }
    }

    /// Whether nobody would lose anything if the thread ended now.
    fn is_quiet(&mut self) -> bool {
        let gauges = self.core.gauges();
        let is_posted = (0..).zip(&self.inboxes).all(|(thread, _)| self.core.outbox(thread).is_empty());
        let is_sent = self.core.link_counters().iter().all(|link| !link.connected || link.unacknowledged_bytes == 0);
        is_posted
            && is_sent
            && gauges.connections + gauges.connections_pending + gauges.store_questions == 0
            && self.world.lingering.is_empty()
    }
}
