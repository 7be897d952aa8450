//! Data folders that are not what their node had last: restored from an old copy, one of two copies, or of a machine that
//! lost what was not on its disk. Who has one does not come back with it, says why, and begins anew.

use std::path::{Path, PathBuf};

use fulmar_codec::{QoS, ReasonCode};
use serde_json::Value;

use crate::durable::{lasting, publish, take_numbers};
use crate::durable_nodes::{NODES, come_back, come_in, places};
use crate::harness::{Broker, Client, Cluster, Folder, wait_for, wait_until_ready};

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn stop(mut broker: Broker) {
    broker.signal(libc::SIGTERM);
    assert!(broker.wait().success());
}

fn refuses(line: &Value) -> bool {
    line["why"].as_str().is_some_and(|why| why.contains("restored or copied folder"))
}

/// Waits until the process has ended by itself, and returns why: in words.
pub fn end_of(mut broker: Broker) -> String {
    let line = broker.wait_for_log("a refusal of the folder", refuses);
    assert!(!broker.wait().success(), "a supervisor has to see that something is wrong");
    line["why"].as_str().unwrap().to_owned()
}

#[test]
fn a_folder_that_was_restored_from_a_copy_is_set_aside_and_its_node_joins_as_a_new_one() {
    let cluster = places(NODES);
    let mut nodes: Vec<Option<Broker>> = cluster.start_all().into_iter().map(Some).collect();
    let mqtt = |nodes: &[Option<Broker>], index: usize| nodes[index].as_ref().expect("it runs").address("mqtt");
    let (mut subscriber, _) = come_in(mqtt(&nodes, 0), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.disconnect(ReasonCode::SUCCESS);
    let data = cluster.folder(2).path().join("data");
    let old: PathBuf = cluster.folder(2).path().join("old");

    stop(nodes[2].take().unwrap());
    copy(&data, &old);
    let id = std::fs::read(old.join("node-id")).unwrap();
    nodes[2] = Some(cluster.start(2));
    wait_until_ready(nodes[2].as_ref().unwrap());
    let mut publisher = Client::connect(mqtt(&nodes, 0), "publisher");
    publish(&mut publisher, "queue", 0..20);
    stop(nodes[2].take().unwrap());
    std::fs::remove_dir_all(&data).unwrap();
    copy(&old, &data);

    println!("{}", end_of(cluster.start(2)));
    assert_eq!(std::fs::read(data.join("set-aside-1/node-id")).unwrap(), id, "a human may want to look");
    nodes[2] = Some(cluster.start(2));
    wait_until_ready(nodes[2].as_ref().unwrap());
    assert_ne!(std::fs::read(data.join("node-id")).unwrap(), id);
    let is_whole = || {
        let healthy = nodes.iter().flatten().map(|node| node.metric("fulmar_store_shards_healthy")).sum::<u64>();
        (healthy == 12).then_some(())
    };
    wait_for("three copies of each shard", is_whole);
    publish(&mut publisher, "queue", 20..30);
    // Whichever of the two others is lost now.
    nodes[0].take().unwrap().kill();
    let mut subscriber = come_back(mqtt(&nodes, 2), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 30), (0..30).collect::<Vec<u32>>());
}

#[test]
fn of_two_copies_of_a_folder_the_one_that_starts_first_goes_on_and_the_other_is_refused() {
    let mut cluster = places(NODES + 1);
    let mut nodes: Vec<Option<Broker>> = cluster.start_all().into_iter().map(Some).collect();
    let (one, other) = (2, 3);
    nodes[other].take().unwrap().kill();
    stop(nodes[one].take().unwrap());
    let data = |index: usize| cluster.folder(index).path().join("data");
    std::fs::remove_dir_all(data(other)).unwrap();
    copy(&data(one), &data(other));
    cluster.names[other] = cluster.names[one].clone();
    let first = cluster.start(other);
    wait_until_ready(&first);
    stop(first);
    println!("{}", end_of(cluster.start(one)));
    let first = cluster.start(other);
    wait_until_ready(&first);
    let mut client = Client::connect(first.address("mqtt"), "client");
    publish(&mut client, "a", [1]);
}

/// Two places for one node, of which only the first runs, beside two other nodes.
fn with_a_place_for_a_copy() -> (Cluster, Vec<Option<Broker>>) {
    let mut cluster = places(NODES + 1);
    let mut nodes: Vec<Option<Broker>> = cluster.start_all().into_iter().map(Some).collect();
    nodes[COPY].take().unwrap().kill();
    std::fs::remove_dir_all(cluster.folder(COPY).path().join("data")).unwrap();
    cluster.names[COPY] = cluster.names[ONE].clone();
    (cluster, nodes)
}

const ONE: usize = 2;
const COPY: usize = 3;

#[test]
fn a_copy_of_the_folder_of_a_node_that_runs_is_refused_and_the_node_goes_on() {
    let (cluster, nodes) = with_a_place_for_a_copy();
    let [other, .., one, _] = &nodes[..] else { unreachable!("there are four places") };
    let (other, one) = (other.as_ref().unwrap(), one.as_ref().unwrap());
    let data = |index: usize| cluster.folder(index).path().join("data");
    // It says that it is the next life of the node, since the counter in the folder goes up with each start.
    one.freeze();
    copy(&data(ONE), &data(COPY));
    one.signal(libc::SIGCONT);
    let why = end_of(cluster.start(COPY));
    assert!(why.contains("another node"), "{why}");
    assert!(data(COPY).join("set-aside-1/node-id").exists(), "a human may want to look");

    wait_until_ready(one);
    let lives = one.log(|line| line["message"] == "member of the cluster");
    assert_eq!(lives.len(), 1, "the copy did not push it out: {lives:?}");
    for node in [one, other] {
        let mut client = Client::connect(node.address("mqtt"), "client");
        publish(&mut client, "a", [1]);
    }
}

#[test]
fn of_two_copies_of_a_folder_that_start_at_once_one_goes_on_and_the_other_is_refused() {
    let (cluster, mut nodes) = with_a_place_for_a_copy();
    stop(nodes[ONE].take().unwrap());
    let data = |index: usize| cluster.folder(index).path().join("data");
    copy(&data(ONE), &data(COPY));
    let both = [cluster.start(COPY), cluster.start(ONE)];
    let ended = wait_for("an end of one of them", || (0..2).find(|at| !both[*at].log(refuses).is_empty()));
    let [mut first, mut second] = both;
    if ended == 0 {
        std::mem::swap(&mut first, &mut second);
    }
    println!("{}", end_of(second));
    wait_until_ready(&first);
    let mut client = Client::connect(first.address("mqtt"), "client");
    publish(&mut client, "a", [1]);
}

#[test]
fn a_folder_that_was_written_without_syncing_counts_as_lost_when_its_machine_has_started_again() {
    let boot_id = |folder: &Folder| format!("  bootIdFile: {}\n", folder.path().join("boot-id").display());
    let mut cluster = Cluster::with(NODES, boot_id);
    cluster.durability = "memory";
    let starts = |name: &str| {
        std::fs::write(cluster.folder(ONE).path().join("boot-id"), name).unwrap();
    };
    starts("one");
    let mut nodes: Vec<Option<Broker>> = cluster.start_all().into_iter().map(Some).collect();
    let mqtt = |nodes: &[Option<Broker>], index: usize| nodes[index].as_ref().expect("it runs").address("mqtt");
    let (mut subscriber, _) = come_in(mqtt(&nodes, 0), &lasting("subscriber"));
    subscriber.subscribe("queue", QoS::AtLeastOnce);
    subscriber.disconnect(ReasonCode::SUCCESS);
    let mut publisher = Client::connect(mqtt(&nodes, 0), "publisher");
    let data = cluster.folder(ONE).path().join("data");
    let id = || std::fs::read(data.join("node-id")).unwrap();
    let first = id();

    // Its process dies, and what it wrote is still with the machine; it stops in good order, and all is on the disk.
    let restarts = [("one", Broker::kill as fn(Broker)), ("two", stop), ("three", Broker::kill)];
    for (round, (name, ends)) in (0..).zip(restarts) {
        publish(&mut publisher, "queue", 10 * round..10 * (round + 1));
        ends(nodes[ONE].take().unwrap());
        starts(name);
        nodes[ONE] = Some(cluster.start(ONE));
        wait_until_ready(nodes[ONE].as_ref().unwrap());
        assert_eq!(id() == first, round < 2, "round {round}");
    }
    assert_eq!(std::fs::read(data.join("set-aside-1/node-id")).unwrap(), first, "a human may want to look");
    let is_whole = || {
        let healthy = nodes.iter().flatten().map(|node| node.metric("fulmar_store_shards_healthy")).sum::<u64>();
        (healthy == 12).then_some(())
    };
    wait_for("three copies of each shard", is_whole);
    let mut subscriber = come_back(mqtt(&nodes, ONE), &lasting("subscriber"));
    subscriber.acknowledges = true;
    assert_eq!(take_numbers(&mut subscriber, 30), (0..30).collect::<Vec<u32>>());
}
