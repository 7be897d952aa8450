//! Clients that prove themselves by certificates: who is let in, who is not and why, and authorities that change.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use fulmar_codec::{Connect, Version, encode_connect};
use rcgen::CertificateParams;
use rustls::ClientConfig;

use crate::harness::{Authority, Broker, Files, Folder, Leaf, Start, shake_hands, wait_for};

const FAILURES: &str = "fulmar_tls_handshake_failures_total";
const CONNACK: u8 = 0x20;

/// A broker whose own certificate is `server`'s and who asks clients for one of `clients`'.
struct World {
    broker: Broker,
    server: Authority,
    clients: Authority,
    folder: Folder,
}

impl World {
    fn start(settings: &str) -> World {
        let (server, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
        let (Files { certificate, key }, _) = server.issue("broker.test", folder.path());
        let ca_file = folder.path().join("clients.crt");
        clients.publish(&ca_file);
        let yaml = format!(
            "
listeners:
- name: mqtts
  protocol: mqtts
  address: 127.0.0.1
  port: 0
  tls: {{certFile: {}, keyFile: {}, clientCaFile: {}, {settings}}}
http: {{address: 127.0.0.1, port: 0}}
log: {{format: json, level: debug}}
threads: 2
",
            certificate.display(),
            key.display(),
            ca_file.display(),
        );
        World { broker: Start::with_file(&yaml).run(), server, clients, folder }
    }

    fn address(&self) -> SocketAddr {
        self.broker.address("mqtts")
    }

    fn with(&self, leaf: &Leaf) -> Arc<ClientConfig> {
        self.server.client_config_with(leaf)
    }

    /// What became of a client: `accepted`, or the TLS alert that it got.
    fn attempt(&self, config: &Arc<ClientConfig>) -> String {
        match self.connect(config) {
            Ok(CONNACK) => "accepted".to_owned(),
            Ok(other) => format!("{other:#04x}"),
            Err(error) => error.to_string(),
        }
    }

    /// The first byte of the answer to CONNECT.
    fn connect(&self, config: &Arc<ClientConfig>) -> std::io::Result<u8> {
        let mut tls = shake_hands(self.address(), config, "broker.test")?;
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &Connect::new(Version::V5, "a"));
        tls.write_all(&bytes)?;
        let mut first = [0];
        tls.read_exact(&mut first)?;
        Ok(first[0])
    }
}

fn meter() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["meter-1.example.org".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "meter-1");
    params
}

fn expired() -> CertificateParams {
    let mut params = meter();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    params
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_pass_where_one_is_required() {
    let world = World::start("clientCertificate: required");
    let valid = world.clients.sign(&meter());
    assert_eq!(world.attempt(&world.with(&valid)), "accepted");

    let foreign = Authority::new().sign(&meter());
    let expired = world.clients.sign(&expired());
    // The authority of the listener's own certificate does not speak for clients.
    let servers = world.server.sign(&meter());
    let refused = [world.with(&foreign), world.with(&expired), world.with(&servers), world.server.client_config()]
        .map(|config| world.attempt(&config));
    let wanted = ["UnknownCA", "CertificateExpired", "UnknownCA", "CertificateRequired"];
    assert_eq!(refused, wanted.map(|alert| format!("received fatal alert: {alert}")));
    world.broker.wait_for_metric(FAILURES, |count| count == 4);
    let reasons = world.broker.log(|line| line["message"] == "tls client refused");
    let reasons: Vec<_> = reasons.iter().map(|line| line["error"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(reasons[1].contains("certificate expired"), "{reasons:?}");
    assert!(reasons[3].contains("peer sent no certificates"), "{reasons:?}");
    assert_eq!(world.attempt(&world.with(&valid)), "accepted");
}

#[test]
fn where_a_certificate_is_optional_none_is_as_good_and_a_wrong_one_is_not() {
    let world = World::start("clientCertificate: optional");
    assert_eq!(world.attempt(&world.server.client_config()), "accepted");
    assert_eq!(world.attempt(&world.with(&world.clients.sign(&meter()))), "accepted");
    let foreign = Authority::new().sign(&meter());
    assert_eq!(world.attempt(&world.with(&foreign)), "received fatal alert: UnknownCA");
    world.broker.wait_for_metric(FAILURES, |count| count == 1);
}

#[test]
fn a_client_that_was_accepted_once_is_verified_again() {
    let world = World::start("clientCertificate: required");
    let config = world.with(&world.clients.sign(&meter()));
    for _ in 0..2 {
        let mut tls = shake_hands(world.address(), &config, "broker.test").unwrap();
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &Connect::new(Version::V5, "a"));
        tls.write_all(&bytes).unwrap();
        // What would let it resume comes before the answer.
        tls.read_exact(&mut [0]).unwrap();
        assert_eq!(tls.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn another_authority_for_clients_counts_as_soon_as_its_file_does() {
    let world = World::start("clientCertificate: required");
    let next = Authority::new();
    let (before, after) = (world.clients.sign(&meter()), next.sign(&meter()));
    let attempt = |leaf| world.attempt(&world.with(leaf));
    assert_eq!(
        (attempt(&before), attempt(&after).as_str()),
        ("accepted".to_owned(), "received fatal alert: UnknownCA")
    );
    let new = world.folder.path().join("clients.new");
    next.publish(&new);
    std::fs::rename(&new, world.folder.path().join("clients.crt")).unwrap();
    wait_for("the new authority", || (attempt(&after) == "accepted").then_some(()));
    assert_eq!(attempt(&before), "received fatal alert: UnknownCA");
    // What is no authority leaves the last good one.
    std::fs::write(world.folder.path().join("clients.crt"), "no certificate").unwrap();
    world.broker.wait_for_metric("fulmar_certificate_reload_failures_total", |count| count >= 1);
    assert_eq!(attempt(&after), "accepted");
}

#[test]
fn an_authority_for_clients_that_is_missing_stops_the_start_and_is_named() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (Files { certificate, key }, _) = authority.issue("broker.test", folder.path());
    let yaml = format!(
        "listeners: [{{name: mqtts, protocol: mqtts, port: 0, tls: {{certFile: {}, keyFile: {}, \
         clientCertificate: required, clientCaFile: ca.crt}}}}]",
        certificate.display(),
        key.display()
    );
    let exit = Start::with_file(&yaml).run_to_end();
    assert_eq!(exit.status.code(), Some(1));
    assert!(exit.errors.contains("load the certificate of listener mqtts: read ca.crt"), "{}", exit.errors);
}
