//! Somebody who asks the admin port, with a certificate of the cluster's authority.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::CertificateParams;
use rustls::ClientConfig;

use super::{Authority, shake_hands};

/// See the [module](self).
pub struct Operator {
    config: Arc<ClientConfig>,
}

impl Operator {
    pub fn of(authority: &Authority) -> Operator {
        let leaf = authority.sign(&CertificateParams::new(vec!["operator".to_owned()]).expect("a DNS name"));
        Operator { config: authority.client_config_with(&leaf) }
    }

    /// Status and body of the answer of the node that is called `name`.
    pub fn ask(&self, address: SocketAddr, name: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut tls = shake_hands(address, &self.config, name).expect("shake hands");
        tls.write_all(request.as_bytes()).expect("ask");
        let mut answer = Vec::new();
        // The broker need not say goodbye before it closes.
        let _ = tls.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
    }
}
