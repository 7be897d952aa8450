//! Packets of a client, from the bytes up. What no builder writes, a test writes with [`packet`].

use super::property::{Property, block, text, variable};
use super::{Ack, Ending, Publish, V3, V5};

/// A packet: its first byte, the length of its body, its body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &variable(body.len())[..], body].concat()
}

/// CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: u8,
    pub id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub properties: Vec<Property>,
    pub will: Option<Will>,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
}

/// What a client leaves for the time after it.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Vec<Property>,
}

impl Will {
    pub fn new(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Will {
        let payload = payload.as_ref().to_vec();
        Will { topic: topic.into(), payload, qos: 0, retain: false, properties: Vec::new() }
    }

    pub fn qos(self, qos: u8) -> Will {
        Will { qos, ..self }
    }

    pub fn retain(self) -> Will {
        Will { retain: true, ..self }
    }

    pub fn with(mut self, property: Property) -> Will {
        self.properties.push(property);
        self
    }
}

impl Connect {
    /// A clean start and a session that ends with the connection.
    pub fn new(version: u8, id: impl Into<String>) -> Connect {
        let properties = Vec::new();
        let (will, user, password) = (None, None, None);
        Connect { version, id: id.into(), clean: true, keep_alive: 0, properties, will, user, password }
    }

    /// A session that outlives its connection, the one that is there if there is one.
    pub fn lasting(self) -> Connect {
        match self.version {
            V3 => Connect { clean: false, ..self },
            _ => Connect { clean: false, ..self }.with(Property::SessionExpiry(60)),
        }
    }

    /// A new session that outlives its connection; MQTT 3.1.1 has no such thing.
    pub fn lasting_from_new(self) -> Connect {
        Connect { clean: true, ..self.lasting() }
    }

    pub fn keep_alive(self, seconds: u16) -> Connect {
        Connect { keep_alive: seconds, ..self }
    }

    pub fn with(mut self, property: Property) -> Connect {
        self.properties.push(property);
        self
    }

    pub fn will(self, will: Will) -> Connect {
        Connect { will: Some(will), ..self }
    }

    pub fn credentials(self, user: &str, password: &[u8]) -> Connect {
        Connect { user: Some(user.to_owned()), password: Some(password.to_vec()), ..self }
    }

    pub fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| 4 | will.qos << 3 | u8::from(will.retain) << 5);
        u8::from(self.user.is_some()) << 7 | u8::from(self.password.is_some()) << 6 | will | u8::from(self.clean) << 1
    }

    pub fn encode(&self) -> Vec<u8> {
        packet(0x10, &[self.head("MQTT", self.version, self.flags()), self.payload()].concat())
    }

    /// The variable header, with a name, level and flags that may be wrong.
    pub fn head(&self, name: &str, level: u8, flags: u8) -> Vec<u8> {
        let mut head = [text(name), vec![level, flags], self.keep_alive.to_be_bytes().to_vec()].concat();
        if self.version == V5 {
            head.extend(block(&self.properties));
        }
        head
    }

    pub fn payload(&self) -> Vec<u8> {
        let mut payload = text(&self.id);
        if let Some(will) = &self.will {
            if self.version == V5 {
                payload.extend(block(&will.properties));
            }
            payload.extend(text(&will.topic));
            payload.extend(text(&will.payload));
        }
        payload.extend(self.user.iter().flat_map(text));
        payload.extend(self.password.iter().flat_map(text));
        payload
    }
}

impl Publish {
    pub fn encode(&self, version: u8) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if version == V5 {
            body.extend(block(&self.properties));
        }
        body.extend(&self.payload);
        packet(first, &body)
    }
}

impl Ack {
    /// With a first byte of 0x40, 0x50, 0x62 or 0x70.
    pub fn encode(&self, first: u8, version: u8) -> Vec<u8> {
        let mut body = self.id.to_be_bytes().to_vec();
        if version == V5 && (self.reason != 0 || !self.properties.is_empty()) {
            body.push(self.reason);
            body.extend(block(&self.properties));
        }
        packet(first, &body)
    }
}

impl Ending {
    /// With a first byte of 0xe0 or 0xf0.
    pub fn encode(&self, first: u8) -> Vec<u8> {
        packet(first, &[vec![self.reason], block(&self.properties)].concat())
    }
}

/// SUBSCRIBE: filters with their options byte.
pub fn subscribe(version: u8, id: u16, filters: &[(&str, u8)], properties: &[Property]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == V5 {
        body.extend(block(properties));
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE.
pub fn unsubscribe(version: u8, id: u16, filters: &[&str], properties: &[Property]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == V5 {
        body.extend(block(properties));
    }
    body.extend(filters.iter().flat_map(text));
    packet(0xa2, &body)
}
