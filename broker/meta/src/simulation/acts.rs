//! What breaks, drawn from the seed.

use fulmar_random::Random;

use super::checks::Violation;
use super::world::{Event, Message, World};

/// How bad a run is.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// How long things break, in real microseconds.
    pub(super) duration: u64,
    act_micros: u64,
    pub(super) lost_percent: u64,
    pub(super) delay_micros: u64,
    pub(super) slow_percent: u64,
    pub(super) slow_micros: u64,
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
            lost_percent: random.pick(&[0, 2, 15]),
            delay_micros: if is_quick { 1 } else { random.pick(&[1, 2_000, 50_000]) },
            slow_percent: random.pick(&[0, 1, 5]),
            slow_micros: random.pick(&[500_000, 2_500_000]),
            clocks_per_thousand: if is_quick { [950, 1050] } else { [950 + random.below(51), 1000 + random.below(51)] },
            weights,
        }
    }

    fn draw_act(&self, random: &mut Random) -> Act {
        let mut dice = random.below(self.weights.iter().map(|(weight, _)| weight).sum());
        for (weight, act) in self.weights {
            if dice < weight {
                return act;
            }
            dice -= weight;
        }
        Act::Heal
    }

    fn become_good(&mut self) {
        (self.lost_percent, self.delay_micros, self.slow_percent) = (0, 2_000, 0);
        self.act_micros = 0;
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
        let pod = if self.random.below(3) == 0 { self.leader } else { any };
        match self.plan.draw_act(&mut self.random) {
            Act::Crash => self.restart(pod, 3_000_000),
            Act::Stop => {
                self.say_goodbye(pod);
                self.restart(pod, 1_000_000);
            }
            Act::Pause => self.pause(pod),
            Act::Cut => self.draw_cut(pod),
            Act::Heal => self.cut.clear(),
            Act::NewLeader => {
                if self.has_majority(any) && any != self.leader {
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

    /// SIGSTOP, and SIGCONT up to half a minute later.
    fn pause(&mut self, pod: usize) {
        if self.pods[pod].process.is_none() {
            return;
        }
        let most = self.random.pick(&[500_000, 3_000_000, 3_000_000, 30_000_000]);
        let micros = 1 + self.random.below(most);
        self.pods[pod].paused_until = self.now + micros;
        self.report.pauses += 1;
        // Comes before all that waits for the process.
        self.after(micros, Event::Resume);
    }

    fn draw_cut(&mut self, center: usize) {
        if self.random.below(3) == 0 {
            return self.part(center);
        }
        let other = self.random.below(self.plan.nodes as u64) as usize;
        let others: Vec<usize> = match self.random.below(3) {
            0 => vec![other],
            _ => (0..self.plan.nodes).filter(|_| self.random.below(3) > 0).collect(),
        };
        let ways = self.random.below(3);
        for other in others.into_iter().filter(|other| *other != center) {
            if ways != 1 {
                self.cut.insert((center, other));
            }
            if ways != 2 {
                self.cut.insert((other, center));
            }
        }
    }

    /// Two sides that hear nothing of each other.
    fn part(&mut self, center: usize) {
        let side: Vec<bool> = (0..self.pods.len()).map(|pod| pod == center || self.random.below(3) == 0).collect();
        for (from, from_side) in side.iter().enumerate() {
            let others = side.iter().enumerate().filter(|(_, to_side)| *to_side != from_side);
            self.cut.extend(others.map(|(to, _)| (from, to)));
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
        self.plan.become_good();
        self.cut.clear();
        self.crash(self.plan.nodes);
        for pod in 0..self.plan.nodes {
            if self.pods[pod].paused_until > self.now {
                // What was put off until its end stays late, as if the network were slow.
                self.pods[pod].paused_until = self.now;
                self.pods[pod].tick_at = None;
                self.after(0, Event::Resume);
            }
            self.after(0, Event::Start { pod });
        }
    }
}
