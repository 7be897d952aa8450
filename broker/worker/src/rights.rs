//! What a client may publish and subscribe to, by the access rules and the hooks before them. Where there are neither,
//! this costs a comparison or two.

use crate::connections::Connections;
use crate::ids::{ConnId, SessionId};
use crate::node::Node;
use crate::out::{Event, Out};
use crate::rules::Rules;
use crate::sessions::Entry;
use crate::sys::is_sys;
use crate::worker::Worker;
use fulmar_auth::access::Rights;
use fulmar_auth::cache::Decisions;
use fulmar_auth::hooks::{Client, Hooks};
use fulmar_codec::{ParsedFilter, Publish, ReasonCode, TopicLimits, parse_filter};
use fulmar_session::{AckToken, Held, Identity, Outgoing, Session, Will};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// What a session was told last about its topics; while its client is away there is none.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    decisions: Decisions,
    /// As much memory of the session's was taken for it.
    bytes: usize,
}

impl Remembered {
    /// Takes memory for what has been remembered anew, or forgets it all where there is none.
    fn account(&mut self, memory: &mut Held) {
        let bytes = size_of::<Remembered>() + self.decisions.bytes();
        if bytes > self.bytes && !memory.grow(bytes - self.bytes) {
            self.decisions.clear();
            return self.forget(memory);
        }
        memory.shrink(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
    }

    fn forget(&mut self, memory: &mut Held) {
        memory.shrink(std::mem::take(&mut self.bytes));
    }
}

impl Entry {
    /// The client is away: what it was told costs no memory.
    pub(crate) fn forget_decisions(&mut self) {
        if let Some(mut remembered) = self.remembered.take() {
            remembered.forget(&mut self.memory);
        }
    }
}

impl Worker {
    /// Whether a client's publish goes on its way. `topic` is the one that it means, also where it says an alias.
    #[inline]
    pub(crate) fn judge_publish(
        &mut self,
        id: SessionId,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Result<(), ReasonCode> {
        if is_sys(topic) || !self.may_publish(id, topic) {
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        if self.node.hooks.publish.is_none() {
            return Ok(());
        }
        let Some(entry) = self.sessions.get(id) else { return Err(ReasonCode::NOT_AUTHORIZED) };
        let client = || client(&entry.session, address(&self.connections, entry.connection));
        self.node.hooks.publish(client, &Publish { topic, ..*publish })
    }

    #[inline]
    fn may_publish(&mut self, id: SessionId, topic: &str) -> bool {
        if self.rules.access.is_none() && self.node.hooks.authorise.is_none() {
            return true;
        }
        let Worker { rules, node, sessions, connections, .. } = self;
        let Some(entry) = sessions.get_mut(id) else { return false };
        let Entry { session, remembered, memory, connection, .. } = entry;
        let remembered = remembered.get_or_insert_default();
        let mut is_new = false;
        let is_allowed = remembered.decisions.decide(rules.generation, topic, || {
            is_new = true;
            judge_publish(rules, node, session, address(connections, *connection), topic)
        });
        if is_new {
            remembered.account(memory);
        }
        is_allowed
    }

    /// Whether the will of a client may be published, when it is due.
    pub(crate) fn may_publish_will(&self, session: &Session, will: &Will, now: Instant) -> bool {
        let topic = will.outgoing(now).topic;
        !is_sys(topic) && judge_publish(&self.rules, &self.node, session, Ipv6Addr::UNSPECIFIED.into(), topic)
    }

    /// The same where only its name and its user's are known.
    pub(crate) fn may_publish_will_of(&self, client_id: &str, user: Option<&str>, topic: &str) -> bool {
        let access = self.rules.access.as_deref();
        let list = || access.is_none_or(|access| access.list.rights(client_id, user).may_publish(topic));
        let client = || Client { client_id, username: user, address: Ipv6Addr::UNSPECIFIED.into() };
        !is_sys(topic) && self.node.hooks.may_publish(client, topic, list)
    }

    /// Whether a client may subscribe to a filter, as it was sent and taken apart.
    pub(crate) fn may_subscribe(&self, id: SessionId, filter: &str, parsed: &ParsedFilter<'_>) -> bool {
        let Worker { rules, node, sessions, connections, .. } = self;
        let Some(entry) = sessions.get(id) else { return false };
        let session = &entry.session;
        let list = || rights(rules, session).is_none_or(|rights| rights.may_subscribe_to(parsed));
        node.hooks.may_subscribe(|| client(session, address(connections, entry.connection)), filter, list)
    }

    /// A publish that its client may not make: MQTT 5 tells it, MQTT 3.1.1 has no words for it.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "a publish that is denied has as many parts as one that is routed")]
    pub(crate) fn deny_publish(
        &mut self,
        conn: ConnId,
        id: SessionId,
        topic: &str,
        reason: ReasonCode,
        token: Option<AckToken>,
        now: Instant,
        out: &mut impl Out,
    ) {
        self.counters.publishes_denied += 1;
        if let Some((client_id, connection)) = self.client_of(conn) {
            out.event(Event::PublishDenied { client_id, origin: connection.origin, topic });
        }
        if let Some(token) = token {
            self.acknowledge(conn, id, token, reason, now);
        }
    }

    /// A filter that its client may not subscribe to.
    pub(crate) fn deny_subscribe(&mut self, conn: ConnId, filter: &str, out: &mut impl Out) {
        self.counters.subscriptions_denied += 1;
        if let Some((client_id, connection)) = self.client_of(conn) {
            out.event(Event::SubscribeDenied { client_id, origin: connection.origin, filter });
        }
    }
}

/// The user name that a session's client has proved.
pub(crate) fn username(session: &Session) -> Option<&str> {
    match session.identity() {
        Identity::User(name) => Some(name),
        Identity::Anonymous => None,
    }
}

/// Whether a message may be sent to this session's client, or queued for it.
#[inline]
pub(crate) fn may_deliver(hooks: &Hooks, session: &Session, address: IpAddr, message: &Outgoing<'_>) -> bool {
    hooks.deliver(|| client(session, address), message.topic, message.payload)
}

/// Whether a client may subscribe to a topic: for what waits since it had more rights.
pub(crate) fn may_read(rules: &Rules, session: &Session, topic: &str) -> bool {
    let parsed = parse_filter(topic, TopicLimits::NONE);
    parsed.is_ok_and(|parsed| rights(rules, session).is_none_or(|rights| rights.may_subscribe_to(&parsed)))
}

fn judge_publish(rules: &Rules, node: &Node, session: &Session, address: IpAddr, topic: &str) -> bool {
    let list = || rights(rules, session).is_none_or(|rights| rights.may_publish(topic));
    node.hooks.may_publish(|| client(session, address), topic, list)
}

/// `None`: there are no rules.
fn rights<'a>(rules: &'a Rules, session: &'a Session) -> Option<Rights<'a>> {
    rules.access.as_deref().map(|access| access.list.rights(session.client_id(), username(session)))
}

pub(crate) fn client(session: &Session, address: IpAddr) -> Client<'_> {
    Client { client_id: session.client_id(), username: username(session), address }
}

/// Where a client is; unspecified while it is away.
pub(crate) fn address(connections: &Connections, conn: Option<ConnId>) -> IpAddr {
    let connection = conn.and_then(|conn| connections.get(conn));
    connection.map_or(Ipv6Addr::UNSPECIFIED.into(), |connection| connection.origin.address.ip())
}
