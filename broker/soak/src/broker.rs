//! The broker's process: its log, its metrics, its memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::files::Files;

const PATIENCE: Duration = Duration::from_secs(30);

/// Gauges that say what clients have, or have left. All are zero when nobody is there.
const OF_CLIENTS: &[&str] = &[
    "fulmar_connections",
    "fulmar_connections_pending",
    "fulmar_sessions",
    "fulmar_subscriptions",
    "fulmar_session_bytes",
    "fulmar_queued_bytes",
    "fulmar_unsent_bytes",
    "fulmar_auth_queued",
    // No gauge, but as little to be there.
    "fulmar_panics_total",
];

pub(crate) struct Broker {
    child: Child,
    http: SocketAddr,
    /// Lines of the log that are errors.
    errors: Arc<Mutex<Vec<String>>>,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
}

/// What `/metrics` says: each sample by its name with labels.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Broker {
    pub(crate) fn start(program: &Path, files: &Files) -> Result<Broker> {
        let mut command = Command::new(program);
        command.arg("--config").arg(files.config()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let log = child.stderr.take().expect("standard error was piped above");
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        let kept = Arc::clone(&errors);
        // Read to the end, so that the log never waits for us.
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if line.contains("\"level\":\"ERROR\"") {
                    kept.lock().expect("nobody panics with the log").push(line.clone());
                }
                if line.contains("\"listening\"") {
                    let _ = tell.send(line);
                }
            }
        });
        // From here on dropping it ends the process.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut broker = Broker { child, http: nowhere, errors, address: nowhere };
        while broker.address == nowhere || broker.http == nowhere {
            let line = told.recv_timeout(PATIENCE).map_err(|_| anyhow!("the broker did not listen"))?;
            let address = address(&line).with_context(|| format!("found no address in {line}"))?;
            if line.contains("\"listener\":\"http\"") {
                broker.http = address;
            } else {
                broker.address = address;
            }
        }
        Ok(broker)
    }

    /// The memory that is in use (resident), in bytes.
    pub(crate) fn memory_bytes(&mut self) -> Result<u64> {
        if let Some(status) = self.child.try_wait().context("look after the broker")? {
            bail!("the broker has ended with {status}");
        }
        let file = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kilobytes: u64 = resident.and_then(|number| number.parse().ok()).context("found no VmRSS")?;
        Ok(kilobytes * 1024)
    }

    pub(crate) fn metrics(&self) -> Result<Metrics> {
        let get = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.http)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = get().context("read the metrics")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("found no body in the answer")?;
        Metrics::parse(body)
    }

    /// Ends it as an administrator would; it has to go by itself and without errors.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().context("send SIGTERM")?;
        ensure!(status.success(), "kill ended with {status}");
        let status = self.child.wait().context("wait for the broker")?;
        ensure!(status.success(), "the broker ended with {status}");
        let errors = self.errors.lock().expect("nobody panics with the log");
        ensure!(errors.is_empty(), "the log has {} errors, such as {}", errors.len(), errors[0]);
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Metrics {
    fn parse(body: &str) -> Result<Metrics> {
        let mut samples = BTreeMap::new();
        for line in body.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("found `{line}`, wanted NAME VALUE"))?;
            let value = value.parse().with_context(|| format!("found `{value}`, wanted a number"))?;
            samples.insert(name.to_owned(), value);
        }
        Ok(Metrics(samples))
    }

    /// All samples of a family; one that is not there is no number, which is more than nothing and never grows.
    pub(crate) fn sum(&self, family: &str) -> f64 {
        let is_of = |name: &str| name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        let samples: Vec<f64> = self.0.iter().filter(|(name, _)| is_of(name)).map(|(_, value)| *value).collect();
        if samples.is_empty() { f64::NAN } else { samples.iter().sum() }
    }

    /// What is there of clients.
    pub(crate) fn left(&self) -> Vec<String> {
        let values = OF_CLIENTS.iter().map(|name| (name, self.sum(name)));
        values.filter(|(_, value)| *value != 0.0).map(|(name, value)| format!("{name} {value}")).collect()
    }
}

/// The address in a line of the log, which is JSON.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("\"address\":\"")?;
    rest.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_a_family_that_is_missing_is_left() {
        let body = "# HELP a b\nfulmar_x{qos=\"0\"} 2\nfulmar_x{qos=\"1\"} 3\nfulmar_xy 7\nfulmar_connections 0\n";
        let metrics = Metrics::parse(body).unwrap();
        assert_eq!(metrics.sum("fulmar_x"), 5.0);
        assert!(metrics.sum("fulmar_z").is_nan());
        let left = metrics.left();
        assert!(!left.contains(&"fulmar_connections 0".to_owned()) && left.contains(&"fulmar_sessions NaN".to_owned()));
    }

    #[test]
    fn the_address_is_read_from_the_log() {
        let line = r#"{"message":"listening","listener":"http","address":"127.0.0.1:81"}"#;
        assert_eq!(address(line), Some(SocketAddr::from(([127, 0, 0, 1], 81))));
    }
}
