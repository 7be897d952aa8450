//! What the broker sends, read strictly: lengths, reserved bits, shortest integers, properties that belong where they
//! are and stand once, reason codes of the packet's own. A broker that breaks one of these rules fails every test that
//! sees it.

use super::property::Property;
use super::{Ack, Answer, ConnAck, Ending, Packet, Publish, V5};

/// Reads one packet's body.
pub struct Reader<'a> {
    first: u8,
    whole: &'a [u8],
    at: usize,
    end: usize,
}

/// The first packet of `input` and its length, once it is there.
pub fn take(version: u8, input: &[u8]) -> Option<(Packet, usize)> {
    let first = *input.first()?;
    let mut header = Reader { first, whole: input, at: 1, end: input.len() };
    if !input[1..].iter().take(4).any(|byte| byte & 0x80 == 0) {
        assert!(input.len() < 5, "the length of a packet has more than 4 bytes: {:02x?}", &input[..5]);
        return None;
    }
    let length = header.variable() as usize;
    let end = header.at + length;
    if input.len() < end {
        return None;
    }
    let mut reader = Reader { first, whole: &input[..end], at: header.at, end };
    let packet = reader.packet(version);
    if reader.at != reader.end {
        reader.fail(&format!("{} bytes are left behind {packet:?}", reader.end - reader.at));
    }
    Some((packet, end))
}

impl Reader<'_> {
    pub fn fail(&self, what: &str) -> ! {
        let shown = &self.whole[..self.whole.len().min(200)];
        panic!("the broker sent bytes that are no packet: {what}, at byte {} of {shown:02x?}", self.at)
    }

    fn packet(&mut self, version: u8) -> Packet {
        let (kind, flags) = (self.first >> 4, self.first & 0x0f);
        let wanted = if kind == 6 { 0b0010 } else { 0 };
        if kind != 3 && flags != wanted {
            self.fail(&format!("flags of packet type {kind} are {flags:#06b}"));
        }
        match kind {
            2 => self.connack(version),
            3 => Packet::Publish(self.publish(version, flags)),
            4 => Packet::PubAck(self.ack(version, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])),
            5 => Packet::PubRec(self.ack(version, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])),
            6 => Packet::PubRel(self.ack(version, &[0x00, 0x92])),
            7 => Packet::PubComp(self.ack(version, &[0x00, 0x92])),
            9 => {
                let five = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
                let known: &[u8] = if version == V5 { &five } else { &[0x00, 0x01, 0x02, 0x80] };
                Packet::SubAck(self.answer(version, known))
            }
            11 if version == V5 => Packet::UnsubAck(self.answer(version, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91])),
            11 => Packet::UnsubAck(Answer { id: self.id(), codes: Vec::new(), properties: Vec::new() }),
            13 => Packet::PingResp,
            14 if version == V5 => {
                let known = [
                    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
                    0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
                ];
                Packet::Disconnect(self.ending(&known, &[0x1c, 0x1f, 0x26]))
            }
            15 if version == V5 => Packet::Auth(self.ending(&[0x00, 0x18], &[0x15, 0x16, 0x1f, 0x26])),
            _ => self.fail(&format!("a server does not send packet type {kind} in MQTT {version}")),
        }
    }

    fn connack(&mut self, version: u8) -> Packet {
        let flags = self.one();
        let present = match flags {
            0 => false,
            1 => true,
            _ => self.fail(&format!("the acknowledge flags are {flags:#010b}")),
        };
        let known: &[u8] = match version {
            V5 => &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
                0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
            ],
            _ => &[0, 1, 2, 3, 4, 5],
        };
        let reason = self.reason(known);
        if present && reason != 0 {
            self.fail("session present beside a refusal");
        }
        let allowed =
            [0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a];
        let properties = self.properties(version, &allowed);
        Packet::ConnAck(ConnAck { present, reason, properties })
    }

    fn publish(&mut self, version: u8, flags: u8) -> Publish {
        let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
        if qos == 3 || (qos == 0 && dup) {
            self.fail(&format!("flags of PUBLISH are {flags:#06b}"));
        }
        let topic = self.text();
        if topic.contains(['+', '#']) {
            self.fail("a wildcard in a topic name");
        }
        let id = if qos > 0 { self.id() } else { 0 };
        let properties = self.properties(version, &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26]);
        let payload = self.bytes(self.end - self.at).to_vec();
        Publish { topic, payload, qos, dup, retain, id, properties }
    }

    fn ack(&mut self, version: u8, known: &[u8]) -> Ack {
        let id = self.id();
        if version != V5 || self.at == self.end {
            return Ack { id, reason: 0, properties: Vec::new() };
        }
        let reason = self.reason(known);
        let properties = if self.at == self.end { Vec::new() } else { self.properties(version, &[0x1f, 0x26]) };
        Ack { id, reason, properties }
    }

    fn answer(&mut self, version: u8, known: &[u8]) -> Answer {
        let id = self.id();
        let properties = self.properties(version, &[0x1f, 0x26]);
        let mut codes = Vec::new();
        while self.at < self.end {
            codes.push(self.reason(known));
        }
        if codes.is_empty() {
            self.fail("no reason code");
        }
        Answer { id, codes, properties }
    }

    fn ending(&mut self, known: &[u8], allowed: &[u8]) -> Ending {
        if self.at == self.end {
            return Ending { reason: 0, properties: Vec::new() };
        }
        let reason = self.reason(known);
        let properties = if self.at == self.end { Vec::new() } else { self.properties(V5, allowed) };
        Ending { reason, properties }
    }

    fn reason(&mut self, known: &[u8]) -> u8 {
        let reason = self.one();
        if !known.contains(&reason) {
            self.fail(&format!("reason code 0x{reason:02x} is not one of packet type {}", self.first >> 4));
        }
        reason
    }

    fn properties(&mut self, version: u8, allowed: &[u8]) -> Vec<Property> {
        if version != V5 {
            return Vec::new();
        }
        let length = self.variable() as usize;
        if length > self.end - self.at {
            self.fail(&format!("properties of {length} bytes in a shorter packet"));
        }
        let (outer, end) = (self.end, self.at + length);
        self.end = end;
        let mut properties = Vec::new();
        while self.at < end {
            let property = Property::decode(self);
            let id = property.id();
            if !allowed.contains(&id) {
                self.fail(&format!("{property:?} does not belong into packet type {}", self.first >> 4));
            }
            // Only user properties may be there twice, and subscription identifiers in a PUBLISH.
            if id != 0x26 && id != 0x0b && properties.iter().any(|other: &Property| other.id() == id) {
                self.fail(&format!("{property:?} is there twice"));
            }
            properties.push(property);
        }
        self.end = outer;
        properties
    }

    fn bytes(&mut self, length: usize) -> &[u8] {
        if length > self.end - self.at {
            self.fail(&format!("{length} bytes wanted, {} are left", self.end - self.at));
        }
        self.at += length;
        &self.whole[self.at - length..self.at]
    }

    pub fn one(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    pub fn flag(&mut self) -> u8 {
        let value = self.one();
        if value > 1 {
            self.fail(&format!("a flag is {value}"));
        }
        value
    }

    pub fn two(&mut self) -> u16 {
        let bytes = self.bytes(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    pub fn four(&mut self) -> u32 {
        let bytes = self.bytes(4);
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    pub fn variable(&mut self) -> u32 {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.one();
            value |= u32::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                if byte == 0 && place > 0 {
                    self.fail("a variable byte integer is not in its shortest form");
                }
                return value;
            }
        }
        self.fail("a variable byte integer has more than 4 bytes")
    }

    pub fn binary(&mut self) -> Vec<u8> {
        let length = self.two();
        self.bytes(length.into()).to_vec()
    }

    pub fn text(&mut self) -> String {
        let bytes = self.binary();
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => text,
            other => self.fail(&format!("text is {other:?}")),
        }
    }

    fn id(&mut self) -> u16 {
        match self.two() {
            0 => self.fail("packet identifier 0"),
            id => id,
        }
    }
}
