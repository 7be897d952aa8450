//! The bounds of a worker, as plain numbers; where they come from is the configuration's business.

use fulmar_cluster::heartbeat;
use std::num::NonZeroU64;
use std::time::Duration;

/// Everything a client or a peer can grow, and how far. See the configuration's documentation of each.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Clients and pending connections of the whole node.
    pub connections: usize,
    /// The same by each listener, by index in the configuration; none is as many as the node may have.
    pub listener_connections: Vec<usize>,
    /// The same from one address; none: addresses are not counted.
    pub connections_per_address: Option<usize>,
    /// Sessions of the whole node, of absent clients too.
    pub sessions: usize,
    /// Memory of all sessions of the node, with their subscriptions, wills and topic aliases.
    pub session_bytes_total: usize,
    /// Time from accept to a whole CONNECT.
    pub connect_timeout: Duration,
    /// A packet's whole length that we accept.
    pub packet_bytes: usize,
    /// The same of the first packet, while nobody knows who sends it.
    pub connect_packet_bytes: usize,
    /// Receive maximum that we announce; in 3.1.1 the unacknowledged publishes before we stop reading.
    pub inflight: u16,
    /// Unacknowledged publishes towards one client.
    pub outbound_inflight: u16,
    /// How long one of them may be open; none: for ever.
    pub outbound_inflight_age: Option<Duration>,
    /// Publishes of one client in a second; none: any number.
    pub publishes_per_second: Option<NonZeroU64>,
    /// Their bytes.
    pub publish_bytes_per_second: Option<NonZeroU64>,
    /// Messages queued for one session.
    pub queued_messages: usize,
    /// Bytes queued for one session.
    pub queued_bytes: usize,
    /// Bytes of the messages that all sessions of the node keep.
    pub queued_bytes_total: usize,
    /// Unsent bytes of one connection above which messages wait (QoS 1, 2) or are dropped (QoS 0).
    pub output_buffer_bytes: usize,
    /// Memory of the output of all clients of a data thread that sockets do not take.
    pub output_bytes_per_thread: usize,
    /// Bytes that a data thread writes into its clients' buffers in one turn before they are sent: who comes then waits
    /// for the next turn, so that many receivers of many messages do not need the memory for all of them at once.
    pub turn_output_bytes: usize,
    /// Nanoseconds of work, as `effort` estimates it, that a data thread does in one turn before others have theirs.
    pub turn_effort: u64,
    /// Longest session expiry granted, in seconds.
    pub session_expiry_seconds: u32,
    /// Longest keep alive granted, in seconds; 0 grants any.
    pub keep_alive_seconds: u16,
    /// Subscriptions of one client.
    pub subscriptions_per_client: usize,
    /// Filters of one SUBSCRIBE that are looked at.
    pub subscriptions_per_packet: usize,
    /// Levels of a topic or filter.
    pub topic_levels: usize,
    /// Bytes of a topic or filter.
    pub topic_bytes: usize,
    /// User properties of one packet.
    pub user_properties: usize,
    /// Bytes of a will: topic, properties and payload.
    pub will_bytes: usize,
    /// Topic aliases that a client may use.
    pub topic_aliases: u16,
    /// Topic aliases that we set towards a client.
    pub outbound_topic_aliases: u16,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
    /// How long a deletion of a retained message is remembered.
    pub tombstone: Duration,
    /// How long an acknowledgement may wait before its connection closes (clients do not resend on a live one).
    pub acknowledgement_timeout: Duration,
    /// How long SUBACK waits for other nodes.
    pub subscribe_barrier: Duration,
    /// Bytes of one lane that wait for acknowledgement.
    pub link_buffer_bytes: usize,
    /// How long a lost lane may take to resume.
    pub resume: Duration,
    /// When a silent lane is probed, and counts as lost.
    pub heartbeat: heartbeat::Settings,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 100_000,
            listener_connections: Vec::new(),
            connections_per_address: None,
            sessions: 1_000_000,
            session_bytes_total: 1 << 30,
            connect_timeout: Duration::from_secs(10),
            packet_bytes: 1 << 20,
            connect_packet_bytes: 64 << 10,
            inflight: 1024,
            outbound_inflight: 1024,
            outbound_inflight_age: Some(Duration::from_secs(1800)),
            publishes_per_second: None,
            publish_bytes_per_second: None,
            queued_messages: 1000,
            queued_bytes: 1 << 20,
            queued_bytes_total: 256 << 20,
            output_buffer_bytes: 256 << 10,
            output_bytes_per_thread: 64 << 20,
            turn_output_bytes: 16 << 20,
            turn_effort: 10_000_000,
            session_expiry_seconds: 7 * 24 * 3600,
            keep_alive_seconds: 0,
            subscriptions_per_client: 1000,
            subscriptions_per_packet: 1000,
            topic_levels: 128,
            topic_bytes: 65_535,
            user_properties: 100,
            will_bytes: 32 << 10,
            topic_aliases: 32,
            outbound_topic_aliases: 32,
            retained_messages: 1_000_000,
            retained_bytes: 1 << 30,
            tombstone: Duration::from_secs(3600),
            acknowledgement_timeout: Duration::from_secs(10),
            subscribe_barrier: Duration::from_secs(2),
            link_buffer_bytes: 64 << 20,
            resume: Duration::from_secs(2),
            heartbeat: heartbeat::Settings::default(),
        }
    }
}
