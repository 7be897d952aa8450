//! `--listen`: URLs of listeners, and the listeners that they mean.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use fulmar_config::{ListenerConfig, ListenerLimits, ListenerTls, Protocol};

/// What a URL has to look like.
pub(super) const WANTED: &str = "mqtt://ADDRESS:PORT or mqtts://ADDRESS:PORT";

/// One `--listen`.
#[derive(Clone, Debug)]
pub(super) struct Listen {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
}

impl Listen {
    pub(super) fn parse(text: &str) -> Option<Listen> {
        let (scheme, rest) = text.split_once("://")?;
        let protocol = match scheme {
            "mqtt" => Protocol::Mqtt,
            "mqtts" => Protocol::Mqtts,
            _ => return None,
        };
        if let Ok(address) = rest.parse::<SocketAddr>() {
            return Some(Listen { protocol, address: address.ip(), port: address.port() });
        }
        // The port may be left out: then it is the one registered for the protocol.
        let address = rest.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some(Listen { protocol, address, port: protocol.default_port() })
    }

    pub(super) fn needs_certificate(&self) -> bool {
        self.protocol == Protocol::Mqtts
    }
}

/// The listeners as JSON, which is YAML. The first of a protocol has its name, later ones a number.
pub(super) fn listeners(listen: &[Listen], cert_file: Option<PathBuf>, key_file: Option<PathBuf>) -> String {
    let tls = cert_file.zip(key_file).map(|(cert_file, key_file)| ListenerTls::new(cert_file, key_file));
    let listeners = listen.iter().enumerate().map(|(index, Listen { protocol, address, port })| {
        let label = protocol.name();
        let earlier = listen[..index].iter().filter(|other| other.protocol == *protocol).count();
        ListenerConfig {
            name: if earlier == 0 { label.to_owned() } else { format!("{label}-{}", earlier + 1) },
            protocol: *protocol,
            address: *address,
            port: *port,
            tls: tls.clone().filter(|_| *protocol == Protocol::Mqtts),
            limits: ListenerLimits::default(),
        }
    });
    serde_json::to_string(&listeners.collect::<Vec<_>>()).expect("a listener is plain values")
}
