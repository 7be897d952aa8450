//! More pods and fewer, by hand and by load.

use std::time::Duration;

use anyhow::Result;
use fulmar_api::ConditionKind;
use fulmar_e2e::Namespace;
use fulmar_e2e::mqtt::Client;

use crate::fixtures::{serves, three};

/// A new pod, or the end of one, on a busy machine.
const SCALE_LIMIT: Duration = Duration::from_secs(120);
/// More than four brokers should carry at the 20 connections per replica of the example.
const CLIENTS_FOR_FIVE: usize = 90;

pub(crate) async fn scaling_to_5_and_back_to_3_leaves_pods_0_to_2_untouched(namespace: Namespace) -> Result<()> {
    let cluster = three(&namespace).await?;
    let before = cluster.identities().await?;

    namespace.kubectl("scale mqttcluster/three --replicas=5").await?;
    cluster.ready_with(5, SCALE_LIMIT).await?;
    let mut at_five = cluster.identities().await?;
    assert_eq!(at_five.len(), 5);
    at_five.retain(|pod, _| before.contains_key(pod));
    assert_eq!(at_five, before);
    serves(&cluster).await?;

    namespace.kubectl("scale mqttcluster/three --replicas=3").await?;
    cluster.ready_with(3, SCALE_LIMIT).await?;
    assert_eq!(cluster.identities().await?, before);
    serves(&cluster).await
}

pub(crate) async fn pods_follow_the_connected_clients_from_3_to_5_and_back(namespace: Namespace) -> Result<()> {
    let cluster = namespace.apply_cluster("manifests/examples/autoscale.yaml", "autoscale").await?;
    cluster.ready_with(3, SCALE_LIMIT).await?;
    cluster.condition(ConditionKind::ScalingActive, "True", Some("Steady"), SCALE_LIMIT).await?;

    cluster.reachable("mqtt", 1883).await?;
    let clients = connect_clients(&cluster.host("mqtt")).await?;
    cluster.ready_with(5, SCALE_LIMIT).await?;
    let shown = format!("{CLIENTS_FOR_FIVE} connections at 20 per replica need 5 replicas");
    let steady = |cluster: &fulmar_api::MqttCluster| {
        let status = cluster.status.as_ref()?;
        let reason = &status.autoscaling.as_ref()?.reason;
        (*reason == shown && status.connections == Some(CLIENTS_FOR_FIVE as i64)).then_some(())
    };
    cluster.until(&shown, SCALE_LIMIT, steady).await?;

    for client in clients {
        client.disconnect().await?;
    }
    cluster.ready_with(3, SCALE_LIMIT).await?;

    let events =
        namespace.kubectl("get events --field-selector reason=Scaled --output jsonpath={.items[*].message}").await?;
    for told in ["to 5 pods: ", "from 5 to 4 pods: ", "from 4 to 3 pods: "] {
        assert!(events.contains(told), "found the events {events:?}, wanted one with {told:?}");
    }
    serves(&cluster).await
}

/// Enough clients for five brokers of the example files, through the Service, so that they spread over the pods.
pub(crate) async fn connect_clients(host: &str) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(CLIENTS_FOR_FIVE);
    for number in 0..CLIENTS_FOR_FIVE {
        clients.push(Client::connect(host, 1883, &format!("device-{number}")).await?);
    }
    Ok(clients)
}
