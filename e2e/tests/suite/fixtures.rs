//! Clusters that several tests begin with.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fulmar_e2e::mqtt::{Client, Message, QoS};
use fulmar_e2e::{Cluster, Namespace};
use k8s_openapi::api::core::v1::ConfigMap;

/// A plain listener, open to everybody: what tests need that are about something else.
fn plain(name: &str, replicas: i32) -> String {
    format!(
        "apiVersion: mqtt.fulmar.dev/v1alpha1\n\
         kind: MqttCluster\n\
         metadata: {{name: {name}}}\n\
         spec:\n  \
           replicas: {replicas}\n  \
           listeners: [{{name: mqtt, protocol: mqtt, port: 1883}}]\n  \
           auth: {{anonymous: true}}\n"
    )
}

/// One broker with a plain and a self-signed listener, ready.
pub(crate) async fn secure(namespace: &Namespace) -> Result<Cluster> {
    let text = "apiVersion: mqtt.fulmar.dev/v1alpha1\n\
         kind: MqttCluster\n\
         metadata: {name: secure}\n\
         spec:\n  \
           replicas: 1\n  \
           listeners:\n  \
           - {name: mqtt, protocol: mqtt, port: 1883}\n  \
           - {name: mqtts, protocol: mqtts, port: 8883, tls: {selfSigned: {}}}\n  \
           auth: {anonymous: true}\n";
    namespace.apply_text(text).await?;
    let cluster = namespace.cluster("secure");
    cluster.ready().await?;
    Ok(cluster)
}

/// Three brokers, ready.
pub(crate) async fn three(namespace: &Namespace) -> Result<Cluster> {
    ready(namespace, "three", 3).await
}

/// Three brokers with one more line in their spec, ready.
pub(crate) async fn three_with(namespace: &Namespace, line: &str) -> Result<Cluster> {
    namespace.apply_text(&format!("{}  {line}\n", plain("three", 3))).await?;
    let cluster = namespace.cluster("three");
    cluster.ready().await?;
    Ok(cluster)
}

/// One broker, ready.
pub(crate) async fn one(namespace: &Namespace) -> Result<Cluster> {
    ready(namespace, "one", 1).await
}

async fn ready(namespace: &Namespace, name: &str, replicas: i32) -> Result<Cluster> {
    namespace.apply_text(&plain(name, replicas)).await?;
    let cluster = namespace.cluster(name);
    cluster.ready().await?;
    Ok(cluster)
}

/// Checks that a message published through the Service of listener `mqtt` arrives through it.
pub(crate) async fn serves(cluster: &Cluster) -> Result<()> {
    cluster.reachable("mqtt", 1883).await?;
    let host = cluster.host("mqtt");
    let mut subscriber = Client::connect(&host, 1883, "serves/subscriber").await?;
    subscriber.subscribe("serves", QoS::AtLeastOnce).await?;
    let mut publisher = Client::connect(&host, 1883, "serves/publisher").await?;
    publisher.publish("serves", QoS::AtLeastOnce, false, "yes").await?;
    assert_eq!(subscriber.receive().await?, Message::new("serves", "yes", QoS::AtLeastOnce));
    Ok(())
}

/// What the operator publishes for clients to trust.
pub(crate) async fn own_authority(cluster: &Cluster) -> Result<String> {
    let config_map = cluster.namespace.api::<ConfigMap>().get(&format!("{}-ca", cluster.name)).await?;
    config_map.data.unwrap_or_default().remove("ca.crt").context("ca.crt is not in the ConfigMap")
}

/// A folder for files that command line clients read; gone when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn create(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
