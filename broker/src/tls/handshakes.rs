//! The TLS clients that are on their way to their first packet: how many there may be, and who has to go.
//!
//! A storm of clients is served in the order in which it came: who finds no permit waits, and the others behind it in
//! the kernel's queue. But while somebody waits, a client that made no progress for [`HASTE`] gives way, long before
//! its time limit: who opens many connections and says nothing keeps nobody else out.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep_until, timeout};

use crate::metrics::ControlMetrics;
use crate::places::Places;

/// A client that makes no progress for so long gives way when others wait. Far beyond a round trip.
const HASTE: Duration = Duration::from_secs(2);
/// How long a connection that gave way may take to close, before another one has to.
const CLOSING: Duration = Duration::from_millis(100);

/// Shared by all TLS listeners.
#[derive(Debug)]
pub(crate) struct Handshakes {
    permits: Arc<Semaphore>,
    places: Mutex<Places<oneshot::Sender<Infallible>>>,
    metrics: Arc<ControlMetrics>,
}

impl Handshakes {
    /// `max` at one time, each with `time_limit` in all.
    pub(crate) fn new(max: usize, time_limit: Duration, metrics: Arc<ControlMetrics>) -> Handshakes {
        let places = Mutex::new(Places::new(max, time_limit));
        Handshakes { permits: Arc::new(Semaphore::new(max)), places, metrics }
    }

    /// Waits until another client may go on its way.
    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            let acquire =
                || async { self.permits.clone().acquire_owned().await.expect("the semaphore is never closed") };
            let idlest = self.places().idlest().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                permit = acquire() => return permit,
                () = sleep_until((idlest + HASTE).into()) => {}
            }
            if !self.places().give_up_idle(Instant::now() - HASTE) {
                continue;
            }
            self.metrics.tls_crowded_out.add(1);
            if let Ok(permit) = timeout(CLOSING, acquire()).await {
                return permit;
            }
        }
    }

    /// A client was accepted. Its place is its own until the guard is dropped, or the receiver ends.
    pub(super) fn begin(&self) -> (Place<'_>, oneshot::Receiver<Infallible>) {
        let (held, taken_away) = oneshot::channel();
        let number = self.places().take(held, Instant::now()).number;
        (Place { handshakes: self, number }, taken_away)
    }

    fn places(&self) -> MutexGuard<'_, Places<oneshot::Sender<Infallible>>> {
        self.places.lock().expect("nothing panics while places are dealt out")
    }
}

/// A client's place.
#[derive(Debug)]
pub(super) struct Place<'a> {
    handshakes: &'a Handshakes,
    number: u64,
}

impl Place<'_> {
    /// The client said something that was of use.
    pub(super) fn progress(&self) {
        self.handshakes.places().touch(self.number, Instant::now());
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.places().leave(self.number);
    }
}
