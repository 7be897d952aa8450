//! Clients that a hook lets in: at once, later, or after some AUTH packets both ways (MQTT 5.0, 4.12). How they stay is
//! in `reauthenticate.rs`.
//!
//! An exchange lives on the data thread that owns the client id. Its CONNECT is kept, counts as memory of sessions, and
//! is looked at again when the hook has decided. An exchange ends with the time that its client has for connecting, and
//! after a number of rounds. Where no hook authenticates, nothing here is asked more than once for a CONNECT.

use crate::authenticate::{Refusal, Verdict};
use crate::connect::takes_packet;
use crate::connections::Role;
use crate::ids::{ConnId, SessionId};
use crate::out::{Origin, Out};
use crate::reauthenticate::Extended;
use crate::rules::Proof;
use crate::worker::{Consumed, Worker};
use fulmar_auth::hooks::{Admission, Attempt, Step, Ticket};
use fulmar_auth::identity::{Claim, IdentityRules};
use fulmar_codec::{
    Auth, Connect, Framed, Packet, ReasonCode, Version, decode, decode_connect, encode_auth, split_connect, split_frame,
};
use fulmar_session::{Held, Identity};
use hashbrown::HashMap;
use std::time::Instant;

/// Exchanges under way, by the ticket that their hook knows.
pub(crate) type Exchanges = HashMap<Ticket, Exchange>;

/// AUTH packets that one exchange may take of its client.
pub(crate) const ROUNDS_MAX: u8 = 16;

/// The longest user name that a hook may find: one that CONNECT could have said, as nodes tell each other (MQTT 5.0, 1.5.4).
const USERNAME_BYTES_MAX: usize = 65_535;

/// A client whose authentication is under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) conn: ConnId,
    /// Which hook is at work.
    pub(crate) authenticator: usize,
    pub(crate) awaits: Awaits,
    pub(crate) rounds: u8,
    of: Purpose,
}

/// Whom an exchange waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Awaits {
    Client,
    Hook,
}

/// What an exchange is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To be let in: the whole CONNECT, and the memory for it.
    Connect { packet: Box<[u8]>, _memory: Held },
    /// To stay.
    Stay(SessionId),
}

impl Exchange {
    pub(crate) fn new(conn: ConnId, authenticator: usize, of: Purpose) -> Exchange {
        Exchange { conn, authenticator, awaits: Awaits::Hook, rounds: 0, of }
    }
}

/// What a hook has said of a client that it lets in.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) extended: Extended,
    /// For CONNACK.
    pub(crate) data: Vec<u8>,
}

impl Granted {
    /// The method of CONNECT, for CONNACK.
    pub(crate) fn method(&self) -> Option<&str> {
        self.extended.method()
    }
}

impl Worker {
    /// Asks the hooks about a CONNECT. `None`: none of them knows the client.
    pub(crate) fn ask_hooks(
        &mut self,
        attempt: &Attempt<'_>,
        rules: IdentityRules,
        origin: Origin,
        now: Instant,
    ) -> Option<Verdict> {
        let ticket = self.node.next_ticket();
        let (authenticator, step) = self.node.hooks.authenticate(ticket, attempt)?;
        let connect = attempt.connect;
        Some(match step {
            Step::Pass => return None,
            Step::Admit(admission) => self.grant(connect, authenticator, admission, rules, origin, now),
            Step::Refuse(reason) => {
                self.counters.auth_results_refused_by_hook += 1;
                Verdict::Refused(reason.into())
            }
            Step::Challenge(_) if connect.authentication_method.is_none() => {
                // AUTH is for who named a method (MQTT 5.0, 4.12.0-6).
                self.node.hooks.abandon(authenticator, ticket);
                self.counters.auth_results_refused_by_hook += 1;
                Verdict::Refused(ReasonCode::NOT_AUTHORIZED.into())
            }
            step @ (Step::Later | Step::Challenge(_)) => Verdict::Exchanges { ticket, authenticator, step },
        })
    }

    /// A hook lets a client in; bans, and what ties user names to client ids, hold all the same.
    fn grant(
        &mut self,
        connect: &Connect<'_>,
        authenticator: usize,
        admission: Admission,
        rules: IdentityRules,
        origin: Origin,
        now: Instant,
    ) -> Verdict {
        let Admission { username, until_unix_seconds, data } = admission;
        if let Some(bytes) = username.as_deref().map(str::len).filter(|bytes| *bytes > USERNAME_BYTES_MAX) {
            self.counters.auth_results_refused_by_hook += 1;
            let error = format!("the hook's user name has {bytes} bytes, at most {USERNAME_BYTES_MAX} are allowed");
            return Verdict::Refused(Refusal { reason: ReasonCode::NOT_AUTHORIZED, error: Some(error) });
        }
        let claim = Claim { client_id: connect.client_id, username: username.as_deref(), certificate: None };
        if let Err(error) = rules.identify(claim) {
            self.counters.auth_results_other_name += 1;
            let error = Some(error.to_string());
            return Verdict::Refused(Refusal { reason: ReasonCode::NOT_AUTHORIZED, error });
        }
        let until = until_unix_seconds.map(|seconds| self.node.instant_of(seconds));
        if until.is_some_and(|at| at <= now) {
            self.counters.auth_results_refused_by_hook += 1;
            return Verdict::Refused(ReasonCode::NOT_AUTHORIZED.into());
        }
        let extended = Extended::new(authenticator, connect.authentication_method, until);
        let granted = Granted { extended, data };
        let Some(user) = username else {
            // Whoever stays nameless comes in where nameless clients may.
            return match self.let_in_anonymous(connect.client_id, None, origin, now) {
                Verdict::Known { identity, proof, .. } => {
                    Verdict::Known { identity, proof, granted: Some(Box::new(granted)) }
                }
                other => other,
            };
        };
        if self.is_banned(connect.client_id, Some(&user), origin, now) {
            self.counters.auth_results_banned += 1;
            return Verdict::Refused(ReasonCode::BANNED.into());
        }
        self.counters.auth_results_admitted_by_hook += 1;
        Verdict::Known { identity: Identity::User(user), proof: Proof::Hook, granted: Some(Box::new(granted)) }
    }

    /// A CONNECT whose hook asks back or answers later. It is taken.
    #[expect(clippy::too_many_arguments, reason = "an exchange begins with all that is known of a CONNECT")]
    pub(crate) fn begin_exchange(
        &mut self,
        conn: ConnId,
        connect: &Connect<'_>,
        packet: &[u8],
        ticket: Ticket,
        authenticator: usize,
        step: Step,
        now: Instant,
        out: &mut impl Out,
    ) {
        let Some(memory) = self.session_share.hold(packet.len()) else {
            self.node.hooks.abandon(authenticator, ticket);
            self.counters.limit_hits_session_bytes_total += 1;
            return self.refuse_client(conn, connect, ReasonCode::QUOTA_EXCEEDED.into(), out);
        };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let (Role::AwaitConnect { until, .. } | Role::AwaitAnswer { until, .. }) = connection.role else { return };
        connection.role = Role::AwaitAnswer { until, ticket };
        let of = Purpose::Connect { packet: packet.into(), _memory: memory };
        self.exchanges.insert(ticket, Exchange::new(conn, authenticator, of));
        self.stepped(ticket, step, now, out);
    }

    /// How an exchange of this thread goes on: what its hook owed. A ticket that nobody knows any more finds nobody.
    pub fn stepped(&mut self, ticket: Ticket, step: Step, now: Instant, out: &mut impl Out) {
        let Some(exchange) = self.exchanges.get(&ticket) else { return };
        match &exchange.of {
            Purpose::Connect { .. } => self.step_to_connect(ticket, step, now, out),
            Purpose::Stay(id) => self.step_to_stay(ticket, *id, step, now, out),
        }
    }

    fn step_to_connect(&mut self, ticket: Ticket, step: Step, now: Instant, out: &mut impl Out) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        let (conn, authenticator) = (exchange.conn, exchange.authenticator);
        if step == Step::Later {
            exchange.awaits = Awaits::Hook;
            self.pause(conn, out);
            return;
        }
        let Some(exchange) = self.exchanges.remove(&ticket) else { return };
        let Purpose::Connect { packet, .. } = &exchange.of else { return };
        let Some(connect) = read_connect(packet) else { return };
        match step {
            Step::Challenge(data) if exchange.rounds < ROUNDS_MAX => {
                let Some(buffer) = self.connections.output(conn) else { return };
                let auth = Auth::new(ReasonCode::CONTINUE_AUTHENTICATION, connect.authentication_method);
                let takes = |length| takes_packet(&connect, length);
                if !say_auth(buffer, &Auth { data: Some(&data), ..auth }, takes) {
                    self.node.hooks.abandon(authenticator, ticket);
                    return self.refuse_exchange(conn, &connect, ReasonCode::PACKET_TOO_LARGE, out);
                }
                self.counters.packets_sent += 1;
                let rounds = exchange.rounds + 1;
                self.exchanges.insert(ticket, Exchange { awaits: Awaits::Client, rounds, ..exchange });
                self.hear_client(conn, out);
            }
            Step::Challenge(_) => {
                self.node.hooks.abandon(authenticator, ticket);
                self.refuse_exchange(conn, &connect, ReasonCode::QUOTA_EXCEEDED, out);
            }
            Step::Refuse(reason) => self.refuse_exchange(conn, &connect, reason, out),
            Step::Pass | Step::Later => self.refuse_exchange(conn, &connect, ReasonCode::NOT_AUTHORIZED, out),
            Step::Admit(admission) => {
                self.decided(conn);
                let Some(origin) = self.connections.get(conn).map(|connection| connection.origin) else { return };
                let rules = self.identity_rules(origin);
                match self.grant(&connect, authenticator, admission, rules, origin, now) {
                    Verdict::Known { identity, proof, granted } => {
                        self.connect(conn, &connect, identity, proof, granted, now, out);
                        if let Some(Role::Client(id)) = self.connections.get(conn).map(|connection| connection.role) {
                            self.resume(conn, id, now, out);
                        }
                    }
                    Verdict::Refused(refusal) => self.refuse_client(conn, &connect, refusal, out),
                    Verdict::Waits | Verdict::Exchanges { .. } => {}
                }
            }
        }
    }

    /// The exchange is over; the connection is what it was before.
    fn decided(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(conn)
            && let Role::AwaitAnswer { until, .. } = connection.role
        {
            connection.role = Role::AwaitConnect { until, answer: None };
        }
    }

    fn refuse_exchange(&mut self, conn: ConnId, connect: &Connect<'_>, reason: ReasonCode, out: &mut impl Out) {
        self.counters.auth_results_refused_by_hook += 1;
        self.decided(conn);
        self.refuse_client(conn, connect, reason.into(), out);
    }

    fn hear_client(&mut self, conn: ConnId, out: &mut impl Out) {
        if let Some(connection) = self.connections.get_mut(conn)
            && connection.paused
        {
            connection.paused = false;
            out.pause_reading(conn, false);
        }
    }

    /// Bytes of a client whose CONNECT was taken and not answered: AUTH, if it is its turn.
    pub(crate) fn exchange_bytes(
        &mut self,
        conn: ConnId,
        ticket: Ticket,
        bytes: &[u8],
        now: Instant,
        out: &mut impl Out,
    ) -> Consumed {
        let Some(exchange) = self.exchanges.get(&ticket) else { return Consumed { bytes: 0, paused: true } };
        if exchange.awaits == Awaits::Hook {
            self.pause(conn, out);
            return Consumed { bytes: 0, paused: true };
        }
        let (first, body, length) = match split_frame(bytes, self.node.settings.limits.connect_packet_bytes) {
            Ok(Framed::Whole { first, body, length }) => (first, body, length),
            Ok(Framed::Incomplete { .. }) => return Consumed { bytes: 0, paused: false },
            Err(error) => {
                self.refuse_bytes(conn, &error.to_string(), out);
                return Consumed { bytes: 0, paused: false };
            }
        };
        self.counters.packets_received += 1;
        self.counters.bytes_received += length as u64;
        let Purpose::Connect { packet, .. } = &exchange.of else { return Consumed { bytes: 0, paused: true } };
        let method = read_connect(packet).and_then(|connect| connect.authentication_method);
        match decode(Version::V5, first, body) {
            Ok(Packet::Auth(auth)) if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION && auth.method == method => {
                let step = self.node.hooks.proceed(exchange.authenticator, ticket, auth.data.unwrap_or_default());
                self.stepped(ticket, step, now, out);
            }
            // A client that does not want to go on says so (MQTT 5.0, 3.1.2-30).
            Ok(Packet::Disconnect(_)) => self.close_unconnected(conn, out),
            Ok(_) => self.refuse_bytes(conn, "found another packet than AUTH of the method of CONNECT", out),
            Err(error) => self.refuse_bytes(conn, &error.to_string(), out),
        }
        let Some(connection) = self.connections.get(conn) else { return Consumed { bytes: length, paused: false } };
        let (role, paused) = (connection.role, connection.paused);
        let rest = &bytes[length..];
        let Consumed { bytes, paused } = match role {
            Role::Client(id) if !paused => self.client_bytes(conn, id, rest, now, out),
            // As often as there are rounds, at most.
            Role::AwaitAnswer { ticket, .. } if !paused => self.exchange_bytes(conn, ticket, rest, now, out),
            _ => Consumed { bytes: 0, paused },
        };
        Consumed { bytes: length + bytes, paused }
    }

    /// Whether there was such an exchange.
    pub(crate) fn abandon_exchange(&mut self, ticket: Ticket) -> bool {
        let Some(exchange) = self.exchanges.remove(&ticket) else { return false };
        self.node.hooks.abandon(exchange.authenticator, ticket);
        true
    }
}

/// A CONNECT that was read once already.
fn read_connect(packet: &[u8]) -> Option<Connect<'_>> {
    match split_connect(packet, packet.len()) {
        Ok(Framed::Whole { first, body, .. }) => decode_connect(first, body).ok(),
        _ => None,
    }
}

/// Says AUTH, if the client takes a packet of this length (MQTT 5.0, 3.1.2.11.4). Whether it was said.
pub(crate) fn say_auth(buffer: &mut Vec<u8>, auth: &Auth<'_>, takes: impl FnOnce(usize) -> bool) -> bool {
    let before = buffer.len();
    encode_auth(buffer, auth);
    let is_said = takes(buffer.len() - before);
    if !is_said {
        buffer.truncate(before);
    }
    is_said
}
