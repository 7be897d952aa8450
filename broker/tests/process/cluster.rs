//! Several brokers that form a cluster: one topic space, nodes that go and come back, links that nobody else can make.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fulmar_codec::{PublishHead, QoS, ReasonCode};
use serde_json::Value;

use crate::harness::{
    Authority, Broker, Client, Cluster, Folder, Got, has_line, name, tcp, wait_for, wait_for_link,
    wait_for_link_publishes, wait_until_ready,
};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The answer that completes a publish of this QoS.
fn completed(publisher: &mut Client, qos: QoS, id: u16) {
    match qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => assert_eq!(publisher.next(), Got::PubAck(id, ReasonCode::SUCCESS)),
        QoS::ExactlyOnce => {
            assert_eq!(publisher.next(), Got::PubRec(id, ReasonCode::SUCCESS));
            publisher.acknowledge(fulmar_codec::AckKind::PubRel, id);
            assert_eq!(publisher.next(), Got::PubComp(id));
        }
    }
}

fn publish(publisher: &mut Client, topic: &str, payload: &str, qos: QoS) {
    let id = publisher.publish(topic, payload, qos);
    completed(publisher, qos, id);
}

fn retain(publisher: &mut Client, topic: &str, payload: &str) {
    let head = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
    let id = publisher.publish_with(topic, payload, head);
    completed(publisher, QoS::AtLeastOnce, id);
}

/// Each node's publishes reach a subscriber of each other node, and cross the link once each.
fn assert_all_pairs(nodes: &[Broker]) {
    for (from, publishing) in nodes.iter().enumerate() {
        for (to, subscribing) in nodes.iter().enumerate().filter(|(to, _)| *to != from) {
            let filter = format!("pair/{from}/{to}");
            let mut publisher = Client::connect(publishing.address("mqtt"), &format!("publisher-{from}-{to}"));
            // Two subscribers on one node: one copy crosses the link.
            let mut subscribers = ["a", "b"].map(|which| {
                let id = format!("subscriber-{which}-{from}-{to}");
                let mut subscriber = Client::connect(subscribing.address("mqtt"), &id);
                subscriber.subscribe(&filter, QoS::ExactlyOnce);
                subscriber
            });
            let before = wait_for_link_publishes(publishing, to, |_| true);
            for qos in ALL_QOS {
                publish(&mut publisher, &filter, &format!("with {qos:?}"), qos);
            }
            for subscriber in &mut subscribers {
                for qos in ALL_QOS {
                    assert_eq!(subscriber.text(), format!("with {qos:?}"));
                }
            }
            wait_for_link_publishes(publishing, to, |sent| sent == before + 3);
        }
    }
}

#[test]
fn each_node_serves_the_subscribers_of_each_other() {
    let nodes = Cluster::of(3).start_all();
    assert_all_pairs(&nodes);
    assert_eq!(nodes[0].metric("fulmar_link_silence_max_seconds"), 2);
    // Each was told its own place too, and knows it for its own.
    for node in &nodes {
        let (_, text) = node.get("/metrics");
        assert_eq!(text.lines().filter(|line| line.starts_with("fulmar_link_failures{")).count(), 2, "{text}");
        assert_eq!(node.metric("fulmar_subscribe_barrier_timeouts_total"), 0);
    }
}

#[test]
fn two_nodes_of_one_name_are_told_of_and_told_apart() {
    let mut cluster = Cluster::of(3);
    cluster.names[2] = name(1);
    let nodes = [cluster.start(0), cluster.start(1), cluster.start(2)];
    let ids = nodes.each_ref().map(|node| {
        let line = node.wait_for_log("the start", |line| line["message"] == "starting");
        line["node_id"].as_str().unwrap().to_owned()
    });
    for (node, index) in nodes.iter().zip(0..) {
        let info = format!("fulmar_node_info{{node=\"{}\",node_id=\"{}\",", cluster.names[index], ids[index]);
        assert!(node.get("/metrics").1.contains(&info), "{info}");
        // The two see one namesake each: the other one.
        node.wait_for_metric("fulmar_link_namesakes", |count| count == if index == 0 { 2 } else { 1 });
        let warning = node.wait_for_log("warning", |line| line["message"] == "two nodes have the same name");
        let mut told = [&warning["node_id"], &warning["other_node_id"]].map(|id| id.as_str().unwrap());
        let mut wanted = [ids[1].as_str(), ids[2].as_str()];
        told.sort_unstable();
        wanted.sort_unstable();
        assert_eq!((&warning["name"], told), (&Value::from("node-1"), wanted));
    }
    // Each has metrics of its own.
    for id in &ids[1..] {
        let line = format!("fulmar_link_state{{peer=\"node-1 ({id})\",state=\"up\"}} 1");
        wait_for(&line, || has_line(&nodes[0], &line).then_some(()));
        let sent = format!("fulmar_link_publishes_sent_total{{peer=\"node-1 ({id})\"}} 0");
        wait_for(&sent, || has_line(&nodes[0], &sent).then_some(()));
    }
}

#[test]
fn many_silent_connections_on_the_cluster_port_keep_nobody_out() {
    let cluster = Cluster::of(1);
    let node = cluster.start(0);
    let silent: Vec<TcpStream> = (0..300).map(|_| tcp(cluster.place(0))).collect();
    let start = Instant::now();
    // Whoever comes last is listened to at once, and here told apart.
    let mut last = tcp(cluster.place(0));
    last.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(!matches!(last.read(&mut [0]), Ok(1..)), "nodes do not speak HTTP");
    // Without a place of its own it would wait for the silent ones, which have 5 s.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(node.metric("fulmar_link_refusals_total") >= 300 - 256);
    drop(silent);
}

#[test]
fn a_second_signal_after_a_while_ends_a_broker_that_still_waits_for_a_peer() {
    let heartbeat =
        |_: &Folder| "  heartbeat: {intervalMilliseconds: 2000, timeoutMilliseconds: 2000, retries: 2}".to_owned();
    let cluster = Cluster::with(2, heartbeat);
    let mut nodes = cluster.start_all();
    let mut subscriber = Client::connect(nodes[1].address("mqtt"), "subscriber");
    subscriber.subscribe("news", QoS::AtLeastOnce);
    nodes[1].freeze();
    let mut publisher = Client::connect(nodes[0].address("mqtt"), "publisher");
    publisher.publish("news", "that nobody acknowledges", QoS::AtLeastOnce);
    wait_for_link_publishes(&nodes[0], 1, |sent| sent == 1);
    let start = Instant::now();
    nodes[0].signal(libc::SIGTERM);
    wait_for("the end", || {
        let is_over = nodes[0].has_ended();
        if !is_over {
            nodes[0].signal(libc::SIGTERM);
        }
        is_over.then_some(())
    });
    let ended = start.elapsed();
    nodes[0].wait_for_log("end", |line| line["message"] == "stopped at once by a second signal");
    // The peer would have been given up after 8 s.
    assert!(ended >= Duration::from_secs(1) && ended < Duration::from_secs(6), "{ended:?}");
}

#[test]
fn strangers_on_the_cluster_port_are_counted_and_told_of_once() {
    let cluster = Cluster::of(1);
    let node = cluster.start(0);
    // Some say nothing, others what no node says.
    let mut strangers: Vec<TcpStream> = (0..20).map(|_| tcp(cluster.place(0))).collect();
    for stranger in &mut strangers[10..] {
        let _ = stranger.write_all(b"GET / HTTP/1.1\r\n\r\n");
    }
    node.wait_for_metric("fulmar_link_refusals_total", |count| count == 20);
    let told = |level: &str| node.log(|line| line["message"] == "peer not accepted" && line["level"] == level).len();
    assert_eq!((told("WARN"), told("DEBUG")), (1, 19));
}

#[test]
fn a_retained_message_is_there_on_every_node_and_on_one_that_comes_later() {
    let cluster = Cluster::of(3);
    let nodes = [cluster.start(0), cluster.start(1)];
    wait_for_link(&nodes[0], 1);
    let mut publisher = Client::connect(nodes[0].address("mqtt"), "publisher");
    for number in 0..500 {
        retain(&mut publisher, &format!("kept/{number}"), &number.to_string());
    }
    retain(&mut publisher, "kept/7", "");
    let late = cluster.start(2);
    wait_until_ready(&late);
    for node in nodes.iter().chain([&late]) {
        let mut reader = Client::connect(node.address("mqtt"), "reader");
        reader.subscribe("kept/#", QoS::AtMostOnce);
        let mut topics: Vec<String> = (0..499).map(|_| reader.message().0).collect();
        topics.sort();
        let mut wanted: Vec<String> = (0..500).filter(|number| *number != 7).map(|it| format!("kept/{it}")).collect();
        wanted.sort();
        assert_eq!((topics, reader.ping()), (wanted, Vec::new()));
    }
}

#[test]
fn a_client_that_connects_elsewhere_leaves_its_older_connection() {
    let nodes = Cluster::of(2).start_all();
    let mut older = Client::connect(nodes[0].address("mqtt"), "roaming");
    let mut newer = Client::connect(nodes[1].address("mqtt"), "roaming");
    assert_eq!(older.until_closed(), [Got::Disconnect(ReasonCode::SESSION_TAKEN_OVER)]);
    assert_eq!(newer.ping(), []);
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member_wherever_it_is() {
    let nodes = Cluster::of(3).start_all();
    let mut members = [0, 1, 2].map(|index| {
        let mut member = Client::connect(nodes[index].address("mqtt"), &format!("member-{index}"));
        member.subscribe("$share/group/work", QoS::AtLeastOnce);
        member
    });
    let mut sent: Vec<String> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let mut publisher = Client::connect(node.address("mqtt"), &format!("publisher-{index}"));
        for number in 0..20 {
            let payload = format!("{index}-{number:02}");
            publish(&mut publisher, "work", &payload, QoS::AtLeastOnce);
            sent.push(payload);
        }
    }
    let text = |got: Got| match got {
        Got::Message { payload, .. } => String::from_utf8(payload).unwrap(),
        got => panic!("wanted a message, got {got:?}"),
    };
    // Every publish was acknowledged, so every message is in its member's queue.
    let mut received: Vec<String> = members.iter_mut().flat_map(Client::ping).map(text).collect();
    received.sort();
    assert_eq!(received, sent);
}

#[test]
fn a_killed_node_is_given_up_and_taken_back() {
    let cluster = Cluster::of(3);
    let mut nodes = cluster.start_all();
    let mut publisher = Client::connect(nodes[0].address("mqtt"), "publisher");
    let mut near = Client::connect(nodes[1].address("mqtt"), "near");
    near.subscribe("news", QoS::AtLeastOnce);
    let mut lost = Client::connect(nodes[2].address("mqtt"), "lost");
    lost.subscribe("news", QoS::AtLeastOnce);

    drop(nodes.pop());
    // Waits for the killed node no longer than a link may take to resume, then for nobody.
    for number in 0..10 {
        publish(&mut publisher, "news", &number.to_string(), QoS::AtLeastOnce);
        assert_eq!(near.text(), number.to_string());
    }
    wait_for_link_publishes(&nodes[0], 1, |sent| sent == 10);
    for node in &nodes {
        node.wait_for_log("the end of the node", |line| line["message"] == "node is gone" && line["peer"] == "node-2");
        assert_eq!(node.get("/readyz").0, 200, "a node stays ready when another is lost");
    }

    nodes.push(cluster.start(2));
    for (node, peer) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        wait_for_link(&nodes[node], peer);
    }
    wait_until_ready(&nodes[2]);
    assert_all_pairs(&nodes);
}

#[test]
fn a_stalled_node_holds_up_publishers_for_a_moment_and_is_linked_again_when_it_wakes() {
    let nodes = Cluster::of(2).start_all();
    let mut subscriber = Client::connect(nodes[1].address("mqtt"), "subscriber");
    subscriber.subscribe("news", QoS::AtLeastOnce);
    let mut publisher = Client::connect(nodes[0].address("mqtt"), "publisher");

    nodes[1].freeze();
    publish(&mut publisher, "other", "matches nobody", QoS::AtLeastOnce);
    let start = Instant::now();
    publish(&mut publisher, "news", "while it sleeps", QoS::AtLeastOnce);
    let held = start.elapsed();
    // By default a silent node is given up after 2 s; a busy machine gets some time on top.
    assert!(held > Duration::from_secs(1) && held < Duration::from_secs(8), "held for {held:?}");
    nodes[0].wait_for_log("the end of the node", |line| line["message"] == "node is gone" && line["peer"] == "node-1");

    nodes[1].signal(libc::SIGCONT);
    for (node, peer) in [(0, 1), (1, 0)] {
        wait_for_link(&nodes[node], peer);
    }
    // Interest is told anew in the new life of the link.
    publish_until_received(&mut publisher, &mut subscriber, "news");
}

/// Publishes until the subscriber has something: its interest may be on the way.
fn publish_until_received(publisher: &mut Client, subscriber: &mut Client, topic: &str) {
    wait_for("a message", || {
        publish(publisher, topic, "awake", QoS::AtLeastOnce);
        subscriber.ping().into_iter().find(|got| matches!(got, Got::Message { payload, .. } if payload == b"awake"))
    });
}

#[test]
fn nodes_that_know_each_other_by_name_find_each_other_and_prove_the_name() {
    let mut cluster = Cluster::at(local_places(2), with_tls);
    cluster.host = Some("localhost");
    let authority = Authority::new();
    for index in 0..2 {
        certify(&cluster, index, &authority, "localhost");
    }
    assert_all_pairs(&cluster.start_all());
}

/// Free ports of the address that `localhost` stands for.
fn local_places(count: usize) -> Vec<SocketAddr> {
    let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
}

#[test]
fn a_node_that_stops_tells_its_peers_who_do_not_wait_for_it() {
    let mut nodes = Cluster::of(2).start_all();
    let mut subscriber = Client::connect(nodes[1].address("mqtt"), "subscriber");
    subscriber.subscribe("news", QoS::AtLeastOnce);
    let mut publisher = Client::connect(nodes[0].address("mqtt"), "publisher");
    publish(&mut publisher, "news", "first", QoS::AtLeastOnce);

    let lost = |node: &Broker| node.log(|line: &Value| line["message"] == "link is lost").len();
    let lost_before = lost(&nodes[0]);
    nodes[1].signal(libc::SIGTERM);
    assert!(nodes[1].wait().success());
    let told = [Got::Disconnect(ReasonCode::SERVER_SHUTTING_DOWN)];
    assert_eq!(subscriber.text(), "first");
    assert_eq!(subscriber.until_closed(), told);
    nodes[0].wait_for_log("the end of the node", |line| line["message"] == "node is gone" && line["peer"] == "node-1");
    publish(&mut publisher, "news", "second", QoS::AtLeastOnce);
    assert_eq!(lost(&nodes[0]), lost_before, "a link that was closed is not lost");
}

/// Mutual TLS with the certificate that lies in the node's folder.
fn with_tls(folder: &Folder) -> String {
    let path = folder.path().display();
    format!("  tls: {{certFile: {path}/tls.crt, keyFile: {path}/tls.key, caFile: {path}/ca.crt}}\n")
}

/// Gives a node a certificate for a name, and the authority that it is to trust.
fn certify(cluster: &Cluster, index: usize, authority: &Authority, name: &str) {
    let folder = cluster.folder(index).path();
    authority.issue(name, folder);
    authority.publish(&folder.join("ca.crt"));
}

/// Waits for a log line that names an error of linking with somebody.
fn wait_for_error(node: &Broker, message: &str, part: &str) {
    let tells = |line: &Value| line["message"] == message && line["error"].as_str().is_some_and(|it| it.contains(part));
    node.wait_for_log(&format!("{message} with {part}"), tells);
}

#[test]
fn nodes_that_prove_themselves_link_and_a_stranger_does_not() {
    let cluster = Cluster::with(3, with_tls);
    let (authority, stranger) = (Authority::new(), Authority::new());
    for index in 0..3 {
        let place = cluster.place(index).ip().to_string();
        certify(&cluster, index, if index == 2 { &stranger } else { &authority }, &place);
    }
    let nodes = [cluster.start(0), cluster.start(1), cluster.start(2)];
    wait_for_link(&nodes[0], 1);
    wait_for_link(&nodes[1], 0);
    assert_all_pairs(&nodes[..2]);
    wait_for_error(&nodes[2], "peer not linked, it is tried again", "invalid peer certificate");
    wait_for_error(&nodes[0], "peer not accepted", "shake hands");
    assert!(!has_line(&nodes[0], "fulmar_link_refusals_total 0"));

    // The stranger is given a certificate of the cluster, which it takes into use while it runs.
    certify(&cluster, 2, &authority, &cluster.place(2).ip().to_string());
    wait_for_link(&nodes[2], 0);
    wait_for_link(&nodes[2], 1);
    assert_all_pairs(&nodes);
}

#[test]
fn a_certificate_for_another_name_is_not_accepted_by_who_dials() {
    let cluster = Cluster::with(2, with_tls);
    let authority = Authority::new();
    for index in 0..2 {
        certify(&cluster, index, &authority, "elsewhere.test");
    }
    let nodes = [cluster.start(0), cluster.start(1)];
    for node in &nodes {
        wait_for_error(node, "peer not linked, it is tried again", "not valid for name");
    }
}

#[test]
fn whoever_speaks_something_else_on_the_cluster_port_is_told_apart_and_closed() {
    let cluster = Cluster::of(1);
    let node = cluster.start(0);
    wait_until_ready(&node);
    let mut stranger = tcp(cluster.place(0));
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_until_closed(&mut stranger), b"");
    wait_for_error(&node, "peer not accepted", "not a node of a Fulmar cluster");

    // A node of a version to come learns which protocol is spoken here.
    let mut newer = tcp(cluster.place(0));
    newer.write_all(b"FULMAR\x00\x63\x00\x00").unwrap();
    assert!(read_until_closed(&mut newer).starts_with(b"FULMAR\x00\x03"));
    wait_for_error(&node, "peer not accepted", "link protocol 99, wanted 3");
    node.wait_for_metric("fulmar_link_refusals_total", |refusals| refusals == 2);
}

/// What comes until the other side closes, in whatever way.
fn read_until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => bytes,
    }
}
