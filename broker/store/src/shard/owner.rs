//! What the owner of a session has to know of it beside its messages.

use std::sync::Arc;

use fulmar_codec::PacketId;

use super::Shard;
use crate::command::Subscription;

impl Shard {
    /// What a session subscribed to; nothing if there is no such session.
    pub fn subscriptions_of(&self, client: &str) -> impl Iterator<Item = (&Arc<str>, &Subscription)> {
        self.sessions.get(client).into_iter().flat_map(|session| &session.subscriptions)
    }

    /// QoS 2 packet identifiers that a client has not released.
    pub fn received_of(&self, client: &str) -> impl Iterator<Item = PacketId> {
        self.sessions.get(client).into_iter().flat_map(|session| session.received.iter().copied())
    }
}
