//! A client of the simulated world: real packets over a wire of bytes, and a record of all it got.

use super::World;
use fulmar_codec::{
    Ack, AckKind, Auth, ConnAckProperties, Connect, Framed, Packet, PacketId, PublishHead, QoS, ReasonCode,
    SubscribeFilter, SubscriptionOptions, Version, decode_from_server, encode_ack, encode_auth, encode_connect,
    encode_publish, encode_subscribe, encode_unsubscribe, split_frame,
};
use fulmar_worker::ConnId;

/// What a client got from its broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Got {
    ConnAck { session_present: bool, reason: ReasonCode },
    SubAck(Vec<ReasonCode>),
    UnsubAck(Vec<ReasonCode>),
    Message { topic: String, payload: String, qos: u8, retain: bool },
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
    Pong,
    Disconnect(ReasonCode),
    Auth { reason: ReasonCode, method: String, data: String },
    Closed,
}

pub struct Client {
    pub id: String,
    pub version: Version,
    pub(super) at: Option<(usize, usize, ConnId)>,
    output: Vec<u8>,
    input: Vec<u8>,
    next_id: u16,
    /// In order.
    pub got: Vec<Got>,
    /// Method and data of the last CONNACK.
    pub authentication: Option<(String, Option<String>)>,
    /// What it got since it came first: packets, messages, the bytes of their payloads, and all bytes.
    pub received: [u64; 4],
    /// Answers deliveries as a client should.
    pub acknowledges: bool,
    pub(super) farewell: Option<ReasonCode>,
    /// Does not read.
    pub(super) deaf: bool,
    /// QoS 2 deliveries not released yet: a second copy is not a second message.
    open: Vec<u16>,
}

impl Client {
    /// Payloads of the messages that it got, in order.
    pub fn payloads(&self) -> Vec<&str> {
        let payload = |got: &'_ Got| matches!(got, Got::Message { .. });
        self.got
            .iter()
            .filter(|got| payload(got))
            .map(|got| if let Got::Message { payload, .. } = got { payload.as_str() } else { "" })
            .collect()
    }

    /// Takes what it got since the last time.
    pub fn take(&mut self) -> Vec<Got> {
        std::mem::take(&mut self.got)
    }

    pub fn is_connected(&self) -> bool {
        self.at.is_some()
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    pub(super) fn closed(&mut self) {
        self.at = None;
        self.got.push(Got::Closed);
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.received[3] += bytes.len() as u64;
        let input = std::mem::take(&mut self.input);
        let mut used = 0;
        while let Framed::Whole { first, body, length } =
            split_frame(&input[used..], usize::MAX).expect("the broker sends frames")
        {
            used += length;
            let packet = decode_from_server(self.version, first, body).expect("the broker sends packets");
            self.received[0] += 1;
            if let Packet::Publish(publish) = &packet {
                self.received[1] += 1;
                self.received[2] += publish.payload.len() as u64;
            }
            self.handle(&packet);
        }
        self.input = input[used..].to_vec();
    }

    fn handle(&mut self, packet: &Packet<'_>) {
        let got = match packet {
            Packet::ConnAck(connack) => {
                let ConnAckProperties { authentication_method, authentication_data, .. } = connack.properties;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                self.authentication =
                    authentication_method.map(|method| (method.to_owned(), authentication_data.map(text)));
                Got::ConnAck { session_present: connack.session_present, reason: connack.reason }
            }
            Packet::SubAck(suback) => Got::SubAck(suback.codes.iter().collect()),
            Packet::UnsubAck(unsuback) => Got::UnsubAck(unsuback.codes.iter().collect()),
            Packet::PubAck(ack) => Got::PubAck(ack.packet_id.get()),
            Packet::PubRec(ack) => {
                encode_ack(
                    &mut self.output,
                    self.version,
                    AckKind::PubRel,
                    &Ack::new(ack.packet_id, ReasonCode::SUCCESS),
                );
                Got::PubRec(ack.packet_id.get())
            }
            Packet::PubComp(ack) => Got::PubComp(ack.packet_id.get()),
            Packet::PubRel(ack) => {
                self.open.retain(|id| *id != ack.packet_id.get());
                self.answer(AckKind::PubComp, ack.packet_id);
                return;
            }
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    let kind = if publish.qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
                    self.answer(kind, id);
                    if kind == AckKind::PubRec {
                        if self.open.contains(&id.get()) {
                            return;
                        }
                        self.open.push(id.get());
                    }
                }
                Got::Message {
                    topic: publish.topic.to_owned(),
                    payload: String::from_utf8_lossy(publish.payload).into_owned(),
                    qos: publish.qos.level(),
                    retain: publish.retain,
                }
            }
            Packet::PingResp => Got::Pong,
            Packet::Auth(auth) => Got::Auth {
                reason: auth.reason,
                method: auth.method.unwrap_or_default().to_owned(),
                data: String::from_utf8_lossy(auth.data.unwrap_or_default()).into_owned(),
            },
            Packet::Disconnect(disconnect) => {
                self.farewell = Some(disconnect.reason);
                Got::Disconnect(disconnect.reason)
            }
            other => panic!("a client got {other:?}"),
        };
        self.got.push(got);
    }

    fn answer(&mut self, kind: AckKind, id: PacketId) {
        if self.acknowledges {
            encode_ack(&mut self.output, self.version, kind, &Ack::new(id, ReasonCode::SUCCESS));
        }
    }
}

impl World {
    /// A client that connects to a node: MQTT 5, clean start, session expiry 0 unless changed.
    pub fn connect(&mut self, node: usize, id: &str) -> usize {
        self.connect_with(node, id, |connect| connect)
    }

    pub fn connect_with<'a>(
        &mut self,
        node: usize,
        id: &'a str,
        change: impl FnOnce(Connect<'a>) -> Connect<'a>,
    ) -> usize {
        let connect = change(Connect::new(Version::V5, id));
        let mut output = Vec::new();
        encode_connect(&mut output, &connect);
        self.clients.push(Client {
            id: id.to_owned(),
            version: connect.version,
            at: None,
            output,
            input: Vec::new(),
            next_id: 0,
            got: Vec::new(),
            authentication: None,
            received: [0; 4],
            acknowledges: true,
            farewell: None,
            deaf: false,
            open: Vec::new(),
        });
        let client = self.clients.len() - 1;
        self.plug_client(client, node);
        self.settle();
        client
    }

    /// The same client comes back with a new connection.
    pub fn reconnect_client<'a>(
        &mut self,
        client: usize,
        node: usize,
        id: &'a str,
        change: impl FnOnce(Connect<'a>) -> Connect<'a>,
    ) {
        self.vanish(client);
        let connect = change(Connect::new(Version::V5, id));
        let state = &mut self.clients[client];
        state.input.clear();
        state.output.clear();
        encode_connect(&mut state.output, &connect);
        self.plug_client(client, node);
        self.settle();
    }

    /// Subscribes; does not wait.
    pub fn subscribe(&mut self, client: usize, filter: &str, qos: QoS) {
        self.subscribe_with(client, filter, SubscriptionOptions { qos, ..SubscriptionOptions::default() });
    }

    pub fn subscribe_with(&mut self, client: usize, filter: &str, options: SubscriptionOptions) {
        self.subscribe_all(client, &[SubscribeFilter { filter, options }]);
    }

    /// In one packet.
    pub fn subscribe_all(&mut self, client: usize, filters: &[SubscribeFilter<'_>]) {
        let client = &mut self.clients[client];
        let id = client.new_id();
        encode_subscribe(&mut client.output, client.version, id, None, filters);
    }

    pub fn unsubscribe(&mut self, client: usize, filter: &str) {
        let client = &mut self.clients[client];
        let id = client.new_id();
        encode_unsubscribe(&mut client.output, client.version, id, &[filter]);
    }

    /// Publishes; does not wait. Tells the packet id, 0 for QoS 0.
    pub fn publish(&mut self, client: usize, topic: &str, payload: &str, qos: QoS) -> u16 {
        self.publish_with(client, topic, payload, qos, false)
    }

    pub fn publish_with(&mut self, client: usize, topic: &str, payload: &str, qos: QoS, retain: bool) -> u16 {
        let client = &mut self.clients[client];
        let packet_id = (qos != QoS::AtMostOnce).then(|| client.new_id());
        let head = PublishHead { qos, retain, packet_id, ..PublishHead::default() };
        let forward = fulmar_codec::ForwardProperties::EMPTY;
        encode_publish(&mut client.output, client.version, &head, topic, &forward, payload.as_bytes());
        packet_id.map_or(0, PacketId::get)
    }

    /// Sends AUTH; does not wait.
    pub fn auth(&mut self, client: usize, reason: ReasonCode, method: &str, data: &str) {
        let auth = Auth { data: Some(data.as_bytes()), ..Auth::new(reason, Some(method)) };
        encode_auth(&mut self.clients[client].output, &auth);
    }

    /// Raw bytes from a client.
    pub fn send_bytes(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].output.extend_from_slice(bytes);
    }
}

impl Client {
    fn new_id(&mut self) -> PacketId {
        self.next_id = self.next_id % u16::MAX + 1;
        PacketId::new(self.next_id).expect("it counts from 1")
    }
}
