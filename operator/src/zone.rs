//! The zone of each pod: the label of its node, copied to an annotation of the pod, which the broker reads as a file.
//!
//! A pod cannot ask for its node's labels, and has no right to. Nobody waits for the annotation: a broker starts without
//! it, in no zone as long as it says nothing, and so do all where the operator may not read nodes or they have no zones.

use fulmar_api::labels;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// The standard label of nodes.
const NODE_ZONE: &str = "topology.kubernetes.io/zone";

/// Writes the zones of pods that have a node and no annotation yet. What fails is tried again with the next
/// reconciliation, and keeps nothing else from being done.
pub(crate) async fn annotate_zones(client: &Client, pods: &[Pod]) {
    let unknown = pods.iter().filter(|pod| !pod.annotations().contains_key(labels::ZONE));
    for pod in unknown {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { continue };
        if let Err(error) = annotate(client, pod, node).await {
            tracing::debug!(pod = pod.name_any(), node, %error, "the zone of a pod is not known");
            // Without the right to read one node there is none to read the next.
            return;
        }
    }
}

async fn annotate(client: &Client, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(node) = nodes.get_metadata_opt(node).await? else { return Ok(()) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
    // The UID keeps the zone of one pod away from the next of its name.
    let patch = json!({"metadata": {"uid": pod.uid(), "annotations": {labels::ZONE: zone(&node)}}});
    match pods.patch_metadata(&pod.name_any(), &parameters, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

/// An empty text where the node has none, so that it is not asked for again.
fn zone(node: &PartialObjectMeta<Node>) -> &str {
    node.labels().get(NODE_ZONE).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::fake_api::{FakeApi, refusal};

    fn pods(api: &FakeApi) -> Vec<Pod> {
        let names = api.objects(|objects| objects.names("pods"));
        names.into_iter().map(|name| serde_json::from_value(api.object("pods", &name)).unwrap()).collect()
    }

    fn api() -> FakeApi {
        let api = FakeApi::default();
        api.objects(|objects| {
            objects.put("nodes", json!({"metadata": {"name": "a", "labels": {NODE_ZONE: "west"}}}));
            objects.put("nodes", json!({"metadata": {"name": "b", "labels": {}}}));
            for (number, node) in [Value::from("a"), "b".into(), Value::Null, "gone".into()].into_iter().enumerate() {
                let metadata = json!({"name": format!("demo-{number}"), "namespace": "shop"});
                objects.put("pods", json!({"metadata": metadata, "spec": {"containers": [], "nodeName": node}}));
            }
        });
        api
    }

    fn zones(api: &FakeApi) -> Vec<Option<String>> {
        pods(api).iter().map(|pod| pod.annotations().get(labels::ZONE).cloned()).collect()
    }

    #[tokio::test]
    async fn each_pod_gets_the_zone_of_its_node_once() {
        let api = api();
        annotate_zones(&api.client(), &pods(&api)).await;
        let wanted = [Some("west"), Some(""), None, None].map(|zone| zone.map(str::to_owned));
        assert_eq!(zones(&api), wanted);
        api.take_requests();
        annotate_zones(&api.client(), &pods(&api)).await;
        assert_eq!(api.take_requests(), ["GET nodes/gone"]);
    }

    #[tokio::test]
    async fn a_pod_that_took_the_name_meanwhile_does_not_get_the_zone_of_the_other() {
        let api = api();
        let mut seen = pods(&api);
        seen.truncate(1);
        seen[0].metadata.uid = Some("another".to_owned());
        annotate_zones(&api.client(), &seen).await;
        assert_eq!(zones(&api), [None, None, None, None]);
    }

    #[tokio::test]
    async fn without_the_right_to_read_nodes_nothing_is_asked_twice() {
        let api = api();
        api.before_each(|_, (kind, _), _| (kind == "nodes").then(|| refusal(403, "Forbidden", &[])));
        annotate_zones(&api.client(), &pods(&api)).await;
        assert_eq!((api.take_requests(), zones(&api)), (vec!["GET nodes/a".to_owned()], vec![None; 4]));
    }
}
