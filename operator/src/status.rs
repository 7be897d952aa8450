//! The status of a cluster, from what was seen and how the pipeline ended: a pure function, and the request that writes
//! it.
//!
//! `Ready=True` needs [`Resources<Applied>`]. A step that failed writes its own condition and keeps what the others
//! said before, or says that they could not be judged yet; numbers and rows always tell what is seen now.

use fulmar_api::{
    AuthSpec, AutoscalingStatus, ClientIdentity, ConditionKind, DrainStatus, EndpointStatus, ListenerSpec, MqttCluster,
    MqttClusterStatus, ShardStatus, Truth, condition, find_condition, labels, names, set_condition,
};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::autoscale::{Decision, Reason};
use crate::build::{Applied, Resources, selector_text};
use crate::drain;
use crate::failure::{During, Failure};
use crate::identity::Identity;
use crate::keys::Keys;
use crate::observe::Observed;
use crate::pods::{failure as pod_failure, is_ready, node_status, out_of_memory};
use crate::readings::ClusterReading;
use crate::roll;

/// Rows in the status; the schema has the same bound.
const NODES_MAX: usize = 100;

/// What one reconciliation came to.
pub(crate) struct Outcome {
    /// The certificates, where that step was reached.
    pub(crate) keys: Option<Keys>,
    /// Which cluster the brokers are, where that step was reached.
    pub(crate) identity: Option<Identity>,
    /// Which volume does not grow, and why.
    pub(crate) not_grown: Option<String>,
    /// A pod that hands over what it keeps before there is one less.
    pub(crate) drain: Option<drain::Progress>,
    /// A roll that is not over.
    pub(crate) roll: Option<roll::Progress>,
    /// The version of the brokers, where pods were asked to run it.
    pub(crate) version: Option<String>,
    /// Why pods wait for a Secret of the user, while all else was applied.
    pub(crate) held: Option<Failure>,
    /// Everything applied, or the step that failed.
    pub(crate) applied: Result<Resources<Applied>, Failure>,
}

impl Outcome {
    /// Where it ended at once, and nothing else is known.
    pub(crate) fn of(applied: Result<Resources<Applied>, Failure>) -> Self {
        Self {
            keys: None,
            identity: None,
            not_grown: None,
            drain: None,
            roll: None,
            version: None,
            held: None,
            applied,
        }
    }
}

/// Everything a status is made from.
pub(crate) struct Seen<'a> {
    pub(crate) cluster: &'a MqttCluster,
    pub(crate) observed: &'a Observed,
    pub(crate) reading: &'a ClusterReading,
    pub(crate) decision: Option<&'a Decision>,
    pub(crate) now: Timestamp,
}

/// The status to write.
pub(crate) fn report(seen: &Seen<'_>, outcome: &Outcome) -> MqttClusterStatus {
    let Seen { cluster, observed, reading, decision, now } = seen;
    let mut status = cluster.status.clone().unwrap_or_default();
    status.observed_generation = cluster.metadata.generation;
    status.selector = selector_text(&cluster.name_any());
    if outcome.version.is_some() {
        status.version.clone_from(&outcome.version);
    }
    let services = outcome.applied.as_ref().map_or(&observed.services, |resources| &resources.services);
    status.endpoints = endpoints(cluster, services);
    if let Some(identity) = &outcome.identity {
        status.cluster_id = identity.id.map(|id| id.to_string());
    }
    if let Some(keys) = &outcome.keys {
        status.certificates.clone_from(&keys.certificates);
    }
    status.drain = outcome.drain.as_ref().map(drain_status);
    let statefulset = match &outcome.applied {
        Ok(resources) => Some(&resources.statefulset),
        Err(_) => observed.statefulset.as_ref(),
    };
    let counts = statefulset.and_then(|statefulset| statefulset.status.clone()).unwrap_or_default();
    status.replicas = counts.replicas;
    status.ready_replicas = counts.ready_replicas.unwrap_or_default();
    status.updated_replicas = counts.updated_replicas.unwrap_or_default();
    let wanted_and_not = decision.filter(|decision| Some(decision.replicas) != observed.replicas());
    let obstacle = wanted_and_not.and(outcome.applied.as_ref().err());
    report_load(&mut status, &observed.pods, reading, *decision, obstacle, cluster.metadata.generation, *now);

    let failure = outcome.held.as_ref().or(outcome.applied.as_ref().err());
    // Each condition is set once, so that the time of its last change is true.
    let failed = failure.and_then(Failure::condition);
    let mut set = |kind, truth: Truth, reason: &str, message: &str| {
        set_condition(
            &mut status.conditions,
            condition(kind, truth, reason, message, cluster.metadata.generation, Time(*now)),
        );
    };
    let ready = counts.ready_replicas.unwrap_or_default();
    match statefulset {
        Some(_) if ready > 0 => {
            set(ConditionKind::Available, Truth::True, "Serving", &format!("{ready} pods serve clients"));
        }
        _ if cluster.spec.replicas == 0 && cluster.spec.autoscaling.is_none() => {
            set(
                ConditionKind::Available,
                Truth::False,
                "Hibernating",
                "replicas is 0: all brokers are stopped and their volumes are kept",
            );
        }
        _ => set(ConditionKind::Available, Truth::False, "NoPodReady", "no pod serves clients"),
    }
    match &outcome.keys {
        _ if matches!(failed, Some((ConditionKind::CertificatesReady, ..))) => {}
        Some(Keys { complaint: Some(complaint), .. }) => {
            set(ConditionKind::CertificatesReady, Truth::False, "CertificateEnded", complaint);
        }
        Some(_) => set(ConditionKind::CertificatesReady, Truth::True, "Issued", "every certificate is there and valid"),
        None => {}
    }
    if let Ok(resources) = &outcome.applied {
        if outcome.held.is_none() {
            let message = format!("the settings are in ConfigMap {}", resources.config_map.name_any());
            set(ConditionKind::ConfigApplied, Truth::True, "Accepted", &message);
        }
        let progress = progress(resources, outcome);
        let (reason, message) = match (&progress, &outcome.held) {
            (Some((reason, progress)), _) => (*reason, progress.clone()),
            (None, Some(_)) => ("Waiting", "every pod runs as before".to_owned()),
            (None, None) => ("Complete", "every pod runs as asked for".to_owned()),
        };
        set(ConditionKind::Progressing, Truth::from(progress.is_some()), reason, &message);
        if failed.is_none() {
            let (truth, reason, message) = readiness(resources, progress, complaint(outcome));
            set(ConditionKind::Ready, truth, reason, &message);
        }
    }
    if let (Some(failure), Some((kind, truth, reason))) = (failure, failed) {
        let message = failure.to_string();
        if kind != ConditionKind::Degraded {
            set(kind, Truth::from(truth), reason, &message);
        }
        set(ConditionKind::Ready, Truth::False, reason, &message);
    }
    let mut judged = degradation(cluster, observed, failure, complaint(outcome), *now);
    if let (Truth::False, Some(not_grown)) = (judged.0, &outcome.not_grown) {
        judged = (Truth::True, "VolumeNotGrown", not_grown.clone());
    }
    if let (Truth::False, Some(drain)) = (judged.0, outcome.drain.as_ref().filter(|drain| drain.is_slow)) {
        let message = format!("{} has been handing over since {}: {}", drain.pod, drain.since, drain.message);
        judged = (Truth::True, "DrainStalled", message);
    }
    let (degraded, reason, message) = judged;
    set(ConditionKind::Degraded, degraded, reason, &message);
    report_unjudged(&mut status, seen, failure);
    status
}

/// The conditions that no step has judged yet, with what they wait for.
fn report_unjudged(status: &mut MqttClusterStatus, seen: &Seen<'_>, failure: Option<&Failure>) {
    let steps = [ConditionKind::Progressing, ConditionKind::ConfigApplied, ConditionKind::CertificatesReady];
    // Without autoscaling there is nothing to say about it.
    let scaling = seen.cluster.spec.autoscaling.as_ref().map(|_| ConditionKind::ScalingActive);
    for kind in steps.into_iter().chain(scaling) {
        // What is unknown was written here, by an earlier report.
        let is_judged = find_condition(&status.conditions, kind)
            .is_some_and(|condition| condition.status != Truth::Unknown.as_str());
        if is_judged {
            continue;
        }
        let message = match failure {
            Some(failure) => format!("not judged yet, another step comes first: {failure}"),
            None => "not judged yet: waiting for the StatefulSet that was just made".to_owned(),
        };
        let unjudged = condition(
            kind,
            Truth::Unknown,
            "NotReconciled",
            &message,
            seen.cluster.metadata.generation,
            Time(seen.now),
        );
        set_condition(&mut status.conditions, unjudged);
    }
}

/// What the brokers said and what the autoscaler makes of it; `obstacle` is what kept its decision from being applied.
pub(crate) fn report_load(
    status: &mut MqttClusterStatus,
    pods: &[Pod],
    reading: &ClusterReading,
    decision: Option<&Decision>,
    obstacle: Option<&Failure>,
    generation: Option<i64>,
    now: Timestamp,
) {
    status.nodes = pods.iter().take(NODES_MAX).map(|pod| node_status(pod, reading)).collect();
    let connections: Vec<i64> = status.nodes.iter().filter_map(|node| node.connections).collect();
    status.shards = shards(pods, reading);
    status.connections = (!connections.is_empty()).then(|| connections.iter().sum());
    let Some(decision) = decision else {
        status.autoscaling = None;
        status.conditions.retain(|condition| condition.type_ != ConditionKind::ScalingActive.as_str());
        return;
    };
    let (active, reason, message) = match obstacle {
        // What is in force is what was decided before.
        Some(obstacle) => {
            let message = format!("{} replicas are wanted and were not applied: {obstacle}", decision.replicas);
            (false, "NotApplied", message)
        }
        None => {
            status.autoscaling = Some(AutoscalingStatus {
                desired_replicas: decision.replicas,
                reason: decision.message.clone(),
                hold_until: decision.hold_until.map(Time),
            });
            (decision.reason != Reason::MetricsMissing, decision.reason.as_str(), decision.message.clone())
        }
    };
    let active = condition(ConditionKind::ScalingActive, active, reason, &message, generation, Time(now));
    set_condition(&mut status.conditions, active);
}

/// The shards, as their leaders told of them; `None` as long as nobody did.
fn shards(pods: &[Pod], reading: &ClusterReading) -> Option<ShardStatus> {
    let read = pods.iter().filter_map(|pod| {
        let read = reading.get(&pod.name_any()).filter(|read| pod.uid().as_deref() == Some(read.uid.as_str()))?;
        Some((read.told.shards?, read.told.shards_healthy?))
    });
    read.reduce(|(total, healthy), (other, more)| (total.max(other), healthy.saturating_add(more)))
        .map(|(total, healthy)| ShardStatus { total, healthy })
}

/// Writes it, if the resource is still the one that was read; with `version`, also only if nobody changed it since.
pub(crate) async fn write_status(
    clusters: &Api<MqttCluster>,
    cluster: &MqttCluster,
    status: &MqttClusterStatus,
    version: Option<String>,
) -> Result<MqttCluster, Failure> {
    let name = cluster.name_any();
    // The UID keeps the status of a deleted cluster away from a new one of its name.
    let mut patch = json!({
        "apiVersion": MqttCluster::api_version(&()),
        "kind": MqttCluster::kind(&()),
        "metadata": {"name": name, "uid": cluster.uid()},
        "status": status,
    });
    if let Some(version) = version {
        patch["metadata"]["resourceVersion"] = version.into();
    }
    let parameters = PatchParams::apply(labels::MANAGER).force();
    clusters.patch_status(&name, &parameters, &Patch::Apply(&patch)).await.during("write the status")
}

fn readiness(
    resources: &Resources<Applied>,
    progress: Option<(&'static str, String)>,
    complaint: Option<(&'static str, &str)>,
) -> (Truth, &'static str, String) {
    if let Some((reason, complaint)) = complaint {
        return (Truth::False, reason, complaint.to_owned());
    }
    match progress {
        Some((reason, progress)) => (Truth::False, reason, progress),
        None if wanted(&resources.statefulset) == 0 => {
            (Truth::True, "Hibernating", "replicas is 0: all brokers are stopped and their volumes are kept".to_owned())
        }
        None => {
            let pods = wanted(&resources.statefulset);
            (Truth::True, "Serving", format!("{pods} of {pods} pods serve clients"))
        }
    }
}

fn wanted(statefulset: &StatefulSet) -> i32 {
    statefulset.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default()
}

/// What is wrong although every step was taken, with its reason.
fn complaint(outcome: &Outcome) -> Option<(&'static str, &str)> {
    let certificates = outcome.keys.as_ref().and_then(|keys| keys.complaint.as_deref());
    let identity = outcome.identity.as_ref().and_then(|identity| identity.complaint.as_deref());
    let certificates = certificates.map(|complaint| ("CertificateEnded", complaint));
    certificates.or_else(|| identity.map(|complaint| ("ClusterIdDiffers", complaint)))
}

fn drain_status(drain: &drain::Progress) -> DrainStatus {
    let drain::Progress { pod, since, report, message, is_slow: _ } = drain;
    DrainStatus {
        pod: pod.clone(),
        since: Time(*since),
        leaders: report.map(|report| report.leaders.into()),
        replicas: report.map(|report| report.replicas.into()),
        clients: report.map(|report| report.clients.into()),
        message: message.clone(),
    }
}

/// What is still on its way, with its reason; `None` when every pod runs the newest template and is ready.
fn progress(resources: &Resources<Applied>, outcome: &Outcome) -> Option<(&'static str, String)> {
    if let Some(drain) = &outcome.drain {
        return Some(("Draining", format!("{} hands over before it is removed: {}", drain.pod, drain.message)));
    }
    let (reason, told) = match (&outcome.roll, counted(resources)) {
        (None, counted) => return Some(("Progressing", counted?)),
        (Some(roll::Progress::Held(told)), counted) => ("RollHeld", [counted, Some(told.clone())]),
        (Some(roll::Progress::Going(told)), counted) => ("Rolling", [counted, Some(told.clone())]),
    };
    let mut told: Vec<String> = told.into_iter().flatten().collect();
    told.dedup();
    Some((reason, told.join("; ")))
}

/// The same by the numbers of Kubernetes alone.
fn counted(resources: &Resources<Applied>) -> Option<String> {
    let statefulset = &resources.statefulset;
    let wanted = wanted(statefulset);
    let Some(StatefulSetStatus {
        replicas,
        ready_replicas,
        observed_generation,
        current_revision,
        update_revision,
        updated_replicas,
        ..
    }) = statefulset.status.clone()
    else {
        return Some(format!("0 of {wanted} pods are ready"));
    };
    let ready = ready_replicas.unwrap_or_default();
    if observed_generation < statefulset.metadata.generation {
        return Some("the StatefulSet controller has not yet seen the last change".to_owned());
    }
    if replicas > wanted {
        return Some(format!("{replicas} pods exist, {wanted} are wanted"));
    }
    let updated = updated_replicas.unwrap_or_default();
    if current_revision != update_revision && updated < wanted {
        return Some(format!("{updated} of {wanted} pods run the newest template"));
    }
    (ready < wanted).then(|| format!("{ready} of {wanted} pods are ready"))
}

/// What needs a human, the nearest cause first.
fn degradation(
    cluster: &MqttCluster,
    observed: &Observed,
    failure: Option<&Failure>,
    complaint: Option<(&'static str, &str)>,
    now: Timestamp,
) -> (Truth, &'static str, String) {
    if let Some(failure) = failure.filter(|failure| !failure.is_passing())
        && let Some((.., reason)) = failure.condition()
    {
        return (Truth::True, reason, failure.to_string());
    }
    if let Some((reason, complaint)) = complaint {
        return (Truth::True, reason, complaint.to_owned());
    }
    let killed: Vec<_> = observed.pods.iter().filter_map(|pod| out_of_memory(pod, now)).collect();
    let failing = observed.pods.iter().filter(|pod| !is_ready(pod) && out_of_memory(pod, now).is_none());
    let failing = failing.filter_map(|pod| Some(format!("{}: {}", pod.name_any(), pod_failure(pod)?)));
    let reason = if killed.is_empty() { "PodsFailing" } else { "OutOfMemory" };
    let all: Vec<_> = killed.into_iter().chain(failing).collect();
    if !all.is_empty() {
        return (Truth::True, reason, all.join("; "));
    }
    let closed = closed_listeners(cluster);
    if !closed.is_empty() {
        let message = format!(
            "no way to authenticate is set for listener {}, so every CONNECT is refused with reason code 0x87: set auth.usersSecretName for users with passwords, or set auth.anonymous to true to let everybody in",
            closed.join(", ")
        );
        return (Truth::True, "NoAuthentication", message);
    }
    (Truth::False, "AsExpected", "nothing needs attention".to_owned())
}

/// Listeners by which nobody can come in.
fn closed_listeners(cluster: &MqttCluster) -> Vec<&str> {
    let AuthSpec { anonymous, users_secret_name, acl_secret_name: _ } = &cluster.spec.auth;
    if *anonymous || users_secret_name.is_some() {
        return Vec::new();
    }
    let names_clients =
        |listener: &&ListenerSpec| listener.tls.as_ref().is_some_and(|tls| tls.client_identity != ClientIdentity::None);
    let closed = cluster.spec.listeners.iter().filter(|listener| !names_clients(listener));
    closed.map(|listener| listener.name.as_str()).collect()
}

/// Where clients reach the listeners whose Service exists.
fn endpoints(cluster: &MqttCluster, services: &[Service]) -> Vec<EndpointStatus> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let mut endpoints = Vec::new();
    for listener in &cluster.spec.listeners {
        let service = names::listener_service(&name, &listener.name);
        let Some(found) = services.iter().find(|found| found.name_any() == service) else { continue };
        let mut add = |host: &str| {
            let uri = format!("{}://{host}:{}", listener.protocol.scheme(), listener.port);
            endpoints.push(EndpointStatus { listener: listener.name.clone(), uri });
        };
        add(&format!("{service}.{namespace}.svc"));
        let balancer = found.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.clone());
        for ingress in balancer.unwrap_or_default() {
            match (&ingress.hostname, &ingress.ip) {
                (Some(host), _) => add(host),
                (None, Some(address)) if address.contains(':') => add(&format!("[{address}]")),
                (None, Some(address)) => add(address),
                (None, None) => {}
            }
        }
    }
    endpoints.truncate(64);
    endpoints
}

#[cfg(test)]
mod tests;
