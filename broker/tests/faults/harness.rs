//! The broker's process and a client, from the tests of the process beside this; control groups from the attacks.

#[path = "../process/harness/broker.rs"]
#[allow(dead_code, reason = "the tests of the process need more of it")]
mod broker;
#[path = "../process/harness/certificates.rs"]
#[allow(dead_code, reason = "the tests of the process need more of it")]
mod certificates;
#[path = "../process/harness/client.rs"]
#[allow(dead_code, reason = "the tests of the process need more of it")]
mod client;
#[path = "../process/harness/folder.rs"]
mod folder;
#[path = "../process/harness/http.rs"]
mod http;
#[path = "../process/harness/operator.rs"]
mod operator;
#[path = "../process/harness/tls.rs"]
mod tls;
#[path = "../process/harness/traffic.rs"]
#[allow(dead_code, reason = "the tests of the process need more of it")]
mod traffic;
#[path = "../process/harness/wait.rs"]
mod wait;

use std::time::Duration;

pub use broker::{Broker, Start};
pub use certificates::Authority;
pub use client::{Client, Got, Wire, tcp};
pub use folder::Folder;
pub use http::get;
pub use operator::Operator;
pub use tls::shake_hands;
pub use traffic::{Dice, Publisher, Subscriber};
pub use wait::wait_for;

/// How long a test waits for what must come. Far beyond what it takes, for machines that are busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);
