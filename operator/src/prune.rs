//! Removal of what is no longer wanted, found by label and owner, each bound to the UID that was read.
//!
//! What pods mount stays as long as one mounts it. Pods are read after the StatefulSet was applied and once its
//! controller has seen that: every pod that comes later is made from the newest template.

use std::collections::BTreeSet;

use fulmar_api::{MqttCluster, labels, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};

use crate::apply::Child;
use crate::build::{Applied, Resources, selector_text, used_config_map, used_secrets};
use crate::failure::{During, Failure};
use crate::observe::is_controlled_by;

/// Deletes objects of this cluster that nothing wants any more. Taking the applied resources is the proof that every
/// one of their successors exists. `secrets` are those in use; while that is not known, nothing that pods mount goes.
pub(crate) async fn prune(
    client: &Client,
    cluster: &MqttCluster,
    resources: &Resources<Applied>,
    secrets: Option<&[String]>,
) -> Result<(), Failure> {
    let pruner = Pruner { client, cluster };
    let Resources { service_account, config_map, authority, services, disruption_budget, statefulset, stage: _ } =
        resources;
    pruner.remove::<ServiceAccount>(pruner.others(&[service_account.name_any()]).await?).await?;
    pruner.remove::<Service>(pruner.others(&names_of(services)).await?).await?;
    pruner.remove::<PodDisruptionBudget>(pruner.others(&names_of(disruption_budget)).await?).await?;
    let Some(secrets) = secrets.filter(|_| is_seen(statefulset)) else { return Ok(()) };
    let mut secrets = pruner.others::<Secret>(secrets).await?;
    let identity = names::identity(&cluster.name_any());
    let mut config_maps = pruner.others::<ConfigMap>(&[config_map.name_any(), authority.name_any(), identity]).await?;
    if secrets.is_empty() && config_maps.is_empty() {
        return Ok(());
    }
    let mounted = pruner.mounted().await?;
    secrets.retain(|secret| !mounted.secrets.contains(&secret.name_any()));
    config_maps.retain(|config_map| !mounted.config_maps.contains(&config_map.name_any()));
    pruner.remove(secrets).await?;
    pruner.remove(config_maps).await
}

fn names_of<'a, K: Child + 'a>(objects: impl IntoIterator<Item = &'a K>) -> Vec<String> {
    objects.into_iter().map(ResourceExt::name_any).collect()
}

/// Whether the StatefulSet controller has acted on what was applied.
fn is_seen(statefulset: &StatefulSet) -> bool {
    let seen = statefulset.status.as_ref().and_then(|status| status.observed_generation);
    seen >= statefulset.metadata.generation
}

/// What pods mount, by name.
#[derive(Default)]
struct Mounted {
    secrets: BTreeSet<String>,
    config_maps: BTreeSet<String>,
}

struct Pruner<'a> {
    client: &'a Client,
    cluster: &'a MqttCluster,
}

impl Pruner<'_> {
    fn api<K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.cluster.namespace().unwrap_or_default())
    }

    /// Our objects of a kind but for those of these names.
    async fn others<K: Child>(&self, kept: &[String]) -> Result<Vec<PartialObjectMeta<K>>, Failure> {
        let ours = format!("{},{}={}", selector_text(&self.cluster.name_any()), labels::MANAGED_BY, labels::MANAGER);
        let parameters = ListParams::default().labels(&ours);
        let mut found = self.api::<K>().list_metadata(&parameters).await.during("list objects to remove")?.items;
        found.retain(|object| !kept.contains(&object.name_any()) && is_controlled_by(object, self.cluster));
        Ok(found)
    }

    async fn mounted(&self) -> Result<Mounted, Failure> {
        let selected = ListParams::default().labels(&selector_text(&self.cluster.name_any()));
        let mut mounted = Mounted::default();
        for pod in self.api::<Pod>().list(&selected).await.during("list the pods that mount something")?.items {
            let Some(spec) = pod.spec else { continue };
            mounted.secrets.extend(used_secrets(&spec).map(str::to_owned));
            mounted.config_maps.extend(used_config_map(&spec).map(str::to_owned));
        }
        Ok(mounted)
    }

    async fn remove<K: Child>(&self, objects: Vec<PartialObjectMeta<K>>) -> Result<(), Failure> {
        for object in objects {
            let name = object.name_any();
            let only_this = Preconditions { uid: object.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
            match self.api::<K>().delete(&name, &parameters).await {
                Ok(_) => tracing::info!(kind = K::KIND, name, "removed an object that is no longer wanted"),
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(source) => return Err(Failure::Api { step: "remove an object", source }),
            }
        }
        Ok(())
    }
}
