//! One reconciliation, the whole story: fetch, decide, ensure keys, validate, build, apply, prune, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_api::{MqttCluster, MqttClusterStatus, labels};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::apply::{apply, prune};
use crate::autoscale::{Decision, decide};
use crate::build::{Applied, Resources, build};
use crate::context::Context;
use crate::events::{event, events_between};
use crate::failure::{During, Failure};
use crate::keys::ensure_keys;
use crate::observe::{Observed, observe};
use crate::readings::{ClusterReading, load};
use crate::status::{Outcome, Seen, report};
use crate::validate::{owner_reference, validate};

/// After a failure that only passes when somebody acts, the next try comes with their change, or after this.
const REFUSED_RETRY: Duration = Duration::from_secs(30);
/// After the API server could not be asked.
const PASSING_RETRY: Duration = Duration::from_secs(2);

/// Brings one cluster closer to what its resource asks for, and writes down how it fares.
pub(crate) async fn reconcile(
    known: Arc<PartialObjectMeta<MqttCluster>>,
    context: Arc<Context>,
) -> Result<Action, Failure> {
    let started = Instant::now();
    let now = Timestamp::now();
    let clusters: Api<MqttCluster> = Api::namespaced(context.client.clone(), &known.namespace().unwrap_or_default());
    let Some(cluster) = clusters.get_opt(&known.name_any()).await.during("read the MqttCluster")? else {
        return Ok(Action::await_change());
    };
    if cluster.meta().deletion_timestamp.is_some() {
        // Everything goes by its owner reference; the claims have none and stay.
        return Ok(Action::await_change());
    }
    context.secrets.note(&cluster);

    let observed = observe(&context.client, &cluster).await?;
    let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let reading = context.readings.read(&key, now, context.reading_age_max());
    let decision = autoscale(&cluster, &observed, &reading, &context, now);
    let replicas = replicas(&cluster, &observed, decision.as_ref());

    // Boxed, because every await point below would carry its size.
    let outcome = Box::pin(advance(&cluster, &observed, replicas, &context, now)).await;
    if let Err(failure @ Failure::Api { .. }) = outcome.applied {
        return Err(failure);
    }
    if let (Ok(_), Some(decision)) = (&outcome.applied, &decision) {
        context.readings.remember(key, decision.memory);
    }
    let seen = Seen { cluster: &cluster, observed: &observed, reading: &reading, decision: decision.as_ref(), now };
    let status = report(&seen, &outcome);
    tell(&cluster, &observed, &status, &outcome, replicas, &context).await;
    if cluster.status.as_ref() != Some(&status) {
        write_status(&clusters, &cluster, &status).await?;
    }
    context.metrics.reconcile_seconds.observe(started.elapsed().as_secs_f64());

    outcome.applied?;
    let hold = decision.and_then(|decision| decision.hold_until);
    let hold = hold.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    let next = context.settings.resync().min(hold.unwrap_or(Duration::MAX));
    Ok(Action::requeue(next.max(Duration::from_secs(1))))
}

/// The steps that change something. The first that fails ends it, and the cluster goes on as it was.
async fn advance(
    cluster: &MqttCluster,
    observed: &Observed,
    replicas: i32,
    context: &Context,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome { keys: None, version: None, applied: Err(Failure::Keys(anyhow::anyhow!("not begun"))) };
    outcome.applied = Box::pin(steps(cluster, observed, replicas, context, now, &mut outcome)).await;
    outcome
}

async fn steps(
    cluster: &MqttCluster,
    observed: &Observed,
    replicas: i32,
    context: &Context,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<Resources<Applied>, Failure> {
    let owner = owner_reference(cluster)
        .ok_or_else(|| Failure::Keys(anyhow::anyhow!("the MqttCluster has no UID, so nothing can belong to it")))?;
    let keys = ensure_keys(&context.client, cluster, &owner, now).await?;
    let authority = keys.authority.clone();
    let keys = outcome.keys.insert(keys);
    let image = &context.settings.broker_image;
    let valid = validate(cluster, owner, observed.statefulset.as_ref(), authority, image).map_err(Failure::Config)?;
    outcome.version = Some(valid.image.version.clone());
    let applied = Box::pin(apply(&context.client, cluster, build(&valid, replicas))).await?;
    prune(&context.client, cluster, &applied, &keys.secrets, &observed.pods).await?;
    Ok(applied)
}

fn autoscale(
    cluster: &MqttCluster,
    observed: &Observed,
    reading: &ClusterReading,
    context: &Context,
    now: Timestamp,
) -> Option<Decision> {
    let spec = cluster.spec.autoscaling.as_ref()?;
    observed.statefulset.as_ref()?;
    let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    Some(decide(spec, &load(&cluster.name_any(), observed, reading), context.readings.memory(&key), now))
}

/// How many pods there should be: the autoscaler's word, or the user's.
fn replicas(cluster: &MqttCluster, observed: &Observed, decision: Option<&Decision>) -> i32 {
    match (&cluster.spec.autoscaling, decision) {
        (Some(_), Some(decision)) => decision.replicas,
        (Some(spec), None) => {
            observed.replicas().unwrap_or(cluster.spec.replicas).clamp(spec.min_replicas, spec.max_replicas)
        }
        (None, _) => cluster.spec.replicas,
    }
}

/// Events are for people; one that cannot be written stops nothing.
async fn tell(
    cluster: &MqttCluster,
    observed: &Observed,
    status: &MqttClusterStatus,
    outcome: &Outcome,
    replicas: i32,
    context: &Context,
) {
    let before = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut events = events_between(before, &status.conditions);
    let issued = outcome.keys.iter().flat_map(|keys| &keys.issued).cloned().collect::<Vec<_>>().join(", ");
    if !issued.is_empty() {
        let note = format!("issued certificates into Secrets {issued}");
        events.push(event(EventType::Normal, "CertificatesIssued", "IssueCertificates", &note));
    }
    if outcome.applied.is_ok() {
        match observed.replicas() {
            None => events.push(event(
                EventType::Normal,
                "Created",
                "Create",
                &format!("created a StatefulSet of {replicas} pods"),
            )),
            Some(before) if before != replicas => {
                let why = status.autoscaling.as_ref().map_or("spec.replicas", |autoscaling| &autoscaling.reason);
                events.push(event(
                    EventType::Normal,
                    "Scaled",
                    "Scale",
                    &format!("from {before} to {replicas} pods: {why}"),
                ));
            }
            Some(_) => {}
        }
    }
    let about = cluster.object_ref(&());
    for event in events {
        if let Err(error) = context.recorder.publish(&event, &about).await {
            tracing::warn!(%error, reason = event.reason, "event not written");
        }
    }
}

async fn write_status(
    clusters: &Api<MqttCluster>,
    cluster: &MqttCluster,
    status: &MqttClusterStatus,
) -> Result<(), Failure> {
    let name = cluster.name_any();
    // The UID keeps the status of a deleted cluster away from a new one of its name.
    let patch = json!({
        "apiVersion": MqttCluster::api_version(&()),
        "kind": MqttCluster::kind(&()),
        "metadata": {"name": name, "uid": cluster.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(labels::MANAGER).force();
    clusters.patch_status(&name, &parameters, &Patch::Apply(&patch)).await.during("write the status")?;
    Ok(())
}

/// When a failed reconciliation is tried again.
pub(crate) fn retry(cluster: &PartialObjectMeta<MqttCluster>, failure: &Failure, context: &Context) -> Action {
    let name = cluster.name_any();
    let namespace = cluster.namespace().unwrap_or_default();
    let result = if failure.is_passing() { "retried" } else { "refused" };
    context.metrics.reconciliations.with_label_values(&[result]).inc();
    tracing::warn!(namespace, name, %failure, "reconciliation stopped");
    Action::requeue(if failure.is_passing() { PASSING_RETRY } else { REFUSED_RETRY })
}
