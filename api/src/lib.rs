//! The Fulmar Kubernetes API: resource types, labels and names, without I/O.
//!
//! A stranger meets these types through `kubectl explain`, so every field says what it does, in which unit and
//! what happens when it is left out. The API server checks what a schema or a CEL rule can express; the operator
//! checks the rest and answers with a condition.

mod autoscaling;
mod cluster;
mod condition;
mod crd;
pub mod labels;
mod listener;
pub mod names;
mod pods;
mod status;

pub use autoscaling::{AutoscalingSpec, AutoscalingTargets, ScaleDownSpec};
pub use cluster::{AuthSpec, ImagePullSecret, MqttCluster, MqttClusterSpec, PodDisruptionBudgetSpec};
pub use condition::{ConditionKind, Truth, condition, find_condition, set_condition};
pub use crd::crds;
pub use listener::{
    ClientAuth, ClientIdentity, ListenerLimits, ListenerProtocol, ListenerService, ListenerSpec, ListenerTls,
    SelfSigned, ServiceType,
};
pub use pods::{PodTemplate, Retention, StorageRetention, StorageSpec};
pub use status::{
    AutoscalingStatus, CertificateStatus, DrainStatus, EndpointStatus, MqttClusterStatus, NodeStatus, ShardStatus,
};
