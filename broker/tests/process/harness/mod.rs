//! What the tests have in common: a broker's process, several that form a cluster, a client that speaks
//! MQTT byte by byte, and an HTTP GET.

mod broker;
mod certificates;
mod client;
mod folder;
mod http;
mod nodes;
mod operator;
mod recorder;
mod small_disk;
mod tls;
mod traffic;
mod wait;

use std::time::Duration;

pub use broker::{Broker, FILE, Start};
pub use certificates::{Authority, Files, Leaf};
pub use client::{Client, Got, Wire, tcp};
pub use folder::Folder;
pub use http::get;
pub use nodes::{Cluster, has_line, name, wait_for_link, wait_for_link_publishes, wait_until_ready};
pub use operator::Operator;
pub use recorder::{forget_syncs, recorded};
pub use small_disk::SmallDisk;
pub use tls::shake_hands;
pub use traffic::{Dice, Publisher, Subscriber};
pub use wait::wait_for;

/// How long a test waits for what must come. Far beyond what it takes, for machines that are busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(30);
