//! A client that sends what the test says, byte by byte if need be, and shows all that it got.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;

use fulmar_codec::{
    Ack, AckKind, Connect, Disconnect, ForwardProperties, Framed, Packet, PacketId, PublishHead, QoS, ReasonCode,
    SubscribeFilter, SubscriptionOptions, Version, decode_from_server, encode, encode_ack, encode_connect,
    encode_pingreq, encode_publish, encode_subscribe, encode_unsubscribe, split_frame,
};

use super::PATIENCE;

/// What the bytes travel on: a socket, or TLS on one.
pub trait Wire: Read + Write + Send {
    /// The socket under it.
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// What a client got from its broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Got {
    ConnAck { session_present: bool, reason: ReasonCode },
    SubAck(Vec<ReasonCode>),
    UnsubAck(Vec<ReasonCode>),
    Message { topic: String, payload: Vec<u8>, qos: u8, retain: bool, dup: bool, packet_id: u16 },
    PubAck(u16, ReasonCode),
    PubRec(u16, ReasonCode),
    PubRel(u16),
    PubComp(u16),
    Pong,
    Disconnect(ReasonCode),
    Closed,
}

/// Properties of a message that few tests ask for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Details {
    pub subscription_ids: Vec<u32>,
    pub message_expiry: Option<u32>,
}

/// A connection of a client.
pub struct Client {
    wire: Box<dyn Wire>,
    version: Version,
    input: Vec<u8>,
    /// How much of the input was shown.
    used: usize,
    last_id: u16,
    /// Answers deliveries as a client should, and does not show PUBREL.
    pub acknowledges: bool,
    /// Takes a broker that says nothing for too long for one that has closed the connection.
    pub gives_up: bool,
    /// Of the last message.
    pub details: Details,
}

impl Client {
    /// A connection on which nothing was sent yet.
    pub fn open(address: SocketAddr, version: Version) -> Client {
        Client::on(tcp(address), version)
    }

    pub fn on(wire: impl Wire + 'static, version: Version) -> Client {
        let details = Details::default();
        Client {
            wire: Box::new(wire),
            version,
            input: Vec::new(),
            used: 0,
            last_id: 0,
            acknowledges: true,
            gives_up: false,
            details,
        }
    }

    /// An MQTT 5 client with a clean start whose session ends with the connection.
    pub fn connect(address: SocketAddr, id: &str) -> Client {
        Client::connect_with(address, &Connect::new(Version::V5, id))
    }

    /// A client whose session shall be new.
    pub fn connect_with(address: SocketAddr, connect: &Connect<'_>) -> Client {
        let mut client = Client::open(address, connect.version);
        assert_eq!(client.hello(connect), Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS });
        client
    }

    /// A client whose session is there already.
    pub fn resume(address: SocketAddr, connect: &Connect<'_>) -> Client {
        let mut client = Client::open(address, connect.version);
        client.acknowledges = false;
        assert_eq!(client.hello(connect), Got::ConnAck { session_present: true, reason: ReasonCode::SUCCESS });
        client
    }

    /// The socket that the client is connected by, for those who go on with bytes alone.
    pub fn socket(&self) -> TcpStream {
        self.wire.socket().try_clone().expect("copy a descriptor")
    }

    /// Sends CONNECT and shows the answer.
    pub fn hello(&mut self, connect: &Connect<'_>) -> Got {
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, connect);
        self.send(&bytes);
        self.next()
    }

    /// Sends bytes as they are. Those that the broker did not wait for are lost.
    pub fn send(&mut self, bytes: &[u8]) {
        let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        match self.wire.write_all(bytes).and_then(|()| self.wire.flush()) {
            Err(error) if !gone.contains(&error.kind()) => panic!("send to the broker: {error}"),
            _ => {}
        }
    }

    /// Subscribes and waits for the answer.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.subscribe_with(filter, SubscriptionOptions { qos, ..SubscriptionOptions::default() });
    }

    pub fn subscribe_with(&mut self, filter: &str, options: SubscriptionOptions) {
        assert_eq!(self.ask_to_subscribe(filter, options), Got::SubAck(vec![ReasonCode::granted(options.qos)]));
    }

    /// Sends SUBSCRIBE and shows the answer.
    pub fn ask_to_subscribe(&mut self, filter: &str, options: SubscriptionOptions) -> Got {
        self.ask_to_subscribe_all(&[SubscribeFilter { filter, options }])
    }

    /// The same for several filters in one packet.
    pub fn ask_to_subscribe_all(&mut self, filters: &[SubscribeFilter<'_>]) -> Got {
        self.ask_to_subscribe_as(None, filters)
    }

    /// The same with a subscription identifier.
    pub fn ask_to_subscribe_as(&mut self, number: Option<NonZeroU32>, filters: &[SubscribeFilter<'_>]) -> Got {
        let mut bytes = Vec::new();
        let id = self.new_id();
        encode_subscribe(&mut bytes, self.version, id, number, filters);
        self.send(&bytes);
        self.next()
    }

    /// Sends UNSUBSCRIBE and shows the answer.
    pub fn ask_to_unsubscribe(&mut self, filters: &[&str]) -> Got {
        let mut bytes = Vec::new();
        let id = self.new_id();
        encode_unsubscribe(&mut bytes, self.version, id, filters);
        self.send(&bytes);
        self.next()
    }

    /// Publishes and does not wait; tells the packet id, 0 for QoS 0.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: QoS) -> u16 {
        self.publish_with(topic, payload, PublishHead { qos, ..PublishHead::default() })
    }

    /// The same with a choice of flags and properties. The packet id is chosen here unless `head` has one.
    pub fn publish_with(&mut self, topic: &str, payload: impl AsRef<[u8]>, head: PublishHead<'_>) -> u16 {
        let mut head = head;
        if head.qos != QoS::AtMostOnce && head.packet_id.is_none() {
            head.packet_id = Some(self.new_id());
        }
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, self.version, &head, topic, &ForwardProperties::EMPTY, payload.as_ref());
        self.send(&bytes);
        head.packet_id.map_or(0, PacketId::get)
    }

    pub fn acknowledge(&mut self, kind: AckKind, packet_id: u16) {
        let packet_id = PacketId::new(packet_id).expect("a packet id is not 0");
        let mut bytes = Vec::new();
        encode_ack(&mut bytes, self.version, kind, &Ack::new(packet_id, ReasonCode::SUCCESS));
        self.send(&bytes);
    }

    /// Everything that the broker had to say before it answered a PINGREQ.
    pub fn ping(&mut self) -> Vec<Got> {
        let mut bytes = Vec::new();
        encode_pingreq(&mut bytes);
        self.send(&bytes);
        let mut all = Vec::new();
        loop {
            match self.next() {
                Got::Pong => return all,
                Got::Closed => panic!("closed while waiting for PINGRESP, after {all:?}"),
                got => all.push(got),
            }
        }
    }

    /// Leaves, with a reason.
    pub fn disconnect(mut self, reason: ReasonCode) {
        let mut bytes = Vec::new();
        encode(&Packet::Disconnect(Disconnect::new(reason)), self.version, &mut bytes);
        self.send(&bytes);
        assert_eq!(self.next(), Got::Closed);
    }

    /// The next thing that the broker says.
    pub fn next(&mut self) -> Got {
        loop {
            if let Some(got) = self.take_packet() {
                if let Some(got) = self.answer(got) {
                    return got;
                }
                continue;
            }
            self.input.drain(..self.used);
            self.used = 0;
            let mut buffer = [0; 64 << 10];
            match self.wire.read(&mut buffer) {
                Ok(0) => return Got::Closed,
                Ok(bytes) => self.input.extend_from_slice(&buffer[..bytes]),
                // A machine that was put to sleep wakes with it.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.gives_up => return Got::Closed,
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("waited in vain for the broker"),
                // A TLS connection may end without a goodbye.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    return Got::Closed;
                }
                Err(error) => panic!("read from the broker: {error}"),
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> (String, Vec<u8>) {
        match self.next() {
            Got::Message { topic, payload, .. } => (topic, payload),
            got => panic!("wanted a message, got {got:?}"),
        }
    }

    /// The payload of the next message, as text.
    pub fn text(&mut self) -> String {
        String::from_utf8(self.message().1).expect("the test sends text")
    }

    /// All that comes until the broker closes.
    pub fn until_closed(&mut self) -> Vec<Got> {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Got::Closed => return all,
                got => all.push(got),
            }
        }
    }

    fn new_id(&mut self) -> PacketId {
        self.last_id = self.last_id % u16::MAX + 1;
        PacketId::new(self.last_id).expect("it counts from 1")
    }

    fn take_packet(&mut self) -> Option<Got> {
        let whole = split_frame(&self.input[self.used..], usize::MAX).expect("the broker sends frames");
        let Framed::Whole { first, body, length } = whole else { return None };
        let got = match decode_from_server(self.version, first, body).expect("the broker sends packets") {
            Packet::ConnAck(ack) => Got::ConnAck { session_present: ack.session_present, reason: ack.reason },
            Packet::SubAck(ack) => Got::SubAck(ack.codes.iter().collect()),
            Packet::UnsubAck(ack) => Got::UnsubAck(ack.codes.iter().collect()),
            Packet::PubAck(ack) => Got::PubAck(ack.packet_id.get(), ack.reason),
            Packet::PubRec(ack) => Got::PubRec(ack.packet_id.get(), ack.reason),
            Packet::PubRel(ack) => Got::PubRel(ack.packet_id.get()),
            Packet::PubComp(ack) => Got::PubComp(ack.packet_id.get()),
            Packet::PingResp => Got::Pong,
            Packet::Disconnect(disconnect) => Got::Disconnect(disconnect.reason),
            Packet::Publish(publish) => {
                self.details = Details {
                    subscription_ids: publish.properties.subscription_ids.iter().map(NonZeroU32::get).collect(),
                    message_expiry: publish.properties.message_expiry,
                };
                Got::Message {
                    topic: publish.topic.to_owned(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos.level(),
                    retain: publish.retain,
                    dup: publish.dup,
                    packet_id: publish.packet_id.map_or(0, PacketId::get),
                }
            }
            other => panic!("the broker sent {other:?}"),
        };
        self.used += length;
        Some(got)
    }

    /// Does what a client should do about it; nothing is left of what is only of use to that.
    fn answer(&mut self, got: Got) -> Option<Got> {
        if !self.acknowledges {
            return Some(got);
        }
        match got {
            Got::Message { qos: 1, packet_id, .. } => self.acknowledge(AckKind::PubAck, packet_id),
            Got::Message { qos: 2, packet_id, .. } => self.acknowledge(AckKind::PubRec, packet_id),
            Got::PubRel(packet_id) => {
                self.acknowledge(AckKind::PubComp, packet_id);
                return None;
            }
            _ => {}
        }
        Some(got)
    }
}

/// A socket whose reads give up when nothing comes for too long.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect to the broker");
    stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    stream.set_nodelay(true).expect("send at once");
    stream
}
