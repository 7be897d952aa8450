//! TLS listeners: verified chains, certificates that change while clients stay, handshakes that fail or never end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use fulmar_codec::{Connect, QoS, ReasonCode, Version, encode_connect};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::harness::{Authority, Broker, Client, Files, Folder, Got, Start, shake_hands, tcp};

/// A broker with a plain and a TLS listener, its authority, and the certificate that it began with.
fn start(settings: &[&str]) -> (Broker, Authority, Folder, CertificateDer<'static>) {
    let authority = Authority::new();
    let folder = Folder::new();
    let (Files { certificate, key }, first) = authority.issue("broker.test", folder.path());
    let yaml = format!(
        "
listeners:
- {{name: mqtt, protocol: mqtt, address: 127.0.0.1, port: 0}}
- {{name: mqtts, protocol: mqtts, address: 127.0.0.1, port: 0, tls: {{certFile: {}, keyFile: {}}}}}
http: {{address: 127.0.0.1, port: 0}}
log: {{format: json, level: debug}}
threads: 2
",
        certificate.display(),
        key.display()
    );
    let start =
        settings.iter().fold(Start::with_file(&yaml), |start, setting| start.argument("--set").argument(setting));
    (start.run(), authority, folder, first)
}

/// A connected client and the certificate that it was shown.
fn connect(address: SocketAddr, config: &Arc<ClientConfig>, id: &str) -> (Client, CertificateDer<'static>) {
    let tls = shake_hands(address, config, "broker.test").unwrap();
    let shown = tls.conn.peer_certificates().unwrap()[0].clone().into_owned();
    let mut client = Client::on(tls, Version::V5);
    let accepted = Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS };
    assert_eq!(client.hello(&Connect::new(Version::V5, id)), accepted);
    (client, shown)
}

#[test]
fn clients_with_and_without_tls_meet() {
    let (broker, authority, _folder, certificate) = start(&[]);
    let config = authority.client_config();
    // Several, so that some are handed over to the other data thread with their TLS state.
    let mut clients: Vec<Client> = (0..4)
        .map(|number| {
            let (client, shown) = connect(broker.address("mqtts"), &config, &format!("tls-{number}"));
            assert_eq!(shown, certificate);
            client
        })
        .collect();
    clients.push(Client::connect(broker.address("mqtt"), "plain"));
    for client in &mut clients {
        client.subscribe("a", QoS::ExactlyOnce);
    }
    // Longer than a TLS record, and than what rustls holds for a socket.
    let long = vec![b'x'; 300_000];
    for publisher in 0..clients.len() {
        clients[publisher].publish("a", &long, QoS::AtMostOnce);
        for client in &mut clients {
            assert!(client.message() == ("a".to_owned(), long.clone()));
        }
    }
    for client in &mut clients {
        assert_eq!(client.ping(), []);
    }
    let line = broker
        .wait_for_log("a tls client", |line| line["message"] == "client connected" && line["client_id"] == "tls-0");
    assert_eq!(line["listener"], "mqtts");
}

#[test]
fn connect_in_the_same_flight_as_the_end_of_the_handshake_is_not_lost() {
    let (broker, authority, _folder, _) = start(&[]);
    let name = ServerName::try_from("broker.test").unwrap();
    let mut connection = ClientConnection::new(authority.client_config(), name).unwrap();
    let mut bytes = Vec::new();
    encode_connect(&mut bytes, &Connect::new(Version::V5, "eager"));
    connection.writer().write_all(&bytes).unwrap();
    let mut client = Client::on(StreamOwned::new(connection, tcp(broker.address("mqtts"))), Version::V5);
    assert_eq!(client.next(), Got::ConnAck { session_present: false, reason: ReasonCode::SUCCESS });
    assert_eq!(client.ping(), []);
}

#[test]
fn silent_connections_keep_no_tls_client_out() {
    // They could stay for longer than any client of this test waits.
    let (broker, authority, _folder, _) = start(&["limits.handshakes=4", "limits.connectTimeoutSeconds=300"]);
    let address = broker.address("mqtts");
    let silent: Vec<TcpStream> = (0..12).map(|_| tcp(address)).collect();
    let (mut client, _) = connect(address, &authority.client_config(), "patient");
    assert_eq!(client.ping(), []);
    broker.wait_for_metric("fulmar_tls_crowded_out_total", |count| count >= 8);
    drop(silent);
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_the_old_ones_stay() {
    let (broker, authority, folder, first) = start(&[]);
    let config = authority.client_config();
    let address = broker.address("mqtts");
    let (mut early, shown) = connect(address, &config, "early");
    assert_eq!(shown, first);
    let (files, second) = authority.issue("broker.test", folder.path());
    broker.wait_for_metric("fulmar_certificate_reloads_total", |count| count >= 1);
    let (_late, shown) = connect(address, &config, "late");
    assert_eq!(shown, second);
    // What is no certificate is refused, and the last good one goes on.
    std::fs::write(&files.certificate, "no certificate").unwrap();
    broker.wait_for_metric("fulmar_certificate_reload_failures_total", |count| count >= 1);
    let line = broker.wait_for_log("the refusal", |line| line["message"] == "a changed certificate is not used");
    assert!(line["error"].as_str().unwrap().contains("tls.crt"), "{line}");
    let (_later, shown) = connect(address, &config, "later");
    assert_eq!(shown, second);
    assert_eq!(early.ping(), []);
}

#[test]
fn handshakes_that_fail_or_never_end_are_counted_and_harm_nobody() {
    let (broker, authority, _folder, _) = start(&["limits.connectTimeoutSeconds=1"]);
    let (address, config) = (broker.address("mqtts"), authority.client_config());
    let (mut bystander, _) = connect(address, &config, "bystander");
    // No TLS, a name that the certificate does not have, an authority that the client does not know.
    let mut plain = tcp(address);
    let mut bytes = Vec::new();
    encode_connect(&mut bytes, &Connect::new(Version::V5, "plain"));
    plain.write_all(&bytes).unwrap();
    // It may be told by a TLS alert before the end.
    let _alert = plain.read_to_end(&mut Vec::new());
    assert!(shake_hands(address, &config, "another.test").is_err());
    assert!(shake_hands(address, &Authority::new().client_config(), "broker.test").is_err());
    broker.wait_for_metric("fulmar_tls_handshake_failures_total", |count| count == 3);
    // Silence before the handshake, and after it.
    let mut silent = tcp(address);
    let mut shaken = Client::on(shake_hands(address, &config, "broker.test").unwrap(), Version::V5);
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(shaken.until_closed(), []);
    broker.wait_for_metric("fulmar_tls_timeouts_total", |count| count == 2);
    // Bytes that are no MQTT, inside of TLS.
    let mut garbage = Client::on(shake_hands(address, &config, "broker.test").unwrap(), Version::V5);
    garbage.send(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(garbage.until_closed(), []);
    broker.wait_for_metric("fulmar_protocol_errors_total", |count| count == 1);
    assert_eq!(bystander.ping(), []);
}

#[test]
fn tls_clients_that_do_not_read_are_bounded_and_are_told_at_the_end() {
    let (broker, authority, _folder, _) = start(&["limits.outputBufferBytes=262144"]);
    let (mut slow, _) = connect(broker.address("mqtts"), &authority.client_config(), "slow");
    slow.subscribe("flood", QoS::AtMostOnce);
    let mut publisher = Client::connect(broker.address("mqtt"), "publisher");
    let before = broker.resident_bytes();
    for _ in 0..32 {
        for _ in 0..64 {
            publisher.publish("flood", [0; 16_000], QoS::AtMostOnce);
        }
        assert_eq!(publisher.ping(), []);
    }
    broker.wait_for_metric("fulmar_dropped_total{reason=\"slow_consumer\"}", |count| count > 500);
    let grown = broker.resident_bytes_max().saturating_sub(before);
    assert!(grown < 8 << 20, "grew by {grown} bytes");
    assert!(!slow.ping().is_empty());
    broker.signal(libc::SIGTERM);
    assert_eq!(slow.until_closed(), [Got::Disconnect(ReasonCode::SERVER_SHUTTING_DOWN)]);
}

#[test]
fn a_certificate_that_is_missing_stops_the_start_and_is_named() {
    let yaml = "listeners: [{name: mqtts, protocol: mqtts, address: 127.0.0.1, port: 0, tls: {certFile: a.crt, keyFile: a.key}}]";
    let exit = Start::with_file(yaml).run_to_end();
    assert_eq!(exit.status.code(), Some(1));
    assert!(exit.errors.contains("load the certificate of listener mqtts: read a.crt"), "{}", exit.errors);
}
