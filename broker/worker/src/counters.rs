//! What a data thread counts. Plain numbers: the reactor copies them to where `/metrics` reads, once in a while.

use crate::admission::Refused;
use fulmar_codec::QoS;
use fulmar_session::{Delivered, Drained, DropReason, Limit};

/// Generates the struct and the list of its fields with their help texts, so that neither can miss one.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $help:literal])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct $name { $($(#[doc = $help])* pub $field: u64,)* }

        impl $name {
            /// Name and help text of each value, in the order of [`Self::values`].
            pub const FIELDS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($($help),*)),)*];

            /// Adds what another thread has counted.
            pub fn add(&mut self, more: &Self) {
                $(self.$field += more.$field;)*
            }

            /// The values in the order of [`Self::FIELDS`].
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field,)*]
            }
        }
    };
}

counters! {
    /// Counted since the start of the thread; they only grow.
    Counters {
        /// Connections accepted.
        connections_accepted,
        /// Clients whose CONNECT was accepted.
        clients_connected,
        /// Clients whose CONNECT was refused.
        clients_refused,
        /// Clients let in without credentials.
        auth_results_anonymous,
        /// Clients let in by their certificate.
        auth_results_certificate,
        /// Clients let in by a password that was known to be right.
        auth_results_remembered,
        /// Clients let in by a password that was verified.
        auth_results_verified,
        /// Clients let in by a hook, or not sent away when they had to prove themselves again.
        auth_results_admitted_by_hook,
        /// Clients refused because they did not say who they are.
        auth_results_no_user,
        /// Clients refused because they gave a user name and no password.
        auth_results_no_password,
        /// Clients refused because there is no such user or the password is another.
        auth_results_wrong_password,
        /// Clients refused because they have guessed too often.
        auth_results_must_wait,
        /// Clients refused because too many wait for their passwords to be verified.
        auth_results_queue_full,
        /// Clients that were gone, or had used up their time, before their password was verified.
        auth_results_abandoned,
        /// Clients refused because they are banned.
        auth_results_banned,
        /// Clients refused by a hook.
        auth_results_refused_by_hook,
        /// Clients refused because of how user name, client id and certificate are tied together.
        auth_results_other_name,
        /// Clients refused because their client id has a session of another user.
        session_owner_refusals,
        /// Connections closed for bytes that are not MQTT or break its rules.
        protocol_errors,
        /// Connections closed because CONNECT did not come in time.
        connect_timeouts,
        /// Connections closed because the client was silent for 1.5 times its keep alive.
        keep_alive_timeouts,
        /// Connections closed because the client did not prove itself again in time.
        authentication_timeouts,
        /// Connections closed because an acknowledgement of ours waited for too long.
        acknowledgement_timeouts,
        /// Connections closed by a panic in their turn.
        panics,
        /// Clients closed because their client id connected again.
        takeovers,
        /// Clients sent to other nodes because this one drains.
        clients_sent_away,
        /// Packets received.
        packets_received,
        /// PUBLISH packets received with QoS 0.
        publishes_received_qos0,
        /// PUBLISH packets received with QoS 1.
        publishes_received_qos1,
        /// PUBLISH packets received with QoS 2.
        publishes_received_qos2,
        /// PUBLISH packets sent, or queued to be sent, with QoS 0.
        deliveries_qos0,
        /// PUBLISH packets sent, or queued to be sent, with QoS 1.
        deliveries_qos1,
        /// PUBLISH packets sent, or queued to be sent, with QoS 2.
        deliveries_qos2,
        /// Publishes, wills included, that their client was not allowed to make.
        publishes_denied,
        /// Subscriptions that their client was not allowed to make.
        subscriptions_denied,
        /// Clients closed because new rules took away what they were let in by, or a subscription.
        rights_withdrawn,
        /// Publishes that matched no subscription.
        publishes_unmatched,
        /// Messages of QoS 0 not delivered because the client reads too slowly.
        dropped_slow_consumer,
        /// Messages of QoS 0 not delivered because the client is absent.
        dropped_absent,
        /// Messages not delivered because the session's queue was full.
        dropped_queue_full,
        /// Messages not delivered because the node keeps as many bytes of messages as it may.
        dropped_node_full,
        /// Messages of QoS 0 not delivered because memory was short and the client did not read.
        dropped_memory_short,
        /// Messages not delivered because they expired.
        dropped_expired,
        /// Messages not delivered because they are larger than the client's maximum packet size.
        dropped_too_large,
        /// Messages not delivered because a hook withheld them.
        dropped_withheld,
        /// Messages of a shared subscription that found no member.
        dropped_no_member,
        /// QoS 0 messages not sent to another node because its link was full.
        dropped_link_full,
        /// Publishes that the store did not keep for everybody they were for, because a bound was reached.
        store_publishes_refused,
        /// Clients closed because the store could not say what became of what they had asked for.
        store_unavailable,
        /// CONNECTs refused because memory was short.
        overload_connects_refused,
        /// Subscriptions refused because memory was short.
        overload_subscriptions_refused,
        /// Retained messages refused because memory was short.
        overload_retained_refused,
        /// Times that a client was not read for a moment because it sent much while memory was short.
        overload_publishers_paused,
        /// Clients closed because they held most while memory was very short.
        overload_clients_closed,
        /// Wills published.
        wills_published,
        /// Sessions that ended because their expiry passed.
        sessions_expired,
        /// Reads of a client that took more than a quarter of a turn of the event loop, deliveries not counted. Who has such reads waits for others like it.
        heavy_reads,
        /// SUBACKs that have waited for linked nodes for as long as they may: sent all the same, or in a durable cluster never, and their clients closed.
        subscribe_barrier_timeouts,
        /// Times that a client was not read on because too many SUBACKs waited for linked nodes.
        subscribe_barrier_holds,
        /// Times that a client was not read on because the subscriptions of a member of the cluster were not known yet.
        view_holds,
        /// Bytes received from clients.
        bytes_received,
        /// Packets sent.
        packets_sent,
        /// PUBLISH packets sent.
        publishes_sent,
        /// Bytes of payloads in PUBLISH packets received.
        payload_bytes_received,
        /// Bytes of payloads in PUBLISH packets sent.
        payload_bytes_sent,
        /// Bytes sent to clients.
        bytes_sent,
        /// Connections closed at once because the node serves as many as it may.
        limit_hits_connections,
        /// Connections closed at once because their listener serves as many as it may.
        limit_hits_listener_connections,
        /// Times that accepting rested because connections came as fast as their listener may accept them.
        limit_hits_listener_connects_per_second,
        /// Connections closed at once because their address has as many as it may.
        limit_hits_connections_per_address,
        /// Clients refused or closed because of a packet that is too long.
        limit_hits_packet_bytes,
        /// Connections closed because of a first packet that is too long.
        limit_hits_connect_packet_bytes,
        /// Times that a client was not read on, or was closed, because it had as many publishes open as it may.
        limit_hits_inflight,
        /// Messages that waited because their client had as many deliveries open as it may.
        limit_hits_outbound_inflight,
        /// Clients closed because a delivery was not acknowledged for too long.
        limit_hits_outbound_inflight_seconds,
        /// Times that a client was not read on because it published too often.
        limit_hits_publishes_per_second,
        /// Times that a client was not read on because it published too many bytes.
        limit_hits_publish_bytes_per_second,
        /// CONNECTs refused because the node has as many sessions as it may.
        limit_hits_sessions,
        /// CONNECTs and subscriptions refused because sessions take as much memory as they may.
        limit_hits_session_bytes_total,
        /// Clients of MQTT 5.0 whose session expiry was lowered.
        limit_hits_session_expiry_seconds_max,
        /// Clients of MQTT 5.0 whose keep alive was lowered.
        limit_hits_keep_alive_seconds_max,
        /// Subscriptions refused because their client has as many as it may.
        limit_hits_subscriptions_per_client,
        /// SUBSCRIBE packets with more filters than are taken from one.
        limit_hits_subscriptions_per_packet,
        /// Topics with too many levels: clients closed, subscriptions refused.
        limit_hits_topic_levels,
        /// Topics that are too long: clients closed, subscriptions refused.
        limit_hits_topic_bytes,
        /// Clients closed because of topic aliases beyond the maximum, or with too long topics.
        limit_hits_topic_aliases,
        /// Clients that keep more topic aliases than we set.
        limit_hits_outbound_topic_aliases,
        /// Clients refused or closed because of too many user properties in a packet.
        limit_hits_user_properties,
        /// Clients refused because of a will that is too long.
        limit_hits_will_bytes,
        /// Messages not retained because there are as many as may be.
        limit_hits_retained_messages,
        /// Messages not retained because they take as many bytes as they may.
        limit_hits_retained_bytes,
        /// Times that a client was not read on, or its messages waited, because it does not take what it is sent.
        limit_hits_output_buffer_bytes,
        /// Connections closed because unsent bytes of all took too much memory, and theirs waited for longest.
        limit_hits_output_buffer_bytes_total,
        /// Connections closed because received bytes of all took too much memory, and theirs waited for longest.
        limit_hits_input_buffer_bytes_total,
        /// Times that a client was not read on because a link to another node was full.
        limit_hits_link_buffer_bytes,
    }
}

impl Counters {
    /// Packets were written into the buffer of a client: these bytes, whole packets.
    #[inline]
    pub(crate) fn wrote(&mut self, bytes: &[u8]) {
        self.packets_sent += packets_in(bytes);
    }

    /// Messages that waited were written into the buffer of a client: these bytes, with what else was written there.
    pub(crate) fn drained(&mut self, drained: Drained, bytes: &[u8]) {
        let Drained { sent, payload_bytes, expired, too_large } = drained;
        self.wrote(bytes);
        self.publishes_sent += sent as u64;
        self.payload_bytes_sent += payload_bytes as u64;
        self.dropped_expired += expired as u64;
        self.dropped_too_large += too_large as u64;
    }

    /// What became of a message for a client, of so many bytes of payload.
    #[inline]
    pub(crate) fn delivery(&mut self, delivered: Delivered, qos: QoS, payload_bytes: usize) {
        match delivered {
            Delivered::Sent => {
                self.delivered(qos);
                self.sent(payload_bytes);
            }
            Delivered::Queued { evicted, evicted_by_node } => {
                self.delivered(qos);
                self.dropped_queue_full += evicted as u64;
                self.dropped_node_full += evicted_by_node as u64;
            }
            Delivered::Dropped(DropReason::OutputFull) => self.dropped_slow_consumer += 1,
            Delivered::Dropped(DropReason::NotConnected) => self.dropped_absent += 1,
            Delivered::Dropped(DropReason::QueueFull) => self.dropped_queue_full += 1,
            Delivered::Dropped(DropReason::NodeFull) => self.dropped_node_full += 1,
            Delivered::Dropped(DropReason::Expired) => self.dropped_expired += 1,
            Delivered::Dropped(DropReason::PacketTooLarge) => self.dropped_too_large += 1,
        }
    }

    /// A message was written into the buffer of a client.
    #[inline]
    fn sent(&mut self, payload_bytes: usize) {
        self.packets_sent += 1;
        self.publishes_sent += 1;
        self.payload_bytes_sent += payload_bytes as u64;
    }

    /// A message was sent to a client, or queued for it.
    #[inline]
    fn delivered(&mut self, qos: QoS) {
        match qos {
            QoS::AtMostOnce => self.deliveries_qos0 += 1,
            QoS::AtLeastOnce => self.deliveries_qos1 += 1,
            QoS::ExactlyOnce => self.deliveries_qos2 += 1,
        }
    }

    /// A connection was not taken.
    pub fn refused(&mut self, refused: Refused) {
        match refused {
            Refused::TooManyConnections { .. } => self.limit_hits_connections += 1,
            Refused::TooManyOfListener { .. } => self.limit_hits_listener_connections += 1,
            Refused::TooManyOfAddress { .. } => self.limit_hits_connections_per_address += 1,
            Refused::ShuttingDown | Refused::UnknownLane => {}
        }
    }

    /// A client went beyond a bound.
    pub(crate) fn beyond(&mut self, limit: Limit) {
        *match limit {
            Limit::PacketBytes => &mut self.limit_hits_packet_bytes,
            Limit::ConnectPacketBytes => &mut self.limit_hits_connect_packet_bytes,
            Limit::Inflight => &mut self.limit_hits_inflight,
            Limit::OutboundInflightSeconds => &mut self.limit_hits_outbound_inflight_seconds,
            Limit::SubscriptionsPerClient => &mut self.limit_hits_subscriptions_per_client,
            Limit::SubscriptionsPerPacket => &mut self.limit_hits_subscriptions_per_packet,
            Limit::TopicLevels => &mut self.limit_hits_topic_levels,
            Limit::TopicBytes => &mut self.limit_hits_topic_bytes,
            Limit::TopicAliases => &mut self.limit_hits_topic_aliases,
            Limit::UserProperties => &mut self.limit_hits_user_properties,
            Limit::WillBytes => &mut self.limit_hits_will_bytes,
            Limit::SessionBytesTotal => &mut self.limit_hits_session_bytes_total,
        } += 1;
    }
}

counters! {
    /// How things stand now.
    Gauges {
        /// Clients connected.
        connections,
        /// Connections whose CONNECT has not come or was not answered yet.
        connections_pending,
        /// Sessions in memory, of absent clients too; those that the store keeps only while their clients are connected.
        sessions,
        /// Subscriptions of all sessions.
        subscriptions,
        /// Memory of sessions with their subscriptions, wills and topic aliases.
        session_bytes,
        /// Bytes of messages that wait for clients or for their acknowledgement.
        queued_bytes,
        /// Memory of output that clients' sockets do not take.
        unsent_bytes,
        /// Slow consumers: clients whose sockets have not taken everything there is for them for 5 seconds or longer.
        slow_consumers,
        /// Questions to the store that wait for an answer.
        store_questions,
        /// Publishes of QoS 1 and 2 that other nodes or the store have to answer before their clients are.
        publishes_waiting,
    }
}

/// Of one link (this thread's lane to a peer).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LinkCounters {
    /// The peer's node name.
    pub peer: String,
    /// Its id, should two have the same name.
    pub node_id: u64,
    /// Publishes sent; one per publish, however many subscribers the peer has.
    pub publishes_sent: u64,
    /// Publishes received.
    pub publishes_received: u64,
    /// Frames sent and not yet acknowledged, in bytes.
    pub unacknowledged_bytes: u64,
    /// Whether the lane is connected now.
    pub connected: bool,
}

/// How many packets these are, by the lengths that they begin with. Nearly always it is one, of a few bytes.
#[inline]
fn packets_in(mut bytes: &[u8]) -> u64 {
    let mut packets = 0;
    while bytes.len() >= 2 {
        let mut length = 0;
        let mut header = 1;
        while let Some(byte) = bytes.get(header) {
            length |= usize::from(byte & 0x7f) << (7 * (header - 1));
            header += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        packets += 1;
        bytes = bytes.get(header + length..).unwrap_or_default();
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_by_their_lengths() {
        let ping = [0xd0, 0];
        let long = [&[0x30, 0x80, 0x01][..], &[0xff; 128]].concat();
        let puback = [0x40, 2, 0, 1];
        assert_eq!([packets_in(&[]), packets_in(&ping), packets_in(&long)], [0, 1, 1]);
        assert_eq!(packets_in(&[&long[..], &ping, &long, &puback, &puback].concat()), 5);
    }
}
