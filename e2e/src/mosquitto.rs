//! mosquitto's command line clients, for TLS: they verify the chain and the name of the broker's certificate.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::command::{command, run, run_to_failure, run_to_warning};

const LIMIT: Duration = Duration::from_secs(20);

/// Where a client connects and whom it trusts.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The name that the broker's certificate must bear.
    pub host: &'a str,
    /// The listener's port.
    pub port: u16,
    /// The certificate authorities that are trusted, in PEM.
    pub authority: &'a Path,
    /// The client's own certificate with its chain and its key, in PEM.
    pub certificate: Option<(&'a Path, &'a Path)>,
}

impl Target<'_> {
    fn client(&self, program: &str, topic: &str) -> Command {
        let Self { host, port, authority, certificate } = self;
        let mut client = command(&format!("{program} -V mqttv5 -q 1 -h {host} -p {port} -t {topic} --cafile"));
        client.arg(authority);
        if let Some((certificate, key)) = certificate {
            client.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        client
    }

    /// `mosquitto_pub` that must succeed.
    pub async fn publish(&self, topic: &str, payload: &str) -> Result<()> {
        let mut client = self.client("mosquitto_pub", topic);
        client.args(["-m", payload]);
        run(client).await.map(drop)
    }

    /// `mosquitto_pub` that must fail; returns its complaint.
    pub async fn publish_refused(&self, topic: &str) -> Result<String> {
        let mut client = self.client("mosquitto_pub", topic);
        client.args(["-m", "refused"]);
        run_to_failure(client, None).await
    }

    /// `mosquitto_pub` that connects and whose message the broker does not take; returns its warning.
    pub async fn publish_denied(&self, topic: &str) -> Result<String> {
        let mut client = self.client("mosquitto_pub", topic);
        client.args(["-m", "denied"]);
        run_to_warning(client).await
    }

    /// `mosquitto_sub`, subscribed when this returns.
    pub async fn subscribe(&self, topic: &str) -> Result<Subscription> {
        // It tells of its SUBACK only in its debug output, which without a terminal would sit in a buffer.
        let mut client = self.client("stdbuf -oL mosquitto_sub -d", topic);
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = client.spawn().context("start mosquitto_sub")?;
        let output = process.stdout.take().context("read what mosquitto_sub prints")?;
        let mut subscription = Subscription { lines: BufReader::new(output).lines(), _process: process };
        subscription.line(|line| line.starts_with("Subscribed (mid: ")).await.context("subscribe")?;
        Ok(subscription)
    }
}

/// A running `mosquitto_sub`; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Subscription {
    /// Waits until a message with this payload has come.
    pub async fn receive(&mut self, payload: &str) -> Result<()> {
        self.line(|line| line == payload).await.with_context(|| format!("receive {payload}"))
    }

    async fn line(&mut self, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let search = async {
            let mut seen = Vec::new();
            while let Some(line) = self.lines.next_line().await? {
                if is_it(&line) {
                    return Ok(());
                }
                seen.push(line);
            }
            anyhow::bail!("mosquitto_sub ended after printing {seen:?}")
        };
        timeout(LIMIT, search).await.with_context(|| format!("waited {LIMIT:?} for mosquitto_sub"))?
    }
}
