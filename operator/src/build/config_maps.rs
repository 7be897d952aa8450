//! ConfigMaps: the brokers' configuration file, and the public part of the cluster's authority.

use std::collections::BTreeMap;

use fulmar_api::names;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};

use super::metadata::metadata;
use crate::broker_config::CONFIG_FILE;
use crate::record::TEMPLATE_FILE;
use crate::validate::ValidatedCluster;

/// The configuration file. It never changes under its name: another configuration has another name, so a pod that is
/// recreated in the middle of a roll finds what its own template was made for. What is on record for the input stays as
/// it is, whatever this release would render.
pub(super) fn build_config_map(cluster: &ValidatedCluster, template: &PodTemplateSpec) -> ConfigMap {
    let rendered = || {
        let template = serde_json::to_string(template).expect("a pod template can be written as JSON");
        BTreeMap::from([(CONFIG_FILE.to_owned(), cluster.config.to_yaml()), (TEMPLATE_FILE.to_owned(), template)])
    };
    ConfigMap {
        metadata: metadata(cluster, names::config_map(&cluster.name, &cluster.input_hash)),
        immutable: Some(true),
        data: Some(cluster.recorded.as_ref().map_or_else(rendered, |recorded| recorded.data.clone())),
        ..ConfigMap::default()
    }
}

/// What clients need to trust the listeners' self-signed certificates.
pub(super) fn build_authority(cluster: &ValidatedCluster) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, names::authority(&cluster.name)),
        data: Some(BTreeMap::from([("ca.crt".to_owned(), cluster.authority.clone())])),
        ..ConfigMap::default()
    }
}
