//! What exists now, read live: decisions are never made on a cache that may be stale.

use fulmar_api::MqttCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};

use crate::build::selector_text;
use crate::failure::{During, Failure};

/// The children of a cluster that decisions and the status are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// The StatefulSet, if there is one that belongs to this cluster.
    pub(crate) statefulset: Option<StatefulSet>,
    /// Its pods, by name.
    pub(crate) pods: Vec<Pod>,
    /// The cluster's Services.
    pub(crate) services: Vec<Service>,
}

impl Observed {
    /// Pods that the StatefulSet is asked for.
    pub(crate) fn replicas(&self) -> Option<i32> {
        self.statefulset.as_ref()?.spec.as_ref()?.replicas
    }
}

/// Reads the children of a cluster.
pub(crate) async fn observe(client: &Client, cluster: &MqttCluster) -> Result<Observed, Failure> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let selected = ListParams::default().labels(&selector_text(&name));
    let statefulsets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
    let statefulset = statefulsets.get_opt(&name).await.during("read the StatefulSet")?;
    let statefulset = statefulset.filter(|found| is_controlled_by(found, cluster));
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let mut pods = pods.list(&selected).await.during("list the pods")?.items;
    pods.retain(|pod| statefulset.as_ref().is_some_and(|owner| is_controlled_by(pod, owner)));
    pods.sort_by_key(|pod| ordinal(&pod.name_any()));
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let mut services = services.list(&selected).await.during("list the Services")?.items;
    services.retain(|service| is_controlled_by(service, cluster));
    Ok(Observed { statefulset, pods, services })
}

/// Whether `child` is under the control of exactly this object, not of one that had its name before.
pub(crate) fn is_controlled_by<C: Resource, O: Resource>(child: &C, owner: &O) -> bool {
    owner.meta().uid.as_deref().is_some_and(|uid| is_controlled_by_uid(child, uid))
}

/// The same by the owner's UID.
pub(crate) fn is_controlled_by_uid<C: Resource>(child: &C, uid: &str) -> bool {
    let mut owners = child.meta().owner_references.iter().flatten();
    owners.any(|reference| reference.controller == Some(true) && reference.uid == uid)
}

/// The cluster that the operator made this object for, if it did.
pub(crate) fn made_for<C: Resource>(object: &C) -> Option<&str> {
    let mut owners = object.meta().owner_references.iter().flatten();
    owners.find(|owner| owner.kind == MqttCluster::kind(&())).map(|owner| owner.name.as_str())
}

/// The object, if it is ours; else why its name cannot be used, now or at all.
pub(crate) fn own_or_taken<K: Resource>(found: K, kind: &'static str, cluster: &MqttCluster) -> Result<K, Failure> {
    if is_controlled_by(&found, cluster) {
        return Ok(found);
    }
    let name = found.name_any();
    let mut owners = found.meta().owner_references.iter().flatten();
    // Kubernetes collects what belongs to an owner that is gone.
    let is_old = owners.any(|owner| {
        owner.controller == Some(true) && owner.kind == MqttCluster::kind(&()) && owner.name == cluster.name_any()
    });
    Err(if is_old { Failure::OldObject { kind, name } } else { Failure::NameTaken { kind, name } })
}

/// The number at the end of a pod's name.
pub(crate) fn ordinal(pod: &str) -> i32 {
    pod.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(i32::MAX)
}
