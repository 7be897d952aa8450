//! Several pods, one space of topics.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use fulmar_e2e::Namespace;
use fulmar_e2e::metrics::Metrics;
use fulmar_e2e::mqtt::{Client, Message, QoS};
use fulmar_e2e::wait::ask_until;

use crate::fixtures::three;

/// Metrics are up to a second old.
const METRICS_LIMIT: Duration = Duration::from_secs(10);
const SUBSCRIBERS: usize = 100;
const PUBLISHES: usize = 20;

pub(crate) async fn messages_pass_between_all_six_pairs_of_pods(namespace: Namespace) -> Result<()> {
    let cluster = three(&namespace).await?;
    let addresses = cluster.addresses().await?;
    for (from, from_address) in &addresses {
        for (to, to_address) in addresses.iter().filter(|(name, _)| *name != from) {
            let before = received_from(*to_address, from).await?;
            pass_messages(*from_address, *to_address, &format!("{from}/{to}"))
                .await
                .with_context(|| format!("from {from} to {to}"))?;
            // The receiving pod names the sender, so the message really came by that link: QoS 0, 1, 2, retained, shared.
            ask_until(&format!("{to} to count 5 publishes from {from}"), METRICS_LIMIT, || async {
                Ok((received_from(*to_address, from).await? >= before + 5.0).then_some(()))
            })
            .await?;
        }
    }
    Ok(())
}

async fn pass_messages(from: IpAddr, to: IpAddr, topic: &str) -> Result<()> {
    let mut subscriber = client(to, &format!("{topic}/subscriber")).await?;
    let mut publisher = client(from, &format!("{topic}/publisher")).await?;
    subscriber.subscribe(&format!("plain/{topic}"), QoS::ExactlyOnce).await?;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (topic, payload) = (format!("plain/{topic}"), format!("{qos:?}"));
        publisher.publish(&topic, qos, false, &payload).await?;
        assert_eq!(subscriber.receive().await?, Message::new(&topic, &payload, qos));
    }

    let retained = format!("retained/{topic}");
    publisher.publish(&retained, QoS::AtLeastOnce, true, "kept").await?;
    // Every node has it before the publisher is told so.
    subscriber.subscribe(&retained, QoS::AtLeastOnce).await?;
    assert_eq!(subscriber.receive().await?, Message::retained(&retained, "kept", QoS::AtLeastOnce));

    subscriber.subscribe(&format!("$share/group/shared/{topic}"), QoS::AtLeastOnce).await?;
    let shared = format!("shared/{topic}");
    publisher.publish(&shared, QoS::AtLeastOnce, false, "one of us").await?;
    assert_eq!(subscriber.receive().await?, Message::new(&shared, "one of us", QoS::AtLeastOnce));
    publisher.disconnect().await?;
    subscriber.disconnect().await
}

pub(crate) async fn a_publish_crosses_a_link_once_however_many_subscribe_and_not_at_all_where_none_does(
    namespace: Namespace,
) -> Result<()> {
    let cluster = three(&namespace).await?;
    let addresses = cluster.addresses().await?;
    let [publisher_pod, many, none] = [0, 1, 2].map(|number| cluster.pod(number));
    let mut subscribers = Vec::with_capacity(SUBSCRIBERS);
    for number in 0..SUBSCRIBERS {
        let mut subscriber = client(addresses[&many], &format!("subscriber-{number}")).await?;
        subscriber.subscribe("news/+", QoS::AtLeastOnce).await?;
        subscribers.push(subscriber);
    }
    let mut publisher = client(addresses[&publisher_pod], "publisher").await?;
    let sent = || async {
        let metrics = Metrics::read(addresses[&publisher_pod]).await?;
        Ok::<_, anyhow::Error>([&many, &none].map(|peer| sent_to(&metrics, peer)))
    };
    let before = sent().await?;
    for number in 0..PUBLISHES {
        publisher.publish("news/today", QoS::AtLeastOnce, false, &number.to_string()).await?;
    }
    for subscriber in &mut subscribers {
        for number in 0..PUBLISHES {
            assert_eq!(subscriber.receive().await?, Message::new("news/today", &number.to_string(), QoS::AtLeastOnce));
        }
    }

    // Metrics are counted with the publish, so once all of it is there nothing more can come.
    let wanted = [before[0] + PUBLISHES as f64, before[1]];
    let publishes = "fulmar_publishes_received_total{qos=\"1\"}";
    ask_until("the publisher's pod to have counted every publish", METRICS_LIMIT, || async {
        let counted = Metrics::read(addresses[&publisher_pod]).await?.count(publishes);
        Ok((counted >= PUBLISHES as f64).then_some(()))
    })
    .await?;
    assert_eq!(
        sent().await?,
        wanted,
        "publishes sent to {many} with {SUBSCRIBERS} subscribers and to {none} with none"
    );
    Ok(())
}

async fn client(address: IpAddr, id: &str) -> Result<Client> {
    Client::connect(&address.to_string(), 1883, id).await
}

async fn received_from(address: IpAddr, peer: &str) -> Result<f64> {
    Ok(Metrics::read(address).await?.count(&format!("fulmar_link_publishes_received_total{{peer=\"{peer}\"}}")))
}

fn sent_to(metrics: &Metrics, peer: &str) -> f64 {
    metrics.count(&format!("fulmar_link_publishes_sent_total{{peer=\"{peer}\"}}"))
}
