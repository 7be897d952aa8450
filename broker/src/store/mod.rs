//! The store's thread: it brings what data threads ask to the replicated engine, and what that says back to them.
//!
//! While one batch is on its way to the disk the next one gathers, so that under load each sync serves many.

mod inbox;
mod report;
mod settings;
mod withdrawn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fulmar_log::StdDisk;
use fulmar_store::{
    Answer, Ask, Asked, Bound, Message, Node as LifeOfNode, Refusal, Reply, ShardId, Ticket, Time, Told, Version,
};
use fulmar_store_raft::{Engine, Failed, Letter as EngineLetter, OpenError, Out, Settings};
use fulmar_worker::{Node, Rules, Thread};
use tracing::info;

pub(crate) use inbox::Inbox;
use inbox::{BEAT, Taken};
pub(crate) use report::Report;
pub(crate) use settings::{is_in, settings};
use withdrawn::{endings, removed_users};

use crate::reactor::{Inbox as DataInbox, Letter};

/// Numbers are left for `/metrics` this often while there is work.
const REPORT: Duration = Duration::from_millis(250);
/// The store's own thread, which no data thread has as its number.
const OWN: Thread = Thread::MAX;

/// The engine with all that surrounds it.
pub(crate) struct Store {
    engine: Engine<StdDisk>,
    inbox: Arc<Inbox>,
    report: Arc<Report>,
    /// Who may do what, as it was last.
    rules: Arc<Rules>,
    /// What the store asks itself and has no answer to, by number.
    endings: BTreeMap<u64, Ask>,
    next_ending: u64,
    /// Of all shards together.
    sessions_max: usize,
    around: Around,
}

/// What the engine tells others goes out at the end of its turn.
struct Around {
    node: Arc<Node>,
    inboxes: Vec<Arc<DataInbox>>,
    told: Vec<Vec<Told>>,
    /// Answers to what the store has asked itself.
    own: Vec<(u64, Answer)>,
    now: Instant,
}

impl Store {
    /// Opens the folder, and brings back what is in it: subscriptions to the matcher, and retained messages.
    pub(crate) fn open(
        settings: Settings,
        node: Arc<Node>,
        inboxes: Vec<Arc<DataInbox>>,
        inbox: Arc<Inbox>,
        report: Arc<Report>,
    ) -> Result<Store, OpenError> {
        let start = Instant::now();
        let told = inboxes.iter().map(|_| Vec::new()).collect();
        let mut around = Around { node, inboxes, told, own: Vec::new(), now: start };
        let engine = Engine::open(StdDisk, settings, start, wall_clock(), &mut around)?;
        engine.sessions().for_each(|(client, ..)| around.node.note_stored_session(client));
        let counts = engine.counts();
        info!(
            sessions = counts.sessions,
            messages = counts.queued,
            retained = counts.retained,
            log_bytes = counts.log_bytes,
            milliseconds = start.elapsed().as_millis() as u64,
            "store opened"
        );
        report.set(counts, engine.state());
        let rules = around.node.settings.auth.rules.clone();
        let sessions_max = around.node.settings.limits.sessions;
        let endings = BTreeMap::new();
        Ok(Store { engine, inbox, report, rules, endings, next_ending: 0, sessions_max, around })
    }

    /// Serves until the node stops and nobody waits for anything.
    pub(crate) fn run(mut self) -> Result<(), Failed> {
        let mut asked = Vec::new();
        let mut next = Instant::now();
        let mut next_report = next;
        loop {
            let Taken { waiting, is_closed, rules } = self.inbox.take(next, &mut asked);
            for thread in waiting {
                self.around.inboxes[usize::from(thread)].wake_if_asleep();
            }
            let is_last = is_closed && asked.is_empty();
            for (ticket, ask) in asked.drain(..) {
                self.ask(ticket, ask);
            }
            rules.into_iter().for_each(|rules| self.withdraw(rules));
            let now = Instant::now();
            self.around.now = now;
            let due = self.engine.turn(now, wall_clock(), &mut self.around)?;
            self.around.post();
            self.hear_own();
            if now >= next_report || is_last {
                next_report = now + REPORT;
                self.report.set(self.engine.counts(), self.engine.state());
            }
            if is_last {
                return self.engine.close();
            }
            next = due.map_or(now + BEAT, |due| due.min(now + BEAT));
        }
    }
}

impl Store {
    /// A new session is one of so many that there may be in all shards together.
    fn ask(&mut self, ticket: Ticket, ask: Ask) {
        if let Ask::Claim { claim, .. } = &ask
            && self.engine.session_count() >= self.sessions_max
            && !self.engine.has_session(&claim.client)
        {
            let answer = Answer::Reply(Reply::Refused(Refusal::Bound(Bound::Sessions)));
            return self.around.tell(self.engine.node(), ticket.thread, Told::Answer { number: ticket.number, answer });
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
        for (number, answer) in std::mem::take(&mut self.around.own) {
            let ask = self.endings.remove(&number);
            if let (Some(ask), Answer::Unavailable | Answer::NotLeader { .. }) = (ask, answer) {
                self.end(ask);
            }
        }
    }
}

impl Around {
    fn post(&mut self) {
        for (told, inbox) in self.told.iter_mut().zip(&self.inboxes) {
            if !told.is_empty() {
                inbox.push(Letter::Told(std::mem::take(told)));
            }
        }
    }
}

impl Out for Around {
    /// A node that is alone has nobody else to tell.
    fn tell(&mut self, _to: LifeOfNode, thread: Thread, told: Told) {
        match self.told.get_mut(usize::from(thread)) {
            Some(letters) => letters.push(told),
            None => self.own.extend(match told {
                Told::Answer { number, answer } => Some((number, answer)),
                _ => None,
            }),
        }
    }

    fn interest(&mut self, shard: ShardId, share: Option<&str>, filter: &str, begins: bool) {
        self.node.set_shard_interest(shard, share, filter, begins);
    }

    fn retained(&mut self, topic: &str, message: Option<&Message>, version: Version) {
        self.node.set_stored_retained(topic, message, version, self.now);
    }

    fn send(&mut self, _to: u64, _letter: EngineLetter) {
        // A node that is alone has nobody to send to.
    }
}

/// Milliseconds of the wall clock; a clock before 1970 is as good as none.
fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
