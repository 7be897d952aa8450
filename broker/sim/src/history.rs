//! What clients did and saw, in the order of time.
//!
//! Actors write it, checkers read it, and nobody changes what was written. It says what a client knows: that it sent
//! something, not that anybody got it.

use std::fmt;
use std::sync::Arc;

use fulmar_codec::{QoS, ReasonCode, Version};

use crate::Time;

/// An actor, by its place in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub u32);

/// A message that was published once, however often it was sent. Its payload says which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Who published it.
    pub publisher: ActorId,
    /// The publishes of one actor are numbered in their order; wills are by the number of the connection.
    pub number: u32,
    /// It was given to the server with CONNECT.
    pub is_will: bool,
}

impl fmt::Display for MessageId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_will { 'w' } else { 'm' };
        write!(to, "{kind}{}.{}", self.publisher.0, self.number)
    }
}

impl MessageId {
    /// What a payload names. Anything may follow behind a space.
    pub fn parse(payload: &[u8]) -> Option<MessageId> {
        let text = std::str::from_utf8(payload).ok()?.split(' ').next()?;
        let (kind, rest) = text.split_at_checked(1)?;
        let (publisher, number) = rest.split_once('.')?;
        let is_will = match kind {
            "m" => false,
            "w" => true,
            _ => return None,
        };
        Some(MessageId { publisher: ActorId(publisher.parse().ok()?), number: number.parse().ok()?, is_will })
    }
}

/// What an actor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For traces.
    pub name: String,
    /// Two actors may have the same: then they take the session over from each other.
    pub client_id: Arc<str>,
    /// Of its connections.
    pub version: Version,
}

/// A will that goes with a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WillGiven {
    /// What is published.
    pub message: MessageId,
    /// Where.
    pub topic: Arc<str>,
    /// How.
    pub qos: QoS,
    /// How long after the end of the connection.
    pub delay_seconds: u32,
}

/// Something that a client did or saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It has a connection to the node at this place.
    Connected {
        /// Which.
        node: usize,
    },
    /// CONNECT.
    ConnectSent {
        /// Whatever session there was is to end.
        clean_start: bool,
        /// How long the session is to outlive the connection; none: for longer than any run.
        expiry_seconds: Option<u32>,
        /// As many messages of QoS 1 and 2 it takes at a time.
        receive_maximum: u16,
        /// If there is one.
        will: Option<WillGiven>,
    },
    /// CONNACK.
    ConnAck {
        /// Whether there was a session.
        session_present: bool,
        /// Whether it was let in.
        reason: ReasonCode,
    },
    /// DISCONNECT, sent.
    DisconnectSent {
        /// The will is to be published all the same.
        keeps_will: bool,
    },
    /// DISCONNECT, received.
    DisconnectReceived {
        /// Why.
        reason: ReasonCode,
    },
    /// The connection is over, not by the client.
    Closed,
    /// The client has closed it.
    Left,
    /// SUBSCRIBE, with one filter.
    SubscribeSent {
        /// As it was subscribed.
        filter: Arc<str>,
        /// What was asked for.
        qos: QoS,
    },
    /// SUBACK.
    Subscribed {
        /// For what.
        filter: Arc<str>,
        /// None: it was refused.
        granted: Option<QoS>,
    },
    /// UNSUBSCRIBE.
    UnsubscribeSent {
        /// For what.
        filter: Arc<str>,
    },
    /// UNSUBACK.
    Unsubscribed {
        /// For what.
        filter: Arc<str>,
    },
    /// PUBLISH, to the server; the first time or again.
    PublishSent {
        /// Which.
        message: MessageId,
        /// Where.
        topic: Arc<str>,
        /// How.
        qos: QoS,
        /// Whether it is to be retained.
        retain: bool,
        /// It has no payload, and deletes what is retained.
        is_empty: bool,
        /// What is said of it being sent again.
        dup: bool,
    },
    /// The server has it: PUBACK, or PUBREC.
    Accepted {
        /// Which.
        message: MessageId,
        /// What the server says.
        reason: ReasonCode,
    },
    /// PUBCOMP.
    Completed {
        /// Which.
        message: MessageId,
    },
    /// The session is gone, and this will not be sent again.
    GivenUp {
        /// Which.
        message: MessageId,
    },
    /// PUBLISH, from the server.
    Received {
        /// None: it was empty.
        message: Option<MessageId>,
        /// Where.
        topic: Arc<str>,
        /// How.
        qos: QoS,
        /// It was retained when the client subscribed.
        retain: bool,
        /// What the server says of it being sent again.
        dup: bool,
        /// None at QoS 0.
        packet_id: Option<u16>,
        /// By the client's own account of packet identifiers it is not one that was sent again (MQTT 5.0, 4.3.3).
        is_fresh: bool,
    },
    /// The client has dealt with a message, and says so if there is anything to say: PUBACK, PUBREC.
    Took {
        /// None: it was empty.
        message: Option<MessageId>,
        /// Where.
        topic: Arc<str>,
        /// How.
        qos: QoS,
        /// None at QoS 0.
        packet_id: Option<u16>,
    },
    /// PUBREL, from the server.
    Released {
        /// Of what.
        packet_id: u16,
    },
    /// Another connection of this client identifier has been let in: what happens on this one counts for nothing.
    Superseded,
    /// The server did what it may not do.
    Wrong(String),
}

/// An event, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Time,
    /// Who.
    pub actor: ActorId,
    /// On which of the actor's connections.
    pub connection: u32,
    /// What.
    pub event: Event,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct History {
    profiles: Vec<Profile>,
    records: Vec<Record>,
    /// Wall clocks were set: what is due by them may come early or late.
    clocks_jumped: bool,
    /// When faults began or ended, and each time that one of longer duration is known to last.
    faults: Vec<Time>,
}

impl History {
    /// An actor introduces itself, in the order of their numbers.
    ///
    /// # Panics
    ///
    /// If it is not the turn of that number.
    pub fn introduce(&mut self, actor: ActorId, profile: Profile) {
        assert_eq!(actor.0 as usize, self.profiles.len(), "actors introduce themselves in order");
        self.profiles.push(profile);
    }

    /// Something happened.
    pub fn record(&mut self, at: Time, actor: ActorId, connection: u32, event: Event) {
        debug_assert!(self.records.last().is_none_or(|last| last.at <= at), "time goes on");
        self.records.push(Record { at, actor, connection, event });
    }

    /// The wall clock of a node was set to another time.
    pub fn clock_jumped(&mut self) {
        self.clocks_jumped = true;
    }

    /// Whether one was.
    pub fn has_clock_jumped(&self) -> bool {
        self.clocks_jumped
    }

    /// A fault began, goes on or ended.
    pub fn fault(&mut self, at: Time) {
        self.faults.push(at);
    }

    /// When the last fault was known.
    pub fn last_fault(&self) -> Time {
        self.faults.iter().max().copied().unwrap_or_default()
    }

    /// Whether a fault is known from within this time.
    pub fn has_fault_between(&self, from: Time, until: Time) -> bool {
        self.faults.iter().any(|at| (from..=until).contains(at))
    }

    /// All that happened.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// All actors.
    pub fn profiles(&self) -> impl Iterator<Item = (ActorId, &Profile)> {
        (0..).map(ActorId).zip(&self.profiles)
    }

    /// An actor.
    pub fn profile(&self, actor: ActorId) -> &Profile {
        &self.profiles[actor.0 as usize]
    }
}

impl fmt::Display for Record {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { at, actor, connection, event } = self;
        write!(to, "{at} actor {} connection {connection}: {event:?}", actor.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_its_message_whatever_follows() {
        let message = MessageId { publisher: ActorId(7), number: 21, is_will: false };
        let will = MessageId { is_will: true, ..message };
        for it in [message, will] {
            assert_eq!(MessageId::parse(it.to_string().as_bytes()), Some(it));
            assert_eq!(MessageId::parse(format!("{it} and more").as_bytes()), Some(it));
        }
        for wrong in ["", "m", "m7", "x7.21", "m7.x", "mé.1"] {
            assert_eq!(MessageId::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
