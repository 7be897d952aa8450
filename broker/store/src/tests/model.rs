//! The same rules as plainly as they can be written: no table of what is due, no counts of references, no sums. All is
//! found by looking at everything.

mod again;
mod clear;
mod look;
mod retained;
mod session;

use std::collections::{BTreeMap, BTreeSet};

use fulmar_codec::QoS;

use crate::*;
pub(super) use again::ITSELF;
use look::will_bytes;
use session::acknowledge;
pub(super) use session::{Kept, Place, Session};

/// A message in the outbox: its number, and who gets it.
type Waiting = (Number, Kept, Addressee);

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) settings: Settings,
    applied: Index,
    pub(super) time: Time,
    last_epoch: Epoch,
    last_will: WillId,
    last_number: u64,
    pub(super) sessions: BTreeMap<ClientId, Session>,
    /// The next number of each, and who was in the parts of that message that came.
    sources: BTreeMap<Party, (Number, Vec<ClientId>)>,
    /// A node, since when, and which entry said so.
    gone: Vec<(Node, Time, Index)>,
    pub(super) retained: BTreeMap<String, (Kept, Version)>,
    /// Topics whose message was deleted, by which version and until when that is remembered; the oldest first.
    pub(super) tombstones: Vec<(String, Version, Time)>,
    pub(super) wills: BTreeMap<WillId, PendingWill>,
    /// The last number for each destination, and what waits.
    pub(super) outbox: BTreeMap<Party, (Number, Vec<Waiting>)>,
    pub(super) totals: Totals,
}

impl Model {
    pub(super) fn apply(&mut self, index: Index, entry: &Entry) -> Vec<Reply> {
        self.applied = index;
        self.time = self.time.max(entry.time);
        entry.commands.iter().map(|command| self.command(command).unwrap_or_else(Reply::Refused)).collect()
    }

    fn command(&mut self, command: &Command) -> Result<Reply, Refusal> {
        match command.clone() {
            Command::Settings(settings) => self.settings = settings,
            Command::Claim(claim) => return self.claim(claim),
            Command::Subscribe { client, epoch, subscriptions } => {
                self.owned(&client, epoch)?;
                let each = subscriptions.into_iter().map(|(filter, it)| self.subscribe(&client, filter, it));
                return Ok(Reply::Subscribed(each.collect()));
            }
            Command::Unsubscribe { client, epoch, filters } => {
                self.owned(&client, epoch)?;
                let each = filters.iter().map(|filter| self.unsubscribe(&client, filter));
                return Ok(Reply::Unsubscribed(each.collect()));
            }
            Command::Publish { source, first, items, goes_on } => {
                return self.publish(source, first, &items, goes_on);
            }
            Command::Acknowledge { client, epoch, acks } => {
                let settings = self.settings;
                let session = self.owned(&client, epoch)?;
                let each = acks.into_iter().map(|(sequence, ack)| acknowledge(session, sequence, ack)).collect();
                session.move_window(&settings);
                return Ok(Reply::Acknowledged(each));
            }
            Command::ReceiveQos2 { client, epoch, packet_id, routed } => {
                let received = self.owned(&client, epoch)?.received.clone();
                if received.contains(&packet_id) {
                    return Ok(Reply::Duplicate);
                }
                if received.len() >= self.settings.received_ids_max.into() {
                    return Err(Bound::ReceivedIds.into());
                }
                self.room_to_route(&routed, &client, cost::RECEIVED, 0)?;
                self.owned(&client, epoch)?.received.insert(packet_id);
                return Ok(Reply::Routed(self.route(&routed, &client)));
            }
            Command::Release { client, epoch, packet_id } => {
                return Ok(Reply::Released(self.owned(&client, epoch)?.received.remove(&packet_id)));
            }
            Command::Disconnect { client, epoch, expiry_seconds, will } => {
                return self.disconnect(&client, epoch, expiry_seconds, will);
            }
            Command::End { client, generation } => {
                let session = self.sessions.get(&client).filter(|session| session.generation == generation);
                let Some(session) = session else { return Ok(Reply::Ended { was_there: false, owner: None }) };
                let is_owned = session.left_at.is_none() && !self.is_gone(session.node);
                let owner = is_owned.then_some(session.node);
                self.end(&client);
                return Ok(Reply::Ended { was_there: true, owner });
            }
            Command::NodeGone(node) => {
                if !self.is_gone(node) {
                    self.gone.retain(|(other, ..)| other.id != node.id);
                    self.gone.push((node, self.time, self.applied));
                    let is_over = |party: &Party| match party {
                        Party::Node(it) => it.id == node.id && it.incarnation <= node.incarnation,
                        Party::Shard(_) => false,
                    };
                    self.sources.retain(|source, _| !is_over(source));
                    let all = std::mem::take(&mut self.outbox);
                    let (over, rest) = all.into_iter().partition(|(destination, _)| is_over(destination));
                    self.outbox = rest;
                    let over: BTreeMap<Party, (Number, Vec<Waiting>)> = over;
                    for (_, kept, to) in over.into_values().flat_map(|(_, waiting)| waiting) {
                        if let Addressee::Group(share) = to
                            && kept.message.qos != QoS::ExactlyOnce
                        {
                            self.move_on(kept, share);
                        }
                    }
                }
                let cleared = self.clear();
                self.forget_gone();
                return Ok(Reply::Cleared(cleared));
            }
            Command::PublishWill { will, retain, targets, destinations } => {
                let pending = self.wills.get(&will).cloned().ok_or(Refusal::NoWill(will))?;
                let PendingWill { client, user, will: Will { message, .. } } = &pending;
                let freed = will_bytes(client, user, &pending.will);
                let message = message.clone();
                let routed = Routed { item: Item { message, retain, targets }, destinations };
                self.room_to_route(&routed, client, 0, freed)?;
                self.wills.remove(&will);
                return Ok(Reply::Routed(self.route(&routed, client)));
            }
            Command::OutboxDone { destination, until } => {
                let last = self.outbox.get(&destination).map_or(0, |(last, _)| *last);
                if until > last {
                    return Err(Refusal::NeverSent { found: until, last });
                }
                if let Some((_, waiting)) = self.outbox.get_mut(&destination) {
                    waiting.retain(|(number, ..)| *number > until);
                }
            }
            Command::RouteAgain { number, to } => return self.route_again(number, &to),
            Command::Expire => return Ok(Reply::Cleared(self.clear())),
        }
        Ok(Reply::Done)
    }

    pub(super) fn is_gone(&self, node: Node) -> bool {
        self.gone.iter().any(|(gone, ..)| gone.id == node.id && node.incarnation <= gone.incarnation)
    }

    fn owned(&mut self, client: &ClientId, epoch: Epoch) -> Result<&mut Session, Refusal> {
        let session = self.sessions.get(client).ok_or(Refusal::NoSession)?;
        let (current, node) = (session.answer.epoch, session.node);
        match session.left_at {
            _ if epoch != current => Err(Refusal::Epoch { found: epoch, current }),
            Some(_) => Err(Refusal::NotOwned { epoch }),
            None if self.is_gone(node) => Err(Refusal::NodeGone(node)),
            None => Ok(self.sessions.get_mut(client).unwrap()),
        }
    }

    fn claim(&mut self, claim: Claim) -> Result<Reply, Refusal> {
        let Claim { client, user, takeover, node, nonce, clean, expiry_seconds, receive_maximum, will } = claim;
        if self.is_gone(node) {
            return Err(Refusal::NodeGone(node));
        }
        let old = self.sessions.get(&client).cloned();
        let mut claims = old.as_ref().map_or(Vec::new(), |session| session.claims.clone());
        if let Some(session) = &old {
            let epoch = session.answer.epoch;
            match session.claims.iter().rposition(|it| *it == (node, nonce)) {
                Some(at) if at + 1 < claims.len() => return Err(Refusal::Superseded { epoch }),
                Some(_) if session.left_at.is_some() => return Err(Refusal::NotOwned { epoch }),
                Some(_) => return Ok(Reply::Claimed(session.answer)),
                None => {}
            }
        }
        let is_other_users = old.as_ref().is_some_and(|session| {
            let mut left = session.clone();
            if session.left_at.is_none() && self.is_gone(session.node) {
                left.left_at = Some(self.gone.iter().find(|(gone, ..)| gone.id == session.node.id).unwrap().1);
            }
            session.user != user && left.ends().is_none_or(|ends| ends > self.time)
        });
        if is_other_users && takeover == Takeover::SameUser {
            return Err(Refusal::OtherUser);
        }
        if will.as_ref().is_some_and(|will| will.message.bytes() > self.settings.will_bytes_max.into()) {
            return Err(Bound::WillBytes.into());
        }
        let will_takes = will.as_ref().map_or(0, |will| will_bytes(&client, &user, will));
        if old.is_none() && self.sessions.len() >= self.settings.sessions_max as usize {
            return Err(Bound::Sessions.into());
        }
        let name = |user: &Option<ClientId>| user.as_ref().map_or(0, |user| user.len() as u64);
        let takes = will_takes
            + match &old {
                None => cost::SESSION + client.len() as u64 + name(&user),
                Some(old) => name(&user).saturating_sub(name(&old.user)),
            };
        if takes > 0 && self.bytes() + takes > self.settings.shard_bytes_max {
            return Err(Bound::ShardBytes.into());
        }
        if let Some(owner) = old.as_ref().filter(|it| it.left_at.is_none()).map(|it| it.node)
            && self.is_gone(owner)
        {
            let since = self.gone.iter().find(|(gone, ..)| gone.id == owner.id).unwrap().1;
            self.leave(&client, since);
        }
        let took_over = self.sessions.get(&client).filter(|it| it.left_at.is_none()).map(|it| it.node);
        let is_over = self.sessions.get(&client).and_then(Session::ends).is_some_and(|ends| ends <= self.time);
        if clean || is_over || is_other_users {
            self.end(&client);
        } else if let Some(session) = self.sessions.get(&client) {
            let is_late = match session.left_at {
                None => session.will.as_ref().is_some_and(|will| will.delay_seconds == 0),
                Some(_) => session.will_due().is_some_and(|due| due <= self.time),
            };
            if is_late {
                self.fire(&client);
            }
        }
        self.last_epoch += 1;
        let epoch = self.last_epoch;
        let before = self.sessions.remove(&client);
        let present = before.is_some();
        let (generation, sent_until) = before.as_ref().map_or((epoch, 0), |it| (it.generation, it.sent_until));
        let answer = Claimed { epoch, generation, present, took_over, sent_until };
        claims.push((node, nonce));
        claims.drain(..claims.len().saturating_sub(5));
        let mut session = Session {
            user,
            generation,
            answer,
            node,
            claims,
            left_at: None,
            expiry_seconds,
            receive_maximum: receive_maximum.get().into(),
            will,
            subscriptions: before.as_ref().map_or(BTreeMap::new(), |it| it.subscriptions.clone()),
            next: before.as_ref().map_or(0, |it| it.next),
            sent_until,
            received: before.as_ref().map_or(BTreeSet::new(), |it| it.received.clone()),
            queue: before.map_or(Vec::new(), |it| it.queue),
        };
        session.move_window(&self.settings);
        self.sessions.insert(client, session);
        Ok(Reply::Claimed(answer))
    }

    fn subscribe(&mut self, client: &ClientId, filter: ClientId, it: Subscription) -> Result<bool, Bound> {
        let bytes = self.bytes();
        let session = self.sessions.get_mut(client).unwrap();
        if !session.subscriptions.contains_key(&filter) {
            if session.subscriptions.len() >= self.settings.subscriptions_max as usize {
                return Err(Bound::Subscriptions);
            }
            if bytes + cost::SUBSCRIPTION + filter.len() as u64 > self.settings.shard_bytes_max {
                return Err(Bound::ShardBytes);
            }
        }
        Ok(session.subscriptions.insert(filter, it).is_none())
    }

    fn publish(&mut self, source: Party, first: Number, items: &[Item], goes_on: bool) -> Result<Reply, Refusal> {
        if let Party::Node(node) = source
            && self.is_gone(node)
        {
            return Err(Refusal::NodeGone(node));
        }
        let expected = self.expected(source);
        if first > expected {
            return Err(Refusal::OutOfOrder { found: first, expected });
        }
        if !self.sources.contains_key(&source) && self.sources.len() >= self.settings.nodes_max as usize {
            return Err(Bound::Nodes.into());
        }
        let (mut next, mut had_it) = self.sources.remove(&source).unwrap_or((1, Vec::new()));
        let mut replies = Vec::new();
        for (number, item) in (first..).zip(items) {
            if number < next {
                replies.push(ItemReply::DoneBefore);
                continue;
            }
            let kept = self.keep(&item.message);
            replies.push(ItemReply::Stored(self.store(item, &kept, &had_it)));
            if goes_on && replies.len() == items.len() {
                had_it.extend(item.targets.iter().map(|target| target.client.clone()));
            } else {
                (next, had_it) = (number + 1, Vec::new());
            }
        }
        self.sources.insert(source, (next, had_it));
        Ok(Reply::Published { items: replies, expected: next })
    }

    pub(super) fn expected(&self, source: Party) -> Number {
        self.sources.get(&source).map_or(1, |(next, _)| *next)
    }

    fn keep(&mut self, message: &Message) -> Kept {
        self.last_number += 1;
        let expires = message.lifetime_seconds.map(|seconds| self.time + u64::from(seconds) * 1000);
        Kept { number: self.last_number, message: message.clone(), expires }
    }

    /// To those of the targets that come after all who had it.
    fn store(&mut self, item: &Item, kept: &Kept, had_it: &[ClientId]) -> Stored {
        let mut stored = Stored { is_expired: kept.is_expired(self.time), ..Stored::default() };
        if let Some(version) = item.retain {
            stored.retained = Some(self.retain(kept, version));
        }
        if stored.is_expired {
            let waiting = item.targets.iter().filter(|target| had_it.iter().all(|it| *it < target.client));
            self.totals.expired += waiting.count() as u64;
            return stored;
        }
        for (position, target) in item.targets.iter().enumerate() {
            if had_it.iter().any(|it| *it >= target.client) {
                continue;
            }
            if target.qos == QoS::AtMostOnce || (target.share.is_none() && !self.is_there(target)) {
                stored.ignored += 1;
                continue;
            }
            let queued = match &target.share {
                Some(share) if !self.is_there(target) => self.keep_to_route_again(kept, share).map(|()| None),
                _ => self.queue(target, kept).map(Some),
            };
            match queued {
                Ok(None) => stored.again += 1,
                Ok(Some(dropped)) => {
                    stored.queued += 1;
                    stored.dropped += dropped;
                    self.totals.dropped += u64::from(dropped);
                }
                Err(bound) => {
                    self.totals.refused += 1;
                    stored.refused.push((position as u32, bound));
                }
            }
        }
        stored
    }

    fn queue(&mut self, target: &Target, kept: &Kept) -> Result<u32, Bound> {
        let bytes = self.bytes_with(kept, target.share.as_ref());
        let settings = self.settings;
        let session = self.sessions.get_mut(&target.client).unwrap();
        let Target { retain, qos, subscription_ids: ids, share, .. } = target.clone();
        let place = Place { sequence: session.next, kept: Some(kept.clone()), qos, retain, ids, share };
        let mut tried = session.clone();
        tried.queue.push(place.clone());
        tried.next += 1;
        let nothing_waits = tried.in_flight() + 1 == tried.queue.len();
        tried.move_window(&settings);
        let goes_out = nothing_waits && tried.in_flight() == tried.queue.len();
        let bytes_max = settings.shard_bytes_max - if goes_out { 0 } else { settings.shard_bytes_max / 4 };
        if bytes + cost::PLACE > bytes_max {
            return Err(Bound::ShardBytes);
        }
        if goes_out {
            *session = tried;
            return Ok(0);
        }
        let mut tried = session.clone();
        let fits = |session: &Session| {
            let waiting = session.queue.iter().filter(|place| place.sequence >= session.sent_until);
            if waiting.clone().count() >= settings.queue_messages_max as usize {
                return Err(Bound::QueueMessages);
            }
            let waiting_bytes: u64 = waiting.map(|place| place.kept.as_ref().unwrap().message.bytes()).sum();
            match waiting_bytes + kept.message.bytes() <= settings.queue_bytes_max {
                true => Ok(()),
                false => Err(Bound::QueueBytes),
            }
        };
        let mut dropped = 0;
        while let Err(bound) = fits(&tried) {
            let oldest = tried.queue.iter().position(|place| place.sequence >= tried.sent_until);
            match oldest.filter(|_| settings.queue_policy == QueuePolicy::DropOldest) {
                Some(at) => tried.queue.remove(at),
                None => return Err(bound),
            };
            dropped += 1;
        }
        tried.queue.push(place);
        tried.next += 1;
        tried.move_window(&settings);
        *session = tried;
        Ok(dropped)
    }

    fn living(&self, destinations: &[Destination]) -> BTreeSet<Destination> {
        let is_gone = |it: &Destination| matches!(it.party, Party::Node(node) if self.is_gone(node));
        destinations.iter().filter(|it| !is_gone(it)).cloned().collect()
    }

    fn room_to_route(&self, routed: &Routed, publisher: &ClientId, takes: u64, freed: u64) -> Result<(), Bound> {
        let destinations = self.living(&routed.destinations);
        let waits_for = |party: &Party| self.outbox.get(party).map_or(0, |(_, waiting)| waiting.len());
        let comes_to = |party: &Party| destinations.iter().filter(|it| it.party == *party).count();
        let outbox_max = self.settings.outbox_messages_max as usize;
        if destinations.iter().any(|it| waits_for(&it.party) + comes_to(&it.party) > outbox_max) {
            return Err(Bound::Outbox);
        }
        let mut takes = takes;
        for Destination { wants, .. } in &destinations {
            takes += cost::OUTBOX;
            takes += match wants {
                Wants::Subscribers => publisher.len() as u64,
                Wants::Group(share) if !self.shares().contains(share) => cost::SHARE + share.len() as u64,
                Wants::Group(_) | Wants::Retained(_) => 0,
            };
        }
        if !destinations.is_empty() {
            takes += cost::BODY + routed.item.message.bytes();
        }
        match takes == 0 || self.bytes() + takes.saturating_sub(freed) <= self.settings.shard_bytes_max {
            true => Ok(()),
            false => Err(Bound::ShardBytes),
        }
    }

    fn route(&mut self, routed: &Routed, publisher: &ClientId) -> Stored {
        let kept = self.keep(&routed.item.message);
        for Destination { party, wants } in self.living(&routed.destinations) {
            let to = match wants {
                Wants::Subscribers => Addressee::Subscribers { publisher: publisher.clone() },
                Wants::Group(share) => Addressee::Group(share),
                Wants::Retained(version) => Addressee::Retained(version),
            };
            self.send(party, kept.clone(), to);
        }
        self.store(&routed.item, &kept, &[])
    }

    fn disconnect(
        &mut self,
        client: &ClientId,
        epoch: Epoch,
        expiry_seconds: Option<u32>,
        fate: WillFate,
    ) -> Result<Reply, Refusal> {
        let session = self.owned(client, epoch)?;
        session.expiry_seconds = expiry_seconds.unwrap_or(session.expiry_seconds);
        if fate == WillFate::Delete {
            session.will = None;
        }
        let before = self.last_will;
        if fate == WillFate::Fire {
            self.fire(client);
        }
        let ended = self.leave(client, self.time);
        let due = self.sessions.get(client).and_then(Session::will_due);
        let will = match due {
            _ if self.last_will > before => WillState::Pending(self.last_will),
            Some(due) => WillState::DueAt(due),
            None => WillState::None,
        };
        Ok(Reply::Disconnected { ended, will })
    }

    /// Whether the session ended with it.
    fn leave(&mut self, client: &ClientId, at: Time) -> bool {
        let now = self.time;
        let session = self.sessions.get_mut(client).unwrap();
        session.left_at = Some(at);
        let is_over = session.ends().is_some_and(|ends| ends <= now);
        if session.will_due().is_some_and(|due| due <= now) {
            self.fire(client);
        }
        if is_over {
            self.end(client);
        }
        is_over
    }

    fn end(&mut self, client: &ClientId) {
        self.fire(client);
        if let Some(Session { queue, sent_until, .. }) = self.sessions.remove(client) {
            self.move_on_all(queue, sent_until);
        }
    }

    fn fire(&mut self, client: &ClientId) -> u32 {
        let Some(session) = self.sessions.get_mut(client) else { return 0 };
        let Some(will) = session.will.take() else { return 0 };
        self.last_will += 1;
        let pending = PendingWill { client: client.clone(), user: session.user.clone(), will };
        self.wills.insert(self.last_will, pending);
        1
    }
}
