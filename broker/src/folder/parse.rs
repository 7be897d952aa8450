//! Makes values of the lines of an export. Nothing in them is believed: what MQTT does not allow is refused with what
//! was found.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fulmar_codec::{
    ForwardProperties, PacketId, QoS, RetainHandling, SubscriptionOptions, TopicLimits, check_topic_name, parse_filter,
};
use fulmar_store::{Message, NewSession, PendingWill, Subscription, Version, Will};

use super::line::{Published, RetainedLine, SessionLine, SessionWill, SubscriptionLine, WillLine};

/// The longest text of MQTT (MQTT 5.0, 1.5.4).
const TEXT_BYTES_MAX: usize = 65_535;
/// The largest message, with its topic and properties: a packet has no more (MQTT 5.0, 2.1.4).
const MESSAGE_BYTES_MAX: usize = 268_435_455;
/// The highest subscription identifier (MQTT 5.0, 3.8.2.1.2).
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

/// A message.
pub(super) fn message(line: &Published) -> anyhow::Result<Message> {
    let Published { topic, qos, retain, lifetime_seconds, properties, payload } = line;
    let limits = TopicLimits { bytes_max: TEXT_BYTES_MAX, ..TopicLimits::NONE };
    check_topic_name(topic, limits).with_context(|| format!("topic {topic:?}"))?;
    let properties = STANDARD.decode(properties).context("properties")?;
    ForwardProperties::parse(&properties).context("properties")?;
    let payload = STANDARD.decode(payload).context("payload")?;
    let bytes = topic.len() + properties.len() + payload.len();
    ensure!(bytes <= MESSAGE_BYTES_MAX, "found a message of {bytes} bytes, wanted at most {MESSAGE_BYTES_MAX}");
    let message = Message::new(topic, self::qos(*qos)?, &properties, &payload);
    Ok(message.with_retain(*retain).with_lifetime(*lifetime_seconds))
}

/// A session without its queue.
pub(super) fn session(line: &SessionLine) -> anyhow::Result<NewSession> {
    let SessionLine { client, user, expiry_seconds, ends_at, receive_maximum, will, .. } = line;
    let SessionLine { next, sent_until, received, subscriptions, .. } = line;
    let will = will.as_ref().map(|SessionWill { message: it, delay_seconds, due_at }| {
        let will = Will { message: message(it).context("will")?, delay_seconds: *delay_seconds };
        Ok::<_, anyhow::Error>((will, *due_at))
    });
    let received =
        received.iter().map(|id| PacketId::new(*id).context("found the packet identifier 0, wanted another"));
    Ok(NewSession {
        client: self::client(client)?,
        user: self::user(user.as_deref())?,
        expiry_seconds: expiry_seconds.unwrap_or(u32::MAX),
        ends: *ends_at,
        receive_maximum: NonZeroU16::new(*receive_maximum).context("found the receive maximum 0, wanted another")?,
        will: will.transpose()?,
        next: *next,
        sent_until: *sent_until,
        received: received.collect::<anyhow::Result<_>>()?,
        subscriptions: subscriptions.iter().map(subscription).collect::<anyhow::Result<_>>()?,
    })
}

fn subscription(line: &SubscriptionLine) -> anyhow::Result<(Arc<str>, Subscription)> {
    let SubscriptionLine { filter, qos, no_local, retain_as_published, retain_handling, id } = line;
    self::filter(filter)?;
    let options = SubscriptionOptions {
        qos: self::qos(*qos)?,
        no_local: *no_local,
        retain_as_published: *retain_as_published,
        retain_handling: match retain_handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            found => bail!("found the retain handling {found}, wanted 0, 1 or 2"),
        },
    };
    Ok((filter.as_str().into(), Subscription { options, id: id.map(subscription_id).transpose()? }))
}

/// A subscription's filter.
pub(super) fn filter(filter: &str) -> anyhow::Result<()> {
    let limits = TopicLimits { bytes_max: TEXT_BYTES_MAX, ..TopicLimits::NONE };
    parse_filter(filter, limits).with_context(|| format!("filter {filter:?}"))?;
    Ok(())
}

/// The name of a shared subscription.
pub(super) fn share(name: &str) -> anyhow::Result<Arc<str>> {
    filter(name)?;
    ensure!(name.starts_with("$share/"), "found {name:?}, wanted a shared subscription");
    Ok(name.into())
}

pub(super) fn subscription_id(id: u32) -> anyhow::Result<NonZeroU32> {
    let id = NonZeroU32::new(id).filter(|id| id.get() <= SUBSCRIPTION_ID_MAX);
    id.context("found a subscription identifier out of range, wanted 1 to 268,435,455")
}

pub(super) fn qos(level: u8) -> anyhow::Result<QoS> {
    QoS::new(level).with_context(|| format!("found QoS {level}, wanted 0, 1 or 2"))
}

/// A will that is to be published.
pub(super) fn pending_will(line: &WillLine) -> anyhow::Result<PendingWill> {
    let WillLine { client, user, message: it, delay_seconds } = line;
    let will = Will { message: message(it)?, delay_seconds: *delay_seconds };
    Ok(PendingWill { client: self::client(client)?, user: self::user(user.as_deref())?, will })
}

/// Which of two retained messages of a topic is the later one.
pub(super) fn version(line: &RetainedLine) -> anyhow::Result<Version> {
    let RetainedLine { clock, node, .. } = line;
    let node = u64::from_str_radix(node, 16).with_context(|| format!("node {node:?}"))?;
    Ok(Version { clock: *clock, node })
}

fn client(name: &str) -> anyhow::Result<Arc<str>> {
    text(name, "client identifier")
}

fn user(name: Option<&str>) -> anyhow::Result<Option<Arc<str>>> {
    name.map(|name| text(name, "user name")).transpose()
}

/// What may be text in a packet (MQTT 5.0, 1.5.4).
fn text(text: &str, what: &str) -> anyhow::Result<Arc<str>> {
    let bytes = text.len();
    ensure!(bytes <= TEXT_BYTES_MAX, "found a {what} of {bytes} bytes, wanted at most {TEXT_BYTES_MAX}");
    ensure!(!text.contains('\0'), "found a null character in the {what} {text:?}, wanted none");
    Ok(text.into())
}
