//! The sections of the configuration file, but for `listeners` and `limits`. Field names in YAML are the camel case of the
//! names here.
//!
//! Only `Serialize` is derived: reading goes through a pass of our own, which reports every error at once.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{Limits, ListenerConfig};

/// Everything a broker is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The node's name in logs, metrics and towards peers; the host name if absent.
    pub name: Option<String>,
    /// The folder that keeps the node's id, sessions and retained messages. With none everything lasts as long as the
    /// process.
    pub data_dir: Option<PathBuf>,
    /// When something is acknowledged that has to outlive the process.
    pub durability: Durability,
    /// How many data threads serve connections; 0 is one per core that the machine or container grants.
    pub threads: u16,
    /// Whether clients without credentials are served. If absent, only listeners on loopback serve them, and with a
    /// password file none does.
    pub allow_anonymous: Option<bool>,
    /// Who may connect and who may do what.
    pub auth: AuthConfig,
    /// Where clients connect; one or more.
    pub listeners: Vec<ListenerConfig>,
    /// Probes and metrics over plain HTTP; off if absent.
    pub http: Option<HttpConfig>,
    /// What the cluster knows, and the draining of this node, over HTTP with mutual TLS; off if absent.
    pub admin: Option<AdminConfig>,
    /// The other brokers of this node's cluster; alone if absent.
    pub cluster: Option<ClusterConfig>,
    /// What clients, peers and queues may take.
    pub limits: Limits,
    /// How much memory there is, and when work is refused for want of it.
    pub memory: MemoryConfig,
    /// How often the topics of `$SYS` are brought up to date, in seconds; 0 is never, and there are none.
    pub sys_interval_seconds: u32,
    /// How the log is written.
    pub log: LogConfig,
    /// How clients are sent to other nodes before this one leaves the cluster.
    pub drain: DrainConfig,
    /// How the broker stops.
    pub shutdown: ShutdownConfig,
}

impl Default for Config {
    /// A broker alone on a laptop: MQTT on loopback, open to everyone who can reach it.
    fn default() -> Self {
        Config {
            name: None,
            data_dir: None,
            durability: Durability::default(),
            threads: 0,
            allow_anonymous: None,
            auth: AuthConfig::default(),
            listeners: vec![ListenerConfig::default()],
            http: None,
            admin: None,
            cluster: None,
            limits: Limits::default(),
            memory: MemoryConfig::default(),
            sys_interval_seconds: 10,
            log: LogConfig::default(),
            drain: DrainConfig::default(),
            shutdown: ShutdownConfig::default(),
        }
    }
}

impl Config {
    /// How often the topics of `$SYS` are brought up to date; nothing where there are none.
    pub fn sys_interval(&self) -> Option<Duration> {
        (self.sys_interval_seconds > 0).then(|| Duration::from_secs(self.sys_interval_seconds.into()))
    }

    /// Whether a client that comes in by `listener` may connect without credentials.
    pub fn is_anonymous_allowed(&self, listener: &ListenerConfig) -> bool {
        self.allow_anonymous.unwrap_or_else(|| listener.address.is_loopback() && self.auth.password_file.is_none())
    }
}

/// When something is acknowledged that has to outlive the process. Without a data folder nothing has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Durability {
    /// When it is on the disks of a majority of those that keep it: nothing is lost if all machines lose their power.
    #[default]
    Fsync,
    /// When a majority of those that keep it have it, though not on their disks yet: it outlives processes, and as many
    /// machines as are no majority.
    Memory,
    /// At once. Sessions and retained messages last as long as the process, the data folder keeps the node's id.
    None,
}

/// Who may connect and who may do what. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfig {
    /// The file with users and the hashes of their passwords, a line `NAME:HASH` each; no passwords if absent.
    pub password_file: Option<PathBuf>,
    /// The YAML file with access rules and bans; whoever is let in may do everything if absent.
    pub access_file: Option<PathBuf>,
    /// What ties a user name to a client id.
    pub identity: IdentityRule,
    /// Who may take over a client id that is in use; the same on all nodes.
    pub takeover: TakeoverRule,
    /// How many threads verify passwords; 0 is one per core that the machine or container grants.
    pub threads: u16,
    /// How many clients may wait until their passwords are verified. What they have sent counts against
    /// `limits.inputBufferBytesTotal`.
    pub queued: u32,
    /// How who guesses passwords is slowed down.
    pub backoff: BackoffConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            password_file: None,
            access_file: None,
            identity: IdentityRule::None,
            takeover: TakeoverRule::SameUser,
            threads: 0,
            queued: 20_000,
            backoff: BackoffConfig::default(),
        }
    }
}

/// What ties a user name to a client id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentityRule {
    /// Nothing does.
    #[default]
    None,
    /// They must be the same, so that nobody takes over another user's session.
    UsernameIsClientId,
}

/// Who may take over a client id that is in use, by a connection or by a session that waits for its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TakeoverRule {
    /// Its user. Others are refused.
    #[default]
    SameUser,
    /// Whoever connects with it. What waited in the session is gone then.
    AnyUser,
}

/// Who guesses passwords has to wait, twice as long after each failure. Failures are counted for each user name as it is
/// tried from one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackoffConfig {
    /// Whether failures are counted for an address whatever the user names, too. Only where addresses are those of
    /// clients: behind a load balancer that hides them a guesser would make everyone wait.
    pub per_address: bool,
    /// Failures of one user name from one address before the first wait.
    pub free_failures: u32,
    /// Failures of one address before the first wait.
    pub address_free_failures: u32,
    /// The first wait.
    pub initial_milliseconds: u32,
    /// The longest wait.
    pub max_seconds: u32,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        BackoffConfig {
            per_address: false,
            free_failures: 5,
            address_free_failures: 50,
            initial_milliseconds: 1000,
            max_seconds: 60,
        }
    }
}

impl BackoffConfig {
    /// The first wait.
    pub fn initial(&self) -> Duration {
        Duration::from_millis(self.initial_milliseconds.into())
    }

    /// The longest wait.
    pub fn max(&self) -> Duration {
        Duration::from_secs(self.max_seconds.into())
    }
}

/// The HTTP port with probes and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpConfig {
    /// The address to bind.
    pub address: IpAddr,
    /// The TCP port to bind; 0 takes a free one and says which.
    pub port: u16,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 8080 }
    }
}

/// The port by which an operator asks what the cluster knows and drains this node. Whoever asks proves himself by a
/// certificate of the CA in `cluster.tls`, as peers do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminConfig {
    /// The address to bind.
    pub address: IpAddr,
    /// The TCP port to bind; 0 takes a free one and says which.
    pub port: u16,
}

impl Default for AdminConfig {
    fn default() -> Self {
        AdminConfig { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 7801 }
    }
}

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

/// How much memory there is, and when work is refused for want of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryConfig {
    /// What the process may use; if absent, what its control group or the machine grants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// From so much of it on new clients, subscriptions and retained topics are refused, and who sends most is slowed
    /// down.
    pub high_percent: u8,
    /// From so much of it on no connection is accepted, clients that do not read lose QoS 0, and those that hold most are
    /// closed, one after the other.
    pub critical_percent: u8,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig { limit_bytes: None, high_percent: 85, critical_percent: 93 }
    }
}

/// How the log is written, to standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// One line of text or one JSON object per entry.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// How one log entry looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object for machines.
    Json,
}

/// How severe a log entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A human should come.
    Error,
    /// Something is wrong and the broker goes on.
    Warn,
    /// What a broker's day consists of: peers that come and go; clients that are refused or lost, a few a second.
    #[default]
    Info,
    /// Each client that comes and goes, and what developers of Fulmar want to see.
    Debug,
    /// All of it.
    Trace,
}

/// How clients are sent to other nodes before this one leaves the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainConfig {
    /// So many are closed in a second, so that the others can take them in.
    pub connections_per_second: u32,
}

impl Default for DrainConfig {
    fn default() -> Self {
        DrainConfig { connections_per_second: 500 }
    }
}

/// How the broker stops after SIGTERM or SIGINT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownConfig {
    /// Clients are told and answers are flushed within this time; then the process ends in any case.
    pub grace_seconds: u32,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        ShutdownConfig { grace_seconds: 25 }
    }
}

impl ShutdownConfig {
    /// Clients are told and answers are flushed within this time; then the process ends in any case.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }
}
