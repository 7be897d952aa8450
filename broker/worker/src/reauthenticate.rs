//! Clients that a hook has let in and that prove themselves again with AUTH packets, because they want to or because the
//! hook has said until when it holds (MQTT 5.0, 4.12.1).
//!
//! The exchange is one as `extended.rs` knows it. While it goes on the client is served; who fails in it, or does not
//! prove itself in time, is closed.

use crate::client::Flow;
use crate::extended::{Awaits, Exchange, Purpose, ROUNDS_MAX, say_auth};
use crate::ids::{ConnId, SessionId};
use crate::out::Out;
use crate::rights::{client, username};
use crate::worker::Worker;
use fulmar_auth::hooks::{Admission, Step, Ticket};
use fulmar_codec::{Auth, ReasonCode};
use std::time::Instant;

/// How a hook let a client in, as far as that matters later.
#[derive(Debug)]
pub(crate) struct Extended {
    authenticator: usize,
    /// Of its CONNECT.
    method: Option<Box<str>>,
    /// When it has to have proved itself again.
    until: Option<Instant>,
    /// The exchange in which it does, and when that has to be over.
    again: Option<(Ticket, Instant)>,
}

impl Extended {
    pub(crate) fn new(authenticator: usize, method: Option<&str>, until: Option<Instant>) -> Extended {
        Extended { authenticator, method: method.map(Into::into), until, again: None }
    }

    pub(crate) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// When the client is closed unless something happens before, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, ReasonCode)> {
        let until = self.until.map(|at| (at, ReasonCode::MAXIMUM_CONNECT_TIME));
        let again = self.again.map(|(_, at)| (at, ReasonCode::NOT_AUTHORIZED));
        [until, again].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

impl Worker {
    /// AUTH of a connected client: it proves itself again, or goes on doing so (MQTT 5.0, 4.12.1).
    pub(crate) fn authenticate_again(
        &mut self,
        conn: ConnId,
        id: SessionId,
        auth: &Auth<'_>,
        now: Instant,
        out: &mut impl Out,
    ) -> Flow {
        let patience = self.node.settings.limits.connect_timeout;
        let Some(entry) = self.sessions.get_mut(id) else { return Flow::Closed };
        let extended = entry.extended.as_deref_mut().filter(|extended| extended.method.is_some());
        let Some(extended) = extended.filter(|extended| extended.method.as_deref() == auth.method) else {
            self.protocol_error(conn, id, ReasonCode::PROTOCOL_ERROR, now, out);
            return Flow::Closed;
        };
        let (authenticator, data) = (extended.authenticator, auth.data.unwrap_or_default());
        let stepped = match (auth.reason, extended.again) {
            (ReasonCode::REAUTHENTICATE, None) => {
                let ticket = self.node.next_ticket();
                extended.again = Some((ticket, now + patience));
                let address = self.connections.get(conn).map(|connection| connection.origin.address.ip());
                let Some(client) = address.map(|address| client(&entry.session, address)) else { return Flow::Closed };
                let step = self.node.hooks.reauthenticate(authenticator, ticket, &client, data);
                self.exchanges.insert(ticket, Exchange::new(conn, authenticator, Purpose::Stay(id)));
                self.remind(conn, now + patience);
                Some((ticket, step))
            }
            (ReasonCode::CONTINUE_AUTHENTICATION, Some((ticket, _))) => {
                let awaits_client =
                    self.exchanges.get(&ticket).is_some_and(|exchange| exchange.awaits == Awaits::Client);
                awaits_client.then(|| (ticket, self.node.hooks.proceed(authenticator, ticket, data)))
            }
            _ => None,
        };
        match stepped {
            Some((ticket, step)) => self.step_to_stay(ticket, id, step, now, out),
            None => self.protocol_error(conn, id, ReasonCode::PROTOCOL_ERROR, now, out),
        }
        if self.connections.get(conn).is_some() { Flow::Go } else { Flow::Closed }
    }

    /// How an exchange of a connected client goes on.
    pub(crate) fn step_to_stay(&mut self, ticket: Ticket, id: SessionId, step: Step, now: Instant, out: &mut impl Out) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        let (conn, authenticator) = (exchange.conn, exchange.authenticator);
        let answer = match step {
            Step::Later => {
                exchange.awaits = Awaits::Hook;
                return;
            }
            Step::Challenge(data) if exchange.rounds < ROUNDS_MAX => {
                exchange.rounds += 1;
                exchange.awaits = Awaits::Client;
                Ok((ReasonCode::CONTINUE_AUTHENTICATION, data))
            }
            Step::Challenge(_) => {
                self.node.hooks.abandon(authenticator, ticket);
                Err(ReasonCode::QUOTA_EXCEEDED)
            }
            // Not what the hook says: DISCONNECT has fewer reasons than CONNACK (MQTT 5.0, 3.14.2.1).
            Step::Refuse(_) | Step::Pass => Err(ReasonCode::NOT_AUTHORIZED),
            Step::Admit(admission) => self.stays(ticket, id, admission, now),
        };
        let Some(entry) = self.sessions.get(id) else { return };
        let method = entry.extended.as_deref().and_then(|extended| extended.method.as_deref()).unwrap_or_default();
        let (reason, data) = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                self.exchanges.remove(&ticket);
                self.counters.auth_results_refused_by_hook += 1;
                return self.close_client(conn, id, reason, now, out);
            }
        };
        let Some(buffer) = self.connections.output(conn) else { return };
        let auth = Auth { data: Some(&data), ..Auth::new(reason, Some(method)) };
        if say_auth(buffer, &auth, |length| entry.session.takes_packet(length)) {
            self.counters.packets_sent += 1;
        } else {
            self.close_client(conn, id, ReasonCode::PACKET_TOO_LARGE, now, out);
        }
    }

    /// A client has proved itself again. It has to be the same one.
    fn stays(
        &mut self,
        ticket: Ticket,
        id: SessionId,
        admission: Admission,
        now: Instant,
    ) -> Result<(ReasonCode, Vec<u8>), ReasonCode> {
        let Admission { username: name, until_unix_seconds, data } = admission;
        let until = until_unix_seconds.map(|seconds| self.node.instant_of(seconds));
        let Some(conn) = self.exchanges.remove(&ticket).map(|exchange| exchange.conn) else {
            return Err(ReasonCode::NOT_AUTHORIZED);
        };
        let Some(entry) = self.sessions.get_mut(id) else { return Err(ReasonCode::NOT_AUTHORIZED) };
        let is_same = username(&entry.session) == name.as_deref();
        let Some(extended) = entry.extended.as_deref_mut() else { return Err(ReasonCode::NOT_AUTHORIZED) };
        extended.again = None;
        if !is_same || until.is_some_and(|at| at <= now) {
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        extended.until = until;
        if let Some(at) = until {
            self.remind(conn, at);
        }
        self.counters.auth_results_admitted_by_hook += 1;
        Ok((ReasonCode::SUCCESS, data))
    }

    /// A client is gone: nobody waits for its hook any more.
    pub(crate) fn forget_extended(&mut self, id: SessionId) {
        let extended = self.sessions.get_mut(id).and_then(|entry| entry.extended.take());
        if let Some((ticket, _)) = extended.and_then(|extended| extended.again) {
            self.abandon_exchange(ticket);
        }
    }
}
