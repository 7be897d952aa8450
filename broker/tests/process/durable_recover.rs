//! Clusters that have lost their quorum for good go on from the folder that is left, and what was lost stays away.

use std::path::{Path, PathBuf};

use fulmar_codec::{PublishHead, QoS, ReasonCode};
use serde_json::Value;

use crate::data_folder::{contents, run};
use crate::durable::{lasting, publish, take_numbers};
use crate::durable_copies::{copy, end_of, stop};
use crate::durable_nodes::{NODES, come_back, come_in, places};
use crate::harness::{Broker, Client, Cluster, Got, wait_for, wait_until_ready};

/// The one that is left.
const LEFT: usize = 2;

/// Three nodes; what has come to all of them when the session `subscriber` is away: 30 messages and a retained one.
fn furnished() -> (Cluster, Vec<Broker>) {
    let cluster = places(NODES);
    let nodes = cluster.start_all();
    let (mut subscriber, _) = come_in(nodes[0].address("mqtt"), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.disconnect(ReasonCode::SUCCESS);
    let mut publisher = Client::connect(nodes[1].address("mqtt"), "publisher");
    publish(&mut publisher, "queue", 0..30);
    let head = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
    let id = publisher.publish_with("kept", "for ever", head);
    assert!(matches!(publisher.next(), Got::PubAck(of, reason) if of == id && !reason.is_error()));
    publisher.disconnect(ReasonCode::SUCCESS);
    wait_until_whole(&nodes);
    (cluster, nodes)
}

/// Every shard has three copies that have all there is.
fn wait_until_whole(nodes: &[Broker]) {
    let is_whole = || {
        // Two copies of each are healthy, too, before the third one comes.
        let of_all = |name| nodes.iter().map(|node| node.metric(name)).sum::<u64>();
        (of_all("fulmar_store_copies") == 36 && of_all("fulmar_store_shards_healthy") == 12).then_some(())
    };
    wait_for("three copies of each shard", is_whole);
    for node in nodes {
        node.wait_for_metric("fulmar_store_caught_up", |it| it == 1);
    }
}

/// What nodes lack belongs to a failure.
struct Witness<'a>(&'a [Broker]);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|node| println!("{}", readiness(node)));
        }
    }
}

fn data(cluster: &Cluster, index: usize) -> PathBuf {
    cluster.folder(index).path().join("data")
}

fn node_id(data: &Path) -> String {
    std::fs::read_to_string(data.join("node-id")).unwrap().trim().to_owned()
}

fn recover(data: &Path, more: &[&str], code: i32) -> (String, String) {
    run(&[&["recover", data.to_str().unwrap()], more].concat(), code)
}

fn cluster_id(node: &Broker) -> String {
    let (_, metrics) = node.get("/metrics");
    let info = metrics.lines().find(|line| line.starts_with("fulmar_cluster_info")).unwrap_or_default();
    let (_, id) = info.split_once("id=\"").unwrap_or_else(|| panic!("no id in {info:?}"));
    id.split('"').next().unwrap().to_owned()
}

#[test]
fn one_folder_of_three_brings_the_cluster_back_and_a_fresh_pair_gets_copies() {
    let (cluster, mut nodes) = furnished();
    let id = cluster_id(&nodes[LEFT]);
    let left = data(&cluster, LEFT);
    let (_, refusal) = recover(&left, &["--accept-loss"], 2);
    assert!(refusal.contains("in use by another broker"), "{refusal}");
    nodes.drain(..).for_each(Broker::kill);
    for lost in 0..LEFT {
        std::fs::remove_dir_all(data(&cluster, lost)).unwrap();
    }

    let before = contents(&left);
    let (told, _) = recover(&left, &[], 0);
    assert_eq!(contents(&left), before, "it only tells");
    for wanted in
        ["not in these folders: node-0 (node ", "group 0 (the cluster): up to entry ", "nothing was changed\n"]
    {
        assert!(told.contains(wanted), "no {wanted:?} in {told}");
    }
    let was = node_id(&left);
    let (done, aside) = recover(&left, &["--accept-loss"], 0);
    assert!(done.contains("node-2 (node ") && done.contains("the only member of 13 groups"), "{done}");
    assert!(aside.contains("set-aside-1"), "{aside}");
    assert_ne!(node_id(&left), was, "the folder that there was never comes back");
    assert_eq!(node_id(&left.join("set-aside-1")), was);

    let node = cluster.start(LEFT);
    wait_until_ready(&node);
    assert_eq!(cluster_id(&node), id, "it is the same cluster");
    let mut subscriber = come_back(node.address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 30), (0..30).collect::<Vec<u32>>());
    subscriber.subscribe("kept", QoS::AtLeastOnce);
    assert_eq!(subscriber.text(), "for ever");
    subscriber.disconnect(ReasonCode::SUCCESS);
    let mut publisher = Client::connect(node.address("mqtt"), "publisher");
    publish(&mut publisher, "queue", 30..40);

    let mut nodes: Vec<Broker> = (0..LEFT).map(|index| cluster.start(index)).chain([node]).collect();
    nodes.iter().for_each(wait_until_ready);
    wait_until_whole(&nodes);
    publish(&mut publisher, "queue", 40..50);
    nodes.pop().unwrap().kill();
    let _witness = Witness(&nodes);
    let mut subscriber = come_back(nodes[0].address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 20), (30..50).collect::<Vec<u32>>());
}

#[test]
fn the_folders_that_were_given_up_are_set_aside_when_they_come_back() {
    let (cluster, mut nodes) = furnished();
    nodes.drain(..).for_each(Broker::kill);
    recover(&data(&cluster, LEFT), &["--accept-loss"], 0);
    let node = cluster.start(LEFT);
    wait_until_ready(&node);
    let mut publisher = Client::connect(node.address("mqtt"), "publisher");
    publish(&mut publisher, "queue", 30..40);

    // Both at once: they were a majority of the cluster that there was.
    let given_up: Vec<(usize, Broker)> = (0..LEFT).map(|index| (index, cluster.start(index))).collect();
    for (index, mut broker) in given_up {
        let retired = |line: &Value| line["why"].as_str().is_some_and(|why| why.contains("is retired"));
        broker.wait_for_log("a refusal of the folder", retired);
        assert!(!broker.wait().success(), "a supervisor has to see that something is wrong");
        assert!(data(&cluster, index).join("set-aside-1/store").exists(), "a human may want to look");
    }
    let mut nodes: Vec<Broker> = (0..LEFT).map(|index| cluster.start(index)).chain([node]).collect();
    nodes.iter().for_each(wait_until_ready);
    wait_until_whole(&nodes);
    nodes.pop().unwrap().kill();
    let _witness = Witness(&nodes);
    let mut subscriber = come_back(nodes[1].address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 40), (0..40).collect::<Vec<u32>>());
}

#[test]
fn of_several_folders_the_most_recent_copies_count_whichever_is_recovered() {
    let (cluster, mut nodes) = furnished();
    nodes.remove(0).kill();
    // One folder lacks what comes now, and is the one that is recovered.
    let mut publisher = wait_for("two that serve", || {
        let mut publisher = Client::open(nodes[0].address("mqtt"), fulmar_codec::Version::V5);
        let connect = fulmar_codec::Connect { client_id: "publisher", ..lasting("publisher") };
        let hello = publisher.hello(&connect);
        matches!(hello, Got::ConnAck { reason: ReasonCode::SUCCESS, .. }).then_some(publisher)
    });
    publish(&mut publisher, "queue", 30..60);
    nodes.drain(..).for_each(Broker::kill);
    let (old, recent) = (data(&cluster, 0), data(&cluster, LEFT));
    std::fs::remove_dir_all(data(&cluster, 1)).unwrap();
    let (told, _) = recover(&old, &[recent.to_str().unwrap()], 0);
    assert!(told.contains(", the most recent of these") && told.contains("another one is more recent"), "{told}");
    recover(&old, &[recent.to_str().unwrap(), "--accept-loss"], 0);

    let node = cluster.start(0);
    wait_until_ready(&node);
    let mut subscriber = come_back(node.address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    let mut got = take_numbers(&mut subscriber, 60);
    got.sort_unstable();
    assert_eq!(got, (0..60).collect::<Vec<u32>>());
}

#[test]
fn a_recovery_that_was_cut_off_when_the_new_store_was_in_its_place_is_brought_to_its_end() {
    let (cluster, mut nodes) = furnished();
    nodes.drain(..).for_each(Broker::kill);
    let left = data(&cluster, LEFT);
    let was = node_id(&left);
    recover(&left, &["--accept-loss"], 0);
    let id = node_id(&left);
    // As it was before the node had its new id.
    std::fs::rename(left.join("set-aside-1/store"), left.join("store.recovering")).unwrap();
    std::fs::rename(left.join("set-aside-1/node-id"), left.join("node-id")).unwrap();
    std::fs::remove_dir(left.join("set-aside-1")).unwrap();

    let (_, told) = recover(&left, &[], 2);
    assert!(told.contains("was cut off"), "{told}");
    recover(&left, &["--accept-loss"], 0);
    assert_eq!([node_id(&left), node_id(&left.join("set-aside-1"))], [id, was]);
    let node = cluster.start(LEFT);
    wait_until_ready(&node);
    let mut subscriber = come_back(node.address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 30), (0..30).collect::<Vec<u32>>());
}

fn readiness(node: &Broker) -> Value {
    serde_json::from_str(&node.get("/readyz?verbose").1).unwrap()
}

/// Waits until the node says this about itself.
fn wait_for_missing(node: &Broker, wanted: &str) {
    let says = || {
        let missing = readiness(node)["missing"].to_string();
        missing.contains(wanted).then_some(())
    };
    wait_for(wanted, says);
}

#[test]
fn a_lost_quorum_is_told_with_its_groups_the_nodes_that_are_missing_and_what_to_read() {
    let (cluster, mut nodes) = furnished();
    let left = nodes.pop().unwrap();
    assert_eq!(readiness(&left)["lost"], serde_json::json!([]));
    nodes.drain(..).for_each(Broker::kill);
    let text = "no quorum for the cluster itself (group 0) and groups 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12: no answer \
                from node-0, node-1; if they never come back, see docs/recovery.md";
    wait_for_missing(&left, text);
    let warned = left.wait_for_log("a warning", |line| line["message"] == "the cluster has lost a quorum");
    assert_eq!((warned["level"].as_str(), warned["lost"].as_str()), (Some("WARN"), Some(text)));

    // Both come back without what they had.
    (0..LEFT).for_each(|lost| std::fs::remove_dir_all(data(&cluster, lost)).unwrap());
    let fresh: Vec<Broker> = (0..LEFT).map(|index| cluster.start(index)).collect();
    wait_for_missing(&left, "no answer from node-0 (who answers has another data folder), node-1 (who answers has");
    fresh
        .iter()
        .for_each(|node| wait_for_missing(node, "the cluster has no leader, say those of its nodes that answer"));
}

#[test]
fn an_old_copy_of_the_folder_with_the_only_vote_leads_nobody_a_second_time() {
    let (cluster, mut nodes) = furnished();
    nodes.drain(..).for_each(Broker::kill);
    (0..LEFT).for_each(|lost| std::fs::remove_dir_all(data(&cluster, lost)).unwrap());
    let left = data(&cluster, LEFT);
    recover(&left, &["--accept-loss"], 0);
    let only = cluster.start(LEFT);
    wait_until_ready(&only);
    stop(only);
    let old = cluster.folder(LEFT).path().join("old");
    copy(&left, &old);

    // The others come before it goes on, since it asks all who are found whether its folder is an old copy.
    let mut nodes: Vec<Broker> = (0..NODES).map(|index| cluster.start(index)).collect();
    nodes.iter().for_each(wait_until_ready);
    wait_until_whole(&nodes);
    nodes.pop().unwrap().kill();
    let mut publisher = Client::connect(nodes[0].address("mqtt"), "publisher");
    publish(&mut publisher, "queue", 30..40);
    let leads = |node: &Broker| node.metric("fulmar_cluster_view");
    let view = leads(&nodes[0]);
    std::fs::remove_dir_all(&left).unwrap();
    copy(&old, &left);

    println!("{}", end_of(cluster.start(LEFT)));
    publish(&mut publisher, "queue", 40..50);
    assert_eq!(leads(&nodes[0]), view, "nobody noticed");
    let node = cluster.start(LEFT);
    wait_until_ready(&node);
    let mut subscriber = come_back(node.address("mqtt"), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 50), (0..50).collect::<Vec<u32>>());
}
