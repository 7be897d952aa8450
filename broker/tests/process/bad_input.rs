//! Bytes that are no MQTT, or break its rules, or never end: that connection is told why and closed, it is counted,
//! memory stays flat, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use fulmar_codec::{Connect, PACKET_BYTES_MAX, QoS, ReasonCode, Version, Will, encode_connect};

use crate::harness::{Broker, Client, Got, PATIENCE, tcp, wait_for};

/// A length in the form of the specification (MQTT 5.0, 1.5.5).
fn variable_integer(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = if value >= 0x80 { 0x80 } else { 0 };
        bytes.push((value & 0x7f) as u8 | more);
        value >>= 7;
        if value == 0 {
            return bytes;
        }
    }
}

/// A packet whose length is right, whatever else is not.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &variable_integer(body.len())[..], body].concat()
}

/// What must not be sent by a connected client of MQTT 5.0, and the reason that it is told. Our limits in this test:
/// packets of 4096 bytes and 2048 for a CONNECT, 2 publishes open, 4 topic aliases.
fn broken_rules() -> Vec<(&'static str, Vec<u8>, ReasonCode)> {
    let malformed = ReasonCode::MALFORMED_PACKET;
    let protocol = ReasonCode::PROTOCOL_ERROR;
    let topic_name = ReasonCode::TOPIC_NAME_INVALID;
    let alias = ReasonCode::TOPIC_ALIAS_INVALID;
    let qos2 = |id| packet(0x34, &[0, 1, b'q', 0, id, 0]);
    let connect = {
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &Connect::new(Version::V5, "again"));
        bytes
    };
    vec![
        ("reserved packet type", packet(0x00, &[]), malformed),
        ("flags of PINGREQ", packet(0xc1, &[]), malformed),
        ("flags of SUBSCRIBE", packet(0x80, &[0, 1, 0, 0, 1, b'a', 0]), malformed),
        ("body of PINGREQ", packet(0xc0, &[0]), malformed),
        ("length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01], malformed),
        ("length that is padded", vec![0xc0, 0x80, 0x00], malformed),
        ("PUBLISH that ends in its topic", packet(0x30, &[0, 9, b'a']), malformed),
        ("PUBLISH of QoS 3", packet(0x36, &[0, 1, b'a', 0, 1, 0]), malformed),
        ("DUP at QoS 0", packet(0x38, &[0, 1, b'a', 0]), malformed),
        ("topic that is not UTF-8", packet(0x30, &[0, 2, 0xc3, 0x28, 0]), malformed),
        ("topic with a null character", packet(0x30, &[0, 2, b'a', 0, 0]), malformed),
        ("unknown property", packet(0x30, &[0, 1, b'a', 2, 0x7f, 0]), malformed),
        ("property of another packet", packet(0x30, &[0, 1, b'a', 5, 0x11, 0, 0, 0, 1]), malformed),
        ("properties longer than the packet", packet(0x30, &[0, 1, b'a', 9, 0x01]), malformed),
        ("reserved bits of subscription options", packet(0x82, &[0, 1, 0, 0, 1, b'a', 0x40]), malformed),
        ("trailing bytes behind PUBACK", packet(0x40, &[0, 1, 0, 0, 0]), malformed),
        ("property given twice", packet(0x30, &[0, 1, b'a', 4, 0x01, 0, 0x01, 0]), protocol),
        ("payload format 2", packet(0x30, &[0, 1, b'a', 2, 0x01, 2]), protocol),
        ("packet id 0", packet(0x32, &[0, 1, b'a', 0, 0, 0]), protocol),
        ("neither topic nor alias", packet(0x30, &[0, 0, 0]), protocol),
        ("alias that was never set", packet(0x30, &[0, 0, 3, 0x23, 0, 1]), protocol),
        ("subscription id from a client", packet(0x30, &[0, 1, b'a', 2, 0x0b, 1]), protocol),
        ("SUBSCRIBE without a filter", packet(0x82, &[0, 1, 0]), protocol),
        ("subscription of QoS 3", packet(0x82, &[0, 1, 0, 0, 1, b'a', 3]), protocol),
        ("retain handling 3", packet(0x82, &[0, 1, 0, 0, 1, b'a', 0x30]), protocol),
        ("no local on a shared subscription", packet(0x82, b"\0\x01\0\0\x0a$share/g/a\x04"), protocol),
        ("UNSUBSCRIBE without a filter", packet(0xa2, &[0, 1, 0]), protocol),
        ("second CONNECT", connect, protocol),
        ("CONNACK from a client", packet(0x20, &[0, 0, 0]), protocol),
        ("SUBACK from a client", packet(0x90, &[0, 1, 0, 0]), protocol),
        ("PINGRESP from a client", packet(0xd0, &[]), protocol),
        ("AUTH without a method agreed", packet(0xf0, &[0x18, 4, 0x15, 0, 1, b'm']), protocol),
        ("session expiry raised from 0", packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 9]), protocol),
        ("DISCONNECT with a server's reason", packet(0xe0, &[0x8b, 0]), protocol),
        ("topic with a wildcard", packet(0x30, &[0, 3, b'a', b'/', b'+', 0]), topic_name),
        ("topic alias 0", packet(0x30, &[0, 1, b'a', 3, 0x23, 0, 0]), alias),
        ("topic alias above our maximum", packet(0x30, &[0, 1, b'a', 3, 0x23, 0, 5]), alias),
        (
            "more open than our receive maximum",
            [qos2(1), qos2(2), qos2(3)].concat(),
            ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
        ),
        ("packet above our maximum", packet(0x30, &[0; 5000]), ReasonCode::PACKET_TOO_LARGE),
        (
            "an announced length of 256 MB",
            [&[0x30], &variable_integer(PACKET_BYTES_MAX - 5)[..]].concat(),
            ReasonCode::PACKET_TOO_LARGE,
        ),
    ]
}

fn start() -> Broker {
    Broker::start(&[
        "threads=2",
        "limits.packetBytes=4096",
        "limits.connectPacketBytes=2048",
        "limits.inflight=2",
        "limits.topicAliases=4",
    ])
}

/// Waits until so many clients were closed for what they sent: against the rules, or beyond what they were told.
fn wait_for_closed(broker: &Broker, wanted: u64) {
    let limits = ["packetBytes", "connectPacketBytes", "inflight", "topicAliases"];
    wait_for("every client that was closed", || {
        let hits = limits.map(|limit| broker.metric(&format!("fulmar_limit_hits_total{{limit=\"{limit}\"}}")));
        let closed = broker.metric("fulmar_protocol_errors_total") + hits.iter().sum::<u64>();
        (closed == wanted).then_some(())
    });
}

/// The last thing a client is told, after what it was told before.
fn farewell(client: &mut Client) -> Option<Got> {
    client.until_closed().pop()
}

#[test]
fn each_broken_rule_closes_its_connection_with_its_reason_and_no_other() {
    let broker = start();
    let mut bystander = Client::connect(broker.address("mqtt"), "bystander");
    bystander.subscribe("#", QoS::AtMostOnce);
    let rules = broken_rules();
    for (what, bytes, reason) in &rules {
        let mut client = Client::connect(broker.address("mqtt"), "broken");
        client.acknowledges = false;
        client.send(bytes);
        assert_eq!(farewell(&mut client), Some(Got::Disconnect(*reason)), "{what}");
    }
    // The two that were in order of those that were too many.
    let mut good = vec![bystander.message(), bystander.message()];
    assert_eq!(bystander.ping(), []);
    good.dedup();
    assert_eq!(good, [("q".to_owned(), Vec::new())]);
    wait_for_closed(&broker, rules.len() as u64);
    broker.wait_for_metric("fulmar_connections", |count| count == 1);
}

#[test]
fn clients_of_3_1_1_are_closed_without_a_word() {
    let broker = start();
    let mut bystander = Client::connect(broker.address("mqtt"), "bystander");
    let rules = [
        ("reserved packet type", packet(0x00, &[])),
        ("flags of PINGREQ", packet(0xc1, &[])),
        ("PUBLISH that ends in its topic", packet(0x30, &[0, 9, b'a'])),
        ("PUBLISH of QoS 3", packet(0x36, &[0, 1, b'a', 0, 1])),
        ("empty topic", packet(0x30, &[0, 0])),
        ("packet id 0", packet(0x32, &[0, 1, b'a', 0, 0])),
        ("SUBSCRIBE without a filter", packet(0x82, &[0, 1])),
        ("AUTH, which is of MQTT 5.0", packet(0xf0, &[])),
        ("DISCONNECT with a body", packet(0xe0, &[0])),
        ("packet above our maximum", packet(0x30, &[0; 5000])),
    ];
    for (what, bytes) in &rules {
        let mut client = Client::connect_with(broker.address("mqtt"), &Connect::new(Version::V311, "broken"));
        client.send(bytes);
        assert_eq!(client.until_closed(), [], "{what}");
    }
    assert_eq!(bystander.ping(), []);
    wait_for_closed(&broker, rules.len() as u64);
}

#[test]
fn a_connect_that_cannot_be_accepted_is_answered_in_the_version_that_it_asks_for() {
    let refused = |reason| vec![Got::ConnAck { session_present: false, reason }];
    let connect = |version, change: fn(&mut Connect<'_>)| {
        let (mut connect, mut bytes) = (Connect::new(version, "id"), Vec::new());
        change(&mut connect);
        encode_connect(&mut bytes, &connect);
        bytes
    };
    let (v5, v311) = (Version::V5, Version::V311);
    let cases = [
        ("nothing but a first byte of PUBLISH", v5, vec![0x30], vec![]),
        ("an HTTP request", v5, b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec(), vec![]),
        ("a TLS handshake", v5, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), vec![]),
        ("PINGREQ first", v5, packet(0xc0, &[]), vec![]),
        ("another protocol", v5, packet(0x10, b"\0\x04MQTX\x05\x02\0\0\0\0\x02id"), vec![]),
        ("version 6", v5, packet(0x10, b"\0\x04MQTT\x06\x02\0\0\0\0\x02id"), refused(ReasonCode::new(0x84))),
        ("version 3.1", v311, packet(0x10, b"\0\x06MQIsdp\x03\x02\0\0\0\x02id"), refused(ReasonCode::new(0x84))),
        ("reserved flag", v5, packet(0x10, b"\0\x04MQTT\x05\x03\0\0\0\0\x02id"), refused(ReasonCode::new(0x81))),
        ("reserved flag in 3.1.1", v311, packet(0x10, b"\0\x04MQTT\x04\x03\0\0\0\x02id"), vec![]),
        ("cut short", v5, packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\x09id"), refused(ReasonCode::new(0x81))),
        ("trailing bytes", v5, packet(0x10, b"\0\x04MQTT\x05\x02\0\0\0\0\x02id!"), refused(ReasonCode::new(0x81))),
        (
            "receive maximum 0",
            v5,
            packet(0x10, b"\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x02id"),
            refused(ReasonCode::new(0x82)),
        ),
        (
            "no name for a lasting session in 3.1.1",
            v311,
            packet(0x10, b"\0\x04MQTT\x04\0\0\0\0\0"),
            refused(ReasonCode::new(0x85)),
        ),
        (
            "an authentication method",
            v5,
            connect(v5, |connect| connect.authentication_method = Some("SCRAM")),
            refused(ReasonCode::new(0x8c)),
        ),
        (
            "a will that is too large",
            v5,
            connect(v5, |connect| connect.will = Some(Will::new("will", &[0; 3000]))),
            refused(ReasonCode::PACKET_TOO_LARGE),
        ),
        (
            "a will that is too large in 3.1.1",
            v311,
            connect(v311, |connect| connect.will = Some(Will::new("will", &[0; 3000]))),
            vec![],
        ),
        (
            "a will for a wildcard",
            v5,
            packet(0x10, b"\0\x04MQTT\x05\x06\0\0\0\0\x02id\0\0\x01#\0\0"),
            refused(ReasonCode::new(0x90)),
        ),
    ];
    let broker = start();
    let mut bystander = Client::connect(broker.address("mqtt"), "bystander");
    for (what, version, bytes, answer) in &cases {
        let mut client = Client::open(broker.address("mqtt"), *version);
        client.send(bytes);
        assert_eq!(client.until_closed(), *answer, "{what}");
    }
    assert_eq!(bystander.ping(), []);
    // One of them is in order and asks for what we do not have.
    wait_for_closed(&broker, cases.len() as u64 - 1);
    broker.wait_for_metric("fulmar_clients_refused_total", |count| count == 1);
}

#[test]
fn clients_without_credentials_are_refused_unless_they_are_allowed() {
    let broker = Broker::start(&["allowAnonymous=false"]);
    for (version, reason) in [(Version::V5, ReasonCode::NOT_AUTHORIZED), (Version::V311, ReasonCode::NOT_AUTHORIZED)] {
        let mut client = Client::open(broker.address("mqtt"), version);
        let answer = client.hello(&Connect::new(version, "stranger"));
        assert_eq!((answer, client.next()), (Got::ConnAck { session_present: false, reason }, Got::Closed));
    }
    broker.wait_for_metric("fulmar_clients_refused_total", |count| count == 2);
}

#[test]
fn silence_half_a_packet_and_a_trickle_end_with_the_connect_timeout() {
    let broker = Broker::start(&["limits.connectTimeoutSeconds=1"]);
    let mut connect = Vec::new();
    encode_connect(&mut connect, &Connect::new(Version::V5, "slow"));
    let half = &connect[..connect.len() / 2];
    let mut silent = Client::open(broker.address("mqtt"), Version::V5);
    let mut stuck = Client::open(broker.address("mqtt"), Version::V5);
    stuck.send(half);
    // Each byte shows life, but only a whole CONNECT counts.
    let mut trickling = tcp(broker.address("mqtt"));
    trickling.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut sent = 0;
    for byte in &connect[..connect.len() - 1] {
        let _ = trickling.write_all(&[*byte]);
        sent += 1;
        // As long as nothing comes, the broker waits for more.
        if !matches!(trickling.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
            break;
        }
    }
    assert!(sent > 3, "closed after {sent} bytes");
    assert_eq!((silent.until_closed(), stuck.until_closed()), (vec![], vec![]));
    trickling.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!matches!(trickling.read(&mut [0]), Ok(1..)), "answered half a CONNECT");
    broker.wait_for_metric("fulmar_connect_timeouts_total", |count| count == 3);
    broker.wait_for_metric("fulmar_connections_pending", |count| count == 0);
}

#[test]
fn packets_may_come_byte_by_byte() {
    let broker = start();
    let mut client = Client::open(broker.address("mqtt"), Version::V5);
    let mut bytes = Vec::new();
    encode_connect(&mut bytes, &Connect::new(Version::V5, "slow"));
    bytes.extend(packet(0x82, &[0, 1, 0, 0, 1, b'a', 1]));
    bytes.extend(packet(0x32, b"\0\x01a\0\x07\0hello"));
    for byte in bytes {
        client.send(&[byte]);
    }
    assert_eq!(client.next(), Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS });
    assert_eq!(client.next(), Got::SubAck(vec![ReasonCode::GRANTED_QOS_1]));
    assert_eq!(client.text(), "hello");
    assert_eq!(client.next(), Got::PubAck(7, ReasonCode::SUCCESS));
}

#[test]
fn lengths_that_nobody_sends_take_no_memory() {
    let broker = Broker::start(&[]);
    let address = broker.address("mqtt");
    let mut bystander = Client::connect(address, "bystander");
    let before = broker.resident_bytes();
    let longest = variable_integer(PACKET_BYTES_MAX - 5);
    for number in 0..50 {
        // Before CONNECT nobody waits for such a packet, and after it neither.
        let mut stranger = Client::open(address, Version::V5);
        stranger.send(&[&[0x10], &longest[..]].concat());
        assert_eq!(stranger.until_closed(), []);
        let mut client = Client::connect(address, &format!("liar-{number}"));
        client.send(&[&[0x30], &longest[..]].concat());
        assert_eq!(farewell(&mut client), Some(Got::Disconnect(ReasonCode::PACKET_TOO_LARGE)));
    }
    // A length within the limit is believed, and costs what was sent.
    let half: Vec<Client> = (0..200)
        .map(|number| {
            let mut client = Client::connect(address, &format!("half-{number}"));
            client.send(&[&[0x30], &variable_integer(1_000_000)[..], &[0; 100]].concat());
            client
        })
        .collect();
    assert_eq!(bystander.ping(), []);
    wait_for_closed(&broker, 100);
    let grown = broker.resident_bytes_max().saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes for {} half packets", half.len());
}

#[test]
fn a_thousand_halves_of_large_packets_take_no_more_memory_than_allowed_and_others_are_served() {
    const ALLOWED: u64 = 16 << 20;
    /// What everything else may grow by: connections, their last words, and what the allocator does not give back.
    const OTHERWISE: u64 = 16 << 20;
    let total = format!("limits.inputBufferBytesTotal={ALLOWED}");
    let broker = Broker::start(&["threads=2", &total]);
    let address = broker.address("mqtt");
    let mut bystander = Client::connect(address, "bystander");
    bystander.subscribe("large", QoS::AtLeastOnce);
    let before = broker.resident_bytes();
    let half = [&[0x30], &variable_integer(400_000)[..], b"\0\x01a\0", &[0; 199_996]].concat();
    let mut holders = Vec::new();
    for number in 0..1000 {
        let mut client = Client::connect(address, &format!("half-{number}"));
        client.send(&half);
        holders.push(client);
        if number % 100 == 99 {
            let payload = "x".repeat(300_000);
            bystander.publish("large", &payload, QoS::AtLeastOnce);
            assert_eq!(bystander.text(), payload);
            assert_eq!(bystander.next(), Got::PubAck(2 + number / 100, ReasonCode::SUCCESS));
        }
    }
    // Half of what is allowed is for packets that are not whole; it holds 41 of these.
    let closed =
        broker.wait_for_metric("fulmar_limit_hits_total{limit=\"inputBufferBytesTotal\"}", |closed| closed >= 900);
    assert!(closed < 1000, "{closed} of 1000 were closed");
    let grown = broker.resident_bytes_max().saturating_sub(before);
    assert!(grown < ALLOWED + OTHERWISE, "grew by {grown} bytes");
    assert_eq!(farewell(&mut holders[0]), Some(Got::Disconnect(ReasonCode::QUOTA_EXCEEDED)));
    // Whoever holds on was the last to come, and may still send the rest.
    holders[999].send(&[0; 200_000]);
    assert_eq!(holders[999].ping(), []);
    let told = broker.log(|line| line["limit"] == "inputBufferBytesTotal");
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn refused_clients_that_stay_are_not_waited_for_by_the_hundred() {
    let broker = Broker::start(&["threads=1"]);
    let address = broker.address("mqtt");
    let before = broker.metric("process_open_fds");
    let mut stubborn: Vec<Client> =
        (0..400).map(|number| Client::connect(address, &format!("stubborn-{number}"))).collect();
    for client in &mut stubborn {
        client.send(&[0xc1, 0]);
    }
    // Each has a moment to read why, but no more than 256 have it at a time.
    broker.wait_for_metric("fulmar_protocol_errors_total", |count| count == 400);
    assert!(broker.wait_for_metric("fulmar_lingering_cut_total", |count| count > 0) <= 144);
    broker.wait_for_metric("process_open_fds", |open| open <= before);
    assert_eq!(farewell(&mut stubborn[399]), Some(Got::Disconnect(ReasonCode::MALFORMED_PACKET)));
}

#[test]
fn noise_from_many_sides_is_refused_and_nobody_else_notices() {
    let broker = start();
    let address = broker.address("mqtt");
    let mut bystander = Client::connect(address, "bystander");
    bystander.subscribe("a", QoS::AtMostOnce);
    // A generator of our own keeps a failure repeatable.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for number in 0..300 {
        let mut client = match number % 2 {
            0 => Client::open(address, Version::V5),
            _ => Client::connect(address, "noise"),
        };
        let noise: Vec<u8> = (0..1 + random() % 400).map(|_| random() as u8).collect();
        client.send(&noise);
        // Some noise is the beginning of a packet. Whatever it is, the broker stays in order.
        drop(client);
    }
    bystander.publish("a", "still here", QoS::AtMostOnce);
    assert_eq!(bystander.text(), "still here");
    // Counted after all of them were: these would be as wanted before the first came, too.
    broker.wait_for_metric("fulmar_protocol_errors_total", |count| count > 100);
    broker.wait_for_metric("fulmar_connections", |count| count == 1);
    broker.wait_for_metric("fulmar_connections_pending", |count| count == 0);
    assert_eq!(broker.metric("fulmar_panics_total"), 0);
    wait_for("every log line of a bad client", || {
        (broker.log(|line| line["message"] == "bad bytes from a client").len() > 100).then_some(())
    });
}
