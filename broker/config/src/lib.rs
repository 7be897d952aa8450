//! The broker's configuration: one YAML file as types with defaults, limits and units.
//!
//! The broker reads these types ([`load`]), the operator checks and writes them ([`check`], [`Config::to_yaml`]), so
//! both agree on every name. Nothing here touches a file, the environment or the clock: texts come in, and a
//! configuration or every error at once goes out.

mod auth;
mod cluster;
mod error;
mod limits;
mod listener;
mod load;
mod raw;
mod read;
mod rules;
mod schema;
mod types;
mod write;

pub use auth::{AuthConfig, BackoffConfig, IdentityRule, TakeoverRule};
pub use cluster::{ClusterConfig, ClusterId, ClusterTls, HeartbeatConfig, Peer, ReconnectConfig};
pub use error::{ConfigError, Source};
pub use limits::Limits;
pub use listener::{ClientCertificate, ClientIdentity, ListenerConfig, ListenerLimits, ListenerTls, Protocol};
pub use load::{Effective, Override, OverrideValue, check, environment_names, environment_override, load, parse_peer};
pub use read::{Setting, nearest};
pub use schema::parse_zone;
pub use types::{
    AdminConfig, Config, DrainConfig, Durability, HttpConfig, LogConfig, LogFormat, LogLevel, MemoryConfig,
    ShutdownConfig,
};
