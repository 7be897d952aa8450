//! Brokers that keep their sessions together: what one of them acknowledged is there when it died.

use std::net::SocketAddr;

use fulmar_codec::{Connect, PublishHead, QoS, ReasonCode, Version};

use crate::durable::{lasting, publish, take_numbers};
use crate::harness::{Broker, Client, Cluster, Got, wait_for, wait_until_ready};

pub const NODES: usize = 3;

/// Places of brokers that acknowledge what is on the disks of a majority.
pub fn places(count: usize) -> Cluster {
    let mut cluster = Cluster::of(count);
    cluster.durability = "fsync";
    cluster
}

/// Lets a client in as soon as somebody answers for its session.
pub fn come_in(address: SocketAddr, connect: &Connect<'_>) -> (Client, bool) {
    wait_for("CONNACK with success", || {
        let mut client = Client::open(address, Version::V5);
        client.acknowledges = false;
        match client.hello(connect) {
            Got::ConnAck { session_present, reason: ReasonCode::SUCCESS } => Some((client, session_present)),
            Got::ConnAck { reason: ReasonCode::SERVER_UNAVAILABLE | ReasonCode::SERVER_BUSY, .. } | Got::Closed => None,
            got => panic!("wanted CONNACK, got {got:?}"),
        }
    })
}

/// The session is there, wherever its client comes.
pub fn come_back(address: SocketAddr, connect: &Connect<'_>) -> Client {
    let (client, session_present) = come_in(address, connect);
    assert!(session_present, "the session of {} is gone", connect.client_id);
    client
}

fn address(nodes: &[Option<Broker>], index: usize) -> SocketAddr {
    nodes[index % nodes.len()].as_ref().expect("it runs").address("mqtt")
}

fn start_all(cluster: &Cluster) -> Vec<Option<Broker>> {
    cluster.start_all().into_iter().map(Some).collect()
}

#[test]
fn what_waits_for_a_session_is_there_when_a_node_died() {
    let cluster = places(NODES);
    let mut nodes = start_all(&cluster);
    for dies in 0..NODES {
        let name = format!("subscriber-{dies}");
        let topic = format!("of/{dies}");
        let (mut subscriber, session_present) = come_in(address(&nodes, dies), &lasting(&name));
        assert!(!session_present);
        subscriber.subscribe(&topic, QoS::AtLeastOnce);
        subscriber.disconnect(ReasonCode::SUCCESS);
        let mut publisher = Client::connect(address(&nodes, dies + 1), "publisher");
        publish(&mut publisher, &topic, 0..50);
        nodes[dies].take().expect("it runs").kill();

        let mut subscriber = come_back(address(&nodes, dies + 2), &lasting(&name));
        subscriber.acknowledges = true;
        assert_eq!(take_numbers(&mut subscriber, 50), (0..50).collect::<Vec<u32>>());
        let broker = cluster.start(dies);
        wait_until_ready(&broker);
        nodes[dies] = Some(broker);
    }
}

#[test]
fn all_nodes_may_lose_their_power_at_once() {
    let cluster = places(NODES);
    let nodes = start_all(&cluster);
    let (mut subscriber, _) = come_in(address(&nodes, 0), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    let mut publisher = Client::connect(address(&nodes, 1), "publisher");
    publish(&mut publisher, "queue", 0..20);
    let head = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
    let id = publisher.publish_with("kept", "for ever", head);
    assert!(matches!(publisher.next(), Got::PubAck(of, reason) if of == id && !reason.is_error()));
    nodes.into_iter().flatten().for_each(Broker::kill);

    let nodes = start_all(&cluster);
    let mut subscriber = come_back(address(&nodes, 2), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 20), (0..20).collect::<Vec<u32>>());
    for index in 0..NODES {
        let mut reader = Client::connect(address(&nodes, index), &format!("reader-{index}"));
        reader.subscribe("kept", QoS::AtLeastOnce);
        assert_eq!(reader.text(), "for ever");
    }
}

#[test]
fn a_node_with_an_empty_folder_takes_the_place_of_the_one_that_lost_it() {
    let cluster = places(NODES);
    let mut nodes = start_all(&cluster);
    let (mut subscriber, _) = come_in(address(&nodes, 0), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.disconnect(ReasonCode::SUCCESS);
    // One after another: in the end nobody has the folder that it began with.
    for loses in 0..NODES {
        let mut publisher = Client::connect(address(&nodes, loses + 1), "publisher");
        publish(&mut publisher, "queue", (0..10).map(|number| 10 * loses + number));
        nodes[loses].take().expect("it runs").kill();
        std::fs::remove_dir_all(cluster.folder(loses).path().join("data")).expect("remove the folder");
        let broker = cluster.start(loses);
        wait_until_ready(&broker);
        nodes[loses] = Some(broker);
        for node in nodes.iter().flatten() {
            node.wait_for_metric("fulmar_store_caught_up", |it| it == 1);
        }
        let is_whole = || {
            let healthy = nodes.iter().flatten().map(|node| node.metric("fulmar_store_shards_healthy")).sum::<u64>();
            (healthy == 12).then_some(())
        };
        wait_for("three copies of each shard", is_whole);
    }
    let mut subscriber = come_back(address(&nodes, 0), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 30), (0..30).collect::<Vec<u32>>());
}

#[test]
fn who_is_alone_of_three_keeps_nothing_and_says_so() {
    let cluster = places(NODES);
    let mut nodes = start_all(&cluster);
    let (mut subscriber, _) = come_in(address(&nodes, 2), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.disconnect(ReasonCode::SUCCESS);
    let mut publisher = Client::connect(address(&nodes, 0), "publisher");
    publish(&mut publisher, "queue", 0..5);
    nodes.drain(1..).flatten().for_each(Broker::kill);

    // Its lease runs out: whoever is connected is told so, and who comes.
    let node = nodes[0].take().expect("it runs");
    publisher.publish("queue", "lost if it was acknowledged", QoS::AtLeastOnce);
    let said = publisher.until_closed();
    assert!(!said.iter().any(|got| matches!(got, Got::PubAck(..))), "{said:?}");
    wait_for("no readiness", || (node.get("/readyz").0 == 503).then_some(()));
    let mut late = Client::open(node.address("mqtt"), Version::V5);
    let refusal = Got::ConnAck { session_present: false, reason: ReasonCode::SERVER_UNAVAILABLE };
    assert_eq!(late.hello(&lasting("late")), refusal);

    // It heals by itself.
    let others = [1, 2].map(|index| cluster.start(index));
    [&node, &others[0], &others[1]].into_iter().for_each(wait_until_ready);
    let mut subscriber = come_back(node.address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 5), (0..5).collect::<Vec<u32>>());
}

#[test]
fn a_shared_subscription_has_members_on_several_nodes_and_each_message_goes_to_one() {
    let cluster = places(NODES);
    let mut nodes = start_all(&cluster);
    let share = "$share/workers/jobs/#";
    let mut members: Vec<Client> = (0..2)
        .map(|index| {
            let (mut member, _) = come_in(address(&nodes, index), &lasting(&format!("worker-{index}")));
            member.subscribe(share, QoS::AtLeastOnce);
            member
        })
        .collect();
    let mut publisher = Client::connect(address(&nodes, 2), "publisher");
    publish(&mut publisher, "jobs/1", 0..40);
    let mut got: Vec<u32> = Vec::new();
    for member in &mut members {
        member.acknowledges = true;
        let mine = member.ping().into_iter().map(|got| match got {
            Got::Message { payload, .. } => std::str::from_utf8(&payload).unwrap().parse::<u32>().unwrap(),
            other => panic!("wanted a message, got {other:?}"),
        });
        got.extend(mine);
    }
    // What is on its way to one of them still comes.
    let of_others = |got: &[u32]| (0..40).filter(|number| !got.contains(number)).count();
    assert_eq!(got.len() + of_others(&got), 40, "some came twice: {got:?}");

    // Who dies with its node leaves what it has not got to the other one, or to itself when it is back.
    members.remove(0);
    nodes[0].take().expect("it runs").kill();
    publish(&mut publisher, "jobs/2", 100..120);
    let mut first = come_back(address(&nodes, 2), &lasting("worker-0"));
    first.acknowledges = true;
    let mut second = members.remove(0);
    let all: Vec<u32> = wait_for("every message at one of the two", || {
        for member in [&mut first, &mut second] {
            got.extend(member.ping().into_iter().filter_map(|got| match got {
                Got::Message { payload, .. } => std::str::from_utf8(&payload).unwrap().parse::<u32>().ok(),
                _ => None,
            }));
        }
        let mut all = got.clone();
        all.sort_unstable();
        all.dedup();
        (all.len() == 60).then_some(all)
    });
    assert_eq!(all, (0..40).chain(100..120).collect::<Vec<u32>>());
}

#[test]
fn a_node_that_is_told_to_stop_leaves_without_anybody_waiting_for_it() {
    let cluster = places(NODES);
    let mut nodes = start_all(&cluster);
    let (mut subscriber, _) = come_in(address(&nodes, 1), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.acknowledges = true;
    for stops in 0..NODES {
        let mut publisher = Client::connect(address(&nodes, stops + 1), "publisher");
        publish(&mut publisher, "queue", [stops]);
        let mut broker = nodes[stops].take().expect("it runs");
        broker.signal(libc::SIGTERM);
        assert!(broker.wait().success());
        let since = std::time::Instant::now();
        publish(&mut publisher, "queue", [10 + stops]);
        println!("published {:?} after node {stops} had stopped", since.elapsed());
        let broker = cluster.start(stops);
        wait_until_ready(&broker);
        nodes[stops] = Some(broker);
    }
    let mut subscriber = come_back(address(&nodes, 0), &lasting("subscriber"));
    subscriber.acknowledges = true;
    let mut last = 0;
    while last != 12 {
        last = subscriber.text().parse().unwrap();
    }
}

#[test]
fn nodes_that_are_told_to_stop_at_once_do_not_wait_for_each_other() {
    let cluster = places(NODES);
    let mut nodes = start_all(&cluster);
    let (mut subscriber, _) = come_in(address(&nodes, 0), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.disconnect(ReasonCode::SUCCESS);
    let mut publisher = Client::connect(address(&nodes, 1), "publisher");
    publish(&mut publisher, "queue", 0..20);
    nodes.iter().flatten().for_each(|broker| broker.signal(libc::SIGTERM));
    for broker in nodes.iter_mut().flatten() {
        assert!(broker.wait().success());
        let told = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|message| {
                message.starts_with("stopped, clients")
                    || message.starts_with("stopped without what the store has not done")
            })
        };
        broker.wait_for_log("an end before that of the grace period", told);
    }
    drop(nodes);
    let nodes = start_all(&cluster);
    let mut subscriber = come_back(address(&nodes, 2), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 20), (0..20).collect::<Vec<u32>>());
}

#[test]
fn a_node_whose_name_is_taken_by_one_that_lives_is_kept_out_and_says_why() {
    let mut cluster = places(NODES + 1);
    cluster.names[NODES] = cluster.names[1].clone();
    let nodes: Vec<Broker> = (0..=NODES).map(|index| cluster.start(index)).collect();
    // Whichever of the two came later.
    let says = |node: &Broker| {
        let (_, text) = node.get("/readyz?verbose");
        text.contains("a live member, node ") && text.contains("has the name \\\"node-1\\\" already")
    };
    wait_for("the reason at one of them", || (nodes.iter().filter(|node| says(node)).count() == 1).then_some(()));
}
