//! Accepting TLS clients: the handshake and the bytes up to the first whole packet, both within one time limit.
//!
//! What is read is not judged here: a first packet that is whole, too long or no MQTT at all goes to a data thread,
//! which answers as it does on a plain socket. Only silence and failed handshakes end on the control side.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use fulmar_auth::identity::CertificateNames;
use fulmar_codec::{Framed, split_frame};
use fulmar_worker::{Node, Origin, Refused};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::connect_rate::ConnectRate;
use crate::metrics::ControlMetrics;
use crate::reactor::{Client, Inbox, Letter};
use crate::shortage::Shortage;
use crate::throttle::Throttle;
use crate::tls::Reloaded;
use crate::tls::handshakes::{Handshakes, Place};
use crate::tls::names::certificate_names;
use crate::trace::{Trace, Traces};

/// Bytes read at a time before CONNECT is whole.
const READ_BYTES: usize = 4096;
/// The first byte of a CONNECT (MQTT 5.0, 3.1.1).
const CONNECT: u8 = 0x10;

/// One `mqtts` listener.
pub(crate) struct TlsListener {
    pub(crate) name: String,
    pub(crate) index: u16,
    pub(crate) certificate: Arc<Reloaded<Arc<ServerConfig>>>,
    /// A client's user name is in its certificate, if it shows one.
    pub(crate) names_clients: bool,
    /// Those under way, of all listeners.
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) connect_timeout: Duration,
    pub(crate) packet_bytes_max: usize,
    /// The data threads, which take clients in turn; the client id decides later where each stays.
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) next_inbox: AtomicUsize,
    pub(crate) metrics: Arc<ControlMetrics>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) shortage: Arc<Shortage>,
    pub(crate) rate: Arc<ConnectRate>,
    /// Knows how many connections there are.
    pub(crate) node: Arc<Node>,
    pub(crate) throttle: Throttle,
}

impl TlsListener {
    /// Accepts clients until the task is aborted.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let this = self;
        loop {
            while let Some(rest) = this.rate.rest(Instant::now()) {
                tokio::time::sleep(rest).await;
            }
            let (socket, address) = this.shortage.accept_client(&listener, &this.name).await;
            this.rate.take(Instant::now());
            let origin = Origin { listener: this.index, address, trace: this.traces.next() };
            // The data thread would refuse it too, but only after a handshake.
            if let Some(refused) = this.node.would_refuse(&origin) {
                this.refuse(&origin, refused);
                continue;
            }
            // One waits here for all that wait in the kernel's queue, which is bounded too.
            let permit = this.handshakes.permit().await;
            let this = this.clone();
            tokio::spawn(async move { this.handle_client(socket, origin, permit).await });
        }
    }

    fn refuse(&self, origin: &Origin, refused: Refused) {
        self.metrics.limits.refused(refused);
        debug!(listener = self.name, address = %origin.address, trace = %Trace(origin.trace), %refused, "client not accepted");
        if let Some(withheld) = self.throttle.admit(Instant::now()) {
            warn!(listener = self.name, %refused, withheld, "limit of connections reached");
        }
    }

    async fn handle_client(&self, socket: tokio::net::TcpStream, origin: Origin, permit: OwnedSemaphorePermit) {
        let Origin { address, trace, .. } = origin;
        let (place, taken_away) = self.handshakes.begin();
        let reading = async {
            tokio::select! {
                read = self.read_connect(socket, &place) => read,
                _ = taken_away => Err(anyhow!("made no progress while others waited")),
            }
        };
        match tokio::time::timeout(self.connect_timeout, reading).await {
            Ok(Ok(Some(Shaken { socket, tls, certificate, bytes }))) => {
                let client = Client {
                    stream: mio::net::TcpStream::from_std(socket),
                    tls: Some(Box::new(tls.into())),
                    certificate,
                    bytes,
                    origin,
                    permit: Some(permit),
                };
                let next = self.next_inbox.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
                self.inboxes[next].push(Letter::Client(Box::new(client)));
            }
            // Nobody can be blamed: load balancers look this way whether a broker is there.
            Ok(Ok(None)) => {
                debug!(listener = self.name, %address, trace = %Trace(trace), "connection closed before its first packet");
            }
            Ok(Err(error)) => {
                self.metrics.tls_handshake_failures.add(1);
                debug!(listener = self.name, %address, trace = %Trace(trace), error = format!("{error:#}"), "tls client refused");
            }
            Err(_) => {
                self.metrics.tls_timeouts.add(1);
                debug!(listener = self.name, %address, trace = %Trace(trace), "tls client was silent for too long");
            }
        }
    }

    /// None: the other side has closed without a byte.
    async fn read_connect(&self, socket: tokio::net::TcpStream, place: &Place<'_>) -> anyhow::Result<Option<Shaken>> {
        socket.set_nodelay(true)?;
        if is_closed_unused(&socket).await? {
            return Ok(None);
        }
        let acceptor = TlsAcceptor::from(self.certificate.get());
        let mut stream = acceptor.accept(socket).await.context("shake hands")?;
        place.progress();
        let (_, tls) = stream.get_ref();
        let shown = tls.peer_certificates().and_then(|chain| chain.first()).filter(|_| self.names_clients);
        let certificate = shown.map(|shown| certificate_names(shown)).transpose()?.map(Arc::new);
        let Some(bytes) = read_first_packet(&mut stream, self.packet_bytes_max, place).await? else {
            return Ok(None);
        };
        let (socket, tls) = stream.into_inner();
        // Takes the socket from this runtime's epoll; it stays non-blocking.
        Ok(Some(Shaken { socket: socket.into_std()?, tls, certificate, bytes }))
    }
}

/// A client with whom TLS stands, and what it has sent so far.
struct Shaken {
    socket: TcpStream,
    tls: ServerConnection,
    certificate: Option<Arc<CertificateNames>>,
    bytes: Vec<u8>,
}

/// Waits for the first byte of the handshake. True: the other side has closed without one.
async fn is_closed_unused(socket: &tokio::net::TcpStream) -> io::Result<bool> {
    match socket.peek(&mut [0]).await {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
        peeked => Ok(!matches!(peeked, Ok(1..))),
    }
}

/// The bytes up to the end of the first packet; none if the other side closed without one.
async fn read_first_packet(
    stream: &mut TlsStream<tokio::net::TcpStream>,
    max: usize,
    place: &Place<'_>,
) -> anyhow::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let length = bytes.len();
        bytes.resize(length + READ_BYTES, 0);
        let read = match stream.read(&mut bytes[length..]).await {
            // Some close without a word of TLS, or with a reset.
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => 0,
            read => read.context("read the first packet")?,
        };
        bytes.truncate(length + read);
        if bytes.is_empty() {
            return Ok(None);
        }
        if read == 0 {
            return Err(io::Error::from(ErrorKind::UnexpectedEof)).context("read the first packet");
        }
        place.progress();
        // Garbage goes on by its first byte instead of waiting for the length that it seems to announce.
        let is_connect = bytes[0] == CONNECT;
        if !is_connect || !matches!(split_frame(&bytes, max), Ok(Framed::Incomplete { .. })) {
            return Ok(Some(bytes));
        }
    }
}
