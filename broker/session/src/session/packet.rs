//! One PUBLISH to the client: how it names its topic, whether the client takes it, and its bytes.

use fulmar_codec::{PublishHead, Version, encode_publish, publish_length};

use crate::message::Outgoing;
use crate::outbound_aliases::{Naming, OutboundAliases};

/// The aliases of a connection; none for all those clients that keep none.
pub(super) type Aliases = Option<Box<OutboundAliases>>;

/// A PUBLISH as it is to be written.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    version: Version,
    head: PublishHead<'a>,
    /// Empty where the alias says it all.
    topic: &'a str,
    outgoing: &'a Outgoing<'a>,
}

impl<'a> Packet<'a> {
    /// An alias for the topic is chosen here and holds from [`Self::write`] on: what is not written, the client does not
    /// know.
    #[inline]
    pub(super) fn new(
        version: Version,
        head: PublishHead<'a>,
        outgoing: &'a Outgoing<'a>,
        aliases: &mut Aliases,
    ) -> Self {
        let mut packet = Self { version, head, topic: outgoing.topic, outgoing };
        if let Some(aliases) = aliases {
            packet.abbreviate(aliases);
        }
        packet
    }

    #[inline(never)]
    fn abbreviate(&mut self, aliases: &mut OutboundAliases) {
        match aliases.naming(self.topic) {
            Naming::Topic => {}
            Naming::TopicAndAlias(alias) => self.head.topic_alias = Some(alias),
            Naming::Alias(alias) => {
                self.head.topic_alias = Some(alias);
                self.topic = "";
            }
        }
    }

    /// Whether the client takes packets of that length. If it is only a new alias that makes the packet too long, there
    /// is none.
    #[inline]
    pub(super) fn fits(&mut self, packet_bytes_max: u32) -> bool {
        // Most clients take any.
        packet_bytes_max == u32::MAX
            || self.length() <= packet_bytes_max as usize
            || self.fits_without_alias(packet_bytes_max)
    }

    #[cold]
    fn fits_without_alias(&mut self, packet_bytes_max: u32) -> bool {
        // An alias that is set already is never longer than its topic.
        if self.topic.is_empty() {
            return false;
        }
        self.head.topic_alias = None;
        self.length() <= packet_bytes_max as usize
    }

    fn length(&self) -> usize {
        let Outgoing { forward, payload, .. } = self.outgoing;
        publish_length(self.version, &self.head, self.topic, forward, payload)
    }

    /// Appends the packet. `aliases` are those that it was made with.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, aliases: &mut Aliases) {
        let Outgoing { forward, payload, .. } = self.outgoing;
        encode_publish(out, self.version, &self.head, self.topic, forward, payload);
        if let Some(aliases) = aliases
            && let Some(alias) = self.head.topic_alias
            && !self.topic.is_empty()
        {
            aliases.set(alias, self.topic);
        }
    }
}
