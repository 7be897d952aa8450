//! A connection of an MQTT 5 client whose session outlives it, packet by packet.
//!
//! rumqttc keeps what is under way to itself and forgets some of it between two connections. Who wants to know that
//! nothing is lost or doubled has to do a client's part of QoS 2 alone: that is in `traffic.rs`, the bytes are here.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fulmar_codec::{
    Ack, AckKind, Connect, ForwardProperties, Framed, Packet, PacketId, PublishHead, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions, Version, decode_from_server, encode_ack, encode_connect, encode_pingreq, encode_publish,
    encode_subscribe, split_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

/// The address of a pod that is gone answers nobody, and neither does a node without a network.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longer than whatever a cluster makes those wait whom it lets in.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const PING_EVERY: Duration = Duration::from_secs(1);
/// A broker that answers no PINGREQ for so long is left for another one.
const SILENCE: Duration = Duration::from_secs(8);
const SESSION_SECONDS: u32 = 3600;

/// What a broker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A message of QoS 2.
    Message { topic: String, payload: String, packet_id: PacketId, dup: bool },
    /// Acknowledges a PUBLISH, or refuses it.
    Received(PacketId, ReasonCode),
    /// The message is released.
    Release(PacketId),
    /// The message is done.
    Complete(PacketId),
    /// SUBACK with its codes.
    Subscribed(Vec<ReasonCode>),
    /// The connection has come to its end, in whatever way.
    End,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    pings: Interval,
    heard: Instant,
}

impl Connection {
    /// Connects as the client `id`, and tells whether its session was there. `None`: nobody lets it in now.
    pub(crate) async fn open(host: &str, port: u16, id: &str) -> Result<Option<(Self, bool)>> {
        let Ok(Ok(stream)) = timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await else { return Ok(None) };
        stream.set_nodelay(true).context("send at once")?;
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = Self { stream, input: Vec::new(), pings, heard: Instant::now() };
        let connect = Connect { clean_start: false, session_expiry: SESSION_SECONDS, ..Connect::new(Version::V5, id) };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &connect);
        connection.send(&bytes).await;
        let Ok(answer) = timeout(ANSWER_LIMIT, connection.answer_to_connect()).await else { return Ok(None) };
        match answer.with_context(|| format!("connect {id}"))? {
            None => Ok(None),
            Some((_, ReasonCode::SERVER_UNAVAILABLE | ReasonCode::SERVER_BUSY)) => Ok(None),
            Some((session_present, ReasonCode::SUCCESS)) => Ok(Some((connection, session_present))),
            Some((_, reason)) => bail!("{id}: found CONNACK with {reason:?}, wanted success"),
        }
    }

    async fn answer_to_connect(&mut self) -> Result<Option<(bool, ReasonCode)>> {
        loop {
            if let Some((length, packet)) = first_packet(&self.input)? {
                let Packet::ConnAck(answer) = packet else { bail!("found {packet:?}, wanted CONNACK") };
                let answer = (answer.session_present, answer.reason);
                self.input.drain(..length);
                return Ok(Some(answer));
            }
            if !self.read().await {
                return Ok(None);
            }
        }
    }

    /// Subscribes at QoS 2, and waits until it is granted. False: the connection ended before.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<bool> {
        let options = SubscriptionOptions { qos: QoS::ExactlyOnce, ..SubscriptionOptions::default() };
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, Version::V5, PacketId::MIN, None, &[SubscribeFilter { filter, options }]);
        self.send(&bytes).await;
        match self.next().await? {
            Said::End => Ok(false),
            Said::Subscribed(codes) => {
                let wanted = [ReasonCode::granted(QoS::ExactlyOnce)];
                ensure!(codes == wanted, "subscribing to {filter}: found {codes:?}, wanted {wanted:?}");
                Ok(true)
            }
            other => bail!("found {other:?}, wanted SUBACK"),
        }
    }

    /// Publishes at QoS 2 and waits for nothing.
    pub(crate) async fn publish(&mut self, packet_id: PacketId, dup: bool, topic: &str, payload: &str) {
        let head = PublishHead { dup, qos: QoS::ExactlyOnce, packet_id: Some(packet_id), ..PublishHead::default() };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, Version::V5, &head, topic, &ForwardProperties::EMPTY, payload.as_bytes());
        self.send(&bytes).await;
    }

    /// Acknowledges.
    pub(crate) async fn acknowledge(&mut self, kind: AckKind, packet_id: PacketId) {
        let mut bytes = Vec::new();
        encode_ack(&mut bytes, Version::V5, kind, &Ack::new(packet_id, ReasonCode::SUCCESS));
        self.send(&bytes).await;
    }

    /// What the broker says next. Nothing is lost when it is no longer waited for.
    pub(crate) async fn next(&mut self) -> Result<Said> {
        loop {
            while let Some((length, packet)) = first_packet(&self.input)? {
                let said = said(&packet)?;
                self.input.drain(..length);
                if let Some(said) = said {
                    return Ok(said);
                }
            }
            tokio::select! {
                is_open = read_more(&mut self.stream, &mut self.input) => {
                    if !is_open {
                        return Ok(Said::End);
                    }
                    self.heard = Instant::now();
                }
                _ = self.pings.tick() => {
                    if self.heard.elapsed() > SILENCE {
                        return Ok(Said::End);
                    }
                    let mut bytes = Vec::new();
                    encode_pingreq(&mut bytes);
                    self.send(&bytes).await;
                }
            }
        }
    }

    async fn read(&mut self) -> bool {
        read_more(&mut self.stream, &mut self.input).await
    }

    /// Whether it has come to its end is told by reading.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(SILENCE, self.stream.write_all(bytes)).await;
    }
}

/// False at the end.
async fn read_more(stream: &mut TcpStream, input: &mut Vec<u8>) -> bool {
    stream.read_buf(input).await.is_ok_and(|bytes| bytes > 0)
}

fn first_packet(input: &[u8]) -> Result<Option<(usize, Packet<'_>)>> {
    let Framed::Whole { first, body, length } = split_frame(input, usize::MAX)? else { return Ok(None) };
    Ok(Some((length, decode_from_server(Version::V5, first, body)?)))
}

/// `None`: nothing that anybody waits for.
fn said(packet: &Packet<'_>) -> Result<Option<Said>> {
    Ok(Some(match packet {
        Packet::Publish(publish) => Said::Message {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            packet_id: publish.packet_id.with_context(|| format!("found {publish:?}, wanted QoS 2"))?,
            dup: publish.dup,
        },
        Packet::PubRec(ack) => Said::Received(ack.packet_id, ack.reason),
        Packet::PubRel(ack) => Said::Release(ack.packet_id),
        Packet::PubComp(ack) => Said::Complete(ack.packet_id),
        Packet::SubAck(ack) => Said::Subscribed(ack.codes.iter().collect()),
        Packet::Disconnect(_) => Said::End,
        Packet::PingResp => return Ok(None),
        other => bail!("found {other:?}, wanted what belongs to QoS 2"),
    }))
}
