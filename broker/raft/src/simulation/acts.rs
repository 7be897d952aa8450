//! What users do and what breaks, drawn from the seed.

use std::sync::Arc;
use std::time::Duration;

use fulmar_harness::{Violation, draw};
use fulmar_random::Random;

use super::node::Node;
use super::world::{Event, World};
use crate::membership::Change;
use crate::message::{Body, Message};
use crate::settings::Settings;
use crate::types::NodeId;

/// What kind of run it is. Each is bad at something else.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) voters: u64,
    pub(super) nodes: u64,
    pub(super) duration: Duration,
    pub(super) disk_micros: u64,
    act_micros: u64,
    crash_weight: u64,
    cut_weight: u64,
    change_weight: u64,
    transfer_weight: u64,
    compact_weight: u64,
    pause_weight: u64,
    /// Elections collide, and appends are small.
    hurried: bool,
    /// Nothing breaks any more.
    pub(super) calm: bool,
}

/// What comes thick and fast in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storm {
    Nothing,
    /// Leaders come and go.
    Leaders,
    /// So do members.
    Members,
}

impl Storm {
    pub(super) const ALL: [Storm; 3] = [Storm::Nothing, Storm::Leaders, Storm::Members];
}

impl Plan {
    pub(super) fn draw(storm: Storm, random: &mut Random) -> Self {
        let voters = random.pick(&[1, 2, 3, 3, 3, 4, 5, 5]);
        let mut plan = Plan {
            voters,
            nodes: voters + random.below(4),
            duration: Duration::from_millis(1000 + random.below(3000)),
            disk_micros: random.pick(&[500, 2_000, 20_000, 60_000]),
            act_micros: 1_000 + random.below(15_000),
            crash_weight: random.below(12),
            cut_weight: random.below(12),
            change_weight: random.below(2) * random.below(20),
            transfer_weight: random.below(2) * random.below(12),
            compact_weight: random.below(10),
            pause_weight: random.below(5),
            hurried: false,
            calm: false,
        };
        match storm {
            Storm::Nothing => {}
            Storm::Leaders => {
                (plan.act_micros, plan.cut_weight, plan.crash_weight) = (2_000, 10, 10);
                plan.voters = random.pick(&[3, 5, 5]);
                plan.nodes = plan.voters;
                plan.duration *= 8;
                plan.disk_micros = random.pick(&[2_000, 5_000, 15_000]);
                plan.hurried = true;
            }
            Storm::Members => {
                (plan.act_micros, plan.cut_weight, plan.change_weight) = (3_000, 25, 40);
                plan.duration *= 2;
                plan.voters = random.pick(&[2, 3, 4, 4, 4]);
                plan.disk_micros = random.pick(&[500, 5_000]);
                plan.nodes = plan.voters + random.below(2);
            }
        }
        plan
    }

    pub(super) fn settings(&self, random: &mut Random) -> Settings {
        let settings = Settings {
            heartbeat_interval: Duration::from_millis(10),
            election_timeout: Duration::from_millis(50),
            election_timeout_max: Duration::from_millis(random.pick(&[55, 80, 120])),
            disk_timeout: Duration::from_millis(random.pick(&[100, 5000])),
            append_entries_max: random.pick(&[1, 4, 1024]),
            append_bytes_max: random.pick(&[1, 200, 1 << 20]),
            window_appends_max: random.pick(&[1, 3, 16]),
            window_bytes_max: random.pick(&[1, 500, 1 << 20]),
            cache_entries_max: random.pick(&[0, 5, 1000]),
            cache_bytes_max: random.pick(&[200, 1000, 1 << 20]),
            uncommitted_entries_max: random.pick(&[4, 30, 1000]),
            uncommitted_bytes_max: random.pick(&[500, 1000, 1 << 20]),
            committed_bytes_max: random.pick(&[1, 300, 1 << 20]),
            reads_max: 8,
            held_answers_max: random.pick(&[2, 8, 64]),
            snapshot_timeout: Duration::from_millis(200),
            promotion_lag_entries_max: 20,
            sabotage: None,
        };
        if self.hurried {
            let election_timeout_max = Duration::from_millis(53);
            return Settings { election_timeout_max, append_entries_max: 1, window_appends_max: 1, ..settings };
        }
        settings
    }
}

/// Something that users do or that breaks.
#[derive(Debug, Clone, Copy)]
enum Act {
    Propose,
    Read,
    Change,
    Transfer,
    Compact,
    Crash,
    Cut,
    Heal,
    Pause,
    SlowDisk,
}

impl Plan {
    fn draw_act(&self, random: &mut Random) -> Act {
        let acts = [
            (40, Act::Propose),
            (10, Act::Read),
            (self.crash_weight, Act::Crash),
            (self.cut_weight, Act::Cut),
            (self.cut_weight, Act::Heal),
            (self.change_weight, Act::Change),
            (self.transfer_weight, Act::Transfer),
            (self.compact_weight, Act::Compact),
            (self.pause_weight, Act::Pause),
            (2, Act::SlowDisk),
        ];
        draw(&acts, random)
    }
}

impl World {
    pub(super) fn act(&mut self) -> Result<(), Violation> {
        if self.plan.calm {
            return Ok(());
        }
        let micros = self.random.below(2 * self.plan.act_micros);
        self.after(micros, Event::Act);
        let node = 1 + self.random.below(self.plan.nodes);
        match self.plan.draw_act(&mut self.random) {
            Act::Propose => return self.propose(),
            Act::Read => return self.leaders().into_iter().try_for_each(|leader| self.read(leader)),
            Act::Change => return self.change(node),
            Act::Transfer => return self.transfer(node),
            Act::Compact => return self.compact(node),
            Act::Crash => {
                let node = self.likely_leader(node);
                self.crash(node);
            }
            Act::Cut => self.cut(),
            Act::Heal => self.network.heal(),
            Act::Pause => self.pause(node),
            Act::SlowDisk => {
                let micros = self.random.pick(&[500, 20_000, 200_000]);
                self.nodes.get_mut(&node).expect("known").disk_micros = micros;
            }
        }
        Ok(())
    }

    /// Everyone who thinks that it leads.
    pub(super) fn leaders(&self) -> Vec<NodeId> {
        let leads =
            |node: &Node| node.paused_until <= self.now && node.running.as_ref().is_some_and(|it| it.group.is_leader());
        self.nodes.iter().filter(|(_, node)| leads(node)).map(|(id, _)| *id).collect()
    }

    fn propose(&mut self) -> Result<(), Violation> {
        for id in self.leaders() {
            let count = 1 + self.random.below(5);
            let command = |_| Arc::from(self.random.next().to_be_bytes());
            let commands = (0..count).map(command).collect();
            if let Some(running) = &mut self.nodes.get_mut(&id).expect("known").running {
                // A refusal is one of the things that happen.
                let _ = running.group.propose(commands, self.now);
            }
            self.pump(id)?;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, id: NodeId) -> Result<(), Violation> {
        let read = self.checks.read_asked();
        if let Some(running) = &mut self.nodes.get_mut(&id).expect("known").running {
            let _ = running.group.read(read, self.now);
        }
        self.pump(id)
    }

    /// There is a new leader. Somebody waited for it to change the membership, or it does not live long.
    pub(super) fn elected(&mut self, leader: NodeId, life: u64) {
        let node = 1 + self.random.below(self.plan.nodes);
        if !self.plan.calm && self.random.below(50) < self.plan.change_weight {
            self.change_at(leader, node);
        }
        if self.plan.hurried && !self.plan.calm && self.random.below(3) == 0 {
            let micros = self.random.below(20_000);
            self.after(micros, Event::Crash { node: leader, life });
        }
    }

    /// A node has promised something, which is a bad time for a crash.
    pub(super) fn spoke(&mut self, node: NodeId, life: u64, message: &Message) {
        let one_in = match message.body {
            Body::Vote { granted: true } => 10,
            Body::Stored { .. } => 200,
            _ => return,
        };
        if self.plan.hurried && !self.plan.calm && self.random.below(one_in) == 0 {
            self.after(0, Event::Crash { node, life });
        }
    }

    /// One of those who lead, or anyone.
    fn likely_leader(&mut self, otherwise: NodeId) -> NodeId {
        let leaders = self.leaders();
        let pick = self.random.below(2 * leaders.len() as u64);
        usize::try_from(pick).ok().and_then(|pick| leaders.get(pick).copied()).unwrap_or(otherwise)
    }

    pub(super) fn crash(&mut self, node: NodeId) {
        let random = &mut self.random;
        self.nodes.get_mut(&node).expect("known").crash(random);
        self.report.crashes += 1;
        let micros = self.random.pick(&[500, 20_000, 200_000]);
        let micros = self.random.below(micros);
        self.after(micros, Event::Start { node });
    }

    /// A process that is stopped for a while, and then finds everything at once.
    fn pause(&mut self, node: NodeId) {
        let node = self.likely_leader(node);
        let micros = self.random.below(200_000);
        self.nodes.get_mut(&node).expect("known").paused_until = self.now + Duration::from_micros(micros);
        // Comes before all that waits for the node.
        self.after(micros, Event::Ask { node });
    }

    fn cut(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let one_way = self.random.below(3) == 0;
        let center = self.likely_leader(1);
        // A leader with few others tries in vain; one with many goes on.
        let company = 1 + self.random.below(4);
        let mut side = |node: &NodeId| *node == center || self.random.below(4) < company - 1;
        let side: Vec<bool> = nodes.iter().map(&mut side).collect();
        for (from, from_side) in nodes.iter().zip(&side) {
            for (to, to_side) in nodes.iter().zip(&side) {
                if from_side != to_side && (*from_side || !one_way) {
                    self.network.cut(*from, *to);
                }
            }
        }
    }

    fn change(&mut self, node: NodeId) -> Result<(), Violation> {
        for id in self.leaders() {
            self.change_at(id, node);
            self.pump(id)?;
        }
        Ok(())
    }

    fn change_at(&mut self, leader: NodeId, node: NodeId) {
        let kind = self.random.below(5);
        let Some(running) = &mut self.nodes.get_mut(&leader).expect("known").running else { return };
        let membership = running.group.membership();
        let change = match (membership.is_voter(node), membership.is_learner(node)) {
            (true, _) if kind < 2 => Change::Demote(node),
            (true, _) => Change::Remove(node),
            (_, true) if kind < 4 => Change::Promote(node),
            (_, true) => Change::Remove(node),
            (false, false) => Change::AddLearner(node),
        };
        if running.group.change(change, self.now).is_ok() {
            self.report.changes += 1;
        }
    }

    fn transfer(&mut self, to: NodeId) -> Result<(), Violation> {
        for id in self.leaders() {
            // Mostly to one that can take over.
            let to = if to == id { 1 + to % self.plan.nodes } else { to };
            if let Some(running) = &mut self.nodes.get_mut(&id).expect("known").running {
                let _ = running.group.transfer(to, self.now);
            }
            self.pump(id)?;
        }
        Ok(())
    }

    /// Flushes the state machine and lets the log go, with or without some that it still has.
    fn compact(&mut self, id: NodeId) -> Result<(), Violation> {
        let kept = self.random.below(2) * self.random.below(20);
        let node = self.nodes.get_mut(&id).expect("known");
        if let Some(running) = &mut node.running
            // While a snapshot is being put in place the state machine is not flushed.
            && node.disk.staged.is_none()
        {
            node.disk.machine = running.machine;
            if let Some(start) = running.group.compact(running.machine.applied.saturating_sub(kept)) {
                let gone = start.position.index - node.disk.start.position.index;
                node.disk.entries.drain(..usize::try_from(gone).expect("few"));
                node.disk.start = start;
            }
        }
        self.pump(id)
    }
}
