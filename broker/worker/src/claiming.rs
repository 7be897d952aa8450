//! CONNECTs of clients whose sessions the store keeps: the session is claimed before CONNACK says that it is there.
//!
//! Which clients these are: those that ask for a session that outlives the connection, those that leave a will, which
//! outlives the node, and those whose name has or may have such a session, which ends or goes on with this connection.
//! In a durable cluster it is all clients: of two connections of one client id at two nodes the store knows which came
//! later, and nodes tell each other nothing of it. That costs each CONNECT a committed claim.

use crate::authenticate;
use crate::connect::LettingIn;
use crate::connections::Role;
use crate::desk::{Waits, stored_message};
use crate::ids::ConnId;
use crate::out::Out;
use crate::stored::Stored;
use crate::worker::Worker;
use fulmar_auth::hooks::Ticket;
use fulmar_cluster::claims::Takeover;
use fulmar_codec::{Connect, ReasonCode};
use fulmar_session::{Admitted, Identity};
use fulmar_store::{Answer, Ask, Claim, Claimed, Node, OwnedSession, Owner, Refusal, Reply, Will, WillFate};
use std::num::NonZeroU16;
use std::time::Instant;

/// A client whose session is being claimed.
#[derive(Debug)]
pub(crate) struct Claiming {
    conn: ConnId,
    /// Stands in the connection's role.
    ticket: Ticket,
    letting_in: LettingIn,
}

impl Worker {
    /// Whether the store has to be asked for the session of a client.
    pub(crate) fn must_claim(&self, admitted: &Admitted) -> bool {
        let outlives = admitted.session_expiry_seconds > 0 || admitted.will.is_some();
        // Of a durable cluster the store is where nodes see each other's clients.
        let is_of_cluster = self.following.is_some();
        self.desk.is_open() && (outlives || is_of_cluster || self.node.stored.may_have(&admitted.client_id))
    }

    /// Asks the store for the client's session. The client waits.
    pub(crate) fn claim(&mut self, conn: ConnId, letting_in: LettingIn, now: Instant, out: &mut impl Out) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let (Role::AwaitConnect { until, .. } | Role::AwaitAnswer { until, .. }) = connection.role else { return };
        let ticket = self.node.next_ticket();
        connection.role = Role::AwaitAnswer { until, ticket };
        let Admitted { client_id, identity, clean_start, session_expiry_seconds, receive_maximum, will, .. } =
            &letting_in.admitted;
        let will = will.as_ref().map(|will| Will {
            message: stored_message(&will.outgoing(now), &mut self.scratch.message, now),
            delay_seconds: u32::try_from(will.delay().as_secs()).unwrap_or(u32::MAX),
        });
        let user = match identity {
            Identity::User(user) => Some(&**user),
            Identity::Anonymous => None,
        };
        let takeover = match self.node.settings.auth.takeover {
            Takeover::SameUser => fulmar_store::Takeover::SameUser,
            Takeover::AnyUser => fulmar_store::Takeover::AnyUser,
        };
        let in_flight_max = self.node.settings.limits.outbound_inflight;
        let claim = Claim {
            client: (&**client_id).into(),
            user: user.map(Into::into),
            takeover,
            node: Node { id: 0, incarnation: 0 },
            nonce: 0,
            clean: *clean_start,
            expiry_seconds: *session_expiry_seconds,
            receive_maximum: NonZeroU16::new((*receive_maximum).min(in_flight_max)).unwrap_or(NonZeroU16::MIN),
            will,
        };
        self.node.stored.note(client_id);
        let owner = Owner { thread: self.thread, slot: conn.slot, generation: conn.generation };
        let claiming = Claiming { conn, ticket, letting_in };
        self.desk.ask(Ask::Claim { owner, claim }, Waits::Claim(Box::new(claiming)));
        self.pause(conn, out);
    }

    /// The store has answered a claim.
    pub(crate) fn claimed(&mut self, claiming: Claiming, answer: Answer, now: Instant, out: &mut impl Out) {
        let Claiming { conn, ticket, letting_in } = claiming;
        let is_there = self.connections.get_mut(conn).is_some_and(|connection| match connection.role {
            Role::AwaitAnswer { until, ticket: of } if of == ticket => {
                connection.role = Role::AwaitConnect { until, answer: None };
                true
            }
            _ => false,
        });
        let reason = match answer {
            Answer::Claimed(owned) if is_there => return self.let_in_claimed(conn, letting_in, &owned, now, out),
            // It was never told that it was let in, so that there is nothing that its will could say.
            Answer::Claimed(owned) => return self.give_up(&letting_in.admitted.client_id, &owned),
            Answer::Reply(Reply::Refused(refusal)) => self.refusal_of(refusal),
            Answer::Reply(_) | Answer::Unavailable | Answer::NotLeader { .. } => ReasonCode::SERVER_UNAVAILABLE.into(),
        };
        if is_there {
            self.refuse_admitted(conn, &letting_in.admitted, reason, out);
        }
    }

    fn let_in_claimed(
        &mut self,
        conn: ConnId,
        letting_in: LettingIn,
        owned: &OwnedSession,
        now: Instant,
        out: &mut impl Out,
    ) {
        let admitted = &letting_in.admitted;
        let stored = Stored::new((&*admitted.client_id).into(), &owned.claimed, admitted.session_expiry_seconds > 0);
        let client_id = admitted.client_id.clone();
        let Some(id) = self.let_in(conn, letting_in, Some((stored, owned)), now, out) else {
            return self.give_up(&client_id, owned);
        };
        // It may have sent more behind its CONNECT.
        self.resume(conn, id, now, out);
    }

    /// A session that was claimed for a client who is not let in.
    fn give_up(&mut self, client_id: &str, owned: &OwnedSession) {
        let Claimed { epoch, present, .. } = owned.claimed;
        // One that this claim has begun was never anybody's, and ends.
        let expiry_seconds = (!present).then_some(0);
        self.do_in_store(Ask::Disconnect { client: client_id.into(), epoch, expiry_seconds, will: WillFate::Delete });
    }

    /// Something that must be done, though nobody waits for it.
    pub(crate) fn do_in_store(&mut self, ask: Ask) {
        self.desk.ask(ask.clone(), Waits::Done(ask));
    }

    /// A client that was admitted and is not let in after all.
    pub(crate) fn refuse_admitted(
        &mut self,
        conn: ConnId,
        admitted: &Admitted,
        refusal: authenticate::Refusal,
        out: &mut impl Out,
    ) {
        let Admitted { version, client_id, packet_bytes_max, .. } = admitted;
        let connect = Connect { packet_bytes_max: *packet_bytes_max, ..Connect::new(*version, client_id) };
        self.refuse_client(conn, &connect, refusal, out);
    }

    /// Why a client does not get its session.
    fn refusal_of(&mut self, refusal: Refusal) -> authenticate::Refusal {
        let reason = match refusal {
            Refusal::Bound(_) => ReasonCode::QUOTA_EXCEEDED,
            Refusal::OtherUser => {
                self.counters.session_owner_refusals += 1;
                ReasonCode::NOT_AUTHORIZED
            }
            // Somebody came later with the same name.
            Refusal::Superseded { .. } => ReasonCode::SERVER_BUSY,
            _ => ReasonCode::SERVER_UNAVAILABLE,
        };
        authenticate::Refusal { reason, error: Some(refusal.to_string()) }
    }
}
