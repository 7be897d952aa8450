//! What is asked of one shard and not answered, in order.
//!
//! `way.rs` beside this chooses to whom it goes, `send.rs` makes letters of it, `told.rs` does what answers say, and
//! `sessions.rs` knows who is served. Here is what stays with the node: what is kept, for how long, and what is left of
//! it when nobody waits for it any more.

mod send;
mod sessions;
mod told;
mod way;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use fulmar_store::{Answer, Ask, Epoch, Message, Node, Number, Published, Recipients, ShardId, Ticket, Told};

use crate::counts::Counts;
use crate::courier::Output;
use crate::settings::{Settings, sabotaged};
use crate::weight;
pub(crate) use sessions::Handle;
use sessions::Sessions;
use way::{Failure, Way};

/// What all lines share.
pub(crate) struct Around<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) me: Node,
    pub(crate) connected: &'a BTreeSet<u64>,
    pub(crate) last_id: &'a mut u64,
    pub(crate) out: &'a mut Vec<Output>,
    pub(crate) counted: &'a mut Counts,
}

impl Around<'_> {
    pub(crate) fn next_id(&mut self) -> u64 {
        *self.last_id += 1;
        *self.last_id
    }

    fn tell(&mut self, thread: u16, told: Told) {
        self.out.push(Output::Tell { thread, told });
    }

    fn answer(&mut self, waits: Option<Ticket>, answer: Answer) {
        if let Some(Ticket { thread, number }) = waits {
            self.tell(thread, Told::Answer { number, answer });
        }
    }
}

/// What leaders call an ask: its id, and the run in which it is sent. A run is told from those before it by its low
/// bits, as far as anything of those may still be on its way.
fn ticket(id: u64, run: u64) -> u64 {
    id << u16::BITS | run & u64::from(u16::MAX)
}

/// The low bits of the run of a ticket.
pub(crate) fn run_of(ticket: u64) -> u16 {
    ticket as u16
}

fn id_of(ticket: u64) -> u64 {
    ticket >> u16::BITS
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Line {
    shard: ShardId,
    /// By id, which is the order in which they were asked.
    asks: BTreeMap<u64, Kept>,
    bytes: usize,
    /// Changes of subscriptions among them, by session. One that went again after a later one was told as done would undo
    /// that, so they are told in order.
    changes: BTreeMap<Epoch, VecDeque<u64>>,
    /// Of the next publish.
    next_number: Number,
    /// Asks before this are given up already, or never are.
    waiting_from: u64,
    sessions: Sessions,
    way: Way,
    /// How often all has gone again.
    run: u64,
    /// Something was sent in this run, if only the question who leads.
    is_run_used: bool,
    /// For which leadership this run is, once that is known.
    term: Option<u64>,
    /// What comes next in this run.
    unsent_from: u64,
    /// Bytes on their way in this run.
    in_flight: usize,
    /// Sessions that attach in this run, by what that is called, and the bytes of that.
    attaching: BTreeMap<u64, (Handle, usize)>,
}

/// An ask that is not answered.
#[derive(Debug)]
struct Kept {
    ask: Ask,
    /// Of a publish.
    number: Option<Number>,
    bytes: usize,
    /// Who waits.
    waits: Option<Ticket>,
    since: Instant,
    /// The run in which it was sent last. 0: it was never sent.
    run: u64,
    /// Of a claim.
    session: Option<Handle>,
    /// It is answered in this run, but something before it is not.
    held: Option<Answer>,
}

/// What becomes of an ask for which nobody waits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Abandoned {
    /// It must be done. Whoever asks such a thing has no client waiting, and would ask again.
    Waits,
    /// It must be done, though its client is told that it was not, and finds out when it comes again.
    GoesOn,
    /// Its client asks again when it comes again.
    Dropped,
}

impl Line {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            asks: BTreeMap::new(),
            bytes: 0,
            changes: BTreeMap::new(),
            next_number: 1,
            waiting_from: 0,
            sessions: Sessions::default(),
            way: Way::default(),
            run: 1,
            is_run_used: false,
            term: None,
            unsent_from: 0,
            in_flight: 0,
            attaching: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether something waits that nobody can be sent to now.
    pub(crate) fn is_held(&self) -> bool {
        !self.asks.is_empty() && self.way.target().is_none()
    }

    /// Whether there is room for an ask of so many bytes.
    pub(crate) fn has_room(&self, bytes: usize, settings: &Settings) -> bool {
        self.asks.is_empty()
            || (self.asks.len() < settings.shard_asks_max && self.bytes + bytes <= settings.shard_bytes_max)
    }

    /// A data thread asks. Its place in the shard's stream is given now, for good.
    pub(crate) fn ask(&mut self, waits: Ticket, mut ask: Ask, now: Instant, with: &mut Around<'_>) {
        let id = with.next_id();
        let (mut number, mut session) = (None, None);
        match &mut ask {
            Ask::Publish { .. } => {
                number = Some(self.next_number);
                self.next_number += 1;
            }
            Ask::Claim { owner, claim } => {
                // An id is never used again in this life of the node, and no id is 0.
                (claim.node, claim.nonce) = (with.me, id);
                session = Some(self.sessions.begin(*owner, claim.client.clone()));
            }
            Ask::Disconnect { epoch, .. } => {
                // No deliveries come from here on.
                if let Some(handle) = self.sessions.of_epoch(*epoch) {
                    self.sessions.end(handle);
                }
            }
            _ => {}
        }
        let bytes = weight::of_ask(&ask);
        self.keep(id, Kept { ask, number, bytes, waits: Some(waits), since: now, run: 0, session, held: None });
    }

    fn keep(&mut self, id: u64, kept: Kept) {
        self.bytes += kept.bytes;
        if let Some(session) = kept.changes_session() {
            self.changes.entry(session).or_default().push_back(id);
        }
        self.asks.insert(id, kept);
    }

    fn remove(&mut self, id: u64) -> Option<Kept> {
        let kept = self.asks.remove(&id)?;
        self.bytes -= kept.bytes;
        if let Some(session) = kept.changes_session()
            && let Some(changes) = self.changes.get_mut(&session)
        {
            changes.retain(|change| *change != id);
            if changes.is_empty() {
                self.changes.remove(&session);
            }
        }
        if kept.run == self.run {
            self.in_flight -= kept.bytes;
        }
        Some(kept)
    }

    /// Data threads that wait too long wait no longer.
    pub(crate) fn give_up(&mut self, now: Instant, with: &mut Around<'_>) {
        while let Some((id, kept)) = self.asks.range(self.waiting_from..).next()
            && kept.since + with.settings.give_up_after <= now
        {
            let id = *id;
            self.waiting_from = id + 1;
            self.abandon(id, with);
        }
    }

    fn abandon(&mut self, id: u64, with: &mut Around<'_>) {
        let Some(kept) = self.asks.get_mut(&id) else { return };
        let abandoned = kept.abandoned();
        if kept.waits.is_none() || abandoned == Abandoned::Waits {
            return;
        }
        with.counted.given_up += 1;
        with.answer(kept.waits.take(), Answer::Unavailable);
        let (was_sent, session) = (kept.run > 0, kept.session);
        match abandoned {
            Abandoned::Dropped => {
                let dropped = self.remove(id);
                if let Some(handle) = session {
                    self.sessions.end(handle);
                }
                if let Some(session) = dropped.and_then(|dropped| dropped.changes_session()) {
                    self.tell_held(session, with);
                }
            }
            Abandoned::GoesOn if !was_sent => self.empty(id),
            Abandoned::GoesOn | Abandoned::Waits => {}
        }
    }

    /// A publish that was not stored and for which nobody waits keeps its place, and nothing else.
    fn empty(&mut self, id: u64) {
        let Some(kept) = self.asks.get_mut(&id) else { return };
        let Ask::Publish { shard, published } = &kept.ask else { return };
        let message = Message::new("", published.message.qos, b"", b"");
        let ask =
            Ask::Publish { shard: *shard, published: Published { message, retain: None, to: Recipients::Nobody } };
        let bytes = weight::of_ask(&ask);
        if kept.run == self.run {
            self.in_flight = self.in_flight - kept.bytes + bytes;
        }
        self.bytes = self.bytes - kept.bytes + bytes;
        (kept.ask, kept.bytes) = (ask, bytes);
    }

    /// When a data thread has waited too long next, or something can be sent that can't now.
    pub(crate) fn next_deadline(&self, settings: &Settings) -> Option<Instant> {
        let waiting = self.asks.range(self.waiting_from..).next().map(|(_, kept)| kept.since + settings.give_up_after);
        let pause = self.way.pause_until().filter(|_| self.way.target().is_none() && self.has_work());
        waiting.into_iter().chain(pause).min()
    }

    fn has_work(&self) -> bool {
        !self.asks.is_empty() || !self.sessions.is_empty()
    }

    /// The engine of this node says who leads.
    pub(crate) fn heard_of_leader(&mut self, leader: Option<u64>, with: &mut Around<'_>) {
        if self.way.heard_of_leader(leader) {
            self.begin_run(with);
        }
    }

    /// Who may lead.
    pub(crate) fn set_replicas(&mut self, replicas: Vec<u64>) {
        self.way.set_replicas(replicas);
    }

    /// Letters to or from a node may have been lost.
    pub(crate) fn lost_letters(&mut self, node: u64, with: &mut Around<'_>) {
        if self.way.target() == Some(node) {
            self.begin_run(with);
        }
    }

    /// A node can be reached.
    pub(crate) fn connected(&mut self, node: u64, with: &mut Around<'_>) {
        self.lost_letters(node, with);
        self.way.connected(node);
    }

    /// A node can't be reached: another one may lead, or know who does.
    pub(crate) fn disconnected(&mut self, node: u64, now: Instant, with: &mut Around<'_>) {
        if self.way.target() == Some(node) {
            self.fail(Failure::Disconnected, now, with);
        }
    }

    fn fail(&mut self, failure: Failure, now: Instant, with: &mut Around<'_>) {
        self.way.failed(failure, with.settings, now);
        self.begin_run(with);
    }

    /// All that is not answered goes again, in order, after the sessions that are served.
    fn begin_run(&mut self, with: &mut Around<'_>) {
        if !self.is_run_used {
            return;
        }
        with.counted.runs += 1;
        self.run += 1;
        (self.is_run_used, self.term, self.unsent_from, self.in_flight) = (false, None, 0, 0);
        self.attaching.clear();
        self.sessions.begin_run();
        for id in self.changes.values().flatten() {
            if let Some(kept) = self.asks.get_mut(id) {
                kept.held = None;
            }
        }
        if sabotaged!(with.settings, ToldAgain) {
            self.sessions.forget_what_was_told();
        }
        if sabotaged!(with.settings, NumberedAnew) {
            for kept in self.asks.values_mut().filter(|kept| kept.number.is_some()) {
                kept.number = Some(self.next_number);
                self.next_number += 1;
            }
        }
    }

    /// The node's life is over, and another one begins.
    pub(crate) fn begin_life(&mut self, with: &mut Around<'_>) {
        self.begin_run(with);
        for (_, kept) in std::mem::take(&mut self.asks) {
            with.answer(kept.waits, Answer::Unavailable);
        }
        (self.bytes, self.next_number) = (0, 1);
        self.changes.clear();
        self.sessions.forget();
        self.way.begin_life();
    }
}

#[cfg(test)]
impl Line {
    /// What must hold between any two calls.
    pub(crate) fn check(&self, settings: &Settings) {
        assert_eq!(self.bytes, self.asks.values().map(|kept| kept.bytes).sum::<usize>());
        assert!(self.asks.len() <= settings.shard_asks_max);
        assert!(self.bytes <= settings.shard_bytes_max || self.asks.len() == 1);
        let in_flight = self.asks.values().filter(|kept| kept.run == self.run);
        let asks = in_flight.clone().map(|kept| kept.bytes).sum::<usize>();
        assert_eq!(self.in_flight, asks + self.attaching.values().map(|(_, bytes)| bytes).sum::<usize>());
        assert!(self.in_flight <= settings.in_flight_bytes_max || in_flight.count() + self.attaching.len() == 1);
    }
}

impl Kept {
    /// The session whose subscriptions it changes.
    fn changes_session(&self) -> Option<Epoch> {
        match &self.ask {
            Ask::Subscribe { epoch, .. } | Ask::Unsubscribe { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }

    fn abandoned(&self) -> Abandoned {
        match self.ask {
            Ask::Disconnect { .. }
            | Ask::Acknowledge { .. }
            | Ask::End { .. }
            | Ask::Adopted { .. }
            | Ask::WillDone { .. } => Abandoned::Waits,
            Ask::Publish { .. } | Ask::Release { .. } => Abandoned::GoesOn,
            // What it has got, if it did, is given up when that is known.
            Ask::Claim { .. } if self.run > 0 => Abandoned::GoesOn,
            Ask::Claim { .. }
            | Ask::Attach { .. }
            | Ask::Subscribe { .. }
            | Ask::Unsubscribe { .. }
            | Ask::ReceiveQos2 { .. } => Abandoned::Dropped,
        }
    }
}
