//! The configuration file and its smaller sections; `auth`, `cluster`, `listeners` and `limits` have files of their own.
//! Field names in YAML are the camel case of the names here.
//!
//! Only `Serialize` is derived: reading goes through a pass of our own, which reports every error at once.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::{AuthConfig, ClusterConfig, Limits, ListenerConfig};

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
