//! An MQTT client for tests: rumqttc, driven so that every step is confirmed before the next begins.
//!
//! Plain TCP only; TLS is tested with mosquitto's clients. A client that is told to come later does (MQTT 5.0, 3.2.2.2:
//! 0x88, 0x89). Once it is in it never connects again by itself: whatever ends its connection is the error of the next
//! step.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rumqttc::v5;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::wait::ask_until;

pub use rumqttc::QoS;

/// No confirmation takes longer, not even over a link that was just cut.
const LIMIT: Duration = Duration::from_secs(15);
/// Requests that wait for the connection.
const REQUESTS_MAX: usize = 16;

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.0.
    V5,
}

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload, which tests make of text.
    pub payload: String,
    /// The quality of service it arrived with.
    pub qos: QoS,
    /// Whether it was a retained one.
    pub is_retained: bool,
}

impl Message {
    /// What a test expects of a message that is not a retained one.
    #[must_use]
    pub fn new(topic: &str, payload: &str, qos: QoS) -> Self {
        Self { topic: topic.to_owned(), payload: payload.to_owned(), qos, is_retained: false }
    }

    /// The same for a retained one.
    #[must_use]
    pub fn retained(topic: &str, payload: &str, qos: QoS) -> Self {
        Self { is_retained: true, ..Self::new(topic, payload, qos) }
    }
}

/// A connected client. Dropping it cuts the connection without a DISCONNECT.
#[derive(Debug)]
pub struct Client {
    handle: Handle,
    events: UnboundedReceiver<Event>,
    inbox: VecDeque<Message>,
    pump: JoinHandle<()>,
}

#[derive(Debug)]
enum Handle {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

#[derive(Debug)]
enum Event {
    Connected,
    Subscribed(Vec<String>),
    /// With the reason code, if the broker refused it.
    Published(Option<String>),
    Received(Message),
    Ended(String),
    /// The client is not let in now, and may come later.
    Later(String),
}

impl Client {
    /// Connects with MQTT 5.0 and a clean start.
    pub async fn connect(host: &str, port: u16, id: &str) -> Result<Self> {
        Self::connect_as(Version::V5, host, port, id).await
    }

    /// Connects with a clean start.
    pub async fn connect_as(version: Version, host: &str, port: u16, id: &str) -> Result<Self> {
        Self::open(version, host, port, id, None).await
    }

    /// Connects with a clean start as this user; the client id is the user's name.
    pub async fn log_in(version: Version, host: &str, port: u16, user: &str, password: &str) -> Result<Self> {
        Self::open(version, host, port, user, Some((user, password))).await
    }

    async fn open(
        version: Version,
        host: &str,
        port: u16,
        id: &str,
        credentials: Option<(&str, &str)>,
    ) -> Result<Self> {
        let what = format!("{id} to be let in at {host}:{port}");
        ask_until(&what, LIMIT, || async {
            let mut client = Self::start(version, host, port, id, credentials);
            let answer = |event: &Event| match event {
                Event::Connected => Some(Ok(())),
                Event::Later(how) => Some(Err(anyhow!("{how}"))),
                _ => None,
            };
            let answer = client.confirmed("CONNACK", answer).await;
            // Only who may come later asks again.
            Ok(match answer.with_context(|| format!("connect {id} to {host}:{port}")) {
                Ok(Ok(())) => Some(Ok(client)),
                Ok(Err(later)) => return Err(later),
                Err(error) => Some(Err(error)),
            })
        })
        .await?
    }

    fn start(version: Version, host: &str, port: u16, id: &str, credentials: Option<(&str, &str)>) -> Self {
        let (sender, events) = unbounded_channel();
        let (handle, pump) = match version {
            Version::V4 => {
                let mut options = rumqttc::MqttOptions::new(id, host, port);
                options.set_keep_alive(Duration::from_secs(30));
                if let Some((user, password)) = credentials {
                    options.set_credentials(user, password);
                }
                let (client, events) = rumqttc::AsyncClient::new(options, REQUESTS_MAX);
                (Handle::V4(client), tokio::spawn(pump_v4(events, sender)))
            }
            Version::V5 => {
                let mut options = v5::MqttOptions::new(id, host, port);
                options.set_keep_alive(Duration::from_secs(30));
                if let Some((user, password)) = credentials {
                    options.set_credentials(user, password);
                }
                let (client, events) = v5::AsyncClient::new(options, REQUESTS_MAX);
                (Handle::V5(client), tokio::spawn(pump_v5(events, sender)))
            }
        };
        Self { handle, events, inbox: VecDeque::new(), pump }
    }

    /// Subscribes, and waits until the broker granted it.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<()> {
        match &self.handle {
            Handle::V4(client) => client.subscribe(filter, qos).await?,
            Handle::V5(client) => client.subscribe(filter, to_v5(qos)).await?,
        }
        let is_suback = |event: &Event| if let Event::Subscribed(codes) = event { Some(codes.clone()) } else { None };
        let found = self.confirmed("SUBACK", is_suback).await.with_context(|| format!("subscribe to {filter}"))?;
        let wanted = [format!("Success({qos:?})")];
        if found != wanted {
            bail!("subscribing to {filter}: found {found:?}, wanted {wanted:?}");
        }
        Ok(())
    }

    /// Publishes. With QoS 1 and 2 it waits for the acknowledgement, which must be no refusal, with QoS 0 for nothing.
    pub async fn publish(&mut self, topic: &str, qos: QoS, is_retained: bool, payload: &str) -> Result<()> {
        match &self.handle {
            Handle::V4(client) => client.publish(topic, qos, is_retained, payload).await?,
            Handle::V5(client) => client.publish(topic, to_v5(qos), is_retained, payload.to_owned()).await?,
        }
        if qos != QoS::AtMostOnce {
            let answer =
                |event: &Event| if let Event::Published(refused) = event { Some(refused.clone()) } else { None };
            let refused = self.confirmed("an acknowledgement", answer).await;
            if let Some(code) = refused.with_context(|| format!("publish to {topic}"))? {
                bail!("publishing to {topic}: found the answer {code}, wanted an acknowledgement");
            }
        }
        Ok(())
    }

    /// The next message.
    pub async fn receive(&mut self) -> Result<Message> {
        if let Some(message) = self.inbox.pop_front() {
            return Ok(message);
        }
        let is_message =
            |event: &Event| if let Event::Received(message) = event { Some(message.clone()) } else { None };
        let found = self.confirmed("a message", is_message).await?;
        // What is confirmed is a message too, so it is in the inbox as well.
        self.inbox.pop_back();
        Ok(found)
    }

    /// Waits until the connection ends, and says how.
    pub async fn ended(&mut self) -> Result<String> {
        let is_end = |event: &Event| if let Event::Ended(how) = event { Some(how.clone()) } else { None };
        self.confirmed("the end of the connection", is_end).await
    }

    /// Ends the connection as a client should.
    pub async fn disconnect(mut self) -> Result<()> {
        match &self.handle {
            Handle::V4(client) => client.disconnect().await?,
            Handle::V5(client) => client.disconnect().await?,
        }
        self.ended().await.map(drop)
    }

    /// Reads events until one is what is wanted. Messages that arrive meanwhile are kept.
    async fn confirmed<T>(&mut self, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> Result<T> {
        let search = async {
            loop {
                let event = self.events.recv().await.ok_or_else(|| anyhow!("the connection has ended"))?;
                let found = wanted(&event);
                match event {
                    Event::Received(message) => self.inbox.push_back(message),
                    Event::Ended(how) if found.is_none() => bail!("the connection ended: {how}"),
                    _ => {}
                }
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        };
        timeout(LIMIT, search).await.with_context(|| format!("waited {LIMIT:?} for {what}"))?
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

async fn pump_v4(mut events: rumqttc::EventLoop, sender: UnboundedSender<Event>) {
    use rumqttc::{ConnectReturnCode, ConnectionError, Event as Raw, Packet};
    loop {
        let event = match events.poll().await {
            Ok(Raw::Incoming(Packet::ConnAck(_))) => Event::Connected,
            Ok(Raw::Incoming(Packet::SubAck(ack))) => Event::Subscribed(names(&ack.return_codes)),
            Ok(Raw::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => Event::Published(None),
            Ok(Raw::Incoming(Packet::Publish(publish))) => Event::Received(Message {
                topic: publish.topic,
                payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                qos: publish.qos,
                is_retained: publish.retain,
            }),
            Ok(_) => continue,
            Err(ConnectionError::ConnectionRefused(code @ ConnectReturnCode::ServiceUnavailable)) => {
                Event::Later(format!("{code:?}"))
            }
            Err(error) => Event::Ended(error.to_string()),
        };
        if !pass_on(event, &sender) {
            return;
        }
    }
}

async fn pump_v5(mut events: v5::EventLoop, sender: UnboundedSender<Event>) {
    use v5::mqttbytes::v5::{ConnectReturnCode, Packet};
    use v5::{ConnectionError, Event as Raw};
    loop {
        let event = match events.poll().await {
            Ok(Raw::Incoming(Packet::ConnAck(_))) => Event::Connected,
            Ok(Raw::Incoming(Packet::SubAck(ack))) => Event::Subscribed(names(&ack.return_codes)),
            Ok(Raw::Incoming(Packet::PubAck(ack))) => Event::Published(refusal(ack.reason)),
            Ok(Raw::Incoming(Packet::PubComp(_))) => Event::Published(None),
            Ok(Raw::Incoming(Packet::Publish(publish))) => Event::Received(Message {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                qos: from_v5(publish.qos),
                is_retained: publish.retain,
            }),
            Ok(_) => continue,
            Err(ConnectionError::ConnectionRefused(
                code @ (ConnectReturnCode::ServerUnavailable | ConnectReturnCode::ServerBusy),
            )) => Event::Later(format!("{code:?}")),
            Err(error) => Event::Ended(error.to_string()),
        };
        if !pass_on(event, &sender) {
            return;
        }
    }
}

/// False when there is nothing more to pass on: the connection has ended, or nobody listens.
fn pass_on(event: Event, sender: &UnboundedSender<Event>) -> bool {
    let is_last = matches!(event, Event::Ended(_) | Event::Later(_));
    sender.send(event).is_ok() && !is_last
}

/// rumqttc has a type of its own for each version of the protocol.
fn to_v5(qos: QoS) -> v5::mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

fn from_v5(qos: v5::mqttbytes::QoS) -> QoS {
    match qos {
        v5::mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        v5::mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        v5::mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn refusal(reason: v5::mqttbytes::v5::PubAckReason) -> Option<String> {
    use v5::mqttbytes::v5::PubAckReason::{NoMatchingSubscribers, Success};
    (!matches!(reason, Success | NoMatchingSubscribers)).then(|| format!("{reason:?}"))
}

fn names<T: std::fmt::Debug>(codes: &[T]) -> Vec<String> {
    codes.iter().map(|code| format!("{code:?}")).collect()
}
