//! Accepting while the process is out of descriptors or memory: it rests, and says so now and then.
//!
//! Descriptors and memory are the whole process's, so all listeners on all threads share one [`Shortage`]: a shortage
//! that hits them together is one log line.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::metrics::ControlMetrics;
use crate::reactor::canonical;
use crate::throttle::Throttle;

/// How long accepting rests; trying again at once would fail again at once.
pub(crate) const REST: Duration = Duration::from_millis(100);

/// What was said about shortages of this process.
#[derive(Debug)]
pub(crate) struct Shortage {
    throttle: Throttle,
    metrics: Arc<ControlMetrics>,
    is_memory_critical: AtomicBool,
}

impl Shortage {
    pub(crate) fn new(metrics: Arc<ControlMetrics>) -> Shortage {
        Shortage { throttle: Throttle::default(), metrics, is_memory_critical: AtomicBool::new(false) }
    }

    /// A listener found that there is nothing left, and rests.
    pub(crate) fn tell(&self, listener: &str, error: &io::Error, now: Instant) {
        self.metrics.accept_rests.add(1);
        if let Some(withheld) = self.throttle.admit(now) {
            warn!(listener, %error, withheld, "out of resources, accepting rests");
        }
    }

    /// Memory is so short that no more clients should be accepted, or is not any more.
    pub(crate) fn set_memory_critical(&self, is_critical: bool) {
        self.is_memory_critical.store(is_critical, Ordering::Relaxed);
    }

    /// Whether a listener for clients rests for want of memory; if so, this is counted as one rest.
    pub(crate) fn must_rest(&self) -> bool {
        let must_rest = self.is_memory_critical.load(Ordering::Relaxed);
        self.metrics.accept_rests.add(must_rest.into());
        must_rest
    }

    /// The same as [`Shortage::accept`] for clients, who wait while memory is short; peers and probes do not.
    pub(crate) async fn accept_client(&self, listener: &TcpListener, name: &str) -> (TcpStream, SocketAddr) {
        while self.must_rest() {
            tokio::time::sleep(REST).await;
        }
        self.accept(listener, name).await
    }

    /// The next connection of a listener on the control side, however long it has to rest before.
    pub(crate) async fn accept(&self, listener: &TcpListener, name: &str) -> (TcpStream, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => return (socket, canonical(address)),
                Err(error) if is_out_of_resources(&error) => {
                    self.tell(name, &error, Instant::now());
                    tokio::time::sleep(REST).await;
                }
                // The other side was gone before it was accepted.
                Err(error) => debug!(listener = name, %error, "connection not accepted"),
            }
        }
    }
}

/// Whether accepting failed for want of descriptors or memory.
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
