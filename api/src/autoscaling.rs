//! Scaling by the number of connected clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many pods a cluster may have and what decides it. The operator reads each pod's metrics every 15 seconds;
/// nothing else needs to be installed. While this is set, replicas is only the size at creation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.minReplicas <= self.maxReplicas", "message": "autoscaling.minReplicas must not be above autoscaling.maxReplicas"}
]))]
pub struct AutoscalingSpec {
    /// The fewest pods, at least 1.
    #[schemars(range(min = 1, max = 99))]
    pub min_replicas: i32,
    /// The most pods.
    #[schemars(range(min = 1, max = 99))]
    pub max_replicas: i32,
    /// What one pod should carry.
    pub targets: AutoscalingTargets,
    /// When pods are removed.
    #[serde(default)]
    pub scale_down: ScaleDownSpec,
}

/// What one pod should carry. Pods are added as soon as there is more than this for each of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingTargets {
    /// Connected clients per pod.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections_per_replica: i32,
}

/// When pods are removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDownSpec {
    /// How long fewer pods must have been enough before one is removed, in seconds; then the wait begins again.
    /// Default: 1800.
    #[serde(default = "default_stabilization_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub stabilization_seconds: i32,
}

impl Default for ScaleDownSpec {
    fn default() -> Self {
        Self { stabilization_seconds: default_stabilization_seconds() }
    }
}

fn default_stabilization_seconds() -> i32 {
    1800
}
