//! Names, labels and owner of every object of a cluster.

use std::collections::BTreeMap;

use fulmar_api::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::validate::ValidatedCluster;

/// Metadata of an object of this name: ours, and found again by its labels.
pub(super) fn metadata(cluster: &ValidatedCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(object_labels(&cluster.name)),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// Labels of every object of a cluster, Secrets included.
pub(crate) fn object_labels(cluster: &str) -> BTreeMap<String, String> {
    let mut labels = pod_selector(cluster);
    labels.insert(labels::APP_INSTANCE.to_owned(), cluster.to_owned());
    labels.insert(labels::APP_COMPONENT.to_owned(), "broker".to_owned());
    labels.insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    labels
}

/// Labels that select a cluster's pods. The StatefulSet keeps them for ever, so there are only two.
pub(crate) fn pod_selector(cluster: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::APP_NAME.to_owned(), labels::APP.to_owned()),
        (labels::CLUSTER.to_owned(), cluster.to_owned()),
    ])
}

/// The same as a selector.
pub(super) fn selector(cluster: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(pod_selector(cluster)), ..LabelSelector::default() }
}

/// The same in the form of a query and of `status.selector`.
pub(crate) fn selector_text(cluster: &str) -> String {
    pod_selector(cluster).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
