//! What the end-to-end tests are made of: a Kubernetes to talk to, clusters in it, MQTT clients, and a suite that runs
//! tests in their order.
//!
//! Nothing here knows what is tested; that is in `tests/suite`, one file per topic, listed in order in its `main.rs`.
//! Waiting is done by watches, or by asking again where there is nothing to watch; nothing sleeps and hopes.

pub mod audit;
pub mod certificates;
pub mod cluster;
pub mod command;
pub mod history;
pub mod kit;
mod lasting;
pub mod metrics;
pub mod monitoring;
pub mod mosquitto;
pub mod mqtt;
pub mod namespace;
pub mod raw;
pub mod suite;
pub mod tls;
pub mod traffic;
pub mod wait;

pub use cluster::Cluster;
pub use kit::Kit;
pub use namespace::Namespace;
