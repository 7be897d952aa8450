//! What a shard does, by topic. Whole replies are compared, so that what should not happen is tested too.

mod ask_bytes;
mod bodies;
mod bounds;
mod bytes;
mod claim;
mod exactly_once;
mod intake;
mod leaving;
mod model;
mod publish;
mod queue;
mod random;
mod replicas;
mod retained;
mod shared;
mod users;
mod weight;

use std::num::NonZeroU16;
use std::sync::Arc;

use fulmar_codec::{QoS, SubscriptionOptions};

use crate::body::Nowhere;
use crate::*;

const A: Node = Node { id: 0xa, incarnation: 1 };
const B: Node = Node { id: 0xb, incarnation: 1 };
const SECOND: u64 = 1000;

fn text(text: &str) -> Arc<str> {
    text.into()
}

fn message(topic: &str, payload: &str) -> Message {
    Message::new(topic, QoS::AtLeastOnce, &[], payload.as_bytes())
}

fn subscription(qos: QoS) -> Subscription {
    Subscription { options: SubscriptionOptions { qos, ..SubscriptionOptions::default() }, id: None }
}

fn claim(client: &str, node: Node, nonce: u64) -> Claim {
    Claim {
        client: client.into(),
        user: None,
        takeover: Takeover::SameUser,
        node,
        nonce,
        clean: false,
        expiry_seconds: 3600,
        receive_maximum: NonZeroU16::new(10).unwrap(),
        will: None,
    }
}

fn will(payload: &str, delay_seconds: u32) -> Option<Will> {
    Some(Will { message: message("will", payload), delay_seconds })
}

fn target(client: &str, generation: Generation, qos: QoS) -> Target {
    Target { client: client.into(), generation, qos, retain: false, subscription_ids: vec![], share: None }
}

fn item(payload: &str, targets: &[Target]) -> Item {
    Item { message: message("t", payload), retain: None, targets: targets.to_vec() }
}

fn publish(first: Number, items: &[Item]) -> Command {
    Command::Publish { source: Party::Node(A), first, items: items.to_vec(), goes_on: false }
}

fn stored(queued: u32) -> ItemReply {
    ItemReply::Stored(Stored { queued, ..Stored::default() })
}

fn acknowledge(client: &str, epoch: Epoch, acks: &[(Sequence, Ack)]) -> Command {
    Command::Acknowledge { client: client.into(), epoch, acks: acks.to_vec() }
}

fn disconnect(client: &str, epoch: Epoch, will: WillFate) -> Command {
    Command::Disconnect { client: client.into(), epoch, expiry_seconds: None, will }
}

/// A shard to which one command after the other is committed.
struct World {
    shard: Shard,
    now: Time,
    subscriptions: Vec<SubscriptionChange>,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let mut world = Self { shard: Shard::new(ShardId(3)), now: 1000 * SECOND, subscriptions: Vec::new() };
        assert_eq!(world.apply(Command::Settings(settings)), Reply::Done);
        world
    }

    fn apply(&mut self, command: Command) -> Reply {
        let entry = Entry { time: self.now, commands: vec![command] };
        let Applied { mut replies, subscriptions, .. } = self.shard.apply(self.shard.applied() + 1, &entry);
        self.subscriptions = subscriptions;
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    fn claim(&mut self, claim: &Claim) -> Claimed {
        match self.apply(Command::Claim(claim.clone())) {
            Reply::Claimed(claimed) => claimed,
            other => panic!("the claim was answered with {other:?}"),
        }
    }

    /// A new session that the node A owns.
    fn session(&mut self, client: &str) -> Claimed {
        self.claim(&claim(client, A, 1))
    }

    /// Messages of QoS 1 for one client, the next of the stream from A.
    fn queue(&mut self, client: &str, payloads: &[&str]) -> Reply {
        self.queue_at(client, QoS::AtLeastOnce, payloads)
    }

    fn queue_at(&mut self, client: &str, qos: QoS, payloads: &[&str]) -> Reply {
        let generation = self.shard.session(client).unwrap().generation;
        let items: Vec<_> = payloads.iter().map(|payload| item(payload, &[target(client, generation, qos)])).collect();
        let first = self.shard.expected(Party::Node(A));
        self.apply(publish(first, &items))
    }

    fn expire(&mut self) -> Cleared {
        match self.apply(Command::Expire) {
            Reply::Cleared(cleared) => cleared,
            other => panic!("clearing up was answered with {other:?}"),
        }
    }

    /// What may be sent: sequence, packet identifier, payload; `PUBREL` where only that is to be sent.
    fn deliverable(&self, client: &str) -> Vec<(Sequence, u16, String)> {
        let credit = Credit { messages: usize::MAX, bytes: u64::MAX };
        let shown = |message: Message| String::from_utf8(message.payload().to_vec()).unwrap();
        let deliveries = self.shard.deliverable(client, 0, credit, self.now, &mut Nowhere).unwrap().into_iter();
        deliveries
            .map(|it| (it.sequence, it.packet_id.get(), it.message.map_or_else(|| "PUBREL".to_owned(), shown)))
            .collect()
    }

    fn payloads(&self, client: &str) -> Vec<String> {
        self.deliverable(client).into_iter().map(|(.., payload)| payload).collect()
    }

    /// Payloads of wills that are to be published.
    fn wills(&self) -> Vec<String> {
        let shown = |will: &Will| String::from_utf8(will.message.payload().to_vec()).unwrap();
        self.shard.pending_wills().map(|(_, pending)| shown(&pending.will)).collect()
    }
}
