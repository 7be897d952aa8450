//! A process that uses most of the memory that it is granted: what it refuses, and that it says so.

use std::io::Read;
use std::time::Duration;

use fulmar_codec::{Connect, ReasonCode, Version};

use crate::harness::{Broker, Client, Got, Start, tcp, wait_for};

/// So little is granted that an idle process is beyond the mark, and far from the other.
const HIGH: [&str; 4] =
    ["threads=2", "memory.limitBytes=50000000", "memory.highPercent=10", "memory.criticalPercent=100"];

#[test]
fn a_broker_that_is_short_of_memory_tells_clients_to_come_again_later() {
    let broker = Broker::start(&HIGH);
    broker.wait_for_metric("fulmar_memory_pressure", |level| level == 1);
    let mut client = Client::open(broker.address("mqtt"), Version::V5);
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::SERVER_BUSY };
    assert_eq!(client.hello(&Connect::new(Version::V5, "client")), refused);
    let mut old = Client::open(broker.address("mqtt"), Version::V311);
    let refused = Got::ConnAck { session_present: false, reason: ReasonCode::SERVER_UNAVAILABLE };
    assert_eq!(old.hello(&Connect::new(Version::V311, "old")), refused);
    broker.wait_for_metric("fulmar_overload_actions_total{action=\"connects_refused\"}", |count| count == 2);
    let line = broker.wait_for_log("a warning", |line| line["message"] == "memory is short, new work is refused");
    assert_eq!((&line["level"], &line["pressure"]), (&"WARN".into(), &"high".into()), "{line}");
    assert!(broker.metric("fulmar_memory_used_bytes") > 5_000_000);
    assert_eq!(broker.metric("fulmar_memory_granted_bytes"), 50_000_000);
    // It lives, and is ready for those that it serves already.
    assert_eq!([broker.get("/livez").0, broker.get("/readyz").0], [200, 200]);
}

#[test]
fn a_broker_that_is_very_short_of_memory_accepts_nobody_and_answers_probes() {
    let limits = ["threads=1", "memory.limitBytes=1048576", "memory.highPercent=10", "memory.criticalPercent=20"];
    let broker = Start::with(&limits).run();
    broker.wait_for_metric("fulmar_memory_pressure", |level| level == 2);
    let mut socket = tcp(broker.address("mqtt"));
    // The kernel has taken the connection, the broker has not.
    let rests = broker.metric("fulmar_accept_rests_total");
    broker.wait_for_metric("fulmar_accept_rests_total", |count| count > rests + 3);
    assert_eq!(broker.metric("fulmar_connections_accepted_total"), 0);
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(socket.read(&mut [0; 1]).is_err(), "it is not closed either");
    assert_eq!(broker.get("/livez").0, 200);
}

#[test]
fn a_broker_with_room_is_not_short_of_memory() {
    let broker = Broker::start(&[]);
    wait_for("a look at memory", || (broker.metric("fulmar_memory_used_bytes") > 0).then_some(()));
    assert_eq!(broker.metric("fulmar_memory_pressure"), 0);
    assert!(broker.metric("fulmar_memory_granted_bytes") > broker.metric("fulmar_memory_used_bytes"));
}
