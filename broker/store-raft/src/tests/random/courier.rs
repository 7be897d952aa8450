//! What stands between the data threads of a node and the leaders of shards: a simple courier. It asks in order, numbers
//! what is published, and asks again in the same order when a link breaks or somebody else leads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

use fulmar_raft::Term;
use fulmar_store::{
    Answer, Ask, Asked, ClientId, Epoch, Node, Number, Owner, Refusal, Reply, Sequence, ShardId, Ticket, Told,
};

/// Questions of the courier itself have numbers from here on, and runs of them count from here on.
const OWN: u64 = 1 << 31;
const RUN: u64 = 1 << 32;

/// A question on its way, for a leader of one term only.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) to: usize,
    pub(super) term: Term,
    pub(super) shard: ShardId,
    pub(super) run: u64,
    pub(super) asked: Asked,
}

#[derive(Debug, Default)]
struct Way {
    last_number: Number,
    open: VecDeque<(u64, Option<Number>, Ask)>,
    run: u64,
    to: Option<(usize, Term)>,
    /// Whom earlier runs were for, as long as no link to them has broken.
    runs: BTreeMap<u64, (usize, Term)>,
}

/// A session that this node serves.
#[derive(Debug)]
struct Served {
    slot: u32,
    generation: u32,
    epoch: Epoch,
    next: Sequence,
    /// Who knows of it.
    at: Option<(usize, Term)>,
    is_asking: bool,
}

#[derive(Debug)]
pub(super) struct Courier {
    me: Node,
    shards: NonZeroU16,
    ways: BTreeMap<ShardId, Way>,
    sessions: BTreeMap<ClientId, Served>,
    last_own: u64,
}

impl Courier {
    pub(super) fn new(me: Node, shards: NonZeroU16) -> Self {
        Self { me, shards, ways: BTreeMap::new(), sessions: BTreeMap::new(), last_own: OWN }
    }

    pub(super) fn ask(&mut self, question: u64, mut ask: Ask, sent: &mut Vec<Sent>) {
        let shard = ask.shard(self.shards);
        let way = self.ways.entry(shard).or_default();
        if let Ask::Claim { claim, .. } = &mut ask {
            (claim.node, claim.nonce) = (self.me, question);
        }
        if let Ask::Disconnect { client, .. } = &ask {
            self.sessions.remove(client);
        }
        let number = matches!(ask, Ask::Publish { .. }).then(|| {
            way.last_number += 1;
            way.last_number
        });
        way.open.push_back((question, number, ask));
        let me = self.me;
        sent.extend(way.letter(way.open.len() - 1, me, shard));
    }

    /// What is asked of this node is not answered any more, or never was: all is asked again.
    pub(super) fn lost(&mut self, node: usize) {
        for way in self.ways.values_mut() {
            way.to.take_if(|(to, _)| *to == node);
            way.runs.retain(|_, (to, _)| *to != node);
        }
        for served in self.sessions.values_mut() {
            served.at.take_if(|(at, _)| *at == node);
        }
    }

    /// Asks whoever leads now, and says which sessions are served here.
    pub(super) fn step(&mut self, leader: impl Fn(ShardId) -> Option<(usize, Term)>, sent: &mut Vec<Sent>) {
        for shard in (0..self.shards.get()).map(ShardId) {
            let way = self.ways.entry(shard).or_default();
            let Some(to) = leader(shard) else { continue };
            if way.to.is_none_or(|(_, term)| term < to.1) {
                (way.to, way.run) = (Some(to), way.run + 1);
                way.runs.insert(way.run, to);
                // What was to go on from then is to go on from now.
                way.open.retain(|(_, _, ask)| match ask {
                    Ask::Attach { client, .. } => {
                        self.sessions.get_mut(client).into_iter().for_each(|served| served.is_asking = false);
                        false
                    }
                    _ => true,
                });
                let me = self.me;
                sent.extend((0..way.open.len()).filter_map(|at| way.letter(at, me, shard)));
            }
        }
        let shards = self.shards;
        // One at a time: if there is no room for all of them, each refusal would begin all anew.
        let asking = self.sessions.iter().filter(|(_, served)| served.is_asking);
        let mut asking: BTreeSet<ShardId> = asking.map(|(client, _)| ShardId::of(client, shards)).collect();
        let mut asks = Vec::new();
        for (client, served) in &mut self.sessions {
            let shard = ShardId::of(client, shards);
            let to = self.ways.get(&shard).and_then(|way| way.to);
            if to.is_some() && served.at != to && asking.insert(shard) {
                self.last_own += 1;
                (served.is_asking, served.generation) = (true, self.last_own as u32);
                let owner = Owner { thread: 0, slot: served.slot, generation: served.generation };
                let (client, epoch, next) = (client.clone(), served.epoch, served.next);
                asks.push((self.last_own, Ask::Attach { owner, client, epoch, next }));
            }
        }
        for (question, ask) in asks {
            self.ask(question, ask, sent);
        }
    }

    /// What came back, as the data threads are told.
    pub(super) fn told(&mut self, thread: u16, told: Told) -> Option<Told> {
        match told {
            Told::Answer { number, answer } => self.answered(ShardId(thread), number / RUN, number % RUN, answer),
            Told::Deliver { owner, epoch, deliveries } => {
                let served = self.served(owner, epoch)?;
                served.next = deliveries.last()?.sequence + 1;
                Some(Told::Deliver { owner: plain(owner), epoch, deliveries })
            }
            Told::TakenOver { owner, epoch } => {
                self.over(owner, epoch)?;
                Some(Told::TakenOver { owner: plain(owner), epoch })
            }
            Told::Ended { owner, epoch } => {
                self.over(owner, epoch)?;
                Some(Told::Ended { owner: plain(owner), epoch })
            }
            other => Some(other),
        }
    }

    fn served(&mut self, owner: Owner, epoch: Epoch) -> Option<&mut Served> {
        let is_it = |it: &&mut Served| (it.slot, it.generation, it.epoch) == (owner.slot, owner.generation, epoch);
        self.sessions.values_mut().find(is_it)
    }

    fn over(&mut self, owner: Owner, epoch: Epoch) -> Option<()> {
        let before = self.sessions.len();
        self.sessions.retain(|_, it| (it.slot, it.epoch) != (owner.slot, epoch));
        (self.sessions.len() < before).then_some(())
    }

    fn answered(&mut self, shard: ShardId, run: u64, question: u64, answer: Answer) -> Option<Told> {
        let way = self.ways.get_mut(&shard)?;
        let is_final = !matches!(
            answer,
            Answer::NotLeader { .. } | Answer::Unavailable | Answer::Reply(Reply::Refused(Refusal::OutOfOrder { .. }))
        );
        if !is_final {
            way.to.take_if(|_| run == way.run);
            return None;
        }
        let at = way.open.iter().position(|(it, ..)| *it == question)?;
        let (_, _, ask) = way.open.remove(at)?;
        let to = way.runs.get(&run).copied();
        match (ask, &answer) {
            (Ask::Claim { owner, claim }, Answer::Claimed(session)) => {
                let (slot, generation, epoch) = (owner.slot, generation_in(run), session.claimed.epoch);
                // One that is under way in a later run, too, begins with its deliveries anew.
                let at = to.filter(|_| run == way.run);
                let served = Served { slot, generation, epoch, next: 0, at, is_asking: false };
                self.sessions.insert(claim.client, served);
            }
            (Ask::Attach { owner, client, epoch, .. }, answer) => {
                let served = self.sessions.get_mut(&client).filter(|it| it.epoch == epoch)?;
                (served.is_asking, served.at) = (false, to);
                if *answer != Answer::Reply(Reply::Attached) {
                    self.sessions.remove(&client);
                    return Some(Told::TakenOver { owner: plain(owner), epoch });
                }
                return None;
            }
            _ => {}
        }
        Some(Told::Answer { number: question, answer })
    }
}

/// As what a session is claimed in a run. Those of the courier's own questions are higher.
fn generation_in(run: u64) -> u32 {
    u32::try_from(run).expect("few runs")
}

fn plain(owner: Owner) -> Owner {
    Owner { generation: 0, ..owner }
}

impl Way {
    fn letter(&self, at: usize, me: Node, shard: ShardId) -> Option<Sent> {
        let (to, term) = self.to?;
        let (question, number, mut ask) = self.open.get(at)?.clone();
        if let Ask::Claim { owner, .. } = &mut ask {
            owner.generation = generation_in(self.run);
        }
        let ticket = Ticket { thread: shard.0, number: self.run * RUN + question };
        Some(Sent { to, term, shard, run: self.run, asked: Asked { origin: me, ticket, number, ask } })
    }
}
