//! Random entries from a seed, for a shard of few clients and small bounds: much of what they do meets something.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS, SubscriptionOptions};
use fulmar_random::Random;

use super::model::{ITSELF, Model};
use crate::*;

const CLIENTS: [&str; 5] = ["a", "bb", "c", "d", "e"];

/// Makes entries for the state that the model is in.
pub(super) struct Source {
    pub(super) random: Random,
    time: Time,
    messages: u64,
}

impl Source {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), time: 100_000, messages: 0 }
    }

    pub(super) fn settings(&mut self) -> Settings {
        let random = &mut self.random;
        Settings {
            sessions_max: random.pick(&[3, 100]),
            shard_bytes_max: random.pick(&[5000, 8000, 1 << 20, 1 << 20]),
            queue_messages_max: random.pick(&[1, 3, 6]),
            queue_bytes_max: random.pick(&[30, 80, 1 << 20]),
            in_flight_max: NonZeroU16::new(random.pick(&[2, 100])).unwrap(),
            queue_policy: random.pick(&[QueuePolicy::DropOldest, QueuePolicy::DropOldest, QueuePolicy::Refuse]),
            subscriptions_max: random.pick(&[1, 3]),
            will_bytes_max: random.pick(&[10, 100]),
            received_ids_max: random.pick(&[1, 3]),
            retained_max: random.pick(&[1, 3]),
            tombstone_seconds: random.pick(&[1, 10, 10]),
            tombstones_max: random.pick(&[0, 1, 3, 3]),
            tombstone_bytes_max: random.pick(&[100, 1 << 20, 1 << 20]),
            outbox_messages_max: random.pick(&[1, 4]),
            nodes_max: random.pick(&[1, 2, 100, 100]),
            portion: random.pick(&[0, 1, 2, 5, 1000]),
        }
    }

    pub(super) fn entry(&mut self, model: &Model) -> Entry {
        let step = self.random.pick(&[0, 1, 700, 2000, 6000]);
        self.time += step;
        let back = self.random.pick(&[0, 0, 0, 3000]);
        let commands = 1 + self.random.below(3);
        let commands = (0..commands).map(|_| self.command(model)).collect();
        Entry { time: self.time - back, commands }
    }

    fn command(&mut self, model: &Model) -> Command {
        let (client, epoch) = self.speaker(model);
        match self.random.below(100) {
            0..1 => Command::Settings(self.settings()),
            1..16 => Command::Claim(self.claim(model, client)),
            16..21 => {
                let subscriptions = list(&mut self.random, 2, |random| (filter(random), subscription(random)));
                Command::Subscribe { client, epoch, subscriptions }
            }
            21..25 => Command::Unsubscribe { client, epoch, filters: list(&mut self.random, 2, filter) },
            25..53 => {
                let source = self.party(model);
                let expected = model.expected(source);
                let first = self.random.pick(&[expected, expected, expected, expected + 1, expected.max(2) - 1]);
                let items = 1 + self.random.below(3);
                let items = (0..items).map(|_| self.item(model)).collect();
                Command::Publish { source, first, items, goes_on: self.random.once_in(4) }
            }
            53..56 => Command::RouteAgain { number: self.number_again(model), to: self.onward(model) },
            56..72 => Command::Acknowledge { client: client.clone(), epoch, acks: self.acks(model, &client) },
            72..79 => {
                let (packet_id, routed) = (packet_id(&mut self.random), self.routed(model));
                Command::ReceiveQos2 { client, epoch, packet_id, routed }
            }
            79..82 => Command::Release { client, epoch, packet_id: packet_id(&mut self.random) },
            82..88 => {
                let expiry_seconds = self.random.pick(&[None, None, Some(0), Some(5)]);
                let will = self.random.pick(&[WillFate::Keep, WillFate::Delete, WillFate::Fire]);
                Command::Disconnect { client, epoch, expiry_seconds, will }
            }
            88..89 if self.random.once_in(2) => {
                let generation = model.sessions.get(&client).map_or(1, |session| session.generation);
                let generation = self.random.pick(&[generation, generation, generation - 1]);
                Command::End { client, generation }
            }
            88..89 => Command::NodeGone(self.node(model)),
            89..93 => {
                let pending: Vec<_> = model.wills.keys().copied().chain([1]).collect();
                let Routed { item: Item { retain, targets, .. }, destinations } = self.routed(model);
                Command::PublishWill { will: self.random.pick(&pending), retain, targets, destinations }
            }
            93..95 => {
                let destination = self.party(model);
                let last = model.outbox.get(&destination).map_or(0, |(last, _)| *last);
                let until = self.random.pick(&[last, last, last + 1, last.max(1) - 1]);
                Command::OutboxDone { destination, until }
            }
            _ => Command::Expire,
        }
    }

    /// A client and its epoch, now and then an older one.
    fn speaker(&mut self, model: &Model) -> (ClientId, Epoch) {
        let client: ClientId = self.random.pick(&CLIENTS).into();
        let epoch = model.sessions.get(&client).map_or(1, |session| session.answer.epoch);
        let epoch = if self.random.once_in(12) { self.random.below(epoch + 1) } else { epoch };
        (client, epoch)
    }

    fn claim(&mut self, model: &Model, client: ClientId) -> Claim {
        // Now and then one that there was before.
        let again = self.random.once_in(4).then(|| model.sessions.get(&client)).flatten();
        let again = again.map(|session| self.random.pick(&session.claims));
        let (node, nonce) = again.unwrap_or_else(|| (self.node(model), self.random.next()));
        let message = self.message();
        let delay_seconds = self.random.pick(&[0, 3, 30]);
        let user = model.sessions.get(&client).and_then(|session| session.user.clone());
        let user =
            if self.random.once_in(6) { self.random.pick(&[None, Some("u".into()), Some("vw".into())]) } else { user };
        Claim {
            client,
            user,
            takeover: self.random.pick(&[Takeover::SameUser, Takeover::AnyUser]),
            node,
            nonce,
            clean: self.random.once_in(5),
            expiry_seconds: self.random.pick(&[0, 5, 20, 20, u32::MAX]),
            receive_maximum: NonZeroU16::new(1 + self.random.below(3) as u16).unwrap(),
            will: self.random.once_in(2).then_some(Will { message, delay_seconds }),
        }
    }

    /// A node that is not gone, or hardly ever one that is.
    fn node(&mut self, model: &Model) -> Node {
        let id = self.random.below(3);
        let lives = (1..).map(|incarnation| Node { id, incarnation });
        let living = lives.clone().find(|node| !model.is_gone(*node)).expect("there is always a next life");
        if self.random.once_in(15) { Node { id, incarnation: 1 } } else { living }
    }

    fn party(&mut self, model: &Model) -> Party {
        let node = self.node(model);
        self.random.pick(&[
            Party::Node(node),
            Party::Node(node),
            Party::Shard(ShardId(9)),
            Party::Shard(ShardId(9)),
            ITSELF,
        ])
    }

    fn message(&mut self) -> Message {
        self.messages += 1;
        let topic = self.random.pick(&["t", "u", "t/v", "w"]);
        let padding = self.random.pick(&["", "", "................"]);
        let payload = format!("{}{padding}", self.messages);
        let payload = if self.random.once_in(10) { "" } else { &payload };
        let lifetime = self.random.pick(&[None, None, Some(0), Some(2), Some(10), Some(10)]);
        let qos = self.random.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let retain = self.random.once_in(2);
        Message::new(topic, qos, b"p", payload.as_bytes()).with_lifetime(lifetime).with_retain(retain)
    }

    fn item(&mut self, model: &Model) -> Item {
        let message = self.message();
        let retain = self.random.once_in(4).then(|| self.version());
        let targets = list(&mut self.random, 3, |random| target(random, model));
        Item { message, retain, targets }
    }

    /// Mostly that of the oldest message which is to be routed again.
    fn number_again(&mut self, model: &Model) -> Number {
        let (last, waiting) = model.outbox.get(&ITSELF).map_or((0, 0), |(last, waiting)| (*last, waiting.len() as u64));
        let oldest = last + 1 - waiting;
        self.random.pick(&[oldest, oldest, oldest, oldest, oldest + 1, oldest - 1])
    }

    fn onward(&mut self, model: &Model) -> Onward {
        let oldest = model.outbox.get(&ITSELF).and_then(|(_, waiting)| waiting.first());
        let share = oldest.and_then(|(.., to)| match to {
            Addressee::Group(share) => Some(share.clone()),
            Addressee::Subscribers { .. } | Addressee::Retained(_) => None,
        });
        match self.random.below(8) {
            0..4 => Onward::Member(Target { share, ..target(&mut self.random, model) }),
            4..7 => Onward::Destination(self.party(model)),
            _ => Onward::Nobody,
        }
    }

    /// Mostly higher than all before it.
    fn version(&mut self) -> Version {
        let clock = self.messages.saturating_sub(self.random.pick(&[0, 0, 0, 3, 10, 30]));
        Version { clock, node: self.random.below(2) }
    }

    fn routed(&mut self, model: &Model) -> Routed {
        let item = self.item(model);
        let destinations = (0..self.random.below(4)).map(|_| self.destination(model)).collect();
        Routed { item, destinations }
    }

    fn destination(&mut self, model: &Model) -> Destination {
        let wants = match self.random.below(4) {
            0 | 1 => Wants::Subscribers,
            2 => Wants::Group(target(&mut self.random, model).share.unwrap_or_else(|| "$share/g/a".into())),
            _ => Wants::Retained(self.version()),
        };
        Destination { party: self.party(model), wants }
    }

    fn acks(&mut self, model: &Model, client: &ClientId) -> Vec<(Sequence, Ack)> {
        let queue = model.sessions.get(client).map_or(&[][..], |session| &session.queue);
        list(&mut self.random, 3, |random| {
            let Some(place) = queue.get(random.below(queue.len() as u64 + 1) as usize) else {
                return (random.below(30), random.pick(&[Ack::Ack, Ack::Received, Ack::Complete]));
            };
            let right = match (place.qos, &place.kept) {
                (QoS::ExactlyOnce, None) => Ack::Complete,
                (QoS::ExactlyOnce, _) => Ack::Received,
                _ => Ack::Ack,
            };
            (place.sequence, random.pick(&[right, right, right, Ack::Discard, Ack::Received]))
        })
    }
}

/// A session, mostly as it is, now and then as a member of a shared subscription.
fn target(random: &mut Random, model: &Model) -> Target {
    let client: ClientId = random.pick(&CLIENTS).into();
    let session = model.sessions.get(&client);
    let generation = session.map_or(1, |session| session.generation);
    let member = session.and_then(|session| session.subscriptions.keys().find(|filter| filter.starts_with("$share")));
    let share = if random.once_in(20) { Some(random.pick(&SHARED).into()) } else { member.cloned() };
    Target {
        client,
        generation: if random.once_in(12) { random.below(generation + 1) } else { generation },
        qos: random.pick(&[QoS::AtLeastOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce, QoS::AtMostOnce]),
        retain: random.once_in(2),
        subscription_ids: list(random, 2, |random| NonZeroU32::new(1 + random.below(9) as u32).unwrap()),
        share: share.filter(|_| random.once_in(2)),
    }
}

const SHARED: [&str; 2] = ["$share/g/t", "$share/h/+"];

fn filter(random: &mut Random) -> Arc<str> {
    random.pick(&["t", "t/#", "+/v", "u", SHARED[0], SHARED[0], SHARED[1]]).into()
}

fn subscription(random: &mut Random) -> Subscription {
    let qos = random.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
    let options = SubscriptionOptions { qos, no_local: random.once_in(2), ..SubscriptionOptions::default() };
    Subscription { options, id: NonZeroU32::new(random.below(3) as u32) }
}

fn list<T>(random: &mut Random, most: u64, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..random.below(most + 1)).map(|_| make(random)).collect()
}

fn packet_id(random: &mut Random) -> PacketId {
    PacketId::new(1 + random.below(4) as u16).unwrap()
}
