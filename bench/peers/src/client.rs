//! A client that says what it wanted and what came instead.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use fulmar_codec::{
    Connect, ForwardProperties, Framed, Packet, PacketId, PublishHead, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions, Version, decode_from_server, encode_connect, encode_pingreq, encode_publish, encode_subscribe,
    split_frame,
};

use crate::broker::Broker;

/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct Client {
    socket: TcpStream,
    version: Version,
    input: Vec<u8>,
    last_id: u16,
    /// Of the answer to CONNECT.
    pub(crate) session_present: bool,
}

/// A message.
#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
}

impl Client {
    pub(crate) fn connect(broker: &Broker, connect: &Connect<'_>) -> Result<Client> {
        let socket = TcpStream::connect(broker.address(connect.version)).context("connect")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut client =
            Client { socket, version: connect.version, input: Vec::new(), last_id: 0, session_present: false };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, connect);
        client.send(&bytes)?;
        client.session_present = client.next("CONNACK", |packet| match packet {
            Packet::ConnAck(ack) if ack.reason == ReasonCode::SUCCESS => Some(ack.session_present),
            _ => None,
        })?;
        Ok(client)
    }

    /// A client whose session ends with its connection.
    pub(crate) fn visit(broker: &Broker, version: Version, id: &str) -> Result<Client> {
        Client::connect(broker, &greeting(version, id))
    }

    pub(crate) fn subscribe(&mut self, filters: &[&str], qos: QoS) -> Result<()> {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filters: Vec<_> = filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, self.version, self.new_id(), None, &filters);
        self.send(&bytes)?;
        self.next("SUBACK", |packet| matches!(packet, Packet::SubAck(_)).then_some(()))
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Result<()> {
        self.publish_with(topic, payload, qos, retain, &ForwardProperties::EMPTY)
    }

    pub(crate) fn publish_with(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
        properties: &ForwardProperties<'_>,
    ) -> Result<()> {
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.new_id());
        let head = PublishHead { qos, packet_id, retain, ..PublishHead::default() };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, self.version, &head, topic, properties, payload);
        self.send(&bytes)?;
        if qos == QoS::AtLeastOnce {
            self.next("PUBACK", |packet| matches!(packet, Packet::PubAck(_)).then_some(()))?;
        }
        Ok(())
    }

    pub(crate) fn message(&mut self) -> Result<Message> {
        self.next("a message", |packet| match packet {
            Packet::Publish(publish) => Some(Message {
                topic: publish.topic.to_owned(),
                payload: publish.payload.to_vec(),
                retain: publish.retain,
            }),
            _ => None,
        })
    }

    /// Whatever was sent before has been handled when this returns; nothing came meanwhile.
    pub(crate) fn ping(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        encode_pingreq(&mut bytes);
        self.send(&bytes)?;
        self.next("PINGRESP", |packet| matches!(packet, Packet::PingResp).then_some(()))
    }

    /// Waits until the broker closes.
    pub(crate) fn await_close(&mut self) -> Result<()> {
        loop {
            match self.socket.read(&mut [0; 1024]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(_) => bail!("not closed"),
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).context("send")
    }

    fn next<T>(&mut self, what: &str, take: impl Fn(&Packet<'_>) -> Option<T>) -> Result<T> {
        loop {
            if let Framed::Whole { first, body, length } = split_frame(&self.input, usize::MAX)? {
                let packet = decode_from_server(self.version, first, body)?;
                let taken = take(&packet).ok_or_else(|| anyhow!("{} for {what}", name(&packet)));
                self.input.drain(..length);
                return taken;
            }
            let mut buffer = [0; 4096];
            let bytes = match self.socket.read(&mut buffer) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(_) => bail!("{what} did not come"),
            };
            ensure!(bytes > 0, "closed before {what}");
            self.input.extend_from_slice(&buffer[..bytes]);
        }
    }

    fn new_id(&mut self) -> PacketId {
        self.last_id += 1;
        PacketId::new(self.last_id).expect("no case needs 65,536 packets")
    }
}

/// A CONNECT with a keep alive: rumqttd refuses those without, which is a case of its own.
pub(crate) fn greeting(version: Version, id: &str) -> Connect<'_> {
    Connect { keep_alive: 60, ..Connect::new(version, id) }
}

fn name(packet: &Packet<'_>) -> String {
    let text = format!("{packet:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}
