//! Reads from every broker how many clients it has and how its copies fare, round after round, and passes it on as soon as all pods of
//! a cluster have answered or failed.
//!
//! Only pods that the StatefulSet of a known cluster controls are asked: a label alone can be put on any pod.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fulmar_api::{MqttCluster, labels, names};
use futures::StreamExt;
use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::context::Context;
use crate::observe::{is_controlled_by_uid, ordinal};
use crate::readings::{ClusterKey, PodReading};
use crate::refresh::refresh;
use crate::told::{CONNECTIONS, Told, connections_in};

/// Pods that are asked at one time.
const CONCURRENT_MAX: usize = 32;
/// A broker that takes longer counts as silent.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An API server that takes longer is asked again in the next round.
const API_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const BODY_BYTES_MAX: usize = 1 << 20;

type KnownCluster = PartialObjectMeta<MqttCluster>;

/// Reads all brokers of a scope, round after round, until the receiver of `changed` is gone.
pub(crate) async fn run(
    context: Arc<Context>,
    scope: Option<String>,
    clusters: Store<KnownCluster>,
    mut changed: mpsc::Sender<ObjectRef<KnownCluster>>,
) -> Result<()> {
    let scraper = Scraper { context: &context, client: client()?, port: http_port() };
    let mut rounds = interval(context.settings.scrape_interval());
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted = 0;
    while !changed.is_closed() {
        rounds.tick().await;
        let existing: HashSet<ClusterKey> =
            clusters.state().iter().map(|known| (known.namespace().unwrap_or_default(), known.name_any())).collect();
        context.retain(scope.as_deref(), &existing);
        context.metrics.count_clusters(&mut counted, existing.len());
        match timeout(API_TIMEOUT, list_pods(&context, scope.as_deref())).await {
            Ok(Ok(pods)) => scraper.round(pods, Timestamp::now(), &mut changed).await,
            Ok(Err(error)) => tracing::warn!(%error, "pods not listed, so no broker was asked"),
            Err(_) => tracing::warn!(?API_TIMEOUT, "listing pods took too long, so no broker was asked"),
        }
    }
    Ok(())
}

fn client() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
    // A broker answers itself; whoever sends us elsewhere is none.
    client.redirect(reqwest::redirect::Policy::none()).build().context("make an HTTP client")
}

fn http_port() -> u16 {
    u16::try_from(names::HTTP_PORT).expect("8080 is a port")
}

async fn list_pods(context: &Context, scope: Option<&str>) -> Result<Vec<Pod>, kube::Error> {
    let pods: Api<Pod> = match scope {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let ours = format!("{}={},{}", labels::APP_NAME, labels::APP, labels::CLUSTER);
    // A slightly old list from the API server's cache is good enough for numbers that are read every few seconds.
    let parameters = ListParams::default().labels(&ours).match_any();
    Ok(pods.list(&parameters).await?.items)
}

/// The pods of each known cluster: those that its StatefulSet controls.
fn by_cluster(context: &Context, pods: Vec<Pod>) -> HashMap<ClusterKey, Vec<Pod>> {
    let mut clusters: HashMap<ClusterKey, (String, Vec<Pod>)> = HashMap::new();
    for pod in pods {
        let Some(cluster) = pod.labels().get(labels::CLUSTER).cloned() else { continue };
        let key = (pod.namespace().unwrap_or_default(), cluster);
        if !clusters.contains_key(&key) {
            let Some((uid, _)) = context.passes.of(&key).and_then(|pass| pass.statefulset) else { continue };
            clusters.insert(key.clone(), (uid, Vec::new()));
        }
        if let Some((uid, own)) = clusters.get_mut(&key)
            && is_controlled_by_uid(&pod, uid)
        {
            own.push(pod);
        }
    }
    let mut own: HashMap<_, _> = clusters.into_iter().map(|(key, (_, pods))| (key, pods)).collect();
    for pods in own.values_mut() {
        pods.sort_by_key(|pod| ordinal(&pod.name_any()));
    }
    own
}

/// A pod to ask.
struct Asked {
    name: String,
    uid: Option<String>,
    address: Option<IpAddr>,
}

impl Asked {
    fn new(pod: &Pod) -> Self {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        Self { name: pod.name_any(), uid: pod.uid(), address }
    }
}

struct Scraper<'a> {
    context: &'a Context,
    client: reqwest::Client,
    port: u16,
}

impl Scraper<'_> {
    /// Asks every pod that has an address. What one says is stored at once; a cluster is done with its last pod, however
    /// long those of others take.
    async fn round(&self, pods: Vec<Pod>, now: Timestamp, changed: &mut mpsc::Sender<ObjectRef<KnownCluster>>) {
        let clusters = by_cluster(self.context, pods);
        let mut left: HashMap<ClusterKey, usize> = HashMap::new();
        let mut asked = Vec::new();
        for (key, pods) in &clusters {
            self.context.readings.retain_pods(key, pods);
            left.insert(key.clone(), pods.len());
            asked.extend(pods.iter().map(|pod| (key.clone(), Asked::new(pod))));
        }
        let answers = futures::stream::iter(asked).map(|(key, pod)| async move {
            self.context.readings.store(&key, &pod.name, self.read(&pod).await);
            key
        });
        let mut answers = answers.buffer_unordered(CONCURRENT_MAX);
        while let Some(key) = answers.next().await {
            let Some(left) = left.get_mut(&key) else { continue };
            *left -= 1;
            if *left == 0 {
                self.pass_on(&key, &clusters[&key], now, changed).await;
            }
        }
    }

    async fn pass_on(
        &self,
        key: &ClusterKey,
        pods: &[Pod],
        now: Timestamp,
        changed: &mut mpsc::Sender<ObjectRef<KnownCluster>>,
    ) {
        match timeout(API_TIMEOUT, Box::pin(refresh(self.context, key, pods, now))).await {
            // A full queue means that reconciliations are under way anyway; the next round asks again.
            Ok(Ok(true)) => drop(changed.try_send(ObjectRef::new(&key.1).within(&key.0))),
            Ok(Ok(false)) => {}
            Ok(Err(failure)) => tracing::warn!(cluster = key.1, namespace = key.0, %failure, "numbers not written"),
            Err(_) => tracing::warn!(cluster = key.1, namespace = key.0, "writing numbers took too long"),
        }
    }

    async fn read(&self, pod: &Asked) -> Option<PodReading> {
        let (uid, address) = (pod.uid.clone()?, pod.address?);
        let answer = self.read_metrics(SocketAddr::new(address, self.port)).await;
        let result = if answer.is_ok() { "read" } else { "failed" };
        self.context.metrics.scrapes.with_label_values(&[result]).inc();
        match answer {
            Ok((connections, told)) => Some(PodReading { uid, connections, told, at: Timestamp::now() }),
            Err(error) => {
                tracing::debug!(pod = pod.name, error = format!("{error:#}"), "broker not read");
                None
            }
        }
    }

    async fn read_metrics(&self, address: SocketAddr) -> Result<(i64, Told)> {
        let mut response =
            self.client.get(format!("http://{address}/metrics")).send().await.context("ask for metrics")?;
        if !response.status().is_success() {
            bail!("found status {}, wanted 200", response.status());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.context("read the metrics")? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                bail!("the metrics are longer than {BODY_BYTES_MAX} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&body);
        let connections = connections_in(&text).with_context(|| format!("{CONNECTIONS} is not in the metrics"))?;
        Ok((connections, Told::read(&text)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::response::Redirect;
    use axum::routing::get;
    use kube::Client;
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::fixtures::{cluster, context};
    use crate::refresh::Pass;

    const PLAIN: &str = "fulmar_connections 17\n";

    /// A pod with the labels of cluster `demo` at 127.0.0.N, controlled by the StatefulSet of this UID.
    fn pod(number: u8, statefulset: &str) -> Pod {
        let owner = json!({"kind": "StatefulSet", "name": "demo", "uid": statefulset, "controller": true, "apiVersion": "apps/v1"});
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("demo-{number}"), "namespace": "shop", "uid": format!("pod-{number}"),
                "labels": {labels::CLUSTER: "demo"}, "ownerReferences": [owner],
            },
            "status": {"podIP": Ipv4Addr::new(127, 0, 0, number)},
        }))
        .unwrap()
    }

    fn key() -> ClusterKey {
        ("shop".to_owned(), "demo".to_owned())
    }

    fn known() -> Context {
        let context = context(Client::new(Router::new(), "shop"));
        let pass = Pass {
            cluster: cluster(),
            statefulset: Some(("ours".to_owned(), 3)),
            awaits_brokers: false,
            numbers_at: None,
        };
        context.passes.note(key(), pass);
        context
    }

    /// Serves `routes` on every address of this machine whose first number is 127; returns the port.
    async fn serve(routes: Router) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async { axum::serve(listener, routes).await });
        port
    }

    fn read(context: &Context) -> Vec<(String, i64)> {
        let readings = context.readings.read(&key(), Timestamp::now(), context.reading_age_max());
        readings.into_iter().map(|(pod, reading)| (pod, reading.connections)).collect()
    }

    #[tokio::test]
    async fn only_pods_of_the_cluster_s_own_statefulset_are_asked() {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = asked.clone();
        let routes = Router::new().route(
            "/metrics",
            get(async move |headers: HeaderMap| {
                seen.lock().unwrap().push(headers["host"].to_str().unwrap().to_owned());
                PLAIN
            }),
        );
        let (context, port) = (known(), serve(routes).await);
        let scraper = Scraper { context: &context, client: client().unwrap(), port };
        let mut unlabelled = pod(3, "ours");
        unlabelled.metadata.labels = None;
        let (mut changed, _) = mpsc::channel(1);
        scraper.round(vec![pod(1, "ours"), pod(2, "theirs"), unlabelled], Timestamp::now(), &mut changed).await;
        assert_eq!(*asked.lock().unwrap(), [format!("127.0.0.1:{port}")]);
        assert_eq!(read(&context), [("demo-1".to_owned(), 17)]);
    }

    #[tokio::test]
    async fn what_one_pod_says_is_known_while_another_has_not_answered() {
        let (go, wait) = watch::channel(false);
        let routes = Router::new().route(
            "/metrics",
            get(async move |headers: HeaderMap| {
                if headers["host"].to_str().unwrap().starts_with("127.0.0.2:") {
                    let _ = wait.clone().wait_for(|go| *go).await;
                }
                PLAIN
            }),
        );
        let (context, port) = (known(), serve(routes).await);
        let scraper = Scraper { context: &context, client: client().unwrap(), port };
        let (mut changed, _) = mpsc::channel(1);
        let round = scraper.round(vec![pod(1, "ours"), pod(2, "ours")], Timestamp::now(), &mut changed);
        let look = async {
            let first = async {
                while read(&context).is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(TIMEOUT / 2, first).await.expect("the first answer is stored before the second comes");
            assert_eq!(read(&context), [("demo-1".to_owned(), 17)]);
            go.send(true).unwrap();
        };
        tokio::join!(round, look);
        assert_eq!(read(&context).len(), 2);
    }

    #[tokio::test]
    async fn answers_that_lead_elsewhere_or_never_end_are_none() {
        let long = "x".repeat(BODY_BYTES_MAX + 1);
        for routes in [
            Router::new().route("/metrics", get(Redirect::temporary("/other"))).route("/other", get(PLAIN)),
            Router::new().route("/metrics", get(async move || format!("{PLAIN}{long}"))),
        ] {
            let (context, port) = (known(), serve(routes).await);
            let scraper = Scraper { context: &context, client: client().unwrap(), port };
            assert!(scraper.read_metrics((Ipv4Addr::LOCALHOST, port).into()).await.is_err());
        }
    }
}
