//! SUBSCRIBE and UNSUBSCRIBE: into the trie, past the barrier of the other nodes, then the retained messages.

use crate::client::Flow;
use crate::desk::Subscribing;
use crate::effort::cost;
use crate::ids::{ConnId, SessionId};
use crate::letter::Note;
use crate::node::topic_limits;
use crate::out::Out;
use crate::pressure::Pressure;
use crate::retained::{RetainedRead, add_reads};
use crate::sessions::{Entry, subscriber, subscription_bytes};
use crate::sys::is_sys;
use crate::waiting::SubAck;
use crate::worker::Worker;
use fulmar_codec::{
    PacketId, ParsedFilter, ReasonCode, Subscribe, SubscriptionOptions, Unsubscribe, encode_suback, encode_unsuback,
    parse_filter, suback_length,
};
use fulmar_router::Options;
use fulmar_session::{Excess, Limit, SubscribeAction};
use fulmar_store::Subscription;
use std::num::NonZeroU32;
use std::time::Instant;

/// Filters that change while nobody else can match.
pub(crate) const AT_ONCE: usize = 256;

impl Worker {
    pub(crate) fn subscribe(
        &mut self,
        conn: ConnId,
        id: SessionId,
        subscribe: &Subscribe<'_>,
        now: Instant,
        out: &mut impl Out,
    ) -> Flow {
        if !self.takes_codes(id, subscribe.count()) {
            self.close_client(conn, id, ReasonCode::PACKET_TOO_LARGE, now, out);
            return Flow::Closed;
        }
        let taken = subscribe.count().min(self.node.settings.limits.subscriptions_per_packet);
        self.turn.effort.add(taken, cost::FILTER);
        let mut codes = Vec::with_capacity(subscribe.count());
        let (mut joined, mut reads) = (Vec::new(), Vec::new());
        let (mut asked, mut for_store) = (Vec::new(), Vec::new());
        let is_stored = self.sessions.get(id).is_some_and(Entry::is_stored);
        let mut closed = None;
        for filter in subscribe.filters().take(taken) {
            let parsed = match parse_filter(filter.filter, topic_limits(&self.node.settings.limits)) {
                Ok(parsed) => parsed,
                Err(error) => {
                    if let Some(limit) = Limit::of_topic(&error) {
                        self.tell_beyond(conn, limit, out);
                    }
                    codes.push(error.reason());
                    continue;
                }
            };
            if !self.may_subscribe(id, filter.filter, &parsed) {
                self.deny_subscribe(conn, filter.filter, out);
                codes.push(ReasonCode::NOT_AUTHORIZED);
                continue;
            }
            let Some(entry) = self.sessions.get_mut(id) else { return Flow::Closed };
            let filter = entry.session.subscription_terms(filter);
            match entry.session.handle_subscribe_filter(&filter, &parsed, subscribe.subscription_id) {
                SubscribeAction::Subscribe { existed: false, .. } if self.pressure != Pressure::Normal => {
                    entry.session.handle_unsubscribe_filter(filter.filter);
                    self.counters.overload_subscriptions_refused += 1;
                    codes.push(ReasonCode::QUOTA_EXCEEDED);
                }
                SubscribeAction::Subscribe { existed: false, .. }
                    if !entry.memory.grow(subscription_bytes(filter.filter)) =>
                {
                    entry.session.handle_unsubscribe_filter(filter.filter);
                    self.counters.limit_hits_session_bytes_total += 1;
                    codes.push(ReasonCode::QUOTA_EXCEEDED);
                }
                SubscribeAction::Subscribe { granted, existed, send_retained } => {
                    self.sessions.subscriptions += usize::from(!existed);
                    let options = router_options(filter.options, subscribe.subscription_id);
                    joined.push((parsed.share, parsed.filter, options));
                    if send_retained {
                        reads.push(RetainedRead::new(parsed.filter, granted, subscribe.subscription_id));
                    }
                    if is_stored {
                        let options = SubscriptionOptions { qos: granted, ..filter.options };
                        let subscription = Subscription { options, id: subscribe.subscription_id };
                        asked.push((codes.len(), (!existed).then(|| filter.filter.into())));
                        for_store.push((filter.filter.into(), subscription));
                    }
                    codes.push(ReasonCode::granted(granted));
                }
                SubscribeAction::Refuse(Excess { limit, reason }) => {
                    self.tell_beyond(conn, limit, out);
                    codes.push(reason);
                }
                SubscribeAction::Close(reason) => {
                    closed = Some(reason);
                    break;
                }
            }
        }
        if self.join(id, &joined) {
            self.interest_changed();
        }
        if let Some(reason) = closed {
            self.protocol_error(conn, id, reason, now, out);
            return Flow::Closed;
        }
        if taken < subscribe.count() {
            self.tell_beyond(conn, Limit::SubscriptionsPerPacket, out);
            codes.resize(subscribe.count(), ReasonCode::QUOTA_EXCEEDED);
        }
        let packet_id = subscribe.packet_id;
        if for_store.is_empty() {
            return self.answer_subscribe(conn, id, packet_id, &codes, reads, now, out);
        }
        let subscribing = Subscribing { conn, packet_id, codes, asked, reads };
        self.subscribe_in_store(id, subscribing, for_store, out)
    }

    /// All that was to be found out about a SUBSCRIBE is known: it is answered, when the other nodes know of it too.
    #[expect(clippy::too_many_arguments, reason = "SUBACK with all that comes with it")]
    pub(crate) fn answer_subscribe(
        &mut self,
        conn: ConnId,
        id: SessionId,
        packet_id: PacketId,
        codes: &[ReasonCode],
        reads: Vec<RetainedRead>,
        now: Instant,
        out: &mut impl Out,
    ) -> Flow {
        let Some(entry) = self.sessions.get(id) else { return Flow::Closed };
        let mut packet = Vec::new();
        encode_suback(&mut packet, entry.session.version(), packet_id, codes);
        match self.node.interest_to_wait_for() {
            Some(version) => {
                let limits = &self.node.settings.limits;
                let patience =
                    if self.following.is_some() { limits.acknowledgement_timeout } else { limits.subscribe_barrier };
                let until = now + patience;
                self.wait_for_nodes(SubAck { conn, id, version, until, packet, reads }, out)
            }
            None => {
                self.subscribed(conn, id, &packet, reads, now);
                Flow::Go
            }
        }
    }

    /// Whether the client takes an answer with a code for each filter.
    fn takes_codes(&self, id: SessionId, filters: usize) -> bool {
        self.sessions.get(id).is_some_and(|entry| entry.session.takes_packet(suback_length(filters)))
    }

    /// Puts a subscriber into the trie, with many filters at once, because other threads may be matching and each time they
    /// would have to be waited for; true when other nodes have to be told, which they have not of `$SYS`: each tells of
    /// itself to its own clients.
    pub(crate) fn join(&mut self, id: SessionId, filters: &[(Option<&str>, &str, Options)]) -> bool {
        let me = subscriber(self.thread, id);
        let mut announce = false;
        for filters in filters.chunks(AT_ONCE) {
            let mut trie = self.turn.trie_mut(&self.node);
            for (share, filter, options) in filters {
                let first = match share {
                    Some(group) => trie.subscribe_shared(group, filter, me, *options).first,
                    None => trie.subscribe(filter, me, *options).first,
                };
                if first && is_sys(filter) {
                    self.node.sys.joined();
                } else if first {
                    self.node.interest().local.add(*share, filter);
                    announce = true;
                }
            }
        }
        announce
    }

    /// The barrier is passed: SUBACK, then what is retained.
    pub(crate) fn subscribed(
        &mut self,
        conn: ConnId,
        id: SessionId,
        packet: &[u8],
        reads: Vec<RetainedRead>,
        now: Instant,
    ) {
        let Some(buffer) = self.connections.output(conn) else { return };
        buffer.extend_from_slice(packet);
        self.counters.packets_sent += 1;
        if reads.is_empty() {
            return;
        }
        let Some(entry) = self.sessions.get_mut(id) else { return };
        add_reads(entry, reads);
        self.pump(id, now);
    }

    pub(crate) fn unsubscribe(
        &mut self,
        conn: ConnId,
        id: SessionId,
        unsubscribe: &Unsubscribe<'_>,
        now: Instant,
        out: &mut impl Out,
    ) -> Flow {
        if !self.takes_codes(id, unsubscribe.count()) {
            self.close_client(conn, id, ReasonCode::PACKET_TOO_LARGE, now, out);
            return Flow::Closed;
        }
        self.turn.effort.add(unsubscribe.count(), cost::FILTER);
        let mut codes = Vec::with_capacity(unsubscribe.count());
        let mut left = Vec::new();
        for filter in unsubscribe.filters() {
            codes.push(match self.end_subscription(id, filter) {
                Ok(None) => ReasonCode::NO_SUBSCRIPTION_EXISTED,
                Ok(Some(parsed)) => {
                    left.push((parsed.share, parsed.filter));
                    ReasonCode::SUCCESS
                }
                Err(reason) => reason,
            });
        }
        if self.leave(id, &left) {
            self.interest_changed();
        }
        self.forget_reads(id);
        let Some(entry) = self.sessions.get(id) else { return Flow::Closed };
        let mut packet = Vec::new();
        encode_unsuback(&mut packet, entry.session.version(), unsubscribe.packet_id, &codes);
        if entry.is_stored() && !left.is_empty() {
            let filters = unsubscribe.filters().zip(&codes).filter(|(_, code)| **code == ReasonCode::SUCCESS);
            let filters = filters.map(|(filter, _)| filter.into()).collect();
            self.unsubscribe_in_store(conn, id, filters, packet);
        } else if let Some(buffer) = self.connections.output(conn) {
            buffer.extend_from_slice(&packet);
            self.counters.packets_sent += 1;
        }
        Flow::Go
    }

    /// Ends a subscription in the session, and gives what is to leave the trie. Whoever calls this calls [`Worker::leave`]
    /// and [`Worker::forget_reads`] when the last filter is done.
    pub(crate) fn end_subscription<'a>(
        &mut self,
        id: SessionId,
        filter: &'a str,
    ) -> Result<Option<ParsedFilter<'a>>, ReasonCode> {
        let parsed = parse_filter(filter, topic_limits(&self.node.settings.limits)).map_err(|error| error.reason())?;
        let entry = self.sessions.get_mut(id).ok_or(ReasonCode::UNSPECIFIED_ERROR)?;
        if !entry.session.handle_unsubscribe_filter(filter) {
            return Ok(None);
        }
        entry.leave_share(filter);
        entry.memory.shrink(subscription_bytes(filter));
        self.sessions.subscriptions -= 1;
        Ok(Some(parsed))
    }

    /// Takes a subscriber out of the trie, with many filters at once, as in [`Worker::join`]; true when other nodes have to
    /// be told.
    pub(crate) fn leave(&mut self, id: SessionId, filters: &[(Option<&str>, &str)]) -> bool {
        let me = subscriber(self.thread, id);
        let mut announce = false;
        for filters in filters.chunks(AT_ONCE) {
            let mut trie = self.turn.trie_mut(&self.node);
            for (share, filter) in filters {
                let last = match share {
                    Some(group) => trie.unsubscribe_shared(group, filter, me).last,
                    None => trie.unsubscribe(filter, me).last,
                };
                if last && is_sys(filter) {
                    self.node.sys.left();
                } else if last {
                    self.node.interest().local.remove(*share, filter);
                    announce = true;
                }
            }
        }
        announce
    }

    /// An absent client takes no turn in its shared groups while others can.
    pub(crate) fn leave_shared_groups(&mut self, id: SessionId) {
        let me = subscriber(self.thread, id);
        let shared = self.shared_subscriptions(id);
        self.turn.effort.add(shared.len(), cost::FILTER);
        for shared in shared.chunks(AT_ONCE) {
            let mut trie = self.turn.trie_mut(&self.node);
            for (group, filter, _) in shared {
                trie.set_shared_absent(group, filter, me);
            }
        }
    }

    /// A client that came back takes its turns again.
    pub(crate) fn rejoin_shared_groups(&mut self, id: SessionId) {
        let shared = self.shared_subscriptions(id);
        self.turn.effort.add(shared.len(), cost::FILTER);
        let filters = shared.iter().map(|(group, filter, options)| (Some(group.as_str()), filter.as_str(), *options));
        if self.join(id, &filters.collect::<Vec<_>>()) {
            self.interest_changed();
        }
    }

    fn shared_subscriptions(&self, id: SessionId) -> Vec<(String, String, Options)> {
        let Some(entry) = self.sessions.get(id) else { return Vec::new() };
        let shared = entry.session.subscriptions().filter_map(|subscription| {
            let (Some(group), filter) = split_share(subscription.filter) else { return None };
            let options = router_options(subscription.options, subscription.subscription_id);
            Some((group.to_owned(), filter.to_owned(), options))
        });
        shared.collect()
    }

    /// Tells the thread that speaks for this node that its interest has changed.
    pub(crate) fn interest_changed(&mut self) {
        if self.thread == 0 {
            self.announce_interest();
        } else {
            self.outboxes.of(0).notes.push(Note::InterestChanged);
        }
    }
}

pub(crate) fn router_options(
    options: fulmar_codec::SubscriptionOptions,
    subscription_id: Option<NonZeroU32>,
) -> Options {
    Options::new(options.qos)
        .with_no_local(options.no_local)
        .with_retain_as_published(options.retain_as_published)
        .with_subscription_id(subscription_id)
}

/// A filter as it was subscribed, taken apart. Only filters that were checked are in a session.
pub(crate) fn split_share(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => (Some(group), filter),
        None => (None, filter),
    }
}
