//! The Kubernetes objects of a cluster, as values: one pure builder per object.
//!
//! A builder takes a `ValidatedCluster` and cannot fail. Secrets are not here: key material is made once, with POST,
//! in `keys.rs`, and never applied.

mod config_maps;
mod disruption_budget;
mod metadata;
mod service_account;
mod services;
mod statefulset;
mod template;

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::validate::ValidatedCluster;
pub(crate) use metadata::{object_labels, selector_text};
pub(crate) use template::{used_config_map, used_secrets};

/// Stage of [`Resources`] that only exist as values.
pub(crate) enum Built {}
/// Stage of [`Resources`] that the API server accepted, every one of them.
pub(crate) enum Applied {}

/// Every object of one cluster; only [`crate::apply`] turns `Built` into `Applied`.
pub(crate) struct Resources<Stage> {
    pub(crate) service_account: ServiceAccount,
    pub(crate) config_map: ConfigMap,
    pub(crate) authority: ConfigMap,
    pub(crate) services: Vec<Service>,
    pub(crate) disruption_budget: Option<PodDisruptionBudget>,
    pub(crate) statefulset: StatefulSet,
    pub(crate) stage: PhantomData<Stage>,
}

/// How many pods the StatefulSet makes, and from which on they are made from the newest template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) replicas: i32,
    pub(crate) partition: i32,
    /// Pods to wake together later.
    pub(crate) stopped: Option<i32>,
}

#[cfg(test)]
impl Scale {
    /// So many pods, none of which restarts when the template changes.
    pub(crate) fn at_rest(replicas: i32) -> Self {
        Self { replicas, partition: replicas, stopped: None }
    }
}

/// Everything that a cluster consists of.
pub(crate) fn build(cluster: &ValidatedCluster, scale: Scale) -> Resources<Built> {
    // A template that is on record for the same input is applied again, so that a newer operator, which may render it
    // differently, restarts nothing.
    let recorded = cluster.recorded.as_ref().map(|recorded| recorded.template.clone());
    let template = recorded.unwrap_or_else(|| template::build_template(cluster));
    Resources {
        service_account: service_account::build_service_account(cluster),
        config_map: config_maps::build_config_map(cluster, &template),
        authority: config_maps::build_authority(cluster),
        services: services::build_services(cluster),
        disruption_budget: disruption_budget::build_disruption_budget(cluster),
        statefulset: statefulset::build_statefulset(cluster, template, scale),
        stage: PhantomData,
    }
}
