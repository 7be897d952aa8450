//! Random writes, crashes, kills, failures and full disks, compared with a model. Everything follows from one seed.
//!
//! At any time there is a last state that is surely on the disk, and those written since. A crash may leave any of
//! them and nothing else, whole batches only; what a log once said it holds, it holds for ever.
//!
//! A failure prints its seed; `FULMAR_SEED=n` runs that one alone, `FULMAR_SEEDS=n` as many as that.

use fulmar_random::Random;

use crate::disk::{CrashKeeps, SimulatedDisk};
use crate::settings::Sabotage;
use crate::tests::fixture::{folder, settings};
use crate::tests::model::{Model, Step};
use crate::{Log, OpenError, Refusal, Settings, Write, WriteError};

/// How often something was reached.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Reached {
    crashes: u64,
    kills: u64,
    cuts: u64,
    lost: u64,
    segments: u64,
    reclaimed: u64,
    full: u64,
    failed: u64,
    refused: u64,
    settled: u64,
}

impl Reached {
    fn counts(&mut self) -> [&mut u64; 10] {
        let Self { crashes, kills, cuts, lost, segments, reclaimed, full, failed, refused, settled } = self;
        [crashes, kills, cuts, lost, segments, reclaimed, full, failed, refused, settled]
    }
}

struct World {
    random: Random,
    disk: SimulatedDisk,
    settings: Settings,
    /// Nothing while the process does not run.
    log: Option<Log<SimulatedDisk>>,
    /// Whether the process was killed while all was well, so that nothing can be torn.
    is_whole: bool,
    /// The last state that is surely on the disk, and those written since.
    states: Vec<Model>,
    reached: Reached,
}

/// One run. An error says what was wrong.
pub(crate) fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Reached, String> {
    let mut random = Random::new(seed);
    let disk = SimulatedDisk::new(random.next());
    let settings = Settings { sabotage, segment_bytes: 2000 + random.below(6000), ..settings() };
    let states = vec![Model::default()];
    let mut world = World { random, disk, settings, log: None, is_whole: false, states, reached: Reached::default() };
    for _ in 0..250 {
        world.step()?;
    }
    world.disk.set_capacity(None);
    world.crash();
    world.open()?;
    world.compare()?;
    Ok(world.reached)
}

impl World {
    fn step(&mut self) -> Result<(), String> {
        if self.log.is_none() {
            return self.open();
        }
        match self.random.below(100) {
            0..=49 => self.write(),
            50..=74 => self.sync(),
            75..=77 => self.settle(),
            78..=85 => self.reclaim(),
            86..=88 => self.compare(),
            89..=91 => {
                self.crash();
                Ok(())
            }
            92..=93 => {
                self.reached.kills += 1;
                self.is_whole = true;
                self.log = None;
                Ok(())
            }
            94 => {
                let more = self.random.below(3000);
                self.disk.set_capacity(Some(self.disk.used() + more));
                Ok(())
            }
            95..=96 => {
                self.disk.set_capacity(None);
                Ok(())
            }
            97 => self.write_nonsense(),
            _ => {
                self.disk.fail_sync(1 + self.random.below(5));
                Ok(())
            }
        }
    }

    fn log(&mut self) -> &mut Log<SimulatedDisk> {
        self.log.as_mut().expect("steps are taken while it is open")
    }

    fn now(&self) -> &Model {
        self.states.last().expect("there is always a last state")
    }

    fn write(&mut self) -> Result<(), String> {
        let mut after = self.now().clone();
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..=self.random.below(6) {
            let step = after.step(&mut self.random);
            after.apply(&step);
            steps.push(step);
        }
        let writes: Vec<Write<'_>> = steps.iter().map(Step::write).collect();
        let segment = self.log().segments.back().map(|segment| segment.number);
        match self.log().write(&writes) {
            Ok(()) => {
                if self.log().segments.back().map(|segment| segment.number) != segment {
                    self.reached.segments += 1;
                    self.states.drain(..self.states.len() - 1);
                }
                self.states.push(after);
                Ok(())
            }
            Err(WriteError::Full { .. }) => {
                self.reached.full += 1;
                Ok(())
            }
            Err(WriteError::Failed(_)) => self.failed(),
            Err(WriteError::Refused(refusal)) => Err(format!("{refusal} of {writes:?}")),
        }
    }

    /// What a mistaken caller may try changes nothing, also when something fine stands before it.
    fn write_nonsense(&mut self) -> Result<(), String> {
        let mut random = Random::new(self.random.next());
        let step = self.now().step(&mut random);
        let mistakes = [
            Write::Append { group: 9, index: 3, term: 1, payload: b"out of order" },
            Write::Truncate { group: 9, from: 0 },
            Write::State { group: 9, bytes: &[0; crate::STATE_BYTES_MAX + 1] },
        ];
        let mistake = mistakes[usize::try_from(random.below(3)).unwrap()];
        match self.log().write(&[step.write(), mistake]) {
            Err(WriteError::Refused(
                Refusal::OutOfOrder { .. } | Refusal::TruncateOfPurged { .. } | Refusal::StateTooLarge { .. },
            )) => {
                self.reached.refused += 1;
                self.compare()
            }
            other => Err(format!("{mistake:?} gave {other:?}")),
        }
    }

    fn sync(&mut self) -> Result<(), String> {
        if self.log().sync().is_err() {
            return self.failed();
        }
        self.states.drain(..self.states.len() - 1);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        match self.log().settle() {
            Ok(()) => self.reached.settled += 1,
            Err(WriteError::Full { .. }) => self.reached.full += 1,
            Err(WriteError::Failed(_)) => return self.failed(),
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    fn reclaim(&mut self) -> Result<(), String> {
        let Ok(removed) = self.log().reclaim() else {
            return self.failed();
        };
        self.reached.reclaimed += removed as u64;
        let several = self.log().usage().segments > 1;
        // With all synced, who keeps a segment is known.
        if several && self.states.len() == 1 && self.log().pinned().is_none() {
            return Err("several segments, and nobody keeps them".to_owned());
        }
        Ok(())
    }

    /// After a failure nothing is done any more; the process ends, with or without the machine.
    fn failed(&mut self) -> Result<(), String> {
        self.reached.failed += 1;
        let log = self.log();
        let refused = [
            log.write(&[Write::Forget { group: 0 }]).is_err(),
            log.sync().is_err(),
            log.settle().is_err(),
            log.reclaim().is_err(),
            log.read(0, 1, 1).is_err(),
        ];
        if refused != [true; 5] {
            return Err(format!("after a failure was refused: {refused:?}"));
        }
        self.log = None;
        if self.random.once_in(2) {
            self.crash();
        }
        Ok(())
    }

    fn crash(&mut self) {
        self.reached.crashes += 1;
        self.log = None;
        self.is_whole = false;
        let keeps = [CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors];
        self.disk.crash(keeps[usize::try_from(self.random.below(3)).unwrap()]);
    }

    fn open(&mut self) -> Result<(), String> {
        let (log, recovered) = match Log::open(self.disk.clone(), folder(), self.settings.clone()) {
            Ok(opened) => opened,
            // A sync was to fail, or there was no room to begin with: try again later.
            Err(OpenError::Disk { step: "sync" | "begin a log in", .. }) => {
                self.disk.set_capacity(None);
                return Ok(());
            }
            Err(error) => return Err(format!("open: {error}")),
        };
        self.log = Some(log);
        if let Some(cut) = recovered.cut.as_ref().filter(|_| self.is_whole) {
            return Err(format!("nothing was torn, and {cut:?} was cut"));
        }
        self.is_whole = false;
        self.reached.cuts += u64::from(recovered.cut.is_some());
        let mut found = None;
        for state in self.states.iter().rev().filter(|state| state.is(&recovered)) {
            // Two states may differ in payloads alone.
            let log = self.log.as_mut().expect("opened just now");
            match state.compare(log, &mut self.random) {
                Ok(()) => {
                    found = Some(state.clone());
                    break;
                }
                Err(error) => drop(error),
            }
        }
        let Some(found) = found else {
            return Err(format!("recovered {recovered:?}, which is none of {} states", self.states.len()));
        };
        self.reached.lost += u64::from(found != *self.now());
        self.states = vec![found];
        Ok(())
    }

    fn compare(&mut self) -> Result<(), String> {
        let (Some(log), Some(now)) = (self.log.as_mut(), self.states.last()) else {
            return Ok(());
        };
        now.compare(log, &mut self.random)
    }
}

#[test]
fn any_crash_leaves_what_was_synced_and_whole_batches() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a seed is a number"));
    let seeds: std::ops::Range<u64> = match number("FULMAR_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FULMAR_SEEDS").unwrap_or(600),
    };
    let all = seeds.end - seeds.start >= 600;
    let mut sum = Reached::default();
    for seed in seeds {
        let mut reached = run(seed, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (sum, count) in sum.counts().into_iter().zip(reached.counts()) {
            *sum += *count;
        }
    }
    println!("{sum:?}");
    assert!(!all || sum.counts().iter().all(|count| **count > 100), "hardly reached: {sum:?}");
}
