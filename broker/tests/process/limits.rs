//! Limits reached over the wire, one after the other: what the client is told, what is counted, what the log says.
//!
//! Those of memory and of clients that do not read are in `overload`, those of packets against the rules in `bad_input`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fulmar_codec::{
    Connect, Disconnect, Packet, PropertiesBuilder, PublishHead, QoS, ReasonCode, SubscriptionOptions, Version, Will,
    encode, encode_pingreq,
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::harness::{Authority, Broker, Client, Files, Folder, Got, Start, shake_hands, tcp, wait_for};

/// How often a limit was reached, once it was.
fn wait_for_hits(broker: &Broker, limit: &str, fits: impl Fn(u64) -> bool) -> u64 {
    broker.wait_for_metric(&hits(limit), fits)
}

fn hits(limit: &str) -> String {
    format!("fulmar_limit_hits_total{{limit=\"{limit}\"}}")
}

/// The log tells of a client beyond a limit of its own.
fn wait_for_line(broker: &Broker, client_id: &str, limit: &str) {
    let tells = |line: &Value| line["client_id"] == client_id && line["limit"] == limit;
    let line = broker.wait_for_log(limit, |line| line["message"] == "client reached a limit" && tells(line));
    assert_eq!(line["level"], "INFO");
}

/// The log tells of a bound that holds for all clients together.
fn wait_for_warning(broker: &Broker, limit: &str) {
    let tells = |line: &Value| line["limit"] == limit && line["level"] == "WARN";
    broker.wait_for_log(limit, |line| line["message"] == "limit of the node reached" && tells(line));
}

/// Two plain listeners and one with TLS; each takes two connections.
fn two_each() -> (Broker, Authority, Folder) {
    let authority = Authority::new();
    let folder = Folder::new();
    let (Files { certificate, key }, _) = authority.issue("broker.test", folder.path());
    let yaml = format!(
        "
listeners:
- {{name: one, address: 127.0.0.1, port: 0, limits: {{connections: 2}}}}
- {{name: other, address: 127.0.0.1, port: 0, limits: {{connections: 2}}}}
- {{name: mqtts, protocol: mqtts, address: 127.0.0.1, port: 0, limits: {{connections: 2}},
    tls: {{certFile: {}, keyFile: {}}}}}
http: {{address: 127.0.0.1, port: 0}}
log: {{format: json, level: debug}}
threads: 2
",
        certificate.display(),
        key.display()
    );
    (Start::with_file(&yaml).run(), authority, folder)
}

#[test]
fn a_listener_takes_so_many_connections_and_leaves_others_theirs() {
    let (broker, authority, _folder) = two_each();
    let (one, other) = (broker.address("one"), broker.address("other"));
    let mut clients: Vec<Client> = (0..2).map(|number| Client::connect(one, &format!("one-{number}"))).collect();
    assert_eq!(Client::open(one, Version::V5).until_closed(), []);
    clients.extend((0..2).map(|number| Client::connect(other, &format!("other-{number}"))));
    wait_for_hits(&broker, "listeners[].limits.connections", |count| count == 1);
    wait_for_warning(&broker, "listeners[].limits.connections");
    let config = authority.client_config();
    for number in 0..2 {
        let mut client = Client::on(shake_hands(broker.address("mqtts"), &config, "broker.test").unwrap(), Version::V5);
        client.hello(&Connect::new(Version::V5, &format!("tls-{number}")));
        clients.push(client);
    }
    // Nobody pays for a handshake with one that is refused anyway.
    let mut refused = tcp(broker.address("mqtts"));
    assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0);
    wait_for_hits(&broker, "listeners[].limits.connections", |count| count == 2);
    broker.wait_for_log("a refused tls client", |line| line["message"] == "limit of connections reached");
    assert_eq!(broker.metric("fulmar_tls_handshake_failures_total"), 0);
    // Who leaves makes room.
    clients.remove(0).disconnect(ReasonCode::NORMAL_DISCONNECTION);
    assert_eq!(Client::connect(one, "next").ping(), []);
    for client in &mut clients {
        assert_eq!(client.ping(), []);
    }
}

/// A connection from another address of this machine.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    stream
}

#[test]
fn an_address_has_so_many_connections_where_that_is_asked_for() {
    let broker = Broker::start(&["threads=2", "limits.connectionsPerAddress=3"]);
    let address = broker.address("mqtt");
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let mut clients: Vec<Client> = (0..3).map(|number| Client::connect(address, &format!("here-{number}"))).collect();
    assert_eq!(Client::open(address, Version::V5).until_closed(), []);
    let mut stranger = Client::on(connect_from(elsewhere, address), Version::V5);
    let accepted = Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS };
    assert_eq!(stranger.hello(&Connect::new(Version::V5, "stranger")), accepted);
    wait_for_hits(&broker, "connectionsPerAddress", |count| count == 1);
    wait_for_warning(&broker, "connectionsPerAddress");
    clients.pop().unwrap().disconnect(ReasonCode::NORMAL_DISCONNECTION);
    assert_eq!(Client::connect(address, "next").ping(), []);
}

#[test]
fn clients_that_connect_faster_than_they_may_wait_and_are_all_served() {
    let yaml = "
listeners: [{name: mqtt, address: 127.0.0.1, port: 0, limits: {connectsPerSecond: 20}}]
http: {address: 127.0.0.1, port: 0}
log: {format: json, level: debug}
threads: 2
";
    let broker = Start::with_file(yaml).run();
    let address = broker.address("mqtt");
    let start = Instant::now();
    // The kernel takes them all at once, the broker one after the other.
    let mut clients: Vec<Client> = (0..60).map(|_| Client::open(address, Version::V5)).collect();
    assert!(start.elapsed() < Duration::from_secs(1), "connecting took {:?}", start.elapsed());
    for (number, client) in clients.iter_mut().enumerate() {
        let accepted = Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS };
        assert_eq!(client.hello(&Connect::new(Version::V5, &format!("client-{number}"))), accepted);
    }
    // A second's worth came at once; the other 40 had to wait.
    assert!(start.elapsed() > Duration::from_millis(1900), "{:?}", start.elapsed());
    wait_for_hits(&broker, "listeners[].limits.connectsPerSecond", |count| count > 0);
    let is_told = |line: &Value| line["message"] == "limit of a listener reached, accepting rests";
    assert_eq!(broker.log(is_told).len(), 1);
    assert_eq!(broker.metric("fulmar_clients_refused_total"), 0);
}

#[test]
fn a_client_that_publishes_faster_than_it_may_waits_and_is_acknowledged() {
    let broker = Broker::start(&["limits.publishesPerSecond=20"]);
    let address = broker.address("mqtt");
    let mut reader = Client::connect(address, "reader");
    reader.subscribe("news", QoS::AtMostOnce);
    let mut hasty = Client::connect_with(address, &Connect { keep_alive: 1, ..Connect::new(Version::V5, "hasty") });
    let start = Instant::now();
    let ids: Vec<u16> = (0..70).map(|number| hasty.publish("news", number.to_string(), QoS::AtLeastOnce)).collect();
    let acknowledged: Vec<Got> = ids.iter().map(|id| Got::PubAck(*id, ReasonCode::SUCCESS)).collect();
    assert_eq!(hasty.ping(), acknowledged);
    assert!(start.elapsed() > Duration::from_millis(2300), "{:?}", start.elapsed());
    assert_eq!((0..70).map(|_| reader.text()).collect::<Vec<_>>(), (0..70).map(|n| n.to_string()).collect::<Vec<_>>());
    wait_for_hits(&broker, "publishesPerSecond", |count| count > 0);
    wait_for_line(&broker, "hasty", "publishesPerSecond");
}

#[test]
fn a_client_that_publishes_more_bytes_than_it_may_waits() {
    let broker = Broker::start(&["limits.packetBytes=100000", "limits.publishBytesPerSecond=100000"]);
    let address = broker.address("mqtt");
    let mut reader = Client::connect(address, "reader");
    reader.subscribe("news", QoS::AtMostOnce);
    let mut heavy = Client::connect(address, "heavy");
    let start = Instant::now();
    for _ in 0..6 {
        heavy.publish("news", [0; 50_000], QoS::AtMostOnce);
    }
    (0..6).for_each(|_| assert_eq!(reader.message().1.len(), 50_000));
    assert!(start.elapsed() > Duration::from_millis(1400), "{:?}", start.elapsed());
    wait_for_hits(&broker, "publishBytesPerSecond", |count| count > 0);
    wait_for_line(&broker, "heavy", "publishBytesPerSecond");
}

#[test]
fn a_client_that_never_acknowledges_is_closed_and_gets_the_message_again() {
    let broker = Broker::start(&["limits.outboundInflightSeconds=1"]);
    let address = broker.address("mqtt");
    let connect = Connect { clean_start: false, session_expiry: 60, ..Connect::new(Version::V5, "mute") };
    let mut mute = Client::connect_with(address, &connect);
    mute.subscribe("news", QoS::AtLeastOnce);
    mute.acknowledges = false;
    let mut publisher = Client::connect(address, "publisher");
    let start = Instant::now();
    publisher.publish("news", "once", QoS::AtLeastOnce);
    let message =
        |dup| Got::Message { topic: "news".into(), payload: "once".into(), qos: 1, retain: false, dup, packet_id: 1 };
    assert_eq!(mute.until_closed(), [message(false), Got::Disconnect(ReasonCode::QUOTA_EXCEEDED)]);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    wait_for_hits(&broker, "outboundInflightSeconds", |count| count == 1);
    wait_for_line(&broker, "mute", "outboundInflightSeconds");
    let mut back = Client::resume(address, &connect);
    back.acknowledges = true;
    assert_eq!((back.next(), back.ping()), (message(true), vec![]));
}

#[test]
fn a_window_that_is_full_makes_messages_wait() {
    let broker = Broker::start(&["limits.outboundInflight=2"]);
    let address = broker.address("mqtt");
    let mut slow = Client::connect(address, "slow");
    slow.subscribe("news", QoS::AtLeastOnce);
    slow.acknowledges = false;
    let mut publisher = Client::connect(address, "publisher");
    for number in 0..5 {
        publisher.publish("news", number.to_string(), QoS::AtLeastOnce);
    }
    wait_for_hits(&broker, "outboundInflight", |count| count == 3);
    assert_eq!(slow.ping().len(), 2);
    slow.acknowledge(fulmar_codec::AckKind::PubAck, 1);
    assert_eq!(slow.ping().len(), 1);
}

#[test]
fn what_a_packet_carries_is_bounded() {
    let settings = ["limits.userProperties=2", "limits.willBytes=1000", "limits.topicBytes=100"];
    let broker = Broker::start(&settings);
    let address = broker.address("mqtt");
    let three = PropertiesBuilder::new().user("a", "1").user("b", "2").user("c", "3");
    let long = "x".repeat(101);
    let plain = |id| Connect::new(Version::V5, id);
    let refusals = [
        (Connect { user: three.user_properties(), ..plain("many") }, ReasonCode::QUOTA_EXCEEDED),
        (Connect { will: Some(Will::new("t", &[0; 1000])), ..plain("willing") }, ReasonCode::QUOTA_EXCEEDED),
        (Connect { will: Some(Will::new(&long, b"")), ..plain("topical") }, ReasonCode::TOPIC_NAME_INVALID),
        // A return code of 3.1.1: the server is unavailable.
        (
            Connect { version: Version::V311, will: Some(Will::new("t", &[0; 1000])), ..plain("old") },
            ReasonCode::SERVER_UNAVAILABLE,
        ),
    ];
    for (connect, reason) in refusals {
        let mut client = Client::open(address, connect.version);
        let answer = Got::ConnAck { session_present: false, reason };
        assert_eq!((client.hello(&connect), client.next()), (answer, Got::Closed), "{}", connect.client_id);
        broker.wait_for_log("a refusal", |line| {
            line["message"] == "client refused" && line["client_id"] == connect.client_id && !line["error"].is_null()
        });
    }
    let mut publisher = Client::connect(address, "publisher");
    publisher.publish(&long, "", QoS::AtMostOnce);
    assert_eq!(publisher.until_closed(), [Got::Disconnect(ReasonCode::TOPIC_NAME_INVALID)]);
    wait_for_line(&broker, "publisher", "topicBytes");
    let mut subscriber = Client::connect(address, "subscriber");
    let answer = subscriber.ask_to_subscribe(&long, SubscriptionOptions::default());
    assert_eq!(answer, Got::SubAck(vec![ReasonCode::TOPIC_FILTER_INVALID]));
    let mut talkative = Client::connect(address, "talkative");
    let mut bytes = Vec::new();
    let properties = Disconnect { user: three.user_properties(), ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) };
    encode(&Packet::Disconnect(properties), Version::V5, &mut bytes);
    talkative.send(&bytes);
    assert_eq!(talkative.until_closed(), [Got::Disconnect(ReasonCode::QUOTA_EXCEEDED)]);
    wait_for_line(&broker, "talkative", "userProperties");
    wait_for_hits(&broker, "userProperties", |count| count == 2);
    wait_for_hits(&broker, "willBytes", |count| count == 2);
    wait_for_hits(&broker, "topicBytes", |count| count == 3);
}

#[test]
fn more_retained_bytes_than_allowed_are_refused() {
    let broker = Broker::start(&["limits.retainedBytes=3000"]);
    let mut client = Client::connect(broker.address("mqtt"), "client");
    let retained = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
    for (topic, reason) in [("1", ReasonCode::SUCCESS), ("2", ReasonCode::SUCCESS), ("3", ReasonCode::QUOTA_EXCEEDED)] {
        let id = client.publish_with(topic, [0; 1000], retained);
        assert_eq!(client.next(), Got::PubAck(id, reason), "{topic}");
    }
    wait_for_hits(&broker, "retainedBytes", |count| count == 1);
    wait_for_warning(&broker, "retainedBytes");
}

#[test]
fn longer_times_than_allowed_are_lowered_and_told() {
    let broker = Broker::start(&["limits.sessionExpirySecondsMax=60", "limits.keepAliveSecondsMax=30"]);
    let connect = Connect { session_expiry: 3600, keep_alive: 600, ..Connect::new(Version::V5, "patient") };
    drop(Client::connect_with(broker.address("mqtt"), &connect));
    // What it was told is a matter of the conformance tests.
    wait_for_hits(&broker, "sessionExpirySecondsMax", |count| count == 1);
    wait_for_hits(&broker, "keepAliveSecondsMax", |count| count == 1);
}

#[test]
fn more_sessions_than_allowed_are_refused_and_told() {
    let broker = Broker::start(&["limits.sessions=1"]);
    let address = broker.address("mqtt");
    let _first = Client::connect(address, "first");
    for version in [Version::V311, Version::V5] {
        let mut second = Client::open(address, version);
        let reason = if version == Version::V5 { ReasonCode::QUOTA_EXCEEDED } else { ReasonCode::SERVER_UNAVAILABLE };
        let refused = Got::ConnAck { session_present: false, reason };
        assert_eq!((second.hello(&Connect::new(version, "second")), second.next()), (refused, Got::Closed));
    }
    wait_for_hits(&broker, "sessions", |count| count == 2);
    wait_for_warning(&broker, "sessions");
}

#[test]
fn a_connection_that_is_closed_without_a_byte_is_nobodys_fault() {
    let (broker, authority, _folder) = two_each();
    let config = authority.client_config();
    for listener in ["one", "mqtts"] {
        let address = broker.address(listener);
        drop(tcp(address));
        // Some close with a reset.
        let reset = tcp(address);
        Socket::from(reset).set_linger(Some(Duration::ZERO)).unwrap();
    }
    // And some see whether TLS works.
    let mut tls = shake_hands(broker.address("mqtts"), &config, "broker.test").unwrap();
    tls.conn.send_close_notify();
    tls.flush().unwrap();
    tls.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(tls.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    let is_probe = |line: &Value| line["message"] == "connection closed before its first packet";
    wait_for("a line for each", || (broker.log(is_probe).len() == 5).then_some(()));
    assert!(broker.log(is_probe).iter().all(|line| line["level"] == "DEBUG"));
    wait_for_metrics_of_nothing(&broker);
    // They took no places with them.
    let _clients: Vec<Client> =
        (0..2).map(|number| Client::connect(broker.address("one"), &format!("client-{number}"))).collect();
}

fn wait_for_metrics_of_nothing(broker: &Broker) {
    broker.wait_for_metric("fulmar_connections_pending", |count| count == 0);
    for error in [
        "fulmar_protocol_errors_total",
        "fulmar_connect_timeouts_total",
        "fulmar_tls_handshake_failures_total",
        "fulmar_tls_timeouts_total",
        "fulmar_clients_refused_total",
    ] {
        assert_eq!(broker.metric(error), 0, "{error}");
    }
}

#[test]
fn pings_are_answered_while_others_are_held_back() {
    let broker = Broker::start(&["threads=1", "limits.publishesPerSecond=1"]);
    let address = broker.address("mqtt");
    let mut held = Client::connect(address, "held");
    for _ in 0..3 {
        held.publish("t", "", QoS::AtMostOnce);
    }
    wait_for_hits(&broker, "publishesPerSecond", |count| count > 0);
    let mut bytes = Vec::new();
    encode_pingreq(&mut bytes);
    held.send(&bytes);
    assert_eq!(Client::connect(address, "other").ping(), []);
    assert_eq!(held.next(), Got::Pong);
}

#[test]
fn a_client_has_so_many_subscriptions_and_the_log_names_it() {
    let broker = Broker::start(&["limits.subscriptionsPerClient=1"]);
    let mut client = Client::connect(broker.address("mqtt"), "subscriber");
    client.subscribe("one", QoS::AtMostOnce);
    let answer = client.ask_to_subscribe("two", SubscriptionOptions::default());
    assert_eq!(answer, Got::SubAck(vec![ReasonCode::QUOTA_EXCEEDED]));
    wait_for_hits(&broker, "subscriptionsPerClient", |count| count == 1);
    wait_for_line(&broker, "subscriber", "subscriptionsPerClient");
}
