//! A session with its output buffer and its clock, and short words for packets.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_codec::{
    Ack, AckKind, ConnAck, ConnAckProperties, Connect, Disconnect, ForwardProperties, Framed, PACKET_BYTES_MAX, Packet,
    PacketId, Publish, PublishProperties, QoS, ReasonCode, Version, decode_from_server, split_frame,
};
use fulmar_session::{
    AckAction, AckToken, Admitted, Deliver, Delivered, Drained, Ended, Identity, Limits, Outgoing, Policy,
    PublishAction, Quota, QuotaShare, Session, SharedMessage, admit,
};

pub(crate) const QOS0: QoS = QoS::AtMostOnce;
pub(crate) const QOS1: QoS = QoS::AtLeastOnce;
pub(crate) const QOS2: QoS = QoS::ExactlyOnce;

/// A session and what surrounds it.
pub(crate) struct Fixture {
    pub(crate) session: Session,
    pub(crate) limits: Arc<Limits>,
    pub(crate) now: Instant,
    pub(crate) out: Vec<u8>,
    pub(crate) topic: String,
    pub(crate) share: Arc<QuotaShare>,
    /// What was written and looked at.
    taken: Vec<u8>,
}

/// A client that asks for a session that lasts an hour.
pub(crate) fn lasting(version: Version) -> Connect<'static> {
    Connect { clean_start: false, session_expiry: 3600, ..Connect::new(version, "meter") }
}

pub(crate) fn admitted(connect: &Connect<'_>, limits: &Limits) -> Admitted {
    let policy = Policy { allow_anonymous: true, limits, authentication: None };
    admit(connect, policy, Identity::Anonymous, || "assigned-1".into()).unwrap()
}

impl Fixture {
    /// Not connected yet.
    pub(crate) fn new(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        let session = Session::new("meter".into(), Identity::Anonymous, Arc::clone(&limits));
        let now = Instant::now();
        let share = QuotaShare::new(Quota::new(usize::MAX));
        Self { session, limits, now, out: Vec::new(), topic: String::new(), share, taken: Vec::new() }
    }

    /// Connected, CONNACK read.
    pub(crate) fn connected(connect: &Connect<'_>, limits: Limits) -> Self {
        let mut fixture = Self::new(limits);
        fixture.connect(connect, false);
        fixture.packets();
        fixture
    }

    pub(crate) fn connect(&mut self, connect: &Connect<'_>, session_present: bool) -> Drained {
        let (admitted, before) = (admitted(connect, &self.limits), self.out.len());
        let drained = self.session.attach(admitted, session_present, &self.share, self.now, &mut self.out);
        self.without_bytes(drained, before)
    }

    /// The bytes of payloads are those that were written; what else was done is for the test to say.
    fn without_bytes(&self, drained: Drained, before: usize) -> Drained {
        let packets = decode_all(self.session.version(), &self.out[before..]);
        let payloads = packets.iter().map(|packet| match packet {
            Packet::Publish(publish) => publish.payload.len(),
            _ => 0,
        });
        assert_eq!(drained.payload_bytes, payloads.sum::<usize>());
        Drained { payload_bytes: 0, ..drained }
    }

    /// The connection is lost and what was not looked at with it.
    pub(crate) fn lose(&mut self) -> Ended {
        self.out.clear();
        self.session.connection_lost(self.now)
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub(crate) fn publish(&mut self, publish: &Publish<'_>) -> PublishAction {
        self.session.handle_publish(publish, &mut self.topic, &self.share, self.now, &mut self.out)
    }

    /// A publish that is to be routed.
    pub(crate) fn publish_open(&mut self, publish: &Publish<'_>) -> AckToken {
        match self.publish(publish) {
            PublishAction::Route { token: Some(token), .. } => token,
            other => panic!("{other:?} where a token was wanted"),
        }
    }

    pub(crate) fn routed(&mut self, token: AckToken, reason: ReasonCode) {
        self.session.handle_routed(token, reason, self.now, &mut self.out);
    }

    pub(crate) fn deliver(&mut self, qos: QoS, payload: &[u8]) -> Delivered {
        self.deliver_as(&outgoing(qos, payload), to(qos))
    }

    pub(crate) fn deliver_as(&mut self, outgoing: &Outgoing<'_>, how: Deliver<'_>) -> Delivered {
        let mut scratch = Vec::new();
        let mut shared = SharedMessage::new(&self.share, &mut scratch);
        self.session.deliver(&mut self.out, outgoing, how, self.now, &mut shared)
    }

    pub(crate) fn ack(&mut self, kind: AckKind, packet_id: u16) -> AckAction {
        self.ack_with(kind, packet_id, ReasonCode::SUCCESS)
    }

    pub(crate) fn ack_with(&mut self, kind: AckKind, packet_id: u16, reason: ReasonCode) -> AckAction {
        self.session.handle_ack(kind, &Ack::new(id(packet_id), reason), &mut self.out)
    }

    pub(crate) fn drain(&mut self) -> Drained {
        let before = self.out.len();
        let drained = self.session.drain(self.now, &mut self.out);
        self.without_bytes(drained, before)
    }

    /// What was written since the last look.
    pub(crate) fn packets(&mut self) -> Vec<Packet<'_>> {
        self.taken = std::mem::take(&mut self.out);
        decode_all(self.session.version(), &self.taken)
    }
}

pub(crate) fn decode_all(version: Version, mut bytes: &[u8]) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let Framed::Whole { first, body, length } = split_frame(bytes, PACKET_BYTES_MAX).unwrap() else {
            panic!("half a packet was written: {bytes:?}");
        };
        packets.push(decode_from_server(version, first, body).unwrap());
        bytes = &bytes[length..];
    }
    packets
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn maximum(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// A publish on topic `t`, as a client sends it or gets it.
pub(crate) fn publish(qos: QoS, packet_id: u16, payload: &[u8]) -> Publish<'_> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t",
        packet_id: PacketId::new(packet_id),
        properties: PublishProperties::default(),
        payload,
    }
}

pub(crate) fn with_alias<'a>(topic: &'a str, alias: u16) -> Publish<'a> {
    let topic_alias = NonZeroU16::new(alias);
    Publish { topic, properties: PublishProperties { topic_alias, ..Default::default() }, ..publish(QOS0, 0, b"") }
}

pub(crate) fn sent(qos: QoS, packet_id: u16, payload: &[u8]) -> Packet<'_> {
    Packet::Publish(publish(qos, packet_id, payload))
}

pub(crate) fn sent_again(qos: QoS, packet_id: u16, payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish { dup: true, ..publish(qos, packet_id, payload) })
}

pub(crate) fn outgoing(qos: QoS, payload: &[u8]) -> Outgoing<'_> {
    Outgoing { topic: "t", qos, retain: false, forward: ForwardProperties::EMPTY, payload, expires: None }
}

pub(crate) fn to(qos: QoS) -> Deliver<'static> {
    Deliver { qos, retain: false, subscription_ids: &[], share: None }
}

pub(crate) fn puback(packet_id: u16, reason: ReasonCode) -> Packet<'static> {
    Packet::PubAck(Ack::new(id(packet_id), reason))
}

pub(crate) fn pubrec(packet_id: u16, reason: ReasonCode) -> Packet<'static> {
    Packet::PubRec(Ack::new(id(packet_id), reason))
}

pub(crate) fn pubrel(packet_id: u16, reason: ReasonCode) -> Packet<'static> {
    Packet::PubRel(Ack::new(id(packet_id), reason))
}

pub(crate) fn pubcomp(packet_id: u16, reason: ReasonCode) -> Packet<'static> {
    Packet::PubComp(Ack::new(id(packet_id), reason))
}

pub(crate) fn disconnect(reason: ReasonCode) -> Packet<'static> {
    Packet::Disconnect(Disconnect::new(reason))
}

/// CONNACK as limits and version make it, without what depends on the client.
pub(crate) fn connack(session_present: bool, version: Version, limits: &Limits) -> ConnAck<'static> {
    let properties = match version {
        Version::V311 => ConnAckProperties::NONE,
        Version::V5 => ConnAckProperties {
            receive_maximum: limits.inflight_max,
            packet_bytes_max: NonZeroU32::new(limits.packet_bytes_max),
            topic_alias_max: limits.topic_aliases_max,
            ..ConnAckProperties::NONE
        },
    };
    ConnAck { session_present, reason: ReasonCode::SUCCESS, properties }
}
