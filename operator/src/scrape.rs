//! Reads the number of connected clients from every broker, and asks for a reconciliation where it changed.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fulmar_api::{MqttCluster, labels, names};
use futures::StreamExt;
use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use tokio::time::{MissedTickBehavior, interval};

use crate::context::Context;
use crate::readings::{ClusterKey, ClusterReading, PodReading};

/// Pods that are asked at one time.
const CONCURRENT_MAX: usize = 32;
/// A broker that takes longer counts as silent.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const BODY_BYTES_MAX: usize = 4 << 20;
/// The gauge of connected clients.
const CONNECTIONS: &str = "fulmar_connections";

type KnownCluster = PartialObjectMeta<MqttCluster>;

/// Reads all brokers of a scope, round after round, until the receiver of `changed` is gone.
pub(crate) async fn run(
    context: Arc<Context>,
    scope: Option<String>,
    clusters: Store<KnownCluster>,
    mut changed: mpsc::Sender<ObjectRef<KnownCluster>>,
) -> Result<()> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().context("make an HTTP client")?;
    let mut rounds = interval(context.settings.scrape_interval());
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !changed.is_closed() {
        rounds.tick().await;
        forget_what_is_gone(&context, scope.as_deref(), &clusters);
        let pods = match list_pods(&context, scope.as_deref()).await {
            Ok(pods) => pods,
            Err(error) => {
                tracing::warn!(%error, "pods not listed, so no broker was asked");
                continue;
            }
        };
        for (key, reading) in read_all(&context, &client, pods).await {
            let reference = ObjectRef::new(&key.1).within(&key.0);
            if clusters.get(&reference).is_some() && context.readings.store(key, reading) {
                // A full queue means that reconciliations are under way anyway; the next round asks again.
                let _ = changed.try_send(reference);
            }
        }
    }
    Ok(())
}

fn forget_what_is_gone(context: &Context, scope: Option<&str>, clusters: &Store<KnownCluster>) {
    let state = clusters.state();
    let existing: HashSet<ClusterKey> =
        state.iter().map(|cluster| (cluster.namespace().unwrap_or_default(), cluster.name_any())).collect();
    context.readings.retain(scope, &existing);
    context.secrets.retain(scope, &existing);
    if scope.is_none() {
        context.metrics.clusters.set(i64::try_from(existing.len()).unwrap_or(i64::MAX));
    }
}

async fn list_pods(context: &Context, scope: Option<&str>) -> Result<Vec<Pod>, kube::Error> {
    let pods: Api<Pod> = match scope {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let ours = format!("{}={},{}", labels::APP_NAME, labels::APP, labels::CLUSTER);
    // A slightly old list from the API server's cache is good enough for numbers that are read every few seconds.
    let parameters = ListParams::default().labels(&ours).match_any();
    Ok(pods.list(&parameters).await?.items)
}

/// Asks every pod that has an address. A cluster whose pods all failed has an empty reading.
async fn read_all(context: &Context, client: &reqwest::Client, pods: Vec<Pod>) -> BTreeMap<ClusterKey, ClusterReading> {
    let mut readings: BTreeMap<ClusterKey, ClusterReading> = BTreeMap::new();
    let mut asked = Vec::new();
    for pod in &pods {
        let Some(cluster) = pod.labels().get(labels::CLUSTER) else { continue };
        let key = (pod.namespace().unwrap_or_default(), cluster.clone());
        readings.entry(key.clone()).or_default();
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse::<IpAddr>().ok());
        if let (Some(address), Some(uid)) = (address, pod.uid()) {
            asked.push((key, pod.name_any(), uid, address));
        }
    }
    let answers = futures::stream::iter(asked).map(|(key, pod, uid, address)| async move {
        let answer = read_connections(client, address).await;
        (key, pod, uid, answer)
    });
    let mut answers = answers.buffer_unordered(CONCURRENT_MAX);
    while let Some((key, pod, uid, answer)) = answers.next().await {
        let result = if answer.is_ok() { "read" } else { "failed" };
        context.metrics.scrapes.with_label_values(&[result]).inc();
        match answer {
            Ok(connections) => {
                let reading = PodReading { uid, connections, at: Timestamp::now() };
                readings.entry(key).or_default().insert(pod, reading);
            }
            Err(error) => tracing::debug!(pod, error = format!("{error:#}"), "broker not read"),
        }
    }
    readings
}

async fn read_connections(client: &reqwest::Client, address: IpAddr) -> Result<i64> {
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let url = format!("http://{host}:{}/metrics", names::HTTP_PORT);
    let mut response = client.get(url).send().await.context("ask for metrics")?;
    if !response.status().is_success() {
        bail!("found status {}, wanted 200", response.status());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.context("read the metrics")? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            bail!("the metrics are longer than {BODY_BYTES_MAX} bytes");
        }
        body.extend_from_slice(&chunk);
    }
    connections_in(&String::from_utf8_lossy(&body)).with_context(|| format!("{CONNECTIONS} is not in the metrics"))
}

/// The gauge's value in Prometheus' text form, added up over its labels.
fn connections_in(text: &str) -> Option<i64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(CONNECTIONS)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        let value: f64 = value.split_whitespace().next()?.parse().ok()?;
        #[allow(clippy::cast_possible_truncation, reason = "a count of connections is far below 2^53")]
        (value.is_finite() && value >= 0.0).then_some(value as i64)
    });
    let samples: Vec<i64> = samples.collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_found_with_and_without_labels() {
        let plain = "# HELP fulmar_connections Clients.\n# TYPE fulmar_connections gauge\nfulmar_connections 17\n";
        assert_eq!(connections_in(plain), Some(17));
        let labelled =
            "fulmar_connections{listener=\"mqtt\"} 3\nfulmar_connections{listener=\"mqtts\"} 4 1700000000000\n";
        assert_eq!(connections_in(labelled), Some(7));
    }

    #[test]
    fn other_metrics_and_nonsense_are_not_connections() {
        assert_eq!(connections_in("fulmar_connections_total 9\n"), None);
        assert_eq!(connections_in("fulmar_connections NaN\nfulmar_connections -1\nfulmar_connections many\n"), None);
        assert_eq!(connections_in(""), None);
    }
}
