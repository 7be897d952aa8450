//! Who a client is, before it is let in: bans, identity, back-off, passwords that are known to be right, and for those
//! that are not an answer from elsewhere, during which nothing more of the client is read.
//!
//! The CONNECT that waits stays where received bytes wait, so it counts against their bounds. With the answer it is
//! offered again and looked at from the beginning: what the files say by then is what holds.

use crate::connections::Role;
use crate::extended::Granted;
use crate::ids::ConnId;
use crate::node::AuthMemory;
use crate::out::{Origin, Out};
use crate::question::{Answer, Question};
use crate::rules::Proof;
use crate::worker::Worker;
use fulmar_auth::bans::Bans;
use fulmar_auth::hooks::{Attempt, Step, Ticket};
use fulmar_auth::identity::{Claim, IdentityRules, Name};
use fulmar_auth::passwords::PasswordFile;
use fulmar_codec::{Connect, ReasonCode};
use fulmar_session::Identity;
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Connections whose password is being verified. Each has sent a CONNECT that is not consumed.
pub(crate) type Asked = HashMap<Ticket, ConnId>;

/// How authentication goes on.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The client is this one.
    Known {
        identity: Identity,
        proof: Proof,
        /// What a hook has said of it.
        granted: Option<Box<Granted>>,
    },
    Refused(Refusal),
    /// A hook asks back, or answers later.
    Exchanges {
        ticket: Ticket,
        authenticator: usize,
        step: Step,
    },
    /// The answer comes later, or the connection is gone.
    Waits,
}

impl Verdict {
    fn known(identity: Identity, proof: Proof) -> Verdict {
        Verdict::Known { identity, proof, granted: None }
    }
}

/// Why a client is not let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// For the client.
    pub(crate) reason: ReasonCode,
    /// For whoever reads the log, where the reason does not say it all.
    pub(crate) error: Option<String>,
}

impl From<ReasonCode> for Refusal {
    fn from(reason: ReasonCode) -> Refusal {
        Refusal { reason, error: None }
    }
}

impl Worker {
    /// Finds out who has sent this CONNECT. `answer` is what became of the question about its password, if there was one.
    pub(crate) fn authenticate(
        &mut self,
        conn: ConnId,
        connect: &Connect<'_>,
        answer: Option<bool>,
        now: Instant,
        out: &mut impl Out,
    ) -> Verdict {
        let Some(connection) = self.connections.get(conn) else { return Verdict::Waits };
        let origin = connection.origin;
        let identity = self.identity_rules(origin);
        let certificate = connection.certificate.clone();
        let claim =
            Claim { client_id: connect.client_id, username: connect.username, certificate: certificate.as_deref() };
        let name = match identity.identify(claim) {
            Ok(name) => name,
            Err(error) => {
                self.counters.auth_results_other_name += 1;
                return Verdict::Refused(Refusal {
                    reason: ReasonCode::NOT_AUTHORIZED,
                    error: Some(error.to_string()),
                });
            }
        };
        // Once for each CONNECT, not again with an answer.
        let hooks = &self.node.hooks;
        if answer.is_none() && (hooks.connect.is_some() || !hooks.authenticate.is_empty()) {
            let certified = if let Name::Certified(user) = name { Some(user) } else { None };
            let node = Arc::clone(&self.node);
            let names = &node.settings.auth.listener_names;
            let listener = names.get(usize::from(origin.listener)).map_or("", String::as_str);
            let attempt = Attempt { connect, certified, listener, address: origin.address.ip() };
            if let Err(reason) = node.hooks.connect(&attempt) {
                self.counters.auth_results_refused_by_hook += 1;
                return Verdict::Refused(reason.into());
            }
            if let Some(verdict) = self.ask_hooks(&attempt, identity, origin, now) {
                return verdict;
            }
        }
        // No hook knows the method, and no password will do instead (MQTT 5.0, 4.12.0-1).
        if connect.authentication_method.is_some() {
            return Verdict::Refused(ReasonCode::BAD_AUTHENTICATION_METHOD.into());
        }
        let (Name::Certified(user) | Name::Claimed(user)) = name else {
            return self.let_in_anonymous(connect.client_id, None, origin, now);
        };
        if self.is_banned(connect.client_id, Some(user), origin, now) {
            self.counters.auth_results_banned += 1;
            return Verdict::Refused(ReasonCode::BANNED.into());
        }
        if let Name::Certified(user) = name {
            self.counters.auth_results_certificate += 1;
            return Verdict::known(Identity::User(user.into()), Proof::Certificate);
        }
        let Some(passwords) = self.rules.passwords.clone() else {
            // A name that nobody can verify is worth nothing.
            return self.let_in_anonymous(connect.client_id, connect.username, origin, now);
        };
        let (Some(user), Some(password)) = (connect.username, connect.password) else {
            self.counters.auth_results_no_password += 1;
            return Verdict::Refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD.into());
        };
        self.check_password(conn, user, password, &passwords, answer, now, out)
    }

    pub(crate) fn let_in_anonymous(
        &mut self,
        client_id: &str,
        user: Option<&str>,
        origin: Origin,
        now: Instant,
    ) -> Verdict {
        if self.is_banned(client_id, user, origin, now) {
            self.counters.auth_results_banned += 1;
            return Verdict::Refused(ReasonCode::BANNED.into());
        }
        let anonymous = &self.node.settings.anonymous;
        if !anonymous.get(usize::from(origin.listener)).copied().unwrap_or(false) {
            self.counters.auth_results_no_user += 1;
            return Verdict::Refused(ReasonCode::NOT_AUTHORIZED.into());
        }
        self.counters.auth_results_anonymous += 1;
        Verdict::known(Identity::Anonymous, Proof::None)
    }

    pub(crate) fn is_banned(&self, client_id: &str, user: Option<&str>, origin: Origin, now: Instant) -> bool {
        let judge = |bans: &Bans| bans.judge(client_id, user, origin.address.ip(), self.node.unix_seconds(now));
        self.rules.access.as_deref().is_some_and(|access| !access.bans.is_empty() && judge(&access.bans).is_some())
    }

    /// How the listener of a connection finds out who a client is.
    pub(crate) fn identity_rules(&self, origin: Origin) -> IdentityRules {
        self.node.settings.auth.identity.get(usize::from(origin.listener)).copied().unwrap_or_default()
    }

    #[expect(clippy::too_many_arguments, reason = "it is one step of `authenticate`, which has found all of them out")]
    fn check_password(
        &mut self,
        conn: ConnId,
        user: &str,
        password: &[u8],
        passwords: &Arc<PasswordFile>,
        answer: Option<bool>,
        now: Instant,
        out: &mut impl Out,
    ) -> Verdict {
        let Some(connection) = self.connections.get(conn) else { return Verdict::Waits };
        let address = connection.origin.address.ip();
        let fingerprint = passwords.find(user).map(|stored| self.node.settings.auth.key.of(user, stored, password));
        {
            let mut memory = self.node.auth_memory();
            let AuthMemory { verified, backoff } = &mut *memory;
            if answer == Some(false) {
                backoff.failed(address, user, now);
                drop(memory);
                self.counters.auth_results_wrong_password += 1;
                return Verdict::Refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD.into());
            }
            // Who comes with an answer was allowed to try when it asked.
            if answer.is_none() && backoff.may_try(address, user, now).is_err() {
                drop(memory);
                self.counters.auth_results_must_wait += 1;
                return Verdict::Refused(ReasonCode::CONNECTION_RATE_EXCEEDED.into());
            }
            if fingerprint.is_some_and(|fingerprint| verified.holds(&fingerprint)) {
                backoff.succeeded(address, user);
                drop(memory);
                match answer {
                    Some(_) => self.counters.auth_results_verified += 1,
                    None => self.counters.auth_results_remembered += 1,
                }
                return Verdict::known(Identity::User(user.into()), Proof::Password);
            }
        }
        let question = Question::new(&self.node, self.thread, user, password, passwords, fingerprint);
        let ticket = question.ticket;
        if !out.verify(question) {
            self.counters.auth_results_queue_full += 1;
            return Verdict::Refused(ReasonCode::QUOTA_EXCEEDED.into());
        }
        if let Some(connection) = self.connections.get_mut(conn)
            && let Role::AwaitConnect { until, .. } = connection.role
        {
            connection.role = Role::AwaitAnswer { until, ticket };
        }
        self.asked.insert(ticket, conn);
        self.pause(conn, out);
        Verdict::Waits
    }

    /// The answer to a [`Question`] of this thread: its client's CONNECT is looked at again.
    pub fn answered(&mut self, answer: Answer, out: &mut impl Out) {
        let Answer { ticket, is_right, .. } = answer;
        let Some(conn) = self.asked.remove(&ticket) else { return };
        if let Some(connection) = self.connections.get_mut(conn)
            && let Role::AwaitAnswer { until, .. } = connection.role
        {
            connection.role = Role::AwaitConnect { until, answer: Some(is_right) };
            connection.paused = false;
            out.pause_reading(conn, false);
        }
    }

    /// A connection that waited for an answer is gone.
    pub(crate) fn abandon(&mut self, ticket: Ticket, out: &mut impl Out) {
        if self.abandon_exchange(ticket) {
            self.counters.auth_results_abandoned += 1;
        } else if self.asked.remove(&ticket).is_some() {
            self.counters.auth_results_abandoned += 1;
            out.abandon(ticket);
        }
    }
}
