//! What was applied for an input of the user, kept where no hand can edit it.
//!
//! Pods restart when their template changes, and a newer operator may render the same input differently. So the
//! template is kept as it was rendered first, beside the brokers' configuration, in the ConfigMap whose name holds the
//! hash of the input. That ConfigMap is immutable: the API server itself lets nobody change it, and one that is not
//! immutable is not believed. Nothing on the StatefulSet is: its template and annotations are set from here, so an edit
//! of them is undone like any other. If the ConfigMap is deleted, the template is rendered anew.

use std::collections::BTreeMap;

use fulmar_api::{MqttCluster, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use kube::{Api, Client, ResourceExt};

use crate::build::used_config_map;
use crate::failure::{During, Failure};
use crate::observe::is_controlled_by;

/// The key in the ConfigMap; it is not mounted into pods.
pub(crate) const TEMPLATE_FILE: &str = "pod-template.json";

/// What is on record for one input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    /// Everything in the ConfigMap, to be applied again word for word.
    pub(crate) data: BTreeMap<String, String>,
    /// The template that was rendered when the input was first seen, perhaps by an older operator.
    pub(crate) template: PodTemplateSpec,
}

/// Reads what is on record for the input of this hash.
pub(crate) async fn recall(client: &Client, cluster: &MqttCluster, hash: &str) -> Result<Option<Recorded>, Failure> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let name = names::config_map(&cluster.name_any(), hash);
    let found = config_maps.get_opt(&name).await.during("read what is on record")?;
    Ok(found.filter(|found| is_controlled_by(found, cluster)).and_then(recorded))
}

fn recorded(config_map: ConfigMap) -> Option<Recorded> {
    if config_map.immutable != Some(true) {
        return None;
    }
    let data = config_map.data?;
    let template = serde_json::from_str(data.get(TEMPLATE_FILE)?).ok()?;
    Some(Recorded { data, template })
}

/// The hash of the input that the pods of this StatefulSet run with.
pub(crate) fn running_hash(cluster: &str, statefulset: &StatefulSet) -> Option<String> {
    let pod = statefulset.spec.as_ref()?.template.spec.as_ref()?;
    used_config_map(pod)?.strip_prefix(&names::config_map(cluster, "")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(immutable: Option<bool>, template: &str) -> ConfigMap {
        let data = BTreeMap::from([(TEMPLATE_FILE.to_owned(), template.to_owned())]);
        ConfigMap { immutable, data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn only_what_the_api_server_lets_nobody_edit_is_believed() {
        assert!(recorded(config_map(Some(true), "{}")).is_some());
        assert_eq!(recorded(config_map(None, "{}")), None);
        assert_eq!(recorded(config_map(Some(false), "{}")), None);
        assert_eq!(recorded(config_map(Some(true), "nonsense")), None);
        assert_eq!(recorded(ConfigMap { immutable: Some(true), ..ConfigMap::default() }), None);
    }
}
