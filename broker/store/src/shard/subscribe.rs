//! A client subscribes and unsubscribes.

use std::sync::Arc;

use super::Shard;
use crate::command::Subscription;
use crate::names::{ClientId, Epoch};
use crate::reply::{Refusal, Reply};
use crate::session::subscription_bytes;
use crate::settings::Bound;

impl Shard {
    pub(super) fn subscribe(
        &mut self,
        client: &ClientId,
        epoch: Epoch,
        subscriptions: &[(Arc<str>, Subscription)],
    ) -> Result<Reply, Refusal> {
        self.owned_session(client, epoch)?;
        let outcomes = subscriptions.iter().map(|(filter, subscription)| {
            let room = self.room_for_subscription(client, filter);
            room.map(|()| self.set_subscription(client, filter, Some(*subscription)).is_none())
        });
        Ok(Reply::Subscribed(outcomes.collect()))
    }

    pub(super) fn unsubscribe(
        &mut self,
        client: &ClientId,
        epoch: Epoch,
        filters: &[Arc<str>],
    ) -> Result<Reply, Refusal> {
        self.owned_session(client, epoch)?;
        let outcomes = filters.iter().map(|filter| {
            let was_there = self.set_subscription(client, filter, None).is_some();
            self.move_on_at_unsubscribe(client, filter);
            was_there
        });
        Ok(Reply::Unsubscribed(outcomes.collect()))
    }

    fn room_for_subscription(&self, client: &ClientId, filter: &Arc<str>) -> Result<(), Bound> {
        let subscriptions = &self.sessions[client].subscriptions;
        if subscriptions.contains_key(filter) {
            return Ok(());
        }
        if subscriptions.len() >= self.settings.subscriptions_max as usize {
            return Err(Bound::Subscriptions);
        }
        self.ledger.has_room(subscription_bytes(filter), self.settings.shard_bytes_max)
    }

    /// Puts a subscription in place or takes it away. Returns what there was.
    fn set_subscription(
        &mut self,
        client: &ClientId,
        filter: &Arc<str>,
        is: Option<Subscription>,
    ) -> Option<Subscription> {
        let session = self.sessions.get_mut(client).expect("who subscribes was found to own a session");
        let was = match is {
            Some(subscription) => session.subscriptions.insert(filter.clone(), subscription),
            None => session.subscriptions.remove(filter),
        };
        let generation = session.generation;
        match (was, is) {
            (None, Some(_)) => self.ledger.take(subscription_bytes(filter)),
            (Some(_), None) => self.ledger.give_back(subscription_bytes(filter)),
            _ => {}
        }
        if was != is {
            self.note_subscription((client, generation), filter, was, is);
        }
        was
    }
}
