//! The operator as a release of its chart: upgraded, removed, installed again, while clusters go on; and without helm.

use std::time::Duration;

use anyhow::Result;
use fulmar_e2e::command::{command, run};
use fulmar_e2e::kit::{OPERATOR_NAMESPACE, RELEASE};
use fulmar_e2e::mqtt::{Client, Message, QoS};
use fulmar_e2e::wait::ask_until;
use fulmar_e2e::{Cluster, Namespace};

use crate::SETTINGS;
use crate::fixtures::{serves, three};

const LIMIT: Duration = Duration::from_secs(120);
/// A version for new clusters that exists nowhere: a pod that is started with it never serves.
const NEWER_BROKERS: &str = "image.broker=fulmar.dev/fulmar-broker:v9.9.9";

pub(crate) async fn clusters_serve_on_while_the_chart_is_upgraded_removed_and_installed_again(
    namespace: Namespace,
) -> Result<()> {
    let cluster = three(&namespace).await?;
    let mut kept = cluster.identities().await?;
    let version = cluster.get().await?.status.unwrap_or_default().version;
    let mut witness = Witness::connect(&cluster).await?;

    let operator = operator_pod().await?;
    namespace.kit.install_chart(&[SETTINGS, &[NEWER_BROKERS]].concat()).await?;
    assert_ne!(operator_pod().await?, operator, "an upgraded operator is a new pod");
    // A change shows that the new operator cares for the cluster. It fixed its version when it was made.
    namespace.kubectl("scale mqttcluster/three --replicas=2").await?;
    cluster.ready_with(2, LIMIT).await?;
    kept.remove(&cluster.pod(2));
    assert_eq!(cluster.identities().await?, kept, "a newer operator restarts nothing");
    assert_eq!(cluster.get().await?.status.unwrap_or_default().version, version);
    witness.sees("upgraded").await?;

    uninstall_chart().await?;
    witness.sees("removed").await?;
    serves(&cluster).await?;
    assert_eq!(cluster.identities().await?, kept, "the definitions were kept, and every cluster with them");
    namespace.kubectl("scale mqttcluster/three --replicas=3").await?;

    // What was asked for while there was no operator is done by the next one, to the cluster that it finds.
    namespace.kit.install_chart(SETTINGS).await?;
    cluster.ready_with(3, LIMIT).await?;
    let mut after = cluster.identities().await?;
    after.retain(|pod, _| kept.contains_key(pod));
    assert_eq!(after, kept, "an adopted cluster is not restarted");
    assert_eq!(cluster.get().await?.status.unwrap_or_default().version, version);
    witness.sees("installed again").await
}

pub(crate) async fn without_helm_one_file_brings_an_operator_that_makes_clusters(namespace: Namespace) -> Result<()> {
    uninstall_chart().await?;
    let manifest = namespace.kit.install_manifest.as_os_str();
    let mut apply = command("kubectl apply --filename");
    apply.arg(manifest);
    run(apply).await?;
    let rollout = format!("rollout status deployment/fulmar-operator --timeout {}s", LIMIT.as_secs());
    run(command(&format!("kubectl --namespace {OPERATOR_NAMESPACE} {rollout}"))).await?;
    serves(&three(&namespace).await?).await?;

    // The definitions have no such label: they stay, for the next chart.
    let mut delete = command("kubectl delete --wait --ignore-not-found --filename");
    delete.arg(manifest).arg("--selector=app.kubernetes.io/instance=fulmar");
    run(delete).await?;
    operator_is_gone().await
}

async fn uninstall_chart() -> Result<()> {
    run(command(&format!("helm uninstall {RELEASE} --namespace {OPERATOR_NAMESPACE} --wait"))).await?;
    operator_is_gone().await
}

async fn operator_is_gone() -> Result<()> {
    ask_until("the operator to be gone", LIMIT, || async { Ok(operator_pod().await?.is_empty().then_some(())) }).await
}

async fn operator_pod() -> Result<String> {
    let pods = "get pods --selector app.kubernetes.io/name=fulmar-operator --output name";
    run(command(&format!("kubectl --namespace {OPERATOR_NAMESPACE} {pods}"))).await
}

/// Two clients that stay connected all the while.
struct Witness {
    subscriber: Client,
    publisher: Client,
}

impl Witness {
    async fn connect(cluster: &Cluster) -> Result<Self> {
        cluster.reachable("mqtt", 1883).await?;
        // On pods that stay when the cluster shrinks.
        let addresses = cluster.addresses().await?;
        let [here, there] = [0, 1].map(|number| addresses[&cluster.pod(number)].to_string());
        let mut subscriber = Client::connect(&here, 1883, "witness/subscriber").await?;
        subscriber.subscribe("witness", QoS::AtLeastOnce).await?;
        let publisher = Client::connect(&there, 1883, "witness/publisher").await?;
        Ok(Self { subscriber, publisher })
    }

    async fn sees(&mut self, what: &str) -> Result<()> {
        self.publisher.publish("witness", QoS::AtLeastOnce, false, what).await?;
        assert_eq!(self.subscriber.receive().await?, Message::new("witness", what, QoS::AtLeastOnce));
        Ok(())
    }
}
