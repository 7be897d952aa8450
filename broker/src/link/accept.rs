//! Peers that dial this node: handshake, greeting, answer; then the lane is handed over or the refusal told.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use fulmar_cluster::NodeId;
use fulmar_cluster::hello::{Greeting, GreetingError, Hello, PROTOCOL, Purpose, Refusal, RefusalReason};
use fulmar_cluster::peers::LaneUp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{debug, warn};

use super::complaints::Complaints;
use super::stream::Stream;
use super::{GREETING_TIMEOUT, Links, random};
use crate::places::Taken;

impl Links {
    /// Accepts peers until the task is aborted.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok(permit) = self.greeting_permits.clone().acquire_owned().await else { return };
            let (socket, address) = self.shortage.accept(&listener, "cluster").await;
            let links = self.clone();
            tokio::spawn(async move {
                links.handle_inbound(socket, address).await;
                drop(permit);
            });
        }
    }

    async fn handle_inbound(self: &Arc<Self>, socket: TcpStream, address: SocketAddr) {
        let greeted = self.await_hello(socket).await;
        let result = match greeted {
            Ok((stream, hello, rest)) => {
                let answered = match hello.purpose {
                    Purpose::Lane(lane) => self.answer(stream, address, (&hello, lane), rest).await,
                    Purpose::Letters(channel) => self.answer_letters(stream, address, (&hello, channel), rest).await,
                };
                answered.map(|refusal| (hello.node, refusal))
            }
            Err(error) => Err(error),
        };
        match result {
            Ok((node, None)) => self.refusals().forget(&node),
            Ok((_, Some(refusal))) if refusal.reason.is_usual() => {
                debug!(%address, %refusal, "inbound connection was not needed");
            }
            Ok((node, Some(refusal))) => {
                self.metrics.link_refusals.add(1);
                if self.refusals().is_news(node, &refusal.to_string()) {
                    warn!(%address, %refusal, "peer refused");
                } else {
                    debug!(%address, %refusal, "peer refused");
                }
            }
            // A peer that gave its attempt up, or a probe.
            Err(error) if is_end(&error) => debug!(%address, error = format!("{error:#}"), "inbound connection ended"),
            Err(error) => {
                self.metrics.link_refusals.add(1);
                let error = format!("{error:#}");
                // Whoever reaches the port can bring this about as often as he likes.
                match self.strangers.admit(Instant::now()) {
                    Some(withheld) => warn!(%address, error, withheld, "peer not accepted"),
                    None => debug!(%address, error, "peer not accepted"),
                }
            }
        }
        self.changed.notify_one();
    }

    fn refusals(&self) -> MutexGuard<'_, Complaints<NodeId>> {
        self.refusals.lock().expect("nothing panics while refusals are compared")
    }

    /// Reads the greeting in time, and as long as not too many others came later: a peer gets in, however many silent
    /// connections somebody keeps open.
    async fn await_hello(&self, socket: TcpStream) -> anyhow::Result<(Stream, Hello, Vec<u8>)> {
        let (place, taken_away) = oneshot::channel();
        let Taken { number, .. } = self.greetings().take(place, Instant::now());
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(GREETING_TIMEOUT, self.read_hello(socket)) => match greeted {
                Ok(greeted) => greeted,
                Err(_) => Err(anyhow!("no greeting in {} s", GREETING_TIMEOUT.as_secs())),
            },
            _ = taken_away => Err(anyhow!("no greeting before too many newer connections came")),
        };
        self.greetings().leave(number);
        greeted
    }

    async fn read_hello(&self, socket: TcpStream) -> anyhow::Result<(Stream, Hello, Vec<u8>)> {
        socket.set_nodelay(true)?;
        let mut stream = match &self.certificates {
            None => Stream::Plain(socket),
            Some(certificates) => {
                let acceptor = TlsAcceptor::from(certificates.get().server);
                let stream = acceptor.accept(socket).await.context("shake hands")?;
                Stream::Tls(Box::new(TlsStream::Server(stream)))
            }
        };
        let mut rest = Vec::new();
        match stream.read_greeting(&mut rest).await {
            Ok(Greeting::Hello(hello)) => Ok((stream, hello, rest)),
            Ok(Greeting::Refusal(refusal)) => bail!("greeted with a refusal: {refusal}"),
            Err(error) => {
                if let Some(GreetingError::Protocol { .. }) = error.downcast_ref() {
                    let reason = RefusalReason::WrongProtocol { wanted: PROTOCOL };
                    self.refuse(stream, &Refusal { node: NodeId(self.node.settings.node_id), reason }).await;
                }
                Err(error).context("read the greeting")
            }
        }
    }

    /// Answers a greeting for a lane. Returns how it was refused, if it was.
    async fn answer(
        &self,
        stream: Stream,
        address: SocketAddr,
        (hello, lane): (&Hello, u16),
        rest: Vec<u8>,
    ) -> anyhow::Result<Option<Refusal>> {
        let decided = self.peers().handle_inbound(hello, lane, self.node.clock_now(), Instant::now());
        match decided {
            Ok((answer, lane)) => {
                let accepted = self.accept_lane(stream, Greeting::Hello(answer), (&lane, address), hello, rest).await;
                if accepted.is_err() {
                    self.peers().handle_lane_lost(&lane.lost(), Instant::now(), random());
                }
                accepted.map(|()| None)
            }
            Err(refusal) => {
                self.refuse(stream, &refusal).await;
                Ok(Some(refusal))
            }
        }
    }

    async fn accept_lane(
        &self,
        mut stream: Stream,
        answer: Greeting,
        lane: (&LaneUp, SocketAddr),
        hello: &Hello,
        rest: Vec<u8>,
    ) -> anyhow::Result<()> {
        let written = tokio::time::timeout(GREETING_TIMEOUT, stream.write_greeting(&answer)).await;
        written.context("answer in time")?.context("answer")?;
        self.hand_over(stream, rest, lane, hello)
    }

    /// Tells why, as far as the other side wants to know.
    pub(super) async fn refuse(&self, mut stream: Stream, refusal: &Refusal) {
        let telling = async {
            stream.write_greeting(&Greeting::Refusal(refusal.clone())).await?;
            stream.finish().await
        };
        // Whoever does not listen learns it by the end of the connection.
        let _ = tokio::time::timeout(GREETING_TIMEOUT, telling).await;
    }
}

/// Whether the other side just went away.
fn is_end(error: &anyhow::Error) -> bool {
    let is_end = |kind| matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| is_end(error.kind()))
}
