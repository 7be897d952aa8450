//! What a stranger tries first.

use std::time::{Duration, Instant};

use anyhow::Result;
use fulmar_e2e::Namespace;
use fulmar_e2e::mqtt::{Client, Message, QoS, Version};

/// From `kubectl apply` to `Ready`, with the images loaded.
const READY_LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn quickstart_is_ready_within_30_seconds(namespace: Namespace) -> Result<()> {
    let start = Instant::now();
    let cluster = namespace.apply_cluster("manifests/examples/quickstart.yaml", "quickstart").await?;
    cluster.ready_within(READY_LIMIT).await?;
    assert!(start.elapsed() <= READY_LIMIT, "ready after {:?}, wanted at most {READY_LIMIT:?}", start.elapsed());

    cluster.reachable("mqtt", 1883).await?;
    let host = cluster.host("mqtt");
    let mut subscriber = Client::connect(&host, 1883, "subscriber").await?;
    subscriber.subscribe("kitchen/#", QoS::AtLeastOnce).await?;
    let mut publisher = Client::connect_as(Version::V4, &host, 1883, "publisher").await?;
    publisher.publish("kitchen/temperature", QoS::AtLeastOnce, false, "21.5").await?;
    assert_eq!(subscriber.receive().await?, Message::new("kitchen/temperature", "21.5", QoS::AtLeastOnce));

    let shown = namespace.kubectl("get mqttc quickstart").await?;
    let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "READY", "REPLICAS", "AVAILABLE", "CONNECTIONS", "VERSION", "AGE"]);
    assert_eq!(words[1][..4], ["quickstart", "True", "3", "3"]);
    Ok(())
}
