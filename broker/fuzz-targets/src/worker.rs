//! A whole data thread under several clients at once: packets, bytes that are none, lost sockets, slow readers and times
//! in any order. What it sends is whole packets, of topic aliases those that it has set, and nothing is left when
//! everybody has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_auth::hooks::Ticket;
use fulmar_auth::identity::CertificateNames;
use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{
    Ack, AckKind, Connect, Disconnect, ForwardProperties, Framed, Packet, PacketId, PublishHead, QoS, ReasonCode,
    SubscribeFilter, SubscriptionOptions, Version, Will, decode_from_server, encode, encode_ack, encode_connect,
    encode_pingreq, encode_publish, encode_subscribe, split_frame,
};
use fulmar_worker::{
    AuthSettings, Closed, ConnId, Event, Gauges, LaneEnd, Limits, Node, NodeSettings, Origin, Out, Question, Rules,
    Worker,
};

use crate::dice::Dice;

const EVENTS_MAX: usize = 300;
const CLIENTS: u32 = 5;
const SESSION_SECONDS_MAX: u32 = 60;
const TOPICS: [&str; 7] = ["a", "a/b", "b", "long/b", "denied/a", "$SYS/a", "a/b/c/d/e/f/g/h/i/j"];
const FILTERS: [&str; 8] = ["a", "#", "+/b", "a/#", "$share/g/a", "$share/g/#", "denied/+", "a/#/b"];
const RULES: &str = "
rules:
- {deny: all, filters: ['denied/#']}
- {allow: all, filters: ['#', '$SYS/#']}
";

pub(crate) fn target(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let mut thread = Thread::start();
    for _ in 0..EVENTS_MAX {
        if dice.is_over() {
            break;
        }
        thread.let_happen(&mut dice);
    }
    thread.leave_all();
    let gauges = thread.worker.gauges();
    assert_eq!(gauges, Gauges::default(), "everybody has gone");
    assert_eq!(thread.node.trie_counts().subscriptions, 0);
}

/// A data thread, and a reactor around it.
struct Thread {
    node: Arc<Node>,
    worker: Worker,
    now: Instant,
    sockets: BTreeMap<u32, Socket>,
    asked: Asked,
}

/// The socket of one client.
struct Socket {
    conn: ConnId,
    /// That of its CONNECT, if it sent one that reads as such.
    version: Option<Version>,
    /// How many topic aliases it may be sent, and those that were set.
    aliases_max: u16,
    aliases: BTreeSet<u16>,
    /// What the worker has not consumed.
    unread: Vec<u8>,
    paused: bool,
    /// Takes nothing.
    deaf: bool,
}

/// What the worker wants of its reactor.
#[derive(Default)]
struct Asked {
    paused: Vec<(ConnId, bool)>,
    closed: Vec<(ConnId, Vec<u8>)>,
}

impl Thread {
    fn start() -> Thread {
        let now = Instant::now();
        let access = AccessFile::parse(RULES, AccessLimits::default()).unwrap();
        let rules = Rules { access: Some(Arc::new(access)), ..Rules::default() };
        let limits = Limits {
            packet_bytes: 2000,
            inflight: 4,
            outbound_inflight: 4,
            queued_messages: 10,
            queued_bytes: 2000,
            queued_bytes_total: 4000,
            output_buffer_bytes: 1000,
            session_expiry_seconds: SESSION_SECONDS_MAX,
            subscriptions_per_client: 6,
            subscriptions_per_packet: 3,
            topic_levels: 8,
            topic_aliases: 3,
            outbound_topic_aliases: 2,
            retained_messages: 4,
            sessions: 4,
            ..Limits::default()
        };
        let settings = NodeSettings {
            node_id: 1,
            incarnation: 1,
            name: "fuzzed".into(),
            threads: 1,
            limits,
            anonymous: vec![true],
            auth: AuthSettings { rules: Arc::new(rules), ..AuthSettings::new([7; 32]) },
            seed: 7,
            views: false,
            store_shards: None,
            wall_clock_microseconds: 0,
            start: now,
        };
        let node = Arc::new(Node::new(settings));
        let worker = Worker::new(Arc::clone(&node), 0, now, 7);
        Thread { node, worker, now, sockets: BTreeMap::new(), asked: Asked::default() }
    }

    fn let_happen(&mut self, dice: &mut Dice<'_>) {
        let client = dice.below(CLIENTS);
        match dice.below(16) {
            0..=2 => self.connect(client, dice),
            3 => self.lose(client),
            4 => {
                self.now += Duration::from_millis(100 * u64::from(dice.byte()));
                self.turn();
            }
            5 => {
                if let Some(socket) = self.sockets.get_mut(&client) {
                    socket.deaf = dice.flag();
                }
            }
            6 => {
                let length = dice.byte().into();
                self.send(client, dice.bytes(length));
            }
            _ => {
                let Some(version) = self.sockets.get(&client).and_then(|socket| socket.version) else { return };
                let bytes = packet(version, dice);
                // Now and then only a part of it.
                let part = if dice.below(16) == 15 { bytes.len() / 2 } else { bytes.len() };
                self.send(client, &bytes[..part]);
            }
        }
    }

    fn connect(&mut self, client: u32, dice: &mut Dice<'_>) {
        self.lose(client);
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
        let conn = self.worker.accepted(Origin { listener: 0, address, trace: 0 }, self.now).unwrap();
        let version = dice.pick(&[Version::V5, Version::V311]);
        let id = format!("client-{}", dice.below(3));
        let payload = [0; 20];
        let will = Will { delay: dice.pick(&[0, 3, 200]), qos: qos(dice), ..Will::new(dice.pick(&TOPICS), &payload) };
        let connect = Connect {
            clean_start: dice.flag(),
            keep_alive: dice.pick(&[0, 1, 20]),
            session_expiry: dice.pick(&[0, 5, u32::MAX]),
            receive_maximum: dice.pick(&[NonZeroU16::MAX, NonZeroU16::MIN]),
            packet_bytes_max: dice.pick(&[None, NonZeroU32::new(60)]),
            topic_alias_max: dice.pick(&[0, 1, 5]),
            will: dice.flag().then_some(will),
            ..Connect::new(version, &id)
        };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &connect);
        let socket = Socket {
            conn,
            version: Some(version),
            aliases_max: connect.topic_alias_max.min(2),
            aliases: BTreeSet::new(),
            unread: Vec::new(),
            paused: false,
            deaf: false,
        };
        self.sockets.insert(client, socket);
        // A client that begins with something else.
        if dice.below(16) == 15 {
            bytes = dice.bytes(40).to_vec();
            self.sockets.get_mut(&client).unwrap().version = None;
        }
        self.send(client, &bytes);
    }

    fn lose(&mut self, client: u32) {
        if let Some(socket) = self.sockets.remove(&client) {
            self.worker.closed(socket.conn, Closed::Eof, self.now, &mut self.asked);
            self.turn();
        }
    }

    fn send(&mut self, client: u32, bytes: &[u8]) {
        if let Some(socket) = self.sockets.get_mut(&client) {
            socket.unread.extend_from_slice(bytes);
            self.turn();
        }
    }

    /// Turns of the reactor until nobody has anything to do.
    fn turn(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            let clients: Vec<u32> = self.sockets.keys().copied().collect();
            for client in clients {
                let Some(socket) = self.sockets.get_mut(&client) else { continue };
                if socket.paused || socket.unread.is_empty() {
                    continue;
                }
                let consumed = self.worker.received(socket.conn, &socket.unread, self.now, &mut self.asked);
                socket.unread.drain(..consumed.bytes);
                moved |= consumed.bytes > 0;
                self.carry_out();
            }
            self.worker.tick(self.now, &mut self.asked);
            moved |= self.carry_out();
            moved |= self.write();
            self.worker.end_turn();
            if !moved {
                return;
            }
        }
        panic!("the thread does not come to rest");
    }

    /// Does what the worker asked for. Whether that was anything.
    fn carry_out(&mut self) -> bool {
        let Asked { paused, closed } = std::mem::take(&mut self.asked);
        let moved = !paused.is_empty() || !closed.is_empty();
        for (conn, is_paused) in paused {
            if let Some(socket) = self.sockets.values_mut().find(|socket| socket.conn == conn) {
                socket.paused = is_paused;
            }
        }
        for (conn, last) in closed {
            let client = self.sockets.iter().find(|(_, socket)| socket.conn == conn).map(|(client, _)| *client);
            let mut socket = client.and_then(|client| self.sockets.remove(&client)).unwrap();
            check_packets(&mut socket, &last);
        }
        moved
    }

    /// Every socket that is not deaf takes all that there is for it. Whether there was anything.
    fn write(&mut self) -> bool {
        let mut moved = false;
        for conn in std::mem::take(self.worker.dirty()) {
            let Some(socket) = self.sockets.values_mut().find(|socket| socket.conn == conn) else { continue };
            let mut bytes = Vec::new();
            if !socket.deaf {
                bytes = self.worker.output(conn).map(std::mem::take).unwrap_or_default();
                moved |= !bytes.is_empty();
                check_packets(socket, &bytes);
            }
            self.worker.written(conn, bytes.len());
            if !socket.deaf {
                self.worker.drained(conn, self.now, &mut self.asked);
            }
        }
        moved | self.carry_out()
    }

    /// All sockets are lost, and time passes until no session waits for its client any more.
    fn leave_all(&mut self) {
        (0..CLIENTS).for_each(|client| self.lose(client));
        for _ in 0..SESSION_SECONDS_MAX {
            self.now += Duration::from_secs(5);
            self.turn();
        }
    }
}

impl Out for Asked {
    fn pause_reading(&mut self, conn: ConnId, paused: bool) {
        self.paused.push((conn, paused));
    }
    fn close(&mut self, conn: ConnId, last_bytes: Vec<u8>) {
        self.closed.push((conn, last_bytes));
    }
    fn hand_over(&mut self, conn: ConnId, thread: u16, _origin: Origin, _certificate: Option<Arc<CertificateNames>>) {
        panic!("{conn} belongs to thread {thread} of 1");
    }
    fn verify(&mut self, question: Question) -> bool {
        panic!("{question:?} is asked where there are no passwords");
    }
    fn abandon(&mut self, ticket: Ticket) {
        panic!("{ticket:?} is given up where nothing is asked");
    }
    fn lane_closed(&mut self, peer: u64, lane: u16, _epoch: u64, why: LaneEnd) {
        panic!("lane {lane} of {peer} is closed where there are no peers: {why:?}");
    }
    fn event(&mut self, _event: Event<'_>) {}
}

/// What was written for a client is whole packets of its version, and it knows each topic alias.
fn check_packets(socket: &mut Socket, mut bytes: &[u8]) {
    let Some(version) = socket.version else { return };
    while !bytes.is_empty() {
        let Ok(Framed::Whole { first, body, length }) = split_frame(bytes, usize::MAX) else {
            panic!("half a packet was written: {bytes:?}")
        };
        if let Packet::Publish(publish) = decode_from_server(version, first, body).unwrap()
            && let Some(alias) = publish.properties.topic_alias.map(NonZeroU16::get)
        {
            assert!(alias <= socket.aliases_max, "alias {alias}, {} allowed", socket.aliases_max);
            let is_set = !publish.topic.is_empty() && socket.aliases.insert(alias);
            assert!(is_set || socket.aliases.contains(&alias), "alias {alias} was never set");
        }
        bytes = &bytes[length..];
    }
}

/// A packet of a client.
fn packet(version: Version, dice: &mut Dice<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match dice.below(12) {
        0..=4 => {
            let (qos, payload) = (qos(dice), [7; 255]);
            let packet_id = (qos != QoS::AtMostOnce).then(|| packet_id(dice));
            let head = PublishHead {
                qos,
                packet_id,
                dup: qos != QoS::AtMostOnce && dice.flag(),
                retain: dice.flag(),
                topic_alias: dice.pick(&[None, None, NonZeroU16::new(1), NonZeroU16::new(4)]),
                message_expiry: dice.pick(&[None, None, Some(2)]),
                ..PublishHead::default()
            };
            let payload = &payload[..usize::from(dice.byte())];
            encode_publish(&mut bytes, version, &head, dice.pick(&TOPICS), &ForwardProperties::EMPTY, payload);
        }
        5 | 6 => {
            let options = SubscriptionOptions {
                qos: qos(dice),
                no_local: version == Version::V5 && dice.flag(),
                ..SubscriptionOptions::default()
            };
            let filters = [SubscribeFilter { filter: dice.pick(&FILTERS), options }];
            let id = if version == Version::V5 { dice.pick(&[None, NonZeroU32::new(9)]) } else { None };
            encode_subscribe(&mut bytes, version, packet_id(dice), id, &filters);
        }
        7..=9 => {
            let kind = dice.pick(&[AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp]);
            encode_ack(&mut bytes, version, kind, &Ack::new(packet_id(dice), ReasonCode::SUCCESS));
        }
        10 => encode_pingreq(&mut bytes),
        _ => {
            let reason = dice.pick(&[ReasonCode::SUCCESS, ReasonCode::new(4)]);
            encode(&Packet::Disconnect(Disconnect::new(reason)), version, &mut bytes);
        }
    }
    bytes
}

fn qos(dice: &mut Dice<'_>) -> QoS {
    dice.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn packet_id(dice: &mut Dice<'_>) -> PacketId {
    PacketId::new(1 + u16::from(dice.byte() % 8)).unwrap()
}
