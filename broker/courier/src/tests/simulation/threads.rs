//! The data threads of a node: what they ask at random, and what they check of what they are told.

use std::collections::BTreeMap;
use std::time::Instant;

use fulmar_codec::{PacketId, SubscriptionOptions};
use fulmar_random::Random;
use fulmar_store::{
    Answer, Ask, ClientId, Destination, Epoch, Node, Owner, Published, Recipients, Reply, ShardId, Subscription,
    Ticket, Told, WillFate,
};

use super::shard::{SHARDS, Shard, claim, client_of, message, number_of};
use crate::Courier;

pub(super) const THREADS: u16 = 2;
const CLIENTS: usize = 3;

/// Messages by shard and thread, in the order in which they were taken.
pub(super) type History = BTreeMap<(ShardId, u16), Vec<u64>>;

/// All data threads of one node, in one life.
#[derive(Debug, Default)]
pub(super) struct Threads {
    last_ticket: u64,
    /// What is not answered.
    asked: BTreeMap<u64, (u16, Waits)>,
    /// Whom they serve.
    pub(super) sessions: BTreeMap<Owner, Serving>,
    last_slot: u32,
    is_life_over: bool,
    /// Clients that were closed, with what is to be asked about that.
    leaving: BTreeMap<Owner, Ask>,
    pub(super) published: History,
    /// Those of them that were acknowledged.
    pub(super) acknowledged: Vec<(ShardId, u64)>,
    /// Messages with a packet identifier that were acknowledged.
    pub(super) received: Vec<(ShardId, u64)>,
    pub(super) answers: u64,
    pub(super) unavailable: u64,
    pub(super) deliveries: u64,
}

#[derive(Debug)]
enum Waits {
    Publish(ShardId, u64),
    Claim(Owner, ClientId, ShardId),
    Subscribe(Owner, u64),
    Receive(Owner, PacketId, u64),
    Release(Owner, PacketId),
    Disconnect,
}

/// A client that was let in.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) client: ClientId,
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    /// How many deliveries came. They came in order.
    pub(super) told: u64,
    /// What it was asked to subscribe to last, and was told of as done.
    filter: (u64, u64),
    packet_ids: BTreeMap<PacketId, bool>,
}

impl Threads {
    /// What was asked and not answered, or is still to be asked.
    pub(super) fn unanswered(&self) -> usize {
        self.asked.len() + self.leaving.len()
    }

    /// Something at random.
    pub(super) fn ask(&mut self, courier: &mut Courier, last_message: &mut u64, now: Instant, random: &mut Random) {
        let thread = random.index(usize::from(THREADS)) as u16;
        let shard = ShardId(random.index(usize::from(SHARDS.get())) as u16);
        let sessions: Vec<Owner> = self.sessions.keys().copied().filter(|owner| owner.thread == thread).collect();
        let owner = sessions.get(random.index(sessions.len().max(1))).copied();
        let serving = owner.and_then(|owner| self.sessions.get_mut(&owner).map(|serving| (owner, serving)));
        *last_message += 1;
        let payload = *last_message;
        let published = |payload| Published {
            message: message(payload),
            retain: None,
            to: Recipients::Matching { publisher: None },
        };
        let (ask, waits) = match (random.index(10), serving) {
            (0, _) => {
                self.last_slot += 1;
                let owner = Owner { thread, slot: self.last_slot, generation: 7 };
                let client = client_of(shard, random.index(CLIENTS));
                (Ask::Claim { owner, claim: claim(client.clone()) }, Waits::Claim(owner, client, shard))
            }
            (1..4, Some((owner, serving))) => {
                serving.filter.0 += 1;
                let (client, epoch, filter) = (serving.client.clone(), serving.epoch, serving.filter.0);
                let subscription = Subscription { options: SubscriptionOptions::default(), id: None };
                let subscriptions = vec![(filter.to_string().into(), subscription)];
                (Ask::Subscribe { client, epoch, subscriptions }, Waits::Subscribe(owner, filter))
            }
            (4..6, Some((owner, serving))) => {
                let packet_id = PacketId::new(1 + random.index(3) as u16).expect("it is not 0");
                let (client, epoch, shard) = (serving.client.clone(), serving.epoch, serving.shard);
                match serving.packet_ids.get(&packet_id) {
                    None => {
                        serving.packet_ids.insert(packet_id, false);
                        let (published, destinations) = (published(payload), Destination::subscribers_of(&[shard]));
                        let ask = Ask::ReceiveQos2 { client, epoch, packet_id, published, destinations };
                        (ask, Waits::Receive(owner, packet_id, payload))
                    }
                    Some(true) => {
                        serving.packet_ids.insert(packet_id, false);
                        (Ask::Release { client, epoch, packet_id }, Waits::Release(owner, packet_id))
                    }
                    Some(false) => return,
                }
            }
            (6, Some((owner, _))) if random.once_in(3) => return self.close(owner),
            _ => (Ask::Publish { shard, published: published(payload) }, Waits::Publish(shard, payload)),
        };
        self.last_ticket += 1;
        let number = self.last_ticket;
        let is_publish = matches!(waits, Waits::Publish(..));
        match (courier.ask(Ticket { thread, number }, ask, now), waits) {
            (Ok(()), waits) => {
                if is_publish {
                    self.published.entry((shard, thread)).or_default().push(payload);
                }
                self.asked.insert(number, (thread, waits));
            }
            // A client that can't be served is closed.
            (Err(_), Waits::Subscribe(owner, _) | Waits::Receive(owner, ..) | Waits::Release(owner, _)) => {
                self.close(owner);
            }
            (Err(_), Waits::Publish(..) | Waits::Claim(..) | Waits::Disconnect) => {}
        }
    }

    /// A client is closed.
    fn close(&mut self, owner: Owner) {
        let Some(serving) = self.sessions.remove(&owner) else { return };
        let (client, epoch, expiry_seconds, will) = (serving.client, serving.epoch, None, WillFate::Keep);
        self.leaving.insert(owner, Ask::Disconnect { client, epoch, expiry_seconds, will });
    }

    /// The life of the node is over, and all clients are closed.
    pub(super) fn end_life(&mut self) {
        self.is_life_over = true;
        self.sessions.clear();
        self.leaving.clear();
    }

    /// Says of whom was closed that they were.
    pub(super) fn say_who_left(&mut self, courier: &mut Courier, now: Instant) {
        for (owner, ask) in std::mem::take(&mut self.leaving) {
            let number = self.last_ticket + 1;
            match courier.ask(Ticket { thread: owner.thread, number }, ask, now) {
                Ok(()) => {
                    self.last_ticket = number;
                    self.asked.insert(number, (owner.thread, Waits::Disconnect));
                }
                Err(ask) => {
                    self.leaving.insert(owner, *ask);
                }
            }
        }
    }

    /// A data thread is told something.
    pub(super) fn told(&mut self, me: Node, thread: u16, told: Told, shards: &mut [Shard]) {
        match told {
            Told::Answer { number, answer } => {
                let (asked_by, waits) = self.asked.remove(&number).expect("what is answered was asked, and only once");
                assert_eq!(asked_by, thread);
                self.answers += 1;
                self.unavailable += u64::from(answer == Answer::Unavailable);
                self.answered(waits, answer, shards);
            }
            Told::Deliver { owner, .. } | Told::TakenOver { owner, .. } if self.leaving.contains_key(&owner) => {}
            Told::Deliver { owner, epoch, deliveries } => {
                assert_eq!(owner.thread, thread);
                let Some(serving) = self.sessions.get_mut(&owner) else { panic!("{me}: {owner:?} is not served") };
                assert_eq!(serving.epoch, epoch);
                let queue = &shards[usize::from(serving.shard.0)].sessions[&serving.client].queue;
                for delivery in deliveries {
                    assert_eq!(delivery.sequence, serving.told, "{me}: deliveries to {} have a gap", serving.client);
                    let payload = delivery.message.as_ref().and_then(number_of);
                    assert_eq!(payload, queue.get(serving.told as usize).copied());
                    serving.told += 1;
                    self.deliveries += 1;
                }
            }
            Told::TakenOver { owner, epoch } => {
                let serving = self.sessions.remove(&owner).expect("who is taken over was served");
                let session = &shards[usize::from(serving.shard.0)].sessions[&serving.client];
                assert!(serving.epoch == epoch && (session.epoch, session.owner) != (epoch, Some(me)));
            }
            other => panic!("nobody tells {other:?}"),
        }
    }

    fn answered(&mut self, waits: Waits, answer: Answer, shards: &mut [Shard]) {
        match (waits, answer) {
            (Waits::Publish(shard, payload), Answer::Reply(Reply::Published { .. })) => {
                self.acknowledged.push((shard, payload));
            }
            (Waits::Claim(owner, client, shard), Answer::Claimed(owned)) => {
                let (epoch, packet_ids) = (owned.claimed.epoch, BTreeMap::new());
                let serving = Serving { client, shard, epoch, told: 0, filter: (0, 0), packet_ids };
                self.sessions.insert(owner, serving);
            }
            (Waits::Subscribe(owner, filter), Answer::Reply(Reply::Subscribed(_))) => {
                if let Some(serving) = self.sessions.get_mut(&owner) {
                    serving.filter.1 = serving.filter.1.max(filter);
                    let told = &mut shards[usize::from(serving.shard.0)].told_filters;
                    told.insert((serving.client.clone(), serving.epoch), serving.filter.1);
                }
            }
            (Waits::Receive(owner, packet_id, payload), Answer::Reply(Reply::Routed(_) | Reply::Duplicate)) => {
                if let Some(serving) = self.sessions.get_mut(&owner) {
                    self.received.push((serving.shard, payload));
                    serving.packet_ids.insert(packet_id, true);
                }
            }
            (Waits::Release(owner, packet_id), Answer::Reply(Reply::Released(_))) => {
                if let Some(serving) = self.sessions.get_mut(&owner) {
                    serving.packet_ids.remove(&packet_id);
                }
            }
            (Waits::Claim(..) | Waits::Publish(..), Answer::Unavailable)
            | (Waits::Claim(..) | Waits::Disconnect, Answer::Reply(_)) => {}
            (
                Waits::Subscribe(owner, _) | Waits::Receive(owner, ..) | Waits::Release(owner, _),
                Answer::Unavailable,
            ) => {
                self.close(owner);
            }
            (Waits::Disconnect, Answer::Unavailable) if self.is_life_over => {}
            // Refused: somebody else owns the session, of which this thread is told next.
            (Waits::Subscribe(..) | Waits::Receive(..) | Waits::Release(..), Answer::Reply(Reply::Refused(_))) => {}
            (waits, answer) => panic!("{waits:?} is answered {answer:?}"),
        }
    }
}
