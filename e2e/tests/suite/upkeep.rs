//! What the operator keeps up: restarts one by one, repairs, a return from nothing, and an end that keeps the data.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fulmar_api::names;
use fulmar_e2e::cluster::{Identity, is_ready};
use fulmar_e2e::history::PodHistory;
use fulmar_e2e::mqtt::{Client, Message, QoS};
use fulmar_e2e::wait::{ask_until, watch_until};
use fulmar_e2e::{Cluster, Namespace};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fixtures::{one, serves, three};

/// How soon what a hand broke is as it was, with a periodic resync of 10 minutes.
const REPAIR_LIMIT: Duration = Duration::from_secs(5);
const ROLL_LIMIT: Duration = Duration::from_secs(180);
const END_LIMIT: Duration = Duration::from_secs(90);

pub(crate) async fn a_changed_setting_restarts_pods_with_never_fewer_than_2_of_3_ready(
    namespace: Namespace,
) -> Result<()> {
    let cluster = three(&namespace).await?;
    let before = cluster.identities().await?;
    let history = PodHistory::begin(&cluster).await?;

    let change =
        r#"patch mqttcluster three --type merge --patch {"spec":{"config":{"limits":{"queuedMessages":500}}}}"#;
    namespace.kubectl(change).await?;
    cluster.ready_within(ROLL_LIMIT).await?;
    let moments = history.moments()?;
    let after = cluster.identities().await?;
    assert!(
        before.iter().all(|(pod, old)| after[pod].is_other_pod(old)),
        "every pod is a new one: {before:?} {after:?}"
    );
    let fewest = moments.iter().min_by_key(|moment| moment.ready.len()).context("find a moment")?;
    assert!(fewest.ready.len() >= 2, "found only {:?} ready, wanted 2 of 3 at any moment", fewest.ready);
    serves(&cluster).await
}

pub(crate) async fn what_a_hand_edits_or_deletes_is_repaired_within_5_seconds_and_foreign_labels_stay(
    namespace: Namespace,
) -> Result<()> {
    let cluster = one(&namespace).await?;
    namespace.kubectl("label service/one-mqtt statefulset/one team=lights").await?;
    namespace.kubectl("annotate service/one-mqtt example.com/owner=lights").await?;

    let edit = r#"patch service one-mqtt --type merge --patch {"spec":{"ports":[{"name":"mqtt","port":9999}]}}"#;
    let port = |service: &Service| service.spec.as_ref()?.ports.as_ref()?.first().map(|port| port.port);
    repaired(&cluster, edit, "one-mqtt", |service| port(service) == Some(1883)).await?;

    let edit = "patch statefulset one --type merge --patch {\"spec\":{\"replicas\":3}}";
    let replicas = |set: &StatefulSet| set.spec.as_ref()?.replicas;
    repaired(&cluster, edit, "one", |set| replicas(set) == Some(1)).await?;

    let edit =
        "patch statefulset one --type merge --patch {\"metadata\":{\"labels\":{\"app.kubernetes.io/name\":\"x\"}}}";
    repaired(&cluster, edit, "one", |set: &StatefulSet| set.labels()["app.kubernetes.io/name"] == "fulmar-broker")
        .await?;

    let edit = "patch poddisruptionbudget one --type merge --patch {\"spec\":{\"maxUnavailable\":2}}";
    let allowed = |budget: &PodDisruptionBudget| serde_json::to_value(&budget.spec.as_ref()?.max_unavailable).ok();
    repaired(&cluster, edit, "one", |budget| allowed(budget) == Some(1.into())).await?;

    deleted_and_repaired::<Service>(&cluster, "service", &names::nodes_service("one")).await?;
    deleted_and_repaired::<PodDisruptionBudget>(&cluster, "poddisruptionbudget", "one").await?;
    deleted_and_repaired::<ServiceAccount>(&cluster, "serviceaccount", &names::service_account("one")).await?;
    deleted_and_repaired::<ConfigMap>(&cluster, "configmap", &names::authority("one")).await?;
    let config_maps = namespace.list::<ConfigMap>().await?;
    let is_config = |map: &&ConfigMap| map.name_any().starts_with("one-config-");
    let config_map = config_maps.iter().find(is_config).context("find the configuration")?.name_any();
    deleted_and_repaired::<ConfigMap>(&cluster, "configmap", &config_map).await?;
    let old = namespace.api::<Pod>().get("one-0").await?.uid();
    deleted_and_repaired::<StatefulSet>(&cluster, "statefulset", "one").await?;
    // The pod of the deleted StatefulSet goes with it, and the status of the cluster may still tell of that one.
    let is_new = |pod: Option<&Pod>| pod.filter(|pod| pod.uid() != old && is_ready(pod)).map(drop);
    watch_until(namespace.api::<Pod>(), "one-0", "a new ready pod", END_LIMIT, is_new).await?;

    let service = namespace.api::<Service>().get("one-mqtt").await?;
    assert_eq!(service.labels().get("team").map(String::as_str), Some("lights"));
    assert_eq!(service.annotations().get("example.com/owner").map(String::as_str), Some("lights"));
    cluster.ready().await?;
    serves(&cluster).await
}

/// Breaks something and measures how long it stays broken.
pub(crate) async fn repaired<K>(
    cluster: &Cluster,
    breaking: &str,
    name: &str,
    is_whole: impl Fn(&K) -> bool,
) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
    K::DynamicType: Default,
{
    let api = cluster.namespace.api::<K>();
    let before = api.get(name).await?.resource_version();
    cluster.namespace.kubectl(breaking).await?;
    let start = Instant::now();
    // The edit itself is a new version, so a version that is whole and not the old one is a repaired one.
    let is_repaired =
        |found: Option<&K>| found.filter(|found| is_whole(found) && found.resource_version() != before).map(drop);
    watch_until(api, name, "a repair", REPAIR_LIMIT, is_repaired).await.with_context(|| breaking.to_owned())?;
    assert!(start.elapsed() <= REPAIR_LIMIT, "{breaking}: repaired after {:?}", start.elapsed());
    Ok(())
}

/// Deletes something and waits for another in its place.
pub(crate) async fn deleted_and_repaired<K>(cluster: &Cluster, kind: &str, name: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
    K::DynamicType: Default,
{
    let api = cluster.namespace.api::<K>();
    let before = api.get(name).await?.uid();
    // Without waiting: kubectl would else wait for the end of the new object of the same name.
    let deletion = format!("delete {kind} {name} --wait=false");
    cluster.namespace.kubectl(&deletion).await?;
    let is_new = |found: Option<&K>| found.filter(|found| found.uid() != before).map(drop);
    watch_until(api, name, "a new one", REPAIR_LIMIT, is_new).await.with_context(|| deletion)
}

pub(crate) async fn all_pods_killed_at_once_come_back_by_themselves(namespace: Namespace) -> Result<()> {
    let cluster = three(&namespace).await?;
    let before = cluster.identities().await?;
    let kill = format!("delete pods --selector {} --force --grace-period=0 --wait=false", cluster.selector());
    namespace.kubectl(&kill).await?;
    ask_until("three new pods", ROLL_LIMIT, || async {
        let after = cluster.identities().await?;
        let is_new = |(pod, old): (&String, &Identity)| after.get(pod).is_some_and(|new| new.is_other_pod(old));
        Ok((after.len() == 3 && before.iter().all(is_new)).then_some(()))
    })
    .await?;
    // Not the status of the cluster: it may still tell of the pods that were.
    namespace
        .kubectl(&format!("wait pods --selector {} --for=condition=Ready --timeout=2m", cluster.selector()))
        .await?;

    // They are linked again, not three brokers alone.
    let addresses: Vec<_> = cluster.addresses().await?.into_values().collect();
    let mut subscriber = Client::connect(&addresses[0].to_string(), 1883, "subscriber").await?;
    subscriber.subscribe("back", QoS::AtLeastOnce).await?;
    for address in &addresses[1..] {
        let payload = address.to_string();
        let mut publisher = Client::connect(&payload, 1883, &format!("publisher-{payload}")).await?;
        publisher.publish("back", QoS::AtLeastOnce, false, &payload).await?;
        assert_eq!(subscriber.receive().await?, Message::new("back", &payload, QoS::AtLeastOnce));
    }
    Ok(())
}

pub(crate) async fn a_deleted_cluster_leaves_only_its_claims(namespace: Namespace) -> Result<()> {
    namespace.apply_cluster("manifests/examples/quickstart.yaml", "quickstart").await?.ready().await?;
    namespace.kubectl("delete mqttcluster quickstart --wait=false").await?;
    // Events tell what happened and end by themselves; leases and certificates of the namespace are not ours.
    let kinds = "mqttclusters,statefulsets,controllerrevisions,pods,services,endpointslices,configmaps,secrets,\
                 serviceaccounts,poddisruptionbudgets,persistentvolumeclaims";
    let wanted = [
        "configmap/kube-root-ca.crt",
        "persistentvolumeclaim/data-quickstart-0",
        "persistentvolumeclaim/data-quickstart-1",
        "persistentvolumeclaim/data-quickstart-2",
        "serviceaccount/default",
    ];
    ask_until("everything but the claims to be gone", END_LIMIT, || async {
        let left = namespace.kubectl(&format!("get {kinds} --output name")).await?;
        let mut left: Vec<&str> = left.lines().collect();
        left.sort_unstable();
        anyhow::ensure!(left == wanted, "found {left:?}, wanted {wanted:?}");
        Ok(Some(()))
    })
    .await
}
