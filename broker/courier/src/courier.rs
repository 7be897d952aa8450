//! The courier: what the thread of the store drives, and which line an event is for.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Instant;

use fulmar_store::{Ask, Node, ShardId, Ticket, Told};

use crate::counts::Counts;
use crate::letter::{AnswerLetter, AskLetter};
use crate::line::{Around, Line};
use crate::settings::Settings;
use crate::weight;

/// See the [crate].
#[derive(Debug)]
pub struct Courier {
    settings: Settings,
    me: Node,
    shards: NonZeroU16,
    /// By the number of the shard.
    lines: Vec<Line>,
    /// Nodes that can be reached.
    connected: BTreeSet<u64>,
    /// Of asks, over all lives.
    last_id: u64,
    /// What is to be done, since the last turn.
    out: Vec<Output>,
    counted: Counts,
}

/// What a courier wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A letter goes to the desk of a node, which may be this one.
    Send {
        /// The node.
        to: u64,
        /// The letter.
        letter: AskLetter,
    },
    /// A data thread is told something.
    Tell {
        /// The data thread.
        thread: u16,
        /// What.
        told: Told,
    },
}

impl Courier {
    /// A courier of a node that has not asked anything in this life, of so many shards.
    pub fn new(settings: Settings, me: Node, shards: NonZeroU16) -> Self {
        let lines = (0..shards.get()).map(|shard| Line::new(ShardId(shard))).collect();
        let (connected, counted) = (BTreeSet::new(), Counts::default());
        Self { settings, me, shards, lines, connected, last_id: 0, out: Vec::new(), counted }
    }

    fn parts(&mut self) -> (&mut [Line], Around<'_>) {
        let Self { settings, me, shards: _, lines, connected, last_id, out, counted } = self;
        (lines, Around { settings, me: *me, connected, last_id, out, counted })
    }

    fn line(&mut self, shard: ShardId) -> Option<(&mut Line, Around<'_>)> {
        let (lines, with) = self.parts();
        lines.get_mut(usize::from(shard.0)).map(|line| (line, with))
    }

    /// A data thread asks. It is answered once.
    ///
    /// # Errors
    /// The ask, if there is no room for it: it may be asked again when others were answered, and what its thread asks
    /// behind it waits until then.
    pub fn ask(&mut self, ticket: Ticket, ask: Ask, now: Instant) -> Result<(), Box<Ask>> {
        let shard = ask.shard(self.shards);
        let bytes = weight::of_ask(&ask);
        let (asks, all) = self.lines.iter().fold((0, 0), |(asks, all), line| (asks + line.len(), all + line.bytes()));
        let is_room = asks == 0 || (asks < self.settings.asks_max && all + bytes <= self.settings.bytes_max);
        match self.line(shard) {
            Some((line, mut with)) if is_room && line.has_room(bytes, with.settings) => {
                line.ask(ticket, ask, now, &mut with);
                Ok(())
            }
            _ => {
                self.counted.refused += 1;
                Err(Box::new(ask))
            }
        }
    }

    /// Who leads a shard, as the engine of this node sees it. To be told after every turn of the engine, and only of
    /// shards of which it has a replica.
    pub fn heard_of_leader(&mut self, shard: ShardId, leader: Option<u64>) {
        if let Some((line, mut with)) = self.line(shard) {
            line.heard_of_leader(leader, &mut with);
        }
    }

    /// Which nodes have replicas of a shard, as the shard map says.
    pub fn set_replicas(&mut self, shard: ShardId, replicas: Vec<u64>) {
        if let Some((line, _)) = self.line(shard) {
            line.set_replicas(replicas);
        }
    }

    /// A new connection to a node stands. What was sent before may not have come.
    pub fn connected(&mut self, to: u64) {
        self.connected.insert(to);
        let (lines, mut with) = self.parts();
        lines.iter_mut().for_each(|line| line.connected(to, &mut with));
    }

    /// The connection to a node is no more.
    pub fn disconnected(&mut self, to: u64, now: Instant) {
        self.connected.remove(&to);
        let (lines, mut with) = self.parts();
        lines.iter_mut().for_each(|line| line.disconnected(to, now, &mut with));
    }

    /// A new connection from a node stands. What it sent before may not have come.
    pub fn reset(&mut self, from: u64) {
        let (lines, mut with) = self.parts();
        lines.iter_mut().for_each(|line| line.lost_letters(from, &mut with));
    }

    /// A letter from the desk of a node, which may be this one.
    pub fn receive(&mut self, letter: AnswerLetter, now: Instant) {
        let AnswerLetter { to, lines } = letter;
        if to != self.me {
            self.counted.late += lines.len() as u64;
            return;
        }
        for (shard, written) in lines {
            match self.line(shard) {
                Some((line, mut with)) => line.hear(written, now, &mut with),
                None => self.counted.senseless += 1,
            }
        }
    }

    /// Gives up what took too long, and sends what may be sent. What is to be done about it and about all that came
    /// before is appended to `out`, in order.
    pub fn turn(&mut self, now: Instant, out: &mut Vec<Output>) {
        let (lines, mut with) = self.parts();
        for line in lines {
            line.give_up(now, &mut with);
            line.send(now, &mut with);
        }
        out.append(&mut self.out);
    }

    /// When the next turn has something to do, if nothing comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lines.iter().filter_map(|line| line.next_deadline(&self.settings)).min()
    }

    /// A new life of this node begins. Whoever waits is told that nobody knows, and the clients of all sessions are
    /// closed.
    pub fn begin_life(&mut self, me: Node) {
        self.me = me;
        let (lines, mut with) = self.parts();
        lines.iter_mut().for_each(|line| line.begin_life(&mut with));
    }

    /// What there is and what happened.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counted;
        for line in &self.lines {
            counts.asks += line.len();
            counts.bytes += line.bytes();
            counts.sessions += line.sessions();
            counts.held_shards += usize::from(line.is_held());
        }
        counts
    }

    /// What must hold between any two calls.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let Settings { asks_max, bytes_max, .. } = self.settings;
        self.lines.iter().for_each(|line| line.check(&self.settings));
        let counts = self.counts();
        // Sessions that are given up are left, which takes the place of what claimed them.
        assert!(counts.asks <= asks_max && counts.bytes <= bytes_max, "{counts:?}");
    }
}
