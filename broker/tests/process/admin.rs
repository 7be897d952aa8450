//! The admin port: who is let in, and what a node without a cluster to tell of answers.

use std::io::{Read, Write};
use std::net::TcpStream;

use rcgen::CertificateParams;

use crate::harness::{Authority, Broker, Client, Folder, Operator, Start, shake_hands};

struct Bed {
    broker: Broker,
    authority: Authority,
    _folder: Folder,
}

fn start() -> Bed {
    let (authority, folder) = (Authority::new(), Folder::new());
    authority.issue("node.test", folder.path());
    authority.publish(&folder.path().join("ca.crt"));
    let path = folder.path().display();
    let yaml = format!(
        "listeners: [{{name: mqtt, port: 0}}]\nhttp: {{port: 0}}\nadmin: {{port: 0}}\nlog: {{format: json}}\n\
         cluster:\n  port: 0\n  tls: {{certFile: {path}/tls.crt, keyFile: {path}/tls.key, caFile: {path}/ca.crt}}\n"
    );
    Bed { broker: Start::with_file(&yaml).run(), authority, _folder: folder }
}

impl Bed {
    /// Status and body of an answer to somebody with a certificate of the cluster's CA.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        Operator::of(&self.authority).ask(self.broker.address("admin"), "node.test", method, path, body)
    }
}

#[test]
fn whoever_proves_himself_is_answered() {
    let bed = start();
    let nothing = "this node is no member of a cluster that keeps anything, so there is nothing to tell or to drain\n";
    for (method, path, body) in [
        ("GET", "/v1/cluster", ""),
        ("GET", "/v1/drain", ""),
        ("POST", "/v1/drain", r#"{"purpose":"leave"}"#),
        ("DELETE", "/v1/drain", ""),
    ] {
        assert_eq!(bed.request(method, path, body), (503, nothing.to_owned()), "{method} {path}");
    }
    assert_eq!(bed.request("POST", "/v1/drain", r#"{"purpose":"stay"}"#).0, 400);
    assert_eq!(bed.request("POST", "/v1/drain", &"x".repeat(2000)).0, 413);
    assert_eq!(bed.request("PUT", "/v1/drain", "").0, 405);
    for path in ["/metrics", "/livez", "/"] {
        assert_eq!(bed.request("GET", path, "").0, 404, "{path}");
    }
}

#[test]
fn a_stranger_learns_nothing_and_takes_no_place_from_the_operator() {
    let bed = start();
    let address = bed.broker.address("admin");
    let stranger = Authority::new();
    let leaf = stranger.sign(&CertificateParams::new(vec!["operator".to_owned()]).unwrap());
    // He trusts the node; the node does not trust him. TLS 1.3 tells a client only when it reads.
    let certificates = [bed.authority.client_config(), bed.authority.client_config_with(&leaf)];
    for config in certificates {
        let Ok(mut tls) = shake_hands(address, &config, "node.test") else { continue };
        let _ = tls.write_all(b"GET /v1/cluster HTTP/1.1\r\nHost: node.test\r\n\r\n");
        let mut answer = Vec::new();
        assert!(tls.read_to_end(&mut answer).is_err());
        assert_eq!(answer, b"");
    }
    let plain: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(bed.request("GET", "/v1/drain", "").0, 503);
    assert!(bed.broker.metric("fulmar_http_crowded_out_total") > 0);
    assert_eq!(Client::connect(bed.broker.address("mqtt"), "client").ping(), []);
    drop(plain);
}
