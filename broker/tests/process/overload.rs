//! Clients that take too much or too little: what they may hold is bounded and counted, and others are served.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fulmar_codec::{
    Connect, ForwardProperties, PublishHead, QoS, ReasonCode, SubscribeFilter, SubscriptionOptions, Version,
    encode_pingreq, encode_publish,
};

use crate::harness::{Broker, Client, Got, wait_for};

const SMALL: [&str; 4] =
    ["threads=2", "limits.outputBufferBytes=262144", "limits.queuedBytes=1048576", "limits.queuedMessages=100"];

/// Enough of one packet to fill what sockets hold, several times over.
fn many(packet: &[u8], bytes: usize) -> Vec<u8> {
    packet.repeat(bytes / packet.len() + 1)
}

fn publish_bytes(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, Version::V5, &PublishHead::default(), topic, &ForwardProperties::EMPTY, payload);
    bytes
}

#[test]
fn a_subscriber_that_does_not_read_loses_qos_0_and_nobody_waits_for_it() {
    let broker = Broker::start(&SMALL);
    let address = broker.address("mqtt");
    let mut slow = Client::connect(address, "slow");
    slow.subscribe("flood", QoS::AtMostOnce);
    let mut quick = Client::connect(address, "quick");
    quick.subscribe("flood", QoS::AtMostOnce);
    let mut publisher = Client::connect(address, "publisher");
    let before = broker.resident_bytes();
    // 64 MB in all, in step with the one who reads.
    for round in 0..512_u32 {
        for part in 0..8 {
            let number = round * 8 + part;
            publisher.publish("flood", [&number.to_be_bytes()[..], &[0; 16_000]].concat(), QoS::AtMostOnce);
        }
        for part in 0..8 {
            assert_eq!(quick.message().1[..4], (round * 8 + part).to_be_bytes());
        }
    }
    let grown = broker.resident_bytes_max().saturating_sub(before);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
    let dropped = || broker.metric("fulmar_dropped_total{reason=\"slow_consumer\"}");
    wait_for("every message on its way or dropped", || {
        (broker.metric("fulmar_deliveries_total{qos=\"0\"}") + dropped() == 2 * 512 * 8).then_some(())
    });
    // What it gets when it reads at last is whole and in order.
    let numbers: Vec<u32> = slow
        .ping()
        .into_iter()
        .map(|got| match got {
            Got::Message { payload, .. } => u32::from_be_bytes(payload[..4].try_into().unwrap()),
            got => panic!("wanted a message, got {got:?}"),
        })
        .collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(numbers.len() as u64 + dropped(), 512 * 8);
    assert!(dropped() > 1000, "{} dropped", dropped());
}

#[test]
fn a_subscriber_that_does_not_acknowledge_has_a_bounded_queue() {
    let broker = Broker::start(&SMALL);
    let address = broker.address("mqtt");
    let mut stubborn = Client::connect(address, "stubborn");
    stubborn.acknowledges = false;
    stubborn.subscribe("flood", QoS::AtLeastOnce);
    let mut publisher = Client::connect(address, "publisher");
    let before = broker.resident_bytes();
    for number in 0..4000_u32 {
        let id = publisher.publish("flood", [&number.to_be_bytes()[..], &[0; 4000]].concat(), QoS::AtLeastOnce);
        assert_eq!(publisher.next(), Got::PubAck(id, ReasonCode::SUCCESS));
    }
    broker.wait_for_metric("fulmar_dropped_total{reason=\"queue_full\"}", |count| count > 1000);
    let grown = broker.resident_bytes_max().saturating_sub(before);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
}

#[test]
fn a_client_that_asks_and_never_reads_the_answers_is_not_read_on() {
    let broker = Broker::start(&SMALL);
    let address = broker.address("mqtt");
    let mut pings = Vec::new();
    encode_pingreq(&mut pings);
    let mut bystander = Client::connect(address, "bystander");
    let before = broker.resident_bytes();
    let greedy: Vec<Greedy> = [
        many(&pings, 64 << 10),
        // Its own messages come back to it.
        many(&publish_bytes("greedy/echo", &[0; 1000]), 64 << 10),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, bytes)| {
        let mut client = Client::connect(address, &format!("greedy-{number}"));
        client.subscribe("greedy/echo", QoS::AtMostOnce);
        Greedy::start(&client, bytes)
    })
    .collect();
    // The first fills every buffer on its way and then stands still: the broker does not read it any more.
    greedy[0].wait_until_stuck();
    assert_eq!(bystander.ping(), []);
    let grown = broker.resident_bytes_max().saturating_sub(before);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
    assert_eq!(broker.metric("fulmar_connections"), 3);
    for client in greedy {
        client.stop();
    }
    broker.wait_for_metric("fulmar_connections", |count| count == 1);
}

#[test]
fn a_flood_leaves_light_clients_their_turn() {
    let broker = Broker::start(&["threads=1"]);
    let address = broker.address("mqtt");
    let floods: Vec<Greedy> = (0..2)
        .map(|number| {
            let client = Client::connect(address, &format!("flood-{number}"));
            Greedy::start(&client, many(&publish_bytes("flood", &[0; 100]), 256 << 10))
        })
        .collect();
    broker.wait_for_metric("fulmar_publishes_received_total{qos=\"0\"}", |count| count > 10_000);
    let mut light = Client::connect(address, "light");
    light.subscribe("light", QoS::AtLeastOnce);
    let received = broker.metric("fulmar_publishes_received_total{qos=\"0\"}");
    let mut slowest = Duration::ZERO;
    for number in 0..200 {
        let start = Instant::now();
        let id = light.publish("light", number.to_string(), QoS::AtLeastOnce);
        assert_eq!(light.text(), number.to_string());
        assert_eq!(light.next(), Got::PubAck(id, ReasonCode::SUCCESS));
        slowest = slowest.max(start.elapsed());
    }
    let flooded = broker.wait_for_metric("fulmar_publishes_received_total{qos=\"0\"}", |count| count > received);
    // The byte budget of two floods takes milliseconds; without it a flood would have the thread to itself.
    assert!(slowest < Duration::from_secs(2), "{slowest:?} beside {} messages", flooded - received);
    for flood in floods {
        flood.stop();
    }
}

#[test]
fn idle_connections_are_small() {
    let broker = Broker::start(&[]);
    let address = broker.address("mqtt");
    let connect = |from: u32, to: u32| -> Vec<Client> {
        (from..to).map(|number| Client::connect(address, &format!("idle-{number}"))).collect()
    };
    let _warm = connect(0, 200);
    let before = broker.resident_bytes();
    let idle = connect(200, 2200);
    broker.wait_for_metric("fulmar_connections", |count| count == 2200);
    let each = broker.resident_bytes().saturating_sub(before) / idle.len() as u64;
    assert!(each < 3072, "{each} bytes for each idle connection");
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let broker = Broker::start(&["limits.connections=2"]);
    let address = broker.address("mqtt");
    let (one, _two) = (Client::connect(address, "one"), Client::connect(address, "two"));
    assert_eq!(Client::open(address, Version::V5).until_closed(), []);
    broker.wait_for_metric("fulmar_limit_hits_total{limit=\"connections\"}", |count| count == 1);
    one.disconnect(ReasonCode::NORMAL_DISCONNECTION);
    let mut three = Client::connect(address, "three");
    assert_eq!(three.ping(), []);
}

#[test]
fn sessions_beyond_the_limit_are_refused() {
    let broker = Broker::start(&["limits.sessions=1"]);
    let address = broker.address("mqtt");
    let lasting = |id| Connect { clean_start: false, session_expiry: 60, ..Connect::new(Version::V5, id) };
    drop(Client::connect_with(address, &lasting("first")));
    let mut second = Client::open(address, Version::V5);
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::QUOTA_EXCEEDED };
    assert_eq!((second.hello(&lasting("second")), second.next()), (refused, Got::Closed));
    drop(Client::resume(address, &lasting("first")));
}

#[test]
fn what_a_client_asks_to_be_kept_is_bounded() {
    let broker = Broker::start(&[
        "limits.retainedMessages=2",
        "limits.subscriptionsPerClient=2",
        "limits.subscriptionsPerPacket=3",
        "limits.topicLevels=3",
    ]);
    let mut client = Client::connect(broker.address("mqtt"), "client");
    let retained = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
    let mut keep = |topic: &str, reason| {
        let id = client.publish_with(topic, "kept", retained);
        assert_eq!(client.next(), Got::PubAck(id, reason), "{topic}");
    };
    keep("1", ReasonCode::SUCCESS);
    keep("2", ReasonCode::SUCCESS);
    keep("3", ReasonCode::QUOTA_EXCEEDED);
    keep("2", ReasonCode::SUCCESS);
    broker.wait_for_metric("fulmar_limit_hits_total{limit=\"retainedMessages\"}", |count| count == 1);
    let mut ask = |filter: &str, reason| {
        let answer = client.ask_to_subscribe(filter, SubscriptionOptions::default());
        assert_eq!(answer, Got::SubAck(vec![reason]), "{filter}");
    };
    ask("a/b/c/d", ReasonCode::TOPIC_FILTER_INVALID);
    ask("a", ReasonCode::GRANTED_QOS_0);
    ask("b", ReasonCode::GRANTED_QOS_0);
    ask("c", ReasonCode::QUOTA_EXCEEDED);
    ask("b", ReasonCode::GRANTED_QOS_0);
    let options = SubscriptionOptions::default();
    let four = ["a", "b", "a", "b"].map(|filter| SubscribeFilter { filter, options });
    let answer = client.ask_to_subscribe_all(&four);
    let granted = ReasonCode::GRANTED_QOS_0;
    assert_eq!(answer, Got::SubAck(vec![granted, granted, granted, ReasonCode::QUOTA_EXCEEDED]));
    broker.wait_for_metric("fulmar_limit_hits_total{limit=\"subscriptionsPerPacket\"}", |count| count == 1);
    client.publish("a/b/c/d", "too deep", QoS::AtMostOnce);
    assert_eq!(client.until_closed(), [Got::Disconnect(ReasonCode::TOPIC_NAME_INVALID)]);
}

/// A client that sends the same bytes again and again and reads nothing.
struct Greedy {
    thread: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    client: TcpStream,
}

impl Greedy {
    fn start(client: &Client, bytes: Vec<u8>) -> Greedy {
        let (mut socket, client) = (client.socket(), client.socket());
        let is_over = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let (over, count) = (is_over.clone(), written.clone());
        let thread = std::thread::spawn(move || {
            // Whole packets only: the rest of a write that was cut off by the end is lost with the connection.
            while !over.load(Ordering::Relaxed) && socket.write_all(&bytes).is_ok() {
                count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        });
        Greedy { thread, is_over, written, client }
    }

    /// Waits until nothing more is taken for a second.
    fn wait_until_stuck(&self) {
        let (mut last, mut since) = (u64::MAX, Instant::now());
        wait_for("a client that is not read any more", || {
            let written = self.written.load(Ordering::Relaxed);
            if written != last {
                (last, since) = (written, Instant::now());
            }
            (since.elapsed() > Duration::from_secs(1)).then_some(())
        });
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.client.shutdown(Shutdown::Both);
        self.thread.join().unwrap();
    }
}
