//! The whole of a run: nodes, network, clients, and what happens next.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fulmar_log::disk::CrashKeeps;
use fulmar_meta::ClusterId;
use fulmar_store_node::Stopped;

use crate::Time;
use crate::agenda::{Agenda, Event};
use crate::clock::MachineClock;
use crate::config::Config;
use crate::history::History;
use crate::link::{Actor, Phase};
use crate::network::{Chunk, DIALLER, End, LISTENER, Network, Place, Port, WireId};
use crate::node::control::News;
use crate::node::process::{Process, Went};
use crate::node::thread::RunOf;
use crate::outside::{Outside, Trace};
use crate::random::{Chance, Random};
use crate::seats::Seat;
use crate::volume::Volume;

/// How often stops go on, and whoever looks at a run looks.
const LOOK: Duration = Duration::from_millis(20);
/// A process that has ended by itself is started again after so long, as Kubernetes does.
const RESTART: Duration = Duration::from_millis(400);

/// A sync that no run comes to.
pub(crate) const NEVER: u64 = u64::MAX / 2;

/// A place for a node: a pod of a stateful set, with its volume and its machine.
pub(crate) struct Slot {
    pub(crate) volume: Volume,
    pub(crate) clock: MachineClock,
    pub(crate) process: Option<Process>,
    /// Which process this is.
    pub(crate) run: u64,
    /// The machine has no power: nobody answers at all.
    pub(crate) is_dark: bool,
    /// The process is stopped until then.
    pub(crate) paused_until: Option<Time>,
    /// It ends at one of its next syncs: with what is left of what was not synced.
    pub(crate) dies_with: Option<CrashKeeps>,
    /// Nobody starts it again.
    pub(crate) is_gone: bool,
    /// How it is started again when it dies or stops.
    pub(crate) back_after: Duration,
    /// Old copies of its volume.
    pub(crate) backups: Vec<Volume>,
}

/// See the [module](self).
pub(crate) struct World {
    pub(crate) outside: Outside,
    pub(crate) config: Config,
    pub(crate) slots: Vec<Slot>,
    pub(crate) seats: Vec<Seat>,
    pub(crate) history: History,
    /// The id of the cluster, once somebody knows it: the operator hands it back to nodes that start.
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) random: Random,
    /// Why nodes ended by themselves, with a fault of ours behind it or not.
    pub(crate) failures: Vec<String>,
    /// Counts what happened, to see that a run was of use.
    pub(crate) happened: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) plan: crate::faults::Plan,
}

impl World {
    /// Nobody is there yet.
    pub(crate) fn new(seed: u64, trace: Trace) -> World {
        let mut random = Random::new(seed);
        let network = Network::new(random.branch());
        let outside = Outside {
            now: Time::default(),
            agenda: Agenda::default(),
            network,
            random: random.branch(),
            trace,
            named: BTreeSet::new(),
        };
        let config = Config::draw(&mut random.branch());
        let plan = crate::faults::Plan::default();
        let mut world = World {
            outside,
            config,
            slots: Vec::new(),
            seats: Vec::new(),
            history: History::default(),
            cluster: None,
            random,
            failures: Vec::new(),
            happened: std::collections::BTreeMap::new(),
            plan,
        };
        for _ in 0..world.config.nodes {
            world.add_slot();
        }
        world.outside.agenda.at(Time::default() + LOOK, Event::Look);
        world
    }

    pub(crate) fn now(&self) -> Time {
        self.outside.now
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// When anything last happened to a client that is worth a record.
    pub(crate) fn last_record(&self) -> Time {
        self.history.records().last().map(|record| record.at).unwrap_or_default()
    }

    /// One more node, which is started soon.
    pub(crate) fn add_slot(&mut self) -> usize {
        let slot = self.slots.len();
        let fast = self.random.below(4001) as i64 - 2000;
        // Instants of the past are asked for, too.
        let base = Instant::now() + Duration::from_secs(86_400);
        let volume = Volume::new(slot, &mut self.random);
        self.config.set_speed(&volume.disk, &mut self.random);
        self.slots.push(Slot {
            volume,
            clock: MachineClock::new(base, fast),
            process: None,
            run: 0,
            is_dark: false,
            paused_until: None,
            dies_with: None,
            is_gone: false,
            back_after: RESTART,
            backups: Vec::new(),
        });
        self.outside.named.insert(slot);
        let at = self.now() + self.random.millis(0, 300);
        self.outside.agenda.at(at, Event::Start { slot });
        slot
    }

    /// A client.
    pub(crate) fn add_actor(&mut self, actor: Box<dyn Actor>) {
        self.seats.push(Seat::new(actor));
    }

    /// What happens next. False: nothing ever.
    pub(crate) fn step(&mut self) -> bool {
        let Some((at, event)) = self.outside.agenda.pop() else { return false };
        // Somebody may have wanted something earlier than it could be done.
        self.outside.now = at.max(self.outside.now);
        match event {
            Event::Turn { slot, run, part } => self.turn(slot, run, part),
            Event::Arrive { wire, side } => self.arrive(wire, side),
            Event::Patience { actor, wire } => self.lose_patience(actor, wire),
            Event::Wake { actor } => self.wake_actor(actor),
            Event::Refuse { actor } => self.refuse_actor(actor),
            Event::Start { slot } => self.start(slot),
            Event::GoOn { slot } => self.go_on(slot),
            Event::Plan => self.next_of_plan(),
            Event::Look => self.look(),
        }
        true
    }

    fn turn(&mut self, slot: usize, run: u64, part: crate::agenda::Part) {
        let World { outside, slots, .. } = self;
        let at = &mut slots[slot];
        let Some(process) = at.process.as_mut().filter(|process| process.of.run == run) else { return };
        if let Some(until) = at.paused_until {
            process.put_off(part, until, outside);
            return;
        }
        outside.trace.count(outside.now.0 << 8 | slot as u64);
        match process.turn(part, &at.clock, outside) {
            Went::On => {}
            Went::Ended => self.ended(slot),
            Went::Failed(stopped) => self.failed(slot, &stopped),
        }
    }

    /// Starts a process, if none runs.
    pub(crate) fn start(&mut self, slot: usize) {
        let World { outside, slots, config, cluster, random, .. } = self;
        let at = &mut slots[slot];
        if at.process.is_some() || at.is_gone {
            return;
        }
        at.run += 1;
        (at.is_dark, at.paused_until, at.dies_with) = (false, None, None);
        at.volume.disk.fail_sync(NEVER);
        let of = RunOf { slot, run: at.run };
        let shape = config.shape(slot, at.volume.node_id, *cluster, random);
        outside.trace.line(outside.now, || format!("{of} starts with id {:x}", at.volume.node_id));
        match Process::start(of, &shape, at.volume.disk.clone(), &at.clock, &mut random.branch(), outside) {
            Ok(process) => {
                at.process = Some(process);
                self.history.fault(self.outside.now);
            }
            Err(stopped) => self.failed(slot, &stopped),
        }
    }

    /// A process has stopped in good order.
    fn ended(&mut self, slot: usize) {
        let now = self.now();
        self.outside.trace.line(now, || format!("node {slot} has stopped in good order"));
        self.note("stopped in good order");
        if let Some(process) = self.slots[slot].process.take() {
            // What it had of the disk is written.
            drop(process.store.store.close());
        }
        self.hang_up(slot, true);
        self.start_later(slot);
    }

    /// The store does nothing more, and the process ends with it.
    fn failed(&mut self, slot: usize, stopped: &Stopped) {
        let now = self.now();
        self.outside.trace.line(now, || format!("node {slot} ends by itself: {stopped}"));
        let keeps = self.slots[slot].dies_with.take();
        self.slots[slot].process = None;
        match (stopped, keeps) {
            (_, Some(keeps)) => {
                self.note("lost its power in the middle of a write");
                self.go_dark(slot, keeps);
                return;
            }
            (Stopped::StartAnew(_), None) => {
                self.note("set its folder aside");
                self.slots[slot].volume = Volume::new(slot, &mut self.random);
                let World { slots, config, random, .. } = self;
                config.set_speed(&slots[slot].volume.disk, random);
            }
            (Stopped::Failed(_) | Stopped::Folder(_) | Stopped::Open(_), None) if self.is_disk_bad(slot) => {
                self.note("stopped for its disk");
            }
            (stopped, None) => self.failures.push(format!("{now}: node {slot} ended by itself: {stopped}")),
        }
        self.hang_up(slot, true);
        self.start_later(slot);
    }

    pub(crate) fn start_later(&mut self, slot: usize) {
        let at = self.now() + self.slots[slot].back_after;
        self.slots[slot].back_after = RESTART;
        self.outside.agenda.at(at, Event::Start { slot });
    }

    /// The process is killed; its machine goes on.
    pub(crate) fn kill(&mut self, slot: usize) {
        if self.slots[slot].process.take().is_some() {
            self.hang_up(slot, true);
            self.start_later(slot);
        }
    }

    /// The machine loses its power.
    pub(crate) fn go_dark(&mut self, slot: usize, keeps: CrashKeeps) {
        let now = self.now();
        let at = &mut self.slots[slot];
        at.process = None;
        at.is_dark = true;
        at.volume.disk.crash(keeps);
        at.clock.boot(now);
        self.hang_up(slot, false);
        self.start_later(slot);
    }

    /// The connections of a process end with it; others hear of it if there is a machine to tell them.
    fn hang_up(&mut self, slot: usize, is_told: bool) {
        self.slots[slot].paused_until = None;
        for (wire, side) in self.outside.network.at(Place::Slot(slot)) {
            if is_told {
                self.outside.reset(wire, side);
            } else {
                self.outside.network.leave(wire, side);
            }
        }
    }

    /// The process stands still until then.
    pub(crate) fn pause(&mut self, slot: usize, until: Time) {
        if self.slots[slot].process.is_some() {
            self.slots[slot].paused_until = Some(until);
            self.outside.agenda.at(until, Event::GoOn { slot });
        }
    }

    fn go_on(&mut self, slot: usize) {
        let now = self.now();
        let at = &mut self.slots[slot];
        if at.paused_until.take_if(|until| *until <= now).is_some()
            && let Some(process) = &mut at.process
        {
            process.wake_all(&mut self.outside);
            self.history.fault(now);
        }
    }

    fn arrive(&mut self, wire: WireId, side: usize) {
        let now = self.now();
        let Some((end, chunk)) = self.outside.network.arrive(wire, side, now) else { return };
        self.outside.trace.count(wire << 4 | side as u64);
        let Some(place) = self.outside.network.wire(wire).map(|it| it.places[side]) else { return };
        match (place, end) {
            (Place::Slot(slot), End::Port(port)) => self.dialled(slot, port, wire),
            (Place::Slot(slot), End::Control) => {
                if let Some(process) = &mut self.slots[slot].process {
                    process.control_news(News::Chunk(wire, side, chunk), &mut self.outside);
                }
            }
            (Place::Slot(slot), End::Thread(thread, conn)) => {
                if let Some(process) = &mut self.slots[slot].process {
                    process.arrive(thread, conn, chunk, &mut self.outside);
                }
            }
            (Place::Clients, End::Actor(actor)) => self.arrive_at_actor(actor, wire, chunk),
            // Whoever says something to nobody is told so, where there is a machine.
            (_, End::Nobody) => {
                let is_dark = matches!(place, Place::Slot(slot) if self.slots[slot].is_dark);
                if !is_dark && !matches!(chunk, Chunk::Reset | Chunk::End) {
                    self.outside.reset(wire, side);
                }
            }
            (place, end) => unreachable!("{end:?} is never at {place:?}"),
        }
    }

    fn dialled(&mut self, slot: usize, port: Port, wire: WireId) {
        let World { outside, slots, .. } = self;
        let at = &mut slots[slot];
        let is_taken = match (&mut at.process, port) {
            (None, _) => {
                if at.is_dark || at.is_gone {
                    return;
                }
                false
            }
            (Some(process), Port::Cluster) => {
                outside.network.hold(wire, LISTENER, None);
                process.control_news(News::Dialled(wire), outside);
                true
            }
            (Some(process), Port::Mqtt) => {
                let is_taken = process.client_dials(wire, LISTENER, outside);
                if is_taken {
                    outside.send(wire, LISTENER, Chunk::Accepted);
                }
                is_taken
            }
        };
        if !is_taken {
            outside.reset(wire, LISTENER);
        }
    }

    fn look(&mut self) {
        let World { outside, slots, .. } = self;
        for at in slots.iter_mut().filter(|at| at.paused_until.is_none()) {
            if let Some(process) = &mut at.process {
                process.go_on_stopping(outside);
            }
        }
        if self.cluster.is_none() {
            self.cluster = self.slots.iter().find_map(|at| {
                let meta = at.process.as_ref()?.store.store.engine().meta()?;
                meta.cluster()
            });
        }
        let at = self.now() + LOOK;
        self.outside.agenda.at(at, Event::Look);
    }

    /// Whether clients may be sent to this node.
    pub(crate) fn is_ready(&self, slot: usize) -> bool {
        let process = self.slots[slot].process.as_ref();
        process.is_some_and(|process| process.store.is_ready && process.stop.is_none())
    }

    /// All clients are told of a phase.
    pub(crate) fn enter(&mut self, phase: Phase) {
        for actor in 0..self.seats.len() {
            self.call(actor, |actor, now, history| actor.enter(phase, now, history));
        }
    }

    pub(crate) fn dial_for(&mut self, actor: usize, slot: usize) -> WireId {
        self.outside.dial((Place::Clients, End::Actor(actor)), (Place::Slot(slot), Port::Mqtt))
    }

    /// A connection breaks: both sides find that out, and what was on its way is lost.
    pub(crate) fn break_wire(&mut self, wire: WireId) {
        self.outside.network.drop_all(wire, self.outside.now, &mut self.outside.agenda);
    }

    /// A client's side of a connection ends.
    pub(crate) fn hang_up_for(&mut self, wire: WireId, is_rude: bool) {
        if is_rude {
            self.outside.reset(wire, DIALLER);
        } else {
            self.outside.close(wire, DIALLER);
        }
    }
}
