//! Asking the name server who the peers are, again and again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::Links;

/// Between rounds while the answers may still change: a node has just started.
const ROUND_UNSETTLED: Duration = Duration::from_secs(1);
/// Between rounds afterwards.
const ROUND_SETTLED: Duration = Duration::from_secs(5);
/// A name server that takes longer counts as away, as far as one round is concerned.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);

impl Links {
    /// Resolves all names in rounds until the task is aborted.
    pub(crate) async fn discover(self: Arc<Self>) {
        loop {
            self.clone().look_up_all().await;
            let round = if self.is_settled() { ROUND_SETTLED } else { ROUND_UNSETTLED };
            // Lanes that are lost together are one reason to hurry.
            let _ = tokio::time::timeout(round, self.look_up.notified()).await;
        }
    }

    async fn look_up_all(self: Arc<Self>) {
        let hosts: Vec<_> =
            self.discovery().names().map(|(index, name, port)| (index, name.to_owned(), port)).collect();
        let mut questions = JoinSet::new();
        for (index, name, port) in hosts {
            let links = self.clone();
            questions.spawn(async move {
                let answer = look_up(&name, port).await;
                links.handle_answer(index, answer);
            });
        }
        questions.join_all().await;
    }

    fn handle_answer(&self, index: usize, mut answer: BTreeSet<SocketAddr>) {
        answer.retain(|socket| self.address.is_ipv6() || socket.is_ipv4());
        self.discovery().handle_answer(index, answer, Instant::now());
        self.take_addresses();
        self.changed.notify_one();
    }

    /// Tells what was found so far to who decides about dialling.
    pub(super) fn take_addresses(&self) {
        let addresses = self.discovery().addresses();
        self.forget_errors_but(&addresses);
        let too_many = self.peers().handle_resolved(&addresses, Instant::now());
        if too_many > 0 {
            warn!(found = addresses.len(), too_many, "more peers are found than a node keeps");
        }
    }

    /// Whether what discovery found can be trusted.
    pub(super) fn is_settled(&self) -> bool {
        let found_itself = self.peers().found_itself();
        self.discovery().is_settled(found_itself)
    }
}

/// The addresses of a host; none if there is no answer.
async fn look_up(name: &str, port: u16) -> BTreeSet<SocketAddr> {
    match tokio::time::timeout(LOOK_UP_TIMEOUT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        // Usual while the first pods start.
        Ok(Err(error)) => {
            debug!(name, %error, "name not resolved");
            BTreeSet::new()
        }
        Err(_) => {
            warn!(name, seconds = LOOK_UP_TIMEOUT.as_secs(), "name not resolved in time");
            BTreeSet::new()
        }
    }
}
