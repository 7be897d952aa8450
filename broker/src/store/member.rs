//! The store of a member of a cluster: its thread carries what comes from data threads and other nodes to one value that
//! decides, and what that says back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_cluster::letters;
use fulmar_cluster::peers::Lodger;
use fulmar_log::StdDisk;
use fulmar_member::{Found, Link};
use fulmar_meta::{Command, Member, Purpose};
use fulmar_store::{Answer, Ask, Bound, Node as Life, Refusal, Reply, Ticket, Told};
use fulmar_store_node::{Channel, Clock, Out as _, Settings, Stopped, StoreNode};
use fulmar_worker::Rules;
use tracing::{debug, info, warn};

use super::caught_up::CaughtUp;
use super::inbox::{BEAT, Inbox, Taken};
use super::report::{MemberReport, Report};
use super::surroundings::Surroundings;
use super::withdrawn::{endings, removed_users};
use super::{OWN, REPORT, wall_clock};
use crate::boot_clock;
use crate::health::Health;
use crate::link::letters::{Arrival, ArrivalQueue};
use crate::link::neighbours::{LanesState, Neighbour, Neighbours};

/// How often links and discovery are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of letters in one turn, so that a turn is short.
const TURN_BYTES: usize = 4 << 20;
/// Until then a node that stops has given its leaderships away, or goes with them.
const LEAVE: Duration = Duration::from_secs(3);
/// Until then what clients have said last is committed.
const LAST_ASKS: Duration = Duration::from_secs(2);

/// See the [module](self).
pub(crate) struct MemberStore {
    store: StoreNode<StdDisk>,
    inbox: Arc<Inbox>,
    arrivals: Arc<ArrivalQueue>,
    report: Arc<Report>,
    health: Arc<Health>,
    outside: Surroundings,
    rules: Arc<Rules>,
    /// What the courier has no room for yet, in the order in which it was asked.
    backlog: VecDeque<(Ticket, Ask)>,
    /// What the store asks itself and has no answer to, by number.
    endings: BTreeMap<u64, Ask>,
    next_ending: u64,
    sessions_max: usize,
    links: Vec<Link>,
    found: (Vec<Found>, bool),
    followed: u64,
    next_look: Instant,
    /// A node that stops gives away what it leads until then.
    leaves_until: Option<Instant>,
    was_missing: String,
    caught_up: CaughtUp,
}

fn clock() -> Clock {
    Clock { now: Instant::now(), moment: boot_clock::now(), time: wall_clock() }
}

fn channel(channel: letters::Channel) -> Channel {
    match channel {
        letters::Channel::Control => Channel::Control,
        letters::Channel::Bulk => Channel::Bulk,
    }
}

impl MemberStore {
    /// Opens the folder, and brings back what is in it.
    pub(crate) fn open(
        settings: Settings,
        mut outside: Surroundings,
        inbox: Arc<Inbox>,
        arrivals: Arc<ArrivalQueue>,
        report: Arc<Report>,
        health: Arc<Health>,
    ) -> Result<MemberStore, Stopped> {
        let start = clock();
        let store = StoreNode::open(StdDisk, settings, &start, &mut outside)?;
        outside.begin_life(store.node());
        let counts = store.engine().counts();
        info!(
            sessions = counts.sessions,
            messages = counts.queued,
            retained = counts.retained,
            log_bytes = counts.log_bytes,
            life = store.node().incarnation,
            milliseconds = start.now.elapsed().as_millis() as u64,
            "store opened"
        );
        let rules = outside.around.node.settings.auth.rules.clone();
        let sessions_max = outside.around.node.settings.limits.sessions;
        Ok(MemberStore {
            store,
            inbox,
            arrivals,
            report,
            health,
            outside,
            rules,
            backlog: VecDeque::new(),
            endings: BTreeMap::new(),
            next_ending: 0,
            sessions_max,
            links: Vec::new(),
            found: (Vec::new(), false),
            followed: 0,
            next_look: start.now,
            leaves_until: None,
            was_missing: String::new(),
            caught_up: CaughtUp::default(),
        })
    }

    /// This life of the node.
    pub(crate) fn life(&self) -> Life {
        self.store.node()
    }

    /// Serves until the node stops and nobody waits for anything.
    pub(crate) fn run(mut self) -> Result<(), Stopped> {
        let (mut asked, mut arrivals) = (Vec::new(), Vec::new());
        let mut next = Instant::now();
        let mut next_report = next;
        let mut closing: Option<Instant> = None;
        loop {
            let Taken { waiting, is_closed, is_leaving, rules } =
                self.inbox.take(next, self.backlog.is_empty(), &mut asked);
            for thread in waiting {
                self.outside.around.inboxes[usize::from(thread)].wake_if_asleep();
            }
            let is_more = self.arrivals.take(TURN_BYTES, &mut arrivals);
            let clock = clock();
            self.outside.now = clock.now;
            arrivals.drain(..).for_each(|arrival| self.arrived(arrival, &clock));
            self.backlog.extend(asked.drain(..));
            self.offer(clock.now);
            rules.into_iter().for_each(|rules| self.withdraw(rules));
            self.look_around(&clock);
            if is_leaving {
                self.leave(&clock);
            }
            let due = self.store.turn(&clock, &mut self.outside)?;
            self.outside.post();
            self.hear_own();
            if clock.now >= next_report || is_closed {
                next_report = clock.now + REPORT;
                self.tell(&clock);
            }
            if is_closed {
                let until = *closing.get_or_insert(clock.now + LAST_ASKS);
                if clock.now >= until || self.store.courier().counts().asks == 0 {
                    return self.close(&clock);
                }
            }
            let latest = clock.now + if self.leaves_until.is_some() || is_closed { LOOK / 10 } else { BEAT };
            next = match due {
                _ if is_more => clock.now,
                due => due.map_or(latest, |due| due.min(latest)).min(self.next_look),
            };
        }
    }

    /// The last word: nobody has to wait for the lease of this node.
    fn close(mut self, clock: &Clock) -> Result<(), Stopped> {
        self.store.stop(clock);
        self.store.farewell();
        self.store.turn(clock, &mut self.outside)?;
        Ok(self.store.close()?)
    }

    fn arrived(&mut self, arrival: Arrival, clock: &Clock) {
        match arrival {
            Arrival::Connected { to, channel: on } => self.store.connected(to, channel(on)),
            Arrival::Lost { to, channel: on } => self.store.disconnected(to, channel(on), clock.now),
            Arrival::Reset { from, channel: on } => self.store.reset(from, channel(on)),
            Arrival::Ended { .. } => {}
            Arrival::Letter { from, bytes, .. } => {
                if let Err(error) = self.store.letter(from, &bytes, clock) {
                    warn!(from = %from, %error, "a letter of another node is not understood");
                }
            }
        }
    }

    /// Asks as far as there is room.
    fn offer(&mut self, now: Instant) {
        while let Some((ticket, ask)) = self.backlog.pop_front() {
            if let Some(answer) = self.refusal(&ask) {
                self.outside.tell(ticket.thread, Told::Answer { number: ticket.number, answer });
            } else if let Err(ask) = self.store.ask(ticket, ask, now) {
                self.backlog.push_front((ticket, *ask));
                return;
            }
        }
    }

    /// A new session is one of so many that there may be, as far as this node knows of others.
    fn refusal(&self, ask: &Ask) -> Option<Answer> {
        let Ask::Claim { claim, .. } = ask else { return None };
        let engine = self.store.engine();
        let is_full = engine.session_count() >= self.sessions_max && !engine.has_session(&claim.client);
        is_full.then_some(Answer::Reply(Reply::Refused(Refusal::Bound(Bound::Sessions))))
    }

    /// What links and discovery know is told to the store when it has changed.
    fn look_around(&mut self, clock: &Clock) {
        let followed = self.outside.around.node.followed();
        if followed != self.followed {
            self.followed = followed;
            self.store.followed(followed, clock);
        }
        if clock.now < self.next_look {
            return;
        }
        self.next_look = clock.now + LOOK;
        let Some(links) = self.outside.links.get() else { return };
        let Neighbours { found, is_settled, known } = links.neighbours();
        let node = &self.outside.around.node;
        let link = |it: &Neighbour| {
            let member = Member { id: it.node.id, incarnation: it.node.incarnation };
            Link {
                member,
                is_live: matches!(it.lanes, LanesState::Synchronised { .. }),
                is_level: node.has_confirmed_interest(member) && node.knows_interest_of(member),
                hears: it.letters.contains(&letters::Channel::Control),
            }
        };
        let links: Vec<Link> = known.iter().map(link).collect();
        let me = self.store.node();
        let member_of = |lodger: &Lodger| match lodger {
            Lodger::Unknown => None,
            Lodger::Itself => Some(Member { id: me.id, incarnation: me.incarnation }),
            Lodger::Node(id) => links.iter().find(|link| link.member.id == id.0 && link.hears).map(|link| link.member),
        };
        let found = found.iter().map(|it| Found {
            address: format!("{} ({})", it.address.socket, it.address.host).into(),
            node: member_of(&it.lodger),
        });
        let found = (found.collect::<Vec<_>>(), is_settled);
        if links != self.links {
            self.store.links(&links, clock);
            self.links = links;
        }
        // It counts for how long the answer is the same.
        self.store.discovered(&found.0, found.1, clock);
        self.found = found;
    }

    /// Gives away what this node leads, as far as others take it in time.
    fn leave(&mut self, clock: &Clock) {
        let id = self.store.node().id;
        if self.leaves_until.is_none() {
            self.leaves_until = Some(clock.now + LEAVE);
            let _ = self.store.ask_cluster(Command::Drain { node: id, purpose: Purpose::Restart }, clock);
        }
        let leaders = self.store.engine().counts().leaders;
        let is_over = self.leaves_until.is_some_and(|until| clock.now >= until);
        if leaders == 0 || is_over || self.links.is_empty() {
            debug!(leaders, "leaderships are given away");
            self.inbox.has_left();
        }
    }

    fn withdraw(&mut self, rules: Arc<Rules>) {
        let before = std::mem::replace(&mut self.rules, rules);
        let removed = removed_users(&before, &self.rules);
        if !removed.is_empty() {
            let asks = endings(self.store.engine().sessions(), |user| removed.contains(user));
            asks.into_iter().for_each(|ask| self.end(ask));
        }
    }

    /// The same of users who were removed while nobody watched: where only the password file says who is a user.
    pub(crate) fn withdraw_absent(&mut self) {
        let Some(passwords) = self.rules.passwords.clone() else { return };
        let asks = endings(self.store.engine().sessions(), |user| passwords.find(user).is_none());
        asks.into_iter().for_each(|ask| self.end(ask));
    }

    fn end(&mut self, ask: Ask) {
        self.next_ending += 1;
        self.endings.insert(self.next_ending, ask.clone());
        self.backlog.push_back((Ticket { thread: OWN, number: self.next_ending }, ask));
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

    /// Leaves numbers for `/metrics`, and says to probes what is missing.
    fn tell(&mut self, clock: &Clock) {
        let engine = self.store.engine();
        self.report.set(engine.counts(), engine.state());
        let mut missing: Vec<String> = self.store.missing(clock).iter().map(ToString::to_string).collect();
        let is_caught_up = engine.is_caught_up(clock.now);
        if self.caught_up.is_waited_for(self.store.node().incarnation, is_caught_up) && missing.is_empty() {
            missing.push("copies of shards have not caught up".to_owned());
        }
        let text = missing.join("; ");
        if text != self.was_missing {
            if missing.is_empty() {
                info!(life = self.store.node().incarnation, "member of the cluster");
            } else {
                info!(missing = text, "not serving");
            }
            self.was_missing = text;
        }
        self.health.set_store(missing);
        if let Some(status) = self.store.status(clock) {
            let groups = engine.group_statuses().collect();
            let (cluster, shards) = engine.meta().map_or((None, 0), |meta| (meta.cluster(), meta.shards().len()));
            let node = self.store.node();
            self.report.set_member(MemberReport { node, cluster, shards, status, groups, is_caught_up });
        }
    }
}
