//! From the first bytes of a connection to a client with a session.

use crate::authenticate::{Refusal, Verdict};
use crate::connections::{Connection, Role};
use crate::effort::cost;
use crate::extended::Granted;
use crate::ids::{ConnId, SessionId, Thread};
use crate::out::{Event, Origin, Out};
use crate::reauthenticate::Extended;
use crate::rules::Proof;
use crate::sessions::{Entry, session_bytes};
use crate::stored::Stored;
use crate::worker::{Consumed, Worker};
use fulmar_cluster::claims::Takeover;
use fulmar_codec::{
    ConnAck, ConnAckProperties, Connect, ConnectError, DecodeError, Framed, ReasonCode, Version, decode_connect,
    encode_connack, split_connect,
};
use fulmar_session::{Admitted, Authentication, Excess, Identity, Limit, Policy, Session, admit, check_connect};
use fulmar_store::OwnedSession;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Client ids that are drawn before one is taken that belongs to another thread.
const ASSIGNED_ID_TRIES_MAX: u32 = 4096;

/// A client that may come in, and by what.
#[derive(Debug)]
pub(crate) struct LettingIn {
    pub(crate) admitted: Admitted,
    pub(crate) proof: Proof,
    pub(crate) granted: Option<Box<Granted>>,
}

impl Worker {
    /// Bytes of a connection whose CONNECT has not come: takes the CONNECT, or hands the connection to the thread that
    /// owns its client id.
    pub(crate) fn await_connect(
        &mut self,
        conn: ConnId,
        answer: Option<bool>,
        bytes: &[u8],
        now: Instant,
        out: &mut impl Out,
    ) -> Consumed {
        let nothing = Consumed { bytes: 0, paused: false };
        let (first, body, length) = match split_connect(bytes, self.node.settings.limits.connect_packet_bytes) {
            Ok(Framed::Whole { first, body, length }) => (first, body, length),
            // Garbage is refused by its first byte instead of waiting for the length that it seems to announce.
            Ok(Framed::Incomplete { .. }) if bytes.first().is_none_or(|first| *first == 0x10) => return nothing,
            Ok(Framed::Incomplete { .. }) => {
                let error = format!("the first byte is {:#04x}, wanted CONNECT (0x10)", bytes[0]);
                self.refuse_bytes(conn, &error, out);
                return nothing;
            }
            Err(error) => {
                self.refuse_connect(conn, &error, out);
                return nothing;
            }
        };
        let connect = match decode_connect(first, body) {
            Ok(connect) => connect,
            Err(error) => {
                self.refuse_connect(conn, &error, out);
                return nothing;
            }
        };
        // Before anybody computes a hash for it.
        if let Err(excess) = check_connect(&connect, &self.node.session_limits) {
            self.refuse_excess(conn, &connect, excess, out);
            return Consumed { bytes: length, paused: false };
        }
        if !connect.client_id.is_empty() {
            let owner = owner_of(connect.client_id, self.node.settings.threads);
            if owner != self.thread {
                if let Some(connection) = self.forget_connection(conn, out) {
                    out.hand_over(conn, owner, connection.origin, connection.certificate);
                }
                return nothing;
            }
        }
        if let Some(reason) = self.is_closed_to_clients() {
            self.refuse_client(conn, &connect, reason.into(), out);
            return Consumed { bytes: length, paused: false };
        }
        if self.is_too_busy_for(&connect) {
            self.counters.overload_connects_refused += 1;
            self.turn.effort.add(1, cost::PACKET);
            self.refuse_client(conn, &connect, ReasonCode::SERVER_BUSY.into(), out);
            return Consumed { bytes: length, paused: false };
        }
        let known = match self.authenticate(conn, &connect, answer, now, out) {
            Verdict::Waits => return Consumed { bytes: 0, paused: true },
            known => known,
        };
        self.counters.packets_received += 1;
        self.counters.bytes_received += length as u64;
        self.turn.effort.add(1, cost::CONNECT);
        match known {
            Verdict::Known { identity, proof, granted } => {
                self.connect(conn, &connect, identity, proof, granted, now, out);
            }
            Verdict::Refused(refusal) => self.refuse_client(conn, &connect, refusal, out),
            Verdict::Exchanges { ticket, authenticator, step } => {
                let packet = &bytes[..length];
                self.begin_exchange(conn, &connect, packet, ticket, authenticator, step, now, out);
            }
            Verdict::Waits => {}
        }
        let Some(connection) = self.connections.get(conn) else { return Consumed { bytes: length, paused: false } };
        match connection.role {
            // A client need not wait for CONNACK before it sends more (MQTT 5.0, 3.1.4).
            Role::Client(id) if !connection.paused => {
                let Consumed { bytes, paused } = self.client_bytes(conn, id, &bytes[length..], now, out);
                Consumed { bytes: length + bytes, paused }
            }
            // Nor for AUTH, though there it can only guess.
            Role::AwaitAnswer { ticket, .. } if !connection.paused => {
                let Consumed { bytes, paused } = self.exchange_bytes(conn, ticket, &bytes[length..], now, out);
                Consumed { bytes: length + bytes, paused }
            }
            _ => Consumed { bytes: length, paused: connection.paused },
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that was found out about a client")]
    pub(crate) fn connect(
        &mut self,
        conn: ConnId,
        connect: &Connect<'_>,
        identity: Identity,
        proof: Proof,
        granted: Option<Box<Granted>>,
        now: Instant,
        out: &mut impl Out,
    ) {
        let Some(origin) = self.connections.get(conn).map(|connection| connection.origin) else { return };
        let admitted = match self.admit(connect, identity, granted.as_deref(), origin) {
            Ok(admitted) => admitted,
            Err(reason) => return self.refuse_client(conn, connect, reason.into(), out),
        };
        let letting_in = LettingIn { admitted, proof, granted };
        if self.must_claim(&letting_in.admitted) {
            self.claim(conn, letting_in, now, out);
        } else {
            self.let_in(conn, letting_in, None, now, out);
        }
    }

    /// Gives a client its session, or refuses it after all. A session that the store keeps was claimed before.
    pub(crate) fn let_in(
        &mut self,
        conn: ConnId,
        letting_in: LettingIn,
        stored: Option<(Stored, &OwnedSession)>,
        now: Instant,
        out: &mut impl Out,
    ) -> Option<SessionId> {
        let LettingIn { admitted, proof, granted } = letting_in;
        if let Some(reason) = self.is_closed_to_clients() {
            self.refuse_admitted(conn, &admitted, reason.into(), out);
            return None;
        }
        let origin = self.connections.get(conn).map(|connection| connection.origin)?;
        let held = self.sessions.find(&admitted.client_id).and_then(|id| self.sessions.get(id));
        let is_another_users = held.is_some_and(|entry| !entry.session.same_identity(&admitted.identity));
        // What waits in a session is for nobody but its user.
        let is_for_another = is_another_users || held.is_some_and(|entry| self.has_lost_user(entry));
        let since = held.map(|entry| entry.since).filter(|_| !is_for_another);
        if is_another_users && self.node.settings.auth.takeover == Takeover::SameUser {
            self.counters.session_owner_refusals += 1;
            let error = Some("the client id has a session of another user".to_owned());
            self.refuse_admitted(conn, &admitted, Refusal { reason: ReasonCode::NOT_AUTHORIZED, error }, out);
            return None;
        }
        let will = admitted.will.as_deref().map(|will| will.outgoing(now));
        let will_bytes = will.map_or(0, |will| will.topic.len() + will.payload.len() + will.forward.len());
        let Some(will_memory) = self.session_share.hold(will_bytes) else {
            self.counters.limit_hits_session_bytes_total += 1;
            self.refuse_admitted(conn, &admitted, ReasonCode::QUOTA_EXCEEDED.into(), out);
            return None;
        };
        // The connection's place in time among all nodes.
        let claim = self.node.tick(now);
        if let Some(id) = self.sessions.find(&admitted.client_id) {
            self.take_over(id, now, out);
            if admitted.clean_start || is_for_another || stored.is_some() {
                self.end_session(id, now);
            }
        }
        let present = stored.as_ref().is_some_and(|(_, owned)| owned.claimed.present);
        let (id, session_present) = match self.sessions.find(&admitted.client_id) {
            Some(id) => (id, true),
            None => match self.new_session(&admitted, claim) {
                Some(id) => (id, present),
                None => {
                    self.refuse_admitted(conn, &admitted, ReasonCode::QUOTA_EXCEEDED.into(), out);
                    return None;
                }
            },
        };
        if let Some((stored, owned)) = stored
            && !self.take_up(id, stored, owned)
        {
            self.end_session(id, now);
            self.refuse_admitted(conn, &admitted, ReasonCode::QUOTA_EXCEEDED.into(), out);
            return None;
        }
        out.event(Event::ClientConnected {
            client_id: &admitted.client_id,
            origin,
            version: admitted.version.level(),
            session_present,
        });
        if let Some(entry) = self.sessions.get_mut(id) {
            entry.claim = claim;
            entry.since = since.unwrap_or(claim);
            entry.proof = proof;
            entry.let_in_by = self.rules.generation;
            entry.will_memory = will_memory;
            entry.extended = granted.map(|granted| Box::new(granted.extended));
        }
        self.attach(conn, id, admitted, session_present, now);
        self.announce_claim(id);
        self.pump(id, now);
        self.take_debt(conn, id, now, out);
        // Publishes of its last connection may still be on their way through.
        if self.must_wait(conn, id) {
            self.pause(conn, out);
        }
        Some(id)
    }

    fn admit(
        &mut self,
        connect: &Connect<'_>,
        identity: Identity,
        granted: Option<&Granted>,
        origin: Origin,
    ) -> Result<Admitted, ReasonCode> {
        let node = Arc::clone(&self.node);
        let allow_anonymous = node.settings.anonymous.get(usize::from(origin.listener)).copied().unwrap_or(false);
        let method = granted.and_then(Granted::method);
        let authentication =
            method.zip(granted).map(|(method, granted)| Authentication { method, data: &granted.data });
        let policy = Policy { allow_anonymous, limits: &node.session_limits, authentication };
        admit(connect, policy, identity, || self.assign_client_id().into())
    }

    fn new_session(&mut self, admitted: &Admitted, claim: fulmar_cluster::Version) -> Option<SessionId> {
        let max = self.node.settings.limits.sessions;
        if self.node.sessions.fetch_add(1, Ordering::Relaxed) >= max {
            self.node.sessions.fetch_sub(1, Ordering::Relaxed);
            self.counters.limit_hits_sessions += 1;
            return None;
        }
        let hold = |bytes| self.session_share.hold(bytes);
        let Some((memory, will_memory)) = hold(session_bytes(&admitted.client_id)).zip(hold(0)) else {
            self.counters.limit_hits_session_bytes_total += 1;
            self.node.sessions.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let limits = Arc::clone(&self.node.session_limits);
        let session = Session::new(admitted.client_id.clone(), admitted.identity.clone(), limits);
        let entry = Entry {
            session,
            connection: None,
            claim,
            since: claim,
            proof: Proof::None,
            let_in_by: self.rules.generation,
            remembered: None,
            memory,
            will_memory,
            absence: None,
            reads: None,
            is_reading_on: false,
            left_shares: Vec::new(),
            extended: None,
            is_leaving: false,
            stored: None,
        };
        Some(self.sessions.insert(&admitted.client_id, entry))
    }

    fn attach(&mut self, conn: ConnId, id: SessionId, admitted: Admitted, session_present: bool, now: Instant) {
        // MQTT 3.1.1 has no word for what it asks for and none for what it gets.
        if admitted.version == Version::V5 {
            self.counters.limit_hits_session_expiry_seconds_max += u64::from(admitted.session_expiry_changed);
            self.counters.limit_hits_keep_alive_seconds_max += u64::from(admitted.keep_alive_changed);
            let aliases_max = self.node.settings.limits.outbound_topic_aliases;
            self.counters.limit_hits_outbound_topic_aliases += u64::from(admitted.topic_alias_max > aliases_max);
        }
        let Some(buffer) = self.connections.output(conn) else { return };
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let before = buffer.len();
        let drained = entry.session.attach(admitted, session_present, &self.session_share, now, buffer);
        self.counters.drained(drained, &buffer[before..]);
        entry.connection = Some(conn);
        entry.absence = None;
        let silent_until = entry.session.keep_alive_deadline();
        let proved_until = entry.extended.as_deref().and_then(Extended::deadline).map(|(at, _)| at);
        self.counters.clients_connected += 1;
        self.connections_pending -= 1;
        self.sessions.connected += 1;
        self.node.client_came();
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.role = Role::Client(id);
        }
        if let Some(at) = [silent_until, proved_until].into_iter().flatten().min() {
            self.remind(conn, at);
        }
        if session_present && self.sessions.get(id).is_some_and(|entry| entry.stored.is_none()) {
            self.rejoin_shared_groups(id);
        }
    }

    /// A client id that belongs to this thread: long enough never to meet another, random enough not to be guessed.
    fn assign_client_id(&mut self) -> String {
        for _ in 0..ASSIGNED_ID_TRIES_MAX {
            let id = format!("fulmar-{:016x}{:016x}", self.random.next(), self.random.next());
            if owner_of(&id, self.node.settings.threads) == self.thread && self.sessions.find(&id).is_none() {
                return id;
            }
        }
        // With at most 1,024 threads this is out of reach; such a client would merely live on a thread that cannot be
        // asked for it by its id, which nobody else knows.
        format!("fulmar-{:016x}{:016x}", self.random.next(), self.random.next())
    }

    pub(crate) fn refuse_client(&mut self, conn: ConnId, connect: &Connect<'_>, refusal: Refusal, out: &mut impl Out) {
        let Refusal { reason, error } = refusal;
        let Some(origin) = self.connections.get(conn).map(|connection| connection.origin) else { return };
        self.counters.clients_refused += 1;
        if let Some(buffer) = self.connections.output(conn) {
            let before = buffer.len();
            encode_refusal(buffer, connect.version, reason);
            if !takes_packet(connect, buffer.len() - before) {
                buffer.truncate(before);
            }
            self.counters.wrote(&buffer[before..]);
        }
        out.event(Event::ClientRefused { client_id: connect.client_id, origin, reason, error });
        self.close_unconnected(conn, out);
    }

    /// A CONNECT that carries more than it may.
    fn refuse_excess(&mut self, conn: ConnId, connect: &Connect<'_>, excess: Excess, out: &mut impl Out) {
        let Excess { limit, reason } = excess;
        self.counters.beyond(limit);
        let error = Some(format!("limit {} reached", limit.name()));
        self.refuse_client(conn, connect, Refusal { reason, error }, out);
    }

    /// A CONNECT that cannot be read, or will not be: answered if it says in which version.
    fn refuse_connect(&mut self, conn: ConnId, error: &ConnectError, out: &mut impl Out) {
        if let (Some((version, reason)), Some(buffer)) = (error.answer(), self.connections.output(conn)) {
            let before = buffer.len();
            encode_refusal(buffer, version, reason);
            self.counters.wrote(&buffer[before..]);
        }
        match error.error {
            DecodeError::PacketTooLarge { .. } => self.counters.beyond(Limit::ConnectPacketBytes),
            _ => self.counters.protocol_errors += 1,
        }
        self.close_with_error(conn, &error.to_string(), out);
    }

    pub(crate) fn refuse_bytes(&mut self, conn: ConnId, error: &str, out: &mut impl Out) {
        self.counters.protocol_errors += 1;
        self.close_with_error(conn, error, out);
    }

    fn close_with_error(&mut self, conn: ConnId, error: &str, out: &mut impl Out) {
        if let Some(connection) = self.connections.get(conn) {
            let origin = connection.origin;
            out.event(Event::BadBytes { client_id: "", origin, error: error.to_owned() });
        }
        self.close_unconnected(conn, out);
    }

    /// Closes a connection that never became a client, with what it has been told.
    pub(crate) fn close_unconnected(&mut self, conn: ConnId, out: &mut impl Out) {
        if let Some(connection) = self.forget_connection(conn, out) {
            self.counters.bytes_sent += connection.out.len() as u64;
            out.close(conn, connection.out);
        }
    }

    /// Forgets a connection that never became a client.
    pub(crate) fn forget_connection(&mut self, conn: ConnId, out: &mut impl Out) -> Option<Connection> {
        let connection = self.connections.remove(conn)?;
        if let Role::AwaitAnswer { ticket, .. } = connection.role {
            self.abandon(ticket, out);
        }
        if matches!(connection.role, Role::AwaitConnect { .. } | Role::AwaitAnswer { .. }) {
            self.connections_pending -= 1;
            self.node.admission.leave(&connection.origin);
        }
        Some(connection)
    }
}

/// The data thread that owns a client id: the same on every thread of a node, so that takeover and resume are local.
pub(crate) fn owner_of(client_id: &str, threads: Thread) -> Thread {
    if threads <= 1 {
        return 0;
    }
    // FNV-1a, 64 bit: not secret. Ids chosen to meet on one thread cost that thread its share, not correctness.
    let hash = client_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    ((hash ^ (hash >> 32)) % u64::from(threads)) as Thread
}

/// Whether the client takes a packet of this length: what it does not take is not sent (MQTT 5.0, 3.1.2.11.4).
pub(crate) fn takes_packet(connect: &Connect<'_>, length: usize) -> bool {
    connect.packet_bytes_max.is_none_or(|max| length <= max.get() as usize)
}

fn encode_refusal(out: &mut Vec<u8>, version: Version, reason: ReasonCode) {
    encode_connack(out, version, &ConnAck { session_present: false, reason, properties: ConnAckProperties::NONE });
}
