//! What is committed of a shard, as simply as can be: numbered streams, sessions with a queue, and how often each
//! message was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};
use fulmar_store::{
    Answer, Ask, Asked, Claimed, ClientId, Delivery, Epoch, ItemReply, Message, Node, OwnedSession, Recipients,
    Refusal, Reply, ShardId, Stored, WillState,
};

pub(in crate::tests) const SHARDS: NonZeroU16 = NonZeroU16::new(2).unwrap();

/// A message that is told from all others by its number.
pub(in crate::tests) fn message(number: u64) -> Message {
    Message::new("t", QoS::AtLeastOnce, b"", &number.to_be_bytes())
}

pub(in crate::tests) fn number_of(message: &Message) -> Option<u64> {
    message.payload().try_into().ok().map(u64::from_be_bytes)
}

#[derive(Debug, Default)]
pub(in crate::tests) struct Shard {
    /// The next number of each stream.
    sources: BTreeMap<Node, u64>,
    /// Messages of streams in the order in which they were stored.
    pub(in crate::tests) stored: Vec<(Node, u64)>,
    /// Messages that came with a packet identifier.
    pub(in crate::tests) received: Vec<u64>,
    last_epoch: Epoch,
    pub(in crate::tests) sessions: BTreeMap<ClientId, Session>,
    /// Lives that are over.
    gone: BTreeSet<Node>,
    /// What was told of subscriptions: nothing older is done after that.
    pub(in crate::tests) told_filters: BTreeMap<(ClientId, Epoch), u64>,
}

#[derive(Debug)]
pub(in crate::tests) struct Session {
    pub(in crate::tests) epoch: Epoch,
    pub(in crate::tests) owner: Option<Node>,
    claim: (Node, u64),
    earlier: Vec<(Node, u64)>,
    /// What it was asked to subscribe to last: a number that grows.
    pub(in crate::tests) filter: u64,
    pub(in crate::tests) queue: Vec<u64>,
    open: BTreeSet<PacketId>,
}

/// Whom a session was taken from.
pub(in crate::tests) type TakenFrom = Option<Epoch>;

impl Shard {
    pub(in crate::tests) fn apply(&mut self, asked: &Asked) -> (Answer, TakenFrom) {
        let taken_from = match &asked.ask {
            Ask::Claim { claim, .. } => {
                let is_again = self.session(&claim.client).is_some_and(|it| it.claim == (claim.node, claim.nonce));
                self.session(&claim.client).filter(|_| !is_again).map(|session| session.epoch)
            }
            _ => None,
        };
        let answer = self.reply(asked).unwrap_or_else(|refusal| Answer::Reply(Reply::Refused(refusal)));
        let taken_from = taken_from.filter(|_| matches!(answer, Answer::Claimed(_)));
        (answer, taken_from)
    }

    fn session(&self, client: &ClientId) -> Option<&Session> {
        self.sessions.get(client)
    }

    fn owned(&mut self, client: &ClientId, epoch: Epoch) -> Result<&mut Session, Refusal> {
        let session = self.sessions.get_mut(client).ok_or(Refusal::NoSession)?;
        if session.epoch != epoch {
            return Err(Refusal::Epoch { found: epoch, current: session.epoch });
        }
        session.owner.map(|_| ()).ok_or(Refusal::NotOwned { epoch })?;
        Ok(session)
    }

    fn reply(&mut self, asked: &Asked) -> Result<Answer, Refusal> {
        let origin = asked.origin;
        if self.gone.contains(&origin) {
            return Err(Refusal::NodeGone(origin));
        }
        Ok(Answer::Reply(match &asked.ask {
            Ask::Publish { published, .. } => {
                let number = asked.number.expect("couriers number what they publish");
                let expected = self.sources.entry(origin).or_insert(1);
                if number > *expected {
                    return Err(Refusal::OutOfOrder { found: number, expected: *expected });
                }
                let item = if number < *expected {
                    ItemReply::DoneBefore
                } else {
                    *expected = number + 1;
                    if let Some(payload) = number_of(&published.message) {
                        self.stored.push((origin, payload));
                        self.sessions.values_mut().for_each(|session| session.queue.push(payload));
                    } else {
                        assert_eq!(published.to, Recipients::Nobody);
                    }
                    ItemReply::Stored(Stored::default())
                };
                Reply::Published { items: vec![item], expected: self.sources[&origin] }
            }
            Ask::Claim { claim, .. } => {
                assert_eq!(claim.node, origin);
                return self.claim(claim).map(|claimed| {
                    let session = OwnedSession { claimed, subscriptions: Vec::new(), received: Vec::new() };
                    Answer::Claimed(Box::new(session))
                });
            }
            Ask::Attach { client, epoch, .. } => self.owned(client, *epoch).map(|_| Reply::Attached)?,
            Ask::Subscribe { client, epoch, subscriptions } => {
                let filter = subscriptions[0].0.parse().expect("the filter is a number");
                let told = self.told_filters.get(&(client.clone(), *epoch)).copied();
                let session = self.owned(client, *epoch)?;
                assert!(told.is_none_or(|told| told <= filter), "{filter} comes after {told:?} was told as done");
                session.filter = filter;
                Reply::Subscribed(vec![Ok(true)])
            }
            Ask::ReceiveQos2 { client, epoch, packet_id, published, .. } => {
                let session = self.owned(client, *epoch)?;
                if session.open.insert(*packet_id) {
                    self.received.push(number_of(&published.message).expect("it is one of ours"));
                    Reply::Routed(Stored::default())
                } else {
                    Reply::Duplicate
                }
            }
            Ask::Release { client, epoch, packet_id } => {
                Reply::Released(self.owned(client, *epoch)?.open.remove(packet_id))
            }
            Ask::Disconnect { client, epoch, .. } => {
                self.owned(client, *epoch)?.owner = None;
                Reply::Disconnected { ended: false, will: WillState::None }
            }
            other => panic!("nobody asks {other:?}"),
        }))
    }

    fn claim(&mut self, claim: &fulmar_store::Claim) -> Result<Claimed, Refusal> {
        let this = (claim.node, claim.nonce);
        let answer = |epoch, present| Claimed { epoch, generation: 1, present, took_over: None, sent_until: 0 };
        let (mut earlier, mut queue) = (Vec::new(), Vec::new());
        if let Some(session) = self.sessions.get_mut(&claim.client) {
            let epoch = session.epoch;
            if session.earlier.contains(&this) {
                return Err(Refusal::Superseded { epoch });
            }
            if session.claim == this {
                return session.owner.map(|_| answer(epoch, true)).ok_or(Refusal::NotOwned { epoch });
            }
            session.earlier.push(session.claim);
            (earlier, queue) = (std::mem::take(&mut session.earlier), std::mem::take(&mut session.queue));
        }
        self.last_epoch += 1;
        let (epoch, owner) = (self.last_epoch, Some(claim.node));
        let present = !earlier.is_empty();
        let session = Session { epoch, owner, claim: this, earlier, filter: 0, queue, open: BTreeSet::new() };
        self.sessions.insert(claim.client.clone(), session);
        Ok(answer(epoch, present))
    }

    /// A life of a node is over.
    pub(in crate::tests) fn gone(&mut self, node: Node) {
        self.gone.insert(node);
        for session in self.sessions.values_mut().filter(|session| session.owner == Some(node)) {
            session.owner = None;
        }
    }

    /// What its owner is sent from `next` on, at most so much.
    pub(in crate::tests) fn deliverable(&self, client: &ClientId, next: u64, most: usize) -> Vec<Delivery> {
        let queue = self.sessions.get(client).map_or(&[][..], |session| &session.queue);
        let rest = queue.get(next as usize..).unwrap_or_default().iter().take(most);
        let delivery = |(sequence, payload): (u64, &u64)| Delivery {
            sequence,
            packet_id: PacketId::new(1).expect("1 is not 0"),
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription_ids: [].into(),
            message: Some(message(*payload)),
        };
        (next..).zip(rest).map(delivery).collect()
    }
}

/// A client of that shard.
pub(in crate::tests) fn client_of(shard: ShardId, number: usize) -> ClientId {
    let mut names = (0..).map(|attempt| Arc::<str>::from(format!("{number}-{attempt}")));
    names.find(|name| ShardId::of(name, SHARDS) == shard).expect("names never end")
}

/// What a data thread asks for, who leaves some of it to the store.
pub(in crate::tests) fn claim(client: ClientId) -> fulmar_store::Claim {
    fulmar_store::Claim {
        client,
        user: None,
        takeover: fulmar_store::Takeover::SameUser,
        node: Node { id: 0, incarnation: 0 },
        nonce: 0,
        clean: false,
        expiry_seconds: 3600,
        receive_maximum: NonZeroU16::MIN,
        will: None,
    }
}
