//! One attempt to dial a peer for letters, and the connection that comes of it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use fulmar_cluster::hello::Greeting;
use fulmar_cluster::peers::{Address, Attempt, LettersUp};
use fulmar_store::Node;
use tracing::{debug, info};

use super::super::stream::Stream;
use super::super::{GREETING_TIMEOUT, Links, random};
use super::Mail;
use super::mail::Standing;
use super::write::write;

impl Links {
    /// Carries out one attempt, and writes letters while the connection stands. To give it up, the task is aborted.
    pub(in super::super) async fn dial_letters(self: Arc<Self>, attempt: Attempt, address: Address, mail: Mail) {
        self.metrics.link_dials.add(1);
        let result =
            match tokio::time::timeout(GREETING_TIMEOUT, self.greet_for_letters(attempt, &address, &mail)).await {
                Ok(result) => result,
                Err(_) => Err(anyhow::anyhow!("no answer in {} s", GREETING_TIMEOUT.as_secs())),
            };
        match result {
            Ok(Some((stream, up, standing))) => {
                self.forget_error(&address);
                self.write_letters(stream, &up, standing).await;
            }
            Ok(None) => {}
            Err(error) => {
                self.metrics.link_dial_failures.add(1);
                self.log_error(&address, &format!("{error:#}"));
            }
        }
        // Does nothing where the peer's answer has ended the attempt.
        self.peers().handle_letters_ended(attempt, Instant::now(), random());
        self.changed.notify_one();
    }

    async fn greet_for_letters(
        &self,
        attempt: Attempt,
        address: &Address,
        mail: &Mail,
    ) -> anyhow::Result<Option<(Stream, LettersUp, Standing)>> {
        let mut stream = self.connect(address).await?;
        let Some(hello) = self.peers().handle_letters_connected(attempt, self.node.clock_now()) else {
            return Ok(None);
        };
        stream.write_greeting(&Greeting::Hello(hello)).await.context("greet")?;
        let mut rest = Vec::new();
        let answer = stream.read_greeting(&mut rest).await.context("read the answer")?;
        let up = {
            let mut peers = self.peers();
            let up = peers.handle_letters_answer(attempt, &answer, Instant::now(), random());
            // Of two attempts for one node the later one stands: told in the order in which it was decided.
            up.map(|up| {
                let to = Node { id: up.node.0, incarnation: up.incarnation };
                let standing = mail.stands(to, &up.name, up.channel);
                (up, standing)
            })
        };
        match answer {
            Greeting::Hello(hello) => {
                self.node.observe_clock(hello.clock);
                if up.is_none() {
                    debug!(address = %address.socket, peer = hello.name, "an answer was of no use");
                }
                Ok(up.map(|(up, standing)| (stream, up, standing)))
            }
            Greeting::Refusal(refusal) if refusal.reason.is_usual() => {
                debug!(address = %address.socket, %refusal, "dialling for letters was not needed");
                Ok(None)
            }
            Greeting::Refusal(refusal) => bail!("letters refused: {refusal}"),
        }
    }

    async fn write_letters(&self, stream: Stream, up: &LettersUp, standing: Standing) {
        let LettersUp { node, incarnation, name, channel } = up;
        let (node_id, channel_name) = (format!("{:016x}", node.0), channel.name());
        info!(peer = name, node_id, incarnation, channel = channel_name, "connected for letters");
        self.changed.notify_one();
        let error = match stream {
            Stream::Plain(stream) => write(stream, &standing.outbox, self.patience, &standing.tally).await,
            Stream::Tls(stream) => write(*stream, &standing.outbox, self.patience, &standing.tally).await,
        };
        info!(
            peer = name,
            node_id,
            channel = channel_name,
            error = format!("{error:#}"),
            "connection for letters lost"
        );
        // The peer may be back elsewhere.
        self.look_up.notify_one();
    }
}
