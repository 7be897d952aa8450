//! The connections of an HTTP port: accepted, bounded in number, size and time, and served by the routes of this module's
//! parent, where they are encrypted after both sides have proved themselves.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::metrics::ControlMetrics;
use crate::places::{Places, Taken};
use crate::shortage::Shortage;
use crate::tls::{ClusterCertificates, Reloaded};

/// Connections at one time. Probes and a few scrapers need a handful.
const PLACES: usize = 64;
/// Connections that had to make room and are about to be closed.
const CLOSING_MAX: usize = 8;
/// Descriptors that all of these take at most.
pub(crate) const CONNECTIONS_MAX: usize = PLACES + CLOSING_MAX;
/// The handshake, if there is one, and a request have to be whole this long after the connection came, or after the last
/// answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request's line and header fields together.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// An HTTP port.
pub(crate) struct HttpPort {
    name: &'static str,
    routes: Router,
    /// None: it is plain.
    certificates: Option<Arc<Reloaded<ClusterCertificates>>>,
    places: Mutex<Places<oneshot::Sender<Infallible>>>,
    shortage: Arc<Shortage>,
    metrics: Arc<ControlMetrics>,
}

impl HttpPort {
    pub(super) fn new(
        name: &'static str,
        routes: Router,
        certificates: Option<Arc<Reloaded<ClusterCertificates>>>,
        shortage: Arc<Shortage>,
        metrics: Arc<ControlMetrics>,
    ) -> HttpPort {
        let places = Mutex::new(Places::new(PLACES, PATIENCE));
        HttpPort { name, routes, certificates, places, shortage, metrics }
    }

    /// Serves until the task is aborted.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // Whoever had to make room is gone in a moment, so nobody waits here for long.
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let (socket, _) = self.shortage.accept(&listener, self.name).await;
            let (place, taken_away) = oneshot::channel();
            let Taken { number, was_crowded } = self.places().take(place, Instant::now());
            if was_crowded {
                self.metrics.http_crowded_out.add(1);
            }
            let port = self.clone();
            tokio::spawn(async move {
                port.serve(socket, number, taken_away).await;
                port.places().leave(number);
                drop(permit);
            });
        }
    }

    async fn serve(&self, socket: TcpStream, number: u64, mut taken_away: oneshot::Receiver<Infallible>) {
        // An answer is one small write.
        let _ = socket.set_nodelay(true);
        let mut connection = std::pin::pin!(self.talk(socket, number));
        loop {
            let deadline = self.places().deadline(number);
            let Some(deadline) = deadline else { return };
            if deadline <= Instant::now() {
                self.metrics.http_timeouts.add(1);
                return;
            }
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        debug!(listener = self.name, error = format!("{error:#}"), "connection ended");
                    }
                    return;
                }
                _ = &mut taken_away => return,
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }

    async fn talk(&self, socket: TcpStream, number: u64) -> anyhow::Result<()> {
        match &self.certificates {
            None => self.answer(socket, number).await,
            Some(certificates) => {
                let acceptor = TlsAcceptor::from(certificates.get().server);
                self.answer(acceptor.accept(socket).await.context("shake hands")?, number).await
            }
        }
    }

    async fn answer(&self, stream: impl AsyncRead + AsyncWrite + Unpin, number: u64) -> anyhow::Result<()> {
        let routes = TowerToHyperService::new(self.routes.clone());
        let service = service_fn(|request| {
            self.places().touch(number, Instant::now());
            let answering = routes.call(request);
            async move {
                let answer = answering.await;
                self.places().touch(number, Instant::now());
                answer
            }
        });
        let mut builder = http1::Builder::new();
        Ok(builder.max_buf_size(HEAD_BYTES_MAX).serve_connection(TokioIo::new(stream), service).await?)
    }

    fn places(&self) -> MutexGuard<'_, Places<oneshot::Sender<Infallible>>> {
        self.places.lock().expect("nothing panics while places are dealt out")
    }
}
