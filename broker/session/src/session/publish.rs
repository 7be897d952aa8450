//! Messages from the client: who may publish what, QoS 1 and 2, and acknowledgements in the order of arrival although
//! the messages are routed in any order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use fulmar_codec::{Ack, AckKind, PacketId, Publish, QoS, ReasonCode, Version, check_topic_name, encode_ack};

use super::{AckAction, Session};
use crate::admit::check_publishable;
use crate::aliases::Aliases;
use crate::limit::{Excess, Limit};
use crate::packet_ids::PacketIds;
use crate::quota::QuotaShare;

/// An empty list with room for more than this gives its room back.
const IDLE_CAPACITY_MAX: usize = 64;

/// The answer to more publishes than we said we would take (MQTT 5.0, 4.9).
const TOO_MANY_OPEN: Excess = Excess { limit: Limit::Inflight, reason: ReasonCode::RECEIVE_MAXIMUM_EXCEEDED };

/// Stands for a publish of QoS 1 or 2 until [`Session::handle_routed`] tells what became of it.
///
/// Belongs to the session, not to the connection: it is to be answered also when the connection is gone, as long as
/// the session is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckToken(u32);

/// What to do about a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishAction {
    /// Route it.
    Route {
        /// What to answer once that is done; nothing for QoS 0.
        token: Option<AckToken>,
        /// Where the topic is.
        topic: TopicSource,
    },
    /// Nothing: it is a duplicate.
    Done,
    /// The client broke the protocol.
    Close(ReasonCode),
    /// The client went beyond a bound, and is closed.
    Beyond(Excess),
}

/// Where the topic of a PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicSource {
    /// In the packet.
    InPacket,
    /// In `scratch`: the packet had an alias for it.
    Alias,
}

/// The publishes of a client that are on their way through us.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Those of this connection whose acknowledgement has not gone out, in the order of arrival.
    open: VecDeque<Open>,
    /// The token of the first of them. Tokens go on counting when the connection changes.
    first: u32,
    /// How many of them are duplicates that wait for what becomes of the original.
    duplicates_waiting: u16,
    /// How many of `received` the connection found when it began: they do not count against its quota.
    received_before: u16,
    /// QoS 2: received and not released yet.
    received: PacketIds,
    /// QoS 2: not routed yet when the connection of their PUBLISH was lost.
    carried: Option<Box<Carried>>,
    aliases: Option<Box<Aliases>>,
}

/// A PUBLISH that is not acknowledged yet.
#[derive(Debug)]
struct Open {
    since: Instant,
    packet_id: PacketId,
    kind: Kind,
    /// What became of it, if an older one is still open.
    reason: Option<ReasonCode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Qos1,
    Qos2,
    /// The identifier came before and was not released since. It is answered like the original.
    Qos2Duplicate,
}

#[derive(Debug)]
struct Carried {
    publishes: Vec<(AckToken, PacketId)>,
    /// The beginning of the connection: since then the client may wait for them.
    since: Instant,
}

impl Session {
    /// A PUBLISH of the client. If its topic is an alias, the topic is put into `scratch`; one that it sets takes its memory
    /// from `memory`.
    ///
    /// [`Self::seen`] is left to the caller, as is [`Self::reading_paused`]: a paused session is given no PUBLISH.
    #[inline]
    pub fn handle_publish(
        &mut self,
        publish: &Publish<'_>,
        scratch: &mut String,
        memory: &Arc<QuotaShare>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> PublishAction {
        if let Err(reason) = check_publishable(publish.qos, publish.retain, &self.limits) {
            return PublishAction::Close(reason);
        }
        // The codec saw to the characters. A short topic cannot have too many levels.
        let topic_limits = self.limits.topic;
        if publish.topic.len() >= topic_limits.levels_max.min(topic_limits.bytes_max)
            && let Err(error) = check_topic_name(publish.topic, topic_limits)
        {
            let reason = error.reason();
            return match Limit::of_topic(&error) {
                Some(limit) => PublishAction::Beyond(Excess { limit, reason }),
                None => PublishAction::Close(reason),
            };
        }
        if publish.properties.forward.user_properties().exceed(self.limits.user_properties_max) {
            return PublishAction::Beyond(Excess::of_quota(Limit::UserProperties));
        }
        let topic = match publish.properties.topic_alias {
            None => TopicSource::InPacket,
            Some(_) => match self.resolve_alias(publish, scratch, memory) {
                Ok(topic) => topic,
                Err(refusal) => return refusal,
            },
        };
        match publish.packet_id {
            None => PublishAction::Route { token: None, topic },
            Some(packet_id) => self.open_publish(publish.qos, packet_id, topic, now, out),
        }
    }

    /// What became of a publish: writes its PUBACK or PUBREC, and those that waited for it, or keeps the answer until
    /// all older ones are there. A token that was answered before, or whose connection is gone, writes nothing.
    ///
    /// `reason` is one that PUBACK and PUBREC may have (MQTT 5.0, 3.4.2.1). MQTT 3.1.1 cannot tell a failure from
    /// success: whoever wants the client to know closes its connection.
    #[inline]
    pub fn handle_routed(&mut self, token: AckToken, reason: ReasonCode, now: Instant, out: &mut Vec<u8>) {
        let was_paused = self.reading_paused();
        self.inbound.handle_routed(token, reason, self.version, out);
        // While nobody listened to the client, its keep alive stood still.
        if was_paused && !self.reading_paused() {
            self.seen(now);
        }
    }

    /// How many publishes of the client are not acknowledged yet, those of an earlier connection included.
    #[inline]
    pub fn open_tokens(&self) -> usize {
        let carried = self.inbound.carried.as_ref().map_or(0, |carried| carried.publishes.len());
        self.inbound.open.len() + carried
    }

    /// Whether as many publishes are open as the client may have: then nothing more is read from it.
    #[inline]
    pub fn reading_paused(&self) -> bool {
        self.open_tokens() >= usize::from(self.limits.inflight_max.get())
    }

    /// Since when the oldest of them is open. After a while the caller closes the connection, because clients do not
    /// send again on a live one (MQTT 5.0, 4.4).
    #[inline]
    pub fn oldest_open(&self) -> Option<Instant> {
        let Inbound { open, carried, .. } = &self.inbound;
        let carried = carried.as_ref().map(|carried| carried.since);
        carried.or_else(|| open.front().map(|open| open.since))
    }

    fn resolve_alias(
        &mut self,
        publish: &Publish<'_>,
        scratch: &mut String,
        memory: &Arc<QuotaShare>,
    ) -> Result<TopicSource, PublishAction> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(TopicSource::InPacket) };
        if alias.get() > self.limits.topic_aliases_max {
            let excess = Excess { limit: Limit::TopicAliases, reason: ReasonCode::TOPIC_ALIAS_INVALID };
            return Err(PublishAction::Beyond(excess));
        }
        if !publish.topic.is_empty() {
            let aliases_max = self.limits.topic_aliases_max;
            let none = || Box::new(Aliases::new(memory.hold_nothing()));
            let set = self.inbound.aliases.get_or_insert_with(none).set(alias, publish.topic, aliases_max);
            let beyond = |limit| PublishAction::Beyond(Excess::of_quota(limit));
            return set.map(|()| TopicSource::InPacket).map_err(beyond);
        }
        // An alias that was never set is a protocol error (MQTT 5.0, 3.3.2.3.4).
        let topic = self.inbound.aliases.as_ref().and_then(|aliases| aliases.get(alias));
        let topic = topic.ok_or(PublishAction::Close(ReasonCode::PROTOCOL_ERROR))?;
        scratch.clear();
        scratch.push_str(topic);
        Ok(TopicSource::Alias)
    }

    #[inline]
    fn open_publish(
        &mut self,
        qos: QoS,
        packet_id: PacketId,
        topic: TopicSource,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> PublishAction {
        let inflight_max = self.limits.inflight_max.get();
        // Who does not heed the pause must not make the list grow.
        if self.reading_paused() {
            return PublishAction::Beyond(TOO_MANY_OPEN);
        }
        let inbound = &mut self.inbound;
        let kind = match qos {
            QoS::ExactlyOnce => {
                if inbound.received.contains(packet_id) {
                    inbound.handle_duplicate(packet_id, self.version, now, out);
                    return PublishAction::Done;
                }
                // What awaits PUBREL counts against our Receive Maximum (MQTT 5.0, 4.9). MQTT 3.1.1 has none, there
                // the number of identifiers is the bound.
                let quota = usize::from(inflight_max) + usize::from(inbound.received_before);
                if self.version == Version::V5 && inbound.received.len() >= quota {
                    return PublishAction::Beyond(TOO_MANY_OPEN);
                }
                inbound.received.insert(packet_id);
                Kind::Qos2
            }
            QoS::AtLeastOnce | QoS::AtMostOnce => Kind::Qos1,
        };
        let token = AckToken(inbound.first.wrapping_add(inbound.open.len() as u32));
        inbound.open.push_back(Open { since: now, packet_id, kind, reason: None });
        PublishAction::Route { token: Some(token), topic }
    }

    pub(super) fn handle_pubrel(&mut self, packet_id: PacketId, out: &mut Vec<u8>) -> AckAction {
        // Of one that is not routed there was no PUBREC to answer.
        let carried = self.inbound.carried.as_ref().is_some_and(|carried| carried.holds(packet_id));
        let known = !carried && self.inbound.received.remove(packet_id);
        let reason = if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
        encode_ack(out, self.version, AckKind::PubComp, &Ack::new(packet_id, reason));
        AckAction::Nothing
    }
}

impl Inbound {
    pub(super) const fn new() -> Self {
        Self {
            open: VecDeque::new(),
            first: 0,
            duplicates_waiting: 0,
            received_before: 0,
            received: PacketIds::new(),
            carried: None,
            aliases: None,
        }
    }

    /// What the aliases that the client has set take.
    pub(super) fn alias_bytes(&self) -> usize {
        self.aliases.as_ref().map_or(0, |aliases| aliases.bytes())
    }

    pub(super) fn restore_received(&mut self, packet_ids: impl IntoIterator<Item = PacketId>) {
        for packet_id in packet_ids {
            self.received.insert(packet_id);
        }
    }

    pub(super) fn has_received(&self, packet_id: PacketId) -> bool {
        self.received.contains(packet_id)
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.received_before = self.received.len() as u16;
        if let Some(carried) = &mut self.carried {
            carried.since = now;
        }
    }

    pub(super) fn connection_lost(&mut self, version: Version) {
        self.aliases = None;
        self.duplicates_waiting = 0;
        let open = std::mem::take(&mut self.open);
        let next = self.first.wrapping_add(open.len() as u32);
        for (index, Open { since, packet_id, kind, reason }) in open.into_iter().enumerate() {
            match (kind, reason) {
                // The client sends it again, and perhaps before it is routed. Then it must be known.
                (Kind::Qos2, None) => {
                    let token = AckToken(self.first.wrapping_add(index as u32));
                    let none = || Box::new(Carried { publishes: Vec::new(), since });
                    self.carried.get_or_insert_with(none).publishes.push((token, packet_id));
                }
                (Kind::Qos2, Some(reason)) => self.forget_if_failed(packet_id, reason, version),
                (Kind::Qos1 | Kind::Qos2Duplicate, _) => {}
            }
        }
        self.first = next;
    }

    #[inline]
    fn handle_routed(&mut self, token: AckToken, reason: ReasonCode, version: Version, out: &mut Vec<u8>) {
        let index = token.0.wrapping_sub(self.first) as usize;
        let Some(open) = self.open.get_mut(index) else { return self.handle_carried(token, reason, version, out) };
        if open.reason.is_some() {
            return;
        }
        open.reason = Some(reason);
        if open.kind == Kind::Qos2 && self.duplicates_waiting > 0 {
            let packet_id = open.packet_id;
            self.answer_duplicates(packet_id, reason);
        }
        self.write_answered(version, out);
    }

    #[cold]
    fn handle_carried(&mut self, token: AckToken, reason: ReasonCode, version: Version, out: &mut Vec<u8>) {
        let Some(carried) = &mut self.carried else { return };
        let Some(at) = carried.publishes.iter().position(|&(held, _)| held == token) else { return };
        let (_, packet_id) = carried.publishes.swap_remove(at);
        if carried.publishes.is_empty() {
            self.carried = None;
        }
        self.forget_if_failed(packet_id, reason, version);
        if self.duplicates_waiting > 0 {
            self.answer_duplicates(packet_id, reason);
            self.write_answered(version, out);
        }
    }

    /// The same identifier again, before its PUBREL: it is acknowledged like the original and not routed.
    fn handle_duplicate(&mut self, packet_id: PacketId, version: Version, now: Instant, out: &mut Vec<u8>) {
        let original = self.open.iter().rfind(|open| open.packet_id == packet_id && open.kind != Kind::Qos1);
        let carried = self.carried.as_ref().is_some_and(|carried| carried.holds(packet_id));
        let reason = match original {
            Some(original) => original.reason,
            None if carried => None,
            None => Some(ReasonCode::SUCCESS),
        };
        if reason.is_none() {
            self.duplicates_waiting += 1;
        }
        self.open.push_back(Open { since: now, packet_id, kind: Kind::Qos2Duplicate, reason });
        self.write_answered(version, out);
    }

    fn answer_duplicates(&mut self, packet_id: PacketId, reason: ReasonCode) {
        for open in &mut self.open {
            if open.packet_id == packet_id && open.kind == Kind::Qos2Duplicate && open.reason.is_none() {
                open.reason = Some(reason);
                self.duplicates_waiting -= 1;
            }
        }
    }

    /// PUBACK and PUBREC leave in the order in which the PUBLISH packets came (MQTT 5.0, 4.6).
    #[inline]
    fn write_answered(&mut self, version: Version, out: &mut Vec<u8>) {
        while let Some(&Open { since: _, packet_id, kind, reason: Some(reason) }) = self.open.front() {
            self.open.pop_front();
            self.first = self.first.wrapping_add(1);
            let ack_kind = match kind {
                Kind::Qos1 => AckKind::PubAck,
                Kind::Qos2 | Kind::Qos2Duplicate => AckKind::PubRec,
            };
            if kind == Kind::Qos2 {
                self.forget_if_failed(packet_id, reason, version);
            }
            encode_ack(out, version, ack_kind, &Ack::new(packet_id, reason));
        }
        if self.open.is_empty() && self.open.capacity() > IDLE_CAPACITY_MAX {
            self.open = VecDeque::new();
        }
    }

    /// A PUBREC that reports a failure frees the identifier (MQTT 5.0, 4.3.3). In MQTT 3.1.1 the client does not learn
    /// of it and goes on to PUBREL.
    fn forget_if_failed(&mut self, packet_id: PacketId, reason: ReasonCode, version: Version) {
        if reason.is_error() && version == Version::V5 {
            self.received.remove(packet_id);
        }
    }
}

impl Carried {
    fn holds(&self, packet_id: PacketId) -> bool {
        self.publishes.iter().any(|&(_, held)| held == packet_id)
    }
}
