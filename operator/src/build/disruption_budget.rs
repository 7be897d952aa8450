//! The PodDisruptionBudget: kubectl drain and its like take one pod at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::{metadata, selector};
use crate::validate::ValidatedCluster;

pub(super) fn build_disruption_budget(cluster: &ValidatedCluster) -> Option<PodDisruptionBudget> {
    cluster.spec.pod_disruption_budget.enabled.then(|| PodDisruptionBudget {
        metadata: metadata(cluster, cluster.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(&cluster.name)),
            // A pod that does not serve protects nobody; keeping it would block the drain of a broken node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
