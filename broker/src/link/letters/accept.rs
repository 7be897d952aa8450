//! Peers that dial this node to write letters.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use fulmar_cluster::hello::{Greeting, Hello, Refusal};
use fulmar_cluster::letters::Channel;
use fulmar_cluster::peers::LettersFrom;
use fulmar_store::Node;
use tokio::sync::oneshot;
use tracing::info;

use super::super::stream::Stream;
use super::super::{GREETING_TIMEOUT, Links};
use super::arrivals::Delivery;
use super::read::read;
use super::tally::Tally;

/// The incoming connections, by number. Who is dropped closes its connection.
#[derive(Debug, Default)]
pub(in super::super) struct Incoming(Mutex<HashMap<u64, oneshot::Sender<Infallible>>>);

impl Incoming {
    fn add(&self, connection: u64) -> oneshot::Receiver<Infallible> {
        let (closer, closed) = oneshot::channel();
        self.lock().insert(connection, closer);
        closed
    }

    pub(in super::super) fn close(&self, connection: u64) {
        self.lock().remove(&connection);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Infallible>>> {
        // What it guards is whole after every change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An accepted connection, with the right to bring letters.
struct Accepted {
    letters: LettersFrom,
    delivery: Delivery,
    tally: Arc<Tally>,
    closed: oneshot::Receiver<Infallible>,
}

impl Links {
    /// Answers a greeting for letters and starts the task that reads them. Returns how it was refused, if it was.
    pub(in super::super) async fn answer_letters(
        self: &Arc<Self>,
        mut stream: Stream,
        address: SocketAddr,
        (hello, channel): (&Hello, Channel),
        rest: Vec<u8>,
    ) -> anyhow::Result<Option<Refusal>> {
        let (answer, accepted) = match self.accept_letters(hello, channel) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                self.refuse(stream, &refusal).await;
                return Ok(Some(refusal));
            }
        };
        self.node.observe_clock(hello.clock);
        let written = tokio::time::timeout(GREETING_TIMEOUT, stream.write_greeting(&Greeting::Hello(answer))).await;
        if let Err(error) = written.context("answer in time").and_then(|written| written.context("answer")) {
            self.end_incoming(accepted.letters.connection);
            return Err(error);
        }
        let links = self.clone();
        tokio::spawn(async move {
            let connection = accepted.letters.connection;
            links.read_letters(stream, address, accepted, rest).await;
            links.end_incoming(connection);
        });
        Ok(None)
    }

    /// All under one lock: of two connections of one node the later one counts, and it may be closed at once.
    fn accept_letters(&self, hello: &Hello, channel: Channel) -> Result<(Hello, Accepted), Refusal> {
        let mut peers = self.peers();
        let (answer, letters) = peers.handle_letters_inbound(hello, channel, self.node.clock_now())?;
        let from = Node { id: letters.node.0, incarnation: letters.incarnation };
        let mail = self.mail.as_ref().expect("peers accept letters only where there is somebody to read them");
        let (delivery, tally) = mail.begins(from, &letters.name, channel);
        let closed = self.incoming.add(letters.connection);
        Ok((answer, Accepted { letters, delivery, tally, closed }))
    }

    async fn read_letters(&self, stream: Stream, address: SocketAddr, accepted: Accepted, rest: Vec<u8>) {
        let Accepted { letters, delivery, tally, closed } = accepted;
        let reading = async {
            match stream {
                Stream::Plain(stream) => read(stream, &rest, &delivery, self.patience, &tally).await,
                Stream::Tls(stream) => read(*stream, &rest, &delivery, self.patience, &tally).await,
            }
        };
        let error = tokio::select! {
            error = reading => format!("{error:#}"),
            _ = closed => "closed by this node".to_owned(),
        };
        let LettersFrom { node, name, channel, .. } = letters;
        let (node_id, channel) = (format!("{:016x}", node.0), channel.name());
        info!(peer = name, node_id, %address, channel, error, "connection of a peer for letters closed");
    }

    fn end_incoming(&self, connection: u64) {
        self.incoming.close(connection);
        self.peers().handle_letters_closed(connection);
        self.changed.notify_one();
    }
}
