//! The drain of a node of a cluster that keeps sessions together, as an operator orders it: what the node has goes to
//! the others, and nobody misses anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use fulmar_codec::{QoS, ReasonCode, Version};
use serde_json::{Value, json};

use crate::durable::{lasting, publish};
use crate::durable_nodes::{come_back, come_in};
use crate::harness::{
    Authority, Broker, Client, Cluster, Folder, Got, Operator, name, wait_for, wait_for_link, wait_until_ready,
};

const SHARDS: u64 = 12;

/// Nodes that prove themselves, with an admin port each, and somebody who may ask it.
pub struct Bed {
    cluster: Cluster,
    operator: Operator,
    nodes: Vec<Option<Broker>>,
}

fn with_admin(folder: &Folder) -> String {
    let path = folder.path().display();
    format!(
        "  tls: {{certFile: {path}/tls.crt, keyFile: {path}/tls.key, caFile: {path}/ca.crt}}\nadmin: {{address: \
         127.0.0.1, port: 0}}\n"
    )
}

impl Bed {
    /// So many places, and nodes in all of them.
    pub fn of(count: usize) -> Bed {
        let mut cluster = Cluster::with(count, with_admin);
        cluster.durability = "fsync";
        let authority = Authority::new();
        for index in 0..count {
            let folder = cluster.folder(index).path();
            authority.issue(&cluster.place(index).ip().to_string(), folder);
            authority.publish(&folder.join("ca.crt"));
        }
        let nodes = cluster.start_all().into_iter().map(Some).collect();
        Bed { cluster, operator: Operator::of(&authority), nodes }
    }

    pub fn node(&self, index: usize) -> &Broker {
        self.nodes[index].as_ref().expect("it runs")
    }

    fn mqtt(&self, index: usize) -> SocketAddr {
        self.node(index).address("mqtt")
    }

    fn ask(&self, index: usize, method: &str, path: &str, body: &str) -> (u16, String) {
        let host = self.cluster.place(index).ip().to_string();
        self.operator.ask(self.node(index).address("admin"), &host, method, path, body)
    }

    fn json(&self, index: usize, method: &str, path: &str, body: &str) -> Value {
        let (status, text) = self.ask(index, method, path, body);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub fn begin(&self, index: usize, purpose: &str) -> Value {
        self.json(index, "POST", "/v1/drain", &json!({ "purpose": purpose }).to_string())
    }

    fn restart(&mut self, index: usize) {
        self.nodes[index] = Some(self.cluster.start(index));
    }

    /// Every shard has three copies that have all there is, by the word of its leader, and none of them elsewhere.
    fn wait_until_whole(&self, among: &[usize]) {
        wait_for("three good copies of each shard", || {
            let healthy = among.iter().map(|index| self.node(*index).metric("fulmar_store_shards_healthy"));
            (healthy.sum::<u64>() == SHARDS).then_some(())
        });
        let all = self.json(among[0], "GET", "/v1/cluster", "");
        let ids: BTreeSet<&str> = all["members"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|member| among.iter().any(|index| member["name"] == name(*index)))
            .map(|member| member["nodeId"].as_str().unwrap())
            .collect();
        for shard in all["shards"].as_array().unwrap() {
            let copies = shard["copies"].as_array().unwrap();
            let voters = copies.iter().filter(|copy| copy["isVoter"] == true);
            let voters: BTreeSet<&str> = voters.map(|copy| copy["nodeId"].as_str().unwrap()).collect();
            assert!(voters.len() == 3 && copies.len() == 3 && voters.is_subset(&ids), "{shard}");
        }
    }
}

/// Publishes numbers to nodes that let it in, one after the other, until it is over. Returns how many there were: each
/// of them was acknowledged.
fn publish_anywhere(addresses: &Mutex<Vec<SocketAddr>>, is_over: &AtomicBool) -> u32 {
    let mut next = 0;
    let mut turn = 0;
    while !is_over.load(Ordering::Relaxed) {
        let address = {
            let addresses = addresses.lock().unwrap();
            turn += 1;
            addresses[turn % addresses.len()]
        };
        let mut client = Client::open(address, Version::V5);
        (client.acknowledges, client.gives_up) = (false, true);
        let Got::ConnAck { reason: ReasonCode::SUCCESS, .. } = client.hello(&lasting("publisher")) else {
            continue;
        };
        while !is_over.load(Ordering::Relaxed) {
            let id = client.publish("queue", next.to_string(), QoS::AtLeastOnce);
            match client.next() {
                Got::PubAck(of, reason) if of == id && !reason.is_error() => next += 1,
                // It was told to go elsewhere, and asks there again.
                Got::Disconnect(_) | Got::Closed => break,
                got => panic!("wanted PUBACK {id}, got {got:?}"),
            }
        }
    }
    next
}

/// Ends the traffic, also when the test fails beside it.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a session has to have got, whatever came twice since its publisher did not hear of it.
fn take_all(client: &mut Client, count: u32) {
    client.acknowledges = true;
    let mut missing: BTreeSet<u32> = (0..count).collect();
    while !missing.is_empty() {
        missing.remove(&client.text().parse().unwrap());
    }
}

#[test]
fn a_node_that_leaves_hands_over_all_it_has_under_traffic() {
    let mut bed = Bed::of(4);
    let last = 3;
    let (mut queue, _) = come_in(bed.mqtt(last), &lasting("queue"));
    queue.subscribe("queue", QoS::AtLeastOnce);
    queue.disconnect(ReasonCode::SUCCESS);
    let mut idle: Vec<Client> =
        (0..20).map(|number| Client::connect(bed.mqtt(last), &format!("idle-{number}"))).collect();
    let addresses = Mutex::new((0..4).map(|index| bed.mqtt(index)).collect::<Vec<_>>());
    let is_over = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let ending = Ending(&is_over);
        let publishing = scope.spawn(|| publish_anywhere(&addresses, &is_over));
        bed.wait_until_among(&[0, 1, 2, 3]);
        assert!(!bed.node(last).get("/metrics").1.contains("fulmar_drain{"));
        let report = bed.begin(last, "leave");
        assert_eq!((&report["state"], &report["purpose"]), (&json!("draining"), &json!("leave")), "{report}");
        // Whoever orders it again changes nothing.
        bed.begin(last, "leave");
        for client in &mut idle {
            assert_eq!(client.until_closed(), [Got::Disconnect(ReasonCode::USE_ANOTHER_SERVER)]);
        }
        let mut late = Client::open(bed.mqtt(last), Version::V5);
        let sent_away = Got::ConnAck { session_present: false, reason: ReasonCode::USE_ANOTHER_SERVER };
        assert_eq!(late.hello(&lasting("late")), sent_away);
        wait_for("no readiness", || (bed.node(last).get("/readyz").0 == 503).then_some(()));
        let drained = json!({"state": "drained", "purpose": "leave", "leaders": 0, "replicas": 0, "clients": 0});
        wait_for("a drained node", || (bed.json(last, "GET", "/v1/drain", "") == drained).then_some(()));
        for what in ["leaders", "replicas", "clients"] {
            let name = format!("fulmar_drain{{what=\"{what}\"}}");
            bed.node(last).wait_for_metric(&name, |count| count == 0);
        }
        addresses.lock().unwrap().truncate(3);
        let mut broker = bed.nodes[last].take().unwrap();
        broker.signal(libc::SIGTERM);
        assert!(broker.wait().success());
        bed.wait_until_whole(&[0, 1, 2]);
        drop(ending);
        publishing.join().unwrap()
    });
    assert!(published > 20, "there was hardly any traffic");
    take_all(&mut come_back(bed.mqtt(1), &lasting("queue")), published);
}

impl Bed {
    /// Each of these has copies of shards.
    fn wait_until_among(&self, indices: &[usize]) {
        for index in indices {
            self.node(*index).wait_for_metric("fulmar_store_copies", |copies| copies > 0);
        }
    }
}

#[test]
fn a_drain_outlives_a_restart_and_ends_when_it_is_cancelled() {
    let mut bed = Bed::of(4);
    let last = 3;
    bed.begin(last, "leave");
    bed.nodes[last].take().unwrap().kill();
    bed.restart(last);
    let drained = |bed: &Bed| {
        wait_for("a drained node", || {
            let (status, text) = bed.ask(last, "GET", "/v1/drain", "");
            (status == 200 && text.contains(r#""drained""#)).then_some(())
        });
    };
    drained(&bed);
    // Stopping in good order does not make one that comes back of it.
    let mut broker = bed.nodes[last].take().unwrap();
    broker.signal(libc::SIGTERM);
    assert!(broker.wait().success());
    bed.restart(last);
    drained(&bed);
    let report = bed.json(last, "DELETE", "/v1/drain", "");
    assert_eq!((&report["state"], report.get("purpose")), (&json!("none"), None), "{report}");
    wait_until_ready(bed.node(last));
    assert!(Client::connect(bed.mqtt(last), "client").ping().is_empty());
    bed.wait_until_among(&[last]);
    assert!(!bed.node(last).get("/metrics").1.contains("fulmar_drain{"));
    // Without a drain it changes nothing.
    assert_eq!(bed.json(last, "DELETE", "/v1/drain", "")["state"], "none");
}

#[test]
fn a_node_that_is_drained_for_a_restart_keeps_its_copies_and_serves_when_it_is_back() {
    let mut bed = Bed::of(3);
    bed.begin(1, "restart");
    wait_for("a drained node", || {
        let report = bed.json(1, "GET", "/v1/drain", "");
        (report["state"] == "drained" && report["leaders"] == 0 && report["replicas"].as_u64() >= Some(SHARDS))
            .then_some(())
    });
    let mut broker = bed.nodes[1].take().unwrap();
    broker.signal(libc::SIGTERM);
    assert!(broker.wait().success());
    bed.restart(1);
    wait_until_ready(bed.node(1));
    assert_eq!(bed.json(1, "GET", "/v1/drain", "")["state"], "none");
    bed.wait_until_whole(&[0, 1, 2]);
}

#[test]
fn the_last_node_that_stays_is_not_drained_and_says_why() {
    let bed = Bed::of(2);
    bed.begin(1, "leave");
    let (status, text) = bed.ask(0, "POST", "/v1/drain", r#"{"purpose":"leave"}"#);
    assert_eq!(status, 409, "{text}");
    assert!(text.ends_with("is the last one that keeps shards\n"), "{text}");
    wait_for("one copy", || (bed.json(1, "GET", "/v1/drain", "")["state"] == "drained").then_some(()));
    assert_eq!(bed.json(0, "GET", "/v1/drain", "")["state"], "none");
    let mut client = Client::connect(bed.mqtt(0), "client");
    publish(&mut client, "a", [1]);
}

#[test]
fn the_cluster_is_told_as_each_of_its_nodes_knows_it() {
    let mut bed = Bed::of(3);
    bed.wait_until_whole(&[0, 1, 2]);
    let told: Vec<Value> = (0..3).map(|index| bed.json(index, "GET", "/v1/cluster", "")).collect();
    let id = told[0]["clusterId"].as_str().unwrap();
    assert!(id.len() == 32 && bed.node(0).get("/metrics").1.contains(&format!("fulmar_cluster_info{{id=\"{id}\"")));
    for (index, told) in told.iter().enumerate() {
        assert_eq!((&told["clusterId"], &told["drain"]["state"]), (&json!(id), &json!("none")));
        let members = told["members"].as_array().unwrap();
        let names: BTreeSet<&str> = members.iter().map(|member| member["name"].as_str().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(["node-0", "node-1", "node-2"]));
        assert!(members.iter().all(|member| member["state"] == "up" && member["isLive"] == true), "{told}");
        let own = members.iter().find(|member| member["nodeId"] == told["nodeId"]).unwrap();
        assert_eq!(own["name"], name(index));
        let shards = told["shards"].as_array().unwrap();
        assert_eq!(shards.len() as u64, SHARDS);
        for shard in shards {
            // Only its leader knows how far the copies are.
            let knows = shard["leader"] == told["nodeId"];
            assert!(shard["copies"].as_array().unwrap().iter().all(|copy| copy["lag"].is_u64() == knows), "{shard}");
        }
    }
    bed.nodes[2].take().unwrap().kill();
    wait_for("a view without the dead one", || {
        let told = bed.json(0, "GET", "/v1/cluster", "");
        let dead =
            told["members"].as_array().unwrap().iter().find(|member| member["name"] == "node-2").unwrap().clone();
        (dead["isLive"] == false && dead["state"] == "up").then_some(())
    });
    bed.restart(2);
    wait_for_link(bed.node(2), 0);
    wait_until_ready(bed.node(2));
}

#[test]
fn a_node_that_was_drained_and_has_left_is_gone_and_keeps_its_name_there() {
    let mut bed = Bed::of(4);
    let leaving = 3;
    let id = bed.json(leaving, "GET", "/v1/cluster", "")["nodeId"].clone();
    bed.begin(leaving, "leave");
    wait_for("the end of the drain", || {
        (bed.json(leaving, "GET", "/v1/drain", "")["state"] == "drained").then_some(())
    });
    let mut node = bed.nodes[leaving].take().expect("it runs");
    node.signal(libc::SIGTERM);
    assert!(node.wait().success());
    let member = wait_for("the end of its membership", || {
        let cluster = bed.json(0, "GET", "/v1/cluster", "");
        let member = cluster["members"].as_array().unwrap().iter().find(|it| it["nodeId"] == id).cloned();
        member.filter(|member| member["state"] == "gone")
    });
    assert_eq!((member["name"].as_str(), member["isLive"].as_bool()), (Some("node-3"), Some(false)));

    // Its folder is of no use any more, and its place is free.
    let mut old = bed.cluster.start(leaving);
    old.wait_for_log("a refusal", |line| line["why"].as_str().is_some_and(|why| why.contains("is retired")));
    assert!(!old.wait().success());
    bed.restart(leaving);
    wait_until_ready(bed.node(leaving));
    assert_eq!(bed.json(leaving, "GET", "/v1/drain", "")["state"], "none");
}
