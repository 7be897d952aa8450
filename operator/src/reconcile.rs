//! One reconciliation, the whole story: fetch, decide, ensure keys, validate, ask, build, apply,
//! prune, report.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_api::{MqttCluster, MqttClusterStatus, labels};
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};

use crate::access::check_access;
use crate::admin::AdminClient;
use crate::apply::apply;
use crate::autoscale::{Decision, decide};
use crate::build::{Applied, Resources, Scale, build};
use crate::context::Context;
use crate::drain::{self, Plan};
use crate::events::{event, events_between};
use crate::evict::evict;
use crate::failure::{During, Failure};
use crate::fleet::{durable_configs, members, roll_facts};
use crate::identity::{ensure_identity, told_ids};
use crate::keys::ensure_keys;
use crate::observe::{Observed, observe};
use crate::prune::prune;
use crate::readings::{ClusterReading, load};
use crate::record::{recall, running_hash};
use crate::refresh::Pass;
use crate::roll::{self, Member};
use crate::rotation::Authority;
use crate::status::{Outcome, Seen, report, write_status};
use crate::validate::{ValidatedCluster, owner_reference, validate};
use crate::volumes::grow_claims;
use crate::zone::annotate_zones;

/// After a failure that only passes when somebody acts, the next try comes with their change, or after this.
const REFUSED_RETRY: Duration = Duration::from_secs(30);
/// While pods restart or hand over, what their brokers say is looked at again after this.
const NEXT_LOOK: Duration = Duration::from_secs(5);
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
    annotate_zones(&context.client, &observed.pods).await;
    let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let reading = context.readings.read(&key, now, context.reading_age_max());
    let decision = autoscale(&cluster, &observed, &reading, context, now);
    let replicas = replicas(&cluster, &observed, decision.as_ref());

    // Boxed, because every await point below would carry its size.
    let pass = Seen { cluster: &cluster, observed: &observed, reading: &reading, decision: decision.as_ref(), now };
    let outcome = Box::pin(advance(&pass, replicas, context)).await;
    if let Err(failure @ Failure::Api { .. }) = outcome.applied {
        return Err(failure);
    }
    if let (Ok(_), Some(decision)) = (&outcome.applied, &decision) {
        context.readings.remember(key.clone(), decision.memory);
    }
    let status = report(&pass, &outcome);
    let events = events(&pass, &status, &outcome);
    context.tell(&cluster.object_ref(&()), events).await;
    let statefulset = outcome.applied.as_ref().map_or(observed.statefulset.as_ref(), |all| Some(&all.statefulset));
    let statefulset = statefulset.and_then(|set| Some((set.uid()?, set.spec.as_ref()?.replicas?)));
    let cluster = match cluster.status.as_ref() == Some(&status) {
        true => cluster,
        false => write_status(&clusters, &cluster, &status, None).await?,
    };
    let awaits_brokers = outcome.drain.is_some() || outcome.roll.is_some();
    context.passes.note(key.clone(), Pass { cluster, statefulset, awaits_brokers, numbers_at: None });
    context.metrics.reconcile_seconds.observe(started.elapsed().as_secs_f64());

    outcome.applied?;
    context.backoffs.forget(&key);
    if let Some(failure) = outcome.held {
        tracing::warn!(namespace = key.0, name = key.1, %failure, "a Secret of the user cannot be used");
        return Ok(Action::requeue(REFUSED_RETRY));
    }
    let hold = decision.and_then(|decision| decision.hold_until);
    let hold = hold.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    let look = awaits_brokers.then_some(NEXT_LOOK);
    let next = context.settings.resync().min(hold.unwrap_or(Duration::MAX)).min(look.unwrap_or(Duration::MAX));
    Ok(Action::requeue(next.max(Duration::from_secs(1))))
}

/// The steps that change something. The first that fails ends it, and the cluster goes on as it was.
async fn advance(seen: &Seen<'_>, wanted: i32, context: &Context) -> Outcome {
    let not_begun = Err(Failure::Keys(anyhow::anyhow!("not begun")));
    let mut outcome = Outcome::of(not_begun);
    outcome.applied = Box::pin(steps(seen, wanted, context, &mut outcome)).await;
    outcome
}

async fn steps(
    seen: &Seen<'_>,
    wanted: i32,
    context: &Context,
    outcome: &mut Outcome,
) -> Result<Resources<Applied>, Failure> {
    let Seen { cluster, observed, reading, decision: _, now } = seen;
    let owner = owner_reference(cluster)
        .ok_or_else(|| Failure::Keys(anyhow::anyhow!("the MqttCluster has no UID, so nothing can belong to it")))?;
    let mut keys = ensure_keys(&context.client, cluster, &owner, *now).await?;
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

    let durable = durable_configs(&context.client, cluster, &observed.pods, &valid).await?;
    let members = members(observed, reading, &durable);
    let plan = Box::pin(drain_step(seen, wanted, &members, keys.signer.as_ref(), context)).await;
    let drained = plan.progress.as_ref().map(|progress| progress.pod.clone());
    let roll = roll::decide(&roll_facts(observed, &members, &valid, plan.replicas, drained), *now);
    (outcome.drain, outcome.roll) = (plan.progress, roll.progress);

    let scale = Scale { replicas: plan.replicas, partition: roll.partition, stopped: plan.stopped };
    let applied = Box::pin(apply(&context.client, cluster, build(&valid, scale))).await?;
    if let Some((name, uid)) = &roll.evict {
        evict(&context.client, cluster, name, uid).await?;
    }
    outcome.not_grown = grow_claims(&context.client, cluster).await?;
    let secrets = held.is_none().then_some(keys.secrets.as_slice());
    prune(&context.client, cluster, &applied, secrets).await?;
    outcome.version = held.is_none().then_some(version);
    outcome.held = held;
    Ok(applied)
}

/// How many pods to ask for, after the brokers were asked and told what that needs.
async fn drain_step(
    seen: &Seen<'_>,
    wanted: i32,
    members: &[Member],
    signer: Option<&Authority>,
    context: &Context,
) -> Plan {
    let Seen { cluster, observed, now, .. } = seen;
    let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let client = signer.and_then(|signer| {
        let client = AdminClient::new(signer, &key.1, &key.0, *now);
        client.inspect_err(|error| tracing::warn!(error = format!("{error:#}"), "no way to ask brokers")).ok()
    });
    let memory = context.drains.of(&key);
    let abandoned = cluster.annotations().get(labels::ABANDON).cloned();
    let set = observed.statefulset.as_ref();
    let stopped = set.and_then(|set| set.annotations().get(labels::STOPPED_REPLICAS)?.parse().ok());
    let (scale, pods) = ((wanted, observed.replicas(), stopped), (observed.pods.as_slice(), members));
    let plan = drain::ask::step(client.as_ref(), scale, pods, abandoned, memory.as_ref(), *now).await;
    context.drains.note(key, plan.memory.clone());
    plan
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
    let mut load = load(&cluster.name_any(), replicas, &observed.pods, reading, now, patience);
    // A pod that hands over is as good as gone, or the next decision would be about it again.
    load.replicas -= i32::from(context.drains.of(&key).is_some());
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
fn events(seen: &Seen<'_>, status: &MqttClusterStatus, outcome: &Outcome) -> Vec<Event> {
    let Seen { cluster, observed, .. } = seen;
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
    if let Ok(applied) = &outcome.applied {
        let replicas = applied.statefulset.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
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
