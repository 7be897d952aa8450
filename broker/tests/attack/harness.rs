//! The broker's process, from the tests of the process beside this.

#[path = "../process/harness/broker.rs"]
#[allow(dead_code, reason = "attacks need less of it than the tests of the process")]
mod broker;
#[path = "../process/harness/folder.rs"]
mod folder;
#[path = "../process/harness/http.rs"]
mod http;

use std::time::{Duration, Instant};

pub use broker::{Broker, Start};
pub use folder::Folder;
pub use http::get;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until `look` finds what it wants, and says what is missing when it never comes.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
