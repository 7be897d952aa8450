//! A client's side of MQTT, byte by byte and of its own: it shares no code with the broker, so that a mistake would
//! have to be made twice to pass unseen.

mod client;
mod property;
mod read;
mod write;

use std::fmt;

pub use client::Client;
pub use property::{Property, block, text, user};
pub use write::{Connect, Will, packet, subscribe, unsubscribe};

/// The protocol level of MQTT 3.1.1.
pub const V3: u8 = 4;
/// The protocol level of MQTT 5.0.
pub const V5: u8 = 5;

/// What comes from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(Answer),
    UnsubAck(Answer),
    PingResp,
    Disconnect(Ending),
    Auth(Ending),
    /// The broker has closed the connection.
    Closed,
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConnAck {
    pub present: bool,
    pub reason: u8,
    pub properties: Vec<Property>,
}

/// PUBLISH, in either direction. The packet identifier is 0 where there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub id: u16,
    pub properties: Vec<Property>,
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub id: u16,
    pub reason: u8,
    pub properties: Vec<Property>,
}

/// SUBACK, UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: u16,
    pub codes: Vec<u8>,
    pub properties: Vec<Property>,
}

/// DISCONNECT, AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub reason: u8,
    pub properties: Vec<Property>,
}

impl fmt::Debug for Publish {
    /// Long topics and payloads are cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Publish { topic, payload, qos, dup, retain, id, properties } = self;
        let cut = |text: &str| text.chars().take(60).collect::<String>();
        write!(f, "Publish {{ {:?}: {:?}", cut(topic), cut(&String::from_utf8_lossy(payload)))?;
        write!(f, " ({} bytes), qos {qos}, dup {dup}, retain {retain}, id {id}, {properties:?} }}", payload.len())
    }
}

impl Publish {
    /// Of QoS 0.
    pub fn new(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Publish {
        let payload = payload.as_ref().to_vec();
        Publish { topic: topic.into(), payload, qos: 0, dup: false, retain: false, id: 0, properties: Vec::new() }
    }

    /// The packet identifier is chosen when it is sent, unless [`id`](Self::id) says otherwise.
    pub fn qos(self, qos: u8) -> Publish {
        Publish { qos, ..self }
    }

    pub fn id(self, id: u16) -> Publish {
        Publish { id, ..self }
    }

    pub fn retain(self) -> Publish {
        Publish { retain: true, ..self }
    }

    pub fn dup(self) -> Publish {
        Publish { dup: true, ..self }
    }

    pub fn with(mut self, property: Property) -> Publish {
        self.properties.push(property);
        self
    }

    /// The payload, as the test wrote it.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the test sends text")
    }

    /// The subscription identifiers, smallest first: their order has no meaning (MQTT 5.0, 3.3.4).
    pub fn subscription_ids(&self) -> Vec<u32> {
        let of = |property: &Property| match property {
            Property::SubscriptionId(id) => Some(*id),
            _ => None,
        };
        let mut ids: Vec<u32> = self.properties.iter().filter_map(of).collect();
        ids.sort_unstable();
        ids
    }

    /// The seconds left, if the message expires.
    pub fn expiry(&self) -> Option<u32> {
        self.properties.iter().find_map(|property| match property {
            Property::MessageExpiry(seconds) => Some(*seconds),
            _ => None,
        })
    }
}

impl ConnAck {
    /// The property with this identifier.
    pub fn property(&self, id: u8) -> Option<&Property> {
        self.properties.iter().find(|property| property.id() == id)
    }
}
