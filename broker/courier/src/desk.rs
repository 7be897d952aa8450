//! The engine's end of letters: what comes of couriers becomes asks, what the engine tells becomes letters.
//!
//! The ticket of an ask that comes by letter has the shard in the place of the thread. So a refusal is known for one of
//! its shard and run, behind which nothing of that run may be done: who asks sends all of it again, in order.
//!
//! A letter may be long on its way. What is asked of one leadership is not done in a later one of the same node: another
//! one may have led in between, been asked the same again, and more after it.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use fulmar_store::{Answer, Asked, Node, Refusal, Reply, ShardId, Ticket, Told};

use crate::counts::DeskCounts;
use crate::letter::{AnswerLetter, AskLetter, Asking, Written};
use crate::line::run_of;
use crate::settings::{DeskSettings, sabotaged};
use crate::weight;

/// The engine's end of letters: see the [crate].
#[derive(Debug)]
pub struct Desk {
    settings: DeskSettings,
    shards: NonZeroU16,
    /// By the number of the shard.
    leaderships: Vec<Leadership>,
    origins: BTreeMap<u64, Origin>,
    /// Counts up with each letter, to find who was not heard of for longest.
    heard: u64,
    /// What is written, by to whom.
    batches: BTreeMap<Node, Batch>,
    counted: DeskCounts,
}

/// A node that asks.
#[derive(Debug)]
struct Origin {
    incarnation: u64,
    last_heard: u64,
    runs: BTreeMap<ShardId, Run>,
}

/// The last run of a node's asks of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Run {
    number: u64,
    /// Something of it was refused, so that it begins anew.
    is_over: bool,
}

/// What the engine of this node says about who leads a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term in which this node leads, whether it serves already or will in a moment. None: it does not.
    pub term: Option<u64>,
    /// Who leads, if that is known.
    pub leader: Option<u64>,
}

/// What a node is written, in letters of which all but the last are full.
#[derive(Debug, Default)]
struct Batch {
    letters: Vec<Vec<(ShardId, Written)>>,
    /// Of the last.
    bytes: usize,
}

impl Desk {
    /// A desk that has not heard of anybody.
    pub fn new(settings: DeskSettings, shards: NonZeroU16) -> Self {
        Self {
            settings,
            shards,
            leaderships: vec![Leadership::default(); usize::from(shards.get())],
            origins: BTreeMap::new(),
            heard: 0,
            batches: BTreeMap::new(),
            counted: DeskCounts::default(),
        }
    }

    /// What the engine says about who leads a shard, after each of its turns. Whoever asks of a leadership that is over
    /// is told so, also if they wait for nothing: they may serve sessions.
    pub fn set_leadership(&mut self, shard: ShardId, leadership: Leadership) {
        let Some(known) = self.leaderships.get_mut(usize::from(shard.0)) else { return };
        let before = std::mem::replace(known, leadership);
        if before.term.is_none() || before.term == leadership.term || sabotaged!(self.settings, EndNotTold) {
            return;
        }
        let mut refused = Vec::new();
        for (id, origin) in &mut self.origins {
            if let Some(run) = origin.runs.get_mut(&shard).filter(|run| !run.is_over) {
                run.is_over = true;
                refused.push((Node { id: *id, incarnation: origin.incarnation }, run.number));
            }
        }
        for (to, run) in refused {
            self.write(to, shard, Written::Refused { run, leader: leadership.leader });
        }
    }

    /// A letter of the courier of node `from`: what the engine is to be asked, in this order. Nothing if it comes late.
    pub fn receive(&mut self, from: u64, letter: AskLetter) -> Vec<Asked> {
        let AskLetter { from: origin, shard, run, term, asks } = letter;
        let is_sound = origin.id == from
            && shard.0 < self.shards.get()
            && asks.iter().all(|asking| asking.ask.shard(self.shards) == shard);
        if !is_sound {
            self.counted.senseless += 1;
            return Vec::new();
        }
        if !self.goes_on(origin, shard, run) {
            self.counted.late += asks.len() as u64;
            return Vec::new();
        }
        let leadership = self.leaderships[usize::from(shard.0)];
        let leads = leadership.term.filter(|leads| term.is_none_or(|term| term == *leads));
        match (leads, term) {
            (None, _) if !sabotaged!(self.settings, OldTermTaken) => {
                self.end_run(origin, shard, run as u16);
                self.write(origin, shard, Written::Refused { run, leader: leadership.leader });
                return Vec::new();
            }
            (Some(term), None) => self.write(origin, shard, Written::Welcome { run, term }),
            _ => {}
        }
        self.counted.asks += asks.len() as u64;
        let asked = |Asking { ticket, number, ask }| {
            let ticket = Ticket { thread: shard.0, number: ticket };
            Asked { origin, ticket, number, ask }
        };
        asks.into_iter().map(asked).collect()
    }

    /// Whether this run is the last of its node and shard, and not over.
    fn goes_on(&mut self, origin: Node, shard: ShardId, run: u64) -> bool {
        self.heard += 1;
        self.make_room_for(origin.id);
        let new = || Origin { incarnation: origin.incarnation, last_heard: 0, runs: BTreeMap::new() };
        let known = self.origins.entry(origin.id).or_insert_with(new);
        if known.incarnation < origin.incarnation {
            *known = new();
        } else if known.incarnation > origin.incarnation {
            return false;
        }
        known.last_heard = self.heard;
        let last = known.runs.entry(shard).or_default();
        if last.number < run {
            *last = Run { number: run, is_over: false };
        }
        last.number == run && !last.is_over
    }

    fn make_room_for(&mut self, node: u64) {
        if self.origins.len() < self.settings.origins_max || self.origins.contains_key(&node) {
            return;
        }
        let oldest = self.origins.iter().min_by_key(|(_, origin)| origin.last_heard).map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.origins.remove(&oldest);
            self.counted.origins_forgotten += 1;
        }
    }

    /// The engine tells something that is for a courier: an answer to what came by letter, or what concerns a session
    /// that was claimed or attached so. `thread` is the ticket's or the owner's.
    pub fn tell(&mut self, to: Node, thread: u16, told: Told) {
        let shard = ShardId(thread);
        if let Told::Answer { number, answer } = &told
            && is_refusal(answer)
        {
            self.end_run(to, shard, run_of(*number));
        }
        self.write(to, shard, Written::Told(told));
    }

    fn write(&mut self, to: Node, shard: ShardId, written: Written) {
        let bytes = weight::of_written(&written);
        let batch = self.batches.entry(to).or_default();
        match batch.letters.last_mut() {
            Some(last) if batch.bytes + bytes <= self.settings.letter_bytes_max => {
                last.push((shard, written));
                batch.bytes += bytes;
            }
            _ => {
                batch.letters.push(vec![(shard, written)]);
                batch.bytes = bytes;
            }
        }
    }

    /// Nothing behind a refused ask is to be done before it.
    fn end_run(&mut self, to: Node, shard: ShardId, low_bits: u16) {
        let origin = self.origins.get_mut(&to.id).filter(|origin| origin.incarnation == to.incarnation);
        if let Some(run) = origin.and_then(|origin| origin.runs.get_mut(&shard))
            && low_bits == run.number as u16
        {
            run.is_over = true;
        }
    }

    /// What was told since this was asked last, by node, in order.
    pub fn take_letters(&mut self) -> Vec<AnswerLetter> {
        let batches = std::mem::take(&mut self.batches);
        let letters = batches
            .into_iter()
            .flat_map(|(to, batch)| batch.letters.into_iter().map(move |lines| AnswerLetter { to, lines }));
        let letters: Vec<_> = letters.collect();
        self.counted.letters += letters.len() as u64;
        letters
    }

    /// A node is gone, or its letters may have been lost: what it is told is pointless.
    pub fn lost(&mut self, node: u64) {
        self.batches.retain(|to, _| to.id != node);
    }

    /// What happened.
    pub fn counts(&self) -> DeskCounts {
        self.counted
    }
}

/// Whether nothing was done, so that whoever asked asks again.
fn is_refusal(answer: &Answer) -> bool {
    match answer {
        Answer::Unavailable | Answer::NotLeader { .. } => true,
        Answer::Reply(Reply::Refused(refusal)) => matches!(refusal, Refusal::OutOfOrder { .. }),
        Answer::Reply(_) | Answer::Claimed(_) => false,
    }
}
