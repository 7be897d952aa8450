//! The section `cluster`: how this node finds its peers and talks with them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// How this node finds its peers and talks with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfig {
    /// The address to bind for links.
    pub address: IpAddr,
    /// The TCP port to bind for links.
    pub port: u16,
    /// Where the other nodes are, `HOST:PORT` each; every address of a DNS name is a peer, this node itself is recognised.
    pub peers: Vec<Peer>,
    /// Mutual TLS between the nodes; may be absent only while every address is loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClusterTls>,
    /// When a silent link counts as broken.
    pub heartbeat: HeartbeatConfig,
    /// How long a broken link may resume before its peer counts as gone.
    pub resume_milliseconds: u32,
    /// How fast a broken link is dialled again.
    pub reconnect: ReconnectConfig,
    /// The cluster that this node belongs to, as its log says when it is begun. Where it is set, nodes join that one and
    /// never begin another, however empty their folders are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ClusterId>,
    /// Whether this node may begin a cluster, if its folder and those of all peers are empty; exactly one of the nodes
    /// may. If absent, the one whose name ends with `-0`, as that of the first pod of a StatefulSet does.
    pub bootstrap: Option<bool>,
    /// Where the node is. The copies of a session are kept in as many zones as there are. Nodes without one are in one
    /// together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// A file that says in one line where the node is. It may come later than the node's start, be empty or never come:
    /// it is read again until the node has joined, and as long as it says nothing `zone` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_file: Option<PathBuf>,
    /// A file that says something else after each start of the machine; that of the kernel if absent. It tells what was
    /// lost with `durability: memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id_file: Option<PathBuf>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 7800,
            peers: Vec::new(),
            tls: None,
            heartbeat: HeartbeatConfig::default(),
            resume_milliseconds: 2000,
            reconnect: ReconnectConfig::default(),
            id: None,
            bootstrap: None,
            zone: None,
            zone_file: None,
            boot_id_file: None,
        }
    }
}

/// The id of a cluster: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// Reads the digits.
    pub fn parse(text: &str) -> Option<ClusterId> {
        let is_hexadecimal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_hexadecimal).map(ClusterId)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for ClusterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl ClusterConfig {
    /// Whether a node of this name may begin a cluster.
    pub fn may_bootstrap(&self, name: &str) -> bool {
        self.bootstrap.unwrap_or_else(|| name.ends_with("-0"))
    }

    /// How long a broken link may resume before its peer counts as gone.
    pub fn resume(&self) -> Duration {
        Duration::from_millis(self.resume_milliseconds.into())
    }
}

/// Where a peer is: a DNS name or an address, and its cluster port. An IPv6 address is written in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// A DNS name or an IP address (without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Peer {
    /// The address, if the host is one and no name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the host is a loopback address or `localhost`.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peer { host, port } = self;
        if host.contains(':') { write!(formatter, "[{host}]:{port}") } else { write!(formatter, "{host}:{port}") }
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Mutual TLS on links: each side proves itself with a certificate of the cluster's own CA. Read again on change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTls {
    /// PEM file with this node's certificate chain.
    pub cert_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
    /// PEM file with the CA certificates that peers are checked against.
    pub ca_file: PathBuf,
}

/// When a silent link counts as broken: after `interval + timeout * (1 + retries)` milliseconds without a byte of the
/// peer, 2 s by default. So long a node that stands still delays publishes that it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatConfig {
    /// A peer that was silent for so long is probed.
    pub interval_milliseconds: u32,
    /// A probe that was not answered for so long has failed.
    pub timeout_milliseconds: u32,
    /// A probe that failed is followed by up to so many more; if they fail too, the link is closed.
    pub retries: u16,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        HeartbeatConfig { interval_milliseconds: 500, timeout_milliseconds: 500, retries: 2 }
    }
}

impl HeartbeatConfig {
    /// The silence after which a link is closed.
    pub fn silence(&self) -> Duration {
        let probes = u64::from(self.retries) + 1;
        Duration::from_millis(u64::from(self.interval_milliseconds) + u64::from(self.timeout_milliseconds) * probes)
    }
}

/// How fast a broken link is dialled again: the first time at once, then after `initial`, doubling up to `max`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReconnectConfig {
    /// The first wait.
    pub initial_milliseconds: u32,
    /// The longest wait.
    pub max_milliseconds: u32,
    /// Each wait is longer or shorter by up to this share, at random.
    pub jitter_percent: u8,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        ReconnectConfig { initial_milliseconds: 1000, max_milliseconds: 60_000, jitter_percent: 10 }
    }
}

impl ReconnectConfig {
    /// The first wait.
    pub fn initial(&self) -> Duration {
        Duration::from_millis(self.initial_milliseconds.into())
    }

    /// The longest wait.
    pub fn max(&self) -> Duration {
        Duration::from_millis(self.max_milliseconds.into())
    }
}
