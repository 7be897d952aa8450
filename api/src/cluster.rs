//! `MqttCluster`: what a user asks for.

// Each printer column is an attribute of its own, and several have the same type.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AutoscalingSpec, ListenerSpec, MqttClusterStatus, PodTemplate, StorageSpec};

/// What the cluster should be. The operator brings up a StatefulSet of broker pods that share one space of topics.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mqtt.fulmar.dev",
    version = "v1alpha1",
    kind = "MqttCluster",
    plural = "mqttclusters",
    shortname = "mqttc",
    category = "all",
    namespaced,
    status = "MqttClusterStatus",
    derive = "PartialEq",
    doc = "A cluster of MQTT 3.1.1 and 5.0 brokers. Its status tells in conditions, events and rows per node how it fares.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the cluster is as asked for and every pod serves"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas", description = "Existing pods"),
    printcolumn(
        name = "Available",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Pods that serve clients"
    ),
    printcolumn(
        name = "Connections",
        type_ = "integer",
        json_path = ".status.connections",
        description = "Clients connected to all pods"
    ),
    printcolumn(
        name = "Shards",
        type_ = "integer",
        json_path = ".status.shards.healthy",
        description = "Shards of which every copy has caught up",
        priority = 1
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Version of the brokers"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why the cluster is ready or not",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct MqttClusterSpec {
    /// Version of the brokers, a tag of the broker image such as v0.1.0. Unset: the operator's own version when the
    /// cluster is created, kept from then on, so that a new operator restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 128), regex(pattern = r"^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$"))]
    pub version: Option<String>,
    /// Full reference of the broker image, in place of the operator's image at the given version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Secrets of type kubernetes.io/dockerconfigjson in the same namespace, for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<ImagePullSecret>,
    /// Number of broker pods. kubectl scale and a HorizontalPodAutoscaler write it through the scale subresource.
    /// 0 stops all brokers and keeps their volumes. With autoscaling it is only the size at creation. Default: 3.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 99))]
    pub replicas: i32,
    /// What clients connect to: 1 to 16 listeners with distinct names and ports.
    #[schemars(length(min = 1, max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = [
            {"rule": "self.all(a, self.exists_one(b, b.port == a.port))", "message": "two listeners have the same port"},
            {"rule": "self.all(a, self.all(b, a.port == b.port || (a.port < 1024 ? a.port + 10000 : a.port) != (b.port < 1024 ? b.port + 10000 : b.port)))",
             "message": "two listeners have the same port inside the pod, where ports below 1024 are moved up by 10000"}
        ]
    ))]
    pub listeners: Vec<ListenerSpec>,
    /// Who may connect, and who may do what.
    #[serde(default)]
    pub auth: AuthSpec,
    /// Further settings of the broker, in the form of its configuration file: auth, cluster, limits, log, memory,
    /// shutdown and threads. What the operator sets itself (names, listeners, addresses, certificates) is refused. A
    /// setting that the broker does not know or allow is named in condition ConfigApplied, and the running pods keep
    /// theirs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "crate::crd::any_object")]
    pub config: Map<String, Value>,
    /// The volume of each pod. Once the cluster exists its size may grow and its retention may change.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "(has(self.storageClassName) ? self.storageClassName : '') == (has(oldSelf.storageClassName) ? oldSelf.storageClassName : '')",
         "message": "storage.storageClassName cannot be changed once the cluster exists: Kubernetes moves no volume to another class"},
        {"rule": "!quantity(self.size).isLessThan(quantity(oldSelf.size))",
         "message": "storage.size cannot become less: Kubernetes makes no volume smaller"}
    ]))]
    pub storage: StorageSpec,
    /// CPU and memory of each broker container. The broker sizes its threads and limits by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Settings of the pods that Kubernetes interprets: labels, scheduling, security.
    #[serde(default)]
    pub pod_template: PodTemplate,
    /// Protection against voluntary disruptions such as kubectl drain.
    #[serde(default)]
    pub pod_disruption_budget: PodDisruptionBudgetSpec,
    /// Scaling by the number of connected clients. Unset: replicas decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingSpec>,
}

fn default_replicas() -> i32 {
    3
}

/// A Secret with credentials for an image registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePullSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Who may connect, and who may do what. The Secrets are yours: brokers read them again within two minutes of a change,
/// without a restart, and only clients that lost a right are disconnected. What is wrong with one is named in condition
/// ConfigApplied by its line, and brokers go on with the last good content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthSpec {
    /// Whether clients may connect without credentials. Default: false. A listener with no other way to authenticate,
    /// by usersSecretName or by its tls.clientIdentity, then refuses every CONNECT with reason code 0x87 (not
    /// authorized), and condition Degraded says so.
    #[serde(default)]
    pub anonymous: bool,
    /// Name of a Secret in the same namespace with the key users: a line NAME:HASH for each user, where the hash is made
    /// by "fulmar-broker passwd NAME" (argon2id) or by mosquitto_passwd. Clients then connect with user name and
    /// password. A wrong password and an unknown user are both answered with reason code 0x86.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub users_secret_name: Option<String>,
    /// Name of a Secret in the same namespace with the key access.yaml: rules that allow or deny users and client ids to
    /// publish and subscribe, the first that matches decides, and bans. What no rule speaks of is denied, unless the
    /// file says "default: allow". Unset: whoever is let in may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub acl_secret_name: Option<String>,
}

/// Protection against voluntary disruptions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodDisruptionBudgetSpec {
    /// Whether a PodDisruptionBudget with maxUnavailable 1 is kept for the pods. Default: true.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

impl Default for PodDisruptionBudgetSpec {
    fn default() -> Self {
        Self { enabled: enabled() }
    }
}

fn enabled() -> bool {
    true
}
