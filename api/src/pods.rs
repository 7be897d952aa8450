//! What a cluster's pods look like and what they keep.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, PodSecurityContext, Toleration, TopologySpreadConstraint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the pods that Kubernetes interprets. Changing one restarts the pods, one at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels added to the pods. Those that the operator sets itself win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "crate::crd::string_map")]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "crate::crd::string_map")]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have to run one of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "crate::crd::string_map")]
    pub node_selector: BTreeMap<String, String>,
    /// Scheduling constraints. Unset: pods prefer nodes on which no other pod of the cluster runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints of nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// How pods spread over zones and nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Security settings of the pods. Fields left out keep the operator's: user and group 65532, not root, seccomp
    /// RuntimeDefault, which fits the Pod Security level "restricted".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
}

/// The volume of each pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size of the volume as a Kubernetes quantity, for example 10Gi. Default: 1Gi. More of it makes the volumes of all
    /// pods grow without a restart, where their storage class allows that; otherwise condition Degraded says
    /// VolumeNotGrown.
    #[serde(default = "default_size")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-validations" = [
        {"rule": "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
         "message": "storage.size must be a positive quantity, for example 1Gi"}
    ]))]
    pub size: String,
    /// StorageClass of the volume. Unset: the default class of the Kubernetes cluster. It cannot be changed once the
    /// cluster exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of volumes that nobody uses any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<StorageRetention>,
}

/// What becomes of volumes that nobody uses any more. Those of a stopped cluster (replicas: 0) always stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageRetention {
    /// Whether volumes stay (Retain) or go (Delete) when the MqttCluster is deleted. Default: Retain.
    #[serde(default)]
    pub when_deleted: Retention,
    /// Whether the volume of a pod stays (Retain) or goes (Delete) when there are fewer pods, after the pod has handed
    /// over all that it kept. Default: Retain.
    #[serde(default)]
    pub when_scaled: Retention,
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// It stays with all that is on it.
    #[default]
    Retain,
    /// It goes, and all that is on it.
    Delete,
}

impl Retention {
    /// The name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
        }
    }
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size: default_size(), storage_class_name: None, retention: None }
    }
}

fn default_size() -> String {
    "1Gi".to_owned()
}
