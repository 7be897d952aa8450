//! Brokers as processes, alone and linked, from the tests of the process beside this.

#[path = "../process/harness/broker.rs"]
#[allow(dead_code, reason = "conformance needs less of it than the tests of the process")]
mod broker;
#[path = "../process/harness/folder.rs"]
mod folder;
#[path = "../process/harness/http.rs"]
mod http;
#[path = "../process/harness/nodes.rs"]
#[allow(dead_code, reason = "conformance needs less of it than the tests of the process")]
mod nodes;
#[path = "../process/harness/wait.rs"]
mod wait;

use std::time::Duration;

pub use broker::{Broker, Start};
pub use folder::Folder;
pub use http::get;
pub use nodes::Cluster;
pub use wait::wait_for;

/// How long a test waits for what must come. Far beyond what it takes, for machines that are busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(20);
