//! The message that a client leaves for the time after it, and when it is to be published (MQTT 5.0, 3.1.2.5).

use std::time::{Duration, Instant};

use crate::message::{Message, Outgoing, expiry};

/// What to publish when the client is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    message: Message,
    pub(crate) delay: Duration,
    /// Counted from the moment in which the will is published (MQTT 5.0, 3.1.3.2.4).
    message_expiry_seconds: Option<u32>,
}

impl Will {
    pub(crate) fn new(will: &fulmar_codec::Will<'_>) -> Self {
        let fulmar_codec::Will { qos, retain, topic, payload, delay, message_expiry, payload_is_utf8: _, forward } =
            *will;
        let outgoing = Outgoing { topic, qos, retain, forward, payload, expires: None };
        Self {
            message: Message::new(&outgoing, &mut Vec::new()),
            delay: Duration::from_secs(delay.into()),
            message_expiry_seconds: message_expiry,
        }
    }

    /// How long the client may be away before.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// The message, published at `now`.
    pub fn outgoing(&self, now: Instant) -> Outgoing<'_> {
        let expires = self.message_expiry_seconds.map(|seconds| expiry(seconds, now));
        Outgoing { expires, ..self.message.view() }
    }
}

/// What becomes of the will now that the connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WillFate {
    /// There is none, or the client took it back.
    None,
    /// Publish it.
    Now(Box<Will>),
    /// Publish it then ([`Session::take_will`](crate::Session::take_will)), unless the client is back before.
    At(Instant),
}
