//! What a publish brings to the store: for the shards whose sessions have subscribed to it, for sessions that share a
//! subscription, and for the retained message of its topic.
//!
//! Messages of QoS 0 go to those who are there, and are kept only as retained ones.

use crate::desk::stored_message;
use crate::ids::SessionId;
use crate::publish::Source;
use crate::route::{Local, Pick};
use crate::sessions::subscriber;
use crate::worker::Worker;
use fulmar_cluster::Version;
use fulmar_codec::QoS;
use fulmar_router::{NodeIndex, Options, SubscriberId};
use fulmar_session::Outgoing;
use fulmar_store::{Ask, ClientId, Destination, Message, Party, Published, Recipients, ShardId, Wants};
use std::sync::Arc;
use std::time::Instant;

/// The trie knows shards as nodes with these numbers, which no node has.
const SHARDS_FROM: u16 = 1 << 15;

/// The shard that the trie knows by this number, if it is one.
#[inline]
pub(crate) fn shard_of(node: NodeIndex) -> Option<ShardId> {
    node.0.checked_sub(SHARDS_FROM).map(ShardId)
}

/// The number by which the trie knows a shard.
pub(crate) fn index_of(shard: ShardId) -> NodeIndex {
    NodeIndex(SHARDS_FROM + shard.0)
}

/// A session of the store that gets a message as the member of a shared subscription whose turn it is.
#[derive(Debug)]
struct Turn {
    client: ClientId,
    options: Options,
    /// The shared subscription, with its whole name.
    share: Option<Arc<str>>,
}

impl Worker {
    /// What the store is to be asked because of a publish that was matched.
    pub(crate) fn asks_for(
        &mut self,
        outgoing: &Outgoing<'_>,
        retain_as: Option<Version>,
        source: Source,
        now: Instant,
    ) -> Vec<Ask> {
        let waits = outgoing.qos != QoS::AtMostOnce;
        let turns = if waits { self.take_turns() } else { Vec::new() };
        let picks = self.take_groups_of_shards(waits);
        let shards = if waits { self.scratch.found.shards.clone() } else { Vec::new() };
        let retain_in = retain_as.and_then(|_| self.desk.shard_of(outgoing.topic));
        let whole = self.whole_of(source, outgoing.qos);
        let is_asked = !shards.is_empty() || !turns.is_empty() || !picks.is_empty();
        if !is_asked && retain_in.is_none() && whole.is_none() {
            return Vec::new();
        }
        let message = stored_message(outgoing, &mut self.scratch.message, now);
        let version = retain_as.map(|version| fulmar_store::Version { clock: version.clock, node: version.node.0 });
        let retain = retain_in.zip(version);
        let publisher = self.publisher(source);
        if let Some(whole) = whole {
            let groups = turns.into_iter().filter_map(|turn| self.group_of(&turn)).chain(picks);
            return vec![whole.ask(message, publisher, &shards, groups, retain)];
        }
        let mut asks: Vec<Ask> = turns.into_iter().filter_map(|turn| self.ask_for_turn(turn, &message)).collect();
        asks.extend(picks.into_iter().map(|pick| pick.ask(&message)));
        asks.extend(asks_of_shards(&message, publisher.as_ref(), &shards, retain));
        asks
    }

    /// Whoever of that shard has a turn by then: what is committed whole may not come here a second time.
    fn group_of(&self, turn: &Turn) -> Option<GroupOfShard> {
        let share = turn.share.as_deref()?;
        let (group, filter) = share.strip_prefix("$share/")?.split_once('/')?;
        Some(GroupOfShard { shard: self.desk.shard_of(&turn.client)?, group: group.into(), filter: filter.into() })
    }

    fn ask_for_turn(&self, turn: Turn, message: &Message) -> Option<Ask> {
        let Turn { client, options, share } = turn;
        let retain = message.retain && options.retain_as_published();
        let ids = options.subscription_id().into_iter().collect();
        self.desk.for_one(client, message.clone(), (options.qos().min(message.qos), retain), ids, share)
    }

    /// Takes those out of what was found who have their turn in a shared subscription and whose sessions the store keeps.
    fn take_turns(&mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        let found = &mut self.scratch.found;
        if found.turns.is_empty() {
            return turns;
        }
        let names = std::mem::take(&mut found.turns);
        let (thread, stored) = (self.thread, &self.node.stored);
        let mut take = |id: SubscriberId, options: Options, number| match stored.client(id) {
            // At QoS 0 it gets the message now.
            Some(client) if options.qos() != QoS::AtMostOnce => {
                let share = names.iter().find(|(known, _)| Some(*known) == number).map(|(_, name)| name.clone());
                turns.push(Turn { client, options, share });
                true
            }
            _ => false,
        };
        // The places of `locals` stand in `more_ids`.
        for local in found.locals.iter_mut().filter(|local| local.share.is_some()) {
            if take(local.id, local.options, local.share) {
                *local = Local { options: Options::new(QoS::AtMostOnce), share: None, id: nobody(thread) };
            }
        }
        found.others.retain(|(thread, target)| {
            let id = SubscriberId { thread: *thread, slot: target.slot, generation: target.generation };
            target.share.is_none() || !take(id, target.options, target.share)
        });
        turns
    }

    /// Brings a message to members of shared subscriptions whose sessions the store keeps, if those were found.
    pub(crate) fn ask_for_groups(&mut self, outgoing: &Outgoing<'_>, now: Instant) {
        let groups = self.take_groups_of_shards(outgoing.qos != QoS::AtMostOnce);
        if groups.is_empty() {
            return;
        }
        let message = stored_message(outgoing, &mut self.scratch.message, now);
        groups.into_iter().for_each(|group| self.do_in_store(group.ask(&message)));
    }

    /// Takes those shared subscriptions out of what was found of which only sessions of a shard are members.
    fn take_groups_of_shards(&mut self, waits: bool) -> Vec<GroupOfShard> {
        let found = &mut self.scratch.found;
        let mut groups = Vec::new();
        let names = &found.names;
        found.picks.retain(|pick: &Pick| {
            let Some(shard) = shard_of(pick.node) else { return true };
            let (group, filter) = pick.group_and_filter(names);
            if waits {
                groups.push(GroupOfShard { shard, group: group.into(), filter: filter.into() });
            }
            false
        });
        groups
    }

    /// Who published, if the store may have a subscription of it.
    fn publisher(&self, source: Source) -> Option<ClientId> {
        let Source::Client { session, .. } = source else { return None };
        Some(self.sessions.get(session)?.queue()?.client.clone())
    }

    /// Whether all of a publish is to be committed at once.
    fn whole_of(&self, source: Source, qos: QoS) -> Option<Whole> {
        match source {
            Source::Client { session, packet_id: Some(packet_id), .. } if qos == QoS::ExactlyOnce => {
                let stored = self.sessions.get(session)?.queue()?;
                let (client, epoch) = (stored.client.clone(), stored.epoch);
                let home = self.desk.shard_of(&client)?;
                Some(Whole::Received { client, epoch, packet_id, home })
            }
            Source::StoredWill { shard, will } => Some(Whole::Will { shard, will }),
            Source::Client { .. } | Source::Will => None,
        }
    }
}

/// A publish that is committed once, with all that it brings.
enum Whole {
    /// A client with a session of the store sent it with QoS 2.
    Received { client: ClientId, epoch: fulmar_store::Epoch, packet_id: fulmar_codec::PacketId, home: ShardId },
    /// A will of the store.
    Will { shard: ShardId, will: fulmar_store::WillId },
}

impl Whole {
    /// All that the publish brings: once it is committed, and only then, a retry is known for one.
    fn ask(
        self,
        message: Message,
        publisher: Option<ClientId>,
        shards: &[ShardId],
        groups: impl Iterator<Item = GroupOfShard>,
        retain: Option<(ShardId, fulmar_store::Version)>,
    ) -> Ask {
        let (Whole::Received { home, .. } | Whole::Will { shard: home, .. }) = self;
        let (here, elsewhere) = match retain {
            Some((shard, version)) if shard == home => (Some(version), None),
            Some((shard, version)) => (None, Some((shard, Wants::Retained(version)))),
            None => (None, None),
        };
        let subscribers = shards.iter().map(|shard| (*shard, Wants::Subscribers));
        let groups = groups.map(|group| (group.shard, Wants::Group(group.name())));
        let destinations = subscribers.chain(groups).chain(elsewhere);
        let destinations = destinations.map(|(shard, wants)| Destination { party: Party::Shard(shard), wants });
        let destinations = destinations.collect();
        match self {
            Whole::Received { client, epoch, packet_id, home: _ } => {
                let published = Published { message, retain: here, to: Recipients::Matching { publisher } };
                Ask::ReceiveQos2 { client, epoch, packet_id, published, destinations }
            }
            Whole::Will { shard, will } => Ask::WillDone { shard, will, retain: here, destinations },
        }
    }
}

/// A shared subscription of which a shard is to find a member.
#[derive(Debug)]
struct GroupOfShard {
    shard: ShardId,
    group: Arc<str>,
    filter: Arc<str>,
}

impl GroupOfShard {
    fn ask(self, message: &Message) -> Ask {
        let Self { shard, group, filter } = self;
        ask(shard, message, None, Recipients::Group { group, filter })
    }

    fn name(&self) -> Arc<str> {
        format!("$share/{}/{}", self.group, self.filter).into()
    }
}

/// A message for each shard that wants it, and for the one that keeps what is retained of its topic.
fn asks_of_shards(
    message: &Message,
    publisher: Option<&ClientId>,
    shards: &[ShardId],
    retain: Option<(ShardId, fulmar_store::Version)>,
) -> Vec<Ask> {
    let version_in = |shard| retain.filter(|(retains, _)| *retains == shard).map(|(_, version)| version);
    let matching = || Recipients::Matching { publisher: publisher.cloned() };
    let wanted = shards.iter().map(|shard| ask(*shard, message, version_in(*shard), matching()));
    let alone = retain.filter(|(shard, _)| !shards.contains(shard));
    let alone = alone.map(|(shard, version)| ask(shard, message, Some(version), Recipients::Nobody));
    wanted.chain(alone).collect()
}

fn ask(shard: ShardId, message: &Message, retain: Option<fulmar_store::Version>, to: Recipients) -> Ask {
    Ask::Publish { shard, published: Published { message: message.clone(), retain, to } }
}

/// A session that is nobody's.
fn nobody(thread: u16) -> SubscriberId {
    subscriber(thread, SessionId { slot: u32::MAX, generation: u32::MAX })
}
