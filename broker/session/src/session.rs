//! One client's state across its connections, and how they begin and end. Messages from the client are handled in
//! `session/publish.rs`, messages to it in `session/deliver.rs`, and in `session/numbered.rs` where they wait elsewhere.

mod deliver;
mod naming;
mod numbered;
mod publish;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_codec::{
    Ack, AckKind, Disconnect, ParsedFilter, ReasonCode, SubscribeFilter, SubscriptionOptions, Version, encode_connack,
    encode_disconnect,
};

use crate::admit::{Admitted, Identity};
use crate::limits::Limits;
use crate::quota::QuotaShare;
use crate::subscriptions::{SubscribeAction, Subscription, Subscriptions};
use crate::will::{Will, WillFate};

pub use deliver::{Deliver, Delivered, Drained, DropReason};
pub use numbered::Written;
pub use publish::{AckToken, PublishAction, TopicSource};

/// The state of one client.
///
/// It outlives the connection if its expiry is not 0. What an idle client does not need is not there.
#[derive(Debug)]
pub struct Session {
    client_id: Box<str>,
    identity: Identity,
    limits: Arc<Limits>,
    connection: Option<Connection>,
    /// That of the last connection.
    version: Version,
    /// The client of the last connection is a bridge.
    bridge: bool,
    session_expiry_seconds: u32,
    will: Option<Box<Will>>,
    subscriptions: Subscriptions,
    inbound: publish::Inbound,
    outbound: deliver::Outbound,
}

/// What ends with the connection.
#[derive(Debug, Clone, Copy)]
struct Connection {
    /// How many publishes of QoS 1 and 2 may be open with the client.
    window: u16,
    /// The longest packet that the client takes; `u32::MAX`: any.
    packet_bytes_max: u32,
    keep_alive_seconds: u16,
    last_seen: Instant,
}

/// What an acknowledgement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckAction {
    /// A delivery is complete and its packet identifier free: [`Session::drain`] may send more.
    Completed,
    /// It was answered, or is of no consequence.
    Nothing,
    /// The client broke the protocol.
    Close(ReasonCode),
}

/// What a DISCONNECT came to. Either way the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectAction {
    /// As the client wishes.
    Close,
    /// The DISCONNECT itself broke the protocol; answer with this.
    Refuse(ReasonCode),
}

/// What is left to do when the connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When the session ends; nothing: it ends now.
    pub keep_until: Option<Instant>,
    /// What becomes of the will.
    pub will: WillFate,
}

impl Session {
    /// A new session, not connected yet.
    pub fn new(client_id: Box<str>, identity: Identity, limits: Arc<Limits>) -> Self {
        Self {
            client_id,
            identity,
            limits,
            connection: None,
            version: Version::V5,
            bridge: false,
            session_expiry_seconds: 0,
            will: None,
            subscriptions: Subscriptions::new(),
            inbound: publish::Inbound::new(),
            outbound: deliver::Outbound::default(),
        }
    }

    /// Begins a connection: writes CONNACK, sends again what an earlier connection left open, then what waits.
    ///
    /// `session_present` is true if the session is resumed; then the caller made sure of [`Self::same_identity`] and
    /// that the client did not ask for a clean start. A connection that the session still has is taken over: the caller
    /// tells the old client ([`Self::encode_disconnect`]) and calls [`Self::connection_lost`] for the old will.
    ///
    /// `memory` is where the topic aliases that we set take theirs.
    pub fn attach(
        &mut self,
        admitted: Admitted,
        session_present: bool,
        memory: &Arc<QuotaShare>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Drained {
        self.end_connection();
        encode_connack(out, admitted.version, &admitted.connack(session_present, &self.limits));
        let Admitted {
            version,
            bridge,
            client_id: _,
            client_id_assigned: _,
            identity: _,
            clean_start: _,
            keep_alive_seconds,
            keep_alive_changed: _,
            session_expiry_seconds,
            session_expiry_changed: _,
            receive_maximum,
            packet_bytes_max,
            topic_alias_max,
            will,
            authentication: _,
        } = admitted;
        self.version = version;
        self.bridge = bridge;
        self.session_expiry_seconds = session_expiry_seconds;
        self.will = will;
        self.connection = Some(Connection {
            window: receive_maximum.min(self.limits.outbound_inflight_max.get()),
            packet_bytes_max: packet_bytes_max.map_or(u32::MAX, NonZeroU32::get),
            keep_alive_seconds,
            last_seen: now,
        });
        self.inbound.connected(now);
        // MQTT 3.1.1 has none.
        let takes_aliases = version == Version::V5;
        let aliases_max = if takes_aliases { topic_alias_max.min(self.limits.outbound_topic_aliases_max) } else { 0 };
        self.outbound.connected(aliases_max, memory);
        self.drain(now, out)
    }

    /// The connection is gone, whoever ended it and why. To be called once for each connection.
    pub fn connection_lost(&mut self, now: Instant) -> Ended {
        self.end_connection();
        let keep_until = match self.session_expiry_seconds {
            0 => None,
            seconds => Some(now + Duration::from_secs(seconds.into())),
        };
        // The will goes out when its delay is over or the session ends, whichever is first (MQTT 5.0, 3.1.3.2.2).
        let will = match (&self.will, keep_until) {
            (None, _) => WillFate::None,
            (Some(will), Some(end)) if !will.delay.is_zero() => WillFate::At(end.min(now + will.delay)),
            (Some(_), _) => self.will.take().map_or(WillFate::None, WillFate::Now),
        };
        Ended { keep_until, will }
    }

    /// The will that waits for its delay or for the end of the session. Nothing once the client is back.
    pub fn take_will(&mut self) -> Option<Box<Will>> {
        match self.connection {
            Some(_) => None,
            None => self.will.take(),
        }
    }

    /// There is no will any more: the client should not have been let in.
    pub fn forget_will(&mut self) {
        self.will = None;
    }

    /// The client says that it goes. The caller closes the connection and calls [`Self::connection_lost`].
    pub fn handle_disconnect(&mut self, disconnect: &Disconnect<'_>) -> DisconnectAction {
        if let Some(seconds) = disconnect.session_expiry {
            // Who asked for no session in CONNECT cannot have one after all (MQTT 5.0, 3.14.2.2.2).
            if self.session_expiry_seconds == 0 && seconds != 0 {
                return DisconnectAction::Refuse(ReasonCode::PROTOCOL_ERROR);
            }
            self.session_expiry_seconds = seconds.min(self.limits.session_expiry_seconds_max);
        }
        // Only a normal disconnection takes the will back (MQTT 5.0, 3.14.4).
        if disconnect.reason == ReasonCode::NORMAL_DISCONNECTION {
            self.will = None;
        }
        DisconnectAction::Close
    }

    /// Tells the client why we close. MQTT 3.1.1 has no words for that.
    pub fn encode_disconnect(&self, reason: ReasonCode, out: &mut Vec<u8>) {
        if self.version == Version::V5 && self.is_connected() {
            encode_disconnect(out, self.version, &Disconnect::new(reason));
        }
    }

    /// The client acknowledges, one way or the other. After [`AckAction::Completed`] call [`Self::drain`]; several
    /// acknowledgements of a turn may share one.
    #[inline]
    pub fn handle_ack(&mut self, kind: AckKind, ack: &Ack<'_>, out: &mut Vec<u8>) -> AckAction {
        match kind {
            AckKind::PubRel => self.handle_pubrel(ack.packet_id, out),
            AckKind::PubAck | AckKind::PubRec | AckKind::PubComp => self.handle_receipt(kind, ack, out),
        }
    }

    /// A filter of a SUBSCRIBE with the options that hold. A bridge of MQTT 3.1.1 has no words for what every bridge wants:
    /// to be spared its own messages, which would go in circles, and to be told which are retained, so that the other
    /// broker keeps them too.
    pub fn subscription_terms<'a>(&self, requested: SubscribeFilter<'a>) -> SubscribeFilter<'a> {
        if !self.bridge {
            return requested;
        }
        // Who shares a subscription cannot leave out its own messages (MQTT 5.0, 3.8.3.1).
        let no_local = !requested.filter.starts_with("$share/");
        let options = SubscriptionOptions { no_local, retain_as_published: true, ..requested.options };
        SubscribeFilter { options, ..requested }
    }

    /// One filter of a SUBSCRIBE, as the client wrote it and taken apart.
    pub fn handle_subscribe_filter(
        &mut self,
        requested: &SubscribeFilter<'_>,
        parsed: &ParsedFilter<'_>,
        subscription_id: Option<NonZeroU32>,
    ) -> SubscribeAction {
        self.subscriptions.subscribe(requested, parsed, subscription_id, &self.limits)
    }

    /// One filter of an UNSUBSCRIBE. Says whether there was such a subscription: then the router is to be told.
    pub fn handle_unsubscribe_filter(&mut self, filter: &str) -> bool {
        self.subscriptions.unsubscribe(filter)
    }

    /// Whether there is a subscription to this filter, as the client wrote it.
    pub fn has_subscription(&self, filter: &str) -> bool {
        self.subscriptions.contains(filter)
    }

    /// All subscriptions, in no particular order.
    pub fn subscriptions(&self) -> impl Iterator<Item = Subscription<'_>> {
        self.subscriptions.iter()
    }

    /// The filter, as the client wrote it, that comes next after this one in the order of their bytes: for a walk that goes
    /// on where it was, however the subscriptions have changed since. All filters come after the empty text.
    pub fn filter_after(&self, filter: &str) -> Option<&str> {
        self.subscriptions.filter_after(filter)
    }

    /// How many subscriptions there are.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// What the topic aliases of both directions take, as long as the connection lasts.
    pub fn alias_bytes(&self) -> usize {
        self.inbound.alias_bytes() + self.outbound.alias_bytes()
    }

    /// The client sent something.
    #[inline]
    pub fn seen(&mut self, now: Instant) {
        if let Some(connection) = &mut self.connection {
            connection.last_seen = now;
        }
    }

    /// When the client has been silent for too long. Nothing if it may be silent, or is not being listened to.
    pub fn keep_alive_deadline(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        if connection.keep_alive_seconds == 0 || self.reading_paused() {
            return None;
        }
        // The server waits one and a half times the keep alive (MQTT 5.0, 3.1.2.10).
        let keep_alive = Duration::from_secs(connection.keep_alive_seconds.into());
        Some(connection.last_seen + keep_alive * 3 / 2)
    }

    /// The client's name.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Who made the session.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether this identity made the session, and so may resume it or take it over.
    pub fn same_identity(&self, identity: &Identity) -> bool {
        self.identity == *identity
    }

    /// The version of the connection, or of the last one.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the client takes packets of that size. What is longer must not be sent (MQTT 5.0, 3.1.2.11.4).
    pub fn takes_packet(&self, bytes: usize) -> bool {
        self.connection.is_none_or(|connection| bytes <= connection.packet_bytes_max as usize)
    }

    /// Whether so much is unsent that messages wait.
    #[inline]
    pub fn is_output_full(&self, out: &[u8]) -> bool {
        out.len() >= self.limits.output_bytes_max
    }

    /// Whether there is a connection.
    #[inline]
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// How long the session outlives its connection, in seconds; `u32::MAX`: for ever.
    pub fn expiry_seconds(&self) -> u32 {
        self.session_expiry_seconds
    }

    /// Whether the session outlives its connection.
    #[inline]
    pub fn outlives_connection(&self) -> bool {
        self.session_expiry_seconds != 0
    }

    fn end_connection(&mut self) {
        if self.connection.take().is_some() {
            self.inbound.connection_lost(self.version);
            self.outbound.connection_lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_without_traffic_is_small() {
        let bytes = size_of::<Session>();
        assert!(bytes <= 256, "a session takes {bytes} bytes, at most 256 are wanted");
    }
}
