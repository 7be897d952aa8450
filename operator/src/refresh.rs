//! What a changed number of clients costs: at most one write of the status in 15 seconds, and a whole reconciliation
//! only where the autoscaler wants another number of pods or the brokers have told what it waits for.
//!
//! The last reconciliation left what it saw and wrote. Whatever else changes begins a new one, by a watch.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fulmar_api::{MqttCluster, MqttClusterStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Resource, ResourceExt};

use crate::autoscale::{Memory, decide};
use crate::context::Context;
use crate::events::events_between;
use crate::failure::Failure;
use crate::identity::told_ids;
use crate::readings::{ClusterKey, ClusterReading, exists, load};
use crate::status::{report_load, write_status};

/// Numbers are written no more often.
const WRITE_EVERY: SignedDuration = SignedDuration::from_secs(15);

/// What the last reconciliation of a cluster saw and wrote.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// The resource as it is now, status and version included.
    pub(crate) cluster: MqttCluster,
    /// UID of the StatefulSet, and how many pods it is asked for.
    pub(crate) statefulset: Option<(String, i32)>,
    /// It waits for something that brokers tell: pods restart or hand over.
    pub(crate) awaits_brokers: bool,
    /// When numbers alone were written last.
    pub(crate) numbers_at: Option<Timestamp>,
}

/// The last reconciliation of every cluster; bounded by the clusters that exist.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    by_cluster: Mutex<HashMap<ClusterKey, Pass>>,
}

impl Passes {
    /// What a reconciliation left behind.
    pub(crate) fn note(&self, cluster: ClusterKey, pass: Pass) {
        self.lock().insert(cluster, pass);
    }

    /// The last one of a cluster.
    pub(crate) fn of(&self, cluster: &ClusterKey) -> Option<Pass> {
        self.lock().get(cluster).cloned()
    }

    /// Forgets every cluster of this namespace (`None`: of all) that does not exist any more.
    pub(crate) fn retain(&self, scope: Option<&str>, existing: &HashSet<ClusterKey>) {
        self.lock().retain(|key, _| exists(key, scope, existing));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterKey, Pass>> {
        self.by_cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What new numbers ask for.
#[derive(Debug, PartialEq)]
enum Step {
    /// All is said, or was said a moment ago.
    Nothing,
    /// This status says it.
    Write(Box<MqttClusterStatus>),
    /// The number of pods must change, or the brokers have told what is waited for.
    Reconcile,
}

/// Decides it, and what the autoscaler remembers.
fn next_step(
    pass: &Pass,
    pods: &[Pod],
    reading: &ClusterReading,
    memory: Memory,
    now: Timestamp,
    patience: SignedDuration,
) -> (Step, Memory) {
    let Pass { cluster, statefulset, awaits_brokers, numbers_at } = pass;
    let Some((_, replicas)) = statefulset else { return (Step::Nothing, memory) };
    if *awaits_brokers {
        return (Step::Reconcile, memory);
    }
    let load = load(&cluster.name_any(), *replicas, pods, reading, now, patience);
    let decision = cluster.spec.autoscaling.as_ref().map(|spec| decide(spec, &load, memory, now));
    if decision.as_ref().is_some_and(|decision| decision.replicas != *replicas) {
        return (Step::Reconcile, memory);
    }
    let is_named = cluster.status.as_ref().is_some_and(|status| status.cluster_id.is_some());
    if !is_named && !told_ids(pods, reading).is_empty() {
        return (Step::Reconcile, memory);
    }
    let remembered = decision.as_ref().map_or(memory, |decision| decision.memory);
    let old = cluster.status.clone().unwrap_or_default();
    let mut status = old.clone();
    report_load(&mut status, pods, reading, decision.as_ref(), None, cluster.metadata.generation, now);
    let is_early = numbers_at.is_some_and(|last| now.duration_since(last) < WRITE_EVERY);
    let step = if status == old || is_early { Step::Nothing } else { Step::Write(Box::new(status)) };
    (step, remembered)
}

/// Takes that step. Returns whether a reconciliation must follow.
pub(crate) async fn refresh(
    context: &Context,
    key: &ClusterKey,
    pods: &[Pod],
    now: Timestamp,
) -> Result<bool, Failure> {
    let Some(mut pass) = context.passes.of(key) else { return Ok(false) };
    let reading = context.readings.read(key, now, context.reading_age_max());
    let memory = context.readings.memory(key);
    let (step, memory) = next_step(&pass, pods, &reading, memory, now, context.reading_age_max());
    let status = match step {
        Step::Reconcile => return Ok(true),
        Step::Nothing => {
            context.readings.remember(key.clone(), memory);
            return Ok(false);
        }
        Step::Write(status) => status,
    };
    context.readings.remember(key.clone(), memory);
    let clusters: Api<MqttCluster> = Api::namespaced(context.client.clone(), &key.0);
    match write_status(&clusters, &pass.cluster, &status, pass.cluster.resource_version()).await {
        Ok(written) => {
            let before = pass.cluster.status.take().map(|status| status.conditions).unwrap_or_default();
            context.tell(&written.object_ref(&()), events_between(&before, &status.conditions)).await;
            context.passes.note(key.clone(), Pass { cluster: written, numbers_at: Some(now), ..pass });
            Ok(false)
        }
        // Somebody else changed the resource, perhaps a label; a reconciliation reads it again.
        Err(Failure::Api { source: kube::Error::Api(status), .. }) if status.is_conflict() || status.is_not_found() => {
            Ok(true)
        }
        Err(failure) => Err(failure),
    }
}
