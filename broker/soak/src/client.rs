//! A client that does what it is told and takes a lost connection as it comes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use fulmar_codec::{
    Ack, AckKind, Connect, Disconnect, ForwardProperties, Framed, Packet, PacketId, PublishHead, QoS, ReasonCode,
    SubscribeFilter, SubscriptionOptions, Version, decode_from_server, encode, encode_ack, encode_connect,
    encode_publish, encode_subscribe, split_frame,
};

/// How long a broker may take to take our bytes, or to answer CONNECT.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    socket: TcpStream,
    version: Version,
    input: Vec<u8>,
    last_id: u16,
    /// Retained messages that were there when it subscribed.
    pub(crate) retained: usize,
}

impl Client {
    /// Connects and waits for the answer. `None`: refused.
    pub(crate) fn connect(address: SocketAddr, connect: &Connect<'_>) -> io::Result<Option<Client>> {
        let (socket, version) = (open(address)?, connect.version);
        let mut client = Client { socket, version, input: Vec::new(), last_id: 0, retained: 0 };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, connect);
        client.send(&bytes)?;
        loop {
            if let Framed::Whole { first, body, length } = split(&client.input)? {
                let packet = decode_from_server(client.version, first, body).map_err(invalid)?;
                let is_welcome = matches!(packet, Packet::ConnAck(ack) if ack.reason == ReasonCode::SUCCESS);
                client.input.drain(..length);
                return Ok(is_welcome.then_some(client));
            }
            if client.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) -> io::Result<()> {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let id = if self.version == Version::V5 { NonZeroU32::new(7) } else { None };
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, self.version, self.new_id(), id, &[SubscribeFilter { filter, options }]);
        self.send(&bytes)
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS, retain: bool) -> io::Result<()> {
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.new_id());
        let head = PublishHead { qos, packet_id, retain, ..PublishHead::default() };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, self.version, &head, topic, &ForwardProperties::EMPTY, payload);
        self.send(&bytes)
    }

    /// Reads for a while, and answers what wants an answer.
    pub(crate) fn listen(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.answer()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.fill() {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }

    /// Leaves as one should, with the will if `with_will`.
    pub(crate) fn leave(mut self, with_will: bool) -> io::Result<()> {
        // MQTT 5.0, 3.14.2.1: 0x04 is "disconnect with will message".
        let reason = if with_will && self.version == Version::V5 { ReasonCode::new(4) } else { ReasonCode::SUCCESS };
        let mut bytes = Vec::new();
        encode(&Packet::Disconnect(Disconnect::new(reason)), self.version, &mut bytes);
        self.send(&bytes)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    fn answer(&mut self) -> io::Result<()> {
        let (mut used, mut answers) = (0, Vec::new());
        while let Framed::Whole { first, body, length } = split(&self.input[used..])? {
            let answer = match decode_from_server(self.version, first, body).map_err(invalid)? {
                Packet::Publish(publish) => {
                    self.retained += usize::from(publish.retain);
                    let kind = if publish.qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
                    publish.packet_id.map(|id| (kind, id))
                }
                Packet::PubRec(ack) if !ack.reason.is_error() => Some((AckKind::PubRel, ack.packet_id)),
                Packet::PubRel(ack) => Some((AckKind::PubComp, ack.packet_id)),
                _ => None,
            };
            if let Some((kind, id)) = answer {
                encode_ack(&mut answers, self.version, kind, &Ack::new(id, ReasonCode::SUCCESS));
            }
            used += length;
        }
        self.input.drain(..used);
        self.send(&answers)
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 << 10];
        let bytes = self.socket.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..bytes]);
        Ok(bytes)
    }

    fn new_id(&mut self) -> PacketId {
        self.last_id = self.last_id % u16::MAX + 1;
        PacketId::new(self.last_id).expect("it counts from 1")
    }
}

/// A socket to the broker that does not wait for ever.
pub(crate) fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn split(bytes: &[u8]) -> io::Result<Framed<'_>> {
    split_frame(bytes, usize::MAX).map_err(invalid)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
