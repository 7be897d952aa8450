//! The engine of a node, as far as couriers and desks know it: asks wait in a queue for each shard, are done by the
//! leader in order, and answered; sessions that are claimed and attached are sent what is in their queues.

use std::collections::{BTreeMap, VecDeque};

use fulmar_random::Random;
use fulmar_store::{Answer, Ask, Asked, ClientId, Epoch, Node, Owner, Ticket, Told};

use super::shard::Shard;
use crate::Desk;

/// One shard on one node.
#[derive(Debug, Default)]
pub(super) struct Engine {
    asks: VecDeque<Asked>,
    /// Answers that wait, until so much has happened here.
    held: Vec<(u64, Node, Ticket, Answer)>,
    steps: u64,
    served: BTreeMap<ClientId, Served>,
    /// There is no room until the next turn.
    is_full: bool,
    /// What goes into the queue at most.
    asks_max: usize,
}

/// A session that a node serves.
#[derive(Debug)]
struct Served {
    node: Node,
    owner: Owner,
    epoch: Epoch,
    next: u64,
}

impl Engine {
    pub(super) fn new(asks_max: usize) -> Self {
        Self { asks_max, ..Self::default() }
    }

    pub(super) fn ask(&mut self, asked: Asked, desk: &mut Desk) {
        self.is_full |= self.asks.len() >= self.asks_max;
        if self.is_full {
            tell(desk, asked.origin, asked.ticket, Answer::Unavailable);
        } else {
            self.asks.push_back(asked);
        }
    }

    /// A turn of the leader.
    pub(super) fn turn(&mut self, shard: &mut Shard, desk: &mut Desk, random: &mut Random) {
        self.is_full = false;
        self.steps += 1;
        for _ in 0..random.index(6) {
            let Some(asked) = self.asks.pop_front() else { break };
            let answer = self.carry_out(&asked, shard, desk);
            // Some answers wait for other nodes.
            if matches!(asked.ask, Ask::Subscribe { .. }) && random.once_in(2) {
                self.held.push((self.steps + random.index(8) as u64, asked.origin, asked.ticket, answer));
            } else {
                self.answer(&asked, answer, desk);
            }
        }
        let due = self.held.extract_if(.., |(until, ..)| *until <= self.steps).collect::<Vec<_>>();
        due.into_iter().for_each(|(_, to, ticket, answer)| tell(desk, to, ticket, answer));
        self.deliver(shard, desk, random);
    }

    fn carry_out(&mut self, asked: &Asked, shard: &mut Shard, desk: &mut Desk) -> Answer {
        let (answer, taken_from) = shard.apply(asked);
        if let (Ask::Claim { claim, .. }, Some(epoch)) = (&asked.ask, taken_from)
            && let Some(served) = self.served.remove(&claim.client)
        {
            assert_eq!(served.epoch, epoch, "only the owner of the session is served");
            desk.tell(served.node, served.owner.thread, Told::TakenOver { owner: served.owner, epoch });
        }
        answer
    }

    /// Answers, and then serves who is to be served.
    fn answer(&mut self, asked: &Asked, answer: Answer, desk: &mut Desk) {
        let served = match (&asked.ask, &answer) {
            (Ask::Claim { owner, claim }, Answer::Claimed(owned)) => {
                Some((claim.client.clone(), *owner, owned.claimed.epoch, 0))
            }
            (Ask::Attach { owner, client, epoch, next }, Answer::Reply(fulmar_store::Reply::Attached)) => {
                Some((client.clone(), *owner, *epoch, *next))
            }
            (Ask::Disconnect { client, epoch, .. }, _) => {
                if self.served.get(client).is_some_and(|served| served.epoch == *epoch) {
                    self.served.remove(client);
                }
                None
            }
            _ => None,
        };
        tell(desk, asked.origin, asked.ticket, answer);
        if let Some((client, owner, epoch, next)) = served {
            self.served.insert(client, Served { node: asked.origin, owner, epoch, next });
        }
    }

    fn deliver(&mut self, shard: &Shard, desk: &mut Desk, random: &mut Random) {
        for (client, served) in &mut self.served {
            let deliveries = shard.deliverable(client, served.next, random.index(4));
            if let Some(last) = deliveries.last() {
                served.next = last.sequence + 1;
                let (owner, epoch) = (served.owner, served.epoch);
                desk.tell(served.node, owner.thread, Told::Deliver { owner, epoch, deliveries });
            }
        }
    }

    /// It leads no more. Some of what was asked is in the log of whoever leads next, and nobody here knows.
    pub(super) fn stop_leading(
        &mut self,
        leader: Option<u64>,
        shard: &mut Shard,
        desk: &mut Desk,
        random: &mut Random,
    ) {
        for _ in 0..random.index(4) {
            let Some(asked) = self.asks.pop_front() else { break };
            shard.apply(&asked);
            tell(desk, asked.origin, asked.ticket, Answer::Unavailable);
        }
        for asked in self.asks.drain(..) {
            tell(desk, asked.origin, asked.ticket, Answer::NotLeader { leader });
        }
        for (_, to, ticket, _) in self.held.drain(..) {
            tell(desk, to, ticket, Answer::Unavailable);
        }
        self.served.clear();
    }

    /// A node's letters were lost, or its life is over.
    pub(super) fn lost(&mut self, node: u64) {
        self.served.retain(|_, served| served.node.id != node);
    }
}

fn tell(desk: &mut Desk, to: Node, ticket: Ticket, answer: Answer) {
    desk.tell(to, ticket.thread, Told::Answer { number: ticket.number, answer });
}
