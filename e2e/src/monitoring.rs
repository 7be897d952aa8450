//! Prometheus and its adapter, for as long as one test needs them, set up with the files that users are given.
//!
//! They run beside the control plane, in the testbed's network, and not as pods: the API server reaches the adapter by a
//! Service whose endpoint is written by hand.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use fulmar_api::names::nodes_service;
use fulmar_testbed::monitoring::Monitoring as Programs;
use fulmar_testbed::network::CONTROL_ADDRESS;
use futures::FutureExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::certificates::chain_for;
use crate::wait::ask_until;
use crate::{Cluster, Namespace};

const PROMETHEUS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
const ADAPTER_PORT: u16 = 6444;
/// The name of the adapter's Service.
const SERVICE: &str = "prometheus-adapter";
/// The API that the adapter serves.
const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// From its start until a program listens.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Lines of a log that are shown when a test failed.
const LOG_LINES: usize = 30;

/// Does `work` while Prometheus reads a cluster's brokers every second and the adapter serves what it read. Only where
/// the testbed is ours: the API server of a user's cluster cannot reach this machine.
pub async fn monitored<T>(cluster: &Cluster, work: impl Future<Output = Result<T>>) -> Result<T> {
    let namespace = &cluster.namespace;
    let folder = namespace.kit.testbed.logs().context("find the folder of the testbed's logs")?.join("monitoring");
    if folder.exists() {
        // Prometheus would go on answering with what it read for an earlier test.
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
    let setup = Setup { cluster, namespace, programs: Programs::find()?, folder: folder.clone() };
    let _prometheus = setup.start_prometheus()?;
    let _adapter = setup.start_adapter().await?;

    let work = AssertUnwindSafe(async {
        setup.register().await.context("register the adapter")?;
        work.await
    });
    let result = work.catch_unwind().await;
    // Kubernetes removes no namespace while an API is registered that nobody serves. So this must be done in any case,
    // and before the adapter ends.
    let unregistered = namespace.kubectl(&format!("delete apiservice {API_SERVICE} --ignore-not-found")).await;
    let result = result.unwrap_or_else(|panic| resume_unwind(panic));
    let value =
        result.with_context(|| format!("{}{}", end_of_log(&folder, "prometheus"), end_of_log(&folder, "adapter")))?;
    unregistered.context("remove the adapter's API")?;
    Ok(value)
}

/// What the adapter answers for a metric of a cluster: one value, or `None` where there is none yet.
pub async fn external_metric(cluster: &Cluster, metric: &str) -> Result<Option<String>> {
    let Cluster { namespace, name } = cluster;
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{metric}", namespace.name());
    let selector = format!("labelSelector=mqtt_fulmar_dev_cluster%3D{name}");
    let answer = namespace.kubectl(&format!("get --raw {path}?{selector}")).await?;
    let answer: Value = serde_json::from_str(&answer).context("understand the adapter's answer")?;
    Ok(answer["items"][0]["value"].as_str().map(str::to_owned))
}

struct Setup<'a> {
    cluster: &'a Cluster,
    namespace: &'a Namespace,
    programs: Programs,
    folder: PathBuf,
}

impl Setup<'_> {
    /// The job that users are given, for this cluster, and faster.
    fn start_prometheus(&self) -> Result<Child> {
        let mut config = self.read("manifests/monitoring/prometheus.yaml")?;
        config["global"] = json!({ "scrape_interval": "1s", "scrape_timeout": "1s" });
        let discovery = &mut config["scrape_configs"][0]["dns_sd_configs"][0];
        discovery["refresh_interval"] = json!("1s");
        let service = nodes_service(&self.cluster.name);
        discovery["names"] = json!([format!("{service}.{}.svc.cluster.local", self.namespace.name())]);
        let config = self.write("prometheus.json", &config.to_string())?;

        let mut prometheus = Command::new(&self.programs.prometheus);
        prometheus.arg("--config.file").arg(config).arg("--storage.tsdb.path").arg(self.folder.join("series"));
        prometheus.args(["--web.listen-address", &PROMETHEUS.to_string(), "--log.level", "warn"]);
        self.start("prometheus", prometheus)
    }

    /// The rule that users are given: their chart writes the same list by another name.
    async fn start_adapter(&self) -> Result<Child> {
        let mut values = self.read("manifests/monitoring/prometheus-adapter.yaml")?;
        let config = json!({ "externalRules": values["rules"]["external"].take() });
        let config = self.write("adapter.json", &config.to_string())?;
        let chain = chain_for(&format!("{SERVICE}.{}.svc", self.namespace.name()))?;
        self.write("adapter-ca.crt", &chain.root)?;

        let mut adapter = Command::new(&self.programs.adapter);
        adapter.args(["--prometheus-url", &format!("http://{PROMETHEUS}/"), "--bind-address", CONTROL_ADDRESS]);
        adapter.args(["--secure-port", &ADAPTER_PORT.to_string()]);
        adapter.args(["--metrics-relist-interval", "1s", "--metrics-max-age", "1m"]).arg("--config").arg(config);
        adapter.arg("--tls-cert-file").arg(self.write("adapter.crt", &chain.certificates)?);
        adapter.arg("--tls-private-key-file").arg(self.write("adapter.key", &chain.key)?);
        for user in ["lister", "authentication", "authorization"] {
            adapter.arg(format!("--{user}-kubeconfig")).arg(self.namespace.kit.testbed.kubeconfig());
        }
        let child = self.start("adapter", adapter)?;
        ask_until("the adapter to listen", START_LIMIT, || async {
            Ok(TcpStream::connect((CONTROL_ADDRESS, ADAPTER_PORT)).await.map(Some)?)
        })
        .await?;
        Ok(child)
    }

    async fn register(&self) -> Result<()> {
        let root = fs::read(self.folder.join("adapter-ca.crt"))?;
        let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": SERVICE },
                "spec": { "ports": [{ "name": "https", "port": 443, "targetPort": ADAPTER_PORT }] },
            },
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": { "name": SERVICE, "labels": { "kubernetes.io/service-name": SERVICE } },
                "ports": [{ "name": "https", "port": ADAPTER_PORT }],
                "endpoints": [{ "addresses": [CONTROL_ADDRESS] }],
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": API_SERVICE },
                "spec": {
                    "group": "external.metrics.k8s.io", "version": "v1beta1",
                    "groupPriorityMinimum": 100, "versionPriority": 100,
                    "service": { "name": SERVICE, "namespace": self.namespace.name() },
                    "caBundle": k8s_openapi::ByteString(root),
                },
            },
        ] });
        self.namespace.apply_text(&objects.to_string()).await?;
        let wait = format!("wait --for=condition=Available apiservice/{API_SERVICE} --timeout=60s");
        self.namespace.kubectl(&wait).await.map(drop)
    }

    fn read(&self, file: &str) -> Result<Value> {
        let path = self.namespace.path(Path::new(file));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_saphyr::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Runs until it is dropped.
    fn start(&self, name: &str, mut program: Command) -> Result<Child> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        program.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        program.spawn().with_context(|| format!("start {name}"))
    }
}

fn end_of_log(folder: &Path, name: &str) -> String {
    let text = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("--- the end of what {name} said\n{}\n", end.join("\n"))
}
