//! One `MqttCluster` as a test sees it: its conditions, its pods, its addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fulmar_api::{ConditionKind, MqttCluster, find_condition, labels, names};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::net::TcpStream;

use crate::metrics::Metrics;
use crate::namespace::Namespace;
use crate::wait::{ask_until, watch_until};

/// Longer than any cluster of a test takes on a busy machine with 2 cores.
pub const READY_LIMIT: Duration = Duration::from_secs(90);

/// Between a pod that is ready and rules that lead to it.
const REACHABLE_LIMIT: Duration = Duration::from_secs(10);

/// One cluster, there or not.
#[derive(Clone)]
pub struct Cluster {
    /// Where it is.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
}

/// Which pod object this is and how often its container was started again: equal before and after if nothing touched
/// the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: String,
    restarts: i32,
}

impl Identity {
    /// Whether these are two different pods, not one that was started again.
    #[must_use]
    pub fn is_other_pod(&self, other: &Self) -> bool {
        self.uid != other.uid
    }
}

impl Cluster {
    pub(crate) fn new(namespace: Namespace, name: &str) -> Self {
        Self { namespace, name: name.to_owned() }
    }

    /// The resource now.
    pub async fn get(&self) -> Result<MqttCluster> {
        self.api().get(&self.name).await.with_context(|| format!("read MqttCluster {}", self.name))
    }

    fn api(&self) -> Api<MqttCluster> {
        self.namespace.api()
    }

    /// Waits until the operator has seen the last change and finds what `look` wants in the resource.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&MqttCluster) -> Option<T>,
    ) -> Result<T> {
        watch_until(self.api(), &self.name, what, limit, |cluster| {
            let cluster = cluster?;
            let seen = cluster.status.as_ref()?.observed_generation;
            if seen == cluster.metadata.generation { look(cluster) } else { None }
        })
        .await
    }

    /// Waits until `Ready` is true.
    pub async fn ready(&self) -> Result<()> {
        self.ready_within(READY_LIMIT).await
    }

    /// The same with a limit of its own.
    pub async fn ready_within(&self, limit: Duration) -> Result<()> {
        self.condition(ConditionKind::Ready, "True", None, limit).await.map(drop)
    }

    /// Waits until there are this many pods and all of them are ready.
    pub async fn ready_with(&self, replicas: i32, limit: Duration) -> Result<()> {
        self.until(&format!("{replicas} ready pods"), limit, |cluster| {
            let status = cluster.status.as_ref()?;
            let ready = find_condition(&status.conditions, ConditionKind::Ready)?;
            (ready.status == "True" && status.replicas == replicas && status.ready_replicas == replicas).then_some(())
        })
        .await
    }

    /// Waits until a condition has this status and, where one is given, this reason.
    pub async fn condition(
        &self,
        kind: ConditionKind,
        status: &str,
        reason: Option<&str>,
        limit: Duration,
    ) -> Result<Condition> {
        let what = format!("{}={status} {}", kind.as_str(), reason.unwrap_or_default());
        self.until(what.trim_end(), limit, |cluster| {
            let found = find_condition(&cluster.status.as_ref()?.conditions, kind)?;
            let is_it = found.status == status && reason.is_none_or(|reason| found.reason == reason);
            is_it.then(|| found.clone())
        })
        .await
    }

    /// The condition as it is now.
    pub async fn condition_now(&self, kind: ConditionKind) -> Result<Condition> {
        let cluster = self.get().await?;
        let conditions = cluster.status.unwrap_or_default().conditions;
        find_condition(&conditions, kind).cloned().with_context(|| format!("condition {} is not there", kind.as_str()))
    }

    /// Its pods, by name.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = self.namespace.api();
        let mut pods = pods.list(&ListParams::default().labels(&self.selector())).await?.items;
        pods.sort_by_key(ResourceExt::name_any);
        Ok(pods)
    }

    /// What selects its pods.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{}={}", labels::CLUSTER, self.name)
    }

    /// The name of pod `number`.
    #[must_use]
    pub fn pod(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// The addresses of its pods, by name.
    pub async fn addresses(&self) -> Result<BTreeMap<String, IpAddr>> {
        let address = |pod: &Pod| -> Result<(String, IpAddr)> {
            let name = pod.name_any();
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
            Ok((name.clone(), address.with_context(|| format!("pod {name} has no address"))?))
        };
        self.pods().await?.iter().map(address).collect()
    }

    /// The identities of its pods, by name.
    pub async fn identities(&self) -> Result<BTreeMap<String, Identity>> {
        let pods = self.pods().await?;
        if pods.is_empty() {
            bail!("cluster {} has no pods", self.name);
        }
        Ok(pods.iter().map(|pod| (pod.name_any(), identity(pod))).collect())
    }

    /// The name under which clients inside the Kubernetes cluster reach a listener.
    #[must_use]
    pub fn host(&self, listener: &str) -> String {
        format!("{}.{}.svc", names::listener_service(&self.name, listener), self.namespace.name())
    }

    /// Waits until the Service of a listener lets clients in: every node learns of ready pods a moment later than the
    /// operator does, and refuses connections until then.
    pub async fn reachable(&self, listener: &str, port: u16) -> Result<()> {
        let host = self.host(listener);
        ask_until(&format!("{host}:{port} to let clients in"), REACHABLE_LIMIT, || async {
            TcpStream::connect((host.as_str(), port)).await?;
            Ok(Some(()))
        })
        .await
    }

    /// The metrics of one pod.
    pub async fn metrics(&self, pod: &str) -> Result<Metrics> {
        let addresses = self.addresses().await?;
        let address = addresses.get(pod).with_context(|| format!("there is no pod {pod}"))?;
        Metrics::read(*address).await.with_context(|| format!("read the metrics of {pod}"))
    }
}

/// Whether a Service sends clients to a pod.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn identity(pod: &Pod) -> Identity {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    Identity { uid: pod.uid().unwrap_or_default(), restarts: containers.map(|container| container.restart_count).sum() }
}
