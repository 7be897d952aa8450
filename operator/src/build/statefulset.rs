//! The StatefulSet. What Kubernetes never lets change (selector, service name, parallel pods, claim template) must be
//! right from the first release on; the pod template is in `template.rs`.

use std::collections::BTreeMap;

use fulmar_api::{Retention, StorageRetention, StorageSpec, labels, names};
use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Scale;
use super::metadata::{metadata, pod_selector, selector};
use crate::validate::ValidatedCluster;

pub(super) fn build_statefulset(cluster: &ValidatedCluster, template: PodTemplateSpec, scale: Scale) -> StatefulSet {
    let Scale { replicas, partition, stopped } = scale;
    let mut metadata = metadata(cluster, cluster.name.clone());
    let stopped = stopped.map(|stopped| (labels::STOPPED_REPLICAS.to_owned(), stopped.to_string()));
    let pinned = (labels::PINNED_VERSION.to_owned(), cluster.image.pinned.clone());
    metadata.annotations = Some([pinned].into_iter().chain(stopped).collect());
    let retention = cluster.spec.storage.retention.clone().unwrap_or_default();
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas),
            selector: selector(&cluster.name),
            service_name: Some(names::nodes_service(&cluster.name)),
            // One by one, a pod that is ready only once it has joined would wait for pods that are not started.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(partition),
                    ..RollingUpdateStatefulSetStrategy::default()
                }),
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(retention.when_deleted.as_str().to_owned()),
                when_scaled: Some(when_scaled(&retention, replicas).as_str().to_owned()),
            }),
            template,
            volume_claim_templates: Some(vec![build_claim(cluster)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// What becomes of the volumes of pods that are fewer. Those of a cluster that stops keep what it keeps: Kubernetes would
/// take them, too.
fn when_scaled(retention: &StorageRetention, replicas: i32) -> Retention {
    if replicas == 0 { Retention::Retain } else { retention.when_scaled }
}

fn build_claim(cluster: &ValidatedCluster) -> PersistentVolumeClaim {
    // Volumes that are to be larger by now grow one by one, in `volumes.rs`.
    let StorageSpec { size: _, storage_class_name, retention: _ } = &cluster.spec.storage;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA_VOLUME.to_owned()),
            labels: Some(pod_selector(&cluster.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage_class_name.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(cluster.claim_size.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::build;
    use crate::fixtures::{cluster, image};
    use crate::record::Recorded;
    use crate::validate::{owner_reference, validate};

    fn built(replicas: i32) -> StatefulSet {
        let cluster = cluster();
        let owner = owner_reference(&cluster).unwrap();
        let valid = validate(&cluster, owner, None, String::new(), &image("v0.1.0")).unwrap();
        build(&valid, Scale::at_rest(replicas)).statefulset
    }

    #[test]
    fn nothing_but_the_number_of_pods_depends_on_the_number_of_pods() {
        let (mut three, five) = (built(3), built(5));
        let spec = three.spec.as_mut().unwrap();
        spec.replicas = Some(5);
        spec.update_strategy.as_mut().unwrap().rolling_update.as_mut().unwrap().partition = Some(5);
        assert_eq!(three, five);
    }

    /// Kubernetes refuses changes of these; a release that renders one differently could not update any cluster.
    #[test]
    fn what_never_changes_is_as_in_the_first_release() {
        let spec = built(3).spec.unwrap();
        let fixed = serde_json::json!({
            "selector": spec.selector,
            "serviceName": spec.service_name,
            "podManagementPolicy": spec.pod_management_policy,
            "volumeClaimTemplates": spec.volume_claim_templates,
        });
        let labels = serde_json::json!({"app.kubernetes.io/name": "fulmar-broker", "mqtt.fulmar.dev/cluster": "demo"});
        let first_release = serde_json::json!({
            "selector": {"matchLabels": labels},
            "serviceName": "demo-nodes",
            "podManagementPolicy": "Parallel",
            "volumeClaimTemplates": [{
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data", "labels": labels},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                    "volumeMode": "Filesystem",
                },
            }],
        });
        assert_eq!(fixed, first_release);
    }

    #[test]
    fn the_claim_template_keeps_the_size_that_the_cluster_was_made_with() {
        let mut larger = cluster();
        larger.spec.storage.size = "5Gi".to_owned();
        let owner = owner_reference(&larger).unwrap();
        let existing = built(3);
        let valid = validate(&larger, owner, Some(&existing), String::new(), &image("v0.1.0")).unwrap();
        assert_eq!(build(&valid, Scale::at_rest(3)).statefulset, existing);
    }

    #[test]
    fn volumes_go_only_if_asked_for_and_never_when_the_cluster_stops() {
        let policy = |retention: Option<StorageRetention>, replicas: i32| {
            let mut cluster = cluster();
            cluster.spec.storage.retention = retention;
            let owner = owner_reference(&cluster).unwrap();
            let valid = validate(&cluster, owner, None, String::new(), &image("v0.1.0")).unwrap();
            let spec = build(&valid, Scale::at_rest(replicas)).statefulset.spec.unwrap();
            let policy = spec.persistent_volume_claim_retention_policy.unwrap();
            (policy.when_deleted.unwrap(), policy.when_scaled.unwrap())
        };
        let (retain, delete) = ("Retain".to_owned(), "Delete".to_owned());
        assert_eq!(policy(None, 3), (retain.clone(), retain.clone()));
        let when_deleted = StorageRetention { when_deleted: Retention::Delete, ..StorageRetention::default() };
        assert_eq!(policy(Some(when_deleted), 3), (delete.clone(), retain.clone()));
        let when_scaled = StorageRetention { when_scaled: Retention::Delete, ..StorageRetention::default() };
        assert_eq!(policy(Some(when_scaled.clone()), 3), (retain.clone(), delete));
        assert_eq!(policy(Some(when_scaled), 0), (retain.clone(), retain));
    }

    #[test]
    fn a_newer_operator_applies_the_template_of_the_older_one() {
        let cluster = cluster();
        let owner = owner_reference(&cluster).unwrap();
        let mut newer = validate(&cluster, owner, None, String::new(), &image("v0.1.0")).unwrap();
        let mut template = built(3).spec.unwrap().template;
        template.spec.as_mut().unwrap().termination_grace_period_seconds = Some(1);
        let data = BTreeMap::from([("broker.yaml".to_owned(), "as it was".to_owned())]);
        newer.recorded = Some(Recorded { data: data.clone(), template: template.clone() });
        let found = build(&newer, Scale::at_rest(3));
        assert_eq!(found.statefulset.spec.unwrap().template, template);
        assert_eq!(found.config_map.data, Some(data));
    }
}
