//! A connection of a client: it sends what the test says and shows all that comes back, in order.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::property::Property;
use super::{Ack, Answer, ConnAck, Connect, Ending, Packet, Publish, V5, read, write};
use crate::harness::PATIENCE;

/// A connection.
pub struct Client {
    stream: TcpStream,
    pub version: u8,
    /// The node of the target that it is connected to.
    pub node: usize,
    /// What the broker answered to CONNECT.
    pub connack: ConnAck,
    input: Vec<u8>,
    /// How much of the input was taken.
    used: usize,
    /// How many bytes were taken out of it in all.
    bytes_taken: usize,
    /// Packets that came while something else was awaited.
    waiting: VecDeque<Packet>,
    last_id: u16,
}

impl Client {
    /// A connection on which nothing was sent yet.
    pub fn open(address: SocketAddr, node: usize, version: u8) -> Client {
        let stream = TcpStream::connect(address).expect("connect to the broker");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        stream.set_nodelay(true).expect("send at once");
        let (input, waiting) = (Vec::new(), VecDeque::new());
        Client {
            stream,
            version,
            node,
            connack: ConnAck::default(),
            input,
            used: 0,
            bytes_taken: 0,
            waiting,
            last_id: 0,
        }
    }

    /// Sends CONNECT; the answer is shown and kept.
    pub fn offer(&mut self, connect: &Connect) -> Packet {
        self.send(&connect.encode());
        let answer = self.next();
        if let Packet::ConnAck(connack) = &answer {
            self.connack = connack.clone();
        }
        answer
    }

    /// Sends bytes. The broker may have closed already: what it said is for the test to see.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => panic!("send to the broker: {error}"),
        }
    }

    /// A packet identifier that was not used for the last 65,535 packets.
    pub fn new_id(&mut self) -> u16 {
        self.last_id = self.last_id % u16::MAX + 1;
        self.last_id
    }

    /// Sends a publish and returns its packet identifier, 0 at QoS 0.
    pub fn send_publish(&mut self, publish: Publish) -> u16 {
        let id = match (publish.qos, publish.id) {
            (0, _) => 0,
            (_, 0) => self.new_id(),
            (_, id) => id,
        };
        let bytes = publish.id(id).encode(self.version);
        self.send(&bytes);
        id
    }

    /// Sends a publish and goes through its acknowledgements, which must show success.
    pub fn publish(&mut self, publish: Publish) {
        let qos = publish.qos;
        let id = self.send_publish(publish);
        self.complete(qos, id);
    }

    /// Goes through the acknowledgements of a publish that was sent.
    pub fn complete(&mut self, qos: u8, id: u16) {
        let succeeded = |ack: &Ack| ack.id == id && (ack.reason == 0 || ack.reason == 0x10);
        match qos {
            0 => {}
            1 => match self.await_packet(|packet| matches!(packet, Packet::PubAck(_))) {
                Packet::PubAck(ack) if succeeded(&ack) => {}
                other => panic!("wanted PUBACK of {id}, got {other:?}"),
            },
            _ => {
                match self.await_packet(|packet| matches!(packet, Packet::PubRec(_))) {
                    Packet::PubRec(ack) if succeeded(&ack) => {}
                    other => panic!("wanted PUBREC of {id}, got {other:?}"),
                }
                self.pubrel(id);
                match self.await_packet(|packet| matches!(packet, Packet::PubComp(_))) {
                    Packet::PubComp(ack) if succeeded(&ack) => {}
                    other => panic!("wanted PUBCOMP of {id}, got {other:?}"),
                }
            }
        }
    }

    /// Subscribes; each filter must be granted what it asks for.
    pub fn subscribe(&mut self, filters: &[(&str, u8)]) {
        let codes = self.subscribe_with(filters, &[]).codes;
        let wanted: Vec<u8> = filters.iter().map(|(_, options)| options & 3).collect();
        assert_eq!(codes, wanted, "codes of SUBACK for {filters:?}");
    }

    /// Subscribes and shows the answer, whose packet identifier must be right.
    pub fn subscribe_with(&mut self, filters: &[(&str, u8)], properties: &[Property]) -> Answer {
        let id = self.new_id();
        self.send(&write::subscribe(self.version, id, filters, properties));
        match self.await_packet(|packet| matches!(packet, Packet::SubAck(_))) {
            Packet::SubAck(answer) if answer.id == id => answer,
            other => panic!("wanted SUBACK of {id}, got {other:?}"),
        }
    }

    /// Unsubscribes and shows the codes, none in MQTT 3.1.1.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.new_id();
        self.send(&write::unsubscribe(self.version, id, filters, &[]));
        match self.await_packet(|packet| matches!(packet, Packet::UnsubAck(_))) {
            Packet::UnsubAck(answer) if answer.id == id => answer.codes,
            other => panic!("wanted UNSUBACK of {id}, got {other:?}"),
        }
    }

    pub fn puback(&mut self, id: u16) {
        self.acknowledge(0x40, id, 0);
    }

    pub fn pubrec(&mut self, id: u16) {
        self.acknowledge(0x50, id, 0);
    }

    pub fn pubrel(&mut self, id: u16) {
        self.acknowledge(0x62, id, 0);
    }

    pub fn pubcomp(&mut self, id: u16) {
        self.acknowledge(0x70, id, 0);
    }

    /// Any of the four, by its first byte.
    pub fn acknowledge(&mut self, first: u8, id: u16, reason: u8) {
        self.send(&Ack { id, reason, properties: Vec::new() }.encode(first, self.version));
    }

    /// Sends PINGREQ and shows all that comes before its answer.
    pub fn ping(&mut self) -> Vec<Packet> {
        self.send(&[0xc0, 0]);
        let mut all = Vec::new();
        loop {
            match self.next() {
                Packet::PingResp => return all,
                Packet::Closed => panic!("closed while PINGRESP was awaited, after {all:?}"),
                packet => all.push(packet),
            }
        }
    }

    /// Nothing came, and the connection lives.
    pub fn quiet(&mut self) {
        assert_eq!(self.ping(), [], "nothing is wanted");
    }

    /// The next thing that the broker says.
    pub fn next(&mut self) -> Packet {
        match self.waiting.pop_front() {
            Some(packet) => packet,
            None => self.read(),
        }
    }

    /// The next packet that fits; others wait. An end of the connection fits always.
    pub fn await_packet(&mut self, fits: impl Fn(&Packet) -> bool) -> Packet {
        if let Some(at) = self.waiting.iter().position(&fits) {
            return self.waiting.remove(at).expect("it was found there");
        }
        loop {
            let packet = self.read();
            if fits(&packet) || packet == Packet::Closed {
                return packet;
            }
            self.waiting.push_back(packet);
        }
    }

    /// The next packet, which must be a PUBLISH; it is not acknowledged.
    pub fn message(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("wanted a message, got {other:?}"),
        }
    }

    /// The next message, acknowledged in full.
    pub fn take(&mut self) -> Publish {
        let publish = self.message();
        match publish.qos {
            0 => {}
            1 => self.puback(publish.id),
            _ => {
                self.pubrec(publish.id);
                match self.await_packet(|packet| matches!(packet, Packet::PubRel(_))) {
                    Packet::PubRel(ack) if ack.id == publish.id => self.pubcomp(publish.id),
                    other => panic!("wanted PUBREL of {}, got {other:?}", publish.id),
                }
            }
        }
        publish
    }

    /// Completes what was received on an earlier connection whose last PUBCOMP the broker may not have read (MQTT 5.0, 4.4).
    pub fn complete_released(&mut self) {
        loop {
            match self.next() {
                Packet::PubRel(ack) => self.pubcomp(ack.id),
                packet => return self.waiting.push_front(packet),
            }
        }
    }

    /// The payloads of so many messages, each acknowledged.
    pub fn take_texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.take().text().to_owned()).collect()
    }

    /// Reads until a message with that payload has come, which must be the first message.
    pub fn only(&mut self, payload: &str) -> Publish {
        let publish = self.take();
        assert_eq!(String::from_utf8_lossy(&publish.payload), payload, "the next message is {publish:?}");
        publish
    }

    /// The broker closes for this reason. MQTT 3.1.1 has no words for it.
    pub fn refused(&mut self, reason: u8) {
        if self.version == V5 {
            match self.next() {
                Packet::Disconnect(ending) if ending.reason == reason => {}
                other => panic!("wanted DISCONNECT with 0x{reason:02x}, got {other:?}"),
            }
        }
        self.closed();
    }

    /// The broker closes and says nothing more.
    pub fn closed(&mut self) {
        assert_eq!(self.next(), Packet::Closed);
    }

    /// All that comes until the broker closes.
    pub fn until_closed(&mut self) -> Vec<Packet> {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Packet::Closed => return all,
                packet => all.push(packet),
            }
        }
    }

    /// Says goodbye, and waits until the broker has heard it.
    pub fn disconnect(&mut self) {
        self.send(&[0xe0, 0]);
        self.until_closed();
    }

    /// Says goodbye with a reason and properties; MQTT 5.0 only.
    pub fn disconnect_with(&mut self, reason: u8, properties: &[Property]) {
        self.send(&Ending { reason, properties: properties.to_vec() }.encode(0xe0));
    }

    /// Ends the connection without a word, and waits until the broker has noticed.
    pub fn vanish(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("end our side of the connection");
        self.until_closed();
    }

    /// The bytes of all packets so far.
    pub fn bytes_taken(&self) -> usize {
        self.bytes_taken
    }

    fn read(&mut self) -> Packet {
        loop {
            if let Some((packet, length)) = read::take(self.version, &self.input[self.used..]) {
                self.used += length;
                self.bytes_taken += length;
                return packet;
            }
            self.input.drain(..self.used);
            self.used = 0;
            let mut buffer = [0; 64 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.input.is_empty(), "the broker closed within a packet, after {:02x?}", self.input);
                    return Packet::Closed;
                }
                Ok(bytes) => self.input.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Packet::Closed,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("waited in vain for the broker; what came and was not asked for: {:?}", self.waiting)
                }
                Err(error) => panic!("read from the broker: {error}"),
            }
        }
    }
}
