//! What breaks, drawn from the seed.

use fulmar_harness::{Violation, Weather, draw};
use fulmar_meta::NodeId;
use fulmar_random::Random;

use super::world::{Event, World};

/// How bad a run is.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// How long things break, in real microseconds.
    pub(super) duration: u64,
    pub(super) act_micros: u64,
    pub(super) weather: Weather,
    /// The slowest and the fastest clock.
    pub(super) clocks_per_thousand: [u64; 2],
    /// Two nodes may begin the cluster, against the advice.
    pub(super) two_may_begin: bool,
    /// At the end all volumes are lost.
    pub(super) loses_all: bool,
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
    /// Everything while the cluster begins.
    Beginning,
    /// Folders are lost, restored and copied.
    Folders,
    /// Little, until all volumes are lost.
    Volumes,
}

impl Storm {
    pub(super) const ALL: [Self; 5] = [Self::All, Self::Leaders, Self::Beginning, Self::Folders, Self::Volumes];
}

impl Plan {
    pub(super) fn draw(storm: Storm, random: &mut Random) -> Self {
        let mut weight = |act, most: u64, more: Storm| {
            let most = if storm == more { 4 * most } else { most };
            (1 + random.below(most), act)
        };
        let weights = [
            weight(Act::Crash, 6, Storm::Beginning),
            weight(Act::Stop, 3, Storm::All),
            weight(Act::Pause, 6, Storm::All),
            weight(Act::Cut, 8, Storm::Leaders),
            weight(Act::Heal, 8, Storm::Leaders),
            weight(Act::NewLeader, 6, Storm::Leaders),
            weight(Act::LoseVolume, 3, Storm::Folders),
            weight(Act::Restore, 3, Storm::Folders),
            weight(Act::Copy, 3, Storm::Folders),
        ];
        let act_micros = random.pick(&[400_000, 1_500_000, 3_000_000]);
        Self {
            nodes: if storm == Storm::Leaders { 5 } else { random.pick(&[3, 3, 4, 5]) },
            duration: if storm == Storm::Beginning { 12_000_000 } else { 45_000_000 },
            act_micros: match storm {
                Storm::Beginning => 300_000,
                Storm::Volumes => 3_000_000,
                _ => act_micros,
            },
            weather: Weather::draw(false, random),
            clocks_per_thousand: [950 + random.below(51), 1000 + random.below(51)],
            two_may_begin: random.once_in(3),
            loses_all: storm == Storm::Volumes,
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
        let pod = if self.random.once_in(3) { self.group.leader } else { any };
        match draw(&self.plan.weights, &mut self.random) {
            Act::Crash => self.restart(pod, 3_000_000),
            Act::Stop => {
                if self.pods[pod].paused_until <= self.now {
                    self.call(pod, |membership, meta, now, out| membership.stop(meta, now, out))?;
                    self.call(pod, |membership, _, _, out| membership.farewell(out))?;
                }
                self.restart(pod, 1_000_000);
            }
            Act::Pause => self.pause(pod),
            Act::Cut => self.network.draw_cut(pod, self.plan.nodes, self.pods.len(), &mut self.random),
            Act::Heal => self.network.heal(),
            Act::NewLeader => {
                if self.groups > 0 && self.has_majority(any) && any != self.group.leader {
                    // What was proposed before is in the new leader's log, or is not.
                    return self.hand_over(any);
                }
            }
            Act::LoseVolume => {
                if self.can_lose(pod) {
                    self.restart(pod, 3_000_000);
                    self.pods[pod].folder = None;
                    self.report.lost += 1;
                }
            }
            Act::Restore => {
                if self.can_lose(pod) && self.pods[pod].backup.is_some() {
                    self.restart(pod, 4_000_000);
                    self.pods[pod].folder = self.pods[pod].backup.clone();
                    self.suspect(pod);
                }
            }
            Act::Copy => self.copy(pod)?,
        }
        Ok(())
    }

    /// Whether the others are enough, should this folder be lost: a group that has lost its majority needs a human.
    fn can_lose(&self, pod: usize) -> bool {
        let is_good = |other: &usize| {
            let disk = self.pods[*other].folder.as_ref();
            disk.is_some_and(|disk| !disk.is_suspect && self.voters.contains(&disk.id))
        };
        let others = (0..self.plan.nodes).filter(|other| *other != pod).filter(is_good).count();
        self.truth.cluster().is_none() || 2 * others > self.voters.len()
    }

    fn suspect(&mut self, pod: usize) {
        if let Some(disk) = &mut self.pods[pod].folder {
            disk.is_suspect = true;
        }
    }

    pub(super) fn restart(&mut self, pod: usize, micros: u64) {
        self.crash(pod);
        let micros = self.random.below(micros);
        // Who runs beside another with a copy of its folder is not started again.
        if pod < self.plan.nodes {
            self.after(micros, Event::Start { pod });
        }
    }

    fn pause(&mut self, pod: usize) {
        if let Some(micros) = self.pods[pod].pause(self.now, &mut self.random) {
            self.report.pauses += 1;
            self.after(micros, Event::Resume);
        }
    }

    /// A volume is copied, and a process started beside the one that uses it.
    fn copy(&mut self, pod: usize) -> Result<(), Violation> {
        let beside = self.plan.nodes;
        if !self.can_lose(pod) || self.truth.cluster().is_none() {
            return Ok(());
        }
        self.crash(beside);
        self.suspect(pod);
        let it = &mut self.pods;
        (it[beside].folder, it[beside].name) = (it[pod].folder.clone(), it[pod].name.clone());
        if it[beside].folder.is_some() {
            self.start(beside)?;
        }
        // Both begin with the same counter.
        if self.random.once_in(2) {
            self.restart(pod, 3_000_000);
        }
        Ok(())
    }

    /// Nothing breaks any more, and what was broken is whole.
    pub(super) fn mend(&mut self) {
        self.plan.act_micros = 0;
        self.network.become_good();
        self.crash(self.plan.nodes);
        self.forget_lost_voters();
        for pod in 0..self.plan.nodes {
            if self.pods[pod].wake(self.now) {
                self.after(0, Event::Resume);
            }
            self.after(0, Event::Start { pod });
        }
    }

    /// Who has a vote is planned elsewhere, and needs a human when most of them are lost for good.
    pub(super) fn forget_lost_voters(&mut self) {
        let disks = self.pods[..self.plan.nodes].iter().filter_map(|pod| pod.folder.as_ref());
        let kept: Vec<NodeId> = disks.map(|disk| disk.id).collect();
        self.voters.retain(|id| kept.contains(id));
    }

    /// Every volume is lost. The operator knows the cluster's id by now.
    pub(super) fn lose_all(&mut self) {
        self.known = self.truth.cluster();
        self.are_all_lost = true;
        self.report.all_lost += 1;
        for pod in 0..self.plan.nodes {
            self.crash(pod);
            (self.pods[pod].folder, self.pods[pod].backup) = (None, None);
            self.after(1, Event::Start { pod });
        }
    }
}
