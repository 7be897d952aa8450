//! Brokers whose disk is full: they refuse what must be kept and say so, everything else goes on, and they go on by
//! themselves when there is room. `cargo xtask test` runs these: they need root, for disks of their own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, PublishHead, QoS, ReasonCode, Version, Will};

use crate::durable::{lasting, publish, settle};
use crate::durable_nodes::{NODES, come_back, come_in, places};
use crate::harness::{Broker, Client, Folder, Got, SmallDisk, wait_for, wait_until_ready};

/// More than what a page of the log may still take.
const MUCH: usize = 16 << 10;
/// Of whoever is in a write that fails; it was the time after which acknowledgements are given up.
const PROMPT: Duration = Duration::from_secs(5);

fn start(folder: &Folder) -> Broker {
    crate::durable::start(folder, &[])
}

fn is_full(broker: &Broker) {
    broker.wait_for_metric("fulmar_store_disk_full", |it| it == 1);
    let (status, body) = broker.get("/readyz");
    assert!(status == 503 && body.contains("the disk is full"), "{status}: {body}");
    assert_eq!(broker.get("/livez").0, 200);
    broker.wait_for_log("what a human must know", |line| {
        line["message"] == "the disk is full: nothing is taken that must be kept"
    });
}

/// Sends a message that a session waits for, and tells how that was answered.
fn publish_much(broker: &Broker) -> Vec<Got> {
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    publisher.publish("queue", vec![b'x'; MUCH], QoS::AtLeastOnce);
    publisher.until_closed()
}

/// Clients without a session that must be kept come and are served.
fn live_traffic_goes_on(address: SocketAddr) {
    let mut live = Client::connect(address, "live");
    live.subscribe("live", QoS::AtLeastOnce);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut publisher = Client::connect(address, "live-publisher");
        let id = publisher.publish("live", "on", qos);
        if qos == QoS::AtLeastOnce {
            assert_eq!(publisher.next(), Got::PubAck(id, ReasonCode::SUCCESS));
        }
        assert_eq!(live.text(), "on");
    }
}

#[test]
#[ignore = "needs root"]
fn a_broker_alone_refuses_what_must_be_kept_until_there_is_room() {
    let folder = Folder::new();
    let disk = SmallDisk::on(folder.path(), 8);
    let broker = start(&folder);
    let mut subscriber = Client::connect_with(broker.address("mqtt"), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.disconnect(ReasonCode::SUCCESS);
    let will = Will { qos: QoS::AtLeastOnce, ..Will::new("queue", b"gone") };
    let dying = Client::connect_with(
        broker.address("mqtt"),
        &Connect { will: Some(will), ..Connect::new(Version::V5, "dying") },
    );
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    publish(&mut publisher, "queue", 0..10);
    drop(publisher);
    settle(&broker, 1);

    disk.fill();
    let since = Instant::now();
    assert_eq!(publish_much(&broker), [Got::Disconnect(ReasonCode::SERVER_BUSY)]);
    assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
    is_full(&broker);
    live_traffic_goes_on(broker.address("mqtt"));
    let mut late = Client::open(broker.address("mqtt"), Version::V5);
    let refusal = Got::ConnAck { session_present: false, reason: ReasonCode::SERVER_UNAVAILABLE };
    assert_eq!(late.hello(&lasting("late")), refusal);
    drop(dying);

    // It goes on by itself. What was in the write that failed may have come to be; nobody was told that it had not.
    disk.clear();
    wait_until_ready(&broker);
    broker.wait_for_log("the good news", |line| line["message"] == "the disk has room again");
    let mut subscriber = Client::resume(broker.address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    let mut got = Vec::new();
    while got.last().is_none_or(|last| last != "gone") {
        got.push(subscriber.text());
    }
    got.retain(|payload| payload.len() < MUCH);
    let wanted: Vec<String> = (0..10).map(|it| it.to_string()).chain(["gone".to_owned()]).collect();
    assert_eq!(got, wanted);
}

#[test]
#[ignore = "needs root"]
fn a_broker_stops_and_starts_on_a_disk_without_a_free_byte() {
    let folder = Folder::new();
    let disk = SmallDisk::on(folder.path(), 8);
    let broker = start(&folder);
    let mut subscriber = Client::connect_with(broker.address("mqtt"), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    publish(&mut publisher, "queue", 0..10);
    let mut broker = Some(broker);
    // Twice, as the first start must leave room for the second.
    for _ in 0..2 {
        disk.fill();
        let mut full = broker.take().unwrap();
        assert_eq!(publish_much(&full), [Got::Disconnect(ReasonCode::SERVER_BUSY)]);
        let since = Instant::now();
        full.signal(libc::SIGTERM);
        assert!(full.wait().success());
        // The grace period is far longer.
        assert!(since.elapsed() < PROMPT, "{:?}", since.elapsed());
        full.wait_for_log("an end before that of the grace period", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("stopped without what the store has not done")
                || message.starts_with("stopped, clients")
        });
        disk.fill();
        let again = start(&folder);
        assert_eq!(publish_much(&again), [Got::Disconnect(ReasonCode::SERVER_BUSY)]);
        is_full(&again);
        live_traffic_goes_on(again.address("mqtt"));
        broker = Some(again);
    }
    disk.clear();
    let broker = broker.unwrap();
    wait_until_ready(&broker);
    let mut subscriber = Client::resume(broker.address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    let mut got = Vec::new();
    while got.len() < 10 {
        got.push(subscriber.text());
        got.retain(|payload| payload.len() < MUCH);
    }
    assert_eq!(got, (0..10).map(|it| it.to_string()).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs root"]
fn others_go_on_when_the_disk_of_one_node_is_full() {
    let cluster = places(NODES);
    let disks: Vec<SmallDisk> = (0..NODES).map(|index| SmallDisk::on(cluster.folder(index).path(), 24)).collect();
    let nodes = cluster.start_all();
    let address = |index: usize| nodes[index].address("mqtt");
    // So many that each shard has some.
    let names: Vec<String> = (0..48).map(|number| format!("subscriber-{number}")).collect();
    for name in &names {
        let (mut subscriber, _) = come_in(address(0), &lasting(name));
        subscriber.subscribe("queue", QoS::AtLeastOnce);
    }
    let mut publishers: Vec<Client> =
        (0..NODES).map(|index| Client::connect(address(index), &format!("publisher-{index}"))).collect();
    publish(&mut publishers[1], "queue", 0..5);

    disks[0].fill();
    let mut numbers = 5..;
    let padding = "x".repeat(MUCH);
    let mut slowest = Duration::ZERO;
    let head = PublishHead { qos: QoS::AtLeastOnce, ..PublishHead::default() };
    let mut send = |publisher: &mut Client, padding: &str| {
        let since = Instant::now();
        let id = publisher.publish_with("queue", format!("{} {padding}", numbers.next().unwrap()), head);
        assert_eq!(publisher.next(), Got::PubAck(id, ReasonCode::SUCCESS));
        slowest = slowest.max(since.elapsed());
    };
    // By way of each node, the full one too: others keep it.
    (0..10).for_each(|at| send(&mut publishers[at % NODES], &padding));
    is_full(&nodes[0]);
    wait_for("nothing is led on the full disk", || (nodes[0].metric("fulmar_store_leaders") == 0).then_some(()));
    (0..20).for_each(|at| send(&mut publishers[at % NODES], ""));
    println!("the slowest publish took {slowest:?}");
    live_traffic_goes_on(address(0));
    let (mut late, _) = come_in(address(1), &lasting("late"));
    late.subscribe("late", QoS::AtLeastOnce);

    disks[0].clear();
    nodes.iter().for_each(wait_until_ready);
    wait_for("all copies", || (nodes[0].metric("fulmar_store_caught_up") == 1).then_some(()));
    for name in &names {
        let mut subscriber = come_back(address(0), &lasting(name));
        subscriber.acknowledges = true;
        let numbers: Vec<u32> = (0..35)
            .map(|_| subscriber.text().split(' ').next().and_then(|number| number.parse().ok()).unwrap())
            .collect();
        assert_eq!(numbers, (0..35).collect::<Vec<u32>>(), "{name}");
    }
}
