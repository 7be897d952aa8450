//! Kubernetes' own autoscaler in place of ours, with a real Prometheus in between.

use std::time::Duration;

use anyhow::{Result, ensure};
use fulmar_e2e::monitoring::{external_metric, monitored};
use fulmar_e2e::mqtt::Client;
use fulmar_e2e::suite::say;
use fulmar_e2e::wait::ask_until;
use fulmar_e2e::{Cluster, Namespace};

/// 20 for each of 4 pods would be 80, so these need the 5 that the example allows.
const CLIENTS: usize = 85;
/// For a change in connections to reach the autoscaler's API.
const METRIC_LIMIT: Duration = Duration::from_secs(30);
/// For the autoscaler, which looks every 15 seconds, and for the pods that it adds, or removes one by one.
const SCALE_LIMIT: Duration = Duration::from_secs(90);
/// Nobody waits half an hour in a test for what the example waits for.
const SHORT: &str = r#"{"spec": {"behavior": {"scaleDown": {
    "stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}}}}"#;

pub(crate) async fn a_horizontal_pod_autoscaler_follows_the_connections_that_prometheus_reads(
    namespace: Namespace,
) -> Result<()> {
    if namespace.kit.testbed.logs().is_none() {
        say("skipped: the API server of a cluster that is not ours cannot reach the metrics adapter of this test");
        return Ok(());
    }
    let cluster = namespace.apply_cluster("manifests/examples/hpa.yaml", "hpa").await?;
    let mut patch = namespace.kubectl_command("patch hpa hpa --type merge --patch");
    patch.arg(SHORT);
    fulmar_e2e::command::run(patch).await?;
    // Both hold processes and clients, too much for the stack of whoever waits.
    Box::pin(monitored(&cluster, scale_up_and_down(&cluster))).await
}

async fn scale_up_and_down(cluster: &Cluster) -> Result<()> {
    cluster.ready_with(3, SCALE_LIMIT).await?;
    metric_is(cluster, 0).await?;
    let before = cluster.identities().await?;

    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        clients.push(Client::connect(&cluster.host("mqtt"), 1883, &format!("client-{number}")).await?);
    }
    metric_is(cluster, CLIENTS).await?;
    cluster.ready_with(5, SCALE_LIMIT).await?;
    let replicas = cluster.get().await?.spec.replicas;
    ensure!(replicas == 5, "found replicas {replicas} in the resource, wanted the 5 that the autoscaler writes");
    // New pods move nobody.
    metric_is(cluster, CLIENTS).await?;

    for client in clients {
        client.disconnect().await?;
    }
    metric_is(cluster, 0).await?;
    cluster.ready_with(3, SCALE_LIMIT).await?;
    let after = cluster.identities().await?;
    ensure!(after == before, "found the pods {after:?}, wanted those of before: {before:?}");
    Ok(())
}

async fn metric_is(cluster: &Cluster, wanted: usize) -> Result<()> {
    let wanted = wanted.to_string();
    ask_until(&format!("the external metric to be {wanted}"), METRIC_LIMIT, || async {
        let found = external_metric(cluster, "fulmar_connections").await?;
        Ok(found.is_some_and(|found| found == wanted).then_some(()))
    })
    .await
}
