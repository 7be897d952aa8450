//! The broker's configuration: one YAML file as types with defaults, limits and units.
//!
//! The broker reads these types and the operator writes them, so both agree on every name. Nothing here touches a file, the environment or the clock: texts come in, values or errors go out.

mod limits;
mod types;

pub use limits::Limits;
pub use types::{
    ClusterConfig, ClusterTls, Config, HeartbeatConfig, HttpConfig, ListenerConfig, ListenerTls, LogConfig, LogFormat,
    LogLevel, Peer, Protocol, ReconnectConfig, ShutdownConfig,
};
