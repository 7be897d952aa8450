//! How clients leave: by DISCONNECT, by silence, by our will, by another CONNECT; and what becomes of their sessions
//! and wills.

use crate::connections::Role;
use crate::effort::cost;
use crate::ids::{ConnId, SessionId};
use crate::out::{Departure, Event, Out};
use crate::publish::Source;
use crate::reauthenticate::Extended;
use crate::rights::client;
use crate::sessions::{Absence, Entry};
use crate::timer::Timer;
use crate::turn::{LEAST_PER_TURN, Portion};
use crate::worker::Worker;
use fulmar_codec::ReasonCode;
use fulmar_session::{Will, WillFate};
use fulmar_store::WillFate as StoredFate;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Worker {
    /// We close a client's connection; MQTT 5 clients are told why.
    pub(crate) fn close_client(
        &mut self,
        conn: ConnId,
        id: SessionId,
        reason: ReasonCode,
        now: Instant,
        out: &mut impl Out,
    ) {
        if self.take_back_unsaid(conn, out)
            && let (Some(entry), Some(buffer)) = (self.sessions.get(id), self.connections.output(conn))
        {
            let before = buffer.len();
            entry.session.encode_disconnect(reason, buffer);
            self.counters.wrote(&buffer[before..]);
        }
        self.close_with_last_words(conn, id, Departure::Closed(reason), now, out);
    }

    /// The connection ends with what it has been told already.
    pub(crate) fn close_quietly(
        &mut self,
        conn: ConnId,
        id: SessionId,
        why: Departure,
        now: Instant,
        out: &mut impl Out,
    ) {
        self.take_back_unsaid(conn, out);
        self.close_with_last_words(conn, id, why, now, out);
    }

    fn close_with_last_words(&mut self, conn: ConnId, id: SessionId, why: Departure, now: Instant, out: &mut impl Out) {
        let last = self.connections.get_mut(conn).map(|connection| std::mem::take(&mut connection.out));
        self.counters.bytes_sent += last.as_ref().map_or(0, Vec::len) as u64;
        let last = last.unwrap_or_default();
        let waits = self.waits_for_store(id, why) && last.is_empty();
        self.client_gone(conn, id, why, now, out);
        if waits { out.close_when_told(conn) } else { out.close(conn, last) }
    }

    /// Whether a connection ends when the store has heard of it: its client has said goodbye.
    fn waits_for_store(&self, id: SessionId, why: Departure) -> bool {
        let stored = self.sessions.get(id).and_then(|entry| entry.stored.as_deref());
        matches!(why, Departure::Asked(_)) && stored.is_some_and(|stored| !stored.is_taken_over)
    }

    /// A client's connection is no more: its session waits for it or ends.
    pub(crate) fn client_gone(
        &mut self,
        conn: ConnId,
        id: SessionId,
        why: Departure,
        now: Instant,
        out: &mut impl Out,
    ) {
        let Some(connection) = self.connections.remove(conn) else { return };
        self.turn.effort.add(1, cost::END);
        self.node.admission.leave(&connection.origin);
        self.waiting.forget(conn);
        self.sessions.connected -= 1;
        self.node.client_went();
        self.forget_extended(id);
        let Some(entry) = self.sessions.get_mut(id) else { return };
        entry.connection = None;
        entry.forget_decisions();
        out.event(Event::ClientDisconnected {
            client_id: entry.session.client_id(),
            origin: connection.origin,
            reason: why,
        });
        if self.node.hooks.disconnect.is_some() {
            let client = client(&entry.session, connection.origin.address.ip());
            self.node.hooks.disconnected(&client, why.reason());
        }
        let ended = entry.session.connection_lost(now);
        if entry.stored.is_some() {
            // The will is the store's, which knows when it is due.
            let has_will = ended.will != WillFate::None && why != Departure::Panicked;
            entry.session.forget_will();
            if let Some(meter) = connection.meter {
                self.debts.keep(entry.session.client_id(), meter, now);
            }
            let will = if has_will { StoredFate::Keep } else { StoredFate::Delete };
            self.leave_stored(id, conn, will, matches!(why, Departure::Asked(_)));
            return self.end_session(id, now);
        }
        if let Some(meter) = connection.meter {
            self.debts.keep(entry.session.client_id(), meter, now);
        }
        let will_at = if let WillFate::At(at) = ended.will { Some(at) } else { None };
        // After a panic the session's state cannot be trusted; its will can, it was stored at CONNECT.
        let keep_until = ended.keep_until.filter(|_| why != Departure::Panicked);
        if let Some(until) = keep_until {
            entry.absence = Some(Box::new(Absence { keep_until: until, will_at }));
            self.timers.set(session_timer(id), will_at.map_or(until, |at| at.min(until)));
        }
        if let WillFate::Now(will) = &ended.will {
            self.publish_will_of(id, will, now);
        }
        match keep_until {
            Some(_) => {
                self.suspend_reads(id, now);
                self.leave_shared_groups(id);
            }
            None => self.end_session(id, now),
        }
    }

    /// The client id connects again (here or elsewhere): the connection it has is closed with 0x8E.
    pub(crate) fn take_over(&mut self, id: SessionId, now: Instant, out: &mut impl Out) {
        if let Some(conn) = self.sessions.get(id).and_then(|entry| entry.connection) {
            self.counters.takeovers += 1;
            self.close_client(conn, id, ReasonCode::SESSION_TAKEN_OVER, now, out);
        }
    }

    /// Closes a client so that there is room for others, if this is one: of lanes there are few. Whether it is.
    pub(crate) fn close_for_room(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) -> bool {
        match self.connections.get(conn).map(|connection| connection.role) {
            Some(Role::Client(session)) => self.close_client(conn, session, ReasonCode::QUOTA_EXCEEDED, now, out),
            Some(Role::AwaitConnect { .. } | Role::AwaitAnswer { .. }) => self.close_unconnected(conn, out),
            Some(Role::Lane(_)) | None => return false,
        }
        true
    }

    /// While clients that read too slowly hold more output than they may together, those that have been slow for longest
    /// are closed. Until all who have to go are gone nobody is read, so that no more comes than goes.
    pub(crate) fn shed_surplus(&mut self, now: Instant, out: &mut impl Out) {
        let output_bytes_max = self.node.settings.limits.output_bytes_per_thread;
        let mut portion = Portion::of_at_least(LEAST_PER_TURN);
        while portion.goes_on(self.turn.effort.is_overspent())
            && let Some(conn) = self.connections.surplus(output_bytes_max)
        {
            let is_closed = self.close_for_room(conn, now, out);
            self.counters.limit_hits_output_buffer_bytes_total += u64::from(is_closed);
        }
    }

    /// The node stops, and so does this thread: every client is told.
    pub(crate) fn shut_down_here(&mut self, now: Instant, out: &mut impl Out) {
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

    /// The client id turns out to be another user's, at another node, who had it first. The client hears what it would
    /// have heard at CONNECT, and its session ends as if it had never been let in: without its will.
    pub(crate) fn refuse_late(&mut self, id: SessionId, now: Instant, out: &mut impl Out) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        entry.session.forget_will();
        self.counters.session_owner_refusals += 1;
        if let Some(conn) = entry.connection {
            if let Some(connection) = self.connections.get(conn) {
                let (client_id, origin) = (entry.session.client_id(), connection.origin);
                let error = Some("the client id has a session of another user at another node".to_owned());
                out.event(Event::ClientRefused { client_id, origin, reason: ReasonCode::NOT_AUTHORIZED, error });
            }
            self.close_client(conn, id, ReasonCode::NOT_AUTHORIZED, now, out);
        }
        self.end_session(id, now);
    }

    /// The session is no more: its subscriptions go, and a will that waited is due (MQTT 5.0, 3.1.2.5).
    pub(crate) fn end_session(&mut self, id: SessionId, now: Instant) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if entry.is_leaving {
            return;
        }
        let will = entry.session.take_will();
        (entry.absence, entry.reads) = (None, None);
        self.turn.effort.add(1, cost::END);
        let is_allowed = will.as_ref().is_some_and(|will| {
            let entry = self.sessions.get(id);
            entry.is_some_and(|entry| self.may_publish_will(&entry.session, will, now))
        });
        self.forget_name(id);
        let owed = self.sessions.get(id).map(Entry::owed).unwrap_or_default();
        self.hand_on(&owed, now);
        if self.leave_portion(id) == 0 {
            self.sessions.remove(id);
        } else {
            self.put_off.leaving.push_back(id);
        }
        if let Some(will) = will {
            self.publish_will(&will, is_allowed, now);
        }
    }

    /// The session has ended, and its client may come as somebody new, with a session of its own: what leaves yet does not
    /// count as one. It does count as the memory that it is, so that nobody has many that leave.
    pub(crate) fn forget_name(&mut self, id: SessionId) {
        if self.sessions.forget_name(id) {
            self.node.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn publish_will_of(&mut self, id: SessionId, will: &Will, now: Instant) {
        let entry = self.sessions.get(id);
        let is_allowed = entry.is_some_and(|entry| self.may_publish_will(&entry.session, will, now));
        self.publish_will(will, is_allowed, now);
    }

    /// A will is judged by what holds when it is due: what its client might have published then.
    fn publish_will(&mut self, will: &Will, is_allowed: bool, now: Instant) {
        if !is_allowed {
            self.counters.publishes_denied += 1;
            return;
        }
        self.counters.wills_published += 1;
        self.publish_from(&will.outgoing(now), Source::Will, now);
    }

    /// A session's reminder: its expiry or its will may be due.
    pub(crate) fn session_due(&mut self, id: SessionId, now: Instant) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        // A client that came back made the reminder void.
        let Some(absence) = entry.absence.as_deref_mut() else { return };
        if absence.keep_until <= now {
            self.counters.sessions_expired += 1;
            return self.end_session(id, now);
        }
        let will = absence.will_at.take_if(|at| *at <= now).and_then(|_| entry.session.take_will());
        let next = absence.will_at.map_or(absence.keep_until, |at| at.min(absence.keep_until));
        self.timers.set(session_timer(id), next);
        if let Some(will) = will {
            self.publish_will_of(id, &will, now);
        }
    }

    /// Looks at the connection again at `at`, unless it will be looked at before.
    pub(crate) fn remind(&mut self, conn: ConnId, at: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.reminder.is_none_or(|set| set > at) {
            connection.reminder = Some(at);
            self.timers.set(Timer::Connection { slot: conn.slot, generation: conn.generation }, at);
        }
    }

    /// A connection's reminder: CONNECT, keep alive or an acknowledgement may be overdue.
    pub(crate) fn connection_due(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.reminder = None;
        match connection.role {
            Role::AwaitConnect { until, .. } | Role::AwaitAnswer { until, .. } if until <= now => {
                self.counters.connect_timeouts += 1;
                let (client_id, origin) = ("", connection.origin);
                out.event(Event::ClientBeyondLimit { client_id, origin, limit: "connectTimeoutSeconds" });
                self.close_unconnected(conn, out);
            }
            Role::AwaitConnect { until, .. } | Role::AwaitAnswer { until, .. } => self.remind(conn, until),
            Role::Client(id) => self.client_due(conn, id, now, out),
            Role::Lane(_) => {}
        }
    }

    fn client_due(&mut self, conn: ConnId, id: SessionId, now: Instant, out: &mut impl Out) {
        let throttled_until = self.end_throttle(conn, id, now, out);
        let is_unheard = self.is_unheard(conn, id);
        let Some(entry) = self.sessions.get(id) else { return };
        let patience: Duration = self.node.settings.limits.acknowledgement_timeout;
        let waits_until = entry.session.oldest_open().map(|since| since + patience);
        // Keep alive stands still while it is our fault that the client is not read.
        let silent_until = entry.session.keep_alive_deadline().filter(|_| !is_unheard);
        let proved = entry.extended.as_deref().and_then(Extended::deadline);
        if let Some((_, reason)) = proved.filter(|(at, _)| *at <= now) {
            self.counters.authentication_timeouts += 1;
            self.close_client(conn, id, reason, now, out);
        } else if waits_until.is_some_and(|at| at <= now) {
            self.counters.acknowledgement_timeouts += 1;
            self.close_client(conn, id, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, now, out);
        } else if silent_until.is_some_and(|at| at <= now) {
            self.counters.keep_alive_timeouts += 1;
            self.close_client(conn, id, ReasonCode::KEEP_ALIVE_TIMEOUT, now, out);
        } else if let Some(at) =
            [waits_until, silent_until, throttled_until, proved.map(|(at, _)| at)].into_iter().flatten().min()
        {
            self.remind(conn, at);
        }
    }
}

fn session_timer(id: SessionId) -> Timer {
    Timer::Session { slot: id.slot, generation: id.generation }
}
