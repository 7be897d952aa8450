//! The clients of the demo: `mosquitto_sub` and `mosquitto_pub`, as Debian has them.
//!
//! Publishers speak MQTT 3.1.1 and subscribers MQTT 5.0, to the same port.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const TIMEOUT: Duration = Duration::from_secs(15);

/// Where a client connects.
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// The file with the authority that a TLS listener's certificate must come from.
    pub(super) ca_file: Option<String>,
}

impl Endpoint {
    fn arguments(&self) -> Vec<String> {
        let Self { host, port, ca_file } = self;
        let mut arguments = vec!["-h".to_owned(), host.clone(), "-p".to_owned(), port.to_string()];
        if let Some(file) = ca_file {
            arguments.extend(["--cafile".to_owned(), file.clone()]);
        }
        arguments
    }
}

/// A message as a subscriber gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) payload: String,
    pub(super) qos: u8,
    pub(super) is_retained: bool,
}

/// Subscribers that wait for one message each. They end with this value.
pub(super) struct Subscribers {
    children: Vec<Child>,
    lines: Receiver<String>,
}

/// Publishes one message and waits for its acknowledgement, if it has any.
pub(super) fn publish(endpoint: &Endpoint, topic: &str, message: &Message) -> Result<()> {
    let mut command = Command::new("timeout");
    command.args([&TIMEOUT.as_secs().to_string(), "mosquitto_pub"]);
    command.args(endpoint.arguments()).stdin(Stdio::null());
    command.args(["-V", "311", "-t", topic, "-m", &message.payload, "-q", &message.qos.to_string()]);
    if message.is_retained {
        command.arg("-r");
    }
    let status = command.status().context("start mosquitto_pub")?;
    ensure!(status.success(), "mosquitto_pub -h {} ended with {status}", endpoint.host);
    Ok(())
}

impl Subscribers {
    /// Starts so many subscribers and waits until the broker has confirmed every subscription.
    pub(super) fn start(count: usize, endpoint: &Endpoint, filter: &str, qos: u8) -> Result<Self> {
        let (sender, lines) = channel();
        let mut subscribers = Self { children: Vec::new(), lines };
        for _ in 0..count {
            // It tells of its SUBACK only in its debug output, which without a terminal would sit in a buffer.
            let mut command = Command::new("stdbuf");
            command.args(["--output=L", "mosquitto_sub", "-W", &TIMEOUT.as_secs().to_string()]);
            command.args(endpoint.arguments()).stdin(Stdio::null());
            command.args(["-V", "5", "-d", "-C", "1", "-F", "message %q %r %p", "-t", filter, "-q", &qos.to_string()]);
            let mut child = command.stdout(Stdio::piped()).spawn().context("start mosquitto_sub")?;
            let output = child.stdout.take().expect("standard output was piped above");
            subscribers.children.push(child);
            let sender: Sender<String> = sender.clone();
            thread::spawn(move || {
                let lines = BufReader::new(output).lines();
                // The channel closes when nobody wants to know any more.
                lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
        }
        for _ in 0..count {
            subscribers
                .next("the confirmation of a subscription", |line| line.starts_with("Subscribed ").then_some(()))?;
        }
        Ok(subscribers)
    }

    /// The next message that one of them gets.
    pub(super) fn message(&self) -> Result<Message> {
        self.next("a message", parse_message)
    }

    fn next<T>(&self, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
        let end = Instant::now() + TIMEOUT;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = parse(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("waited {} s for {what}", TIMEOUT.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("mosquitto_sub ended before {what} came"),
            }
        }
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that got its message has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn parse_message(line: &str) -> Option<Message> {
    let mut words = line.strip_prefix("message ")?.splitn(3, ' ');
    let qos = words.next()?.parse().ok()?;
    let is_retained = words.next()? == "1";
    Some(Message { payload: words.next()?.to_owned(), qos, is_retained })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_from_what_else_a_subscriber_prints() {
        let message = Message { payload: "hello, cluster".to_owned(), qos: 2, is_retained: true };
        assert_eq!(parse_message("message 2 1 hello, cluster"), Some(message));
        assert_eq!(parse_message("Client auto-1 sending PUBREC (m1, rc0)"), None);
    }
}
