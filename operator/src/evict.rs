//! Removing one pod, and no other that has taken its name: by the API that asks the PodDisruptionBudget.

use fulmar_api::MqttCluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use crate::failure::{During, Failure};

/// Evicts a pod. One that is gone, is another by now, or may not go yet is for the next reconciliation.
pub(crate) async fn evict(client: &Client, cluster: &MqttCluster, name: &str, uid: &str) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let only_this = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let delete_options = Some(DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() });
    match pods.evict(name, &EvictParams { delete_options, ..EvictParams::default() }).await {
        Ok(_) => {
            tracing::info!(pod = name, "evicted, because the StatefulSet controller waits for another pod");
            Ok(())
        }
        // Gone; another one by now; the budget has no room.
        Err(kube::Error::Api(status)) if [404, 409, 429].contains(&status.code) => {
            tracing::debug!(pod = name, reason = status.message, "not evicted");
            Ok(())
        }
        Err(error) => Err(error).during("evict a pod"),
    }
}
