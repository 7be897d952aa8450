//! The HTTP port: what probes are told, and that nobody can take it away from them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Broker, Client, tcp};

/// Connections that the port has at one time.
const CONNECTIONS_MAX: u64 = 72;

#[test]
fn probes_tell_that_the_broker_lives_and_is_ready() {
    let broker = Broker::start(&[]);
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(broker.get(path), (200, "ok\n".to_owned()), "{path}");
    }
    let (status, body) = broker.get("/readyz?verbose");
    let wanted = serde_json::json!({"ready": true, "missing": [], "silent": [], "lost": [], "invalidFiles": []});
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, wanted));
    assert_eq!(broker.get("/nothing").0, 404);
}

/// What the broker says until it closes.
fn until_closed(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    // Bytes that were sent and never read make the end a reset.
    let _ = socket.read_to_string(&mut text);
    text
}

#[test]
fn connections_that_ask_nothing_give_way_to_probes_and_take_nothing_from_clients() {
    let broker = Broker::start(&["threads=1"]);
    let (http, mqtt) = (broker.address("http"), broker.address("mqtt"));
    let mut client = Client::connect(mqtt, "client");
    let before = broker.metric("process_open_fds");
    let idle: Vec<TcpStream> = (0..500)
        .map(|number| {
            let mut socket = tcp(http);
            if number % 2 == 0 {
                socket.write_all(b"GET /livez HTTP/1.1\r\nHost: bro").unwrap();
            }
            socket
        })
        .collect();
    // Each probe finds a place among those that came before it.
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(broker.get(path), (200, "ok\n".to_owned()), "{path}");
    }
    broker.wait_for_metric("process_open_fds", |open| open <= before + CONNECTIONS_MAX);
    assert!(broker.metric("fulmar_http_crowded_out_total") >= 500 - CONNECTIONS_MAX);
    assert_eq!(client.ping(), []);
    assert_eq!(Client::connect(mqtt, "another").ping(), []);
    drop(idle);
}

#[test]
fn whoever_asks_too_slowly_or_says_too_much_is_not_waited_for() {
    let broker = Broker::start(&[]);
    let http = broker.address("http");
    let start = Instant::now();
    let mut slow =
        [&b""[..], b"GET /livez HTTP/1.1\r\nHost: bro", b"GET /livez HTTP/1.1\r\nHost: broker\r\n\r\n"].map(|bytes| {
            let mut socket = tcp(http);
            socket.write_all(bytes).unwrap();
            socket
        });
    let mut talkative = tcp(http);
    let _ = talkative.write_all(format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10)).as_bytes());
    assert!(!until_closed(&mut talkative).contains("200 OK"));
    let answers = slow.each_mut().map(until_closed);
    // The third one asked, was answered, and then stayed and said nothing more.
    assert_eq!(answers.each_ref().map(|answer| answer.ends_with("ok\n")), [false, false, true], "{answers:?}");
    assert!(start.elapsed().as_secs() >= 9, "{:?}", start.elapsed());
    broker.wait_for_metric("fulmar_http_timeouts_total", |count| count == 3);
    assert_eq!(broker.get("/livez").0, 200);
}
