//! `cargo xtask demo`: from nothing to three brokers on a Kubernetes of their own that pass each other messages.
//!
//! What a user would type is printed and run as it stands: helm, kubectl and the mosquitto clients. The cluster is left
//! running; `cargo xtask demo down` ends it.

mod clients;
mod exchange;
mod pods;

use std::path::Path;

use anyhow::{Context, Result};
use fulmar_testbed::lifecycle;

use crate::cluster::{self, Cluster};
use crate::images::{self, Images};
use crate::steps::{Steps, say};

const NAME: &str = "demo";
/// The MqttCluster of `manifests/examples/quickstart.yaml`, in the default namespace.
const CLUSTER: &str = "quickstart";

/// What `cargo xtask demo` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Bring up the demo, a fresh one where it is up already.
    Up,
    /// End the demo and leave nothing behind.
    Down,
    /// What `up` starts inside the testbed: messages between all pods.
    #[command(hide = true)]
    Exchange,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    match arguments.task.as_ref().unwrap_or(&Task::Up) {
        Task::Up => up(root),
        Task::Down => down(root),
        Task::Exchange => exchange::run(CLUSTER),
    }
}

fn down(root: &Path) -> Result<()> {
    Cluster::testbed(root, NAME, 1)?.down()?;
    exchange::forget_certificate_authority()
}

fn up(root: &Path) -> Result<()> {
    let mut steps = Steps::begin();
    steps.step("set up this machine", || lifecycle::set_up(&mut |line| say(line)).map(drop))?;
    let images = steps.step("build the images", || images::run(root, &images::Arguments::default()))?;
    let cluster = Cluster::testbed(root, NAME, 1)?;
    steps.step("bring up a Kubernetes", || cluster.up())?;
    let result = deploy(&cluster, &images, &mut steps);
    if result.is_err()
        && let Err(error) = cluster.show_state()
    {
        say(&format!("{error:#}"));
    }
    result?;
    steps.say_summary();
    say(NEXT);
    Ok(())
}

/// All that happens on a Kubernetes that is up.
fn deploy(cluster: &Cluster, images: &Images, steps: &mut Steps) -> Result<()> {
    steps.step("load the images", || cluster.load(images))?;
    let Images { broker, operator, .. } = images;
    steps.step("install the operator", || {
        cluster.run(&format!(
            "helm install fulmar charts/fulmar --namespace fulmar-system --create-namespace --wait --timeout 2m \
             --set image.operator={} --set image.broker={}",
            operator.reference, broker.reference
        ))
    })?;
    steps.step("three brokers", || {
        cluster.run("kubectl apply --filename manifests/examples/quickstart.yaml")?;
        cluster.run(&format!("kubectl wait --for condition=Ready mqttcluster/{CLUSTER} --timeout 120s"))?;
        cluster.run("kubectl get mqttclusters,pods,services")
    })?;
    steps.step("messages between all pairs of pods", || {
        let program = std::env::current_exe().context("find this program")?;
        cluster::run(cluster.command(program).args(["demo", "exchange"]))
    })
}

const NEXT: &str = "
The cluster is yours. It lives in a network of its own; ./demo runs a command there:

  ./demo kubectl get mqttcluster
  ./demo kubectl describe mqttcluster quickstart
  ./demo kubectl scale mqttcluster/quickstart --replicas 5
  ./demo mosquitto_sub -h quickstart-mqtt.default.svc.cluster.local -t 'demo/#' -v
  ./demo mosquitto_pub -h quickstart-mqtt.default.svc.cluster.local -t demo/hello -m 'hello, cluster'
  ./demo kubectl apply -f manifests/examples/autoscale.yaml

make demo-down ends it and leaves nothing behind.";
