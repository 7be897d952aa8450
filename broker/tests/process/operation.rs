//! What the person who runs a broker sees: configuration, start, probes, metrics, log lines, and the end.

use std::time::Instant;

use fulmar_codec::{Connect, QoS, ReasonCode, Version};
use serde_json::Value;

use crate::harness::{Broker, Client, FILE, Folder, Got, Start, wait_for};

#[test]
fn a_wrong_configuration_is_refused_with_every_error_at_once() {
    let wrong = "
threads: many
listeners:
- {name: mqtt, protocol: mqtt, address: 127.0.0.1, port: 70000}
- {name: mqtt, protocol: mqtts, address: 127.0.0.1, port: 1}
limits: {inflight: 0, packetByte: 5}
";
    let check = Start::with_file(wrong).argument("check").argument(FILE).run_to_end();
    assert_eq!((check.status.code(), check.output.as_str()), (Some(2), ""));
    let lines: Vec<&str> = check.errors.lines().collect();
    let wanted = [
        "broker.yaml: line 2: threads: found many, wanted a whole number",
        "line 4: listeners[0].port: found 70000, wanted",
        "listeners[1].name: found mqtt, wanted another name than listeners[0].name",
        "listeners[1].tls: found nothing, wanted certFile and keyFile",
        "line 6: limits.inflight: found 0, wanted",
        "line 6: limits.packetByte: found an unknown key, wanted",
        "6 errors in the configuration",
    ];
    for text in wanted {
        assert_eq!(lines.iter().filter(|line| line.contains(text)).count(), 1, "{text} in\n{}", check.errors);
    }
    assert_eq!(lines.len(), wanted.len(), "{}", check.errors);
    // The broker itself says the same and does not start.
    let run = Start::with_file(wrong).run_to_end();
    assert_eq!((run.status.code(), run.errors), (Some(2), check.errors));
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = "\nthreads: 1\nname: of-the-file\nlimits: {inflight: 7, sessions: 11}\n";
    let shown = Start::with_file(file)
        .argument("check")
        .argument(FILE)
        .argument("--threads=3")
        .variable("FULMAR_THREADS", "2")
        .variable("FULMAR_NAME", "of-the-environment")
        .variable("FULMAR_LIMITS__SESSIONS", "12")
        .run_to_end();
    assert_eq!((shown.status.code(), shown.errors.as_str()), (Some(0), ""));
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = shown.output.lines().map(squeezed).collect();
    for line in [
        "threads: 3 # * --threads",
        "name: of-the-environment # * FULMAR_NAME",
        "limits.sessions: 12 # * FULMAR_LIMITS__SESSIONS",
        "limits.inflight: 7 # * line 4",
        "limits.queuedMessages: 1000 # default",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} is missing in\n{}", shown.output);
    }
}

#[test]
fn errors_of_flags_variables_and_file_are_told_together() {
    let check = Start::with_file("\nthreads: some\nlimits: {inflight: 0}\n")
        .argument("--set=limits.sessions=none")
        .argument("check")
        .argument(FILE)
        .argument("--listen=ws://127.0.0.1:1")
        .variable("FULMAR_HTTP", "8080")
        .variable("FULMAR_LIMITS__PACKET_BYTES", "x")
        .variable("FULMAR_LIMITS_INFLIGHT", "5")
        .variable("FULMAR_PORT", "tcp://10.0.0.1:1883")
        .variable("FULMAR_FROBNICATE", "5")
        .run_to_end();
    assert_eq!((check.status.code(), check.output.as_str()), (Some(2), ""));
    let wanted = [
        "warning: FULMAR_FROBNICATE: no setting has a name like this",
        "warning: FULMAR_PORT: announced by Kubernetes",
        "broker.yaml: line 2: threads: found some, wanted a whole number",
        "broker.yaml: line 3: limits.inflight: found 0, wanted",
        "FULMAR_LIMITS__PACKET_BYTES: limits.packetBytes: found x, wanted",
        "--set limits.sessions: limits.sessions: found none, wanted",
        "FULMAR_LIMITS_INFLIGHT: configuration: found no setting of that name, wanted FULMAR_LIMITS__INFLIGHT",
        "--listen: listeners: found ws://127.0.0.1:1, wanted mqtt://ADDRESS:PORT",
        "FULMAR_HTTP: http: found 8080, wanted ADDRESS:PORT",
        "7 errors in the configuration",
    ];
    let lines: Vec<&str> = check.errors.lines().collect();
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{wanted} in\n{}", check.errors);
    }
    assert_eq!(lines.len(), wanted.len(), "{}", check.errors);
}

#[test]
fn check_shows_the_values_that_nobody_gave() {
    let shown = Start::with_file("{}").argument("check").argument(FILE).run_to_end();
    assert_eq!((shown.status.code(), shown.errors.as_str()), (Some(0), ""));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = shown.output.lines().map(squeezed).collect();
    for line in [
        format!("name: {} # host name", host.trim()),
        "listeners[0].name: mqtt # default".to_owned(),
        "listeners[0].address: 127.0.0.1 # default".to_owned(),
        "listeners[0].port: 1883 # default".to_owned(),
        "listeners[0].tls: off # default".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{}", shown.output);
    }
}

#[test]
fn a_service_called_fulmar_does_not_stop_the_broker() {
    let broker = Start::with(&[])
        .variable("FULMAR_PORT", "tcp://10.0.0.1:1883")
        .variable("FULMAR_SERVICE_HOST", "10.0.0.1")
        .variable("FULMAR_MQTT_PORT_1883_TCP_PROTO", "tcp")
        .run();
    let is_warning = |line: &Value| {
        line["level"] == "WARN" && line["message"].as_str().is_some_and(|text| text.contains("FULMAR_SERVICE_HOST"))
    };
    broker.wait_for_log("warning", is_warning);
}

#[test]
fn flags_and_variables_alone_make_a_broker() {
    let broker = Start::with_file("{}")
        .argument("--listen=mqtt://127.0.0.1:0")
        .argument("--listen=mqtt://[::1]:0")
        .argument("--set=log.format=json")
        .variable("FULMAR_HTTP", "127.0.0.1:0")
        .run();
    let mut one = Client::connect(broker.address("mqtt"), "one");
    let mut two = Client::connect(broker.address("mqtt-2"), "two");
    two.subscribe("a", QoS::AtMostOnce);
    one.publish("a", "from IPv4 to IPv6", QoS::AtMostOnce);
    assert_eq!(two.text(), "from IPv4 to IPv6");
    broker.wait_for_metric("fulmar_connections", |count| count == 2);
}

#[test]
fn every_address_of_ipv6_is_every_address_of_ipv4_too() {
    let broker = Start::with_file("{}")
        .argument("--listen=mqtt://[::]:0")
        .argument("--listen=mqtt://[::1]:0")
        .argument("--allow-anonymous")
        .argument("--set=log.format=json")
        .argument("--set=log.level=debug")
        .run();
    let (all, one) = (broker.address("mqtt").port(), broker.address("mqtt-2").port());
    let mut four = Client::connect(([127, 0, 0, 1], all).into(), "four");
    let mut six = Client::connect((std::net::Ipv6Addr::LOCALHOST, all).into(), "six");
    assert_eq!((four.ping(), six.ping()), (vec![], vec![]));
    let connected =
        |id: &'static str| move |line: &Value| line["message"] == "client connected" && line["client_id"] == id;
    for (id, address) in [("four", "127.0.0.1:"), ("six", "[::1]:")] {
        let line = broker.wait_for_log(id, connected(id));
        assert!(line["address"].as_str().unwrap().starts_with(address), "{line}");
    }
    // One address is that address and no other.
    assert_eq!(Client::connect((std::net::Ipv6Addr::LOCALHOST, one).into(), "loopback").ping(), []);
    assert!(std::net::TcpStream::connect(("127.0.0.1", one)).is_err());
}

#[test]
fn a_port_in_use_stops_the_start_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (flag, what) in [("--listen=mqtt://127.0.0.1", "mqtt"), ("--http=127.0.0.1", "http")] {
        let exit = Start::with_file("{}")
            .argument("--listen=mqtt://127.0.0.1:0")
            .argument(&format!("{flag}:{port}"))
            .run_to_end();
        assert_eq!(exit.status.code(), Some(1), "{exit:?}");
        let last = exit.errors.lines().last().unwrap();
        let wanted = format!("fulmar-broker: listen on 127.0.0.1:{port} ({what}");
        assert!(last.starts_with(&wanted) && last.contains("in use"), "{wanted} in\n{}", exit.errors);
    }
}

#[test]
fn a_data_folder_keeps_the_node_id_and_serves_one_broker_at_a_time() {
    let folder = Folder::new();
    let setting = format!("dataDir={}", folder.path().join("data").display());
    let node_id =
        |broker: &Broker| broker.wait_for_log("the start", |line| line["message"] == "starting")["node_id"].clone();
    let first = Broker::start(&[&setting]);
    let id = node_id(&first);
    let second = Start::with(&[&setting]).run_to_end();
    assert_eq!(second.status.code(), Some(1));
    assert!(second.errors.contains("is in use by another broker"), "{}", second.errors);
    drop(first);
    assert_eq!(node_id(&Broker::start(&[&setting])), id);
    assert_ne!(node_id(&Broker::start(&[])), id);
}

#[test]
fn every_metric_is_described() {
    let broker = Broker::start(&[]);
    let _client = Client::connect(broker.address("mqtt"), "client");
    broker.wait_for_metric("fulmar_connections", |count| count == 1);
    let (_, text) = broker.get("/metrics");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        // Of a histogram the parts are shown.
        let mut families = ["", "_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
        let is_described =
            |name| text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} "));
        assert!(families.any(is_described), "{name}");
    }
    for name in [
        concat!("fulmar_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "fulmar_sessions 1",
        "fulmar_subscriptions 0",
        "fulmar_clients_connected_total 1",
        "fulmar_panics_total 0",
    ] {
        assert!(text.lines().any(|line| line == name), "{name} is missing in\n{text}");
    }
    assert!(broker.metric("process_resident_memory_bytes") > 1 << 20);
    assert!(broker.metric("process_open_fds") > 3);
}

#[test]
fn log_lines_of_one_connection_share_its_trace() {
    let broker = Broker::start(&["threads=2"]);
    // Whichever thread accepts them, some move to the other one, and keep their trace.
    for number in 0..8 {
        let mut client = Client::connect(broker.address("mqtt"), &format!("client-{number}"));
        assert_eq!(client.ping(), []);
        client.disconnect(ReasonCode::NORMAL_DISCONNECTION);
    }
    let mut broken = Client::connect(broker.address("mqtt"), "broken");
    broken.send(&[0xc1, 0]);
    broken.until_closed();
    let of = |client: &str, message: &str| {
        let line = broker.wait_for_log(message, |line| line["message"] == message && line["client_id"] == client);
        assert_eq!(line["listener"], "mqtt");
        assert!(line["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        line["trace"].as_str().unwrap().to_owned()
    };
    let mut traces: Vec<String> = (0..8)
        .map(|number| {
            let client = format!("client-{number}");
            let trace = of(&client, "client connected");
            assert_eq!(trace, of(&client, "client disconnected"));
            trace
        })
        .collect();
    traces.push(of("broken", "bad bytes from a client"));
    assert_eq!(traces[8], of("broken", "client connected"));
    let sixteen_digits = |trace: &String| trace.len() == 16 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(traces.iter().all(sixteen_digits), "{traces:?}");
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 9);
}

#[test]
fn ends_that_are_not_orderly_are_info_a_few_a_second_and_counted() {
    let broker = Broker::start(&["threads=1"]);
    let address = broker.address("mqtt");
    Client::connect(address, "polite").disconnect(ReasonCode::NORMAL_DISCONNECTION);
    for number in 0..200 {
        drop(Client::connect(address, &format!("lost-{number}")));
    }
    let ended = |line: &Value| line["message"] == "client disconnected";
    let of = |client: &'static str| {
        move |line: &Value| ended(line) && line["client_id"].as_str().is_some_and(|id| id.starts_with(client))
    };
    let polite = broker.wait_for_log("the polite one", of("polite"));
    assert_eq!(
        (&polite["level"], &polite["reason"], &polite["code"]),
        (&"DEBUG".into(), &"client asked".into(), &"0x00".into())
    );
    wait_for("every end", || (broker.log(of("lost")).len() == 200).then_some(()));
    let lost = broker.log(of("lost"));
    assert!(lost.iter().all(|line| line["reason"] == "connection lost"), "{:?}", lost.last());
    let shown = lost.iter().filter(|line| line["level"] == "INFO").count();
    // Every line that is not info is told of in a number.
    wait_for("the number of the others", || {
        let sums = broker.log(|line| line["level"] == "INFO" && line["withheld"].is_u64());
        let withheld: u64 = sums.iter().map(|line| line["withheld"].as_u64().unwrap()).sum();
        (withheld + shown as u64 == 200).then_some(())
    });
    // Ten in each of the few seconds that it takes.
    assert!((10..=100).contains(&shown), "{shown}");
}

#[test]
fn a_signal_ends_the_broker_when_every_client_was_told() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut broker = Broker::start(&["threads=2"]);
        let address = broker.address("mqtt");
        let mut clients: Vec<Client> =
            (0..6).map(|number| Client::connect(address, &format!("client-{number}"))).collect();
        let mut old = Client::connect_with(address, &Connect::new(Version::V311, "old"));
        let mut stranger = Client::open(address, Version::V5);
        broker.wait_for_metric("fulmar_connections_pending", |count| count == 1);
        broker.signal(signal);
        for client in &mut clients {
            assert_eq!(client.until_closed(), [Got::Disconnect(ReasonCode::SERVER_SHUTTING_DOWN)]);
        }
        assert_eq!((old.until_closed(), stranger.until_closed()), (vec![], vec![]));
        let start = Instant::now();
        drop((clients, old, stranger));
        assert_eq!(broker.wait().code(), Some(0));
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
        assert_eq!(
            broker.log(|line| line["message"] == "stopped, clients and peers were told as far as they listened").len(),
            1
        );
    }
}

/// A client that has not read for so long that the broker holds messages for it, and what it subscribed to.
fn fall_behind(broker: &Broker, client: &mut Client) {
    client.subscribe("flood", QoS::AtMostOnce);
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    let dropped = || broker.metric("fulmar_dropped_total{reason=\"slow_consumer\"}");
    while dropped() == 0 {
        for _ in 0..64 {
            publisher.publish("flood", [0; 16_000], QoS::AtMostOnce);
        }
        assert_eq!(publisher.ping(), []);
    }
    publisher.disconnect(ReasonCode::NORMAL_DISCONNECTION);
}

#[test]
fn a_client_that_is_far_behind_is_told_too_as_soon_as_it_reads() {
    let mut broker = Broker::start(&["threads=1"]);
    let mut slow = Client::connect(broker.address("mqtt"), "slow");
    fall_behind(&broker, &mut slow);
    broker.signal(libc::SIGTERM);
    broker.wait_for_log("the end", |line| line["message"] == "client disconnected" && line["client_id"] == "slow");
    let got = slow.until_closed();
    let (last, messages) = got.split_last().unwrap();
    assert_eq!(*last, Got::Disconnect(ReasonCode::SERVER_SHUTTING_DOWN));
    // What was on its way is whole.
    assert!(messages.iter().all(|got| matches!(got, Got::Message { payload, .. } if payload.len() == 16_000)));
    drop(slow);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_client_that_is_far_behind_and_never_reads_is_not_waited_for() {
    let mut broker = Broker::start(&["threads=1"]);
    let mut deaf = Client::connect(broker.address("mqtt"), "deaf");
    fall_behind(&broker, &mut deaf);
    let start = Instant::now();
    broker.signal(libc::SIGTERM);
    assert_eq!(broker.wait().code(), Some(0));
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    broker.wait_for_log("end", is_told);
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one_signal() {
    let mut broker = Broker::start(&["threads=2"]);
    let mut clients: Vec<Client> =
        (0..6).map(|number| Client::connect(broker.address("mqtt"), &format!("client-{number}"))).collect();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGTERM] {
        broker.signal(signal);
    }
    for client in &mut clients {
        assert_eq!(client.until_closed(), [Got::Disconnect(ReasonCode::SERVER_SHUTTING_DOWN)]);
    }
    drop(clients);
    assert_eq!(broker.wait().code(), Some(0));
    broker.wait_for_log("end", is_told);
}

#[test]
fn a_client_that_was_told_and_stays_is_not_waited_for() {
    let mut broker = Broker::start(&[]);
    let mut stays = Client::connect(broker.address("mqtt"), "stays");
    broker.signal(libc::SIGTERM);
    assert_eq!(stays.next(), Got::Disconnect(ReasonCode::SERVER_SHUTTING_DOWN));
    assert_eq!(broker.wait().code(), Some(0));
    broker.wait_for_log("end", is_told);
}

fn is_told(line: &Value) -> bool {
    line["message"].as_str().is_some_and(|text| text.starts_with("stopped, clients and peers"))
}
