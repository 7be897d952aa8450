//! System calls per message of the real broker, in lock step: clients write once and wait for all that follows from it
//! before they write again, so the broker's turns are the same each time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fulmar_codec::{
    Ack, AckKind, Connect, Disconnect, Framed, Packet, PacketId, QoS, ReasonCode, SubscribeFilter, SubscriptionOptions,
    Version, decode_from_server, encode, encode_ack, encode_connect, encode_pingreq, encode_subscribe, split_frame,
};

use crate::core::publishes;
use crate::rules::{PASSWORD, USER};
use crate::scenario::{Scenario, TOPIC, Traffic};
use crate::trace::{PATIENCE, Traced, is_counted};

/// Rounds before counting begins: buffers get their size, the password is remembered.
const WARM_UP: u32 = 5;

/// System calls of the data thread for one message of the scenario.
pub(crate) fn count(scenario: &Scenario, broker: &Path) -> Result<f64> {
    let traced = Traced::start(broker, scenario.name)?;
    let mut scene = Scene::set(scenario, &traced)?;
    for _ in 0..WARM_UP {
        scene.play(&traced)?;
    }
    let before = traced.calls()?.len();
    for _ in 0..scenario.rounds {
        scene.play(&traced)?;
    }
    let calls = traced.calls()?;
    let counted = calls[before..].iter().filter(|call| is_counted(call)).count();
    Ok(counted as f64 / (f64::from(scenario.rounds) * scenario.messages_per_round() as f64))
}

/// The clients that are there, and what they do in a round.
enum Scene {
    Publish { publisher: Client, subscribers: Vec<Client>, write: Vec<u8>, qos: QoS, per_write: usize },
    Connect,
}

impl Scene {
    fn set(scenario: &Scenario, traced: &Traced) -> Result<Scene> {
        let Traffic::Publish { qos, subscribers, per_write } = scenario.traffic else { return Ok(Scene::Connect) };
        let subscribe = |number| {
            let mut client = Client::connect(traced, &format!("sub-{number}"))?;
            client.subscribe(qos).map(|()| client)
        };
        let subscribers = (0..subscribers).map(subscribe).collect::<Result<_>>()?;
        let publisher = Client::connect(traced, "publisher")?;
        Ok(Scene::Publish { publisher, subscribers, write: publishes(qos, per_write), qos, per_write })
    }

    fn play(&mut self, traced: &Traced) -> Result<()> {
        match self {
            Scene::Connect => Client::connect(traced, "visitor")?.leave(),
            Scene::Publish { publisher, subscribers, write, qos, per_write } => {
                publisher.send(write)?;
                for subscriber in subscribers {
                    subscriber.take_messages(*per_write)?;
                }
                if *qos != QoS::AtMostOnce {
                    (0..*per_write).try_for_each(|_| publisher.expect(|packet| matches!(packet, Packet::PubAck(_))))?;
                }
                Ok(())
            }
        }
    }
}

/// A client that reads and writes as the scenario says and waits for each answer.
struct Client {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Client {
    fn connect(traced: &Traced, id: &str) -> Result<Client> {
        let socket = TcpStream::connect(traced.address).context("connect to the broker")?;
        socket.set_nodelay(true).context("send at once")?;
        socket.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
        // Accepted first: whether CONNECT is there by then would be a race.
        traced.await_rest()?;
        let mut client = Client { socket, input: Vec::new() };
        let connect = Connect { username: Some(USER), password: Some(PASSWORD), ..Connect::new(Version::V311, id) };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &connect);
        client.send(&bytes)?;
        client.expect(|packet| matches!(packet, Packet::ConnAck(ack) if ack.reason == ReasonCode::SUCCESS))?;
        Ok(client)
    }

    fn leave(mut self) -> Result<()> {
        let mut bytes = Vec::new();
        encode(&Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)), Version::V311, &mut bytes);
        self.send(&bytes)?;
        match self.socket.read(&mut [0; 1]).context("wait for the broker to close")? {
            0 => Ok(()),
            _ => bail!("the broker said more after DISCONNECT"),
        }
    }

    fn subscribe(&mut self, qos: QoS) -> Result<()> {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filters = [SubscribeFilter { filter: TOPIC, options }];
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, Version::V311, PacketId::new(1).expect("1 is not 0"), None, &filters);
        self.send(&bytes)?;
        self.expect(|packet| matches!(packet, Packet::SubAck(ack) if ack.codes.iter().all(|code| !code.is_error())))
    }

    /// Takes so many messages, then acknowledges all of them in one write, if they want that. A PINGREQ goes with it: its
    /// answer tells that they were read.
    fn take_messages(&mut self, count: usize) -> Result<()> {
        let mut acks = Vec::new();
        for _ in 0..count {
            self.expect(|packet| {
                let Packet::Publish(publish) = packet else { return false };
                if let Some(packet_id) = publish.packet_id {
                    encode_ack(&mut acks, Version::V311, AckKind::PubAck, &Ack::new(packet_id, ReasonCode::SUCCESS));
                }
                true
            })?;
        }
        if !acks.is_empty() {
            encode_pingreq(&mut acks);
            self.send(&acks)?;
            self.expect(|packet| matches!(packet, Packet::PingResp))?;
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).context("send to the broker")
    }

    /// The next packet has to be this one.
    fn expect(&mut self, mut is_wanted: impl FnMut(&Packet<'_>) -> bool) -> Result<()> {
        loop {
            if let Framed::Whole { first, body, length } = split_frame(&self.input, usize::MAX)? {
                let packet = decode_from_server(Version::V311, first, body)?;
                if !is_wanted(&packet) {
                    bail!("the broker sent {packet:?}");
                }
                self.input.drain(..length);
                return Ok(());
            }
            let mut buffer = [0; 16 << 10];
            let bytes = self.socket.read(&mut buffer).context("wait for the broker")?;
            if bytes == 0 {
                bail!("the broker closed the connection");
            }
            self.input.extend_from_slice(&buffer[..bytes]);
        }
    }
}
