//! What breaks, drawn from the seed.

use fulmar_harness::{Violation, Weather, draw};
use fulmar_random::Random;

use super::world::{Event, Message, World};

/// How bad a run is.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// How long things break, in real microseconds.
    pub(super) duration: u64,
    act_micros: u64,
    pub(super) weather: Weather,
    /// The slowest and the fastest clock.
    pub(super) clocks_per_thousand: [u64; 2],
    weights: [(u64, Act); 9],
}

/// Something that breaks.
#[derive(Debug, Clone, Copy)]
enum Act {
    Crash,
    Stop,
    Pause,
    Cut,
    Heal,
    NewLeader,
    LoseVolume,
    Restore,
    Copy,
}

/// What breaks most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storm {
    /// Everything.
    All,
    /// Leaders are cut off.
    Leaders,
    /// Clocks are as wrong as they may be.
    Clocks,
    /// Folders are lost, restored and copied.
    Folders,
}

impl Storm {
    pub(super) const ALL: [Self; 4] = [Self::All, Self::Leaders, Self::Clocks, Self::Folders];
}

impl Plan {
    pub(super) fn draw(storm: Storm, random: &mut Random) -> Self {
        let mut weight = |act, most: u64, more: Storm| {
            let most = if storm == more { 4 * most } else { most };
            (1 + random.below(most), act)
        };
        let weights = [
            weight(Act::Crash, 6, Storm::Folders),
            weight(Act::Stop, 3, Storm::All),
            weight(Act::Pause, 8, Storm::Clocks),
            weight(Act::Cut, 10, Storm::Leaders),
            weight(Act::Heal, 8, Storm::Leaders),
            weight(Act::NewLeader, 6, Storm::Leaders),
            weight(Act::LoseVolume, 3, Storm::All),
            weight(Act::Restore, 3, Storm::Folders),
            weight(Act::Copy, 3, Storm::Folders),
        ];
        let is_quick = storm == Storm::Clocks;
        Self {
            nodes: if storm == Storm::Leaders { 5 } else { random.pick(&[3, 3, 4, 5]) },
            duration: 30_000_000,
            act_micros: random.pick(&[400_000, 1_500_000, 3_000_000]),
            weather: Weather::draw(is_quick, random),
            clocks_per_thousand: if is_quick { [950, 1050] } else { [950 + random.below(51), 1000 + random.below(51)] },
            weights,
        }
    }
}

impl World {
    pub(super) fn act(&mut self) -> Result<(), Violation> {
        if self.plan.act_micros == 0 {
            return Ok(());
        }
        let micros = self.random.below(2 * self.plan.act_micros);
        self.after(micros, Event::Act);
        let any = self.random.below(self.plan.nodes as u64) as usize;
        let pod = if self.random.below(3) == 0 { self.group.leader } else { any };
        match draw(&self.plan.weights, &mut self.random) {
            Act::Crash => self.restart(pod, 3_000_000),
            Act::Stop => {
                self.say_goodbye(pod);
                self.restart(pod, 1_000_000);
            }
            Act::Pause => self.pause(pod),
            Act::Cut => self.network.draw_cut(pod, self.plan.nodes, self.pods.len(), &mut self.random),
            Act::Heal => self.network.heal(),
            Act::NewLeader => {
                if self.has_majority(any) && any != self.group.leader {
                    // What was proposed before is in the new leader's log, or is not.
                    return self.hand_over(any);
                }
            }
            Act::LoseVolume => {
                self.restart(pod, 3_000_000);
                self.pods[pod].folder = None;
            }
            Act::Restore => {
                self.restart(pod, 4_000_000);
                let backup = self.pods[pod].backup.clone();
                self.pods[pod].folder = backup.or(self.pods[pod].folder.take());
            }
            Act::Copy => self.copy(pod),
        }
        Ok(())
    }

    fn restart(&mut self, pod: usize, micros: u64) {
        self.crash(pod);
        let micros = self.random.below(micros);
        self.after(micros, Event::Start { pod });
    }

    fn say_goodbye(&mut self, pod: usize) {
        if self.pods[pod].paused_until > self.now {
            return;
        }
        if let Some(process) = &mut self.pods[pod].process {
            let (leader, goodbye) = (process.leader, process.lease.stop());
            if let Some(goodbye) = goodbye {
                self.send(pod, leader, &Message::Goodbye(goodbye));
            }
        }
    }

    fn pause(&mut self, pod: usize) {
        if let Some(micros) = self.pods[pod].pause(self.now, &mut self.random) {
            self.report.pauses += 1;
            self.after(micros, Event::Resume);
        }
    }

    /// A volume is copied, and a process started beside the one that uses it.
    fn copy(&mut self, pod: usize) {
        let beside = self.plan.nodes;
        self.crash(beside);
        let it = &mut self.pods;
        (it[beside].folder, it[beside].name) = (it[pod].folder.clone(), it[pod].name.clone());
        if it[beside].folder.is_some() {
            self.start(beside);
        }
        // Both begin with the same counter.
        if self.random.below(2) == 0 {
            self.restart(pod, 3_000_000);
        }
    }

    /// Nothing breaks any more, and what was broken is whole.
    pub(super) fn mend(&mut self) {
        self.plan.act_micros = 0;
        self.network.become_good();
        self.crash(self.plan.nodes);
        for pod in 0..self.plan.nodes {
            if self.pods[pod].wake(self.now) {
                self.after(0, Event::Resume);
            }
            self.after(0, Event::Start { pod });
        }
    }
}
