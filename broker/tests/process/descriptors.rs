//! File descriptors: what the broker makes of the limit, and what happens when they run out all the same.

use std::net::TcpStream;
use std::time::Instant;

use fulmar_codec::{Connect, ReasonCode, Version};
use serde_json::Value;

use crate::harness::{Broker, Client, Got, Start, tcp};

#[test]
fn out_of_descriptors_accepting_rests_with_one_log_line_and_goes_on_later() {
    // Two listeners on two threads: the shortage is the process's, and so is the log line.
    let listener = |name: &str| format!("{{name: {name}, protocol: mqtt, address: 127.0.0.1, port: 0}}");
    let listeners = format!("listeners=[{}, {}]", listener("mqtt"), listener("second"));
    let broker = Broker::start(&["threads=2", &listeners]);
    let (address, second) = (broker.address("mqtt"), broker.address("second"));
    let mut first = Client::connect(address, "first");
    let open = broker.metric("process_open_fds");
    broker.limit_descriptors(open);
    let connect = Connect::new(Version::V5, "waits");
    let mut waiting: Vec<Client> =
        (0..20).map(|number| Client::open([address, second][number % 2], Version::V5)).collect();
    let is_shortage = |line: &Value| line["message"] == "out of resources, accepting rests";
    broker.wait_for_log("shortage", is_shortage);
    // Those who are there notice nothing, for as long as several rests take. Metrics have to wait with the others: the
    // HTTP port has no descriptor either.
    let start = Instant::now();
    while start.elapsed().as_millis() < 500 {
        assert_eq!(first.ping(), []);
    }
    broker.limit_descriptors(1024);
    for client in &mut waiting {
        let accepted = Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS };
        assert_eq!(client.hello(&Connect { client_id: "", ..connect }), accepted);
    }
    broker.wait_for_metric("fulmar_connections", |count| count == 21);
    // They rest again and again, on each socket that somebody waits for.
    assert!(broker.metric("fulmar_accept_rests_total") >= 4);
    assert_eq!(broker.log(is_shortage).len(), 1);
}

#[test]
fn all_that_is_open_at_one_time_fits_in_the_descriptors_there_are() {
    let broker = Start::with(&["threads=1"]).descriptors_max(300).run();
    let lowered = broker.wait_for_log("warning", |line| {
        line["message"] == "the file-descriptor limit lowers other limits" && line["level"] == "WARN"
    });
    let connections = lowered["connections"].as_u64().unwrap();
    let (mqtt, http) = (broker.address("mqtt"), broker.address("http"));
    // As many clients as are allowed, and more HTTP connections than are: everybody has a descriptor.
    let mut clients: Vec<Client> =
        (0..connections).map(|number| Client::connect(mqtt, &format!("client-{number}"))).collect();
    let idle: Vec<TcpStream> = (0..200).map(|_| tcp(http)).collect();
    assert_eq!(broker.get("/livez").0, 200);
    assert_eq!(Client::open(mqtt, Version::V5).until_closed(), []);
    assert_eq!(clients[0].ping(), []);
    assert_eq!(broker.metric("fulmar_accept_rests_total"), 0);
    drop(idle);
}

#[test]
fn fewer_descriptors_than_chosen_connections_stop_the_start() {
    let exit = Start::with(&["limits.connections=300"]).descriptors_max(300).run_to_end();
    assert_eq!(exit.status.code(), Some(1));
    let wanted = "found a file-descriptor limit of 300, wanted at least";
    assert!(exit.errors.contains(wanted), "{}", exit.errors);
}
