//! Puts what was built into Kubernetes, in order: POST for what is not there, server-side apply for what is.
//!
//! An object of our name that does not belong to the cluster is never touched. Fields that we own are restored when
//! edited; labels, annotations and fields of others stay. What is no longer wanted goes in `prune.rs`.

use std::fmt::Debug;
use std::marker::PhantomData;

use fulmar_api::{MqttCluster, labels};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::build::{Applied, Built, Resources};
use crate::failure::{During, Failure, refused_or_passing};
use crate::observe::own_or_taken;
use crate::ownership::joined;

/// What the API of every kind that we apply has in common.
pub(crate) trait Child:
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
    let config_map = applier.apply(config_map).await?;
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

struct Applier<'a> {
    client: &'a Client,
    cluster: &'a MqttCluster,
}

impl Applier<'_> {
    fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.cluster.namespace().unwrap_or_default())
    }

    async fn apply<K: Child>(&self, object: K) -> Result<K, Failure> {
        let name = object.name_any();
        let existing = match self.read_own::<K>(&name).await? {
            Some(existing) => existing,
            // An apply would take over an object that somebody else makes in the same moment; POST refuses.
            None => match self.api::<K>().create(&posted(), &object).await {
                Ok(made) => return self.own(made).await,
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    self.read_own::<K>(&name).await?.ok_or_else(|| passed_by::<K>(status))?
                }
                Err(error) => return Err(refused_or_passing("make an object", K::KIND, &name, error)),
            },
        };
        let existing = self.own(existing).await?;
        self.patch(object, &existing).await
    }

    /// Makes fields that were set by POST or by a merge patch into applied ones, so that they go when we leave them out.
    /// Where somebody else writes at the same time, the next reconciliation does it.
    async fn own<K: Child>(&self, object: K) -> Result<K, Failure> {
        let Some(owners) = joined(object.managed_fields(), labels::MANAGER) else { return Ok(object) };
        let name = object.name_any();
        let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "managedFields": owners}});
        match self.api::<K>().patch(&name, &by_us(), &Patch::Merge(&patch)).await {
            Ok(patched) => Ok(patched),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(object),
            Err(error) => Err(refused_or_passing("join the owners of fields", K::KIND, &name, error)),
        }
    }

    async fn read_own<K: Child>(&self, name: &str) -> Result<Option<K>, Failure> {
        let found = self.api::<K>().get_opt(name).await.during("read an object before it is applied")?;
        found.map(|found| own_or_taken(found, K::KIND, self.cluster)).transpose()
    }

    async fn patch<K: Child>(&self, mut object: K, existing: &K) -> Result<K, Failure> {
        // The UID makes the API server refuse if another object has taken the name since it was read.
        object.meta_mut().uid.clone_from(&existing.meta().uid);
        let name = object.name_any();
        let failed = |error| refused_or_passing("apply an object", K::KIND, &name, error);
        match self.send(&object).await {
            Err(kube::Error::Api(status)) => match lists_to_reset(&status, &object, existing) {
                Some(patch) => {
                    self.reset::<K>(&name, &patch).await?;
                    self.send(&object).await.map_err(failed)
                }
                None => Err(failed(kube::Error::Api(status))),
            },
            result => result.map_err(failed),
        }
    }

    async fn send<K: Child>(&self, object: &K) -> Result<K, kube::Error> {
        let parameters = PatchParams::apply(labels::MANAGER).force();
        self.api::<K>().patch(&object.name_any(), &parameters, &Patch::Apply(object)).await
    }

    async fn reset<K: Child>(&self, name: &str, patch: &Value) -> Result<(), Failure> {
        let reset = self.api::<K>().patch(name, &by_us(), &Patch::Merge(patch)).await;
        reset.map_err(|error| refused_or_passing("reset lists of an object", K::KIND, name, error))?;
        tracing::info!(kind = K::KIND, name, "lists that were edited by hand were set again");
        Ok(())
    }
}

/// By whom and how objects are made.
pub(crate) fn posted() -> PostParams {
    PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() }
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() }
}

/// It was there for POST and not there for GET: the next try finds out.
fn passed_by<K: Child>(status: Box<Status>) -> Failure {
    tracing::debug!(kind = K::KIND, "an object came and went");
    Failure::Api { step: "read an object that was just made", source: kube::Error::Api(status) }
}

/// The lists with items that are known by a field which a hand may edit.
const KEYED_LISTS: &[&[&str]] =
    &[&["spec", "ports"], &["spec", "template", "spec", "containers"], &["spec", "template", "spec", "volumes"]];

/// Server-side apply knows a port by its number. One that was edited by hand is to it a port of somebody else's, which
/// stays, and together with ours two have one name, which the API server calls invalid. Such lists are set as a whole,
/// by a merge patch that is bound to the version that was read. `None` where no such list is what is invalid.
fn lists_to_reset<K: Child>(status: &Status, object: &K, existing: &K) -> Option<Value> {
    if !status.is_invalid() {
        return None;
    }
    let causes = &status.details.as_ref()?.causes;
    let wanted = serde_json::to_value(object).ok()?;
    let mut patch = json!({"metadata": {"resourceVersion": existing.resource_version()}});
    let mut is_needed = false;
    for path in KEYED_LISTS {
        let list = path.iter().try_fold(&wanted, |value, key| value.get(key));
        let items = format!("{}[", path.join("."));
        if let (Some(list), true) = (list, causes.iter().any(|cause| cause.field.starts_with(&items))) {
            is_needed = true;
            merge(&mut patch, path.iter().rev().fold(list.clone(), |value, key| json!({ *key: value })));
        }
    }
    is_needed.then_some(patch)
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
    use k8s_openapi::api::core::v1::Service;

    use super::*;
    use crate::build::{Scale, build};
    use crate::fake_api::{FakeApi, refusal};
    use crate::fixtures::{cluster, image};
    use crate::validate::{owner_reference, validate};

    fn built(cluster: &MqttCluster) -> Resources<Built> {
        let owner = owner_reference(cluster).unwrap();
        build(&validate(cluster, owner, None, String::new(), &image("v0.1.0")).unwrap(), Scale::at_rest(3))
    }

    async fn applied(api: &FakeApi) -> Result<Resources<Applied>, Failure> {
        let cluster = cluster();
        Box::pin(apply(&api.client(), &cluster, built(&cluster))).await
    }

    #[tokio::test]
    async fn an_object_that_somebody_makes_in_the_same_moment_is_not_adopted() {
        let api = FakeApi::default();
        api.before_each(|verb, (kind, name), objects| {
            // It comes between our look, which finds nothing, and our own.
            let is_ours = kind == "services" && name == "demo-mqtt" && verb != "GET";
            if is_ours && objects.get(kind, name).is_none() {
                objects.put(kind, json!({"metadata": {"name": name}, "spec": {"externalName": "theirs"}}));
            }
            None
        });
        let failure = applied(&api).await.err().map(|failure| failure.to_string());
        let wanted = "Service demo-mqtt exists and does not belong to this MqttCluster: delete or rename it, or rename the cluster";
        assert_eq!(failure.as_deref(), Some(wanted));
        assert_eq!(api.object("services", "demo-mqtt")["spec"], json!({"externalName": "theirs"}));
    }

    #[tokio::test]
    async fn what_was_made_is_owned_by_apply_alone() {
        let api = FakeApi::default();
        applied(&api).await.unwrap();
        let operations = |api: &FakeApi| -> Vec<(Value, Value)> {
            let owners = api.object("services", "demo-mqtt")["metadata"]["managedFields"].clone();
            let owners = owners.as_array().unwrap().clone();
            owners.into_iter().map(|owner| (owner["manager"].clone(), owner["operation"].clone())).collect()
        };
        assert_eq!(operations(&api), [("fulmar-operator".into(), "Apply".into())]);
        api.take_requests();
        applied(&api).await.unwrap();
        let requests = api.take_requests();
        assert!(
            requests.iter().all(|request| request.starts_with("GET ") || request.starts_with("APPLY ")),
            "{requests:?}"
        );
    }

    #[tokio::test]
    async fn lists_are_reset_only_where_one_of_them_is_invalid() {
        for (code, reason, field, resets) in [
            (422, "Invalid", "spec.ports[1].name", 1),
            (422, "Invalid", "spec.type", 0),
            (403, "Forbidden", "spec.ports[1].name", 0),
        ] {
            let api = FakeApi::default();
            applied(&api).await.unwrap();
            api.take_requests();
            let mut is_refused = false;
            api.before_each(move |verb, (_, name), _| {
                let is_first = verb == "APPLY" && name == "demo-mqtt" && !is_refused;
                is_refused |= is_first;
                is_first.then(|| refusal(code, reason, &[field]))
            });
            let result = applied(&api).await;
            assert_eq!(result.is_ok(), resets == 1, "{code} {field}");
            let requests = api.take_requests();
            let found = requests.iter().filter(|request| *request == "PATCH services/demo-mqtt").count();
            assert_eq!(found, resets, "{code} {field}: {requests:?}");
        }
    }

    #[test]
    fn a_reset_holds_the_whole_list_and_the_version_that_was_read() {
        let service = |port: i32| -> Service {
            serde_json::from_value(json!({
                "metadata": {"name": "x", "resourceVersion": "7"},
                "spec": {"ports": [{"name": "mqtt", "port": port}], "type": "ClusterIP"},
            }))
            .unwrap()
        };
        let (_, status) = refusal(422, "Invalid", &["spec.ports[1].name"]);
        let status: Status = serde_json::from_value(status).unwrap();
        let patch = json!({"metadata": {"resourceVersion": "7"}, "spec": {"ports": [{"name": "mqtt", "port": 1883}]}});
        assert_eq!(lists_to_reset(&status, &service(1883), &service(9999)), Some(patch));
    }
}
