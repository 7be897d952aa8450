//! The store of a node and what its thread does around it, in the order of `broker/src/store/member.rs`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fulmar_cluster::NodeId;
use fulmar_cluster::letters::Channel as LetterChannel;
use fulmar_cluster::peers::{Life as Process, Lodger};
use fulmar_log::disk::SimulatedDisk;
use fulmar_member::{Found, Link};
use fulmar_meta::{Advice, Command, Life as Phase, Member, Purpose};
use fulmar_store::{Answer, Ask, Bound, Node as Life, Refusal, Reply, Ticket, Told};
use fulmar_store_node::{Out as _, Settings, SteadyClock, Stopped, StoreNode};
use fulmar_store_raft::State;
use fulmar_worker::Node;

use super::arrivals::{Arrival, Arrivals};
use super::control::Control;
use super::surroundings::{Said, Sayings};
use crate::Time;
use crate::agenda::Planned;
use crate::clock::MachineClock;
use crate::outside::Outside;

/// How often links and discovery are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of letters in one turn.
const TURN_BYTES: usize = 4 << 20;
/// The longest that the thread sleeps.
const BEAT: Duration = Duration::from_secs(1);
/// Until then a node that stops has given its leaderships away, or goes with them.
const LEAVE: Duration = Duration::from_secs(3);
/// Until then what clients have said last is committed.
const LAST_ASKS: Duration = Duration::from_secs(2);
/// An answer of the leader may be here before the entry that it speaks of.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// See the [module](self).
pub(crate) struct Store {
    pub(crate) store: StoreNode<SimulatedDisk>,
    disk: SimulatedDisk,
    pub(crate) steady: SteadyClock,
    pub(crate) asked: Vec<(Ticket, Ask)>,
    pub(crate) arrivals: Arrivals,
    backlog: VecDeque<(Ticket, Ask)>,
    sessions_max: usize,
    links: Vec<Link>,
    followed: u64,
    next_look: Instant,
    pub(crate) planned: Planned,
    /// What the turn under way has said; the disk is not done yet. Somebody wants the next turn by then.
    pub(crate) sayings: Option<Vec<Said>>,
    pub(crate) wanted_at: Option<Time>,
    due: Option<Instant>,
    drain: Drain,
    /// A node that stops gives away what it leads until then.
    leaves_until: Option<Instant>,
    pub(crate) is_leaving: bool,
    pub(crate) has_left: bool,
    pub(crate) is_closed: bool,
    closing: Option<Instant>,
    /// It has ended in good order.
    pub(crate) is_over: bool,
    caught_up_in: Option<u64>,
    pub(crate) is_ready: bool,
    /// The disk has no room.
    pub(crate) is_full: bool,
    /// The entry of group 0 up to which the links know whose life is committed.
    lives_at: u64,
}

/// What is wanted of this node's drain, as `broker/src/store/drains.rs` has it.
#[derive(Debug, Default)]
struct Drain {
    wanted: Option<Option<Purpose>>,
    asked: Option<Command>,
    ask_at: Option<Instant>,
    is_stopping: bool,
    is_sending_away: bool,
    sent_away_at: Option<Instant>,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DrainReport {
    pub(crate) leaders: u64,
    pub(crate) replicas: u64,
}

impl Store {
    pub(crate) fn open(
        disk: SimulatedDisk,
        settings: Settings,
        node: &Node,
        clock: &MachineClock,
        at: Time,
        sayings: &mut Sayings,
    ) -> Result<Store, Stopped> {
        let mut steady = clock.steady(at);
        let start = clock.read(at, &mut steady);
        let store = StoreNode::open(disk.clone(), settings, &start, sayings)?;
        sayings.begin_life(store.node());
        Ok(Store {
            store,
            disk,
            steady,
            asked: Vec::new(),
            arrivals: Arrivals::default(),
            backlog: VecDeque::new(),
            sessions_max: node.settings.limits.sessions,
            links: Vec::new(),
            followed: 0,
            next_look: start.now,
            planned: Planned::default(),
            sayings: None,
            wanted_at: None,
            due: None,
            drain: Drain::default(),
            leaves_until: None,
            is_leaving: false,
            has_left: false,
            is_closed: false,
            closing: None,
            is_over: false,
            caught_up_in: None,
            is_ready: false,
            is_full: false,
            lives_at: 0,
        })
    }

    /// The first step of a turn: everything is decided and written. Returns how long the disk takes.
    pub(crate) fn turn(
        &mut self,
        clock: &MachineClock,
        node: &Node,
        control: &mut Control,
        outside: &mut Outside,
    ) -> (Vec<Said>, Duration, Result<(), Stopped>) {
        let mut sayings = Sayings::default();
        self.disk.take_elapsed();
        let result = self.turn_with(clock, node, control, outside, &mut sayings);
        (sayings.0, self.disk.take_elapsed(), result)
    }

    fn turn_with(
        &mut self,
        machine: &MachineClock,
        node: &Node,
        control: &mut Control,
        outside: &mut Outside,
        sayings: &mut Sayings,
    ) -> Result<(), Stopped> {
        let clock = machine.read(outside.now, &mut self.steady);
        for (channel, arrival) in self.arrivals.take(TURN_BYTES) {
            match arrival {
                Arrival::Connected(to) => self.store.connected(to, channel),
                Arrival::Lost(to) => self.store.disconnected(to, channel, clock.now),
                Arrival::Reset(from) => self.store.reset(from, channel),
                Arrival::Letter(from, letter) => {
                    self.store.letter(from, &letter, &clock).expect("nodes of one version understand each other");
                }
            }
        }
        self.backlog.extend(self.asked.drain(..));
        self.offer(clock.now, sayings);
        self.look_around(&clock, node, control)?;
        if self.is_leaving {
            self.leave(&clock, outside);
        }
        self.drain(&clock, node);
        self.due = self.store.turn(&clock, sayings)?;
        self.tell(&clock);
        if self.is_closed {
            let until = *self.closing.get_or_insert(clock.now + LAST_ASKS);
            if clock.now >= until || self.store.courier().counts().asks == 0 {
                self.store.stop(&clock);
                self.store.farewell();
                self.store.turn(&clock, sayings)?;
                self.is_over = true;
            }
        }
        Ok(())
    }

    /// When to come again at the latest.
    pub(crate) fn next(&self, machine: &MachineClock, now: Time) -> Time {
        let here = machine.instant(now);
        let latest = here + if self.leaves_until.is_some() || self.is_closed { LOOK / 10 } else { BEAT };
        let next = match self.due {
            _ if !self.arrivals.is_empty() => here,
            due => due.map_or(latest, |due| due.min(latest)).min(self.next_look),
        };
        machine.when(next).max(Time(now.0 + 20))
    }

    /// Asks as far as there is room.
    fn offer(&mut self, now: Instant, sayings: &mut Sayings) {
        while let Some((ticket, ask)) = self.backlog.pop_front() {
            if let Some(answer) = self.refusal(&ask) {
                sayings.tell(ticket.thread, Told::Answer { number: ticket.number, answer });
            } else if let Err(ask) = self.store.ask(ticket, ask, now) {
                self.backlog.push_front((ticket, *ask));
                return;
            }
        }
    }

    fn refusal(&self, ask: &Ask) -> Option<Answer> {
        let Ask::Claim { claim, .. } = ask else { return None };
        let engine = self.store.engine();
        let is_full = engine.session_count() >= self.sessions_max && !engine.has_session(&claim.client);
        is_full.then_some(Answer::Reply(Reply::Refused(Refusal::Bound(Bound::Sessions))))
    }

    /// What links and discovery know is told to the store when it has changed.
    fn look_around(
        &mut self,
        clock: &fulmar_store_node::Clock,
        node: &Node,
        control: &mut Control,
    ) -> Result<(), Stopped> {
        let followed = node.followed();
        if followed != self.followed {
            self.followed = followed;
            self.store.followed(followed, clock);
        }
        if clock.now < self.next_look {
            return Ok(());
        }
        self.next_look = clock.now + LOOK;
        self.tell_lives(control);
        if let Some(reason) = control.refused() {
            return Err(Stopped::StartAnew(format!("this node can't come back to the cluster: {reason}").into()));
        }
        let statuses = node.peers();
        let is_synchronised = |id: u64, incarnation: u64| {
            statuses.iter().any(|status| {
                status.identity.node_id == id && status.identity.incarnation == incarnation && status.linked
            })
        };
        let known = control.known();
        let links: Vec<Link> = known
            .iter()
            .map(|it| {
                let member = Member { id: it.node.0, incarnation: it.incarnation };
                Link {
                    member,
                    is_live: it.is_linked && is_synchronised(member.id, member.incarnation),
                    is_level: node.has_confirmed_interest(member) && node.knows_interest_of(member),
                    hears: it.letters.contains(&LetterChannel::Control),
                }
            })
            .collect();
        let me = self.store.node();
        let member_of = |lodger: &Lodger| match lodger {
            Lodger::Unknown => None,
            Lodger::Itself => Some(Member { id: me.id, incarnation: me.incarnation }),
            Lodger::Node(id) => links.iter().find(|link| link.member.id == id.0 && link.hears).map(|link| link.member),
        };
        let found: Vec<Found> = control
            .found()
            .iter()
            .map(|it| Found {
                address: format!("{} ({})", it.address.socket, it.address.host).into(),
                node: member_of(&it.lodger),
            })
            .collect();
        if links != self.links {
            self.store.links(&links, clock);
            self.links = links;
        }
        self.store.discovered(&found, control.is_settled(), clock);
        Ok(())
    }

    /// Of each node one process is taken: that whose life was committed last.
    fn tell_lives(&mut self, control: &mut Control) {
        let Some(meta) = self.store.engine().meta().filter(|meta| meta.applied() != self.lives_at) else { return };
        self.lives_at = meta.applied();
        let life = |node: &fulmar_meta::Node| Process { incarnation: node.member.incarnation, nonce: node.nonce };
        control.set_lives(meta.nodes().map(|(id, node)| (NodeId(id), life(node))).collect());
    }

    /// Gives away what this node leads, as far as others take it in time.
    fn leave(&mut self, clock: &fulmar_store_node::Clock, outside: &mut Outside) {
        let until = *self.leaves_until.get_or_insert(clock.now + LEAVE);
        if !std::mem::replace(&mut self.drain.is_stopping, true) {
            // Who leaves for good does not become one that comes back.
            let drain = self.found().and_then(|(_, _, drain)| drain);
            (self.drain.wanted, self.drain.ask_at) = (Some(drain.or(Some(Purpose::Restart))), None);
        }
        let id = self.store.node().id;
        let others_stay = self.store.engine().meta().is_some_and(|meta| {
            let stays = |node: &fulmar_meta::Node| node.life == Phase::Up && node.drain.is_none();
            let staying = meta.nodes().filter(|(other, node)| *other != id && stays(node)).count();
            2 * staying > meta.nodes().filter(|(_, node)| node.drain != Some(Purpose::Leave)).count()
        });
        let leaders = self.store.engine().counts().leaders;
        if leaders == 0 || clock.now >= until || self.links.is_empty() || !others_stay {
            outside.trace.line(outside.now, || format!("{id:x} has left, with {leaders} leaderships"));
            (self.has_left, self.is_leaving) = (true, false);
        }
    }

    /// What the cluster says of this node: its id, whether this life is up, and its drain.
    fn found(&self) -> Option<(u64, bool, Option<Purpose>)> {
        let Life { id, incarnation } = self.store.node();
        let node = self.store.engine().meta()?.node(id)?;
        let is_live = node.member.incarnation == incarnation && node.life == Phase::Up;
        Some((id, is_live, node.drain))
    }

    /// Somebody orders that this node leaves for good.
    pub(crate) fn order_drain(&mut self, wanted: Option<Purpose>) {
        if !self.drain.is_stopping {
            (self.drain.wanted, self.drain.ask_at) = (Some(wanted), None);
        }
    }

    /// How far the drain has come; none: it does not drain.
    pub(crate) fn drain_report(&self) -> Option<DrainReport> {
        self.found()?.2?;
        let engine = self.store.engine();
        let id = self.store.node().id;
        let replicas = engine.meta()?.shards().iter().filter(|it| it.has(id)).count() as u64;
        Some(DrainReport { leaders: engine.counts().leaders as u64, replicas })
    }

    fn drain(&mut self, clock: &fulmar_store_node::Clock, node: &Node) {
        for (command, answer) in self.store.take_answered() {
            if self.drain.asked.as_ref() == Some(&command) {
                (self.drain.asked, self.drain.ask_at) = (None, Some(clock.now + ASK_AGAIN));
                if !matches!(answer.advice, Advice::Done | Advice::Retry) {
                    self.drain.wanted = None;
                }
            }
        }
        let Some((id, is_live, drain)) = self.found() else { return };
        if self.drain.wanted.is_none() && is_live && drain == Some(Purpose::Restart) {
            // It is back: this was said of a life that is over, and came late.
            self.drain.wanted = Some(None);
        }
        if let Some(wanted) = self.drain.wanted.filter(|wanted| *wanted != drain) {
            let command = match wanted {
                Some(purpose) => Command::Drain { node: id, purpose },
                None => Command::CancelDrain { node: id },
            };
            let is_due = self.drain.ask_at.is_none_or(|at| at <= clock.now);
            if is_due
                && self.drain.asked.as_ref() != Some(&command)
                && self.store.ask_cluster(command.clone(), clock).is_ok()
            {
                (self.drain.asked, self.drain.ask_at) = (Some(command), Some(clock.now + ASK_AGAIN));
            }
        }
        let begins = !self.drain.is_stopping || self.drain.is_sending_away;
        let is_draining = begins && drain.is_some();
        if std::mem::replace(&mut self.drain.is_sending_away, is_draining) != is_draining {
            node.drain(is_draining);
            self.drain.sent_away_at = Some(clock.now);
        }
        if is_draining && self.drain.sent_away_at.is_none_or(|at| clock.now >= at + LOOK) {
            self.drain.sent_away_at = Some(clock.now);
            node.send_away(2);
        }
    }

    fn tell(&mut self, clock: &fulmar_store_node::Clock) {
        let life = self.store.node().incarnation;
        if self.store.engine().is_caught_up(clock.now) {
            self.caught_up_in = Some(life);
        }
        self.is_full = matches!(self.store.engine().state(), State::Full { .. });
        self.is_ready = !self.is_full && self.caught_up_in == Some(life) && self.store.missing(clock).is_empty();
    }
}
