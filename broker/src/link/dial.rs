//! One attempt to dial a peer for a lane: connect, shake hands, greet, and hand the lane over.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use anyhow::{Context, bail};
use fulmar_cluster::hello::Greeting;
use fulmar_cluster::peers::{Address, Attempt};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::{debug, warn};

use super::complaints::Complaints;
use super::stream::Stream;
use super::{GREETING_TIMEOUT, Links, random};

impl Links {
    /// Carries out one attempt. To give it up, the task is aborted.
    pub(super) async fn dial(self: Arc<Self>, attempt: Attempt, address: Address) {
        self.metrics.link_dials.add(1);
        let result = match tokio::time::timeout(GREETING_TIMEOUT, self.greet(attempt, &address)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("no answer in {} s", GREETING_TIMEOUT.as_secs())),
        };
        match result {
            Ok(()) => self.forget_error(&address),
            Err(error) => {
                self.metrics.link_dial_failures.add(1);
                // Does nothing where the peer's answer has ended the attempt.
                self.peers().handle_dial_failed(attempt, Instant::now(), random());
                self.log_error(&address, &format!("{error:#}"));
            }
        }
        self.changed.notify_one();
    }

    async fn greet(&self, attempt: Attempt, address: &Address) -> anyhow::Result<()> {
        let mut stream = self.connect(address).await?;
        let Some(hello) = self.peers().handle_connected(attempt, self.node.clock_now()) else { return Ok(()) };
        stream.write_greeting(&Greeting::Hello(hello)).await.context("greet")?;
        let mut rest = Vec::new();
        let answer = stream.read_greeting(&mut rest).await.context("read the answer")?;
        let lane = self.peers().handle_answer(attempt, &answer, Instant::now(), random());
        match (answer, lane) {
            (Greeting::Hello(hello), Some(lane)) => {
                let handed_over = self.hand_over(stream, rest, (&lane, address.socket), &hello);
                if handed_over.is_err() {
                    self.peers().handle_lane_lost(&lane.lost(), Instant::now(), random());
                }
                handed_over
            }
            (Greeting::Refusal(refusal), _) if refusal.reason.is_usual() => {
                debug!(address = %address.socket, %refusal, "dialling was not needed");
                Ok(())
            }
            (Greeting::Refusal(refusal), _) => bail!("refused: {refusal}"),
            (Greeting::Hello(hello), None) => {
                debug!(address = %address.socket, peer = hello.name, "an answer came too late");
                Ok(())
            }
        }
    }

    pub(super) async fn connect(&self, address: &Address) -> anyhow::Result<Stream> {
        let socket = TcpStream::connect(address.socket).await.context("connect")?;
        socket.set_nodelay(true)?;
        let Some(certificates) = &self.certificates else { return Ok(Stream::Plain(socket)) };
        let name = ServerName::try_from(address.host.to_string())
            .with_context(|| format!("use {:?} as the name in a certificate", address.host))?;
        let connector = TlsConnector::from(certificates.get().client);
        let stream = connector.connect(name, socket).await.context("shake hands")?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }

    pub(super) fn log_error(&self, address: &Address, error: &str) {
        let Address { socket, host } = address;
        if self.errors().is_news(address.clone(), error) {
            warn!(address = %socket, %host, error, "peer not linked, it is tried again");
        } else {
            debug!(address = %socket, %host, error, "peer not linked");
        }
    }

    pub(super) fn forget_error(&self, address: &Address) {
        self.errors().forget(address);
    }

    pub(super) fn forget_errors_but(&self, addresses: &BTreeSet<Address>) {
        self.errors().forget_but(|address| addresses.contains(address));
    }

    fn errors(&self) -> MutexGuard<'_, Complaints<Address>> {
        self.errors.lock().expect("nothing panics while errors are compared")
    }
}
