//! Sessions that brokers keep together: whatever happens to pods, volumes and nodes while messages of QoS 2 pass through
//! the Service, none is lost and none comes twice, and the resource tells how its pods fare.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fulmar_api::{ConditionKind, MqttCluster, find_condition};
use fulmar_e2e::cluster::{Identity, is_ready};
use fulmar_e2e::history::PodHistory;
use fulmar_e2e::metrics::Metrics;
use fulmar_e2e::suite::say;
use fulmar_e2e::traffic::Traffic;
use fulmar_e2e::wait::{ask_until, watch_until};
use fulmar_e2e::{Cluster, Namespace};
use fulmar_testbed::Link;
use fulmar_testbed::network::{node_name, zone_name};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use crate::fixtures::three_with;

/// A pod that came back and has caught up, on a busy machine.
const WHOLE_LIMIT: Duration = Duration::from_secs(150);
/// Messages pass again after a death well before that.
const PASS_LIMIT: Duration = Duration::from_secs(60);
/// Messages of each publisher between two events.
const SOME: u32 = 50;
const PODS: usize = 3;

/// Three brokers, with room for all that waits for the subscriber that is away.
async fn three(namespace: &Namespace) -> Result<Cluster> {
    let cluster = three_with(namespace, "config: {limits: {queuedMessages: 1000000}}").await?;
    whole(&cluster, PODS).await?;
    Ok(cluster)
}

/// Waits until every pod serves and every copy of every shard has caught up, by the brokers' word and by the resource's.
async fn whole(cluster: &Cluster, pods: usize) -> Result<()> {
    ask_until("every copy of every shard to have caught up", WHOLE_LIMIT, || async {
        let addresses = cluster.addresses().await?;
        let (mut shards, mut healthy) = (0.0, 0.0);
        for (pod, address) in &addresses {
            let metrics = Metrics::read(*address).await.with_context(|| format!("read the metrics of {pod}"))?;
            ensure!(metrics.value("fulmar_store_caught_up")? == 1.0, "{pod} has not caught up");
            shards = metrics.value("fulmar_store_shards")?;
            healthy += metrics.value("fulmar_store_shards_healthy")?;
        }
        ensure!(
            addresses.len() == pods && shards > 0.0 && healthy == shards,
            "found {healthy} of {shards} shards healthy"
        );
        Ok(Some(()))
    })
    .await?;
    let all = |cluster: &MqttCluster| {
        let status = cluster.status.as_ref()?;
        let shards = status.shards.as_ref()?;
        let ready = find_condition(&status.conditions, ConditionKind::Ready)?;
        (ready.status == "True" && shards.total > 0 && shards.healthy == shards.total).then_some(())
    };
    cluster.until("Ready=True with every shard healthy", WHOLE_LIMIT, all).await
}

/// Kills a pod without a word to its broker, and waits until another one of its name is ready.
async fn kill(cluster: &Cluster, pod: &str) -> Result<()> {
    let old = cluster.namespace.api::<Pod>().get(pod).await?.uid();
    cluster.namespace.kubectl(&format!("delete pod {pod} --force --grace-period=0 --wait=false")).await?;
    let is_new = |pod: Option<&Pod>| pod.filter(|pod| pod.uid() != old && is_ready(pod)).map(drop);
    watch_until(cluster.namespace.api::<Pod>(), pod, "a new ready pod", WHOLE_LIMIT, is_new).await
}

/// The id of the node that a pod's broker is.
async fn node_id(cluster: &Cluster, pod: &str) -> Result<String> {
    let metrics = cluster.metrics(pod).await?;
    metrics.label("fulmar_cluster_info", "node_id").with_context(|| format!("{pod} is no member of a cluster"))
}

async fn cluster_id(cluster: &Cluster) -> Result<String> {
    cluster.get().await?.status.and_then(|status| status.cluster_id).context("the status has no clusterId")
}

async fn begin(cluster: &Cluster) -> Result<Traffic> {
    cluster.reachable("mqtt", 1883).await?;
    let mut traffic = Traffic::begin(cluster.host("mqtt")).await?;
    traffic.passes(SOME, PASS_LIMIT).await?;
    Ok(traffic)
}

pub(crate) async fn every_session_survives_the_death_of_each_pod(namespace: Namespace) -> Result<()> {
    let cluster = three(&namespace).await?;
    let id = cluster_id(&cluster).await?;
    let mut traffic = begin(&cluster).await?;
    for number in 0..PODS {
        let pod = cluster.pod(number);
        let node = node_id(&cluster, &pod).await?;
        kill(&cluster, &pod).await.with_context(|| format!("kill {pod}"))?;
        traffic.passes(SOME, PASS_LIMIT).await.with_context(|| format!("after the death of {pod}"))?;
        whole(&cluster, PODS).await.with_context(|| format!("after the death of {pod}"))?;
        assert_eq!(node_id(&cluster, &pod).await?, node, "{pod} comes back with its volume as the node it was");
    }
    assert_eq!(cluster_id(&cluster).await?, id);
    traffic.end().await.map(drop)
}

pub(crate) async fn every_session_survives_the_death_of_all_pods_at_once(namespace: Namespace) -> Result<()> {
    let cluster = three(&namespace).await?;
    let mut traffic = begin(&cluster).await?;
    let before = cluster.identities().await?;
    let kill = format!("delete pods --selector {} --force --grace-period=0 --wait=false", cluster.selector());
    namespace.kubectl(&kill).await?;
    ask_until("three new pods", WHOLE_LIMIT, || async {
        let after = cluster.identities().await?;
        let is_new = |(pod, old): (&String, &Identity)| after.get(pod).is_some_and(|new| new.is_other_pod(old));
        Ok((after.len() == PODS && before.iter().all(is_new)).then_some(()))
    })
    .await?;
    whole(&cluster, PODS).await?;
    traffic.passes(SOME, PASS_LIMIT).await?;
    traffic.end().await.map(drop)
}

pub(crate) async fn a_pod_that_lost_its_volume_comes_back_as_a_new_node_with_every_copy(
    namespace: Namespace,
) -> Result<()> {
    let cluster = three(&namespace).await?;
    let id = cluster_id(&cluster).await?;
    let mut traffic = begin(&cluster).await?;
    // The first pod began the cluster: without its volume it must not begin another one.
    for number in [0, 2] {
        let (pod, claim) = (cluster.pod(number), format!("data-{}", cluster.pod(number)));
        let node = node_id(&cluster, &pod).await?;
        let old = namespace.api::<PersistentVolumeClaim>().get(&claim).await?.uid();
        namespace.kubectl(&format!("delete persistentvolumeclaim {claim} --wait=false")).await?;
        kill(&cluster, &pod).await.with_context(|| format!("kill {pod}"))?;
        traffic.passes(SOME, PASS_LIMIT).await?;
        whole(&cluster, PODS).await.with_context(|| format!("after {pod} lost its volume"))?;
        assert_ne!(namespace.api::<PersistentVolumeClaim>().get(&claim).await?.uid(), old, "{claim} is a new one");
        assert_ne!(node_id(&cluster, &pod).await?, node, "{pod} without its volume is a new node");
    }
    assert_eq!(cluster_id(&cluster).await?, id);
    traffic.end().await.map(drop)
}

pub(crate) async fn a_rolling_restart_loses_nothing_and_is_told(namespace: Namespace) -> Result<()> {
    let cluster = three(&namespace).await?;
    let before = cluster.identities().await?;
    let mut traffic = begin(&cluster).await?;
    let history = PodHistory::begin(&cluster).await?;
    let change = r#"patch mqttcluster three --type merge --patch {"spec":{"config":{"sysIntervalSeconds":20}}}"#;
    namespace.kubectl(change).await?;
    let last = format!("{} restarts with the newest template", cluster.pod(PODS - 1));
    let told = |cluster: &MqttCluster| {
        let ready = find_condition(&cluster.status.as_ref()?.conditions, ConditionKind::Ready)?;
        (ready.status == "False" && ready.reason == "Rolling" && ready.message.contains(&last)).then_some(())
    };
    cluster.until(&last, PASS_LIMIT, told).await?;
    cluster.ready_within(2 * WHOLE_LIMIT).await?;
    whole(&cluster, PODS).await?;
    let after = cluster.identities().await?;
    assert!(before.iter().all(|(pod, old)| after[pod].is_other_pod(old)), "every pod is a new one");
    let moments = history.moments()?;
    traffic.passes(SOME, PASS_LIMIT).await?;
    traffic.end().await?;
    let fewest = moments.iter().map(|moment| moment.ready.len()).min();
    assert_eq!(fewest, Some(PODS - 1), "one pod after the other");
    Ok(())
}

/// To the others a node without its network is a dead one; its pod runs on all the same, and must not serve anybody.
pub(crate) async fn a_lost_node_loses_nothing_and_its_pod_comes_back_with_it(namespace: Namespace) -> Result<()> {
    const NODE: u8 = 3;
    let testbed = namespace.kit.testbed.clone();
    if !testbed.nodes().is_some_and(|nodes| nodes >= NODE) {
        say("skipped: only a testbed of ours with three nodes can lose one");
        return Ok(());
    }
    let cluster = three(&namespace).await?;
    let node = node_name(NODE);
    let is_there = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node);
    let pods = cluster.pods().await?;
    let pod = pods.iter().find(is_there).with_context(|| format!("no pod is on {node}"))?.name_any();
    let before = cluster.identities().await?;
    let mut traffic = begin(&cluster).await?;

    testbed.set_link(NODE, Link::Cut)?;
    let lost = async {
        traffic.passes(SOME, PASS_LIMIT).await.context("the others go on")?;
        let two = |cluster: &MqttCluster| {
            let status = cluster.status.as_ref()?;
            let ready = find_condition(&status.conditions, ConditionKind::Ready)?;
            (ready.status == "False" && status.ready_replicas == 2).then(|| ready.message.clone())
        };
        // Kubernetes itself takes 40 seconds to believe it.
        cluster.until("Ready=False with two ready pods", WHOLE_LIMIT, two).await?;
        traffic.passes(SOME, PASS_LIMIT).await.context("the others go on without it")
    };
    let lost = lost.await;
    testbed.set_link(NODE, Link::Connected)?;
    lost?;
    whole(&cluster, PODS).await?;
    let after = cluster.identities().await?;
    assert!(before.iter().all(|(name, old)| *name == pod || after[name] == *old), "{before:?} {after:?}");
    traffic.passes(SOME, PASS_LIMIT).await?;
    traffic.end().await.map(drop)
}

/// Every broker is where the node of its pod is, as the cluster knows it.
async fn zones_are_known(cluster: &Cluster) -> Result<()> {
    for pod in cluster.pods().await? {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).context("a pod has no node")?;
        let wanted = (1u8..).find(|number| node_name(*number) == node).map(zone_name);
        let told = || async {
            let told = cluster.metrics(&pod.name_any()).await?.label("fulmar_cluster_info", "zone");
            ensure!(told == wanted, "{} says zone {told:?}, wanted {wanted:?}", pod.name_any());
            Ok(Some(()))
        };
        ask_until("the zone of each pod", PASS_LIMIT, told).await?;
    }
    Ok(())
}

pub(crate) async fn a_fourth_pod_comes_and_goes_and_hands_over_what_it_kept(namespace: Namespace) -> Result<()> {
    let cluster = three(&namespace).await?;
    zones_are_known(&cluster).await?;
    let deletes = r#"{"spec":{"storage":{"retention":{"whenScaled":"Delete"}}}}"#;
    namespace.kubectl(&format!("patch mqttcluster/three --type=merge --patch={deletes}")).await?;
    let before = cluster.identities().await?;
    let mut traffic = begin(&cluster).await?;
    namespace.kubectl("scale mqttcluster/three --replicas=4").await?;
    cluster.ready_with(4, WHOLE_LIMIT).await?;
    whole(&cluster, 4).await?;
    let copies = async || cluster.metrics(&cluster.pod(3)).await?.value("fulmar_store_copies");
    ask_until("copies on the fourth pod", WHOLE_LIMIT, || async { Ok((copies().await? > 0.0).then_some(())) }).await?;
    traffic.passes(SOME, PASS_LIMIT).await.context("with four pods")?;

    namespace.kubectl("scale mqttcluster/three --replicas=3").await?;
    let drained = |cluster: &MqttCluster| cluster.status.as_ref()?.drain.as_ref().map(|drain| drain.pod.clone());
    assert_eq!(cluster.until("a drain in the status", PASS_LIMIT, drained).await?, cluster.pod(3));
    cluster.ready_with(3, WHOLE_LIMIT).await?;
    whole(&cluster, PODS).await?;
    assert_eq!(cluster.identities().await?, before, "the other pods are untouched");
    let is_gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none().then_some(());
    let claims = namespace.api::<PersistentVolumeClaim>();
    watch_until(claims, &format!("data-{}", cluster.pod(3)), "the claim to go with its pod", PASS_LIMIT, is_gone)
        .await?;
    assert_eq!(namespace.list::<PersistentVolumeClaim>().await?.len(), PODS, "the others stay");
    traffic.passes(SOME, PASS_LIMIT).await.context("with three pods again")?;
    traffic.end().await.map(drop)
}
