//! Server-side apply of what was built, in order, then removal of what is no longer wanted.
//!
//! An object of our name that does not belong to the cluster is never touched. Fields that we own are restored when
//! edited; labels, annotations and fields of others stay.

use std::fmt::Debug;
use std::marker::PhantomData;

use fulmar_api::{MqttCluster, labels};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::{Applied, Built, Resources, selector_text, used_config_map};
use crate::failure::{During, Failure, refused_or_passing};
use crate::observe::is_controlled_by;

/// What the API of every kind that we apply has in common.
trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + k8s_openapi::Resource
{
}
impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + k8s_openapi::Resource
{
}

/// Applies everything, the StatefulSet last, so that pods find what they mount.
pub(crate) async fn apply(
    client: &Client,
    cluster: &MqttCluster,
    resources: Resources<Built>,
) -> Result<Resources<Applied>, Failure> {
    let Resources { service_account, config_map, authority, services, disruption_budget, statefulset, stage: _ } =
        resources;
    let applier = Applier { client, cluster };
    let service_account = applier.apply(service_account).await?;
    let config_map = applier.apply_immutable(config_map).await?;
    let authority = applier.apply(authority).await?;
    let mut applied_services = Vec::with_capacity(services.len());
    for service in services {
        applied_services.push(applier.apply(service).await?);
    }
    let disruption_budget = match disruption_budget {
        Some(budget) => Some(applier.apply(budget).await?),
        None => None,
    };
    let statefulset = applier.apply(statefulset).await?;
    Ok(Resources {
        service_account,
        config_map,
        authority,
        services: applied_services,
        disruption_budget,
        statefulset,
        stage: PhantomData,
    })
}

/// Deletes objects of this cluster that nothing wants any more. Taking the applied resources is the proof that every
/// one of their successors exists.
pub(crate) async fn prune(
    client: &Client,
    cluster: &MqttCluster,
    resources: &Resources<Applied>,
    secrets: &[String],
    pods: &[Pod],
) -> Result<(), Failure> {
    let applier = Applier { client, cluster };
    let Resources { service_account, config_map, authority, services, disruption_budget, statefulset: _, stage: _ } =
        resources;
    applier.prune::<ServiceAccount>(&[service_account.name_any()]).await?;
    applier.prune::<Service>(&services.iter().map(ResourceExt::name_any).collect::<Vec<_>>()).await?;
    applier
        .prune::<PodDisruptionBudget>(&disruption_budget.iter().map(ResourceExt::name_any).collect::<Vec<_>>())
        .await?;
    applier.prune::<Secret>(secrets).await?;
    // A pod that runs on an older configuration needs it when its container starts again.
    let used = pods.iter().filter_map(|pod| used_config_map(pod.spec.as_ref()?).map(str::to_owned));
    let kept: Vec<_> = [config_map.name_any(), authority.name_any()].into_iter().chain(used).collect();
    applier.prune::<ConfigMap>(&kept).await
}

struct Applier<'a> {
    client: &'a Client,
    cluster: &'a MqttCluster,
}

impl Applier<'_> {
    fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.cluster.namespace().unwrap_or_default())
    }

    async fn apply<K: Child>(&self, object: K) -> Result<K, Failure> {
        let existing = self.read_own::<K>(&object.name_any()).await?;
        self.patch(object, existing.as_ref()).await
    }

    /// What was stored under the name stays, whatever this release would render: only its metadata is ours to restore.
    async fn apply_immutable(&self, mut object: ConfigMap) -> Result<ConfigMap, Failure> {
        let existing = self.read_own::<ConfigMap>(&object.name_any()).await?;
        if let Some(existing) = &existing {
            object.data.clone_from(&existing.data);
            object.immutable = existing.immutable;
        }
        self.patch(object, existing.as_ref()).await
    }

    async fn read_own<K: Child>(&self, name: &str) -> Result<Option<K>, Failure> {
        match self.api::<K>().get_opt(name).await.during("read an object before it is applied")? {
            Some(found) if !is_controlled_by(&found, self.cluster) => {
                Err(Failure::NameTaken { kind: K::KIND, name: name.to_owned() })
            }
            found => Ok(found),
        }
    }

    async fn patch<K: Child>(&self, mut object: K, existing: Option<&K>) -> Result<K, Failure> {
        let name = object.name_any();
        let mut parameters = PatchParams::apply(labels::MANAGER);
        if let Some(existing) = existing {
            // The UID makes the API server refuse if another object has taken the name since it was read. Without an
            // object there is nothing to take fields from, and a conflict means that somebody else just made one.
            object.meta_mut().uid.clone_from(&existing.meta().uid);
            parameters = parameters.force();
        }
        let patched = self.api::<K>().patch(&name, &parameters, &Patch::Apply(&object)).await;
        patched.map_err(|error| refused_or_passing("apply an object", K::KIND, &name, error))
    }

    async fn prune<K: Child>(&self, kept: &[String]) -> Result<(), Failure> {
        let ours = format!("{},{}={}", selector_text(&self.cluster.name_any()), labels::MANAGED_BY, labels::MANAGER);
        let api = self.api::<K>();
        let found = api.list_metadata(&ListParams::default().labels(&ours)).await.during("list objects to remove")?;
        for object in found.items {
            let object: PartialObjectMeta<K> = object;
            let name = object.name_any();
            if kept.contains(&name) || !is_controlled_by(&object, self.cluster) {
                continue;
            }
            let only_this = Preconditions { uid: object.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
            match api.delete(&name, &parameters).await {
                Ok(_) => tracing::info!(kind = K::KIND, name, "removed an object that is no longer wanted"),
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(source) => return Err(Failure::Api { step: "remove an object", source }),
            }
        }
        Ok(())
    }
}
