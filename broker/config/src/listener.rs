//! Where clients connect: addresses, certificates, and what the clients of one listener may take together.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::Serialize;

/// A socket that accepts clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerConfig {
    /// Its name in logs and metrics: 1 to 15 lower-case letters, digits and dashes, unique.
    pub name: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The address to bind; `0.0.0.0` or `::` is every address of the machine.
    pub address: IpAddr,
    /// The TCP port to bind; 0 takes a free one and says which.
    pub port: u16,
    /// The server's certificate; given exactly when the protocol needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// What its clients may take together.
    #[serde(skip_serializing_if = "ListenerLimits::is_default")]
    pub limits: ListenerLimits,
}

/// What the clients of one listener may take together, besides what holds for those of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerLimits {
    /// Client connections; 0 is as many as the node may have.
    pub connections: u32,
    /// Connections that are accepted in a second; 0 is any number. More wait in the listen queue: clients that come back
    /// all at once are all served, one after the other, where refused ones would only come again. A second's worth may
    /// come at once.
    pub connects_per_second: u32,
}

impl ListenerLimits {
    fn is_default(&self) -> bool {
        *self == ListenerLimits::default()
    }
}

impl Default for ListenerConfig {
    fn default() -> Self {
        ListenerConfig {
            name: "mqtt".to_owned(),
            protocol: Protocol::Mqtt,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: Protocol::Mqtt.default_port(),
            tls: None,
            limits: ListenerLimits::default(),
        }
    }
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// MQTT 3.1.1 and 5.0 over TCP.
    Mqtt,
    /// The same over TLS.
    Mqtts,
}

impl Protocol {
    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Mqtt => "mqtt",
            Protocol::Mqtts => "mqtts",
        }
    }

    /// The port registered for the protocol.
    pub fn default_port(self) -> u16 {
        match self {
            Protocol::Mqtt => 1883,
            Protocol::Mqtts => 8883,
        }
    }
}

/// The server's side of TLS on a listener. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// PEM file with the certificate chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
    /// Whether clients show a certificate too.
    #[serde(skip_serializing_if = "ClientCertificate::is_none")]
    pub client_certificate: ClientCertificate,
    /// PEM file with the CA certificates that those of clients are checked against; given exactly when they are asked
    /// for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// The name in a client's certificate that is its user name, with no password then.
    #[serde(skip_serializing_if = "ClientIdentity::is_none")]
    pub client_identity: ClientIdentity,
}

impl ListenerTls {
    /// A server's certificate that asks clients for none.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        ListenerTls {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            client_certificate: ClientCertificate::None,
            client_ca_file: None,
            client_identity: ClientIdentity::None,
        }
    }
}

/// Whether clients of a listener show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientCertificate {
    /// They are not asked for one.
    #[default]
    None,
    /// They may; one that is not trusted ends the handshake.
    Optional,
    /// They must.
    Required,
}

impl ClientCertificate {
    fn is_none(&self) -> bool {
        *self == ClientCertificate::None
    }
}

/// Which name in a client's certificate is its user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClientIdentity {
    /// None: a certificate lets a client in, and what else it must prove is asked of it as of any other.
    #[default]
    None,
    /// The common name of the subject.
    CommonName,
    /// The DNS name among the subject's alternative names.
    Dns,
    /// The URI there, as SPIFFE has it.
    Uri,
    /// The email address there.
    Email,
}

impl ClientIdentity {
    fn is_none(&self) -> bool {
        *self == ClientIdentity::None
    }
}
