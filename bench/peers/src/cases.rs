//! What is asked of both brokers.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fulmar_codec::{Connect, PropertiesBuilder, QoS, Version, Will};

use crate::broker::Broker;
use crate::client::{Client, Message, greeting};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) statement: &'static str,
    /// What rumqttd 0.20.0 did in November 2026.
    pub(crate) rumqttd_holds: bool,
    /// A figure, if there is one, or what was broken.
    pub(crate) run: fn(&Broker) -> Result<String>,
}

const QOS0: QoS = QoS::AtMostOnce;
const QOS1: QoS = QoS::AtLeastOnce;
const V4: Version = Version::V311;
const V5: Version = Version::V5;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a topic that begins with ü harms nobody",
        statement: "MQTT-3.3.5-1",
        rumqttd_holds: false,
        run: a_topic_may_begin_with_any_letter,
    },
    Case {
        name: "a v5 user property ends no v4 subscriber",
        statement: "MQTT-3.3.5-1",
        rumqttd_holds: false,
        run: a_user_property_does_not_end_v4_subscribers,
    },
    Case {
        name: "a client without keep alive is served",
        statement: "3.1.2.10",
        rumqttd_holds: false,
        run: a_client_needs_no_keep_alive,
    },
    Case {
        name: "a client id that connects again takes over",
        statement: "MQTT-3.1.4-2",
        rumqttd_holds: true,
        run: a_second_connection_takes_over,
    },
    Case {
        name: "a subscription to a $ topic gets its messages",
        statement: "MQTT-4.7.2-1",
        rumqttd_holds: false,
        run: a_topic_with_a_dollar_can_be_subscribed_to,
    },
    Case {
        name: "a session waits for its client, with its messages",
        statement: "MQTT-3.1.2-5",
        rumqttd_holds: true,
        run: a_session_keeps_messages,
    },
    Case {
        name: "a retained message meets a later subscriber",
        statement: "MQTT-3.3.1-6",
        rumqttd_holds: true,
        run: a_retained_message_meets_a_later_subscriber,
    },
    Case {
        name: "an empty retained message clears the topic",
        statement: "MQTT-3.3.1-10",
        rumqttd_holds: true,
        run: an_empty_retained_message_clears,
    },
    Case {
        name: "a lost client's will is published",
        statement: "MQTT-3.1.2-8",
        rumqttd_holds: true,
        run: a_will_is_published,
    },
    Case {
        name: "a second CONNECT ends the connection",
        statement: "MQTT-3.1.0-2",
        rumqttd_holds: false,
        run: a_second_connect_is_an_error,
    },
    Case {
        name: "matching costs the same with 5,000 other filters",
        statement: "cost",
        rumqttd_holds: false,
        run: matching_does_not_grow_with_filters,
    },
];

fn a_topic_may_begin_with_any_letter(broker: &Broker) -> Result<String> {
    let mut subscriber = Client::visit(broker, V4, "subscriber")?;
    subscriber.subscribe(&["#"], QOS0)?;
    let mut publisher = Client::visit(broker, V4, "publisher")?;
    publisher.publish("über/1", b"21.5", QOS0, false)?;
    ensure!(subscriber.message()?.topic == "über/1", "another topic");
    // Nobody else may be harmed either.
    let mut other = Client::visit(broker, V4, "other")?;
    other.subscribe(&["other"], QOS0)?;
    other.publish("other", b"", QOS0, false)?;
    other.message().map(|_| String::new())
}

fn a_user_property_does_not_end_v4_subscribers(broker: &Broker) -> Result<String> {
    let mut subscriber = Client::visit(broker, V4, "subscriber")?;
    subscriber.subscribe(&["a"], QOS0)?;
    let mut publisher = Client::visit(broker, V5, "publisher")?;
    let properties = PropertiesBuilder::new().user("name", "value");
    publisher.publish_with("a", b"21.5", QOS0, false, &properties.forward())?;
    ensure!(subscriber.message()?.payload == b"21.5", "another payload");
    subscriber.ping().map(|()| String::new())
}

fn a_client_needs_no_keep_alive(broker: &Broker) -> Result<String> {
    let mut client = Client::connect(broker, &Connect::new(V4, "client"))?;
    client.ping().map(|()| String::new())
}

fn a_second_connection_takes_over(broker: &Broker) -> Result<String> {
    let mut first = Client::visit(broker, V4, "meter")?;
    let mut second = Client::visit(broker, V4, "meter")?;
    first.await_close()?;
    second.subscribe(&["a"], QOS0)?;
    second.publish("a", b"", QOS0, false)?;
    second.message().map(|_| String::new())
}

fn a_topic_with_a_dollar_can_be_subscribed_to(broker: &Broker) -> Result<String> {
    let mut client = Client::visit(broker, V4, "client")?;
    client.subscribe(&["$own/a"], QOS0)?;
    client.publish("$own/a", b"", QOS0, false)?;
    client.message().map(|_| String::new())
}

fn a_session_keeps_messages(broker: &Broker) -> Result<String> {
    let connect = Connect { clean_start: false, ..greeting(V4, "meter") };
    let mut client = Client::connect(broker, &connect)?;
    client.subscribe(&["a"], QOS1)?;
    drop(client);
    let mut publisher = Client::visit(broker, V4, "publisher")?;
    publisher.ping()?;
    publisher.publish("a", b"while away", QOS1, false)?;
    let mut client = Client::connect(broker, &connect)?;
    ensure!(client.session_present, "no session");
    ensure!(client.message()?.payload == b"while away", "another message");
    Ok(String::new())
}

fn a_retained_message_meets_a_later_subscriber(broker: &Broker) -> Result<String> {
    let mut publisher = Client::visit(broker, V4, "publisher")?;
    publisher.publish("a/b", b"21.5", QOS1, true)?;
    let mut subscriber = Client::visit(broker, V4, "subscriber")?;
    subscriber.subscribe(&["a/+"], QOS0)?;
    let wanted = Message { topic: "a/b".to_owned(), payload: b"21.5".to_vec(), retain: true };
    let found = subscriber.message()?;
    ensure!(found == wanted, "{found:?}");
    Ok(String::new())
}

fn an_empty_retained_message_clears(broker: &Broker) -> Result<String> {
    let mut publisher = Client::visit(broker, V4, "publisher")?;
    publisher.publish("a", b"21.5", QOS1, true)?;
    publisher.publish("a", b"", QOS1, true)?;
    let mut subscriber = Client::visit(broker, V4, "subscriber")?;
    subscriber.subscribe(&["a"], QOS0)?;
    subscriber.ping().map(|()| String::new())
}

fn a_will_is_published(broker: &Broker) -> Result<String> {
    let mut subscriber = Client::visit(broker, V4, "subscriber")?;
    subscriber.subscribe(&["gone"], QOS0)?;
    let connect = Connect { will: Some(Will::new("gone", b"meter")), ..greeting(V4, "meter") };
    drop(Client::connect(broker, &connect)?);
    subscriber.message().map(|_| String::new())
}

fn a_second_connect_is_an_error(broker: &Broker) -> Result<String> {
    let mut client = Client::visit(broker, V4, "client")?;
    client.send(b"\x10\x12\0\x04MQTT\x04\x02\0\x3c\0\x06client")?;
    client.await_close().map(|()| String::new())
}

/// Publishes that each find one subscriber, among few filters and among many that have nothing to do with them.
fn matching_does_not_grow_with_filters(broker: &Broker) -> Result<String> {
    let mut subscriber = Client::visit(broker, V4, "subscriber")?;
    subscriber.subscribe(&["measured/0"], QOS0)?;
    let mut publisher = Client::visit(broker, V4, "publisher")?;
    let few = time_of_publishes("few", &mut publisher, &mut subscriber)?;
    let mut other = Client::visit(broker, V4, "other")?;
    let filters: Vec<String> = (0..5000).map(|number| format!("other/{number}/+/state")).collect();
    for part in filters.chunks(100) {
        other.subscribe(&part.iter().map(String::as_str).collect::<Vec<_>>(), QOS0)?;
    }
    let many = time_of_publishes("many", &mut publisher, &mut subscriber)?;
    let ratio = many.as_secs_f64() / few.as_secs_f64();
    // Machines are noisy; what grows with filters grows by far more.
    if ratio > 3.0 {
        bail!("{ratio:.0} times");
    }
    Ok(format!("{ratio:.1} times"))
}

/// The shortest of several runs: a busy machine only ever adds to it. Each publish is to a topic that was not used before,
/// so that nothing remembered from the last one helps.
fn time_of_publishes(label: &str, publisher: &mut Client, subscriber: &mut Client) -> Result<Duration> {
    let mut shortest = Duration::MAX;
    for round in 0..5 {
        let start = Instant::now();
        for number in 0..50 {
            publisher.publish(&format!("unmatched/{label}/{round}/{number}"), b"", QOS0, false)?;
        }
        publisher.publish("measured/0", b"", QOS0, false)?;
        subscriber.message()?;
        shortest = shortest.min(start.elapsed());
    }
    Ok(shortest)
}
