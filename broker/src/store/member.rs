//! The store of a member of a cluster: its thread carries what comes from data threads and other nodes to one value that
//! decides, and what that says back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fulmar_cluster::peers::{Life as Process, Lodger};
use fulmar_cluster::{NodeId, letters};
use fulmar_config::ClusterConfig;
use fulmar_log::StdDisk;
use fulmar_member::{Found, Link};
use fulmar_meta::{Life as Phase, Member, Purpose};
use fulmar_store::{Answer, Ask, Bound, Node as Life, Refusal, Reply, Ticket, Told};
use fulmar_store_node::{Channel, Clock, Out as _, Stopped, StoreNode};
use fulmar_worker::Rules;
use tracing::{debug, info, warn};

use super::caught_up::CaughtUp;
use super::cluster_report;
use super::drains::{Drains, Found as FoundDrain};
use super::inbox::{BEAT, Inbox, Taken};
use super::quorum::{self, Saying};
use super::report::{MemberReport, Report};
use super::room::Room;
use super::sending_away::SendingAway;
use super::start::MemberSettings;
use super::steady::SteadyClock;
use super::surroundings::Surroundings;
use super::withdrawn::{endings, removed_users};
use super::{OWN, REPORT};
use crate::admin::{self, DrainReport, DrainState, Question};
use crate::boot_clock;
use crate::health::Health;
use crate::link::Links;
use crate::link::letters::{Arrival, ArrivalQueue};
use crate::link::neighbours::{LanesState, Neighbour, Neighbours};
use crate::zone;

/// How often links and discovery are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often the file is read that says where this node runs.
const ZONE_LOOK: Duration = Duration::from_secs(1);
/// Bytes of letters in one turn, so that a turn is short.
const TURN_BYTES: usize = 4 << 20;
/// Until then a node that stops has given its leaderships away, or goes with them.
const LEAVE: Duration = Duration::from_secs(3);
/// Until then what clients have said last is committed.
const LAST_ASKS: Duration = Duration::from_secs(2);

/// See the [module](self).
pub(crate) struct MemberStore {
    store: StoreNode<StdDisk>,
    steady: SteadyClock,
    inbox: Arc<Inbox>,
    arrivals: Arc<ArrivalQueue>,
    report: Arc<Report>,
    health: Arc<Health>,
    room: Room,
    outside: Surroundings,
    rules: Arc<Rules>,
    /// What the courier has no room for yet, in the order in which it was asked.
    backlog: VecDeque<(Ticket, Ask)>,
    /// What the store asks itself and has no answer to, by number.
    endings: BTreeMap<u64, Ask>,
    next_ending: u64,
    sessions_max: usize,
    links: Vec<Link>,
    /// What other nodes that answer are called.
    names: BTreeMap<u64, String>,
    found: (Vec<Found>, bool),
    followed: u64,
    next_look: Instant,
    /// A node that stops gives away what it leads until then.
    leaves_until: Option<Instant>,
    drains: Drains,
    sending_away: SendingAway,
    was_missing: String,
    quorum: Saying,
    caught_up: CaughtUp,
    /// What says where this node runs, until it has joined.
    unplaced: Option<ClusterConfig>,
    next_zone: Instant,
    /// The entry of group 0 up to which the links know whose life is committed.
    lives_at: u64,
}

fn read(steady: &mut SteadyClock) -> Clock {
    Clock { now: Instant::now(), moment: boot_clock::now(), time: steady.now() }
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
        settings: MemberSettings,
        mut outside: Surroundings,
        inbox: Arc<Inbox>,
        arrivals: Arc<ArrivalQueue>,
        report: Arc<Report>,
        health: Arc<Health>,
    ) -> Result<MemberStore, Stopped> {
        let MemberSettings { store: settings, cluster, sent_away_per_second: per_second } = settings;
        let mut steady = SteadyClock::start();
        let start = read(&mut steady);
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
            steady,
            inbox,
            arrivals,
            report,
            health,
            room: Room::default(),
            outside,
            rules,
            backlog: VecDeque::new(),
            endings: BTreeMap::new(),
            next_ending: 0,
            sessions_max,
            links: Vec::new(),
            names: BTreeMap::new(),
            found: (Vec::new(), false),
            followed: 0,
            next_look: start.now,
            leaves_until: None,
            drains: Drains::default(),
            sending_away: SendingAway::new(per_second, start.now),
            was_missing: String::new(),
            quorum: Saying::default(),
            caught_up: CaughtUp::default(),
            unplaced: Some(cluster),
            next_zone: start.now,
            lives_at: 0,
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
            let Taken { waiting, is_closed, is_leaving, rules, control } =
                self.inbox.take(next, self.backlog.is_empty(), &mut asked);
            for thread in waiting {
                self.outside.around.inboxes[usize::from(thread)].wake_if_asleep();
            }
            let is_more = self.arrivals.take(TURN_BYTES, &mut arrivals);
            let clock = read(&mut self.steady);
            self.outside.now = clock.now;
            arrivals.drain(..).for_each(|arrival| self.arrived(arrival, &clock));
            self.backlog.extend(asked.drain(..));
            self.offer(clock.now);
            rules.into_iter().for_each(|rules| self.withdraw(rules));
            self.look_around(&clock)?;
            control.into_iter().for_each(|question| self.asked(question));
            if is_leaving {
                self.leave(&clock);
            }
            self.drain(&clock);
            let due = self.store.turn(&clock, &mut self.outside)?;
            self.outside.post();
            self.warn_of_silence();
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

    /// Nobody can tell an old copy of a folder from the folder itself when those who might know do not answer.
    fn warn_of_silence(&mut self) {
        let silent = self.store.take_silent();
        if !silent.is_empty() {
            let silent = fulmar_member::list(silent.iter().map(ToString::to_string));
            warn!(
                silent,
                "this data folder decides alone for the cluster, and nobody said whether it is an old copy: if it is, \
                 stop this node"
            );
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
    fn look_around(&mut self, clock: &Clock) -> Result<(), Stopped> {
        let followed = self.outside.around.node.followed();
        if followed != self.followed {
            self.followed = followed;
            self.store.followed(followed, clock);
        }
        if clock.now < self.next_look {
            return Ok(());
        }
        self.next_look = clock.now + LOOK;
        self.look_where(clock);
        let Some(links) = self.outside.links.get().cloned() else { return Ok(()) };
        self.tell_lives(&links);
        if let Some(reason) = links.refused() {
            let why = format!(
                "this node can't come back to the cluster: {reason}; its data folder is set aside, and it joins as \
                 another node"
            );
            return Err(Stopped::StartAnew(why.into()));
        }
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
        self.names = known.iter().map(|it| (it.node.id, it.name.clone())).collect();
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
        Ok(())
    }

    /// Of each node one process is taken: that whose life was committed last.
    fn tell_lives(&mut self, links: &Links) {
        let Some(meta) = self.store.engine().meta().filter(|meta| meta.applied() != self.lives_at) else { return };
        self.lives_at = meta.applied();
        let life = |node: &fulmar_meta::Node| Process { incarnation: node.member.incarnation, nonce: node.nonce };
        links.set_lives(meta.nodes().map(|(id, node)| (NodeId(id), life(node))).collect());
    }

    /// Where this node runs may be known some time after its start: it is asked for until the node joins, which says it.
    fn look_where(&mut self, clock: &Clock) {
        let Some(cluster) = &self.unplaced else { return };
        if self.found().is_some_and(|found| found.is_live) {
            self.unplaced = None;
        } else if clock.now >= self.next_zone {
            self.next_zone = clock.now + ZONE_LOOK;
            if let Some(zone) = zone::find(cluster) {
                self.store.set_zone(&zone);
            }
        }
    }

    /// Gives away what this node leads, as far as others take it in time. When those who stay are no majority there is
    /// nobody to take it, and nothing goes on until some are back: then nobody waits for anybody.
    fn leave(&mut self, clock: &Clock) {
        let until = *self.leaves_until.get_or_insert(clock.now + LEAVE);
        self.drains.stop(self.found());
        let id = self.store.node().id;
        let others_stay = self.store.engine().meta().is_some_and(|meta| {
            let stays = |node: &fulmar_meta::Node| node.life == Phase::Up && node.drain.is_none();
            let staying = meta.nodes().filter(|(other, node)| *other != id && stays(node)).count();
            2 * staying > meta.nodes().filter(|(_, node)| node.drain != Some(Purpose::Leave)).count()
        });
        let leaders = self.store.engine().counts().leaders;
        if leaders == 0 || clock.now >= until || self.links.is_empty() || !others_stay {
            debug!(leaders, "leaderships are given away");
            self.inbox.has_left();
        }
    }

    /// What the cluster says of this node.
    fn found(&self) -> Option<FoundDrain> {
        let Life { id, incarnation } = self.store.node();
        let node = self.store.engine().meta()?.node(id)?;
        let is_live = node.member.incarnation == incarnation && node.life == Phase::Up;
        Some(FoundDrain { node: id, is_live, drain: node.drain })
    }

    /// Brings the cluster to say of this node's drain what is wanted, and clients to go while it says so.
    fn drain(&mut self, clock: &Clock) {
        for (command, answer) in self.store.take_answered() {
            self.drains.answered(&command, &answer, clock.now);
        }
        let found = self.found();
        if self.drains.has_come_to_be(found)
            && let Some(report) = self.drain_report()
        {
            self.drains.tell(report);
        }
        // When too many questions are open it is asked later.
        if let Some(command) = self.drains.next(found, clock.now)
            && self.store.ask_cluster(command.clone(), clock).is_ok()
        {
            self.drains.asks(command, clock.now);
        }
        // Who stops closes all of them when it has handed over.
        let begins = !self.drains.is_stopping() || self.sending_away.is_on();
        let is_draining = begins && found.is_some_and(|found| found.drain.is_some());
        self.sending_away.go_on(&self.outside.around.node, is_draining, clock.now);
    }

    fn drain_report(&self) -> Option<DrainReport> {
        let (engine, node) = (self.store.engine(), &self.outside.around.node);
        let groups: Vec<_> = engine.group_statuses().collect();
        cluster_report::drain(engine.meta()?, self.store.node().id, &groups, node.clients() as u64)
    }

    /// The admin port asks. What can't be answered now is dropped.
    fn asked(&mut self, question: Question) {
        let order = |purpose: admin::Purpose| match purpose {
            admin::Purpose::Leave => Purpose::Leave,
            admin::Purpose::Restart => Purpose::Restart,
        };
        match question {
            Question::Cluster(reply) => {
                let engine = self.store.engine();
                if let (Some(meta), Some(drain)) = (engine.meta(), self.drain_report()) {
                    let groups: Vec<_> = engine.group_statuses().collect();
                    let leader = |number: u16| engine.leader(fulmar_store::ShardId(number.checked_sub(1)?));
                    let report = cluster_report::cluster(meta, self.store.node().id, &groups, leader, drain);
                    let _ = reply.send(report);
                }
            }
            Question::Drain(reply) => {
                if let Some(report) = self.drain_report() {
                    let _ = reply.send(report);
                }
            }
            Question::BeginDrain(purpose, reply) => {
                info!(?purpose, "this node is to drain");
                self.drains.order(Some(order(purpose)), self.found(), reply);
            }
            Question::CancelDrain(reply) => self.drains.order(None, self.found(), reply),
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

    /// What a node is called, if it is one of the cluster or answers.
    fn name(&self, node: u64) -> Option<String> {
        let of_cluster = || Some(self.store.engine().meta()?.node(node)?.name.to_string());
        of_cluster().or_else(|| self.names.get(&node).cloned())
    }

    /// The same of one that does not answer: who has its name may do so.
    fn name_of_lost(&self, node: u64) -> String {
        let name = fulmar_member::named(node, &|node| self.name(node));
        let has_successor = self.names.iter().any(|(id, other)| *id != node && *other == name);
        if has_successor { format!("{name} (who answers has another data folder)") } else { name }
    }

    /// Groups that can't decide anything.
    fn lost(&self) -> Option<quorum::Lost> {
        let engine = self.store.engine();
        let groups: Vec<_> = engine.group_statuses().collect();
        let me = self.store.node().id;
        let answers = |id| id == me || self.links.iter().any(|link| link.member.id == id && link.hears);
        Some(quorum::lost(engine.meta().filter(|meta| meta.cluster().is_some())?, &groups, answers))
    }

    /// Leaves numbers for `/metrics`, and says to probes what is missing.
    fn tell(&mut self, clock: &Clock) {
        let engine = self.store.engine();
        self.report.set(engine.counts(), engine.state());
        let name = |node| self.name(node);
        let mut missing: Vec<String> = self.store.missing(clock).iter().map(|it| it.text(&name)).collect();
        let is_caught_up = engine.is_caught_up(clock.now);
        if self.caught_up.is_waited_for(self.store.node().incarnation, is_caught_up) && missing.is_empty() {
            missing.push("copies of shards have not caught up".to_owned());
        }
        let lost = self.lost();
        let text = lost.as_ref().and_then(|lost| lost.text(|node| self.name_of_lost(node)));
        // Without a quorum of some shards the others are served, by this node as by any.
        missing.extend(text.clone().filter(|_| lost.is_some_and(|lost| lost.groups.contains(&0))));
        self.quorum.tell(text.as_deref(), clock.now);
        self.health.set_lost(text);
        missing.extend(self.room.look(engine.state()));
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
            let zone = engine.meta().and_then(|meta| meta.node(node.id)).map(|node| node.zone.to_string());
            let zone = zone.unwrap_or_default();
            // Of who stops nobody should think that it could be kept from it.
            let drain = self.drain_report().filter(|it| it.state != DrainState::None && !self.drains.is_stopping());
            self.report.set_member(MemberReport { node, cluster, zone, shards, status, groups, is_caught_up, drain });
        }
    }
}
