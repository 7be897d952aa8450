//! What one client may make us keep or do: every bound that a session holds to. The values come from the configuration.

use std::num::NonZeroU16;

use fulmar_codec::{QoS, TopicLimits};

/// The bounds of a session. All sessions of a thread share one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest client identifier, in bytes.
    pub client_id_bytes_max: usize,
    /// The longest time that a session outlives its connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry_seconds_max: u32,
    /// The longest keep alive; without one the client chooses, also not to have any.
    /// MQTT 3.1.1 has no way to tell the client, so there its own value holds.
    pub keep_alive_seconds_max: Option<NonZeroU16>,
    /// The longest packet that we take, in bytes: told to the client, held to by whoever reads the socket.
    pub packet_bytes_max: u32,
    /// How long topics may be.
    pub topic: TopicLimits,
    /// The highest quality of service of a client's messages.
    pub qos_max: QoS,
    /// Clients may publish retained messages.
    pub retain_available: bool,
    /// Publishes of QoS 1 and 2 that a client may have open with us: our Receive Maximum.
    pub inflight_max: NonZeroU16,
    /// Topic aliases that a client may set.
    pub topic_aliases_max: u16,
    /// Topic aliases that we set, even if the client keeps more. They are looked through one by one.
    pub outbound_topic_aliases_max: u16,
    /// User properties of one packet.
    pub user_properties_max: usize,
    /// Bytes of a will: topic, properties and payload.
    pub will_bytes_max: usize,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Publishes of QoS 1 and 2 that we have open with a client, even if its Receive Maximum is higher.
    pub outbound_inflight_max: NonZeroU16,
    /// Messages that wait for an absent or slow client.
    pub queued_messages_max: usize,
    /// Their bytes.
    pub queued_bytes_max: usize,
    /// With so many unsent bytes for a connected client, messages of QoS 0 are dropped and others wait.
    pub output_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client_id_bytes_max: 1024,
            session_expiry_seconds_max: 7 * 24 * 3600,
            keep_alive_seconds_max: None,
            packet_bytes_max: 1024 * 1024,
            topic: TopicLimits::default(),
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            inflight_max: NonZeroU16::new(1024).expect("1024 is not 0"),
            topic_aliases_max: 32,
            outbound_topic_aliases_max: 32,
            user_properties_max: 100,
            will_bytes_max: 32 * 1024,
            subscriptions_max: 1_000_000,
            outbound_inflight_max: NonZeroU16::new(1024).expect("1024 is not 0"),
            queued_messages_max: 1000,
            queued_bytes_max: 8 * 1024 * 1024,
            output_bytes_max: 1024 * 1024,
        }
    }
}
