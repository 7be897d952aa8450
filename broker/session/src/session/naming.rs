//! How a PUBLISH to the client names its topic, and whether the client takes it.
//!
//! Most clients keep no aliases and take packets of any size. For them nothing of this is left but a branch or two: what
//! others need is marked as cold, which keeps it out of the way of everybody's messages.

use std::num::NonZeroU16;

use fulmar_codec::{PublishHead, Version, publish_length};

use crate::message::Outgoing;
use crate::outbound_aliases::{Naming, OutboundAliases};

/// The aliases of a connection; none for all those clients that keep none.
pub(super) type Aliases = Option<Box<OutboundAliases>>;

/// What the next packet says for the topic: itself, which is empty where the alias says it all, and the alias. A new one
/// holds once [`note_written`] has heard of it: what is not written, the client does not know.
#[inline]
pub(super) fn name_topic<'a>(aliases: &mut Aliases, topic: &'a str) -> (&'a str, Option<NonZeroU16>) {
    match aliases {
        None => (topic, None),
        Some(aliases) => name_or_alias(aliases, topic),
    }
}

#[cold]
fn name_or_alias<'a>(aliases: &mut OutboundAliases, topic: &'a str) -> (&'a str, Option<NonZeroU16>) {
    match aliases.naming(topic) {
        Naming::Topic => (topic, None),
        Naming::TopicAndAlias(alias) => (topic, Some(alias)),
        Naming::Alias(alias) => ("", Some(alias)),
    }
}

/// A packet was written that named its topic like this.
#[inline]
pub(super) fn note_written(aliases: &mut Aliases, topic: &str, alias: Option<NonZeroU16>) {
    if let Some(alias) = alias
        && !topic.is_empty()
    {
        set(aliases, alias, topic);
    }
}

#[cold]
fn set(aliases: &mut Aliases, alias: NonZeroU16, topic: &str) {
    if let Some(aliases) = aliases {
        aliases.set(alias, topic);
    }
}

/// Whether the client takes packets of that length. If it is only a new alias that makes the packet too long, there is
/// none.
#[inline]
pub(super) fn fits(
    packet_bytes_max: u32,
    version: Version,
    head: &mut PublishHead<'_>,
    topic: &str,
    outgoing: &Outgoing<'_>,
) -> bool {
    // Most clients take any.
    if packet_bytes_max == u32::MAX || length(version, *head, topic, outgoing) <= packet_bytes_max as usize {
        return true;
    }
    head.topic_alias = None;
    // An alias that is set already is never longer than its topic.
    !topic.is_empty() && length(version, *head, topic, outgoing) <= packet_bytes_max as usize
}

#[cold]
fn length(version: Version, head: PublishHead<'_>, topic: &str, outgoing: &Outgoing<'_>) -> usize {
    publish_length(version, &head, topic, &outgoing.forward, outgoing.payload)
}
