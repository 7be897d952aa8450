//! Messages that one entry brings on their whole way: of QoS 2, and wills. What this shard does itself and what others
//! are to get is committed together, so a retry is never matched again.

use std::collections::{BTreeMap, BTreeSet};

use fulmar_codec::PacketId;

use super::Shard;
use crate::command::{Destination, Item, Routed, Target, Wants};
use crate::ledger::sabotaged;
use crate::names::{ClientId, Epoch, Number, Party, Version, WillId};
use crate::outbox::{Addressee, Waiting};
use crate::reply::{Refusal, Reply, Stored};
use crate::settings::{Bound, cost};

impl Shard {
    pub(super) fn receive_qos2(
        &mut self,
        client: &ClientId,
        epoch: Epoch,
        packet_id: PacketId,
        routed: &Routed,
    ) -> Result<Reply, Refusal> {
        let session = self.owned_session(client, epoch)?;
        if session.received.contains(&packet_id) && !sabotaged!(self.ledger, RetryMatchedAgain) {
            return Ok(Reply::Duplicate);
        }
        if session.received.len() >= usize::from(self.settings.received_ids_max) {
            return Err(Refusal::Bound(Bound::ReceivedIds));
        }
        self.room_for(routed, client, cost::RECEIVED, 0)?;
        let (session, ledger) = self.owned_session_mut(client, epoch)?;
        session.received.insert(packet_id);
        ledger.take(cost::RECEIVED);
        Ok(Reply::Routed(self.route(routed, client)))
    }

    pub(super) fn release(&mut self, client: &ClientId, epoch: Epoch, packet_id: PacketId) -> Result<Reply, Refusal> {
        let (session, ledger) = self.owned_session_mut(client, epoch)?;
        let was_open = session.received.remove(&packet_id);
        ledger.give_back(if was_open { cost::RECEIVED } else { 0 });
        Ok(Reply::Released(was_open))
    }

    pub(super) fn publish_will(
        &mut self,
        will: WillId,
        retain: Option<Version>,
        targets: &[Target],
        destinations: &[Destination],
    ) -> Result<Reply, Refusal> {
        let pending = self.wills.get(&will).ok_or(Refusal::NoWill(will))?;
        let (client, freed) = (pending.client.clone(), pending.bytes());
        let item = Item { message: pending.will.message.clone(), retain, targets: targets.to_vec() };
        let routed = Routed { item, destinations: destinations.to_vec() };
        self.room_for(&routed, &client, 0, freed)?;
        self.wills.remove(&will);
        self.ledger.give_back(freed);
        Ok(Reply::Routed(self.route(&routed, &client)))
    }

    pub(super) fn outbox_done(&mut self, destination: Party, until: Number) -> Result<Reply, Refusal> {
        let last = self.outbox.get(&destination).map_or(0, |outbox| outbox.last());
        if until > last {
            return Err(Refusal::NeverSent { found: until, last });
        }
        if let Some(outbox) = self.outbox.get_mut(&destination) {
            outbox.done(until, &mut self.ledger);
        }
        Ok(Reply::Done)
    }

    /// Whether all destinations have room: what goes on its way in one entry goes whole or not at all.
    fn room_for(&self, routed: &Routed, publisher: &ClientId, takes: u64, freed: u64) -> Result<(), Bound> {
        let destinations = self.living(&routed.destinations);
        if self.is_any_full(&destinations) {
            return Err(Bound::Outbox);
        }
        let outbox = destinations.iter().map(|it| self.bytes_for(&it.wants, publisher)).sum::<u64>();
        let body = if destinations.is_empty() { 0 } else { cost::BODY + routed.item.message.bytes() };
        match takes + outbox + body {
            0 => Ok(()),
            all => self.ledger.has_room(all.saturating_sub(freed), self.settings.shard_bytes_max),
        }
    }

    fn is_any_full(&self, destinations: &BTreeSet<&Destination>) -> bool {
        let mut coming: BTreeMap<Party, usize> = BTreeMap::new();
        destinations.iter().for_each(|it| *coming.entry(it.party).or_default() += 1);
        coming.into_iter().any(|(party, count)| !self.has_room_for(&party, count))
    }

    /// What a message takes in an outbox. The name of a shared subscription is there once, for all that is for it.
    fn bytes_for(&self, wants: &Wants, publisher: &ClientId) -> u64 {
        cost::OUTBOX
            + match wants {
                Wants::Subscribers => publisher.len() as u64,
                Wants::Group(share) if self.ledger.shares().id(share).is_none() => cost::SHARE + share.len() as u64,
                Wants::Group(_) | Wants::Retained(_) => 0,
            }
    }

    pub(super) fn is_full(&self, destination: &Party) -> bool {
        !self.has_room_for(destination, 1)
    }

    fn has_room_for(&self, destination: &Party, count: usize) -> bool {
        let waiting = self.outbox.get(destination).map_or(0, |outbox| outbox.len());
        waiting + count <= self.settings.outbox_messages_max as usize
    }

    fn route(&mut self, routed: &Routed, publisher: &ClientId) -> Stored {
        let body = self.ledger.add_body(&routed.item.message, self.time);
        for Destination { party, wants } in self.living(&routed.destinations) {
            let to = match wants {
                Wants::Subscribers => Addressee::Subscribers { publisher: publisher.clone() },
                Wants::Group(share) => Addressee::Group(self.ledger.hold_share_named(share)),
                Wants::Retained(version) => Addressee::Retained(*version),
            };
            let named = if let Addressee::Group(share) = &to { Some(*share) } else { None };
            self.outbox.entry(*party).or_default().push(Waiting { body, to }, &mut self.ledger);
            if let Some(share) = named {
                self.ledger.let_go_of_share(share);
            }
        }
        let stored = self.store_body(&routed.item, body, None);
        self.ledger.let_go(body);
        stored
    }

    /// Each destination once, without nodes that are gone: they have no subscribers any more.
    fn living<'a>(&self, destinations: &'a [Destination]) -> BTreeSet<&'a Destination> {
        let is_living = |it: &&Destination| !matches!(it.party, Party::Node(node) if self.is_gone(node));
        destinations.iter().filter(is_living).collect()
    }
}
