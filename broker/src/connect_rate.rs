//! How fast a listener accepts connections: more wait in the kernel's queue.
//!
//! Who waits there is served a moment later, without doing anything about it; who was refused would only come again, and
//! all of them with a new handshake. A listener's sockets on all data threads share one [`ConnectRate`].

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fulmar_worker::Bucket;
use tracing::warn;

use crate::metrics::ControlMetrics;
use crate::throttle::Throttle;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ConnectRate {
    listener: String,
    /// None: as fast as they come.
    bucket: Option<Mutex<Bucket>>,
    throttle: Throttle,
    metrics: Arc<ControlMetrics>,
}

impl ConnectRate {
    /// `per_second` connections, as many at once; 0 is no limit.
    pub(crate) fn new(listener: &str, per_second: u32, metrics: Arc<ControlMetrics>) -> ConnectRate {
        let bucket = NonZeroU64::new(per_second.into()).map(|rate| Mutex::new(Bucket::new(rate, Instant::now())));
        ConnectRate { listener: listener.to_owned(), bucket, throttle: Throttle::default(), metrics }
    }

    /// How long accepting has to rest, if it has to.
    pub(crate) fn rest(&self, now: Instant) -> Option<Duration> {
        let wait = lock(self.bucket.as_ref()?).wait(now)?;
        self.metrics.limits.connect_rate_reached();
        if let Some(withheld) = self.throttle.admit(now) {
            let limit = "listeners[].limits.connectsPerSecond";
            warn!(limit, listener = self.listener, withheld, "limit of a listener reached, accepting rests");
        }
        Some(wait)
    }

    /// One was accepted.
    pub(crate) fn take(&self, now: Instant) {
        if let Some(bucket) = &self.bucket {
            lock(bucket).take(1, now);
        }
    }
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().expect("nothing panics while tokens are counted")
}
