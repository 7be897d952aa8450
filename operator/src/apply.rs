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
use serde_json::{Value, json};

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
    let statefulset = Box::pin(applier.apply(statefulset)).await?;
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
        let Some(existing) = existing else {
            // There is nothing to take fields from: a conflict means that somebody else just made an object.
            return self.send(&object, PatchParams::apply(labels::MANAGER)).await;
        };
        // The UID makes the API server refuse if another object has taken the name since it was read.
        object.meta_mut().uid.clone_from(&existing.meta().uid);
        let parameters = PatchParams::apply(labels::MANAGER).force();
        match self.send(&object, parameters.clone()).await {
            Err(Failure::Refused { .. }) if self.reset_keyed_lists(&object, existing).await? => {
                self.send(&object, parameters).await
            }
            result => result,
        }
    }

    async fn send<K: Child>(&self, object: &K, parameters: PatchParams) -> Result<K, Failure> {
        let name = object.name_any();
        let patched = self.api::<K>().patch(&name, &parameters, &Patch::Apply(object)).await;
        patched.map_err(|error| refused_or_passing("apply an object", K::KIND, &name, error))
    }

    /// Server-side apply knows a port by its number. One that was edited by hand is to it a port of somebody else's,
    /// which stays, and together with ours two have one name, which is refused. Such lists are set as a whole.
    async fn reset_keyed_lists<K: Child>(&self, object: &K, existing: &K) -> Result<bool, Failure> {
        let (Ok(wanted), Ok(found)) = (serde_json::to_value(object), serde_json::to_value(existing)) else {
            return Ok(false);
        };
        let Some(patch) = keyed_lists_patch(&wanted, &found) else { return Ok(false) };
        let name = object.name_any();
        let reset = self.api::<K>().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        reset.map_err(|error| refused_or_passing("reset lists of an object", K::KIND, &name, error))?;
        tracing::info!(kind = K::KIND, name, "lists that were edited by hand were set again");
        Ok(true)
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

/// The lists with items that are known by a field which a hand may edit.
const KEYED_LISTS: &[&[&str]] = &[&["spec", "ports"], &["spec", "template", "spec", "containers"]];

/// A merge patch, which replaces lists, from what is wanted; bound to the version that was read. `None` if the lists
/// are not what differs.
fn keyed_lists_patch(wanted: &Value, found: &Value) -> Option<Value> {
    let mut patch = json!({"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}});
    let mut differs = false;
    for path in KEYED_LISTS {
        let at = |value: &Value| path.iter().try_fold(value.clone(), |value, key| value.get(key).cloned());
        let Some(list) = at(wanted) else { continue };
        differs |= at(found).is_some_and(|found| found != list);
        let nested = path.iter().rev().fold(list, |value, key| json!({ *key: value }));
        merge(&mut patch, nested);
    }
    differs.then_some(patch)
}

fn merge(target: &mut Value, source: Value) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => {
            for (key, value) in source {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, source) => *target = source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_port_is_set_again_with_the_whole_list() {
        let wanted = json!({"spec": {"ports": [{"name": "mqtt", "port": 1883}], "type": "ClusterIP"}});
        let found = json!({
            "metadata": {"resourceVersion": "7"},
            "spec": {"ports": [{"name": "mqtt", "port": 9999}], "type": "ClusterIP"},
        });
        let patch = json!({
            "metadata": {"resourceVersion": "7"},
            "spec": {"ports": [{"name": "mqtt", "port": 1883}]},
        });
        assert_eq!(keyed_lists_patch(&wanted, &found), Some(patch));
    }

    #[test]
    fn an_object_without_such_lists_is_left_to_its_refusal() {
        let wanted = json!({"data": {"ca.crt": "x"}});
        assert_eq!(keyed_lists_patch(&wanted, &json!({"metadata": {"resourceVersion": "7"}})), None);
    }
}
