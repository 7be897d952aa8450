//! A node that drains sends its clients to others, so many in a second.

use std::time::{Duration, Instant};

use fulmar_worker::Node;
use tracing::info;

/// How often some go.
const PORTION: Duration = Duration::from_millis(100);

/// Sends clients to other nodes while this one drains.
pub(super) struct SendingAway {
    /// So many.
    per_second: u32,
    is_on: bool,
    /// When some were sent away last.
    at: Instant,
}

impl SendingAway {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, is_on: false, at: now }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn go_on(&mut self, node: &Node, is_draining: bool, now: Instant) {
        if std::mem::replace(&mut self.is_on, is_draining) != is_draining {
            info!(is_draining, clients = node.clients(), "clients are sent to other nodes, or not any more");
            node.drain(is_draining);
            self.at = now;
        }
        let passed = now.saturating_duration_since(self.at);
        if !is_draining || passed < PORTION {
            return;
        }
        // What did not happen in a second is not made up for.
        let part = u64::from(self.per_second) * passed.as_millis().min(1000) as u64 / 1000;
        if part > 0 {
            self.at = now;
            node.send_away(part as usize);
        }
    }
}
