//! The same rules as plainly as they can be written: no table of what is due, no counts of references, no sums. All is
//! found by looking at everything.

mod look;
mod session;

use std::collections::{BTreeMap, BTreeSet};

use fulmar_codec::QoS;

use crate::*;
use look::{Due, will_bytes};
use session::acknowledge;
pub(super) use session::{Kept, Place, Session};

/// A message in the outbox: its number, and whose it is.
type Waiting = (Number, Kept, ClientId);

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) settings: Settings,
    applied: Index,
    pub(super) time: Time,
    last_epoch: Epoch,
    last_will: WillId,
    last_number: u64,
    pub(super) sessions: BTreeMap<ClientId, Session>,
    sources: BTreeMap<Party, Number>,
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
                let session = self.owned(&client, epoch)?;
                let each = filters.iter().map(|filter| session.subscriptions.remove(filter).is_some());
                return Ok(Reply::Unsubscribed(each.collect()));
            }
            Command::Publish { source, first, items } => return self.publish(source, first, &items),
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
                    self.outbox.retain(|destination, _| !is_over(destination));
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

    fn publish(&mut self, source: Party, first: Number, items: &[Item]) -> Result<Reply, Refusal> {
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
        let each = (first..).zip(items).map(|(number, item)| {
            if number < expected {
                return ItemReply::DoneBefore;
            }
            let kept = self.keep(&item.message);
            ItemReply::Stored(self.store(item, &kept))
        });
        let items: Vec<_> = each.collect();
        let expected = expected.max(first + items.len() as u64);
        self.sources.insert(source, expected);
        Ok(Reply::Published { items, expected })
    }

    pub(super) fn expected(&self, source: Party) -> Number {
        self.sources.get(&source).copied().unwrap_or(1)
    }

    fn keep(&mut self, message: &Message) -> Kept {
        self.last_number += 1;
        let expires = message.lifetime_seconds.map(|seconds| self.time + u64::from(seconds) * 1000);
        Kept { number: self.last_number, message: message.clone(), expires }
    }

    fn store(&mut self, item: &Item, kept: &Kept) -> Stored {
        let mut stored = Stored { is_expired: kept.is_expired(self.time), ..Stored::default() };
        if let Some(version) = item.retain {
            stored.retained = Some(self.retain(kept, version));
        }
        if stored.is_expired {
            self.totals.expired += item.targets.len() as u64;
            return stored;
        }
        for (position, target) in item.targets.iter().enumerate() {
            match self.queue(target, kept) {
                Ok(None) => stored.ignored += 1,
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

    fn retain(&mut self, kept: &Kept, version: Version) -> RetainReply {
        let topic = kept.message.topic().to_owned();
        let deleted = self.tombstones.iter().find(|(it, ..)| *it == topic).map(|(_, version, _)| *version);
        let is_older = |current: Option<Version>| current.is_some_and(|current| version <= current);
        if is_older(deleted) || is_older(self.retained.get(&topic).map(|(_, version)| *version)) {
            return RetainReply::Older;
        }
        if kept.message.payload().is_empty() || kept.is_expired(self.time) {
            self.bury(&topic, version, self.bytes_with(kept));
            return RetainReply::Applied;
        }
        let is_new = !self.retained.contains_key(&topic);
        if is_new && self.retained.len() >= self.settings.retained_max as usize {
            return RetainReply::Refused(Bound::Retained);
        }
        let takes = if is_new { cost::RETAINED + topic.len() as u64 } else { 0 };
        let freed = if deleted.is_some() { cost::TOMBSTONE + topic.len() as u64 } else { 0 };
        if self.bytes_with(kept) + takes.saturating_sub(freed) > self.keeping_bytes_max() {
            return RetainReply::Refused(Bound::ShardBytes);
        }
        self.tombstones.retain(|(it, ..)| *it != topic);
        self.retained.insert(topic, (kept.clone(), version));
        RetainReply::Applied
    }

    fn keeping_bytes_max(&self) -> u64 {
        self.settings.shard_bytes_max - self.settings.shard_bytes_max / 4
    }

    /// `bytes` is what there is, with the message that is being dealt with.
    fn bury(&mut self, topic: &str, version: Version, bytes: u64) {
        let had = self.retained.contains_key(topic) || self.tombstones.iter().any(|(it, ..)| it == topic);
        self.retained.remove(topic);
        self.tombstones.retain(|(it, ..)| it != topic);
        if !had && bytes + cost::TOMBSTONE + topic.len() as u64 > self.keeping_bytes_max() {
            self.totals.forgotten += 1;
            return;
        }
        let ends = self.time + u64::from(self.settings.tombstone_seconds) * 1000;
        self.tombstones.push((topic.to_owned(), version, ends));
        let Settings { tombstones_max, tombstone_bytes_max, .. } = self.settings;
        while self.tombstones.len() > tombstones_max as usize || self.tombstone_bytes() > tombstone_bytes_max {
            self.tombstones.remove(0);
            self.totals.forgotten += 1;
        }
    }

    fn queue(&mut self, target: &Target, kept: &Kept) -> Result<Option<u32>, Bound> {
        let bytes = self.bytes_with(kept);
        let (settings, now) = (self.settings, self.time);
        let Some(session) = self.sessions.get_mut(&target.client) else { return Ok(None) };
        let is_over = session.ends().is_some_and(|ends| ends <= now);
        if session.generation != target.generation || is_over || target.qos == QoS::AtMostOnce {
            return Ok(None);
        }
        let mut tried = session.clone();
        let (retain, qos, ids) = (target.retain, target.qos, target.subscription_ids.clone());
        tried.queue.push(Place { sequence: tried.next, kept: Some(kept.clone()), qos, retain, ids });
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
            return Ok(Some(0));
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
        let (retain, qos, ids) = (target.retain, target.qos, target.subscription_ids.clone());
        tried.queue.push(Place { sequence: tried.next, kept: Some(kept.clone()), qos, retain, ids });
        tried.next += 1;
        tried.move_window(&settings);
        *session = tried;
        Ok(Some(dropped))
    }

    fn living(&self, destinations: &[Party]) -> BTreeSet<Party> {
        let is_gone = |it: &&Party| matches!(it, Party::Node(node) if self.is_gone(*node));
        destinations.iter().filter(|it| !is_gone(it)).copied().collect()
    }

    fn room_to_route(&self, routed: &Routed, publisher: &ClientId, takes: u64, freed: u64) -> Result<(), Bound> {
        let destinations = self.living(&routed.destinations);
        let waiting = |it: &Party| self.outbox.get(it).map_or(0, |(_, waiting)| waiting.len());
        if destinations.iter().any(|it| waiting(it) >= self.settings.outbox_messages_max as usize) {
            return Err(Bound::Outbox);
        }
        let mut takes = takes + destinations.len() as u64 * (cost::OUTBOX + publisher.len() as u64);
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
        for destination in self.living(&routed.destinations) {
            let (last, waiting) = self.outbox.entry(destination).or_default();
            *last += 1;
            waiting.push((*last, kept.clone(), publisher.clone()));
        }
        self.store(&routed.item, &kept)
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
        self.sessions.remove(client);
    }

    fn fire(&mut self, client: &ClientId) -> u32 {
        let Some(session) = self.sessions.get_mut(client) else { return 0 };
        let Some(will) = session.will.take() else { return 0 };
        self.last_will += 1;
        let pending = PendingWill { client: client.clone(), user: session.user.clone(), will };
        self.wills.insert(self.last_will, pending);
        1
    }

    fn clear(&mut self) -> Cleared {
        let mut cleared = Cleared::default();
        let mut effort = self.settings.portion.max(1) as usize;
        let length = |model: &Self, client: &ClientId| {
            model.sessions[client].queue.len() + model.sessions[client].subscriptions.len()
        };
        while effort > 0 {
            if let Some((node, client)) = self.gone_sessions().first().cloned() {
                effort = effort.saturating_sub(1 + length(self, &client));
                let since = self.gone.iter().find(|(gone, ..)| gone.id == node.id).unwrap().1;
                let before = self.last_will;
                match self.leave(&client, since) {
                    true => cleared.ended += 1,
                    false => cleared.left += 1,
                }
                cleared.wills += (self.last_will - before) as u32;
                continue;
            }
            let Some((_, what)) = self.due().first().cloned().filter(|(at, _)| *at <= self.time) else { break };
            effort -= 1;
            match what {
                Due::Will(client) => cleared.wills += self.fire(&client),
                Due::Session(client) => {
                    effort = effort.saturating_sub(length(self, &client));
                    cleared.wills += self.fire(&client);
                    self.end(&client);
                    cleared.ended += 1;
                }
                Due::Queued(client, sequence) => {
                    self.sessions.get_mut(&client).unwrap().queue.retain(|place| place.sequence != sequence);
                    self.totals.expired += 1;
                    cleared.messages += 1;
                }
                Due::Retained(topic) => {
                    let (_, version) = self.retained[&topic];
                    self.bury(&topic, version, self.bytes());
                    cleared.retained += 1;
                }
                Due::Tombstone(topic) => {
                    self.tombstones.retain(|(it, ..)| *it != topic);
                    cleared.tombstones += 1;
                }
            }
        }
        let is_due = self.due().first().is_some_and(|(at, _)| *at <= self.time);
        cleared.more = is_due || !self.gone_sessions().is_empty();
        cleared
    }

    fn forget_gone(&mut self) {
        while self.gone.len() > self.settings.nodes_max as usize {
            let owners: BTreeSet<_> = self.gone_sessions().into_iter().map(|(node, _)| node.id).collect();
            let settled = self.gone.iter().filter(|(gone, ..)| !owners.contains(&gone.id));
            let Some(oldest) = settled.map(|(gone, _, index)| (*index, gone.id)).min() else { return };
            self.gone.retain(|(gone, ..)| gone.id != oldest.1);
        }
    }
}
