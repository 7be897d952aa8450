//! The bounds of a shard. They are part of its state, changed by a command, so that all replicas refuse alike.

use std::num::NonZeroU16;

use thiserror::Error;

/// What a shard may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The sessions of the shard.
    pub sessions_max: u32,
    /// All that the shard keeps, by the measure of [`crate::cost`]. A body counts once, however many queues hold it.
    /// The last quarter is not for messages that wait and for retained ones: clients that are there go on being served
    /// when the queues of those that are not have taken the rest.
    pub shard_bytes_max: u64,
    /// The messages of one queue that wait for room in the client's window or for its return.
    pub queue_messages_max: u32,
    /// Their bytes. A message counts in full in each queue.
    pub queue_bytes_max: u64,
    /// What a full queue does with one message more.
    pub queue_policy: QueuePolicy,
    /// The messages of one queue that may be in flight, however many the client takes. Those are neither dropped nor
    /// expired, so this is all that bounds them in number.
    pub in_flight_max: NonZeroU16,
    /// The subscriptions of one session.
    pub subscriptions_max: u32,
    /// Topic, properties and payload of a will.
    pub will_bytes_max: u32,
    /// The QoS 2 packet identifiers that one client may have open: the receive maximum that it was told.
    pub received_ids_max: u16,
    /// The retained messages of the shard.
    pub retained_max: u32,
    /// How long it is remembered that a topic's retained message was deleted, and by which version, so that an older
    /// one that comes later does not bring it back.
    pub tombstone_seconds: u32,
    /// Of how many topics that is remembered. For one more, the oldest is forgotten.
    pub tombstones_max: u32,
    /// What they may take, by the measure of [`crate::cost`]. For more, the oldest are forgotten.
    pub tombstone_bytes_max: u64,
    /// The messages that wait for one destination of the outbox.
    pub outbox_messages_max: u32,
    /// The lives of nodes that send, and the nodes that are remembered as gone.
    pub nodes_max: u32,
    /// How much one command that clears up may do: sessions, their subscriptions and messages together. At least one
    /// session is always dealt with, however full its queue.
    pub portion: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions_max: 100_000,
            shard_bytes_max: 512 << 20,
            queue_messages_max: 1000,
            queue_bytes_max: 8 << 20,
            queue_policy: QueuePolicy::DropOldest,
            in_flight_max: NonZeroU16::new(1024).expect("1,024 is not 0"),
            subscriptions_max: 1000,
            will_bytes_max: 64 << 10,
            received_ids_max: 1024,
            retained_max: 100_000,
            tombstone_seconds: 3600,
            tombstones_max: 100_000,
            tombstone_bytes_max: 16 << 20,
            outbox_messages_max: 100_000,
            nodes_max: 1024,
            portion: 1000,
        }
    }
}

/// A setting with which no shard can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{name} is {found}, wanted {least} to {most}")]
pub struct SettingError {
    /// Which field of [`Settings`].
    pub name: &'static str,
    /// What it is.
    pub found: u64,
    /// What it may be at least.
    pub least: u64,
    /// What it may be at most, given the others.
    pub most: u64,
}

/// What bytes of the shard are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A message that waits, or is retained.
    Keeping,
    /// A message that may be sent now.
    Sending,
}

impl Settings {
    /// Whether a shard can do its work with these. Whoever proposes [`Command::Settings`](crate::Command::Settings)
    /// asks first; a shard takes what was committed, because builds that allow different things must not do different
    /// things.
    pub fn check(&self) -> Result<(), SettingError> {
        let Self {
            sessions_max,
            shard_bytes_max,
            queue_messages_max,
            queue_bytes_max,
            queue_policy: _,
            in_flight_max: _,
            subscriptions_max,
            will_bytes_max,
            received_ids_max,
            retained_max: _,
            tombstone_seconds,
            tombstones_max: _,
            tombstone_bytes_max,
            outbox_messages_max,
            nodes_max,
            portion,
        } = *self;
        let (any, keeping) = (u64::MAX, self.shard_bytes_for(Use::Keeping));
        let ranges = [
            ("sessions_max", u64::from(sessions_max), 1, any),
            ("shard_bytes_max", shard_bytes_max, 1 << 20, 1 << 40),
            ("queue_messages_max", queue_messages_max.into(), 1, any),
            ("queue_bytes_max", queue_bytes_max, 1 << 10, keeping),
            ("subscriptions_max", subscriptions_max.into(), 1, any),
            ("will_bytes_max", will_bytes_max.into(), 0, shard_bytes_max),
            ("received_ids_max", received_ids_max.into(), 1, any),
            ("tombstone_seconds", tombstone_seconds.into(), 0, 7 * 24 * 3600),
            ("tombstone_bytes_max", tombstone_bytes_max, 0, keeping),
            ("outbox_messages_max", outbox_messages_max.into(), 1, any),
            // All shards send, beside the nodes.
            ("nodes_max", nodes_max.into(), 128, any),
            ("portion", portion.into(), 1, 100_000),
        ];
        match ranges.into_iter().find(|(_, found, least, most)| !(least..=most).contains(&found)) {
            Some((name, found, least, most)) => Err(SettingError { name, found, least, most }),
            None => Ok(()),
        }
    }

    /// What the shard may have grown to when a message comes that is for this.
    pub(crate) fn shard_bytes_for(&self, purpose: Use) -> u64 {
        match purpose {
            Use::Keeping => self.shard_bytes_max - self.shard_bytes_max / 4,
            Use::Sending => self.shard_bytes_max,
        }
    }
}

/// What a full queue does with one message more. What is in flight is never dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum QueuePolicy {
    /// The oldest messages that wait make room.
    DropOldest = 1,
    /// The new message is refused.
    Refuse = 2,
}

/// A bound of [`Settings`] that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
#[repr(u8)]
pub enum Bound {
    /// [`Settings::sessions_max`].
    #[error("the shard has no room for one more session")]
    Sessions = 1,
    /// [`Settings::shard_bytes_max`].
    #[error("the shard has no room for so many bytes more")]
    ShardBytes = 2,
    /// [`Settings::queue_messages_max`].
    #[error("the queue has no room for one more message")]
    QueueMessages = 3,
    /// [`Settings::queue_bytes_max`].
    #[error("the queue has no room for so many bytes more")]
    QueueBytes = 4,
    /// [`Settings::subscriptions_max`].
    #[error("the session has no room for one more subscription")]
    Subscriptions = 5,
    /// [`Settings::will_bytes_max`].
    #[error("the will is larger than a will may be")]
    WillBytes = 6,
    /// [`Settings::received_ids_max`].
    #[error("the client has no room for one more open QoS 2 packet identifier")]
    ReceivedIds = 7,
    /// [`Settings::retained_max`].
    #[error("the shard has no room for one more retained message")]
    Retained = 8,
    /// [`Settings::outbox_messages_max`].
    #[error("the outbox has no room for one more message to that destination")]
    Outbox = 9,
    /// [`Settings::nodes_max`].
    #[error("the shard has no room for one more node that sends")]
    Nodes = 10,
}

/// What things count against [`Settings::shard_bytes_max`] beside their own bytes. Fixed numbers, because replicas of
/// different builds must refuse alike.
pub mod cost {
    /// A session, beside its client identifier and the name of its user.
    pub const SESSION: u64 = 512;
    /// A subscription, beside its filter.
    pub const SUBSCRIPTION: u64 = 128;
    /// A message in a queue.
    pub const PLACE: u64 = 64;
    /// A message that is kept, beside topic, properties and payload.
    pub const BODY: u64 = 96;
    /// A will, beside topic, properties and payload, and whose it is.
    pub const WILL: u64 = 96;
    /// A retained message, beside its body.
    pub const RETAINED: u64 = 96;
    /// That a topic's retained message was deleted, beside the topic.
    pub const TOMBSTONE: u64 = 96;
    /// A message in the outbox, beside its body and the publisher's client identifier. No more than a place in a queue,
    /// from which it may come.
    pub const OUTBOX: u64 = 64;
    /// A shared subscription of which messages wait, beside its name.
    pub const SHARE: u64 = 96;
    /// An open QoS 2 packet identifier of a client.
    pub const RECEIVED: u64 = 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_worked_with() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn a_setting_that_cannot_be_worked_with_is_named_with_what_is_wanted() {
        let whole = Settings::default();
        let (most, keeping) = (u64::MAX, 384 << 20);
        for (settings, name, found, least, most) in [
            (Settings { sessions_max: 0, ..whole }, "sessions_max", 0, 1, most),
            (Settings { shard_bytes_max: 5000, ..whole }, "shard_bytes_max", 5000, 1 << 20, 1 << 40),
            (Settings { shard_bytes_max: most, ..whole }, "shard_bytes_max", most, 1 << 20, 1 << 40),
            (Settings { queue_messages_max: 0, ..whole }, "queue_messages_max", 0, 1, most),
            (Settings { queue_bytes_max: 1023, ..whole }, "queue_bytes_max", 1023, 1024, keeping),
            (Settings { queue_bytes_max: keeping + 1, ..whole }, "queue_bytes_max", keeping + 1, 1024, keeping),
            (Settings { subscriptions_max: 0, ..whole }, "subscriptions_max", 0, 1, most),
            (Settings { will_bytes_max: 600 << 20, ..whole }, "will_bytes_max", 600 << 20, 0, 512 << 20),
            (Settings { received_ids_max: 0, ..whole }, "received_ids_max", 0, 1, most),
            (Settings { tombstone_seconds: 604_801, ..whole }, "tombstone_seconds", 604_801, 0, 604_800),
            (Settings { tombstone_bytes_max: most, ..whole }, "tombstone_bytes_max", most, 0, keeping),
            (Settings { outbox_messages_max: 0, ..whole }, "outbox_messages_max", 0, 1, most),
            (Settings { nodes_max: 127, ..whole }, "nodes_max", 127, 128, most),
            (Settings { portion: 0, ..whole }, "portion", 0, 1, 100_000),
        ] {
            assert_eq!(settings.check(), Err(SettingError { name, found, least, most }));
        }
        let error = Settings { portion: 0, ..whole }.check().unwrap_err();
        assert_eq!(error.to_string(), "portion is 0, wanted 1 to 100000");
    }
}
