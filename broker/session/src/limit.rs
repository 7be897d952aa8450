//! The bounds that a single client can run into: their names, and how the client is told.

use fulmar_codec::{ReasonCode, TopicError};

/// A bound of ours on what one client does. What it is set to is in [`Limits`](crate::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The length of a packet.
    PacketBytes,
    /// The length of the first packet.
    ConnectPacketBytes,
    /// Publishes of the client that are open with us.
    Inflight,
    /// How long a delivery may wait for its acknowledgement.
    OutboundInflightSeconds,
    /// Subscriptions.
    SubscriptionsPerClient,
    /// Filters of one SUBSCRIBE.
    SubscriptionsPerPacket,
    /// Levels of a topic name or filter.
    TopicLevels,
    /// The length of a topic name or filter.
    TopicBytes,
    /// Topic aliases, or the length of their topics.
    TopicAliases,
    /// User properties of one packet.
    UserProperties,
    /// The length of the will.
    WillBytes,
    /// The memory of all sessions together, with what belongs to them.
    SessionBytesTotal,
}

impl Limit {
    /// The name of the setting.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::PacketBytes => "packetBytes",
            Limit::ConnectPacketBytes => "connectPacketBytes",
            Limit::Inflight => "inflight",
            Limit::OutboundInflightSeconds => "outboundInflightSeconds",
            Limit::SubscriptionsPerClient => "subscriptionsPerClient",
            Limit::SubscriptionsPerPacket => "subscriptionsPerPacket",
            Limit::TopicLevels => "topicLevels",
            Limit::TopicBytes => "topicBytes",
            Limit::TopicAliases => "topicAliases",
            Limit::UserProperties => "userProperties",
            Limit::WillBytes => "willBytes",
            Limit::SessionBytesTotal => "sessionBytesTotal",
        }
    }

    /// The bound that a topic breaks, if it is one and not the grammar.
    pub const fn of_topic(error: &TopicError) -> Option<Limit> {
        match error {
            TopicError::TooLong { .. } => Some(Limit::TopicBytes),
            TopicError::TooManyLevels { .. } => Some(Limit::TopicLevels),
            _ => None,
        }
    }
}

/// A client went beyond a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    /// Which.
    pub limit: Limit,
    /// What tells the client so.
    pub reason: ReasonCode,
}

impl Excess {
    /// The bound is one that the client could not know of: it has no code of its own.
    pub(crate) const fn of_quota(limit: Limit) -> Excess {
        Excess { limit, reason: ReasonCode::QUOTA_EXCEEDED }
    }
}
