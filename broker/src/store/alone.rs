//! The store of a broker without peers: one engine that decides alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fulmar_log::StdDisk;
use fulmar_store::Message;
use fulmar_store::{Answer, Ask, Asked, Bound, Node as Life, Refusal, Reply, ShardId, Ticket, Told, Version};
use fulmar_store_raft::{Engine, Failed, Letter, OpenError, Out, Settings};
use fulmar_worker::{Node, Rules, Thread};
use tracing::info;

use super::inbox::{BEAT, Inbox, Taken};
use super::report::Report;
use super::room::Room;
use super::steady::SteadyClock;
use super::told::Tolds;
use super::withdrawn::{endings, removed_users};
use super::{Around, OWN, REPORT};
use crate::health::Health;

/// The engine with all that surrounds it.
pub(crate) struct Store {
    engine: Engine<StdDisk>,
    steady: SteadyClock,
    inbox: Arc<Inbox>,
    report: Arc<Report>,
    health: Arc<Health>,
    room: Room,
    /// Who may do what, as it was last.
    rules: Arc<Rules>,
    /// What the store asks itself and has no answer to, by number.
    endings: BTreeMap<u64, Ask>,
    next_ending: u64,
    /// Of all shards together.
    sessions_max: usize,
    outside: Outside,
}

/// What the engine tells others goes out at the end of its turn.
struct Outside {
    around: Around,
    tolds: Tolds,
    now: Instant,
}

impl Store {
    /// Opens the folder, and brings back what is in it: subscriptions to the matcher, and retained messages.
    pub(crate) fn open(
        settings: Settings,
        around: Around,
        inbox: Arc<Inbox>,
        report: Arc<Report>,
        health: Arc<Health>,
    ) -> Result<Store, OpenError> {
        let start = Instant::now();
        let tolds = Tolds::new(around.inboxes.len());
        let mut outside = Outside { around, tolds, now: start };
        let mut steady = SteadyClock::start();
        let engine = Engine::open(StdDisk, settings, start, steady.now(), &mut outside)?;
        let node = &outside.around.node;
        note_sessions(&engine, node);
        let counts = engine.counts();
        info!(
            sessions = counts.sessions,
            messages = counts.queued,
            retained = counts.retained,
            log_bytes = counts.log_bytes,
            milliseconds = start.elapsed().as_millis() as u64,
            "store opened"
        );
        let rules = node.settings.auth.rules.clone();
        let sessions_max = node.settings.limits.sessions;
        let endings = BTreeMap::new();
        let room = Room::default();
        let mut store = Store {
            engine,
            steady,
            inbox,
            report,
            health,
            room,
            rules,
            endings,
            next_ending: 0,
            sessions_max,
            outside,
        };
        store.tell();
        Ok(store)
    }

    /// Serves until the node stops and nobody waits for anything.
    pub(crate) fn run(mut self) -> Result<(), Failed> {
        let mut asked = Vec::new();
        let mut next = Instant::now();
        let mut next_report = next;
        loop {
            let Taken { waiting, is_closed, is_leaving, rules, .. } = self.inbox.take(next, true, &mut asked);
            if is_leaving {
                // There is nobody to give anything to.
                self.inbox.has_left();
            }
            for thread in waiting {
                self.outside.around.inboxes[usize::from(thread)].wake_if_asleep();
            }
            let is_last = is_closed && asked.is_empty();
            for (ticket, ask) in asked.drain(..) {
                self.ask(ticket, ask);
            }
            rules.into_iter().for_each(|rules| self.withdraw(rules));
            let now = Instant::now();
            self.outside.now = now;
            let due = self.engine.turn(now, self.steady.now(), &mut self.outside)?;
            self.outside.tolds.post(&self.outside.around.inboxes);
            self.hear_own();
            if now >= next_report || is_last {
                next_report = now + REPORT;
                self.tell();
            }
            if is_last {
                return self.engine.close();
            }
            next = due.map_or(now + BEAT, |due| due.min(now + BEAT));
        }
    }
}

impl Store {
    /// Leaves numbers for `/metrics`, and says to probes what is missing.
    fn tell(&mut self) {
        let (was_full, state) = (self.room.is_full(), self.engine.state());
        self.report.set(self.engine.counts(), state);
        self.health.set_store(self.room.look(state).into_iter().collect());
        if was_full && !self.room.is_full() {
            // A start without room can't bring all of them back.
            note_sessions(&self.engine, &self.outside.around.node);
        }
    }

    /// A new session is one of so many that there may be in all shards together.
    fn ask(&mut self, ticket: Ticket, ask: Ask) {
        if let Ask::Claim { claim, .. } = &ask
            && self.engine.session_count() >= self.sessions_max
            && !self.engine.has_session(&claim.client)
        {
            let answer = Answer::Reply(Reply::Refused(Refusal::Bound(Bound::Sessions)));
            return self.outside.tolds.tell(ticket.thread, Told::Answer { number: ticket.number, answer });
        }
        self.engine.ask(Asked { origin: self.engine.node(), ticket, number: None, ask });
    }

    /// Sessions of users who are no more end, whether their clients are here or not.
    fn withdraw(&mut self, rules: Arc<Rules>) {
        let before = std::mem::replace(&mut self.rules, rules);
        let removed = removed_users(&before, &self.rules);
        if !removed.is_empty() {
            let asks = endings(self.engine.sessions(), |user| removed.contains(user));
            asks.into_iter().for_each(|ask| self.end(ask));
        }
    }

    /// The same of users who were removed while nobody watched: where only the password file says who is a user.
    pub(crate) fn withdraw_absent(&mut self) {
        let Some(passwords) = self.rules.passwords.clone() else { return };
        let asks = endings(self.engine.sessions(), |user| passwords.find(user).is_none());
        asks.into_iter().for_each(|ask| self.end(ask));
    }

    fn end(&mut self, ask: Ask) {
        self.next_ending += 1;
        self.endings.insert(self.next_ending, ask.clone());
        let ticket = Ticket { thread: OWN, number: self.next_ending };
        self.engine.ask(Asked { origin: self.engine.node(), ticket, number: None, ask });
    }

    /// What could not be done is asked again.
    fn hear_own(&mut self) {
        for (number, answer) in self.outside.tolds.take_own() {
            let ask = self.endings.remove(&number);
            if let (Some(ask), Answer::Unavailable | Answer::NotLeader { .. }) = (ask, answer) {
                self.end(ask);
            }
        }
    }
}

fn note_sessions(engine: &Engine<StdDisk>, node: &Node) {
    engine.sessions().for_each(|(client, ..)| node.note_stored_session(client));
}

impl Out for Outside {
    /// A node that is alone has nobody else to tell.
    fn tell(&mut self, _to: Life, thread: Thread, told: Told) {
        self.tolds.tell(thread, told);
    }

    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool) {
        self.around.node.set_shard_interest(shard, share, filter, begins);
    }

    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version) {
        self.around.node.set_stored_retained(topic, message, version, self.now);
    }

    fn send(&mut self, _to: u64, _letter: Letter) {
        // A node that is alone has nobody to send to.
    }
}
