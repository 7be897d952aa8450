//! What breaks and when, from the seed: processes, machines, disks, clocks, ways between nodes.
//!
//! What is promised bounds what may happen at once. Anything may be killed, cut off, stopped or without power, all nodes
//! together, too. A volume is lost, or an old copy of it comes back, only while all is well with the others: what a
//! majority has lost nobody can bring back.

use std::time::Duration;

use fulmar_log::disk::CrashKeeps;
use fulmar_meta::Purpose;

use crate::Time;
use crate::agenda::Event;
use crate::network::Place;
use crate::node::store::DrainReport;
use crate::random::Chance;
use crate::volume::Volume;
use crate::world::{NEVER, World};

/// Nodes that there are at most.
const NODES_MAX: usize = 6;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Plan {
    next: Option<Time>,
    until: Time,
    /// What is mended when.
    mends: Vec<(Time, Mend)>,
    /// A node that leaves for good.
    leaving: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mend {
    Way(Place, Place),
    Capacity(usize),
    Speed(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerLoss,
    PowerLossInWrite,
    PowerLossOfAll,
    Pause,
    CutOneWay,
    CutBothWays,
    CutOff,
    CutFromClients,
    SlowWay,
    ClockJump,
    LoseVolume,
    RestoreVolume,
    FullDisk,
    SlowDisk,
    Terminate,
    TerminateAll,
    BreakClients,
    BreakLinks,
    Join,
    Leave,
}

const KEEPS: [CrashKeeps; 3] = [CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors];

/// Each with how often it is to be.
const FAULTS: [(Fault, u64); 21] = [
    (Fault::Kill, 14),
    (Fault::PowerLoss, 8),
    (Fault::PowerLossInWrite, 10),
    (Fault::PowerLossOfAll, 3),
    (Fault::Pause, 12),
    (Fault::CutOneWay, 8),
    (Fault::CutBothWays, 6),
    (Fault::CutOff, 8),
    (Fault::CutFromClients, 4),
    (Fault::SlowWay, 4),
    (Fault::ClockJump, 4),
    (Fault::LoseVolume, 5),
    (Fault::RestoreVolume, 4),
    (Fault::FullDisk, 4),
    (Fault::SlowDisk, 4),
    (Fault::Terminate, 8),
    (Fault::TerminateAll, 1),
    (Fault::BreakClients, 10),
    (Fault::BreakLinks, 6),
    (Fault::Join, 2),
    (Fault::Leave, 3),
];

impl World {
    /// Begins to break things. Returns for how long.
    pub(crate) fn begin_plan(&mut self, is_calm: bool) -> Duration {
        let time = self.random.millis(8_000, 20_000);
        if !is_calm {
            self.plan.until = self.now() + time;
            let first = self.now() + self.random.millis(300, 2000);
            self.plan.next = Some(first);
            self.outside.agenda.at(first, Event::Plan);
        }
        time
    }

    /// All is mended, and nodes that are gone for now are back soon.
    pub(crate) fn end_plan(&mut self) {
        self.plan.next = None;
        let now = self.now();
        self.history.fault(now);
        self.outside.trace.line(now, || "all is mended".to_owned());
        for (_, mend) in std::mem::take(&mut self.plan.mends) {
            self.mend(&mend);
        }
        self.outside.network.mend(|_, _| true, now, &mut self.outside.agenda);
        for slot in 0..self.slots.len() {
            let at = &mut self.slots[slot];
            at.clock.set_wall_right();
            at.dies_with = None;
            at.volume.disk.fail_sync(NEVER);
            if at.paused_until.is_some() {
                at.paused_until = Some(now);
                self.outside.agenda.at(now, Event::GoOn { slot });
            }
            if at.process.is_none() {
                self.outside.agenda.at(now, Event::Start { slot });
            }
        }
        // Whoever has not left by now stays.
        if let Some(slot) = self.plan.leaving.take()
            && let Some(process) = &mut self.slots[slot].process
        {
            process.store.order_drain(None);
        }
    }

    /// Something is mended, or breaks.
    pub(crate) fn next_of_plan(&mut self) {
        let now = self.now();
        let due = |(at, _): &mut (Time, Mend)| *at <= now;
        for (_, mend) in self.plan.mends.extract_if(.., due).collect::<Vec<_>>() {
            self.mend(&mend);
        }
        self.go_on_leaving();
        if self.plan.next.take_if(|next| *next <= now).is_some() && now < self.plan.until {
            for slot in 0..self.slots.len() {
                self.back_up(slot);
            }
            let all: u64 = FAULTS.iter().map(|(_, weight)| weight).sum();
            let mut which = self.random.below(all);
            let chosen = FAULTS.iter().find(|(_, weight)| match which.checked_sub(*weight) {
                Some(rest) => {
                    which = rest;
                    false
                }
                None => true,
            });
            let (fault, _) = *chosen.expect("the number is below the sum");
            self.happen(fault);
            let pause =
                if self.random.percent(30) { self.random.millis(1, 200) } else { self.random.millis(200, 3000) };
            self.plan.next = Some(now + pause);
        }
        let nexts = self.plan.mends.iter().map(|(at, _)| *at).chain(self.plan.next);
        if let Some(next) = nexts.min() {
            self.outside.agenda.at(next.max(Time(now.0 + 1)), Event::Plan);
        }
    }

    fn mend_after(&mut self, time: Duration, mend: Mend) {
        let at = self.now() + time;
        self.plan.mends.push((at, mend));
    }

    fn mend(&mut self, mend: &Mend) {
        let now = self.now();
        self.history.fault(now);
        match *mend {
            Mend::Way(from, to) => {
                self.outside.network.mend(|one, other| (one, other) == (from, to), now, &mut self.outside.agenda);
            }
            Mend::Capacity(slot) => self.slots[slot].volume.disk.set_capacity(None),
            Mend::Speed(slot) => {
                let World { slots, config, random, .. } = self;
                config.set_speed(&slots[slot].volume.disk, random);
            }
        }
    }

    /// A copy of the volume as it is, now and then.
    fn back_up(&mut self, slot: usize) {
        if self.slots[slot].process.is_some() && self.slots[slot].backups.len() < 2 && self.random.percent(20) {
            let copy = self.slots[slot].volume.copy(&mut self.random);
            self.slots[slot].backups.push(copy);
        }
    }

    fn living(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_gone).collect()
    }

    fn running(&self) -> Vec<usize> {
        self.living().into_iter().filter(|slot| self.slots[*slot].process.is_some()).collect()
    }

    /// Whether every copy of everything is where it should be.
    fn is_whole(&self) -> bool {
        self.plan.leaving.is_none() && self.node_troubles().is_empty() && self.living().len() >= 3
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each fault")]
    fn happen(&mut self, fault: Fault) {
        let running = self.running();
        if running.is_empty() {
            return;
        }
        let slot = self.random.pick(&running);
        let other = self.random.pick(&running);
        let now = self.now();
        let name = match fault {
            Fault::Kill => {
                self.slots[slot].back_after = self.random.millis(50, 4000);
                self.kill(slot);
                "process killed"
            }
            Fault::PowerLoss => {
                let keeps = self.random.pick(&KEEPS);
                self.slots[slot].back_after = self.random.millis(200, 5000);
                self.go_dark(slot, keeps);
                "machine lost its power"
            }
            Fault::PowerLossInWrite => {
                let keeps = self.random.pick(&KEEPS);
                self.slots[slot].back_after = self.random.millis(200, 3000);
                self.slots[slot].dies_with = Some(keeps);
                self.slots[slot].volume.disk.fail_sync(1 + self.random.below(10));
                "machine will lose its power in a write"
            }
            Fault::PowerLossOfAll => {
                for slot in running {
                    let keeps = self.random.pick(&KEEPS);
                    self.slots[slot].back_after = self.random.millis(200, 3000);
                    self.go_dark(slot, keeps);
                }
                "all machines lost their power"
            }
            Fault::Pause => {
                let time = if self.random.percent(10) {
                    self.random.millis(6000, 30_000)
                } else {
                    self.random.millis(50, 6000)
                };
                self.pause(slot, now + time);
                "process stopped for a while"
            }
            Fault::CutOneWay | Fault::CutBothWays => {
                let (one, two) = (Place::Slot(slot), Place::Slot(other));
                if slot == other {
                    return;
                }
                let time = self.random.millis(200, 7000);
                self.cut_for(one, two, time);
                if fault == Fault::CutBothWays {
                    self.cut_for(two, one, time);
                    "way cut"
                } else {
                    "way cut in one direction"
                }
            }
            Fault::CutOff => {
                let time = self.random.millis(300, 8000);
                let with_clients = self.random.percent(50);
                let others: Vec<_> = self.living().into_iter().filter(|it| *it != slot).map(Place::Slot).collect();
                let here = Place::Slot(slot);
                for there in others.into_iter().chain(with_clients.then_some(Place::Clients)) {
                    self.cut_for(here, there, time);
                    self.cut_for(there, here, time);
                }
                "node cut off"
            }
            Fault::CutFromClients => {
                let time = self.random.millis(300, 5000);
                self.cut_for(Place::Slot(slot), Place::Clients, time);
                "way to clients cut"
            }
            Fault::SlowWay => {
                let (from, to) = (Place::Slot(slot), Place::Slot(other));
                let time = self.random.millis(300, 5000);
                let by = self.random.millis(1, 150);
                self.outside.network.slow_down(from, to, by);
                self.mend_after(time, Mend::Way(from, to));
                "way slow"
            }
            Fault::ClockJump => {
                let seconds = self.random.below(240) as i64 - 120;
                self.slots[slot].clock.jump_wall(seconds * 1_000_000);
                self.history.clock_jumped();
                "wall clock jumped"
            }
            Fault::LoseVolume | Fault::RestoreVolume => {
                if !self.is_whole() {
                    return;
                }
                let old = if fault == Fault::RestoreVolume { self.slots[slot].backups.pop() } else { None };
                let is_old = old.is_some();
                if fault == Fault::RestoreVolume && !is_old {
                    return;
                }
                self.slots[slot].back_after = self.random.millis(100, 2000);
                self.kill(slot);
                self.slots[slot].volume = old.unwrap_or_else(|| Volume::new(slot, &mut self.random));
                self.mend(&Mend::Speed(slot));
                if is_old { "old copy of a volume came back" } else { "volume lost" }
            }
            Fault::FullDisk => {
                let disk = &self.slots[slot].volume.disk;
                disk.set_capacity(Some(disk.used() + self.random.below(20_000)));
                let time = self.random.millis(500, 6000);
                self.mend_after(time, Mend::Capacity(slot));
                "disk full"
            }
            Fault::SlowDisk => {
                let sync = self.random.millis(20, 400);
                self.slots[slot].volume.disk.set_speed(sync, 1 << 20);
                let time = self.random.millis(500, 6000);
                self.mend_after(time, Mend::Speed(slot));
                "disk slow"
            }
            Fault::Terminate => {
                self.slots[slot].back_after = self.random.millis(50, 3000);
                self.terminate(slot);
                "process told to stop"
            }
            Fault::TerminateAll => {
                running.into_iter().for_each(|slot| self.terminate(slot));
                "all processes told to stop"
            }
            Fault::BreakClients => {
                for actor in 0..self.seats.len() {
                    if self.random.percent(40) {
                        self.break_connection(actor);
                    }
                }
                "connections of clients broken"
            }
            Fault::BreakLinks => {
                for (wire, _) in self.outside.network.at(Place::Slot(slot)) {
                    if self.random.percent(30) {
                        self.break_wire(wire);
                    }
                }
                "connections of a node broken"
            }
            Fault::Join => {
                if self.living().len() >= NODES_MAX {
                    return;
                }
                self.add_slot();
                "node added"
            }
            Fault::Leave => {
                if !self.is_whole() || self.living().len() < 4 {
                    return;
                }
                self.plan.leaving = Some(slot);
                "node begins to leave"
            }
        };
        self.note(name);
        self.history.fault(now);
        self.outside.trace.line(now, || format!("FAULT at {slot} ({other}): {name}"));
    }

    fn cut_for(&mut self, from: Place, to: Place, time: Duration) {
        self.outside.network.cut(from, to);
        self.mend_after(time, Mend::Way(from, to));
    }

    fn terminate(&mut self, slot: usize) {
        let World { outside, slots, .. } = self;
        if let Some(process) = &mut slots[slot].process {
            process.terminate(outside);
        }
    }

    /// A node that leaves for good is told so again and again; when nothing is left of it, it goes.
    fn go_on_leaving(&mut self) {
        let Some(slot) = self.plan.leaving else { return };
        let Some(process) = self.slots[slot].process.as_mut().filter(|process| process.stop.is_none()) else { return };
        process.store.order_drain(Some(Purpose::Leave));
        let is_empty = process.store.drain_report() == Some(DrainReport { leaders: 0, replicas: 0 });
        if is_empty && process.node.clients() == 0 {
            self.plan.leaving = None;
            self.note("node left");
            self.slots[slot].is_gone = true;
            self.outside.named.remove(&slot);
            self.terminate(slot);
        }
    }

    /// Whether the disk of this node is made to fail.
    pub(crate) fn is_disk_bad(&self, slot: usize) -> bool {
        self.plan.mends.iter().any(|(_, mend)| *mend == Mend::Capacity(slot))
    }
}
