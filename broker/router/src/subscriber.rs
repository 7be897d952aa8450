//! Who subscribes and how: the small values that the trie keeps by the million.

use std::fmt;
use std::num::NonZeroU32;

use fulmar_codec::QoS;

/// A session on a data thread of this node.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct SubscriberId {
    /// The data thread that owns the session.
    pub thread: u16,
    /// Tells the sessions apart that used the same slot one after another.
    pub generation: u16,
    /// The place of the session in its thread's slab.
    pub slot: u32,
}

impl SubscriberId {
    pub(crate) fn to_number(self) -> u64 {
        u64::from(self.thread) << 48 | u64::from(self.generation) << 32 | u64::from(self.slot)
    }
}

/// Another node of the cluster, as a small number that is given out densely.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct NodeIndex(pub u16);

/// The options of a subscription that matter when a message is delivered, in four bytes: a subscription identifier has
/// at most 28 bits (MQTT 5.0, 3.8.2.1.2), which leaves four for the rest. Retain handling matters only at SUBSCRIBE.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Options(u32);

const QOS: u32 = 0b11;
const NO_LOCAL: u32 = 0b100;
const RETAIN_AS_PUBLISHED: u32 = 0b1000;
const ID_SHIFT: u32 = 4;

impl Options {
    /// The largest subscription identifier that a packet can carry.
    pub const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

    /// Options with this maximum QoS and nothing else set.
    #[must_use]
    pub const fn new(qos: QoS) -> Self {
        Self(qos as u32)
    }

    /// Messages are not sent back to the session that published them.
    #[must_use]
    pub const fn with_no_local(self, on: bool) -> Self {
        self.with(NO_LOCAL, on)
    }

    /// Messages keep the RETAIN flag that they were published with.
    #[must_use]
    pub const fn with_retain_as_published(self, on: bool) -> Self {
        self.with(RETAIN_AS_PUBLISHED, on)
    }

    /// The identifier that is sent along with each message. Decoded packets cannot carry one above
    /// [`SUBSCRIPTION_ID_MAX`](Self::SUBSCRIPTION_ID_MAX); the bits beyond are not kept.
    #[must_use]
    pub const fn with_subscription_id(self, id: Option<NonZeroU32>) -> Self {
        let id = match id {
            Some(id) => id.get() & Self::SUBSCRIPTION_ID_MAX,
            None => 0,
        };
        Self(self.0 & (QOS | NO_LOCAL | RETAIN_AS_PUBLISHED) | id << ID_SHIFT)
    }

    /// The maximum QoS of deliveries.
    #[must_use]
    pub const fn qos(self) -> QoS {
        match self.0 & QOS {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// See [`with_no_local`](Self::with_no_local).
    #[must_use]
    pub const fn no_local(self) -> bool {
        self.0 & NO_LOCAL != 0
    }

    /// See [`with_retain_as_published`](Self::with_retain_as_published).
    #[must_use]
    pub const fn retain_as_published(self) -> bool {
        self.0 & RETAIN_AS_PUBLISHED != 0
    }

    /// See [`with_subscription_id`](Self::with_subscription_id).
    #[must_use]
    pub const fn subscription_id(self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.0 >> ID_SHIFT)
    }

    const fn with(self, flag: u32, on: bool) -> Self {
        Self(if on { self.0 | flag } else { self.0 & !flag })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("qos", &self.qos())
            .field("no_local", &self.no_local())
            .field("retain_as_published", &self.retain_as_published())
            .field("subscription_id", &self.subscription_id())
            .finish()
    }
}

/// One subscription: who, and how.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Member {
    /// The session that subscribed.
    pub subscriber: SubscriberId,
    /// What it asked for.
    pub options: Options,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_give_back_what_was_put_in() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for bits in 0..4 {
                for id in [None, NonZeroU32::new(1), NonZeroU32::new(Options::SUBSCRIPTION_ID_MAX)] {
                    let options = Options::new(qos)
                        .with_subscription_id(NonZeroU32::new(77))
                        .with_no_local(bits & 1 != 0)
                        .with_retain_as_published(bits & 2 != 0)
                        .with_subscription_id(id);
                    assert_eq!(options.qos(), qos);
                    assert_eq!(options.no_local(), bits & 1 != 0);
                    assert_eq!(options.retain_as_published(), bits & 2 != 0);
                    assert_eq!(options.subscription_id(), id);
                }
            }
        }
    }

    #[test]
    fn a_subscription_takes_twelve_bytes() {
        assert_eq!(size_of::<Member>(), 12);
    }
}
