//! `MqttCluster` status: what the operator saw.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator last saw of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MqttClusterStatus {
    /// The generation of the spec that this status is about. Below metadata.generation the operator has not yet seen
    /// the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Existing pods; the scale subresource reports it.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that serve clients.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods that run the newest template.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Label selector of the pods, as a HorizontalPodAutoscaler needs it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Version of the brokers, or the full image where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The id of the cluster that the brokers are members of, as ConfigMap NAME-identity keeps it. Unset until they told
    /// it; brokers that keep nothing have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Clients connected to all pods that answered. Unset until a pod answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// The shards of what the cluster keeps. Unset until brokers told of them; those that keep nothing have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardStatus>,
    /// The pod that hands over what it keeps before there is one less. Unset while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// One row for each pod, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub nodes: Vec<NodeStatus>,
    /// Where clients reach the listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub endpoints: Vec<EndpointStatus>,
    /// The certificates in use and when they end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["secretName"]))]
    pub certificates: Vec<CertificateStatus>,
    /// What the autoscaler decided last. Unset without autoscaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,
    /// Ready: as asked for, and every pod serves. Available: at least one pod serves. Progressing: pods are being
    /// added, removed or restarted. Degraded: something needs a human. ConfigApplied: the settings were accepted.
    /// CertificatesReady: every certificate is there. ScalingActive: the autoscaler can decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One broker pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name of the pod.
    pub name: String,
    /// Whether it serves clients.
    pub ready: bool,
    /// The Kubernetes node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Clients connected to it, when it answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// Shards that it leads, when it answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaders: Option<i32>,
    /// Whether all copies on it have what is committed, when it answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught_up: Option<bool>,
    /// How often its broker was restarted.
    #[serde(default)]
    pub restarts: i32,
    /// Why it does not serve, in the words of Kubernetes or of the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The shards of what a cluster keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// Shards there are.
    pub total: i32,
    /// Those of which every copy has caught up, as far as their leaders told.
    pub healthy: i32,
}

/// A pod that hands over what it keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Name of the pod.
    pub pod: String,
    /// Since when the operator has wanted it.
    pub since: Time,
    /// Leaderships that are left on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaders: Option<i64>,
    /// Copies that are left on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Clients that are left on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<i64>,
    /// What happens, or what is waited for.
    pub message: String,
}

/// Where clients reach a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Name of the listener.
    pub listener: String,
    /// URI for clients, for example mqtt://quickstart-mqtt.default.svc:1883.
    pub uri: String,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The Secret that holds it.
    pub secret_name: String,
    /// When it ends.
    pub not_after: Time,
}

/// What the autoscaler decided last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingStatus {
    /// Pods it wants.
    pub desired_replicas: i32,
    /// Why, with the numbers it decided on.
    pub reason: String,
    /// Until when fewer pods must be enough before one is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Time>,
}
