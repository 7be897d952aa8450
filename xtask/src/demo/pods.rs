//! The broker pods of a cluster, and what their metrics say.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster;

/// The label by which users find the pods of a cluster.
const CLUSTER_LABEL: &str = "mqtt.fulmar.dev/cluster";
const HTTP_PORT: u16 = 8080;
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// One broker pod, under the name that its own metrics give it.
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) address: IpAddr,
}

/// Asks Kubernetes where the pods of a cluster are, and the pods who they are.
pub(super) fn find(cluster: &str) -> Result<Vec<Pod>> {
    let selector = format!("{CLUSTER_LABEL}={cluster}");
    let text =
        cluster::read(Command::new("kubectl").args(["get", "pods", "--output", "json", "--selector", &selector]))?;
    let list: Value = serde_json::from_str(&text).context("read the list of pods")?;
    let mut addresses = BTreeMap::new();
    for pod in list["items"].as_array().context("kubectl printed no list")? {
        let name = pod["metadata"]["name"].as_str().context("a pod has no name")?;
        let address = pod["status"]["podIP"].as_str().with_context(|| format!("{name} has no address"))?;
        addresses.insert(name.to_owned(), address.parse().with_context(|| format!("read the address of {name}"))?);
    }
    let mut pods = Vec::new();
    for (expected, address) in &addresses {
        let name = Page::of(*address)?.node().with_context(|| format!("ask {expected} for its name"))?;
        ensure!(name == *expected, "the metrics at {address} are of {name}, Kubernetes has {expected} there");
        pods.push(Pod { name, address: *address });
    }
    Ok(pods)
}

/// The sample that counts what a pod sent to another.
pub(super) fn sent_to(pod: &str) -> String {
    format!("fulmar_link_publishes_sent_total{{peer=\"{pod}\"}}")
}

/// The sample that counts what a pod received from another.
pub(super) fn received_from(pod: &str) -> String {
    format!("fulmar_link_publishes_received_total{{peer=\"{pod}\"}}")
}

/// The metrics of one pod at one time: values by name and labels, as they are written.
#[derive(Default)]
pub(super) struct Page(BTreeMap<String, u64>);

impl Page {
    /// Reads the metrics that are served at this address.
    pub(super) fn of(address: IpAddr) -> Result<Self> {
        Self::fetch(address).with_context(|| format!("read the metrics at {address}"))
    }

    /// A value; one that is not there is 0, as a counter is that has counted nothing.
    pub(super) fn value(&self, sample: &str) -> u64 {
        self.0.get(sample).copied().unwrap_or_default()
    }

    /// What the node calls itself.
    fn node(&self) -> Result<String> {
        let labels = self.0.keys().find_map(|sample| sample.strip_prefix("fulmar_node_info{"));
        let labels = labels.context("found no fulmar_node_info in the metrics")?;
        let name = labels.split(',').find_map(|label| label.strip_prefix("node=\"")?.strip_suffix('"'));
        name.map(str::to_owned).with_context(|| format!("found no label node in {labels:?}"))
    }

    fn fetch(address: IpAddr) -> Result<Self> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, HTTP_PORT), HTTP_TIMEOUT)?;
        stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of headers")?;
        let status = head.lines().next().unwrap_or_default();
        ensure!(status.split(' ').nth(1) == Some("200"), "found the answer {status:?}, status 200 is wanted");
        Ok(Self::parse(body))
    }

    /// Keeps the whole numbers: counters and gauges of ours have no others.
    pub(super) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = samples.filter_map(|line| line.rsplit_once(' '));
        Self(pairs.filter_map(|(sample, value)| Some((sample.to_owned(), value.parse().ok()?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP fulmar_link_publishes_sent_total Publishes sent to a peer.\n\
                        fulmar_link_publishes_sent_total{peer=\"quickstart-1\"} 0\n\
                        fulmar_link_publishes_sent_total{peer=\"quickstart-2\"} 7\n\
                        process_cpu_seconds_total 0.5\n";

    #[test]
    fn samples_are_found_by_name_and_labels_and_missing_ones_are_zero() {
        let page = Page::parse(TEXT);
        assert_eq!(page.value(&sent_to("quickstart-2")), 7);
        assert_eq!(page.value(&received_from("quickstart-2")), 0);
    }

    #[test]
    fn a_pod_is_who_its_metrics_say() {
        let page = Page::parse("fulmar_node_info{node=\"quickstart-0\",node_id=\"07\",version=\"0.1.0\"} 1\n");
        assert_eq!(page.node().unwrap(), "quickstart-0");
        assert!(Page::parse(TEXT).node().is_err());
    }
}
