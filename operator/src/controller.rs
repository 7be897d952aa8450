//! What makes the operator look at a cluster: changes of the resource, of its children, of Secrets that it names, and
//! of its brokers' metrics.
//!
//! Watches carry metadata only. A reconciliation reads what it needs live, so a stale or odd object in a cache can
//! neither mislead it nor keep it from the others.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fulmar_api::{MqttCluster, labels};
use futures::channel::mpsc;
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, Error, ReconcileRequest, trigger_owners, trigger_self, trigger_with};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, applier, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::pulse;
use crate::reconcile::{reconcile, retry};
use crate::scrape;

type KnownCluster = PartialObjectMeta<MqttCluster>;
type Trigger = BoxStream<'static, Result<ReconcileRequest<KnownCluster>, watcher::Error>>;

/// Changes often come in flocks: one reconciliation answers all of them.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Clusters that are reconciled at one time; a slow one holds up none of the others.
const CONCURRENT_MAX: u16 = 16;
/// Requests of the scraper that may wait.
const CHANGED_MAX: usize = 1024;

/// Cares for the clusters of one namespace, or of all, until `stop` says so. Reconciliations under way are ended.
pub(crate) async fn run(context: Arc<Context>, scope: Option<String>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let client = context.client.clone();
    let (clusters, writer) = reflector::store::<KnownCluster>();
    let announcer = context.clone();
    let mut is_known = false;
    let resources = watcher(api::<MqttCluster>(&client, &scope), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, watcher::Event::InitDone) && !std::mem::replace(&mut is_known, true) {
                announcer.scopes_pending.fetch_sub(1, Ordering::AcqRel);
                tracing::info!("every MqttCluster is known");
            }
        })
        .applied_objects()
        // The operator's own writes to the status are no news.
        .predicate_filter(predicates::generation, kube::runtime::PredicateConfig::default());
    let mut triggers: SelectAll<Trigger> = SelectAll::new();
    triggers.push(trigger_self(resources, ()).boxed());
    triggers.push(owned::<StatefulSet>(&client, &scope));
    triggers.push(owned::<Service>(&client, &scope));
    triggers.push(owned::<ConfigMap>(&client, &scope));
    triggers.push(owned::<ServiceAccount>(&client, &scope));
    triggers.push(owned::<PodDisruptionBudget>(&client, &scope));
    triggers.push(pods(&client, &scope));
    triggers.push(secrets(&client, &scope, context.clone()));
    triggers.push(heartbeat());
    let (changed, readings) = mpsc::channel(CHANGED_MAX);
    triggers.push(readings.map(|cluster| Ok(ReconcileRequest::from(cluster))).boxed());

    let scraper = tokio::spawn(scrape::run(context.clone(), scope.clone(), clusters.clone(), changed));
    let stopped = async move {
        // A closed channel stops just as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let work = applier(
        |cluster, context| Box::pin(reconcile(cluster, context)),
        |cluster, failure, context| retry(&cluster, failure, &context),
        context.clone(),
        clusters,
        triggers.take_until(Box::pin(stopped)),
        Config::default().debounce(DEBOUNCE).concurrency(CONCURRENT_MAX),
    );
    let work = work.for_each(|result| {
        context.pulse.turned(&scope, Instant::now());
        log(&context, result);
        std::future::ready(())
    });
    both(work, scraper).await
}

/// Ends well when the work does; without the scraper nobody would read the brokers, so its end is a failure.
async fn both(work: impl Future<Output = ()>, mut scraper: JoinHandle<Result<()>>) -> Result<()> {
    tokio::select! {
        () = work => {
            scraper.abort();
            Ok(())
        }
        ended = &mut scraper => {
            ended.context("the reader of the brokers' metrics panicked")??;
            bail!("the reader of the brokers' metrics ended without being told to")
        }
    }
}

/// Asks for a cluster that cannot exist: its name is empty. The answer shows that the loop turns.
fn heartbeat() -> Trigger {
    let beats = tokio::time::interval(pulse::EVERY);
    let beats = futures::stream::unfold(beats, async |mut beats| {
        beats.tick().await;
        Some((Ok(ReconcileRequest::from(ObjectRef::<KnownCluster>::new(""))), beats))
    });
    beats.boxed()
}

fn log(
    context: &Context,
    result: Result<(ObjectRef<KnownCluster>, Action), Error<crate::failure::Failure, watcher::Error>>,
) {
    match result {
        Ok((cluster, _)) => {
            context.metrics.reconciliations.with_label_values(&["applied"]).inc();
            tracing::debug!(%cluster, "reconciled");
        }
        // Logged and counted where the retry was decided.
        Err(Error::ReconcilerFailed(..)) => {}
        // A heartbeat, or a child that outlived its cluster for a moment.
        Err(Error::ObjectNotFound(_)) => {}
        Err(error) => tracing::warn!(%error, "watch interrupted, it begins again"),
    }
}

/// Of metadata only.
fn api<K>(client: &Client, scope: &Option<String>) -> Api<PartialObjectMeta<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Changes and deletions of children lead to their cluster.
fn owned<K>(client: &Client, scope: &Option<String>) -> Trigger
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    // A child that loses the label leaves the watch as if it were deleted, and so is repaired too.
    let ours = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let children = watcher(api::<K>(client, scope), ours).default_backoff().touched_objects();
    trigger_owners(children, (), ()).boxed()
}

/// A pod belongs to the StatefulSet; its label names the cluster.
fn pods(client: &Client, scope: &Option<String>) -> Trigger {
    let ours = watcher::Config::default().labels(&format!("{}={},{}", labels::APP_NAME, labels::APP, labels::CLUSTER));
    let pods = watcher(api::<Pod>(client, scope), ours).default_backoff().touched_objects();
    trigger_with(pods, |pod: PartialObjectMeta<Pod>| {
        let cluster = pod.labels().get(labels::CLUSTER).cloned();
        cluster.map(|cluster| ObjectRef::<KnownCluster>::new(&cluster).within(&pod.namespace().unwrap_or_default()))
    })
    .boxed()
}

/// Our own Secrets lead to their owner, those of the user to the clusters that name them.
fn secrets(client: &Client, scope: &Option<String>, context: Arc<Context>) -> Trigger {
    let secrets = watcher(api::<Secret>(client, scope), watcher::Config::default()).default_backoff().touched_objects();
    trigger_with(secrets, move |secret: PartialObjectMeta<Secret>| {
        let namespace = secret.namespace().unwrap_or_default();
        let owners = secret.metadata.owner_references.iter().flatten();
        let owners = owners.filter(|owner| owner.kind == MqttCluster::kind(&())).map(|owner| owner.name.clone());
        let users = context.secrets.clusters_of(&namespace, &secret.name_any());
        let clusters: HashSet<String> = owners.chain(users).collect();
        clusters
            .into_iter()
            .map(move |cluster| ObjectRef::<KnownCluster>::new(&cluster).within(&namespace))
            .collect::<Vec<_>>()
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use kube::runtime::watcher::Event;

    use super::*;
    use crate::failure::Failure;
    use crate::fixtures::context;

    #[tokio::test]
    async fn a_heartbeat_passes_through_the_whole_loop() {
        let (clusters, mut writer) = reflector::store::<KnownCluster>();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let context = Arc::new(context(Client::new(axum::Router::new(), "none")));
        let mut work = Box::pin(applier(
            |_, _| Box::pin(async { Err::<Action, _>(Failure::TookTooLong { limit: Duration::ZERO }) }),
            |_, _, _| Action::await_change(),
            context,
            clusters,
            heartbeat(),
            Config::default().debounce(DEBOUNCE),
        ));
        assert!(matches!(work.next().await, Some(Err(Error::ObjectNotFound(_)))));
    }

    #[tokio::test]
    async fn the_end_of_the_scraper_ends_the_controller_with_a_reason() {
        let ended = both(pending(), tokio::spawn(ready(Ok(())))).await.unwrap_err().to_string();
        assert_eq!(ended, "the reader of the brokers' metrics ended without being told to");
        let panicking = tokio::spawn(async { panic!("on purpose") });
        let ended = both(pending(), panicking).await.unwrap_err().to_string();
        assert_eq!(ended, "the reader of the brokers' metrics panicked");
        both(ready(()), tokio::spawn(pending())).await.unwrap();
    }
}
