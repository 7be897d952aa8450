//! One reconciliation, the whole story: fetch, decide, ensure keys, validate, build, apply, prune, report.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_api::{MqttCluster, MqttClusterStatus};
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};

use crate::access::check_access;
use crate::apply::apply;
use crate::autoscale::{Decision, decide};
use crate::build::{Applied, Resources, build};
use crate::context::Context;
use crate::events::{event, events_between};
use crate::failure::{During, Failure};
use crate::identity::{ensure_identity, told_ids};
use crate::keys::ensure_keys;
use crate::observe::{Observed, observe};
use crate::prune::prune;
use crate::readings::{ClusterReading, load};
use crate::record::{recall, running_hash};
use crate::refresh::Pass;
use crate::status::{Outcome, Seen, report, write_status};
use crate::validate::{ValidatedCluster, owner_reference, validate};

/// After a failure that only passes when somebody acts, the next try comes with their change, or after this.
const REFUSED_RETRY: Duration = Duration::from_secs(30);
/// One that takes longer is given up and tried again.
const RECONCILE_LIMIT: Duration = Duration::from_secs(60);

/// Brings one cluster closer to what its resource asks for, and writes down how it fares. It takes no longer than its
/// limit, so that what hangs for one cluster holds up no other for ever.
pub(crate) async fn reconcile(
    known: Arc<PartialObjectMeta<MqttCluster>>,
    context: Arc<Context>,
) -> Result<Action, Failure> {
    let work = Box::pin(reconcile_once(&known, &context));
    tokio::time::timeout(RECONCILE_LIMIT, work).await.unwrap_or(Err(Failure::TookTooLong { limit: RECONCILE_LIMIT }))
}

async fn reconcile_once(known: &PartialObjectMeta<MqttCluster>, context: &Context) -> Result<Action, Failure> {
    let started = Instant::now();
    // The API keeps whole seconds.
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("the present is in range");
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
    let decision = autoscale(&cluster, &observed, &reading, context, now);
    let replicas = replicas(&cluster, &observed, decision.as_ref());

    // Boxed, because every await point below would carry its size.
    let outcome = Box::pin(advance(&cluster, &observed, &reading, replicas, context, now)).await;
    if let Err(failure @ Failure::Api { .. }) = outcome.applied {
        return Err(failure);
    }
    if let (Ok(_), Some(decision)) = (&outcome.applied, &decision) {
        context.readings.remember(key.clone(), decision.memory);
    }
    let seen = Seen { cluster: &cluster, observed: &observed, reading: &reading, decision: decision.as_ref(), now };
    let status = report(&seen, &outcome);
    let events = events(&cluster, &observed, &status, &outcome, replicas);
    context.tell(&cluster.object_ref(&()), events).await;
    let statefulset = outcome.applied.as_ref().map_or(observed.statefulset.as_ref(), |all| Some(&all.statefulset));
    let statefulset = statefulset.and_then(|set| Some((set.uid()?, set.spec.as_ref()?.replicas?)));
    let cluster = match cluster.status.as_ref() == Some(&status) {
        true => cluster,
        false => write_status(&clusters, &cluster, &status, None).await?,
    };
    context.passes.note(key.clone(), Pass { cluster, statefulset, numbers_at: None });
    context.metrics.reconcile_seconds.observe(started.elapsed().as_secs_f64());

    outcome.applied?;
    context.backoffs.forget(&key);
    if let Some(failure) = outcome.held {
        tracing::warn!(namespace = key.0, name = key.1, %failure, "a Secret of the user cannot be used");
        return Ok(Action::requeue(REFUSED_RETRY));
    }
    let hold = decision.and_then(|decision| decision.hold_until);
    let hold = hold.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    let next = context.settings.resync().min(hold.unwrap_or(Duration::MAX));
    Ok(Action::requeue(next.max(Duration::from_secs(1))))
}

/// The steps that change something. The first that fails ends it, and the cluster goes on as it was.
async fn advance(
    cluster: &MqttCluster,
    observed: &Observed,
    reading: &ClusterReading,
    replicas: i32,
    context: &Context,
    now: Timestamp,
) -> Outcome {
    let not_begun = Err(Failure::Keys(anyhow::anyhow!("not begun")));
    let mut outcome = Outcome::of(not_begun);
    outcome.applied = Box::pin(steps(cluster, observed, reading, replicas, context, now, &mut outcome)).await;
    outcome
}

async fn steps(
    cluster: &MqttCluster,
    observed: &Observed,
    reading: &ClusterReading,
    replicas: i32,
    context: &Context,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<Resources<Applied>, Failure> {
    let owner = owner_reference(cluster)
        .ok_or_else(|| Failure::Keys(anyhow::anyhow!("the MqttCluster has no UID, so nothing can belong to it")))?;
    let mut keys = ensure_keys(&context.client, cluster, &owner, now).await?;
    let held = match keys.held.take() {
        Some(held) => Some(held),
        None => check_access(&context.client, cluster).await?,
    };
    let told = told_ids(&observed.pods, reading);
    outcome.identity = Some(ensure_identity(&context.client, cluster, &owner, &told).await?);
    let authority = keys.authority.clone();
    let keys = outcome.keys.insert(keys);
    let image = &context.settings.broker_image;
    let valid = validate(cluster, owner, observed.statefulset.as_ref(), authority, image);
    let valid = valid.map_err(Failure::Config)?;
    let version = valid.image.version.clone();
    let (valid, held) = choose_pods(valid, held, cluster, observed, context).await?;
    let applied = Box::pin(apply(&context.client, cluster, build(&valid, replicas))).await?;
    let secrets = held.is_none().then_some(keys.secrets.as_slice());
    prune(&context.client, cluster, &applied, secrets).await?;
    outcome.version = held.is_none().then_some(version);
    outcome.held = held;
    Ok(applied)
}

/// What the pods run: what is on record for the input, or what is rendered for it now. Pods that would need a Secret of
/// the user which cannot be used are not begun with; those of the last input go on.
async fn choose_pods(
    mut valid: ValidatedCluster,
    held: Option<Failure>,
    cluster: &MqttCluster,
    observed: &Observed,
    context: &Context,
) -> Result<(ValidatedCluster, Option<Failure>), Failure> {
    valid.recorded = recall(&context.client, cluster, &valid.input_hash).await?;
    let Some(failure) = held else { return Ok((valid, None)) };
    if valid.recorded.is_some() {
        return Ok((valid, Some(failure)));
    }
    let running = observed.statefulset.as_ref().and_then(|running| running_hash(&valid.name, running));
    let Some(running) = running else { return Err(failure) };
    match recall(&context.client, cluster, &running).await? {
        Some(recorded) => Ok((valid.with_pods_of(running, recorded), Some(failure))),
        None => Err(failure),
    }
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
    let replicas = observed.replicas().unwrap_or_default();
    let patience = context.reading_age_max();
    let load = load(&cluster.name_any(), replicas, &observed.pods, reading, now, patience);
    Some(decide(spec, &load, context.readings.memory(&key), now))
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

/// What this reconciliation has to tell.
fn events(
    cluster: &MqttCluster,
    observed: &Observed,
    status: &MqttClusterStatus,
    outcome: &Outcome,
    replicas: i32,
) -> Vec<Event> {
    let before = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut events = events_between(before, &status.conditions);
    let issued = outcome.keys.iter().flat_map(|keys| &keys.issued).cloned().collect::<Vec<_>>().join(", ");
    if !issued.is_empty() {
        let note = format!("issued certificates into Secrets {issued}");
        events.push(event(EventType::Normal, "CertificatesIssued", "IssueCertificates", &note));
    }
    if let Some(replaced) = outcome.keys.as_ref().and_then(|keys| keys.replaced.as_ref()) {
        events.push(event(EventType::Warning, "AuthorityReplaced", "IssueCertificates", replaced));
    }
    if outcome.applied.is_ok() {
        match observed.replicas() {
            None => {
                let note = format!("created a StatefulSet of {replicas} pods");
                events.push(event(EventType::Normal, "Created", "Create", &note));
            }
            Some(before) if before != replicas => {
                let why = status.autoscaling.as_ref().map_or("spec.replicas", |autoscaling| &autoscaling.reason);
                let note = format!("from {before} to {replicas} pods: {why}");
                events.push(event(EventType::Normal, "Scaled", "Scale", &note));
            }
            Some(_) => {}
        }
    }
    events
}

/// When a failed reconciliation is tried again.
pub(crate) fn retry(cluster: &PartialObjectMeta<MqttCluster>, failure: &Failure, context: &Context) -> Action {
    let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let result = if failure.is_passing() { "retried" } else { "refused" };
    context.metrics.reconciliations.with_label_values(&[result]).inc();
    tracing::warn!(namespace = key.0, name = key.1, %failure, "reconciliation stopped");
    if failure.is_passing() {
        // The hasher of the standard library begins with a random state.
        let random = RandomState::new().hash_one(&key);
        return Action::requeue(context.backoffs.failed(key, random));
    }
    Action::requeue(REFUSED_RETRY)
}
